/* The .proto files themselves, for reflection: a baton_file in each x.baton.c. */
#include "emit.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYTES_PER_LINE = 24 };

void find_descriptors(const struct model *model, const struct file *file, bool *needed, bool *embedded)
{
        for (size_t i = 0; i < file->n_imports; i++) {
                size_t index = (size_t)(file->imports[i] - model->files);
                if (needed[index])
                        continue;
                needed[index] = true;
                embedded[index] = file->imports[i]->options.no_generate;
                if (embedded[index])
                        find_descriptors(model, file->imports[i], needed, embedded);
        }
}

/* Without source locations and comments: they are in the header, and most of the size. */
static void emit_bytes(struct text *text, const struct file *file)
{
        file_proto bare = *file->proto;
        bare.source_code_info = NULL;
        size_t size = google__protobuf__file_descriptor_proto__get_packed_size(&bare);
        uint8_t *bytes = xmalloc(size);
        google__protobuf__file_descriptor_proto__pack(&bare, bytes);
        text_printf(text, "static const uint8_t descriptor__%s[] = {", file->descriptor);
        for (size_t i = 0; i < size; i++) {
                char number[8];
                text_puts(text, i % BYTES_PER_LINE ? " " : "\n        ");
                text_append(text, number, (size_t)snprintf(number, sizeof number, "%u,", bytes[i]));
        }
        text_puts(text, "\n};\n\n");
        free(bytes);
}

static void emit_imports(struct text *text, const struct file *file)
{
        if (!file->n_imports)
                return;
        text_printf(text, "static const baton_file *const imports__%s[] = {\n", file->descriptor);
        for (size_t i = 0; i < file->n_imports; i++)
                text_printf(text, "        &%s,\n", file->imports[i]->descriptor);
        text_puts(text, "};\n\n");
}

static void emit_one(struct text *text, const struct file *file, const char *linkage)
{
        emit_bytes(text, file);
        emit_imports(text, file);
        text_printf(text,
                    "%sconst baton_file %s = {\n"
                    "        .name = \"%s\",\n"
                    "        .descriptor = descriptor__%s,\n"
                    "        .descriptor_size = sizeof descriptor__%s,\n",
                    linkage, file->descriptor, file->name, file->descriptor, file->descriptor);
        if (file->n_imports)
                text_printf(text, "        .n_imports = %zu,\n        .imports = imports__%s,\n", file->n_imports,
                            file->descriptor);
        text_puts(text, "};\n\n");
}

void emit_descriptor(struct text *text, const struct model *model, const struct file *file)
{
        bool *needed = arena_array(model->arena, model->n_files, sizeof *needed);
        bool *embedded = arena_array(model->arena, model->n_files, sizeof *embedded);
        find_descriptors(model, file, needed, embedded);
        text_puts(text, "/* ---- the file, for reflection */\n\n");
        for (size_t i = 0; i < model->n_files; i++) {
                if (embedded[i]) {
                        text_printf(text, "/* Imported; it has no generated code of its own (no_generate). */\n");
                        emit_one(text, &model->files[i], "static ");
                }
        }
        emit_one(text, file, "");
}
