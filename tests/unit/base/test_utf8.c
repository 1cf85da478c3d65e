#include "base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Encodes any number below 2^21 as UTF-8 would in `length` bytes, sensible or not. */
static size_t encode(uint32_t code, size_t length, uint8_t *out)
{
        static const uint8_t leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
        if (length == 1) {
                out[0] = (uint8_t)code;
                return 1;
        }
        for (size_t i = length - 1; i > 0; i--, code >>= 6)
                out[i] = (uint8_t)(0x80 | (code & 0x3f));
        out[0] = (uint8_t)(leads[length] | code);
        return length;
}

static size_t shortest(uint32_t code)
{
        return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static void every_code_point(void **state)
{
        (void)state;
        uint8_t bytes[4];
        for (uint32_t code = 0; code < 0x1fffff; code++) {
                bool sane = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
                size_t least = shortest(code);
                for (size_t length = least; length <= 4; length++)
                        if (utf8_valid(bytes, encode(code, length, bytes)) != (sane && length == least))
                                fail_msg("U+%X in %zu bytes", code, length);
        }
}

/* A valid text with one sequence at every place of texts of every length around the fast path's steps. */
static void every_place(void **state)
{
        (void)state;
        static const char *const good[] = { "é", "€", "😀" };
        static const char *const bad[] = { "\x80",         "\xff",     "\xc3",        "\xe2\x82",
                                           "\xf0\x9f\x98", "\xc0\x80", "\xed\xa0\x80" };
        for (size_t size = 4; size < 80; size++) {
                for (size_t at = 0; at + 4 <= size; at++) {
                        char *text = malloc(size); /* exactly: a sanitizer sees any step beyond */
                        for (size_t i = 0; i < 3; i++) {
                                memset(text, 'x', size);
                                memcpy(text + at, good[i], strlen(good[i]));
                                assert_true(utf8_valid(text, size));
                                assert_true(utf8_valid_string(text, size));
                                assert_int_equal(utf8_span(text, size), size);
                        }
                        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                                memset(text, 'x', size);
                                memcpy(text + at, bad[i], strlen(bad[i]));
                                assert_false(utf8_valid(text, size));
                                assert_false(utf8_valid_string(text, size));
                                assert_int_equal(utf8_span(text, size), at);
                        }
                        free(text);
                }
        }
}

static void cut_sequences(void **state)
{
        (void)state;
        static const char text[] = "0123456é€😀";
        for (size_t size = 0; size < sizeof text; size++) {
                char *copy = malloc(size + 1);
                memcpy(copy, text, size);
                bool whole = size <= 7 || size == 9 || size == 12 || size == 16;
                assert_int_equal(utf8_valid(copy, size), whole);
                assert_int_equal(utf8_valid_string(copy, size), whole);
                free(copy);
        }
}

static void nul_is_no_part_of_a_string(void **state)
{
        (void)state;
        for (size_t size = 1; size < 70; size++) {
                for (size_t at = 0; at < size; at++) {
                        char text[70];
                        memset(text, at & 1 ? 'x' : '\x7f', size);
                        assert_true(utf8_valid_string(text, size));
                        text[at] = 0;
                        assert_true(utf8_valid(text, size));
                        assert_false(utf8_valid_string(text, size));
                }
        }
        assert_true(utf8_valid_string("", 0));
        assert_true(utf8_valid_string(NULL, 0));
        assert_false(utf8_valid_string("\xc3\xa9\0", 3));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_code_point),
                cmocka_unit_test(every_place),
                cmocka_unit_test(cut_sequences),
                cmocka_unit_test(nul_is_no_part_of_a_string),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
