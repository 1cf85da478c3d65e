#include "codec/explain.h"
#include "codec/check.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
        /* Of a longer path the middle is left out: the two ends say which field it is. */
        PATH_HEAD = 8,
        PATH_TAIL = 3,
};

struct text {
        char *at;
        size_t room;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(text->at, text->room, format, arguments);
        va_end(arguments);
        if (length < 0 || !text->room)
                return;
        size_t used = (size_t)length < text->room ? (size_t)length : text->room - 1;
        text->at += used;
        text->room -= used;
}

static void append_path(struct text *text, const ProtobufCMessageDescriptor *descriptor, const struct check *check)
{
        append(text, "%s", descriptor->name);
        for (uint32_t i = 0; i < check->depth; i++) {
                if (check->depth > PATH_HEAD + PATH_TAIL && i == PATH_HEAD) {
                        append(text, "...");
                        i = check->depth - PATH_TAIL;
                }
                append(text, ".%s", check->path[i].field->name);
                if (check->path[i].index != CHECK_NO_INDEX)
                        append(text, "[%" PRId64 "]", check->path[i].index);
        }
}

static void append_reason(struct text *text, const struct check *check)
{
        switch (check->reason) {
        case CHECK_NOT_UTF8:
                append(text, ": not valid UTF-8 at byte %zu", check->byte);
                return;
        case CHECK_REQUIRED:
                append(text, ": required, but NULL");
                return;
        case CHECK_SELECTED:
                append(text, ": selected by its oneof, but NULL");
                return;
        case CHECK_CASE:
                append(text, ": the case of its oneof is %" PRIu64 ", which is none of its fields", check->number);
                return;
        case CHECK_NULL_ARRAY:
                append(text, ": its count is %" PRIu64 ", but the array is NULL", check->number);
                return;
        case CHECK_NULL_ELEMENT:
                append(text, ": NULL, where every element must be set");
                return;
        case CHECK_NULL_BYTES:
                append(text, ": its len is %" PRIu64 ", but data is NULL", check->number);
                return;
        case CHECK_DEPTH:
                append(text, ": nested deeper than %d messages; does the message contain itself?", BATON_MAX_DEPTH);
                return;
        case CHECK_TYPE:
                append(text, ": not initialised, or a message of another type; use its __init function");
                return;
        case CHECK_UNKNOWN_FIELD:
                append(text, ": malformed unknown field, number %" PRIu64, check->number);
                return;
        case CHECK_SIZE:
                append(text, ": too many messages for the wire format");
                return;
        }
}

/* Without a place: what the error itself says. */
static const char *meaning(int error)
{
        switch (error) {
        case -EILSEQ:
                return "a string is not valid UTF-8";
        case -ENODATA:
                return "a required field is not set";
        case -ELOOP:
                return "nested too deep";
        case -EINVAL:
                return "not initialised, or of another type";
        case -EMSGSIZE:
                return "too large";
        case -EBADMSG:
                return "malformed";
        case -ENOMEM:
                return "out of memory";
        default:
                return "cannot be encoded";
        }
}

void explain(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, int error, char *text,
             size_t size)
{
        struct text out = { text, size };
        struct check check;
        if (message_check(descriptor, message, &check) == error) {
                append_path(&out, descriptor, &check);
                append_reason(&out, &check);
        } else {
                append(&out, "%s: %s", descriptor->name, meaning(error));
        }
}
