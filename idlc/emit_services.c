/* A file's services in x.baton.c: thunks, tables, stubs. */
#include "emit.h"
#include "stubs.h"

#include <string.h>

/* ---- thunks ----------------------------------------------------------------------------------------------- */

/* The runtime knows no message types: these turn its untyped calls into the typed ones of handlers and callbacks, so
 * that no function is ever called through a pointer of another type. */
static void emit_dispatch(struct text *text, const struct method *method)
{
        text_printf(text,
                    "static bool dispatch__%s(const void *handlers, void *context, baton_call *call,\n"
                    "                      %*sconst ProtobufCMessage *request)\n"
                    "{\n"
                    "        const %s_handlers *table = handlers;\n\n",
                    method->stem, (int)strlen(method->stem) + 1, "", method->service->stem);
        if (method_streams_in(method))
                text_puts(text, "        (void)request;\n");
        text_printf(text, "        if (!table->%s)\n                return false;\n", method->slot);
        if (method_streams_in(method))
                text_printf(text, "        table->%s(call, context);\n", method->slot);
        else
                text_printf(text, "        table->%s(call, (const %s *)request, context);\n", method->slot,
                            method->input->c_name);
        text_puts(text, "        return true;\n}\n\n");
}

static void emit_complete(struct text *text, const struct method *method)
{
        const char *stem = method->stem;
        text_printf(text,
                    "static void complete__%s(baton_callback callback, const baton_status *status,\n"
                    "                      %*sconst ProtobufCMessage *reply, void *context)\n"
                    "{\n"
                    "        %s_done done = (%s_done)callback;\n\n"
                    "        done(status, (const %s *)reply, context);\n"
                    "}\n\n",
                    stem, (int)strlen(stem) + 1, "", stem, stem, method->output->c_name);
}

/* ---- tables ----------------------------------------------------------------------------------------------- */

static void emit_flags(struct text *text, const struct method *method)
{
        const Google__Protobuf__MethodOptions *options = method->proto->options;
        int level = options && options->has_idempotency_level ? (int)options->idempotency_level : 0;
        bool no_side_effects = level == GOOGLE__PROTOBUF__METHOD_OPTIONS__IDEMPOTENCY_LEVEL__NO_SIDE_EFFECTS;
        bool idempotent = level == GOOGLE__PROTOBUF__METHOD_OPTIONS__IDEMPOTENCY_LEVEL__IDEMPOTENT || no_side_effects;
        const struct {
                bool set;
                const char *name;
        } flags[] = {
                { method->proto->has_client_streaming && method->proto->client_streaming, "BATON_CLIENT_STREAMING" },
                { method->proto->has_server_streaming && method->proto->server_streaming, "BATON_SERVER_STREAMING" },
                { idempotent, "BATON_IDEMPOTENT" },
                { no_side_effects, "BATON_NO_SIDE_EFFECTS" },
                { options && options->has_deprecated && options->deprecated, "BATON_DEPRECATED" },
        };
        bool any = false;
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
                if (flags[i].set)
                        text_printf(text, "%s%s", any ? " | " : "", flags[i].name);
                any |= flags[i].set;
        }
        if (!any)
                text_puts(text, "0");
}

static void emit_method(struct text *text, const struct method *method)
{
        text_printf(text, "        {\n                .path = \"/%s/%s\",\n                .flags = ",
                    method->service->full_name, method->proto->name);
        emit_flags(text, method);
        text_printf(text, ",\n                .input = &%s__type,\n                .output = &%s__type,\n",
                    method->input->lower, method->output->lower);
        text_printf(text, "                .dispatch = dispatch__%s,\n", method->stem);
        if (method->kind == METHOD_UNARY)
                text_printf(text, "                .complete = complete__%s,\n", method->stem);
        text_puts(text, "        },\n");
}

static void emit_tables(struct text *text, const struct service *service)
{
        if (service->n_methods) {
                text_printf(text, "static const baton_method methods__%s[] = {\n", service->stem);
                for (size_t i = 0; i < service->n_methods; i++)
                        emit_method(text, &service->methods[i]);
                text_puts(text, "};\n\n");
        }
        text_printf(text, "const baton_service %s_service = {\n        .name = \"%s\",\n", service->stem,
                    service->full_name);
        if (service->n_methods)
                text_printf(text, "        .n_methods = %zu,\n        .methods = methods__%s,\n", service->n_methods,
                            service->stem);
        text_printf(text, "        .file = &%s,\n};\n\n", service->file->descriptor);
}

/* ---- stubs ------------------------------------------------------------------------------------------------ */

static void emit_stubs(struct text *text, const struct model *model, const struct method *method)
{
        size_t n;
        const struct stub *stubs = stubs_of_methods(&n);
        for (size_t i = 0; i < n; i++) {
                if (!(stubs[i].kinds & method->kind) || !stubs[i].body)
                        continue;
                stub_prototype(text, &stubs[i], method, model->arena);
                text_printf(text, "\n{\n%s}\n\n", stub_fill(model->arena, stubs[i].body, &stubs[i], method));
        }
}

static void emit_service(struct text *text, const struct model *model, const struct service *service)
{
        text_printf(text, "/* ---- service %s */\n\n", service->full_name);
        for (size_t i = 0; i < service->n_methods; i++) {
                emit_dispatch(text, &service->methods[i]);
                if (service->methods[i].kind == METHOD_UNARY)
                        emit_complete(text, &service->methods[i]);
        }
        emit_tables(text, service);
        text_printf(text,
                    "int %s_register(baton_server *server, const %s_handlers *handlers, void *context)\n"
                    "{\n"
                    "        return baton_server_register(server, &%s_service, handlers, context);\n"
                    "}\n\n",
                    service->stem, service->stem, service->stem);
        for (size_t i = 0; i < service->n_methods; i++)
                emit_stubs(text, model, &service->methods[i]);
}

void emit_services(struct text *text, const struct model *model, const struct file *file)
{
        for (size_t i = 0; i < file->n_services; i++)
                emit_service(text, model, &file->services[i]);
}
