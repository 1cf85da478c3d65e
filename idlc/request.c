#include "request.h"

struct slice {
        const uint8_t *at;
        const uint8_t *end;
};

static bool read_varint(struct slice *slice, uint64_t *value)
{
        *value = 0;
        for (int shift = 0; shift < 70 && slice->at < slice->end; shift += 7) {
                uint8_t byte = *slice->at++;
                if (shift < 64)
                        *value |= (uint64_t)(byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        return true;
        }
        return false;
}

static bool skip(struct slice *slice, uint64_t size)
{
        if (size > (uint64_t)(slice->end - slice->at))
                return false;
        slice->at += size;
        return true;
}

static bool depth_ok(const ProtobufCMessageDescriptor *descriptor, struct slice slice, int depth);

/* A length-delimited field: where the descriptor knows it as a message, its inside counts. */
static bool delimited_ok(const ProtobufCMessageDescriptor *descriptor, unsigned number, struct slice *slice, int depth)
{
        uint64_t length;
        if (!read_varint(slice, &length) || length > (uint64_t)(slice->end - slice->at))
                return false;
        struct slice inner = { slice->at, slice->at + length };
        slice->at += length;
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, number);
        return !field || field->type != PROTOBUF_C_TYPE_MESSAGE || depth_ok(field->descriptor, inner, depth - 1);
}

static bool depth_ok(const ProtobufCMessageDescriptor *descriptor, struct slice slice, int depth)
{
        if (!depth)
                return false;
        while (slice.at < slice.end) {
                uint64_t tag;
                uint64_t ignored;
                if (!read_varint(&slice, &tag) || tag >> 3 > UINT32_MAX >> 3)
                        return false;
                bool ok;
                switch (tag & 7) {
                case PROTOBUF_C_WIRE_TYPE_VARINT:
                        ok = read_varint(&slice, &ignored);
                        break;
                case PROTOBUF_C_WIRE_TYPE_64BIT:
                        ok = skip(&slice, 8);
                        break;
                case PROTOBUF_C_WIRE_TYPE_32BIT:
                        ok = skip(&slice, 4);
                        break;
                case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
                        ok = delimited_ok(descriptor, (unsigned)(tag >> 3), &slice, depth);
                        break;
                default:
                        ok = false;
                }
                if (!ok)
                        return false;
        }
        return true;
}

bool request_depth_ok(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size)
{
        return depth_ok(descriptor, (struct slice){ data, data + size }, REQUEST_MAX_DEPTH);
}

request_proto *request_unpack(const uint8_t *data, size_t size, const char **error)
{
        request_proto *request = NULL;
        if (request_depth_ok(&google__protobuf__compiler__code_generator_request__descriptor, data, size))
                request = google__protobuf__compiler__code_generator_request__unpack(NULL, size, data);
        if (!request)
                *error = "the input is no CodeGeneratorRequest of protoc: it is truncated, garbled, or nested too deep";
        else if (!request->n_file_to_generate)
                *error = "the CodeGeneratorRequest asks for no file";
        if (request && !request->n_file_to_generate) {
                request_free(request);
                return NULL;
        }
        return request;
}

void request_free(request_proto *request)
{
        google__protobuf__compiler__code_generator_request__free_unpacked(request, NULL);
}
