#include "codec/check.h"
#include "base/utf8.h"
#include "codec/field.h"
#include "codec/type.h"
#include "codec/unknown.h"

static int check_message(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                         const ProtobufCMessage *message);

static int fail(struct check *check, int error, enum check_reason reason, uint64_t number)
{
        check->reason = reason;
        check->number = number;
        return error;
}

static int check_string(struct check *check, const char *text)
{
        size_t length = strlen(text);
        if (utf8_valid_string(text, length))
                return 0;
        check->byte = utf8_span(text, length);
        return fail(check, -EILSEQ, CHECK_NOT_UTF8, 0);
}

static int check_bytes(struct check *check, const ProtobufCBinaryData *bytes)
{
        return bytes->len && !bytes->data ? fail(check, -ENODATA, CHECK_NULL_BYTES, bytes->len) : 0;
}

static int check_nested(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                        const ProtobufCMessage *message)
{
        if (check->depth >= BATON_MAX_DEPTH)
                return fail(check, -ELOOP, CHECK_DEPTH, 0);
        return check_message(check, descriptor, message);
}

static int check_element(struct check *check, const ProtobufCFieldDescriptor *field, const void *array, size_t i)
{
        if (field->type == PROTOBUF_C_TYPE_BYTES)
                return check_bytes(check, (const ProtobufCBinaryData *)array + i);
        const void *element = ((const void *const *)array)[i];
        if (!element)
                return fail(check, -ENODATA, CHECK_NULL_ELEMENT, 0);
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return check_string(check, element);
        return check_nested(check, field->descriptor, element);
}

static int check_repeated(struct check *check, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        size_t n = field_count(message, field);
        const void *array = field_pointer(message, field);
        if (n && !array)
                return fail(check, -ENODATA, CHECK_NULL_ARRAY, n);
        if (!field_is_pointer(field) && field->type != PROTOBUF_C_TYPE_BYTES)
                return 0;
        int64_t *index = &check->path[check->depth - 1].index;
        for (size_t i = 0; i < n; i++) {
                *index = (int64_t)i;
                int r = check_element(check, field, array, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_single(struct check *check, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        if (field->type == PROTOBUF_C_TYPE_BYTES) {
                bool unset = field_has_quantifier(field) && !field_has(message, field);
                return unset ? 0 : check_bytes(check, field_of(message, field->offset));
        }
        if (!field_is_pointer(field))
                return 0;
        const void *pointer = field_pointer(message, field);
        if (!pointer && field_in_oneof(field))
                return fail(check, -ENODATA, CHECK_SELECTED, 0);
        if (!pointer)
                return field->label == PROTOBUF_C_LABEL_REQUIRED ? fail(check, -ENODATA, CHECK_REQUIRED, 0) : 0;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return pointer == field_default(field) ? 0 : check_string(check, pointer);
        return check_nested(check, field->descriptor, pointer);
}

static int check_field(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                       const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
                return check_repeated(check, message, field);
        if (field_in_oneof(field)) {
                uint32_t number = field_case(message, field);
                if (!field_case_valid(descriptor, field, number))
                        return fail(check, -ENODATA, CHECK_CASE, number);
                if (number != field->id)
                        return 0;
        }
        return check_single(check, message, field);
}

static int check_unknowns(struct check *check, const ProtobufCMessage *message)
{
        for (unsigned i = 0; i < message->n_unknown_fields; i++) {
                const ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
                if (!unknown_valid(field->tag, field->wire_type, field->data, field->len))
                        return fail(check, -EBADMSG, CHECK_UNKNOWN_FIELD, field->tag);
        }
        return 0;
}

static int check_message(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                         const ProtobufCMessage *message)
{
        if (!type_matches(message, descriptor))
                return fail(check, -EINVAL, CHECK_TYPE, 0);
        if (++check->messages > INT32_MAX / 2) /* each takes two bytes at least */
                return fail(check, -EMSGSIZE, CHECK_SIZE, 0);
        struct check_step *step = &check->path[check->depth++];
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                *step = (struct check_step){ &descriptor->fields[i], CHECK_NO_INDEX };
                int r = check_field(check, descriptor, message, step->field);
                if (r < 0)
                        return r;
        }
        check->depth--;
        return check_unknowns(check, message);
}

int message_check(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, struct check *check)
{
        check->depth = 0;
        check->messages = 0;
        check->byte = 0;
        return check_message(check, descriptor, message);
}
