/* graph_size: the writer's walk, counting only. */
#include "codec/field.h"
#include "codec/graph.h"
#include "codec/type.h"
#include "codec/unknown.h"

static const uint64_t SIZE_LIMIT = UINT64_C(16) << 30;

struct sizer {
        uint64_t total;
        uint32_t lend_min; /* UINT32_MAX: nothing is lent */
        uint32_t depth;
};

static int add_message(struct sizer *sizer, const ProtobufCMessage *message,
                       const ProtobufCMessageDescriptor *descriptor);

static int add(struct sizer *sizer, size_t size)
{
        if (size > SIZE_LIMIT)
                return -EMSGSIZE;
        sizer->total += (size + 7) & ~(size_t)7;
        return sizer->total > SIZE_LIMIT ? -EMSGSIZE : 0;
}

static int add_data(struct sizer *sizer, const void *data, size_t size)
{
        if (size && !data)
                return -ENODATA;
        bool lent = size >= sizer->lend_min && sizer->lend_min != UINT32_MAX;
        return lent ? 0 : add(sizer, size);
}

static int add_bytes(struct sizer *sizer, const ProtobufCBinaryData *value, const ProtobufCBinaryData *default_value)
{
        if (default_value && value->data == default_value->data && value->len == default_value->len)
                return 0;
        return add_data(sizer, value->data, value->len);
}

static int add_strings(struct sizer *sizer, char *const *values, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (!values[i])
                        return -ENODATA;
                int r = add(sizer, sizeof(uint64_t));
                if (r == 0)
                        r = add(sizer, strlen(values[i]));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_byteses(struct sizer *sizer, const ProtobufCBinaryData *values, size_t n)
{
        int r = n > SIZE_MAX / 16 ? -EMSGSIZE : add(sizer, n * 16);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = add_data(sizer, values[i].data, values[i].len);
        return r;
}

/* n messages in one field; all are followed by unknown fields where one of them has some. */
static int add_messages(struct sizer *sizer, ProtobufCMessage *const *messages, size_t n,
                        const ProtobufCMessageDescriptor *descriptor)
{
        bool unknowns = false;
        if (n && sizer->depth >= BATON_MAX_DEPTH)
                return -ELOOP;
        for (size_t i = 0; i < n; i++) {
                if (!messages[i])
                        return -ENODATA;
                if (!type_matches(messages[i], descriptor))
                        return -EINVAL;
                unknowns |= messages[i]->n_unknown_fields > 0;
        }
        sizer->depth++;
        for (size_t i = 0; i < n; i++) {
                int r = add_message(sizer, messages[i], descriptor);
                if (r == 0 && unknowns)
                        r = add(sizer, unknown_size(messages[i]));
                if (r < 0)
                        return r;
        }
        sizer->depth--;
        return 0;
}

static int add_repeated(struct sizer *sizer, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        const void *array = field_pointer(message, field);
        size_t n = field_count(message, field);
        if (!n)
                return 0;
        if (!array)
                return -ENODATA;
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return add_strings(sizer, array, n);
        case PROTOBUF_C_TYPE_BYTES:
                return add_byteses(sizer, array, n);
        case PROTOBUF_C_TYPE_MESSAGE:
                return add_messages(sizer, array, n, field->descriptor);
        default:
                return add_data(sizer, array, n * field_element_size(field->type));
        }
}

static int add_pointer(struct sizer *sizer, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        const void *pointer = field_pointer(message, field);
        if (!pointer)
                return field->label == PROTOBUF_C_LABEL_REQUIRED || field_in_oneof(field) ? -ENODATA : 0;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return pointer == field_default(field) ? 0 : add(sizer, strlen(pointer));
        ProtobufCMessage *nested = (ProtobufCMessage *)pointer;
        return add_messages(sizer, &nested, 1, field->descriptor);
}

static int add_field(struct sizer *sizer, const ProtobufCMessage *message, const ProtobufCMessageDescriptor *descriptor,
                     const ProtobufCFieldDescriptor *field)
{
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
                return add_repeated(sizer, message, field);
        if (field_in_oneof(field)) {
                uint32_t number = field_case(message, field);
                if (!field_case_valid(descriptor, field, number))
                        return -ENODATA;
                if (number != field->id)
                        return 0;
        }
        if (field_is_pointer(field))
                return add_pointer(sizer, message, field);
        if (field->type != PROTOBUF_C_TYPE_BYTES || (field_has_quantifier(field) && !field_has(message, field)))
                return 0;
        return add_bytes(sizer, field_of(message, field->offset), field_default(field));
}

static int add_message(struct sizer *sizer, const ProtobufCMessage *message,
                       const ProtobufCMessageDescriptor *descriptor)
{
        size_t image = descriptor->sizeof_message - sizeof(ProtobufCMessage);
        int r = add(sizer, image ? image : 8);
        for (unsigned i = 0; r == 0 && i < descriptor->n_fields; i++)
                r = add_field(sizer, message, descriptor, &descriptor->fields[i]);
        return r;
}

int64_t graph_size(const baton_type *type, const ProtobufCMessage *message, uint32_t lend_min)
{
        struct sizer sizer = { .lend_min = lend_min, .depth = 1 };
        if (!type_matches(message, type->descriptor))
                return -EINVAL;
        int r = add_message(&sizer, message, type->descriptor);
        if (r == 0 && message->n_unknown_fields)
                r = add(&sizer, unknown_size(message));
        return r < 0 ? r : (int64_t)sizer.total;
}
