/* FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/): for names, not against attackers. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

static inline uint64_t hash_string(const char *string)
{
        uint64_t hash = 0xcbf29ce484222325u;
        for (; *string; string++)
                hash = (hash ^ (uint8_t)*string) * 0x100000001b3u;
        return hash;
}

#endif
