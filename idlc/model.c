/* First pass over the request: files and the types they define. */
#include "model.h"
#include "model_read.h"
#include "names.h"
#include "options.h"

#include <stdio.h>
#include <string.h>

/* Field numbers of descriptor.proto, as they stand in SourceCodeInfo paths. */
enum {
        FILE_MESSAGE = 4,
        FILE_ENUM = 5,
        MESSAGE_NESTED = 3,
        MESSAGE_ENUM = 4,
};

bool model_refuse(struct model *model, const char *format, ...)
{
        va_list arguments;
        struct text text = { 0 };
        va_start(arguments, format);
        text_vprintf(&text, format, arguments);
        va_end(arguments);
        model->error = arena_copy(model->arena, text.data, text.size);
        text_free(&text);
        return false;
}

/* ---- names ------------------------------------------------------------------------------------------------ */

/* Whether the name can stand in an #include and as a path below the output directory. */
static bool is_file_name(const char *name)
{
        if (!*name || *name == '/' || strncmp(name, "../", 3) == 0 || strstr(name, "/../"))
                return false;
        for (; *name; name++) {
                if ((unsigned char)*name < ' ' || *name == 0x7f || *name == '"' || *name == '\\' || *name == '*' ||
                    *name == '?')
                        return false;
        }
        return true;
}

static char *join(struct arena *arena, const char *scope, const char *name)
{
        return *scope ? arena_printf(arena, "%s.%s", scope, name) : arena_printf(arena, "%s", name);
}

/* The full name as protobuf-c sees it: option c_package replaces the package. */
static const char *override_name(struct arena *arena, const struct file *file, const char *full_name)
{
        if (!file->options.c_package)
                return full_name;
        return arena_printf(arena, "%s%s%s", file->options.c_package, *file->package ? "" : ".",
                            full_name + strlen(file->package));
}

/* ---- messages and enums ----------------------------------------------------------------------------------- */

struct scope {
        struct file *file;
        const char *name; /* of package or outer message */
        const int *path;
        size_t depth;
};

static const int *extend_path(struct arena *arena, const struct scope *scope, int number, size_t index)
{
        int *path = arena_array(arena, scope->depth + 2, sizeof *path);
        if (scope->depth)
                memcpy(path, scope->path, scope->depth * sizeof *path);
        path[scope->depth] = number;
        path[scope->depth + 1] = (int)index;
        return path;
}

static bool read_enum(struct model *model, const struct scope *scope, const enum_proto *proto, const int *path)
{
        struct file *file = scope->file;
        if (!proto->name || !name_is_identifier(proto->name))
                return model_refuse(model, "%s: an enum without a proper name", file->name);
        if (!proto->n_value)
                return model_refuse(model, "%s: enum %s has no values", file->name, proto->name);
        struct enumeration *enumeration = &file->enums[file->n_enums++];
        const char *full_name = join(model->arena, scope->name, proto->name);
        const char *c_source = override_name(model->arena, file, full_name);
        *enumeration = (struct enumeration){
                .proto = proto,
                .file = file,
                .full_name = full_name,
                .c_name = name_full_to_c(model->arena, c_source),
                .lower = name_full_to_lower(model->arena, c_source),
                .upper = name_full_to_upper(model->arena, c_source),
                .at = source_find(file->source, path, scope->depth + 2),
        };
        for (size_t i = 0; i < proto->n_value; i++) {
                if (!proto->value[i]->name || !name_is_identifier(proto->value[i]->name))
                        return model_refuse(model, "%s: enum %s has a value without a proper name", file->name,
                                            full_name);
        }
        if (map_add(&model->enums, full_name, enumeration) != enumeration)
                return model_refuse(model, "%s: enum %s is defined twice", file->name, full_name);
        return true;
}

static bool read_message(struct model *model, const struct scope *scope, const message_proto *proto, const int *path)
{
        struct file *file = scope->file;
        if (!proto->name || !name_is_identifier(proto->name))
                return model_refuse(model, "%s: a message without a proper name", file->name);
        if (scope->depth + 4 > SOURCE_PATH_MAX)
                return model_refuse(model, "%s: message %s is nested too deep", file->name, proto->name);
        struct message *message = &file->messages[file->n_messages++];
        const char *full_name = join(model->arena, scope->name, proto->name);
        const char *c_source = override_name(model->arena, file, full_name);
        *message = (struct message){
                .proto = proto,
                .file = file,
                .full_name = full_name,
                .c_name = name_full_to_c(model->arena, c_source),
                .lower = name_full_to_lower(model->arena, c_source),
                .upper = name_full_to_upper(model->arena, c_source),
                .options = options_of_message(model->arena, proto),
                .path = path,
                .path_length = scope->depth + 2,
                .at = source_find(file->source, path, scope->depth + 2),
        };
        if (map_add(&model->messages, full_name, message) != message)
                return model_refuse(model, "%s: message %s is defined twice", file->name, full_name);

        struct scope inner = { file, full_name, path, scope->depth + 2 };
        for (size_t i = 0; i < proto->n_nested_type; i++) {
                if (!read_message(model, &inner, proto->nested_type[i],
                                  extend_path(model->arena, &inner, MESSAGE_NESTED, i)))
                        return false;
        }
        for (size_t i = 0; i < proto->n_enum_type; i++) {
                if (!read_enum(model, &inner, proto->enum_type[i], extend_path(model->arena, &inner, MESSAGE_ENUM, i)))
                        return false;
        }
        return true;
}

static void count_nested(const message_proto *proto, size_t *n_messages, size_t *n_enums)
{
        *n_messages += proto->n_nested_type;
        *n_enums += proto->n_enum_type;
        for (size_t i = 0; i < proto->n_nested_type; i++)
                count_nested(proto->nested_type[i], n_messages, n_enums);
}

static bool read_types(struct model *model, struct file *file)
{
        const file_proto *proto = file->proto;
        size_t n_messages = proto->n_message_type;
        size_t n_enums = proto->n_enum_type;
        for (size_t i = 0; i < proto->n_message_type; i++)
                count_nested(proto->message_type[i], &n_messages, &n_enums);
        file->messages = arena_array(model->arena, n_messages, sizeof *file->messages);
        file->enums = arena_array(model->arena, n_enums, sizeof *file->enums);

        struct scope scope = { .file = file, .name = file->package };
        for (size_t i = 0; i < proto->n_message_type; i++) {
                if (!read_message(model, &scope, proto->message_type[i],
                                  extend_path(model->arena, &scope, FILE_MESSAGE, i)))
                        return false;
        }
        for (size_t i = 0; i < proto->n_enum_type; i++) {
                if (!read_enum(model, &scope, proto->enum_type[i], extend_path(model->arena, &scope, FILE_ENUM, i)))
                        return false;
        }
        return true;
}

/* ---- files ------------------------------------------------------------------------------------------------ */

static bool read_imports(struct model *model, struct file *file)
{
        const file_proto *proto = file->proto;
        file->imports = arena_array(model->arena, proto->n_dependency, sizeof *file->imports);
        for (size_t i = 0; i < proto->n_dependency; i++) {
                struct file *import = map_get(&model->files_by_name, proto->dependency[i]);
                if (!import)
                        return model_refuse(model,
                                            "%s: the import \"%s\" is missing from the request, or comes after it",
                                            file->name, proto->dependency[i]);
                file->imports[file->n_imports++] = import;
        }
        return true;
}

static bool read_file(struct model *model, const file_proto *proto)
{
        if (!proto->name || !is_file_name(proto->name))
                return model_refuse(model, "\"%s\" cannot be used as a file name: rename the file",
                                    proto->name ? proto->name : "");
        if (proto->package && *proto->package && !name_is_dotted(proto->package))
                return model_refuse(model, "%s: \"%s\" is no package name", proto->name, proto->package);
        if (proto->syntax && *proto->syntax && strcmp(proto->syntax, "proto2") != 0 &&
            strcmp(proto->syntax, "proto3") != 0)
                return model_refuse(model, "%s: syntax \"%s\" is not supported: use proto2 or proto3", proto->name,
                                    proto->syntax);
        struct file *file = &model->files[model->n_files++];
        const char *stem = name_stem(model->arena, proto->name);
        *file = (struct file){
                .proto = proto,
                .name = proto->name,
                .stem = stem,
                .descriptor = arena_printf(model->arena, "idl_%s__file", name_identifier(model->arena, stem)),
                .package = proto->package ? proto->package : "",
                .proto3 = proto->syntax && strcmp(proto->syntax, "proto3") == 0,
                .options = options_of_file(model->arena, proto),
                .source = source_new(model->arena, proto),
        };
        if (!read_imports(model, file) || !read_types(model, file))
                return false;
        if (map_add(&model->files_by_name, file->name, file) != file)
                return model_refuse(model, "%s: the file is in the request twice", file->name);
        return true;
}

static bool mark_files_to_generate(struct model *model)
{
        model->targets = arena_array(model->arena, model->request->n_file_to_generate, sizeof *model->targets);
        for (size_t i = 0; i < model->request->n_file_to_generate; i++) {
                struct file *file = map_get(&model->files_by_name, model->request->file_to_generate[i]);
                if (!file)
                        return model_refuse(model, "the request asks for \"%s\" without its descriptor",
                                            model->request->file_to_generate[i]);
                if (!file->generate)
                        model->targets[model->n_targets++] = file;
                file->generate = true;
        }
        return true;
}

bool model_read(struct model *model, struct arena *arena, const request_proto *request)
{
        *model = (struct model){ .arena = arena, .request = request };
        model->files = arena_array(arena, request->n_proto_file, sizeof *model->files);
        for (size_t i = 0; i < request->n_proto_file; i++) {
                if (!read_file(model, request->proto_file[i]))
                        return false;
        }
        for (size_t i = 0; i < model->n_files; i++) {
                struct file *file = &model->files[i];
                for (size_t j = 0; j < file->n_messages; j++) {
                        if (!model_read_fields(model, &file->messages[j]))
                                return false;
                }
                if (!model_read_services(model, file))
                        return false;
        }
        return mark_files_to_generate(model);
}

void model_deinit(struct model *model)
{
        map_free(&model->files_by_name);
        map_free(&model->messages);
        map_free(&model->enums);
}

struct message *model_message(const struct model *model, const char *type_name)
{
        return type_name && *type_name == '.' ? map_get(&model->messages, type_name + 1) : NULL;
}

struct enumeration *model_enum(const struct model *model, const char *type_name)
{
        return type_name && *type_name == '.' ? map_get(&model->enums, type_name + 1) : NULL;
}
