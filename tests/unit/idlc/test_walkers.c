/* Generated walkers against the generic walk, on messages with protobuf-c's options, interleaved oneofs, recursive maps
 * and types of other files. */
#include "base/arena.h"
#include "codec/graph.h"
#include "compare.h"
#include "google/protobuf/struct.baton.h"
#include "kinds.baton.h"
#include "legacy.baton.h"
#include "options.baton.h"
#include "random_message.h"
#include "graph_stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { ROUNDS = 200 };

static char empty[] = "";
static char word[] = "word";

static const baton_type *const types[] = {
        &test__kinds__scalars__type,     &test__kinds__all__type,   &test__kinds__interleaved__type,
        &test__kinds__optionals__type,   &legacy__wanted__type,     &legacy__needed__type,
        &other__place__odd__type,        &test__kinds__empty__type, &google__protobuf__value__type,
        &google__protobuf__struct__type,
};

/* A message that requires one of its own type cannot be built: Needed is only ever refused. */
static void check_refused(const baton_type *type, const ProtobufCMessage *message)
{
        baton_type plain = generic(type);
        struct graph_stream stream;
        assert_int_equal(graph_stream_encode(&stream, type, message, UINT32_MAX), -ENODATA);
        graph_stream_free(&stream);
        assert_int_equal(graph_stream_encode(&stream, &plain, message, UINT32_MAX), -ENODATA);
        graph_stream_free(&stream);
}

static void check(const baton_type *type, const ProtobufCMessage *message, uint32_t lend_min)
{
        baton_type plain = generic(type);
        struct graph_stream special, general;
        assert_int_equal(graph_stream_encode(&special, type, message, lend_min), 0);
        assert_int_equal(graph_stream_encode(&general, &plain, message, lend_min), 0);
        assert_int_equal(special.size, general.size);
        assert_memory_equal(special.data, general.data, special.size);

        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        ProtobufCMessage *decoded;
        assert_int_equal(graph_stream_decode(&special, type, &arena, &decoded), 0);
        assert_same_message(message, decoded);
        assert_int_equal(graph_stream_decode(&general, &plain, &arena, &decoded), 0);
        assert_same_message(message, decoded);
        arena_deinit(&arena);
        graph_stream_free(&special);
        graph_stream_free(&general);
}

static void walkers_equal_the_generic_walk(void **state)
{
        (void)state;
        for (unsigned round = 0; round < ROUNDS; round++) {
                struct random random;
                random_seed(&random, round);
                for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                        if (types[i] == &legacy__needed__type || types[i] == &legacy__wanted__type)
                                continue;
                        baton_arena arena;
                        arena_init(&arena, SIZE_MAX);
                        const ProtobufCMessage *message = random_message(&random, types[i]->descriptor, &arena, 3);
                        check(types[i], message, UINT32_MAX);
                        check(types[i], message, 16);
                        arena_deinit(&arena);
                }
        }
}

static void defaults_and_absence_survive(void **state)
{
        (void)state;
        Legacy__Wanted message = LEGACY__WANTED__INIT;
        check(&legacy__wanted__type, &message.base, UINT32_MAX);
        message.text_default = NULL;
        message.has_data_default = 1; /* set to what is the default */
        check(&legacy__wanted__type, &message.base, UINT32_MAX);
        message.text_default = empty;
        message.data_default = (ProtobufCBinaryData){ 0, NULL };
        message.choice_case = LEGACY__WANTED__CHOICE_CHOSEN_TEXT;
        message.chosen_text = empty;
        check(&legacy__wanted__type, &message.base, UINT32_MAX);
        message.chosen_text = NULL;
        check_refused(&legacy__wanted__type, &message.base);
        message.choice_case = 99;
        check_refused(&legacy__wanted__type, &message.base);
}

static void missing_required_fields_are_refused(void **state)
{
        (void)state;
        Legacy__Needed inner = LEGACY__NEEDED__INIT;
        Legacy__Needed message = LEGACY__NEEDED__INIT;
        check_refused(&legacy__needed__type, &message.base);
        message.text = word;
        check_refused(&legacy__needed__type, &message.base);
        message.message = &inner;
        check_refused(&legacy__needed__type, &message.base);
}

static void optional_helpers_tell_presence(void **state)
{
        (void)state;
        Test__Kinds__Optionals message = TEST__KINDS__OPTIONALS__INIT;
        assert_false(test__kinds__optionals__has_number(&message));
        test__kinds__optionals__set_number(&message, 0);
        test__kinds__optionals__set_text(&message, empty);
        assert_true(test__kinds__optionals__has_number(&message));
        assert_true(test__kinds__optionals__has_text(&message));
        check(&test__kinds__optionals__type, &message.base, UINT32_MAX);
        test__kinds__optionals__clear_text(&message);
        assert_false(test__kinds__optionals__has_text(&message));
        check(&test__kinds__optionals__type, &message.base, UINT32_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(walkers_equal_the_generic_walk),
                cmocka_unit_test(defaults_and_absence_survive),
                cmocka_unit_test(missing_required_fields_are_refused),
                cmocka_unit_test(optional_helpers_tell_presence),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
