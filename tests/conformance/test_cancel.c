/* Cancellation: by the stream, by token, by deadline, by the end of either process; and that handlers hear of it. */
#include "streams.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_NS = 20000000 };

static Conformance__Script hanging(uint64_t after)
{
        Conformance__Script script = script_of();
        script.hang = true;
        script.count = after;
        return script;
}

/* ---- a stream's own --------------------------------------------------------------------------------------- */

static void test_before_anything(void **state)
{
        (void)state;
        const Conformance__Item *item;
        Conformance__Item one = item_of(0, NULL, 0);
        for (int i = 0; i < 200; i++) {
                baton_stream *stream = probe_chat_open(channel, NULL);
                baton_stream_cancel(stream);
                baton_stream_cancel(stream);
                assert_true(baton_stream_ended(stream));
                assert_int_equal(probe_chat_write(stream, &one), -EPIPE);
                assert_int_equal(probe_chat_read(stream, &item), 0);
                expect_status(probe_chat_finish(stream), BATON_CANCELLED, "/conformance.Probe/Chat|cancelled");
                baton_stream_close(stream);
        }
        baton_stream_cancel(NULL);
        assert_true(settles());
        expect_chat(channel, 10);
}

static void test_in_the_middle(void **state)
{
        (void)state;
        const Conformance__Item *item;
        Conformance__Script script = script_of();
        script.count = UINT64_MAX; /* for ever */
        script.size = 100;
        for (int i = 0; i < 50; i++) {
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                for (int k = 0; k < i; k++)
                        assert_int_equal(probe_produce_read(stream, &item), 1);
                if (i % 2)
                        baton_stream_cancel(stream);
                if (i % 2)
                        expect_status(probe_produce_finish(stream), BATON_CANCELLED, "");
                baton_stream_close(stream); /* cancels as well */
        }
        assert_true(settles());
        assert_in_range(counts_now().cancelled, 49, 50); /* the first may not have begun */
}

/* What came before is still read. */
static void test_what_came_is_read(void **state)
{
        (void)state;
        const Conformance__Item *item;
        Conformance__Script script = hanging(10);
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        assert_int_equal(probe_produce_read(stream, &item), 1);
        assert_true(reaches(SENT, 10));
        assert_int_equal(probe_produce_read(stream, &item), 1);
        pause_ms(20);
        assert_int_equal(probe_produce_read(stream, &item), 1);
        baton_stream_cancel(stream);
        uint64_t n = read_items(stream, 3, probe_produce_read);
        assert_true(n <= 7);
        expect_status(probe_produce_finish(stream), BATON_CANCELLED, "");
        baton_stream_close(stream);
}

/* ---- from another thread ---------------------------------------------------------------------------------- */

struct waiting {
        baton_stream *stream;
        bool writes;
        baton_code code;
        int error;
};

static void *wait_in_stream(void *context)
{
        struct waiting *waiting = context;
        const Conformance__Item *item;
        Conformance__Script script = script_of();
        script.stall = true;
        if (waiting->writes) {
                waiting->error = write_items(waiting->stream, 0, 1000000, 1000, &script, probe_collect_write);
                waiting->code = probe_collect_finish(waiting->stream, NULL).code;
        } else {
                waiting->error = probe_chat_read(waiting->stream, &item);
                waiting->code = probe_chat_finish(waiting->stream).code;
        }
        return NULL;
}

static void go(void)
{
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.go = true;
        control(command);
}

static void cancel_waiting(bool writes, bool by_token)
{
        enum { THREADS = 6 };
        struct waiting waiting[THREADS] = { 0 };
        pthread_t threads[THREADS];
        baton_cancel *token = baton_cancel_new();
        baton_call_options options = { .cancel = by_token ? token : NULL };
        for (int i = 0; i < THREADS; i++) {
                waiting[i].writes = writes;
                waiting[i].stream = writes ? probe_collect_open(channel, &options) : probe_chat_open(channel, &options);
                pthread_create(&threads[i], NULL, wait_in_stream, &waiting[i]);
        }
        assert_true(reaches(writes ? STALLED_NOW : LIVE, THREADS));
        pause_ms(10);
        for (int i = 0; i < THREADS && !by_token; i++)
                baton_stream_cancel(waiting[i].stream);
        if (by_token)
                baton_cancel_now(token);
        for (int i = 0; i < THREADS; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(waiting[i].code, BATON_CANCELLED);
                assert_int_equal(waiting[i].error, writes ? -EPIPE : 0);
                baton_stream_close(waiting[i].stream);
        }
        baton_cancel_free(token);
        if (writes)
                go();
        assert_true(settles());
}

static void test_while_others_wait(void **state)
{
        (void)state;
        for (int i = 0; i < 16; i++)
                cancel_waiting(i & 1, i & 2);
        expect_chat(channel, 10);
}

static void *write_till_it_ends(void *context)
{
        struct waiting *waiting = context;
        waiting->error = write_items(waiting->stream, 0, 1000000, 0, NULL, probe_collect_write);
        waiting->code = probe_collect_finish(waiting->stream, NULL).code;
        return NULL;
}

static void *keep_the_worker_busy(void *context)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 200;
        act(context, &order, NULL, NULL);
        return NULL;
}

/* There is no room in the ring for all of them to tell so, and later on nobody waits in a stream of this channel. */
static void test_while_the_ring_is_full(void **state)
{
        (void)state;
        enum { WRITERS = 6 };
        struct waiting waiting[WRITERS] = { 0 };
        pthread_t writers[WRITERS], other;
        baton_channel *own = peer_open(&peer, &(baton_channel_options){ .ring_bytes = 8192 });
        for (int i = 0; i < WRITERS; i++)
                waiting[i].stream = probe_collect_open(own, NULL);
        assert_true(reaches(LIVE, WRITERS));
        pthread_create(&other, NULL, keep_the_worker_busy, channel);
        pause_ms(20);
        for (int i = 0; i < WRITERS; i++)
                pthread_create(&writers[i], NULL, write_till_it_ends, &waiting[i]);
        pause_ms(50);
        for (int i = 0; i < WRITERS; i++)
                baton_stream_cancel(waiting[i].stream);
        for (int i = 0; i < WRITERS; i++) {
                pthread_join(writers[i], NULL);
                assert_int_equal(waiting[i].code, BATON_CANCELLED);
                baton_stream_close(waiting[i].stream);
        }
        pthread_join(other, NULL);
        assert_true(settles());
        baton_channel_close(own);
}

/* ---- by token --------------------------------------------------------------------------------------------- */

static void *cancel_soon(void *token)
{
        struct timespec pause = { .tv_nsec = SHORT_NS };
        nanosleep(&pause, NULL);
        baton_cancel_now(token);
        return NULL;
}

static void test_blocking_unary(void **state)
{
        (void)state;
        Conformance__Script script = hanging(0);
        for (int i = 0; i < 20; i++) {
                const Conformance__Sum *sum;
                pthread_t thread;
                baton_cancel *token = baton_cancel_new();
                baton_call_options options = { .cancel = token };
                assert_false(baton_cancel_called(token));
                pthread_create(&thread, NULL, cancel_soon, token);
                expect_status(probe_wait(channel, &script, &sum, &options), BATON_CANCELLED, "/conformance.Probe/Wait");
                baton_release(sum);
                pthread_join(thread, NULL);
                assert_true(baton_cancel_called(token));
                /* and each later one at once */
                expect_status(probe_wait(channel, &script, &sum, &options), BATON_CANCELLED, "");
                baton_release(sum);
                baton_stream *stream = probe_chat_open(channel, &options);
                if (stream)
                        expect_status(probe_chat_finish(stream), BATON_CANCELLED, "");
                baton_stream_close(stream);
                baton_cancel_now(token);
                baton_cancel_free(token);
        }
        baton_cancel_now(NULL);
        baton_cancel_free(NULL);
        assert_true(settles());
        assert_true(counts_now().told >= 20);
        expect_alive(channel);
}

static void count_cancelled(const baton_status *status, const Conformance__Sum *reply, void *context)
{
        (void)reply;
        assert_int_equal(status->code, BATON_CANCELLED);
        ++*(int *)context;
}

static void note_end(baton_stream *stream, void *context)
{
        int *ended = context;
        if (!baton_stream_ended(stream))
                return;
        ++*ended;
        expect_status(probe_chat_finish(stream), BATON_CANCELLED, "");
        baton_stream_close(stream);
}

/* The loop may have to turn before they are on their way. */
static bool are_live(void *n)
{
        return baton_loop_wait(loop, 10) >= 0 && counts_now().live == (uintptr_t)n;
}

static void test_asynchronous(void **state)
{
        (void)state;
        enum { N = 50 };
        int done = 0;
        Conformance__Script script = hanging(0);
        baton_cancel *token = baton_cancel_new();
        baton_call_options options = { .cancel = token };
        for (int i = 0; i < N; i++) {
                assert_int_equal(probe_wait_async(channel, loop, &script, &options, count_cancelled, &done), 0);
                assert_non_null(probe_chat_open_async(channel, loop, &options, note_end, &done));
        }
        assert_true(eventually(are_live, (void *)(uintptr_t)(2 * N)));
        assert_int_equal(done, 0);
        baton_cancel_now(token);
        for (int i = 0; i < 1000 && done < 2 * N; i++)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(done, 2 * N);
        assert_true(settles());
        assert_int_equal(counts_now().told, 2 * N);
        baton_cancel_free(token);
}

/* A token outlives its calls, and ends nothing that has ended. */
static void test_after_the_end(void **state)
{
        (void)state;
        baton_cancel *token = baton_cancel_new();
        baton_call_options options = { .cancel = token };
        baton_stream *stream = probe_chat_open(channel, &options);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply;
        expect_status(probe_echo(channel, &request, &reply, &options), BATON_OK, "");
        baton_release(reply);
        baton_cancel_now(token);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        baton_cancel_free(token);
}

/* ---- handlers hear of it ---------------------------------------------------------------------------------- */

/* A handler that keeps its worker sees it by polling. */
static void test_busy_handler(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        script.busy = true;
        uint64_t start = now_ns();
        for (int i = 0; i < 4; i++) {
                const Conformance__Sum *sum;
                pthread_t thread;
                baton_cancel *token = baton_cancel_new();
                baton_call_options options = { .cancel = token };
                pthread_create(&thread, NULL, cancel_soon, token);
                if (i % 2) {
                        expect_status(probe_wait(channel, &script, &sum, &options), BATON_CANCELLED, "");
                        baton_release(sum);
                } else {
                        baton_stream *stream = probe_produce_open(channel, &script, &options);
                        expect_status(probe_produce_finish(stream), BATON_CANCELLED, "");
                        baton_stream_close(stream);
                }
                pthread_join(thread, NULL);
                baton_cancel_free(token);
        }
        assert_true(settles());
        assert_true(counts_now().cancelled >= 4);
        assert_true(now_ns() - start < 5 * UINT64_C(1000000000)); /* else it would have polled that long */
}

/* The same of a client that hangs up. */
static void test_busy_handler_of_a_client_that_leaves(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        script.busy = true;
        uint64_t start = now_ns();
        baton_channel *own = peer_open(&peer, NULL);
        baton_stream *stream = probe_produce_open(own, &script, NULL);
        pause_ms(20);
        baton_channel_close(own);
        expect_status(probe_produce_finish(stream), BATON_CANCELLED, "");
        baton_stream_close(stream);
        assert_true(settles());
        assert_true(counts_now().cancelled >= 1);
        assert_true(now_ns() - start < 5 * UINT64_C(1000000000));
}

/* ---- death ------------------------------------------------------------------------------------------------ */

enum { THEIRS = 6 };

/* A client in a process of its own, with open streams of all kinds; never returns. */
static void be_a_client(int ready)
{
        Conformance__Script script = hanging(5), waiting = hanging(0);
        const Conformance__Item *item;
        uint8_t *data = pattern(100000, 0);
        Conformance__Item large = item_of(0, data, 100000);
        baton_channel *own = baton_channel_open(peer.address, NULL);
        for (int i = 0; own && i < THEIRS / 3; i++) {
                baton_stream *produce = probe_produce_open(own, &script, NULL);
                baton_stream *chat = probe_chat_open(own, NULL);
                baton_stream *collect = probe_collect_open(own, NULL);
                large.script = &waiting;
                if (!produce || !chat || !collect || probe_produce_read(produce, &item) != 1 ||
                    probe_chat_write(chat, &large) < 0 || probe_chat_read(chat, &item) != 1 ||
                    probe_collect_write(collect, &large) < 0)
                        _exit(1);
        }
        if (write(ready, "", 1) != 1)
                _exit(1);
        for (;;)
                pause();
}

static void kill_a_client(void)
{
        int ready[2];
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0)
                be_a_client(ready[1]);
        close(ready[1]);
        ssize_t n = read(ready[0], &byte, 1);
        close(ready[0]);
        assert_true(reaches(LIVE, THEIRS));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_int_equal(n, 1);
        assert_true(settles());
}

static void test_client_dies(void **state)
{
        (void)state;
        for (int i = 0; i < 4; i++) {
                if (!processes) /* a fork of the server's own process is no client */
                        skip();
                blocking = i & 1;
                open_with((baton_server_options){ 0 }, NULL);
                kill_a_client();
                uint64_t files = counts_now().files;
                for (int k = 0; k < 5; k++)
                        kill_a_client();
                Conformance__Counts counts = counts_now();
                assert_int_equal(counts.cancelled, 6 * THEIRS);
                assert_true(blocking || counts.told == 6 * THEIRS);
                assert_true(counts.files <= files + 4);
                expect_chat(channel, 10);
                close_both();
        }
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_client_dies), /* first: it forks */
                cmocka_unit_test_setup_teardown(test_before_anything, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_before_anything, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_in_the_middle, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_in_the_middle, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_what_came_is_read, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_while_others_wait, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_while_others_wait, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_while_the_ring_is_full, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_blocking_unary, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_blocking_unary, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_asynchronous, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_after_the_end, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_busy_handler, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_busy_handler, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_busy_handler_of_a_client_that_leaves, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_busy_handler_of_a_client_that_leaves, begin_blocking, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
