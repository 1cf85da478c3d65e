/* Asynchronous calls and streams that are started where there is no connection: starting them, and the loop, never wait. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        MANY = 3000,
        CONNECT_MS = 2000,
        HELD_UP_MS = 500,
        MOST_MS = 20000,
        STREAMS = 20,
        ITEMS = 50,
        THREADS = 4,
        PER_THREAD = 300
};

static struct peer peer;
static baton_channel *channel;
static baton_loop *loop;

static int begin(void **state)
{
        (void)state;
        peer_start(&peer, NULL);
        channel = peer_open(&peer, &(baton_channel_options){ .connect_timeout_ms = CONNECT_MS });
        loop = baton_loop_new();
        return loop ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        baton_channel_close(channel);
        baton_loop_free(loop);
        if (peer.pid)
                kill(peer.pid, SIGCONT);
        if (peer.pid || peer.server)
                peer_end(&peer);
        return 0;
}

/* Turns the loop until the count has this value. */
static void turn_until(const int *count, int value)
{
        for (uint64_t until = now_ns() + MOST_MS * UINT64_C(1000000); *count < value && now_ns() < until;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(*count, value);
}

/* Turns the loop for so long; no turn of it may take long. */
static void turn_briskly(uint32_t ms)
{
        for (uint64_t until = now_ns() + ms * UINT64_C(1000000); now_ns() < until;) {
                uint64_t begun = now_ns();
                assert_true(baton_loop_wait(loop, 5) >= 0);
                assert_true(now_ns() - begun < HELD_UP_MS * UINT64_C(1000000));
        }
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

struct ending {
        int n;
        baton_code code;
        bool maybe_executed;
        uint64_t value;
        char text[512];
        int *total;
        int place; /* among those that have ended */
};

static void on_end(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        struct ending *ending = context;
        ending->n++;
        ending->code = status->code;
        ending->maybe_executed = status->maybe_executed;
        ending->value = outcome->value;
        snprintf(ending->text, sizeof ending->text, "%s", status->message);
        if (ending->total)
                ending->place = (*ending->total)++;
}

/* Starts a call, which must not take long. Its request is spoilt at once. */
static void start(struct ending *ending, uint64_t value, const baton_call_options *options)
{
        ending->n = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        char message[] = "unused";
        order.value = value;
        order.message = message;
        uint64_t begun = now_ns();
        int error;
        while ((error = probe_act_async(channel, loop, &order, options, on_end, ending)) == -EAGAIN)
                assert_true(baton_loop_wait(loop, 1) >= 0);
        if (error < 0)
                fail_msg("%s", baton_error());
        assert_true(now_ns() - begun < HELD_UP_MS * UINT64_C(1000000));
        memset(message, 'x', sizeof message - 1);
        order.value = 0;
}

static void expect_ending(const struct ending *ending, baton_code code, const char *words)
{
        assert_int_equal(ending->n, 1);
        expect_status(((baton_status){ .code = ending->code, .message = ending->text }), code, words);
        if (code != BATON_OK)
                assert_false(ending->maybe_executed);
}

/* ---- streams ----------------------------------------------------------------------------------------------- */

struct talker {
        baton_stream *stream;
        uint64_t to_write, written, n_read;
        bool half_closed, over;
        baton_code code;
        char text[512];
        int *total;
};

static void write_more(struct talker *talker)
{
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        int error = 0;
        for (; talker->written < talker->to_write; talker->written++) {
                item.value = talker->written;
                error = probe_chat_write(talker->stream, &item);
                if (error == -EAGAIN || error == -EPIPE)
                        return;
                assert_int_equal(error, 0);
        }
        if (!talker->half_closed && (error = baton_stream_writes_done(talker->stream)) < 0)
                assert_int_equal(error, -EPIPE);
        talker->half_closed = true;
}

static void on_chat(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        const Conformance__Item *item;
        int n;
        talker->stream = stream;
        write_more(talker);
        while ((n = probe_chat_read(stream, &item)) > 0)
                assert_int_equal(item->value, talker->n_read++);
        if (n != 0 || !baton_stream_ended(stream))
                return;
        baton_status status = probe_chat_finish(stream);
        talker->code = status.code;
        snprintf(talker->text, sizeof talker->text, "%s", status.message);
        baton_stream_close(stream);
        talker->stream = NULL;
        talker->over = true;
        if (talker->total)
                ++*talker->total;
}

static void open_chat(struct talker *talker, const baton_call_options *options)
{
        uint64_t begun = now_ns();
        while (!(talker->stream = probe_chat_open_async(channel, loop, options, on_chat, talker))) /* no room */
                assert_true(baton_loop_wait(loop, 1) >= 0);
        assert_true(now_ns() - begun < HELD_UP_MS * UINT64_C(1000000));
        write_more(talker); /* or what waits is told nothing */
}

static void expect_chat_end(const struct talker *talker, baton_code code, const char *words)
{
        assert_true(talker->over);
        expect_status(((baton_status){ .code = talker->code, .message = talker->text }), code, words);
}

/* Stops the server; skips the test where it is a thread. */
static void stop_server(void)
{
        if (!peer.pid)
                skip();
        kill(peer.pid, SIGSTOP);
}

static void continue_server(void)
{
        kill(peer.pid, SIGCONT);
}

/* ---- a stopped server -------------------------------------------------------------------------------------- */

static void test_stopped_server_holds_up_nothing(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n };
        struct talker talker = { .to_write = ITEMS, .total = &n_chats };
        stop_server();
        start(&ending, 7, NULL);
        open_chat(&talker, NULL);
        turn_briskly(200);
        assert_int_equal(n + n_chats, 0);
        continue_server();
        turn_until(&n, 1);
        turn_until(&n_chats, 1);
        expect_ending(&ending, BATON_OK, "");
        assert_int_equal(ending.value, 7);
        expect_chat_end(&talker, BATON_OK, "");
        assert_int_equal(talker.n_read, ITEMS);
}

/* Nor one that is stopped between the channel's connecting and the loop's first call. */
static void test_stopped_before_there_is_a_lane(void **state)
{
        (void)state;
        int n = 0;
        struct ending ending = { .total = &n };
        expect_alive(channel);
        stop_server();
        start(&ending, 7, NULL);
        turn_briskly(100);
        assert_int_equal(n, 0);
        continue_server();
        turn_until(&n, 1);
        expect_ending(&ending, BATON_OK, "");
}

static void test_stopped_server_times_out(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n };
        struct talker talker = { .total = &n_chats };
        stop_server();
        start(&ending, 7, NULL);
        open_chat(&talker, NULL);
        turn_until(&n, 1);
        turn_until(&n_chats, 1);
        continue_server();
        expect_ending(&ending, BATON_UNAVAILABLE, "does not answer|stopped");
        expect_chat_end(&talker, BATON_UNAVAILABLE, "does not answer|stopped");
}

static void test_deadlines_while_connecting(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending endings[3];
        struct talker talker = { .total = &n_chats };
        stop_server();
        for (uint32_t i = 0; i < 3; i++) {
                endings[i] = (struct ending){ .total = &n };
                start(&endings[i], 0, &(baton_call_options){ .timeout_ms = 300 - i * 100 });
        }
        open_chat(&talker, &(baton_call_options){ .timeout_ms = 50 });
        turn_until(&n_chats, 1);
        assert_int_equal(n, 0);
        turn_until(&n, 3);
        continue_server();
        expect_chat_end(&talker, BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Chat|deadline|connecting to");
        for (int i = 0; i < 3; i++) {
                expect_ending(&endings[i], BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Act|deadline|connecting to");
                assert_int_equal(endings[i].place, 2 - i);
        }
        expect_alive(channel);
}

static void test_cancelling_while_connecting(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n }, other = { .total = &n };
        struct talker talker = { .total = &n_chats }, second = { .total = &n_chats }, third = { 0 };
        stop_server();
        baton_cancel *cancel = baton_cancel_new();
        start(&ending, 0, &(baton_call_options){ .cancel = cancel });
        start(&other, 8, NULL);
        open_chat(&talker, &(baton_call_options){ .cancel = cancel });
        open_chat(&second, NULL);
        open_chat(&third, NULL);
        turn_briskly(20);
        assert_int_equal(n + n_chats, 0);
        baton_cancel_now(cancel);
        baton_stream_cancel(second.stream);
        expect_status(probe_chat_finish(third.stream), BATON_CANCELLED, "finished before");
        turn_until(&n, 1);
        turn_until(&n_chats, 2);
        expect_ending(&ending, BATON_CANCELLED, "cancelled");
        expect_chat_end(&talker, BATON_CANCELLED, "cancelled");
        expect_chat_end(&second, BATON_CANCELLED, "cancelled");
        baton_stream_close(third.stream);
        open_chat(&third, NULL);
        baton_stream_close(third.stream); /* as it is */
        continue_server();
        turn_until(&n, 2);
        expect_ending(&other, BATON_OK, "");
        assert_int_equal(other.value, 8);
        baton_cancel_free(cancel);
}

static void test_closing_while_connecting(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n }, patient = { .total = &n };
        struct talker talker = { .total = &n_chats };
        stop_server();
        start(&ending, 0, NULL);
        start(&patient, 0, &(baton_call_options){ .wait_for_ready = true });
        open_chat(&talker, NULL);
        turn_briskly(20);
        baton_channel_close(channel);
        channel = NULL;
        assert_int_equal(n, 2);
        expect_ending(&ending, BATON_CANCELLED, "/conformance.Probe/Act|closed");
        expect_ending(&patient, BATON_CANCELLED, "/conformance.Probe/Act|closed");
        turn_until(&n_chats, 1);
        expect_chat_end(&talker, BATON_CANCELLED, "/conformance.Probe/Chat|closed");
        continue_server();
}

/* ---- no server --------------------------------------------------------------------------------------------- */

static void test_no_server(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n };
        struct talker talker = { .total = &n_chats };
        peer_end(&peer);
        for (int i = 1; i <= 20; i++) { /* far into the backoff */
                ending.n = 0;
                talker = (struct talker){ .total = &n_chats };
                start(&ending, 0, NULL);
                open_chat(&talker, NULL);
                assert_int_equal(ending.n, 0);
                turn_until(&n, i);
                turn_until(&n_chats, i);
                expect_ending(&ending, BATON_UNAVAILABLE, "cannot connect");
                expect_chat_end(&talker, BATON_UNAVAILABLE, "cannot connect");
        }
}

static void test_wait_for_ready(void **state)
{
        (void)state;
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n }, hasty = { .total = &n }, late = { .total = &n };
        struct talker talker = { .to_write = ITEMS, .total = &n_chats };
        baton_call_options waits = { .wait_for_ready = true }, briefly = { .wait_for_ready = true, .timeout_ms = 100 };
        peer_kill(&peer);
        start(&ending, 7, &waits);
        start(&late, 7, &briefly);
        open_chat(&talker, &waits);
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        const Conformance__Item *read;
        assert_int_equal(talker.written, 0);
        assert_int_equal(probe_chat_write(talker.stream, &item), -EAGAIN);
        assert_int_equal(probe_chat_read(talker.stream, &read), -EAGAIN);
        turn_until(&n, 1);
        expect_ending(&late, BATON_DEADLINE_EXCEEDED, "deadline|cannot connect");
        start(&hasty, 7, NULL); /* does not wait for the others' sake */
        turn_until(&n, 2);
        expect_ending(&hasty, BATON_UNAVAILABLE, "cannot connect");
        turn_briskly(50);
        assert_int_equal(n_chats, 0);
        peer_restart(&peer, NULL);
        turn_until(&n, 3);
        turn_until(&n_chats, 1);
        expect_ending(&ending, BATON_OK, "");
        assert_int_equal(ending.value, 7);
        expect_chat_end(&talker, BATON_OK, "");
        assert_int_equal(talker.n_read, ITEMS);
}

/* A connection that another thread makes is noticed, whatever the pause. */
static void test_wait_for_ready_sees_others_connect(void **state)
{
        (void)state;
        int n = 0;
        struct ending ending = { .total = &n };
        baton_channel_close(channel);
        channel = peer_open(&peer, &(baton_channel_options){ .backoff_initial_ms = 60000, .backoff_max_ms = 60000 });
        peer_kill(&peer);
        start(&ending, 7, &(baton_call_options){ .wait_for_ready = true });
        turn_briskly(50);
        peer_restart(&peer, NULL);
        expect_status(baton_channel_connect(channel), BATON_OK, "");
        turn_until(&n, 1);
        expect_ending(&ending, BATON_OK, "");
}

static void test_closing_while_waiting_for_a_server(void **state)
{
        (void)state;
        int n = 0;
        struct ending ending = { .total = &n };
        peer_end(&peer);
        start(&ending, 0, &(baton_call_options){ .wait_for_ready = true });
        turn_briskly(50);
        baton_channel_close(channel);
        channel = NULL;
        expect_ending(&ending, BATON_CANCELLED, "closed");
}

/* ---- many -------------------------------------------------------------------------------------------------- */

/* More than the ring holds; they are executed in their order. */
static void test_many_before_the_first_connection(void **state)
{
        (void)state;
        static struct ending endings[MANY];
        static struct talker talkers[STREAMS];
        int n = 0, n_chats = 0;
        for (int i = 0; i < MANY; i++) {
                endings[i] = (struct ending){ .total = &n };
                start(&endings[i], (uint64_t)i, NULL);
                if (i % (MANY / STREAMS) == 0) {
                        struct talker *talker = &talkers[i / (MANY / STREAMS)];
                        *talker = (struct talker){ .to_write = ITEMS, .total = &n_chats };
                        open_chat(talker, NULL);
                }
                if (i == MANY / 2)
                        assert_true(baton_loop_wait(loop, 1) >= 0);
        }
        turn_until(&n, MANY);
        turn_until(&n_chats, STREAMS);
        for (int i = 0; i < MANY; i++) {
                expect_ending(&endings[i], BATON_OK, "");
                assert_int_equal(endings[i].value, i);
                assert_int_equal(endings[i].place, i);
        }
        for (int i = 0; i < STREAMS; i++)
                assert_int_equal(talkers[i].n_read, ITEMS);
}

static void test_too_many(void **state)
{
        (void)state;
        enum { ROOM = 10 };
        struct ending endings[ROOM];
        int n = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        baton_channel_close(channel);
        channel = peer_open(&peer, &(baton_channel_options){ .max_in_flight = ROOM });
        for (int i = 0; i < ROOM; i++) {
                endings[i] = (struct ending){ .total = &n };
                start(&endings[i], 0, NULL);
        }
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_end, NULL), -EAGAIN);
        expect_error("10 calls are in flight|handle");
        assert_null(probe_chat_open_async(channel, loop, NULL, on_chat, NULL));
        turn_until(&n, ROOM);
        for (int i = 0; i < ROOM; i++)
                expect_ending(&endings[i], BATON_OK, "");
}

/* What is wrong with a request is told at once. */
static void test_bad_requests(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.message = (char *)"\xff";
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_end, NULL), -EINVAL);
        expect_error("conformance.Order.message|UTF-8");
        order.message = (char *)"0123456789";
        assert_int_equal(
                probe_act_async(channel, loop, &order, &(baton_call_options){ .max_request_bytes = 10 }, on_end, NULL),
                -EMSGSIZE);
        expect_error("Order|limit of 10 bytes");
        Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        script.message = (char *)"\xff";
        assert_null(probe_produce_open_async(channel, loop, &script, NULL, on_chat, NULL));
        expect_error("conformance.Script.message|UTF-8");
}

/* Request and metadata of a stream are kept, too. */
static void on_produce(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        const Conformance__Item *item;
        int n;
        while ((n = probe_produce_read(stream, &item)) > 0)
                talker->n_read++;
        if (n != 0 || !baton_stream_ended(stream))
                return;
        baton_status status = probe_produce_finish(stream);
        const char *echoed = baton_metadata_text(status.trailers, "k");
        talker->code = status.code;
        snprintf(talker->text, sizeof talker->text, "%s", echoed ? echoed : "");
        baton_stream_close(stream);
        talker->over = true;
        ++*talker->total;
}

static void test_request_of_a_stream(void **state)
{
        (void)state;
        int n = 0;
        struct talker talker = { .total = &n };
        Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        script.count = ITEMS;
        script.echo_metadata = true;
        char value[] = "kept";
        baton_metadata_entry entry = baton_text("k", value);
        baton_metadata metadata = { 1, &entry };
        talker.stream = probe_produce_open_async(channel, loop, &script, &(baton_call_options){ .metadata = &metadata },
                                                 on_produce, &talker);
        assert_non_null(talker.stream);
        script.count = 0;
        memset(value, 'x', sizeof value - 1);
        turn_until(&n, 1);
        expect_chat_end(&talker, BATON_OK, "kept");
        assert_int_equal(talker.n_read, ITEMS);
}

/* ---- one loop for all -------------------------------------------------------------------------------------- */

static void call_and_chat(void)
{
        int n = 0, n_chats = 0;
        struct ending ending = { .total = &n };
        struct talker talker = { .to_write = ITEMS, .total = &n_chats };
        start(&ending, 7, NULL);
        open_chat(&talker, NULL);
        turn_until(&n, 1);
        turn_until(&n_chats, 1);
        expect_ending(&ending, BATON_OK, "");
        expect_chat_end(&talker, BATON_OK, "");
        assert_int_equal(talker.n_read, ITEMS);
}

static void serve_on_loop(struct probe *probe)
{
        peer.server = baton_server_new(&(baton_server_options){ .loop = loop });
        assert_int_equal(probe_serve(probe, peer.server), 0);
        if (baton_server_listen(peer.server, peer.listen) < 0)
                fail_msg("%s", baton_error());
}

/* A loop that serves, and calls itself; after a restart, too. */
static void test_one_loop_for_server_and_client(void **state)
{
        (void)state;
        struct probe *probe = probe_new();
        peer_end(&peer);
        for (int i = 0; i < 3; i++) {
                serve_on_loop(probe);
                call_and_chat();
                baton_server_free(peer.server);
                peer.server = NULL;
                assert_true(baton_loop_wait(loop, 1) >= 0);
        }
        baton_channel_close(channel);
        channel = NULL;
        probe_free(probe);
}

/* ---- restarts ---------------------------------------------------------------------------------------------- */

/* Each starts where the last server is gone. */
static void test_restarts(void **state)
{
        (void)state;
        for (int i = 0; i < 5; i++) {
                call_and_chat();
                peer_kill(&peer);
                turn_briskly(10); /* the loop hears of it */
                peer_restart(&peer, NULL);
        }
        call_and_chat();
}

/* Calls from many threads, while the loop runs and the server comes and goes. */
static void *start_some(void *endings)
{
        for (int i = 0; i < PER_THREAD; i++) {
                Conformance__Order order = CONFORMANCE__ORDER__INIT;
                while (probe_act_async(channel, loop, &order, &(baton_call_options){ .wait_for_ready = true }, on_end,
                                       &((struct ending *)endings)[i]) == -EAGAIN)
                        pause_ms(1);
                if (i % 10 == 0)
                        pause_ms(1);
        }
        return NULL;
}

static void test_threads_start_calls_while_the_server_restarts(void **state)
{
        (void)state;
        static struct ending endings[THREADS][PER_THREAD];
        pthread_t threads[THREADS];
        int n = 0, n_failed = 0;
        for (int t = 0; t < THREADS; t++) {
                for (int i = 0; i < PER_THREAD; i++)
                        endings[t][i] = (struct ending){ .total = &n };
                assert_int_equal(pthread_create(&threads[t], NULL, start_some, endings[t]), 0);
        }
        for (int i = 0; i < 3; i++) {
                turn_briskly(20);
                peer_kill(&peer);
                turn_briskly(20);
                peer_restart(&peer, NULL);
        }
        turn_until(&n, THREADS * PER_THREAD);
        for (int t = 0; t < THREADS; t++) {
                pthread_join(threads[t], NULL);
                for (int i = 0; i < PER_THREAD; i++) {
                        assert_int_equal(endings[t][i].n, 1);
                        n_failed += endings[t][i].code != BATON_OK;
                        assert_true(endings[t][i].code == BATON_OK || endings[t][i].code == BATON_UNAVAILABLE);
                }
        }
        assert_true(n_failed < THREADS * PER_THREAD); /* those in flight when it went */
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_stopped_server_holds_up_nothing, begin, end),
                cmocka_unit_test_setup_teardown(test_stopped_before_there_is_a_lane, begin, end),
                cmocka_unit_test_setup_teardown(test_stopped_server_times_out, begin, end),
                cmocka_unit_test_setup_teardown(test_deadlines_while_connecting, begin, end),
                cmocka_unit_test_setup_teardown(test_cancelling_while_connecting, begin, end),
                cmocka_unit_test_setup_teardown(test_closing_while_connecting, begin, end),
                cmocka_unit_test_setup_teardown(test_no_server, begin, end),
                cmocka_unit_test_setup_teardown(test_wait_for_ready, begin, end),
                cmocka_unit_test_setup_teardown(test_wait_for_ready_sees_others_connect, begin, end),
                cmocka_unit_test_setup_teardown(test_closing_while_waiting_for_a_server, begin, end),
                cmocka_unit_test_setup_teardown(test_many_before_the_first_connection, begin, end),
                cmocka_unit_test_setup_teardown(test_too_many, begin, end),
                cmocka_unit_test_setup_teardown(test_bad_requests, begin, end),
                cmocka_unit_test_setup_teardown(test_request_of_a_stream, begin, end),
                cmocka_unit_test_setup_teardown(test_one_loop_for_server_and_client, begin, end),
                cmocka_unit_test_setup_teardown(test_restarts, begin, end),
                cmocka_unit_test_setup_teardown(test_threads_start_calls_while_the_server_restarts, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
