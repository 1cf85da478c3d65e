#include "driver.h"
#include "process.h"
#include "request.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* protoc-gen-idlc stands beside idlc. NULL, having complained, where it does not. */
static const char *find_plugin(struct arena *arena)
{
        char self[PATH_MAX];
        ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
        if (length <= 0) {
                fprintf(stderr, "idlc: cannot tell where idlc is installed: /proc/self/exe: %s\n", strerror(errno));
                return NULL;
        }
        self[length] = 0;
        *strrchr(self, '/') = 0;
        const char *plugin = arena_printf(arena, "%s/protoc-gen-idlc", self);
        if (access(plugin, X_OK) == 0)
                return plugin;
        fprintf(stderr, "idlc: %s: %s; install it beside idlc\n", plugin, strerror(errno));
        return NULL;
}

static const char **protoc_arguments(struct arena *arena, const struct driver_options *options, const char *plugin,
                                     int handback)
{
        const char **arguments = arena_array(arena, options->n_import_dirs + options->n_protos + 4, sizeof *arguments);
        size_t n = 0;
        arguments[n++] = options->protoc;
        for (size_t i = 0; i < options->n_import_dirs; i++)
                arguments[n++] = arena_printf(arena, "-I%s", options->import_dirs[i]);
        arguments[n++] = arena_printf(arena, "--plugin=protoc-gen-idlc=%s", plugin);
        /* protoc wants a directory, though nothing is written to it. */
        arguments[n++] = arena_printf(arena, "--idlc_out=handback=%d:/", handback);
        for (size_t i = 0; i < options->n_protos; i++)
                arguments[n++] = options->protos[i];
        return arguments;
}

/* Has protoc parse the files. The request that it makes of them comes back through protoc-gen-idlc: so it is the same
 * as the plugin's, source lines included. protoc's own messages reach the user as they are. */
static bool parse(const struct driver_options *options, struct text *request)
{
        struct arena arena = { 0 };
        const char *plugin = find_plugin(&arena);
        const char *error = "";
        int handback = plugin ? process_memory_file() : -1;
        if (plugin && handback < 0)
                error = strerror(errno);
        if (handback >= 0) {
                error = process_run(&arena, protoc_arguments(&arena, options, plugin, handback), -1, -1);
                if (!error && !process_read_file(handback, request))
                        error = arena_printf(&arena, "cannot read the request: %s", strerror(errno));
                close(handback);
        }
        if (error && *error)
                fprintf(stderr, "idlc: %s\n", error);
        arena_free(&arena);
        return !error;
}

static bool write_outputs(const struct driver_options *options, const struct compilation *compilation)
{
        struct arena arena = { 0 };
        bool written = true;
        for (size_t i = 0; written && i < compilation->n_outputs; i++) {
                const struct output *output = &compilation->outputs[i];
                written = write_file(arena_printf(&arena, "%s/%s", options->out, output->name), output->data,
                                     output->size);
        }
        arena_free(&arena);
        return written && (!options->dependency_file || depfile_write(options, compilation));
}

static int compile_and_write(const struct driver_options *options, const request_proto *request)
{
        struct compilation compilation;
        int status = 1;
        if (compile(&compilation, request, &options->compile) < 0)
                fputs(compilation.errors.data, stderr);
        else if (write_outputs(options, &compilation))
                status = 0;
        compile_deinit(&compilation);
        return status;
}

int driver_run(const struct driver_options *options)
{
        struct text data = { 0 };
        const char *error = NULL;
        int status = 1;
        if (parse(options, &data)) {
                request_proto *request = request_unpack((const uint8_t *)data.data, data.size, &error);
                if (request)
                        status = compile_and_write(options, request);
                else
                        fprintf(stderr, "idlc: %s\n", error);
                if (request)
                        request_free(request);
        }
        text_free(&data);
        return status;
}
