/* What kv.proto promises in words. */
#ifndef KV_LIMITS_H
#define KV_LIMITS_H

enum {
        KV_MAX_KEY = 256,
        KV_MAX_VALUE = 32 << 20,
        KV_MAX_PAGE = 1000,        /* entries of a scan's page */
        KV_LARGE_VALUE = 64 << 10, /* from here on a value is worth its own block of shared memory */
};

#endif
