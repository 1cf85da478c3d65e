/* The part of x.baton.h for messages: their types, and helpers for proto3 `optional` fields, which protobuf-c 1.4.1
 * can only show as a oneof of one member. */
#include "emit.h"
#include "names.h"

#include <string.h>

static bool is_deprecated(const struct field *field)
{
        return field->proto->options && field->proto->options->has_deprecated && field->proto->options->deprecated;
}

static void emit_helpers(struct text *text, const struct model *model, const struct field *field)
{
        const struct message *message = field->message;
        const char *member = field->oneof->case_member;
        const char *pointer = field->c_type[strlen(field->c_type) - 1] == '*' ? "" : " ";
        emit_comment(text, model, "", &field->at,
                     arena_printf(model->arena,
                                  "Optional field %s: whether it is set; sets it (the memory stays the "
                                  "caller's); unsets it.",
                                  field->proto->name));
        const char *type = message->c_name;
        const char *name = name_lower_case(model->arena, field->proto->name);
        text_printf(text,
                    "static inline bool %s__has_%s(const %s *message)\n{\n        return message->%s == %s;\n}\n\n",
                    message->lower, name, type, member, field->constant);
        text_printf(text,
                    "static inline void %s__set_%s(%s *message, %s%svalue)\n"
                    "{\n        message->%s = %s;\n        message->%s = value;\n}\n\n",
                    message->lower, name, type, field->c_type, pointer, member, field->constant, field->c_name);
        text_printf(text, "static inline void %s__clear_%s(%s *message)\n{\n        message->%s = %s__NOT_SET;\n}\n\n",
                    message->lower, name, type, member, field->oneof->constants);
}

static void emit_message_helpers(struct text *text, const struct model *model, const struct message *message)
{
        for (size_t i = 0; i < message->n_fields; i++) {
                const struct field *field = &message->fields[i];
                if (!field->oneof || !field->oneof->synthetic)
                        continue;
                if (is_deprecated(field))
                        text_puts(text, "#pragma GCC diagnostic push\n"
                                        "#pragma GCC diagnostic ignored \"-Wdeprecated-declarations\"\n");
                emit_helpers(text, model, field);
                if (is_deprecated(field))
                        text_puts(text, "#pragma GCC diagnostic pop\n\n");
        }
}

void emit_header_messages(struct text *text, const struct model *model, const struct file *file)
{
        if (!file->n_messages)
                return;
        text_puts(text, "/* ==== messages ==== */\n\n");
        for (size_t i = 0; i < file->n_messages; i++)
                emit_message_helpers(text, model, &file->messages[i]);
        text_puts(text, "/* How the messages travel: used by other generated code. */\n");
        for (size_t i = 0; i < file->n_messages; i++)
                text_printf(text, "extern const baton_type %s__type;\n", file->messages[i].lower);
        text_puts(text, "\n");
}
