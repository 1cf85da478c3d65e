/* x.baton.h: what a programmer reads. */
#include "comment.h"
#include "emit.h"
#include "names.h"
#include "stubs.h"

/* ---- methods ---------------------------------------------------------------------------------------------- */

static const char *kind_name(const struct method *method)
{
        switch (method->kind) {
        case METHOD_CLIENT_STREAMING:
                return "client streaming";
        case METHOD_SERVER_STREAMING:
                return "server streaming";
        case METHOD_BIDIRECTIONAL:
                return "bidirectional streaming";
        default:
                return "unary";
        }
}

static bool is_deprecated(const struct method *method)
{
        const Google__Protobuf__MethodOptions *options = method->proto->options;
        return options && options->has_deprecated && options->deprecated;
}

/* The .proto's comment stands with the first function: there editors look for it. */
static void emit_method(struct text *text, const struct model *model, const struct method *method)
{
        static const struct location nowhere = { 0 };
        const struct location *at = &method->at;
        size_t n;
        const struct stub *stubs = stubs_of_methods(&n);
        text_printf(text, "/* ---- rpc %s: %s%s */\n\n", method->proto->name, kind_name(method),
                    is_deprecated(method) ? ", deprecated" : "");
        for (size_t i = 0; i < n; i++) {
                if (!(stubs[i].kinds & method->kind))
                        continue;
                emit_comment(text, model, "", at, stub_fill(model->arena, stubs[i].comment, &stubs[i], method));
                stub_prototype(text, &stubs[i], method, model->arena);
                text_puts(text, ";\n\n");
                at = &nowhere;
        }
}

/* ---- services --------------------------------------------------------------------------------------------- */

/* What the handler of a method does with its call. */
static const char *duty(struct arena *arena, const struct method *method)
{
        const char *stem = method->stem;
        switch (method->kind) {
        case METHOD_CLIENT_STREAMING:
                return arena_printf(arena, "Receives with %s_recv, then answers with %s_reply.", stem, stem);
        case METHOD_SERVER_STREAMING:
                return arena_printf(arena, "Sends with %s_send, ends with %s_end.", stem, stem);
        case METHOD_BIDIRECTIONAL:
                return arena_printf(arena, "Receives with %s_recv, sends with %s_send, ends with %s_end.", stem, stem,
                                    stem);
        default:
                return arena_printf(arena, "Answers with %s_reply.", stem);
        }
}

static void emit_slot(struct text *text, const struct model *model, const struct method *method)
{
        const char *indent = "        ";
        emit_comment(text, model, indent, &method->at,
                     arena_printf(model->arena, "%s%s", is_deprecated(method) ? "Deprecated. " : "",
                                  duty(model->arena, method)));
        text_printf(text, "%svoid (*%s)(baton_call *call, ", indent, method->slot);
        if (!method_streams_in(method))
                text_printf(text, "const %s *request, ", method->input->c_name);
        text_puts(text, "void *context);\n");
}

static void emit_handlers(struct text *text, const struct model *model, const struct service *service)
{
        text_puts(
                text,
                "/* The server's side: one handler per method. A slot left NULL answers UNIMPLEMENTED. context is what "
                "the table was\n"
                " * registered with. Each call is answered once, with what is named here or with baton_call_fail: in "
                "the "
                "handler, or later\n"
                " * by whoever retains it. The request lives as long as the call. See baton/call.h. */\n");
        text_printf(text, "typedef struct %s_handlers {\n", service->stem);
        for (size_t i = 0; i < service->n_methods; i++)
                emit_slot(text, model, &service->methods[i]);
        if (!service->n_methods)
                text_puts(text, "        const void *reserved; /* C has no empty structs */\n");
        text_printf(text, "} %s_handlers;\n\n", service->stem);
}

static void emit_service(struct text *text, const struct model *model, const struct service *service)
{
        text_printf(text, "/* ==== service %s ==== */\n\n", service->full_name);
        emit_comment(text, model, "", &service->at,
                     "The service's tables, for bindings and proxies: see baton/service.h.");
        text_printf(text, "extern const baton_service %s_service;\n\n", service->stem);
        emit_handlers(text, model, service);
        text_printf(text,
                    "/* Has the server serve these handlers, which must stay valid as long as it. Returns 0, or a "
                    "negative errno: see\n"
                    " * baton_server_register. */\n"
                    "int %s_register(baton_server *server, const %s_handlers *handlers, void *context);\n\n",
                    service->stem, service->stem);
        for (size_t i = 0; i < service->n_methods; i++)
                emit_method(text, model, &service->methods[i]);
}

/* ---- the file --------------------------------------------------------------------------------------------- */

void emit_header(struct text *text, const struct model *model, const struct file *file)
{
        const char *guard = name_identifier(model->arena, file->stem);
        text_printf(text,
                    "/* Generated by " IDLC_GENERATED_BY " from %s. Do not edit. */\n"
                    "#ifndef BATON_IDL_%s_H\n"
                    "#define BATON_IDL_%s_H\n\n"
                    "#include \"%s.pb-c.h\"\n"
                    "#include <baton/service.h>\n\n"
                    "#ifdef __cplusplus\n"
                    "extern \"C\" {\n"
                    "#endif\n\n",
                    file->name, guard, guard, file->stem);
        for (size_t i = 0; i < file->n_services; i++)
                emit_service(text, model, &file->services[i]);
        emit_header_messages(text, model, file);
        text_printf(text,
                    "/* The .proto itself, for reflection. */\n"
                    "extern const baton_file %s;\n\n",
                    file->descriptor);
        text_puts(text, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
