/* The walkers of a file's messages, and the baton_type that makes them known. */
#include "emit.h"

/* The labels of the first run: what is selected but stands in a later run is valid here. */
static void later_members(struct text *text, const struct field *field)
{
        if (!field)
                return;
        for (; field; field = field->next_member)
                text_printf(text, "        case %s:\n", field->constant);
        text_puts(text, "                break; /* comes below, in the order of the numbers */\n");
}

size_t emit_oneof_run(struct text *text, const struct message *message, size_t i, const char *wrong_case,
                      void (*single)(struct text *text, const char *indent, const struct field *field))
{
        const struct oneof *oneof = message->sorted[i]->oneof;
        const struct field *field = message->sorted[i];
        bool first = oneof->first == field;
        size_t n = 0;
        text_printf(text, "        switch ((int)message->%s) {\n", oneof->case_member);
        if (first)
                text_printf(text, "        case %s__NOT_SET:\n                break;\n", oneof->constants);
        for (; i + n < message->n_fields && message->sorted[i + n]->oneof == oneof; n++) {
                field = message->sorted[i + n];
                text_printf(text, "        case %s:\n", field->constant);
                single(text, "                ", field);
                text_puts(text, "                break;\n");
        }
        if (first) {
                later_members(text, field->next_member);
                text_printf(text, "        default:\n                return %s;\n", wrong_case);
        }
        text_puts(text, "        }\n");
        return n;
}

void emit_walkers(struct text *text, const struct file *file)
{
        for (size_t i = 0; i < file->n_messages; i++) {
                const struct message *message = &file->messages[i];
                text_printf(text, "/* ---- %s */\n\n", message->full_name);
                emit_encode(text, message);
                emit_decode(text, message);
                text_printf(text,
                            "const baton_type %s__type = {\n"
                            "        .descriptor = &%s__descriptor,\n"
                            "        .encode = encode__%s,\n"
                            "        .decode = decode__%s,\n"
                            "};\n\n",
                            message->lower, message->lower, message->lower, message->lower);
        }
}
