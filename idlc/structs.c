#include "structs.h"
#include "comment.h"
#include "process.h"
#include "request.h"

#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_proto;
typedef Google__Protobuf__SourceCodeInfo source_proto;
typedef Google__Protobuf__SourceCodeInfo__Location location_proto;

/* Shallow copies with other comments: the request itself stays as it is. */
static source_proto *clean_source(struct arena *arena, const source_proto *source)
{
        source_proto *copy = arena_alloc(arena, sizeof *copy);
        *copy = *source;
        copy->location = arena_array(arena, source->n_location, sizeof *copy->location);
        for (size_t i = 0; i < source->n_location; i++) {
                location_proto *location = arena_alloc(arena, sizeof *location);
                *location = *source->location[i];
                location->leading_comments = comment_clean(arena, location->leading_comments);
                location->trailing_comments = comment_clean(arena, location->trailing_comments);
                copy->location[i] = location;
        }
        return copy;
}

static request_proto *trim(struct arena *arena, const request_proto *request)
{
        request_proto *copy = arena_alloc(arena, sizeof *copy);
        *copy = *request;
        copy->parameter = NULL; /* ours, not protoc-gen-c's */
        copy->proto_file = arena_array(arena, request->n_proto_file, sizeof *copy->proto_file);
        for (size_t i = 0; i < request->n_proto_file; i++) {
                file_proto *file = arena_alloc(arena, sizeof *file);
                *file = *request->proto_file[i];
                file->n_service = 0;
                if (file->source_code_info)
                        file->source_code_info = clean_source(arena, file->source_code_info);
                copy->proto_file[i] = file;
        }
        return copy;
}

static int refuse(struct structs *structs, const char *error)
{
        structs->error = error;
        return -1;
}

static int keep_files(struct structs *structs, struct arena *arena, const char *program, const response_proto *response)
{
        if (response->error && *response->error)
                return refuse(structs, arena_printf(arena, "%s: %s", program, response->error));
        structs->files = arena_array(arena, response->n_file, sizeof *structs->files);
        for (size_t i = 0; i < response->n_file; i++) {
                const char *name = response->file[i]->name;
                const char *content = response->file[i]->content;
                if (!name || !*name || !content)
                        return refuse(structs, arena_printf(arena, "%s answered with a file without a name", program));
                structs->files[i] = (struct structs_file){ arena_printf(arena, "%s", name),
                                                           arena_printf(arena, "%s", content), strlen(content) };
        }
        structs->n_files = response->n_file;
        return 0;
}

static int unpack(struct structs *structs, struct arena *arena, const char *program, const struct text *answer)
{
        const ProtobufCMessageDescriptor *descriptor = &google__protobuf__compiler__code_generator_response__descriptor;
        const uint8_t *data = (const uint8_t *)answer->data;
        response_proto *response = NULL;
        if (request_depth_ok(descriptor, data, answer->size))
                response = google__protobuf__compiler__code_generator_response__unpack(NULL, answer->size, data);
        if (!response)
                return refuse(
                        structs,
                        arena_printf(arena, "%s answered with something else than a CodeGeneratorResponse", program));
        int r = keep_files(structs, arena, program, response);
        google__protobuf__compiler__code_generator_response__free_unpacked(response, NULL);
        return r;
}

int structs_generate(struct structs *structs, struct arena *arena, const request_proto *request, const char *program)
{
        *structs = (struct structs){ 0 };
        request_proto *trimmed = trim(arena, request);
        size_t size = google__protobuf__compiler__code_generator_request__get_packed_size(trimmed);
        uint8_t *data = xmalloc(size);
        google__protobuf__compiler__code_generator_request__pack(trimmed, data);

        struct text answer = { 0 };
        const char *arguments[] = { program, NULL };
        const char *error = process_filter(arena, arguments, data, size, &answer);
        free(data);
        int r = error ? refuse(structs, error) : unpack(structs, arena, program, &answer);
        text_free(&answer);
        return r;
}
