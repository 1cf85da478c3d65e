#include "core/options.h"
#include "base/error.h"
#include <errno.h>

enum {
        DEFAULT_MESSAGE_BYTES = 64 << 20,
        LARGEST_MESSAGE_BYTES = 1 << 30,
        SEGMENT_BYTES = 1 << 20, /* a heap is made of whole segments */
};

static const size_t largest_heap_bytes = (size_t)8 << 30; /* address space that each peer reserves */

int option_refuse(const char *owner, const char *name, unsigned long long value, const char *expected)
{
        return error_set(-EINVAL, "%s option %s is %llu; expected %s", owner, name, value, expected);
}

int option_sizes(const char *owner, size_t *max_message_bytes, size_t *max_heap_bytes)
{
        if (!*max_message_bytes)
                *max_message_bytes = DEFAULT_MESSAGE_BYTES;
        if (*max_message_bytes > LARGEST_MESSAGE_BYTES)
                return option_refuse(owner, "max_message_bytes", *max_message_bytes, "at most 1 GiB");
        if (!*max_heap_bytes)
                *max_heap_bytes = 4 * *max_message_bytes;
        if (*max_heap_bytes > largest_heap_bytes)
                return option_refuse(owner, "max_heap_bytes", *max_heap_bytes, "at most 8 GiB");
        *max_heap_bytes = (*max_heap_bytes + SEGMENT_BYTES - 1) & ~(size_t)(SEGMENT_BYTES - 1);
        return 0;
}
