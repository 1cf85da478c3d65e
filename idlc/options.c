#include "options.h"

#include <string.h>

enum { EXTENSION_NUMBER = 1019 }; /* of all three extensions in protobuf-c.proto */

struct reader {
        const uint8_t *at;
        const uint8_t *end;
};

static bool read_varint(struct reader *reader, uint64_t *value)
{
        *value = 0;
        for (int shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
                uint8_t byte = *reader->at++;
                *value |= (uint64_t)(byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        return true;
        }
        return false;
}

static bool read_slice(struct reader *reader, struct reader *slice)
{
        uint64_t length;
        if (!read_varint(reader, &length) || length > (uint64_t)(reader->end - reader->at))
                return false;
        *slice = (struct reader){ reader->at, reader->at + length };
        reader->at += length;
        return true;
}

/* One option: a number, or text where its bytes were length-delimited. */
struct option {
        uint64_t number;
        uint64_t value;
        struct reader text;
};

/* The options are booleans and strings: any other wire type ends the walk. */
static bool next_option(struct reader *reader, struct option *option)
{
        uint64_t tag;
        *option = (struct option){ 0 };
        if (!read_varint(reader, &tag))
                return false;
        option->number = tag >> 3;
        if ((tag & 7) == 0)
                return read_varint(reader, &option->value);
        return (tag & 7) == 2 && read_slice(reader, &option->text);
}

/* Calls apply for each option in each occurrence of the extension: protobuf merges them, the last one counts. */
static void for_each(const ProtobufCMessage *options, void (*apply)(const struct option *option, void *context),
                     void *context)
{
        for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
                const ProtobufCMessageUnknownField *unknown = &options->unknown_fields[i];
                struct reader whole = { unknown->data, unknown->data + unknown->len };
                struct reader body;
                struct option option;
                if (unknown->tag != EXTENSION_NUMBER || unknown->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED ||
                    !read_slice(&whole, &body))
                        continue;
                while (next_option(&body, &option))
                        apply(&option, context);
        }
}

struct context {
        struct arena *arena;
        struct file_options file;
        struct message_options message;
        bool string_as_bytes;
};

static const char *copy_text(struct context *context, const struct option *option)
{
        return option->text.at ? arena_copy(context->arena, (const char *)option->text.at,
                                            (size_t)(option->text.end - option->text.at))
                               : "";
}

static void apply_file(const struct option *option, void *context_pointer)
{
        struct context *context = context_pointer;
        struct file_options *options = &context->file;
        if (option->number == 1)
                options->no_generate = option->value;
        else if (option->number == 3)
                options->gen_init_helpers = option->value;
        else if (option->number == 4)
                options->const_strings = option->value;
        else if (option->number == 5)
                options->use_oneof_field_name = option->value;
        else if (option->number == 6)
                options->c_package = copy_text(context, option);
}

static void apply_message(const struct option *option, void *context_pointer)
{
        struct context *context = context_pointer;
        if (option->number == 2)
                context->message.gen_init_helpers = option->value;
        else if (option->number == 3)
                context->message.base_field_name = copy_text(context, option);
}

static void apply_field(const struct option *option, void *context_pointer)
{
        struct context *context = context_pointer;
        if (option->number == 1)
                context->string_as_bytes = option->value;
}

struct file_options options_of_file(struct arena *arena, const file_proto *proto)
{
        struct context context = { .arena = arena, .file = { .gen_init_helpers = true } };
        for_each((const ProtobufCMessage *)proto->options, apply_file, &context);
        return context.file;
}

struct message_options options_of_message(struct arena *arena, const message_proto *proto)
{
        struct context context = { .arena = arena, .message = { .gen_init_helpers = true, .base_field_name = "base" } };
        for_each((const ProtobufCMessage *)proto->options, apply_message, &context);
        return context.message;
}

bool options_string_as_bytes(const field_proto *proto)
{
        struct context context = { 0 };
        for_each((const ProtobufCMessage *)proto->options, apply_field, &context);
        return context.string_as_bytes;
}
