/* The graph decoder against streams that no writer of ours produces. Meant to run under sanitizers. */
#include "base/arena.h"
#include "base/utf8.h"
#include "codec/field.h"
#include "codec/graph.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"
#include "random_message.h"
#include "graph_stream.h"
#include "types.h"
#include "walkers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
        HEAP = 512,
        BUDGET = 1 << 24,
};

/* Reads every byte that the message refers to, as a program would; a sanitizer sees what it may not read. */
static uint64_t touch(const ProtobufCMessage *message);

static uint64_t touch_text(const char *text)
{
        if (!text)
                return 0;
        assert_true(utf8_valid(text, strlen(text)));
        return strlen(text);
}

static uint64_t touch_memory(const uint8_t *data, size_t size)
{
        uint64_t sum = 0;
        for (size_t i = 0; i < size; i++)
                sum += data[i];
        return sum;
}

static uint64_t touch_value(const ProtobufCFieldDescriptor *field, const void *value)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return touch_text(*(const char *const *)value);
        case PROTOBUF_C_TYPE_BYTES: {
                const ProtobufCBinaryData *bytes = value;
                return touch_memory(bytes->data, bytes->len);
        }
        case PROTOBUF_C_TYPE_MESSAGE: {
                const ProtobufCMessage *message = *(const ProtobufCMessage *const *)value;
                return message ? touch(message) : 0;
        }
        default:
                assert_int_equal((uintptr_t)value % field_element_size(field->type), 0);
                return touch_memory(value, field_element_size(field->type));
        }
}

static uint64_t touch(const ProtobufCMessage *message)
{
        uint64_t sum = 0;
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
                if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                        const uint8_t *array = field_pointer(message, field);
                        for (size_t k = 0; k < field_count(message, field); k++)
                                sum += touch_value(field, array + k * field_element_size(field->type));
                        continue;
                }
                if (field_in_oneof(field) && field_case(message, field) != field->id)
                        continue;
                const void *value = field_of(message, field->offset);
                sum += touch_value(field, value);
                if (field_is_pointer(field) && (field_in_oneof(field) || field->label == PROTOBUF_C_LABEL_REQUIRED))
                        assert_non_null(field_pointer(message, field));
        }
        for (unsigned i = 0; i < message->n_unknown_fields; i++)
                sum += touch_memory(message->unknown_fields[i].data, message->unknown_fields[i].len);
        return sum;
}

/* Decodes a private copy of exactly that size, and uses what comes out. Returns the decoder's result. */
static int attack(const baton_type *type, const void *data, size_t size)
{
        uint8_t *copy = malloc(size ? size : 1);
        uint8_t *heap = calloc(1, HEAP);
        memcpy(copy, data, size);
        baton_arena arena;
        arena_init(&arena, BUDGET);
        baton_graph_reader reader = {
                .at = copy, .end = copy + size, .heap = heap, .heap_size = HEAP, .arena = &arena
        };
        ProtobufCMessage *message;
        int r = graph_decode(type, &reader, &message);
        if (r == 0)
                touch(message);
        else
                assert_true(r == -EBADMSG || r == -EILSEQ || r == -ENODATA || r == -ENOMEM || r == -ELOOP);
        arena_deinit(&arena);
        free(heap);
        free(copy);
        return r;
}

/* With the walkers and without: both say the same. */
static int attack_both(const baton_type *type, const void *data, size_t size)
{
        baton_type plain = generic(type);
        int r = attack(type, data, size);
        assert_int_equal(attack(&plain, data, size), r);
        return r;
}

static void replace_words(const baton_type *type, const struct graph_stream *stream)
{
        static const uint64_t evil[] = { 0,
                                         1,
                                         2,
                                         3,
                                         UINT64_MAX,
                                         UINT64_C(1) << 31,
                                         UINT32_MAX,
                                         UINT64_C(1) << 32,
                                         UINT64_C(1) << 63,
                                         UINT64_MAX / 8 + 1,
                                         UINT64_MAX / 24 + 1,
                                         (uint64_t)HEAP << 2 | 2,
                                         (uint64_t)(HEAP - 1) << 2 | 2,
                                         5 << 2 | 2,
                                         UINT64_MAX << 2 | 2,
                                         517 | UINT64_C(9) << 32,
                                         7,
                                         8,
                                         64 };
        size_t words = stream->size / 8;
        size_t step = words > 120 ? words / 120 : 1;
        for (size_t i = 0; i < words; i += step) {
                uint64_t before;
                memcpy(&before, stream->data + i * 8, 8);
                for (size_t k = 0; k < sizeof evil / sizeof *evil; k++) {
                        memcpy(stream->data + i * 8, &evil[k], 8);
                        attack_both(type, stream->data, stream->size);
                }
                uint64_t more = before + 1;
                memcpy(stream->data + i * 8, &more, 8);
                attack_both(type, stream->data, stream->size);
                memcpy(stream->data + i * 8, &before, 8);
        }
}

/* A short stream is never taken for a whole one; only the unknown fields at the end may be missing. */
static void truncate_stream(const baton_type *type, const struct graph_stream *stream, size_t whole)
{
        size_t step = stream->size > 2000 ? 31 : 1;
        for (size_t size = 0; size < stream->size; size += step) {
                int r = attack_both(type, stream->data, size);
                if (r == 0)
                        assert_int_equal(size, whole);
        }
}

static void broken_streams_do_no_harm(void **state)
{
        (void)state;
        struct random random;
        for (unsigned round = 0; round < 8; round++) {
                random_seed(&random, 1000 + round);
                for (size_t i = 0; i < n_test_types; i++) {
                        baton_arena arena;
                        arena_init(&arena, SIZE_MAX);
                        ProtobufCMessage *message = random_message(&random, test_types[i]->descriptor, &arena, 2);
                        struct graph_stream stream;
                        assert_int_equal(
                                graph_stream_encode(&stream, test_types[i], message, round & 1 ? 32 : UINT32_MAX), 0);
                        message->n_unknown_fields = 0;
                        size_t whole = (size_t)graph_size(test_types[i], message, round & 1 ? 32 : UINT32_MAX);
                        truncate_stream(test_types[i], &stream, whole);
                        replace_words(test_types[i], &stream);
                        graph_stream_free(&stream);
                        arena_deinit(&arena);
                }
        }
}

static void random_streams_do_no_harm(void **state)
{
        (void)state;
        struct random random;
        random_seed(&random, 99);
        for (int round = 0; round < 20000; round++) {
                uint64_t words[40];
                size_t n = random_below(&random, 40);
                for (size_t i = 0; i < n; i++)
                        words[i] = random_below(&random, 3) ? random_below(&random, 12) : random_next(&random);
                attack_both(test_types[random_below(&random, n_test_types)], words, n * 8);
        }
}

static void bytes_left_over_are_refused(void **state)
{
        (void)state;
        uint64_t words[8] = { 1, 2, 3 };
        assert_int_equal(attack_both(&walkers_point, words, 24), 0);
        assert_int_equal(attack_both(&walkers_point, words, 23), -EBADMSG);
        assert_int_equal(attack_both(&walkers_point, words, 25), -EBADMSG);
        assert_int_equal(attack_both(&walkers_point, words, 40), -EBADMSG);
        /* One unknown field: number 9, a 64-bit value. */
        const uint64_t one[7] = { 1, 2, 3, 1, 9 | UINT64_C(1) << 32, 8, 77 };
        assert_int_equal(attack_both(&walkers_point, one, 56), 0);
        words[0] = 0;
        assert_int_equal(attack_both(&walkers_point, words, 0), -EBADMSG);
}

static void malformed_unknown_fields_are_refused(void **state)
{
        (void)state;
        uint64_t words[8] = { 1, 2, 3, 1, 9 | UINT64_C(1) << 32, 8, 77 };
        words[4] = 9 | UINT64_C(5) << 32; /* 32-bit, but 8 bytes */
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
        words[4] = 9 | UINT64_C(3) << 32; /* a group */
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
        words[4] = 0 | UINT64_C(1) << 32; /* number 0 */
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
        words[4] = 9 | UINT64_C(2) << 32; /* length-prefixed, but the prefix says 77 */
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
        words[6] = 7;
        assert_int_equal(attack_both(&walkers_point, words, 56), 0);
        words[3] = UINT64_MAX / 24 + 2; /* times 24 it is small again */
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
        words[3] = 2;
        assert_int_equal(attack_both(&walkers_point, words, 56), -EBADMSG);
}

/* Counts that come out small when multiplied by the size of an element. */
static void counts_that_overflow_are_refused(void **state)
{
        (void)state;
        struct {
                Kinds3__All image;
                uint64_t more[8];
        } stream;
        baton_type type = { .descriptor = &kinds3__all__descriptor };
        size_t size = sizeof stream - sizeof stream.image.base;

        struct {
                size_t *n;
                void *slot;
                size_t element_size;
        } arrays[] = {
                { &stream.image.n_r_double, &stream.image.r_double, 8 },
                { &stream.image.n_r_int32, &stream.image.r_int32, 4 },
                { &stream.image.n_r_bool, &stream.image.r_bool, 4 },
                { &stream.image.n_r_string, &stream.image.r_string, 8 },
                { &stream.image.n_r_bytes, &stream.image.r_bytes, 16 },
                { &stream.image.n_r_message, &stream.image.r_message, sizeof(Kinds3__Leaf) - sizeof(ProtobufCMessage) },
                { &stream.image.n_r_empty, &stream.image.r_empty, 8 },
        };
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
                for (size_t extra = 0; extra < 4; extra++) {
                        memset(&stream, 0, sizeof stream);
                        *arrays[i].n = SIZE_MAX / arrays[i].element_size + extra;
                        baton_graph_set_slot(arrays[i].slot, BATON_SLOT_INLINE);
                        assert_int_equal(attack(&type, &stream.image.f_int32, size), -EBADMSG);
                }
        }
}

/* Offsets in slots: up to the heap's end, never beyond, and aligned as the elements need. */
static void references_stay_in_the_heap(void **state)
{
        (void)state;
        Kinds3__Leaf image;
        memset(&image, 0, sizeof image);
        size_t size = sizeof image - sizeof image.base;
        image.blob.len = HEAP;
        baton_graph_set_slot(&image.blob.data, 2);
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), 0);
        image.blob.len = HEAP + 1;
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);
        image.blob.len = 1;
        baton_graph_set_slot(&image.blob.data, (HEAP - 1) << 2 | 2);
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), 0);
        baton_graph_set_slot(&image.blob.data, HEAP << 2 | 2);
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);
        image.blob.len = SIZE_MAX;
        baton_graph_set_slot(&image.blob.data, 8 << 2 | 2);
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);

        Kinds3__All all;
        memset(&all, 0, sizeof all);
        baton_type type = { .descriptor = &kinds3__all__descriptor };
        all.n_r_double = 1;
        baton_graph_set_slot(&all.r_double, 8 << 2 | 2);
        assert_int_equal(attack(&type, &all.f_int32, sizeof all - sizeof all.base), 0);
        baton_graph_set_slot(&all.r_double, 4 << 2 | 2);
        assert_int_equal(attack(&type, &all.f_int32, sizeof all - sizeof all.base), -EBADMSG);
        baton_graph_set_slot(&all.r_double, 8 << 2 | 2);
        all.n_r_double = SIZE_MAX / 8 + 2;
        assert_int_equal(attack(&type, &all.f_int32, sizeof all - sizeof all.base), -EBADMSG);
}

static void oneof_cases_are_checked(void **state)
{
        (void)state;
        Kinds3__Leaf image;
        memset(&image, 0, sizeof image);
        size_t size = sizeof image - sizeof image.base;
        image.choice_case = (Kinds3__Leaf__ChoiceCase)5; /* a member, but of another oneof */
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);
        image.choice_case = (Kinds3__Leaf__ChoiceCase)-1;
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);
        image.choice_case = KINDS3__LEAF__CHOICE_POINT;
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -ENODATA);
        image.choice_case = KINDS3__LEAF__CHOICE_TEXT;
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -ENODATA);
        image.choice_case = KINDS3__LEAF__CHOICE__NOT_SET;
        image._note_case = (Kinds3__Leaf__NoteCase)6;
        assert_int_equal(attack_both(&walkers_leaf, &image.name, size), -EBADMSG);
}

static void depth_is_limited(void **state)
{
        (void)state;
        size_t image = sizeof(Kinds3__Chain) - sizeof(ProtobufCMessage);
        for (size_t n = 99; n <= 2000; n = n < 102 ? n + 1 : n * 2) {
                uint8_t *data = calloc(n, image);
                for (size_t i = 0; i + 1 < n; i++)
                        baton_graph_set_slot(data + i * image, BATON_SLOT_INLINE);
                assert_int_equal(attack_both(&walkers_chain, data, n * image), n <= 100 ? 0 : -ELOOP);
                free(data);
        }
}

static void memory_is_bounded(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, 8192);
        Kinds3__All all = KINDS3__ALL__INIT;
        Kinds3__Empty nothing = KINDS3__EMPTY__INIT;
        Kinds3__Empty *array[4000];
        for (int i = 0; i < 4000; i++)
                array[i] = &nothing;
        all.n_r_empty = 4000;
        all.r_empty = array;
        baton_type type = { .descriptor = &kinds3__all__descriptor };
        struct graph_stream stream;
        ProtobufCMessage *message;
        assert_int_equal(graph_stream_encode(&stream, &type, &all.base, UINT32_MAX), 0);
        assert_int_equal(graph_stream_decode(&stream, &type, &arena, &message), -ENOMEM);
        arena_deinit(&arena);
        arena_init(&arena, stream.size * 5 + 8192);
        assert_int_equal(graph_stream_decode(&stream, &type, &arena, &message), 0);
        arena_deinit(&arena);
        graph_stream_free(&stream);
}

struct race {
        _Atomic uint64_t *words;
        size_t n;
        atomic_bool stop;
};

static void *scribble(void *argument)
{
        struct race *race = argument;
        struct random random;
        random_seed(&random, 5);
        while (!atomic_load_explicit(&race->stop, memory_order_relaxed)) {
                size_t at = random_below(&random, race->n);
                uint64_t was = race->words[at];
                race->words[at] = random_below(&random, 2) ? random_below(&random, 64) : random_next(&random);
                race->words[at] = was;
        }
        return NULL;
}

/* A peer that writes while we read: whatever comes out is consistent, its strings are terminated and valid. */
static void a_racing_writer_does_no_harm(void **state)
{
        (void)state;
#ifdef __SANITIZE_THREAD__
        skip(); /* the race is the point */
#endif
        struct random random;
        random_seed(&random, 77);
        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        struct graph_stream stream;
        do {
                ProtobufCMessage *message = random_message(&random, &kinds3__all__descriptor, &arena, 3);
                assert_int_equal(graph_stream_encode(&stream, test_types[4], message, UINT32_MAX), 0);
        } while (stream.size < 4000 && (graph_stream_free(&stream), true));
        arena_deinit(&arena);

        struct race race = { .words = (_Atomic uint64_t *)(void *)stream.data, .n = stream.size / 8 };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, scribble, &race), 0);
        time_t end = time(NULL) + 1;
        for (int i = 0; i < 20000 && time(NULL) <= end; i++) {
                arena_init(&arena, BUDGET);
                baton_graph_reader reader = { .at = stream.data, .end = stream.data + stream.size, .arena = &arena };
                ProtobufCMessage *message;
                if (graph_decode(test_types[4], &reader, &message) == 0)
                        touch(message);
                arena_deinit(&arena);
        }
        atomic_store(&race.stop, true);
        pthread_join(thread, NULL);
        graph_stream_free(&stream);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(broken_streams_do_no_harm),
                cmocka_unit_test(random_streams_do_no_harm),
                cmocka_unit_test(bytes_left_over_are_refused),
                cmocka_unit_test(malformed_unknown_fields_are_refused),
                cmocka_unit_test(counts_that_overflow_are_refused),
                cmocka_unit_test(references_stay_in_the_heap),
                cmocka_unit_test(oneof_cases_are_checked),
                cmocka_unit_test(depth_is_limited),
                cmocka_unit_test(memory_is_bounded),
                cmocka_unit_test(a_racing_writer_does_no_harm),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
