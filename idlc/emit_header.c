/* x.baton.h: what a programmer reads. */
#include "comment.h"
#include "emit.h"
#include "names.h"

#include <string.h>

/* ---- methods ---------------------------------------------------------------------------------------------- */

static const char *deprecation(const struct method *method)
{
        const Google__Protobuf__MethodOptions *options = method->proto->options;
        return options && options->has_deprecated && options->deprecated ? " Deprecated." : "";
}

static void emit_client(struct text *text, const struct model *model, const struct method *method)
{
        const char *request = arena_printf(model->arena, "const %s *request", method->input->c_name);
        const char *reply_out = arena_printf(model->arena, "const %s **reply", method->output->c_name);
        const char *reply = arena_printf(model->arena, "const %s *reply", method->output->c_name);
        const char *done = arena_printf(model->arena, "%s_done done", method->stem);
        const char *const blocking[] = { "baton_channel *channel", request, reply_out,
                                         "const baton_call_options *options" };
        const char *const async[] = {
                "baton_channel *channel", "baton_loop *loop", request, "const baton_call_options *options", done,
                "void *context"
        };
        const char *const completed[] = { "const baton_status *status", reply, "void *context" };

        emit_comment(text, model, "", &method->at,
                     " Client: calls and waits for the outcome. Release *reply with baton_release, whatever the "
                     "outcome: on failure it "
                     "is an empty message. See baton_unary in baton/service.h.");
        emit_prototype(text, arena_printf(model->arena, "baton_status %s", method->stem), blocking, 4);
        text_puts(
                text,
                ";\n\n/* Client: starts the call and returns; done runs once, on the loop, with the outcome. Reply and "
                "status live\n * until done returns; baton_retain keeps the reply, which is empty on failure. Returns "
                "0, or a "
                "negative errno,\n * and then done never runs. See baton_unary_async in baton/service.h. */\n");
        emit_prototype(text, arena_printf(model->arena, "typedef void (*%s_done)", method->stem), completed, 3);
        text_puts(text, ";\n");
        emit_prototype(text, arena_printf(model->arena, "int %s_async", method->stem), async, 6);
        text_puts(text, ";\n\n");
}

static void emit_server(struct text *text, const struct method *method)
{
        text_printf(text,
                    "/* Server: an empty reply that lives as long as the call; NULL when out of memory. */\n"
                    "%s *%s_new_reply(baton_call *call);\n\n"
                    "/* Server: answers the call, now or later, from any thread. See baton_call_reply. */\n"
                    "int %s_reply(baton_call *call, const %s *reply);\n\n",
                    method->output->c_name, method->stem, method->stem, method->output->c_name);
}

static void emit_method(struct text *text, const struct model *model, const struct method *method)
{
        text_printf(text, "/* ---- rpc %s */\n\n", method->proto->name);
        if (method->streaming) {
                emit_comment(
                        text, model, "", &method->at,
                        " A streaming method: described in the service's table; a later version of Baton serves it.");
                text_puts(text, "\n");
                return;
        }
        emit_client(text, model, method);
        emit_server(text, method);
}

/* ---- services --------------------------------------------------------------------------------------------- */

static void emit_slot(struct text *text, const struct model *model, const struct method *method)
{
        const char *indent = "        ";
        if (method->streaming) {
                text_printf(text, "%s/* %s is streaming: a later version of Baton serves it. */\n", indent,
                            method->proto->name);
                return;
        }
        emit_comment(text, model, indent, &method->at, *deprecation(method) ? deprecation(method) : NULL);
        text_printf(text, "%svoid (*%s)(baton_call *call, const %s *request, void *context);\n", indent, method->slot,
                    method->input->c_name);
}

static void emit_handlers(struct text *text, const struct model *model, const struct service *service)
{
        text_puts(
                text,
                "/* The server's side: one handler per method. A slot left NULL answers UNIMPLEMENTED. context is what "
                "the table was\n * registered with. */\n");
        text_printf(text, "typedef struct %s_handlers {\n", service->stem);
        for (size_t i = 0; i < service->n_methods; i++)
                emit_slot(text, model, &service->methods[i]);
        if (!service->n_unary)
                text_puts(text, "        const void *reserved; /* no method can be served yet, and C has no empty "
                                "structs */\n");
        text_printf(text, "} %s_handlers;\n\n", service->stem);
}

static void emit_service(struct text *text, const struct model *model, const struct service *service)
{
        text_printf(text, "/* ==== service %s ==== */\n\n", service->full_name);
        emit_comment(text, model, "", &service->at, NULL);
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
        text_puts(text, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
