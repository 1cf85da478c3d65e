/* Dependencies for make and ninja. */
#include "driver.h"

#include <string.h>
#include <unistd.h>

/* A path as make reads it. */
static void append_path(struct text *text, const char *path)
{
        text_puts(text, " ");
        for (; *path; path++) {
                if (*path == ' ' || *path == '#')
                        text_puts(text, "\\");
                if (*path == '$')
                        text_puts(text, "$");
                text_append(text, path, 1);
        }
}

/* The file on disk by protoc's rule: the first import directory that has it. False: from protoc's own collection. */
static bool append_source(struct text *text, struct arena *arena, const struct driver_options *options,
                          const char *name)
{
        for (size_t i = 0; i < options->n_import_dirs; i++) {
                const char *dir = options->import_dirs[i];
                const char *path = strcmp(dir, ".") == 0 ? name : arena_printf(arena, "%s/%s", dir, name);
                if (access(path, F_OK) == 0) {
                        append_path(text, path);
                        return true;
                }
        }
        return false;
}

bool depfile_write(const struct driver_options *options, const struct compilation *compilation)
{
        struct arena arena = { 0 };
        struct text text = { 0 };
        for (size_t i = 0; i < compilation->n_outputs; i++)
                append_path(&text, arena_printf(&arena, "%s/%s", options->out, compilation->outputs[i].name));
        text_puts(&text, ":");
        for (size_t i = 0; i < compilation->n_file_names; i++)
                append_source(&text, &arena, options, compilation->file_names[i]);
        text_puts(&text, "\n");
        bool written = write_file(options->dependency_file, text.data + 1, text.size - 1);
        text_free(&text);
        arena_free(&arena);
        return written;
}
