/* Decoders: what graph_walk_decode does by descriptor, written out for one message. graph.h has the rules for both. */
#include "emit.h"

static void check_result(struct text *text, const char *indent)
{
        text_printf(text, "%sif (r < 0)\n%s        return r;\n", indent, indent);
}

/* Scalars came with the image. */
void emit_decode_single(struct text *text, const char *indent, const struct field *field)
{
        const char *name = field->c_name;
        switch (field->kind) {
        case KIND_SCALAR:
                return;
        case KIND_STRING:
                text_printf(text, "%sr = baton_graph_get_string(reader, &message->%s, %s);\n", indent, name,
                            field->default_value);
                break;
        case KIND_BYTES:
                text_printf(text, "%sr = baton_graph_get_bytes(reader, &message->%s, %s);\n", indent, name,
                            field->default_value);
                break;
        case KIND_MESSAGE:
                text_printf(text, "%sr = baton_graph_get_message(reader, &message->%s, &%s__type);\n", indent, name,
                            field->type->lower);
                break;
        }
        check_result(text, indent);
        if (field_needs_pointer(field))
                text_printf(text, "%sif (!message->%s)\n%s        return -ENODATA;\n", indent, name, indent);
}

static void decode_repeated(struct text *text, const struct field *field)
{
        const char *name = field->c_name;
        const char *indent = "        ";
        switch (field->kind) {
        case KIND_SCALAR:
                text_printf(text,
                            "%sr = baton_graph_get_data(reader, &message->%s, message->n_%s, sizeof *message->%s);\n",
                            indent, name, name, name);
                break;
        case KIND_STRING:
                text_printf(text, "%sr = baton_graph_get_strings(reader, &message->%s, message->n_%s);\n", indent, name,
                            name);
                break;
        case KIND_BYTES:
                text_printf(text, "%sr = baton_graph_get_byteses(reader, &message->%s, message->n_%s);\n", indent, name,
                            name);
                break;
        case KIND_MESSAGE:
                text_printf(text, "%sr = baton_graph_get_messages(reader, &message->%s, &%s__type, message->n_%s);\n",
                            indent, name, field->type->lower, name);
                break;
        }
        check_result(text, indent);
}

/* Whether the walk uses `message` at all: an image of scalars needs no walk. */
static bool needs_message(const struct message *message)
{
        for (size_t i = 0; i < message->n_fields; i++) {
                const struct field *field = &message->fields[i];
                if (field->label == LABEL_REPEATED || field->label == LABEL_MEMBER || field->kind != KIND_SCALAR)
                        return true;
        }
        return false;
}

void emit_decode(struct text *text, const struct message *message)
{
        text_printf(text, "static int decode__%s(baton_graph_reader *reader, ProtobufCMessage *base)\n{\n",
                    message->lower);
        if (!needs_message(message)) {
                text_printf(text,
                            "        return baton_graph_get_image(reader, base, sizeof(%s), &%s__descriptor);\n}\n\n",
                            message->c_name, message->lower);
                return;
        }
        text_printf(text,
                    "        %s *message = (%s *)base;\n"
                    "        int r = baton_graph_get_image(reader, base, sizeof *message, &%s__descriptor);\n\n",
                    message->c_name, message->c_name, message->lower);
        check_result(text, "        ");
        for (size_t i = 0; i < message->n_fields;) {
                const struct field *field = message->sorted[i];
                if (field->label == LABEL_MEMBER) {
                        i += emit_oneof_run(text, message, i, "-EBADMSG", emit_decode_single);
                        continue;
                }
                if (field->label == LABEL_REPEATED)
                        decode_repeated(text, field);
                else
                        emit_decode_single(text, "        ", field);
                i++;
        }
        text_puts(text, "        return 0;\n}\n\n");
}
