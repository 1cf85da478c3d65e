/* A file's services in x.baton.c: thunks, tables, stubs. */
#include "emit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- thunks ----------------------------------------------------------------------------------------------- */

/* The runtime knows no message types: these turn its untyped calls into the typed ones of handlers and callbacks, so
 * that no function is ever called through a pointer of another type. */
static void emit_thunks(struct text *text, const struct method *method)
{
        const char *stem = method->stem;
        text_printf(text,
                    "static bool dispatch__%s(const void *handlers, void *context, baton_call *call,\n"
                    "                      %*sconst ProtobufCMessage *request)\n"
                    "{\n"
                    "        const %s_handlers *table = handlers;\n\n"
                    "        if (!table->%s)\n"
                    "                return false;\n"
                    "        table->%s(call, (const %s *)request, context);\n"
                    "        return true;\n"
                    "}\n\n",
                    stem, (int)strlen(stem) + 1, "", method->service->stem, method->slot, method->slot,
                    method->input->c_name);
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
        if (!method->streaming)
                text_printf(text,
                            "                .dispatch = dispatch__%s,\n                .complete = complete__%s,\n",
                            method->stem, method->stem);
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
        text_puts(text, "        .file = &file,\n"
                        "};\n\n");
}

/* ---- stubs ------------------------------------------------------------------------------------------------ */

static void emit_server_stubs(struct text *text, const struct method *method)
{
        const char *output = method->output->c_name;
        text_printf(text,
                    "%s *%s_new_reply(baton_call *call)\n"
                    "{\n"
                    "        return (%s *)baton_call_new_reply(call);\n"
                    "}\n\n"
                    "int %s_reply(baton_call *call, const %s *reply)\n"
                    "{\n"
                    "        return baton_call_reply(call, (const ProtobufCMessage *)reply);\n"
                    "}\n\n",
                    output, method->stem, output, method->stem, output);
}

static void emit_client_stubs(struct text *text, const struct model *model, const struct method *method)
{
        int index = (int)(method - method->service->methods);
        const char *request = arena_printf(model->arena, "const %s *request", method->input->c_name);
        const char *reply = arena_printf(model->arena, "const %s **reply", method->output->c_name);
        const char *done = arena_printf(model->arena, "%s_done done", method->stem);
        const char *const blocking[] = { "baton_channel *channel", request, reply,
                                         "const baton_call_options *options" };
        const char *const async[] = {
                "baton_channel *channel", "baton_loop *loop", request, "const baton_call_options *options", done,
                "void *context"
        };

        emit_prototype(text, arena_printf(model->arena, "baton_status %s", method->stem), blocking, 4);
        text_printf(text,
                    "\n{\n"
                    "        const ProtobufCMessage *message = NULL;\n"
                    "        baton_status status = baton_unary(channel, &methods__%s[%d], (const ProtobufCMessage "
                    "*)request,\n"
                    "                                          reply ? &message : NULL, options);\n\n"
                    "        if (reply)\n"
                    "                *reply = (const %s *)message;\n"
                    "        return status;\n"
                    "}\n\n",
                    method->service->stem, index, method->output->c_name);
        emit_prototype(text, arena_printf(model->arena, "int %s_async", method->stem), async, 6);
        text_printf(
                text,
                "\n{\n"
                "        return baton_unary_async(channel, loop, &methods__%s[%d], (const ProtobufCMessage *)request, "
                "options,\n"
                "                                 (baton_callback)done, context);\n"
                "}\n\n",
                method->service->stem, index);
}

static void emit_service(struct text *text, const struct model *model, const struct service *service)
{
        text_printf(text, "/* ---- service %s */\n\n", service->full_name);
        for (size_t i = 0; i < service->n_methods; i++) {
                if (!service->methods[i].streaming)
                        emit_thunks(text, &service->methods[i]);
        }
        emit_tables(text, service);
        text_printf(text,
                    "int %s_register(baton_server *server, const %s_handlers *handlers, void *context)\n"
                    "{\n"
                    "        return baton_server_register(server, &%s_service, handlers, context);\n"
                    "}\n\n",
                    service->stem, service->stem, service->stem);
        for (size_t i = 0; i < service->n_methods; i++) {
                if (service->methods[i].streaming)
                        continue;
                emit_server_stubs(text, &service->methods[i]);
                emit_client_stubs(text, model, &service->methods[i]);
        }
}

/* For reflection. Without source locations and comments: they are in the header, and most of the size. */
static void emit_file_descriptor(struct text *text, const struct file *file)
{
        file_proto bare = *file->proto;
        bare.source_code_info = NULL;
        size_t size = google__protobuf__file_descriptor_proto__get_packed_size(&bare);
        uint8_t *bytes = xmalloc(size);
        google__protobuf__file_descriptor_proto__pack(&bare, bytes);

        text_puts(text, "/* The serialized google.protobuf.FileDescriptorProto of this file. */\n"
                        "static const uint8_t file_descriptor[] = {");
        for (size_t i = 0; i < size; i++) {
                char number[8];
                text_puts(text, i % 24 ? " " : "\n        ");
                text_append(text, number, (size_t)snprintf(number, sizeof number, "%u,", bytes[i]));
        }
        text_printf(text,
                    "\n};\n\n"
                    "static const baton_file file = {\n"
                    "        .name = \"%s\",\n"
                    "        .descriptor = file_descriptor,\n"
                    "        .descriptor_size = sizeof file_descriptor,\n"
                    "};\n\n",
                    file->name);
        free(bytes);
}

void emit_services(struct text *text, const struct model *model, const struct file *file)
{
        if (!file->n_services)
                return;
        emit_file_descriptor(text, file);
        for (size_t i = 0; i < file->n_services; i++)
                emit_service(text, model, &file->services[i]);
}
