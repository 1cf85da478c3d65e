/* Streams misused, on both sides: each mistake has its answer, and breaks nothing. */
#include "streams.h"
#include <baton/service.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const baton_method *method_named(const char *name)
{
        for (size_t i = 0; i < probe_service.n_methods; i++)
                if (strcmp(strrchr(probe_service.methods[i].path, '/') + 1, name) == 0)
                        return &probe_service.methods[i];
        fail_msg("no method %s", name);
        return NULL;
}

static void idle(baton_stream *stream, void *context)
{
        (void)stream;
        (void)context;
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static void expect_no_stream(baton_channel *on, baton_loop *with, const char *method, const ProtobufCMessage *request,
                             baton_stream_ready ready, const char *words)
{
        const baton_method *found = method ? method_named(method) : NULL;
        assert_null(baton_stream_open(on, with, found, request, NULL, ready, NULL));
        expect_error(words);
        if (method)
                expect_error(method);
}

static void test_opening(void **state)
{
        (void)state;
        const Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        const Conformance__Item item = CONFORMANCE__ITEM__INIT;
        const Conformance__Empty empty = CONFORMANCE__EMPTY__INIT;
        expect_no_stream(channel, NULL, NULL, NULL, NULL, "method is NULL");
        expect_no_stream(NULL, NULL, "Chat", NULL, NULL, "channel is NULL");
        expect_no_stream(channel, NULL, "Chat", &item.base, NULL, "streams its requests");
        expect_no_stream(channel, NULL, "Collect", &item.base, NULL, "streams its requests");
        expect_no_stream(channel, NULL, "Produce", NULL, NULL, "request is NULL");
        expect_no_stream(channel, NULL, "Produce", &item.base, NULL, "type");
        expect_no_stream(channel, NULL, "Echo", &item.base, NULL, "unary");
        expect_no_stream(channel, NULL, "Nothing", &empty.base, NULL, "unary");
        expect_no_stream(channel, loop, "Chat", NULL, NULL, "callback is NULL");
        expect_no_stream(channel, NULL, "Chat", NULL, idle, "needs a loop");
        Conformance__Script invalid = script;
        invalid.message = (char *)"\xff";
        assert_null(probe_produce_open(channel, &invalid, NULL));
        expect_error("conformance.Script|message|UTF-8");
        baton_loop_free(loop);
        loop = NULL;
        expect_chat(channel, 3);
}

/* Unary functions on streaming methods. */
static void test_unary_functions(void **state)
{
        (void)state;
        const Conformance__Item item = CONFORMANCE__ITEM__INIT;
        const Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        static const char *const names[] = { "Collect", "Produce", "Chat" };
        for (int i = 0; i < 3; i++) {
                const ProtobufCMessage *request = i == 1 ? &script.base : &item.base, *reply;
                baton_status status = baton_unary(channel, method_named(names[i]), request, &reply, NULL);
                expect_status(status, BATON_INVALID_ARGUMENT, "streaming");
                baton_release(reply);
                assert_int_equal(baton_unary_async(channel, loop, method_named(names[i]), request, NULL,
                                                   (baton_callback)idle, NULL),
                                 -EINVAL);
                assert_int_equal(baton_oneway(channel, method_named(names[i]), request, NULL), -EINVAL);
                expect_error(names[i]);
        }
        baton_loop_free(loop);
        loop = NULL;
        assert_int_equal(counts_now().live, 0);
}

static void test_unknown_methods(void **state)
{
        (void)state;
        const Conformance__Empty *reply;
        Conformance__Empty empty = CONFORMANCE__EMPTY__INIT;
        baton_stream *stream = probe_stream_open(channel, NULL);
        baton_status status = probe_stream_finish(stream, &reply);
        expect_status(status, BATON_UNIMPLEMENTED, "/conformance.Probe/Stream|no handler");
        assert_non_null(reply);
        baton_stream_close(stream);
        stream = probe_stream_open(channel, NULL);
        int error = 0;
        for (int i = 0; i < 100000 && !error; i++)
                error = probe_stream_write(stream, &empty);
        assert_int_equal(error, -EPIPE);
        baton_stream_close(stream);
}

/* ---- using ------------------------------------------------------------------------------------------------ */

static void test_nulls(void **state)
{
        (void)state;
        const ProtobufCMessage *message;
        const Conformance__Item item = CONFORMANCE__ITEM__INIT;
        const ProtobufCMessage *const unused = &item.base;
        message = unused;
        assert_int_equal(baton_stream_write(NULL, &item.base), -EINVAL);
        assert_int_equal(baton_stream_writes_done(NULL), -EINVAL);
        assert_int_equal(baton_stream_read(NULL, &message), -EINVAL);
        assert_null(message);
        expect_error("stream is NULL");
        expect_status(baton_stream_finish(NULL, NULL), BATON_INVALID_ARGUMENT, "stream is NULL");
        assert_true(baton_stream_ended(NULL));
        assert_null(baton_stream_headers(NULL));
        baton_stream_cancel(NULL);
        baton_stream_close(NULL);
        baton_stream *stream = probe_chat_open(channel, NULL);
        assert_int_equal(baton_stream_write(stream, NULL), -EINVAL);
        expect_error("/conformance.Probe/Chat|message is NULL");
        assert_int_equal(baton_stream_read(stream, NULL), -EINVAL);
        baton_stream_close(stream);
}

/* A message that cannot be sent; the stream goes on. */
static void test_messages(void **state)
{
        (void)state;
        baton_channel *limited = peer_open(&peer, &(baton_channel_options){ .max_message_bytes = 65536 });
        uint8_t *data = pattern(100000, 0);
        const Conformance__Blob blob = CONFORMANCE__BLOB__INIT;
        const Conformance__Item *back;
        Conformance__Item large = item_of(1, data, 100000), invalid = item_of(1, NULL, 0), fine = item_of(0, NULL, 0);
        invalid.text = (char *)"\xc3";
        baton_stream *stream = probe_chat_open(limited, NULL);
        assert_int_equal(baton_stream_write(stream, &blob.base), -EINVAL);
        expect_error("/conformance.Probe/Chat|type");
        assert_int_equal(probe_chat_write(stream, &large), -EMSGSIZE);
        assert_int_equal(probe_chat_write(stream, &invalid), -EILSEQ);
        expect_error("conformance.Item|text|UTF-8");
        assert_int_equal(probe_chat_write(stream, &fine), 0);
        assert_int_equal(probe_chat_read(stream, &back), 1);
        assert_int_equal(back->value, 0);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        Conformance__Script script = script_of();
        script.size = 100000;
        script.count = 1;
        stream = probe_produce_open(limited, &script, NULL); /* too large for the receiver */
        assert_int_equal(probe_produce_read(stream, &back), 0);
        expect_status(probe_produce_finish(stream), BATON_RESOURCE_EXHAUSTED, "max_message_bytes");
        baton_stream_close(stream);
        baton_channel_close(limited);
        free(data);
}

/* What a message's size may be is the call's own matter, too. */
static void test_too_large_for_the_server(void **state)
{
        (void)state;
        blocking = false;
        for (int i = 0; i < 2; i++) {
                blocking = i;
                uint8_t *data = pattern(100000, 0);
                Conformance__Item large = item_of(0, data, 100000);
                open_with((baton_server_options){ .max_message_bytes = 65536 }, NULL);
                baton_stream *stream = probe_collect_open(channel, NULL);
                assert_int_equal(probe_collect_write(stream, &large), 0);
                expect_status(probe_collect_finish(stream, NULL), BATON_RESOURCE_EXHAUSTED, "max_message_bytes");
                baton_stream_close(stream);
                assert_true(settles());
                Conformance__Counts counts = counts_now();
                assert_int_equal(counts.n_notes, 1);
                assert_int_equal(counts.notes[0], -EBADMSG);
                close_both();
                free(data);
        }
}

/* The wrong half of a method. */
static void test_wrong_half(void **state)
{
        (void)state;
        const ProtobufCMessage *message;
        const Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        assert_int_equal(baton_stream_write(stream, &script.base), -EINVAL);
        expect_error("/conformance.Probe/Produce|single request");
        assert_int_equal(baton_stream_writes_done(stream), -EINVAL);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        stream = probe_collect_open(channel, NULL);
        assert_int_equal(baton_stream_read(stream, &message), -EINVAL);
        expect_error("/conformance.Probe/Collect|single reply");
        const Conformance__Sum *sum;
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        const Conformance__Sum *kept = baton_retain(sum);
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        assert_ptr_equal(sum, kept);
        baton_stream_close(stream);
        assert_int_equal(kept->count, 0);
        baton_release(kept);
}

/* ---- handlers --------------------------------------------------------------------------------------------- */

static void expect_notes(void)
{
        enum { BEFORE = 15, AFTER = 6 };
        Conformance__Counts counts = counts_now();
        assert_int_equal(counts.n_notes, BEFORE + 1 + AFTER);
        for (int i = 0; i < BEFORE; i++)
                if (counts.notes[i] != -EINVAL)
                        fail_msg("mistake %d brought %d", i, counts.notes[i]);
        assert_int_equal(counts.notes[BEFORE], 0);
        for (int i = 0; i < AFTER; i++)
                if (counts.notes[BEFORE + 1 + i] != -EALREADY)
                        fail_msg("mistake %d after the answer brought %d", i, counts.notes[BEFORE + 1 + i]);
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.forget = true;
        control(command);
}

static void test_handlers(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        const Conformance__Sum *sum;
        script.mistakes = true;
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        expect_status(probe_produce_finish(stream), BATON_ABORTED, "after mistakes");
        baton_stream_close(stream);
        assert_true(settles());
        expect_notes();
        stream = probe_collect_open(channel, NULL);
        write_items(stream, 0, 10, 0, &script, probe_collect_write);
        expect_status(probe_collect_finish(stream, NULL), BATON_ABORTED, "after mistakes");
        baton_stream_close(stream);
        assert_true(settles());
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.forget = true;
        control(command); /* the handler goes on after the mistakes */
        stream = probe_chat_open(channel, NULL);
        write_items(stream, 0, 10, 0, &script, probe_chat_write);
        expect_status(probe_chat_finish(stream), BATON_ABORTED, "after mistakes");
        baton_stream_close(stream);
        assert_true(settles());
        control(command);
        expect_status(probe_wait(channel, &script, &sum, NULL), BATON_ABORTED, "after mistakes");
        baton_release(sum);
        expect_notes();
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_opening, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_unary_functions, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_unknown_methods, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_nulls, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_messages, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_messages, begin_blocking, end_settled),
                cmocka_unit_test(test_too_large_for_the_server),
                cmocka_unit_test_setup_teardown(test_wrong_half, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_handlers, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_handlers, begin_blocking, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
