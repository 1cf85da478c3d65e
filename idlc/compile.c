#include "compile.h"
#include "check.h"
#include "emit.h"
#include "structs.h"

#include <string.h>

static int fail(struct compilation *compilation, const char *message)
{
        compilation->n_errors++;
        text_printf(&compilation->errors, "%s\n", message);
        return -1;
}

static void add_output(struct compilation *compilation, const char *name, const char *data, size_t size)
{
        compilation->outputs[compilation->n_outputs++] =
                (struct output){ name, arena_copy(&compilation->arena, data, size), size };
}

static void emit_file(struct compilation *compilation, const struct model *model, const struct file *file)
{
        struct text text = { 0 };
        emit_header(&text, model, file);
        add_output(compilation, arena_printf(&compilation->arena, "%s.baton.h", file->stem), text.data, text.size);
        text_free(&text);
        emit_source(&text, model, file);
        add_output(compilation, arena_printf(&compilation->arena, "%s.baton.c", file->stem), text.data, text.size);
        text_free(&text);
}

static int add_structs(struct compilation *compilation, const struct model *model,
                       const struct compile_options *options)
{
        struct structs structs;
        if (structs_generate(&structs, &compilation->arena, model->request, options->protoc_gen_c) < 0)
                return fail(compilation, arena_printf(&compilation->arena, "idlc: %s", structs.error));
        if (structs.n_files != 2 * model->n_targets)
                return fail(compilation,
                            arena_printf(&compilation->arena, "idlc: %s made %zu files where %zu were expected",
                                         options->protoc_gen_c, structs.n_files, 2 * model->n_targets));
        for (size_t i = 0; i < structs.n_files; i++)
                add_output(compilation, structs.files[i].name, structs.files[i].data, structs.files[i].size);
        return 0;
}

static int check(struct compilation *compilation, const struct model *model)
{
        struct complaints complaints = { 0 };
        check_features(model, &complaints);
        check_names(model, &complaints);
        complaints_end(&complaints);
        compilation->n_errors = complaints.n;
        compilation->errors = complaints.text;
        return complaints.n ? -1 : 0;
}

static int compile_model(struct compilation *compilation, struct model *model, const request_proto *request,
                         const struct compile_options *options)
{
        if (!model_read(model, &compilation->arena, request))
                return fail(compilation, model->error);
        model_name_services(model, options->package_prefix);
        if (check(compilation, model) < 0)
                return -1;
        compilation->outputs = arena_array(&compilation->arena, 4 * model->n_targets, sizeof *compilation->outputs);
        compilation->file_names = arena_array(&compilation->arena, model->n_files, sizeof *compilation->file_names);
        for (size_t i = 0; i < model->n_files; i++)
                compilation->file_names[compilation->n_file_names++] =
                        arena_printf(&compilation->arena, "%s", model->files[i].name);
        for (size_t i = 0; i < model->n_targets; i++)
                emit_file(compilation, model, model->targets[i]);
        return options->without_structs ? 0 : add_structs(compilation, model, options);
}

int compile(struct compilation *compilation, const request_proto *request, const struct compile_options *options)
{
        *compilation = (struct compilation){ 0 };
        struct model model = { 0 };
        int r = compile_model(compilation, &model, request, options);
        model_deinit(&model);
        return r;
}

void compile_deinit(struct compilation *compilation)
{
        arena_free(&compilation->arena);
        text_free(&compilation->errors);
        *compilation = (struct compilation){ 0 };
}
