/* The words for messages that do not encode. */
#include "codec/explain.h"
#include "codec/graph.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>

/* Encodes, which must fail, and compares what is said about it. */
static void assert_said(const ProtobufCMessage *message, const char *expected)
{
        static uint8_t buffer[1 << 16] __attribute__((aligned(8)));
        baton_graph_writer writer = { .at = buffer, .end = buffer + sizeof buffer };
        int r = graph_encode(&(baton_type){ .descriptor = message->descriptor }, &writer, message);
        assert_true(r < 0);
        char text[300];
        explain(message->descriptor, message, r, text, sizeof text);
        assert_string_equal(text, expected);
}

static void places_are_named(void **state)
{
        (void)state;
        Kinds3__All all = KINDS3__ALL__INIT;
        Kinds3__Leaf leaves[3] = { KINDS3__LEAF__INIT, KINDS3__LEAF__INIT, KINDS3__LEAF__INIT };
        Kinds3__Leaf *pointers[3] = { &leaves[0], &leaves[1], &leaves[2] };
        all.n_r_message = 3;
        all.r_message = pointers;
        leaves[2].name = (char *)"hello\xff";
        assert_said(&all.base, "kinds3.All.r_message[2].name: not valid UTF-8 at byte 5");
        leaves[2].name = (char *)"ok";
        leaves[1]._note_case = KINDS3__LEAF___NOTE_NOTE;
        assert_said(&all.base, "kinds3.All.r_message[1].note: selected by its oneof, but NULL");
        leaves[1]._note_case = KINDS3__LEAF___NOTE__NOT_SET;
        leaves[0].choice_case = (Kinds3__Leaf__ChoiceCase)99;
        assert_said(&all.base,
                    "kinds3.All.r_message[0].nothing: the case of its oneof is 99, which is none of its fields");
        pointers[0] = NULL;
        assert_said(&all.base, "kinds3.All.r_message[0]: NULL, where every element must be set");
        all.n_r_message = 0;
        all.n_r_int32 = 7;
        assert_said(&all.base, "kinds3.All.r_int32: its count is 7, but the array is NULL");
        all.n_r_int32 = 0;
        all.f_bytes.len = 3;
        assert_said(&all.base, "kinds3.All.f_bytes: its len is 3, but data is NULL");
        all.f_bytes.len = 0;
        Kinds3__All blank = { .f_int32 = 1 };
        all.child = &blank;
        assert_said(&all.base,
                    "kinds3.All.child: not initialised, or a message of another type; use its __init function");
        Kinds2__Needed needed = KINDS2__NEEDED__INIT;
        assert_said(&needed.base, "kinds2.Needed.text: required, but NULL");
}

static void long_paths_are_shortened(void **state)
{
        (void)state;
        Kinds3__Chain chain = KINDS3__CHAIN__INIT;
        chain.next = &chain;
        assert_said(&chain.base,
                    "kinds3.Chain.next.next.next.next.next.next.next.next....next.next.next: nested deeper than "
                    "100 messages; does the message contain itself?");
}

static void text_fits_its_room(void **state)
{
        (void)state;
        Kinds3__Chain chain = KINDS3__CHAIN__INIT;
        chain.name = (char *)"\xff";
        char text[300];
        for (size_t size = 1; size < 60; size++) {
                memset(text, 'x', sizeof text);
                explain(chain.base.descriptor, &chain.base, -EILSEQ, text, size);
                assert_true(strlen(text) < size);
                assert_int_equal(text[size], 'x');
        }
        text[0] = 'x';
        explain(chain.base.descriptor, &chain.base, -EILSEQ, text, 0);
        assert_int_equal(text[0], 'x');
}

static void errors_without_a_place(void **state)
{
        (void)state;
        Kinds3__Chain chain = KINDS3__CHAIN__INIT;
        char text[300];
        explain(chain.base.descriptor, &chain.base, -EMSGSIZE, text, sizeof text);
        assert_string_equal(text, "kinds3.Chain: too large");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(places_are_named),
                cmocka_unit_test(long_paths_are_shortened),
                cmocka_unit_test(text_fits_its_room),
                cmocka_unit_test(errors_without_a_place),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
