#include "codec/wire.h"
#include "codec/check.h"
#include "codec/wire_scan.h"

int64_t wire_size(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message)
{
        struct check check;
        int r = message_check(descriptor, message, &check);
        if (r < 0)
                return r;
        size_t size = protobuf_c_message_get_packed_size(message);
        return size > INT32_MAX ? -EMSGSIZE : (int64_t)size;
}

int64_t wire_pack(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, void *out, size_t room)
{
        int64_t size = wire_size(descriptor, message);
        if (size <= 0)
                return size;
        if ((uint64_t)size > room)
                return -EMSGSIZE;
        return (int64_t)protobuf_c_message_pack(message, out);
}

/* protobuf-c's allocator over an arena. It tells failure only by NULL, as for malformed data; hence the flag. */
struct source {
        baton_arena *arena;
        bool exhausted;
};

static void *source_alloc(void *context, size_t size)
{
        struct source *source = context;
        void *memory = baton_arena_alloc(source->arena, size);
        if (!memory)
                source->exhausted = true;
        return memory;
}

static void source_free(void *context, void *memory)
{
        (void)context;
        (void)memory;
}

int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, baton_arena *arena,
                ProtobufCMessage **message)
{
        struct source source = { .arena = arena };
        ProtobufCAllocator allocator = { source_alloc, source_free, &source };

        if (size > INT32_MAX)
                return -EMSGSIZE;
        int r = wire_scan(descriptor, data, size);
        if (r < 0)
                return r;
        *message = protobuf_c_message_unpack(descriptor, &allocator, size, data);
        if (*message)
                return 0;
        if (source.exhausted)
                return -ENOMEM;
        return wire_lacks_required(descriptor, data, size) ? -ENODATA : -EBADMSG;
}

int wire_unpack_into(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, baton_arena *arena,
                     ProtobufCMessage *message)
{
        ProtobufCMessage *unpacked;
        int r = wire_unpack(descriptor, data, size, arena, &unpacked);
        if (r == 0)
                memcpy(message, unpacked, descriptor->sizeof_message); /* nothing points back to the root */
        return r;
}
