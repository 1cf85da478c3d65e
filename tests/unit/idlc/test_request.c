/* The core on requests that protoc would not send: cut short, with bytes changed, removed or doubled. Each must end in
 * files or in an error, never in a crash; sanitizers watch. */
#include "compile.h"
#include "request.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MUTATIONS = 6000 };

static struct text original;

static int read_original(void **state)
{
        (void)state;
        char buffer[4096];
        FILE *file = fopen(REQUEST_FILE, "rb");
        assert_non_null(file);
        size_t n;
        while ((n = fread(buffer, 1, sizeof buffer, file)) > 0)
                text_append(&original, buffer, n);
        fclose(file);
        return 0;
}

static int free_original(void **state)
{
        (void)state;
        text_free(&original);
        return 0;
}

enum outcome { NOT_UNPACKED, REFUSED, COMPILED };

/* data is exactly size bytes, so that a sanitizer sees any step beyond. */
static enum outcome run(const char *data, size_t size)
{
        uint8_t *copy = malloc(size ? size : 1);
        memcpy(copy, data, size);
        const char *error = NULL;
        enum outcome outcome = NOT_UNPACKED;
        request_proto *request = request_unpack(copy, size, &error);
        if (request) {
                struct compilation compilation;
                int r = compile(&compilation, request, &(struct compile_options){ .without_structs = true });
                outcome = r < 0 ? REFUSED : COMPILED;
                assert_int_equal(r<0, compilation.errors.size> 0);
                compile_deinit(&compilation);
                request_free(request);
        } else {
                assert_non_null(error);
        }
        free(copy);
        return outcome;
}

static void the_original_compiles(void **state)
{
        (void)state;
        assert_true(original.size > 10000);
        assert_int_equal(run(original.data, original.size), COMPILED);
}

static void truncated_requests_are_refused(void **state)
{
        (void)state;
        size_t step = original.size / 2000 + 1;
        for (size_t size = 0; size < original.size; size += step)
                assert_int_not_equal(run(original.data, size), COMPILED);
}

static uint32_t random_state = 1;

static size_t random_below(size_t n)
{
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 8) % n;
}

/* Values that lengths, numbers and types break on. */
static char random_byte(void)
{
        static const unsigned char bytes[] = { 0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x1a, '.', '/' };
        return (char)(random_below(2) ? bytes[random_below(sizeof bytes)] : random_below(256));
}

static void mutate(struct text *text)
{
        size_t at = random_below(text->size);
        size_t n = 1 + random_below(8);
        if (n > text->size - at)
                n = text->size - at;
        switch (random_below(4)) {
        case 0:
                text->data[at] = random_byte();
                break;
        case 1:
                text->data[at] = (char)(text->data[at] ^ 1 << random_below(8));
                break;
        case 2:
                memmove(text->data + at, text->data + at + n, text->size - at - n);
                text->size -= n;
                break;
        default: /* as long as before: the lengths around it hold */
                memcpy(text->data + at, original.data + random_below(original.size - n), n);
        }
}

static void mutated_requests_do_no_harm(void **state)
{
        (void)state;
        size_t outcomes[3] = { 0 };
        for (int i = 0; i < MUTATIONS; i++) {
                struct text text = { 0 };
                text_append(&text, original.data, original.size);
                for (size_t n = 1 + random_below(4); n; n--)
                        mutate(&text);
                outcomes[run(text.data, text.size)]++;
                text_free(&text);
        }
        /* The mutations reach the reader and the checks, not only the unpacker. */
        assert_true(outcomes[NOT_UNPACKED] > MUTATIONS / 100);
        assert_true(outcomes[REFUSED] > MUTATIONS / 100);
        assert_true(outcomes[COMPILED] > MUTATIONS / 100);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_original_compiles),
                cmocka_unit_test(truncated_requests_are_refused),
                cmocka_unit_test(mutated_requests_do_no_harm),
        };
        return cmocka_run_group_tests(tests, read_original, free_original);
}
