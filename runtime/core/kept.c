#include "core/kept.h"
#include "base/error.h"
#include "codec/check.h"
#include "codec/explain.h"
#include <errno.h>
#include <stdlib.h>

static int refuse(const struct client_call *call, int error)
{
        char text[512];
        explain(call->method->input->descriptor, call->request, error, text, sizeof text);
        return error_set(error, "%s", text);
}

static int no_memory(const struct client_call *call)
{
        return error_set(-ENOMEM, "%s: no memory to keep the request", call->method->path);
}

/* protobuf-c has no copy of its own. */
static int copy(const struct client_call *call, ProtobufCMessage **same)
{
        struct check check;
        int error = message_check(call->method->input->descriptor, call->request, &check);
        if (error < 0)
                return refuse(call, error);
        size_t size = protobuf_c_message_get_packed_size(call->request);
        if (size > call->max_request_bytes)
                return error_set(
                        -EMSGSIZE,
                        "%s of %zu bytes is over the limit of %zu bytes; raise max_message_bytes on both sides",
                        call->request->descriptor->name, size, call->max_request_bytes);
        uint8_t *bytes = malloc(size ? size : 1);
        if (!bytes)
                return no_memory(call);
        protobuf_c_message_pack(call->request, bytes);
        *same = protobuf_c_message_unpack(call->request->descriptor, NULL, size, bytes);
        free(bytes);
        return *same ? 0 : no_memory(call);
}

int kept_take(struct kept *kept, const struct client_call *call, size_t max_metadata_bytes)
{
        int error = call->request ? copy(call, &kept->request) : 0;
        if (error >= 0)
                error = metadata_list_add_all(&kept->metadata, call->metadata, max_metadata_bytes, true);
        kept->there = error >= 0;
        if (error < 0)
                kept_drop(kept);
        return error;
}

void kept_lend(const struct kept *kept, struct client_call *call)
{
        call->request = kept->request;
        call->metadata = &kept->metadata.metadata;
}

void kept_drop(struct kept *kept)
{
        if (kept->request)
                protobuf_c_message_free_unpacked(kept->request, NULL);
        metadata_list_deinit(&kept->metadata);
        *kept = (struct kept){ 0 };
}

baton_code kept_code(int error)
{
        switch (error) {
        case -EILSEQ:
        case -ENODATA:
        case -ELOOP:
        case -EINVAL:
        case -EBADMSG:
                return BATON_INVALID_ARGUMENT;
        case -EMSGSIZE:
        case -ENOBUFS:
        case -ENOMEM:
        case -EBUSY:
                return BATON_RESOURCE_EXHAUSTED;
        default:
                return BATON_UNAVAILABLE;
        }
}
