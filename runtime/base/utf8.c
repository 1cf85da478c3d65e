#include "base/utf8.h"
#include <stdint.h>
#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS UINT64_C(0x0101010101010101)

static uint64_t load(const uint8_t *at)
{
        uint64_t word;
        memcpy(&word, at, sizeof word);
        return word;
}

static bool continues(uint8_t byte)
{
        return (byte & 0xc0) == 0x80;
}

/* The second byte's bounds exclude overlong forms (E0, F0), surrogates (ED) and what lies beyond U+10FFFF (F4). */
static bool second_valid(uint8_t lead, uint8_t second)
{
        switch (lead) {
        case 0xe0:
                return second >= 0xa0 && second <= 0xbf;
        case 0xed:
                return second >= 0x80 && second <= 0x9f;
        case 0xf0:
                return second >= 0x90 && second <= 0xbf;
        case 0xf4:
                return second >= 0x80 && second <= 0x8f;
        default:
                return continues(second);
        }
}

/* The length of the sequence at `at`; 0 where it is ill-formed. */
static size_t sequence(const uint8_t *at, const uint8_t *end)
{
        uint8_t lead = *at;
        size_t room = (size_t)(end - at);
        if (lead < 0x80)
                return 1;
        if (lead < 0xc2 || lead > 0xf4)
                return 0;
        if (room < 2 || !second_valid(lead, at[1]))
                return 0;
        if (lead < 0xe0)
                return 2;
        if (room < 3 || !continues(at[2]))
                return 0;
        if (lead < 0xf0)
                return 3;
        return room >= 4 && continues(at[3]) ? 4 : 0;
}

size_t utf8_span(const void *text, size_t size)
{
        const uint8_t *at = text;
        const uint8_t *end = at + size;
        while (at < end) {
                if (end - at >= 8 && !(load(at) & HIGH_BITS)) {
                        at += 8;
                        continue;
                }
                size_t length = sequence(at, end);
                if (!length)
                        break;
                at += length;
        }
        return (size_t)(at - (const uint8_t *)text);
}

bool utf8_valid(const void *text, size_t size)
{
        return utf8_span(text, size) == size;
}

/* Non-zero where a byte of the word is 0 or above 0x7f: taking 1 from each byte borrows only where one was 0. */
static uint64_t special(uint64_t word)
{
        return ((word - LOW_BITS) | word) & HIGH_BITS;
}

/* Whether all bytes are ASCII and none is NUL. The last word overlaps the one before, so there is no loop over a rest. */
static bool plain(const uint8_t *at, size_t size)
{
        if (size >= 8) {
                const uint8_t *last = at + size - 8;
                for (; at + 32 <= last; at += 32)
                        if (special(load(at)) | special(load(at + 8)) | special(load(at + 16)) | special(load(at + 24)))
                                return false;
                for (; at < last; at += 8)
                        if (special(load(at)))
                                return false;
                return !special(load(last));
        }
        for (size_t i = 0; i < size; i++)
                if (at[i] - 1u >= 0x7f)
                        return false;
        return true;
}

bool utf8_valid_string(const void *text, size_t size)
{
        if (plain(text, size))
                return true;
        return utf8_valid(text, size) && !memchr(text, 0, size);
}
