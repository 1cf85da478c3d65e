#include "codec/graph_walk.h"
#include "codec/field.h"

/* ---- writing ---------------------------------------------------------------------------------------------- */

static int put_repeated(baton_graph_writer *writer, void *image, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
        void *slot = field_at(image, field->offset);
        const void *array = field_pointer(message, field);
        size_t n = field_count(message, field);
        memcpy(field_at(image, field->quantifier_offset), &n, sizeof n);
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return baton_graph_put_strings(writer, slot, array, n);
        case PROTOBUF_C_TYPE_BYTES:
                return baton_graph_put_byteses(writer, slot, array, n);
        case PROTOBUF_C_TYPE_MESSAGE:
                return baton_graph_put_messages(writer, slot, &(baton_type){ .descriptor = field->descriptor }, array,
                                                n);
        default:
                return baton_graph_put_data(writer, slot, array, n * field_element_size(field->type));
        }
}

/* One value: a field on its own, or the selected member of a oneof. */
static int put_single(baton_graph_writer *writer, void *image, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field)
{
        void *slot = field_at(image, field->offset);
        bool needed = field->label == PROTOBUF_C_LABEL_REQUIRED || field_in_oneof(field);
        if (needed && field_is_pointer(field) && !field_pointer(message, field))
                return -ENODATA;
        bool quantified = field_has_quantifier(field);
        if (quantified)
                memcpy(field_at(image, field->quantifier_offset), field_of(message, field->quantifier_offset),
                       sizeof(protobuf_c_boolean));
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return baton_graph_put_string(writer, slot, field_pointer(message, field), field_default(field));
        case PROTOBUF_C_TYPE_BYTES: {
                bool unset = quantified && !field_has(message, field);
                return baton_graph_put_bytes(writer, slot, unset ? NULL : field_of(message, field->offset),
                                             field_default(field));
        }
        case PROTOBUF_C_TYPE_MESSAGE:
                return baton_graph_put_message(writer, slot, &(baton_type){ .descriptor = field->descriptor },
                                               field_pointer(message, field));
        default:
                memcpy(slot, field_of(message, field->offset), field_element_size(field->type));
                return 0;
        }
}

static int put_member(baton_graph_writer *writer, void *image, const ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor, const ProtobufCFieldDescriptor *field)
{
        uint32_t number = field_case(message, field);
        if (!field_case_valid(descriptor, field, number))
                return -ENODATA;
        memcpy(field_at(image, field->quantifier_offset), &number, sizeof number);
        return number == field->id ? put_single(writer, image, message, field) : 0;
}

int graph_walk_encode(baton_graph_writer *writer, const ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor)
{
        void *image = baton_graph_put_image(writer, descriptor->sizeof_message);
        if (!image)
                return -EMSGSIZE;
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                int r;
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        r = put_repeated(writer, image, message, field);
                else if (field_in_oneof(field))
                        r = put_member(writer, image, message, descriptor, field);
                else
                        r = put_single(writer, image, message, field);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static int get_repeated(baton_graph_reader *reader, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        void *slot = field_at(message, field->offset);
        size_t n = field_count(message, field);
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return baton_graph_get_strings(reader, slot, n);
        case PROTOBUF_C_TYPE_BYTES:
                return baton_graph_get_byteses(reader, slot, n);
        case PROTOBUF_C_TYPE_MESSAGE:
                return baton_graph_get_messages(reader, slot, &(baton_type){ .descriptor = field->descriptor }, n);
        default:
                return baton_graph_get_data(reader, slot, n, field_element_size(field->type));
        }
}

static int get_single(baton_graph_reader *reader, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        void *slot = field_at(message, field->offset);
        int r = 0;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                r = baton_graph_get_string(reader, slot, field_default(field));
        else if (field->type == PROTOBUF_C_TYPE_BYTES)
                r = baton_graph_get_bytes(reader, slot, field_default(field));
        else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                r = baton_graph_get_message(reader, slot, &(baton_type){ .descriptor = field->descriptor });
        if (r < 0)
                return r;
        bool needed = field->label == PROTOBUF_C_LABEL_REQUIRED || field_in_oneof(field);
        return needed && field_is_pointer(field) && !field_pointer(message, field) ? -ENODATA : 0;
}

static int get_member(baton_graph_reader *reader, ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor, const ProtobufCFieldDescriptor *field)
{
        uint32_t number = field_case(message, field);
        if (!field_case_valid(descriptor, field, number))
                return -EBADMSG;
        if (number == field->id)
                return get_single(reader, message, field);
        if (!number)
                memset(field_at(message, field->offset), 0, field_element_size(field->type));
        return 0;
}

int graph_walk_decode(baton_graph_reader *reader, ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor)
{
        int r = baton_graph_get_image(reader, message, descriptor->sizeof_message, descriptor);
        for (unsigned i = 0; r == 0 && i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        r = get_repeated(reader, message, field);
                else if (field_in_oneof(field))
                        r = get_member(reader, message, descriptor, field);
                else
                        r = get_single(reader, message, field);
        }
        return r;
}
