/* Encoders: what graph_walk_encode does by descriptor, written out for one message. graph.h has the rules for both. */
#include "emit.h"

static void check_result(struct text *text, const char *indent)
{
        text_printf(text, "%sif (r < 0)\n%s        return r;\n", indent, indent);
}

void emit_encode_single(struct text *text, const char *indent, const struct field *field)
{
        const char *name = field->c_name;
        if (field_needs_pointer(field))
                text_printf(text, "%sif (!message->%s)\n%s        return -ENODATA;\n", indent, name, indent);
        if (field_has_presence(field))
                text_printf(text, "%simage->has_%s = message->has_%s;\n", indent, name, name);
        switch (field->kind) {
        case KIND_SCALAR:
                text_printf(text, "%simage->%s = message->%s;\n", indent, name, name);
                return;
        case KIND_STRING:
                text_printf(text, "%sr = baton_graph_put_string(writer, &image->%s, message->%s, %s);\n", indent, name,
                            name, field->default_value);
                break;
        case KIND_BYTES:
                text_printf(text, "%sr = baton_graph_put_bytes(writer, &image->%s, ", indent, name);
                if (field_has_presence(field))
                        text_printf(text, "message->has_%s ? &message->%s : NULL", name, name);
                else
                        text_printf(text, "&message->%s", name);
                if (field->has_default) /* a long expression */
                        text_printf(text, ",\n%s                          %s);\n", indent, field->default_value);
                else
                        text_puts(text, ", NULL);\n");
                break;
        case KIND_MESSAGE:
                text_printf(text,
                            "%sr = baton_graph_put_message(writer, &image->%s, &%s__type,\n"
                            "%s                            (const ProtobufCMessage *)message->%s);\n",
                            indent, name, field->type->lower, indent, name);
                break;
        }
        check_result(text, indent);
}

static void encode_repeated(struct text *text, const struct field *field)
{
        const char *name = field->c_name;
        const char *indent = "        ";
        text_printf(text, "%simage->n_%s = message->n_%s;\n", indent, name, name);
        switch (field->kind) {
        case KIND_SCALAR:
                text_printf(text,
                            "%sr = baton_graph_put_data(writer, &image->%s, message->%s, message->n_%s * sizeof "
                            "*message->%s);\n",
                            indent, name, name, name, name);
                break;
        case KIND_STRING:
                text_printf(text, "%sr = baton_graph_put_strings(writer, &image->%s, %smessage->%s, message->n_%s);\n",
                            indent, name, field->message->file->options.const_strings ? "(char *const *)" : "", name,
                            name);
                break;
        case KIND_BYTES:
                text_printf(text, "%sr = baton_graph_put_byteses(writer, &image->%s, message->%s, message->n_%s);\n",
                            indent, name, name, name);
                break;
        case KIND_MESSAGE:
                text_printf(text,
                            "%sr = baton_graph_put_messages(writer, &image->%s, &%s__type,\n"
                            "%s                             (ProtobufCMessage *const *)message->%s, message->n_%s);\n",
                            indent, name, field->type->lower, indent, name, name);
                break;
        }
        check_result(text, indent);
}

static bool needs_result(const struct message *message)
{
        for (size_t i = 0; i < message->n_fields; i++) {
                const struct field *field = &message->fields[i];
                if (field->label == LABEL_REPEATED || field->kind != KIND_SCALAR)
                        return true;
        }
        return false;
}

void emit_encode(struct text *text, const struct message *message)
{
        text_printf(text,
                    "static int encode__%s(baton_graph_writer *writer, const ProtobufCMessage *base)\n"
                    "{\n"
                    "        const %s *message = (const %s *)base;\n"
                    "        %s *image = baton_graph_put_image(writer, sizeof *message);\n",
                    message->lower, message->c_name, message->c_name, message->c_name);
        if (needs_result(message))
                text_puts(text, "        int r;\n");
        text_puts(text, "\n        if (!image)\n                return -EMSGSIZE;\n");
        for (size_t i = 0; i < message->n_fields;) {
                const struct field *field = message->sorted[i];
                if (field->label == LABEL_MEMBER && field->oneof->first == field)
                        text_printf(text, "        image->%s = message->%s;\n", field->oneof->case_member,
                                    field->oneof->case_member);
                if (field->label == LABEL_MEMBER) {
                        i += emit_oneof_run(text, message, i, "-ENODATA", emit_encode_single);
                        continue;
                }
                if (field->label == LABEL_REPEATED)
                        encode_repeated(text, field);
                else
                        emit_encode_single(text, "        ", field);
                i++;
        }
        text_puts(text, "        return 0;\n}\n\n");
}
