/* Asynchronous streams on a loop: the three kinds, many at once, many after each other, and callbacks that close things. */
#include "streams.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 100000 / LESS, AT_ONCE = 10000, MOST_MS = 20000 };

struct talker {
        baton_stream *stream;
        uint64_t to_write, written, n_read;
        bool half_closed, over;
        baton_code code;
        uint64_t calls; /* of ready */
};

/* Turns the loop until *done. */
static void turn_until(const bool *done)
{
        for (uint64_t until = now_ns() + MOST_MS * UINT64_C(1000000); !*done && now_ns() < until;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_true(*done);
}

static void turn_until_count(const uint64_t *count, uint64_t value)
{
        for (uint64_t until = now_ns() + MOST_MS * UINT64_C(1000000); *count < value && now_ns() < until;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(*count, value);
}

/* ---- the three kinds -------------------------------------------------------------------------------------- */

static void write_more(struct talker *talker, int (*write)(baton_stream *, const Conformance__Item *))
{
        while (talker->written < talker->to_write) {
                Conformance__Item item = item_of(talker->written, NULL, 0);
                int error = write(talker->stream, &item);
                if (error == -EAGAIN)
                        return;
                assert_int_equal(error, 0);
                talker->written++;
        }
        if (!talker->half_closed)
                assert_int_equal(baton_stream_writes_done(talker->stream), 0);
        talker->half_closed = true;
}

/* True: read to the end. */
static bool read_more(struct talker *talker, int (*read)(baton_stream *, const Conformance__Item **))
{
        const Conformance__Item *item;
        int n;
        while ((n = read(talker->stream, &item)) > 0) {
                assert_int_equal(item->value, talker->n_read);
                talker->n_read++;
        }
        assert_true(n == 0 || n == -EAGAIN);
        return n == 0;
}

static void close_talker(struct talker *talker, baton_status status)
{
        talker->code = status.code;
        baton_stream_close(talker->stream);
        talker->stream = NULL;
        talker->over = true;
}

static void on_chat(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        talker->calls++;
        talker->stream = stream;
        if (!baton_stream_ended(stream))
                write_more(talker, probe_chat_write);
        if (read_more(talker, probe_chat_read) && baton_stream_ended(stream))
                close_talker(talker, probe_chat_finish(stream));
}

static void start_chat(struct talker *talker, uint64_t n)
{
        *talker = (struct talker){ .to_write = n };
        while (!(talker->stream = probe_chat_open_async(channel, loop, NULL, on_chat, talker))) /* the ring is full */
                assert_true(baton_loop_wait(loop, 100) >= 0);
        write_more(talker, probe_chat_write);
}

static void chat_n(uint64_t n)
{
        struct talker talker;
        start_chat(&talker, n);
        turn_until(&talker.over);
        assert_int_equal(talker.code, BATON_OK);
        assert_int_equal(talker.n_read, n);
}

static void test_chat(void **state)
{
        (void)state;
        chat_n(0);
        chat_n(1);
        chat_n(17);
        chat_n(MANY);
}

static void on_produce(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        talker->stream = stream;
        if (read_more(talker, probe_produce_read) && baton_stream_ended(stream))
                close_talker(talker, probe_produce_finish(stream));
}

static void test_produce(void **state)
{
        (void)state;
        static const uint64_t lengths[] = { 0, 1, 17, MANY };
        for (int i = 0; i < 4; i++) {
                struct talker talker = { 0 };
                Conformance__Script script = script_of();
                script.count = lengths[i];
                talker.stream = probe_produce_open_async(channel, loop, &script, NULL, on_produce, &talker);
                turn_until(&talker.over);
                assert_int_equal(talker.code, BATON_OK);
                assert_int_equal(talker.n_read, lengths[i]);
        }
}

static void on_collect(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        const Conformance__Sum *sum;
        talker->stream = stream;
        if (!baton_stream_ended(stream)) {
                write_more(talker, probe_collect_write);
                return;
        }
        baton_status status = probe_collect_finish(stream, &sum);
        assert_int_equal(sum->count, talker->to_write);
        close_talker(talker, status);
}

static void test_collect(void **state)
{
        (void)state;
        static const uint64_t lengths[] = { 0, 1, 17, MANY };
        for (int i = 0; i < 4; i++) {
                struct talker talker = { .to_write = lengths[i] };
                talker.stream = probe_collect_open_async(channel, loop, NULL, on_collect, &talker);
                write_more(&talker, probe_collect_write);
                turn_until(&talker.over);
                assert_int_equal(talker.code, BATON_OK);
        }
}

/* Beside unary calls on the same lane. */
static void count_echo(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)reply;
        assert_int_equal(status->code, BATON_OK);
        ++*(uint64_t *)context;
}

static void test_beside_unary_calls(void **state)
{
        (void)state;
        enum { CALLS = 2000 };
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        struct talker talkers[8];
        uint64_t answered = 0;
        for (int i = 0; i < 8; i++)
                start_chat(&talkers[i], MANY / 20);
        for (int i = 0; i < CALLS; i++) {
                while (probe_echo_async(channel, loop, &request, NULL, count_echo, &answered) == -EAGAIN)
                        assert_true(baton_loop_wait(loop, 100) >= 0);
        }
        turn_until_count(&answered, CALLS);
        for (int i = 0; i < 8; i++) {
                turn_until(&talkers[i].over);
                assert_int_equal(talkers[i].n_read, MANY / 20);
        }
}

/* ---- many ------------------------------------------------------------------------------------------------- */

static struct talker crowd[AT_ONCE];

static void crowd_once(void)
{
        for (int i = 0; i < AT_ONCE; i++)
                start_chat(&crowd[i], 1);
        for (int i = 0; i < AT_ONCE; i++)
                turn_until(&crowd[i].over);
        for (int i = 0; i < AT_ONCE; i++) {
                assert_int_equal(crowd[i].code, BATON_OK);
                assert_int_equal(crowd[i].n_read, 1);
        }
}

struct size {
        uint64_t resident, files;
};

static struct size size_now(void)
{
        Conformance__Counts counts = counts_now();
        return (struct size){ counts.resident, counts.files };
}

static void expect_no_growth(struct size before)
{
        struct size after = size_now();
        assert_true(after.files <= before.files + 20); /* connections that are just being closed */
        if (LESS == 1 && after.resident > before.resident + (6 << 20))
                fail_msg("from %llu to %llu bytes", (unsigned long long)before.resident,
                         (unsigned long long)after.resident);
}

/* Held open all together. */
static void idle(baton_stream *stream, void *context)
{
        (void)stream;
        (void)context;
}

/* The loop may have to turn before the server hears of their begin, and of their end. */
static bool are_live(void *n)
{
        return baton_loop_wait(loop, 10) >= 0 && counts_now().live == (uintptr_t)n;
}

static void open_all(void)
{
        static baton_stream *streams[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
                while (!(streams[i] = probe_chat_open_async(channel, loop, NULL, idle, NULL)))
                        assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_true(eventually(are_live, (void *)(uintptr_t)AT_ONCE));
        expect_alive(channel);
        expect_chat(channel, 10);
        for (int i = 0; i < AT_ONCE; i++)
                baton_stream_close(streams[i]);
        assert_true(eventually(are_live, NULL));
}

static void test_many_open(void **state)
{
        (void)state;
        open_all();
        assert_int_equal(counts_now().cancelled, AT_ONCE);
        struct size before = size_now(); /* there were never more */
        for (int i = 0; i < 2; i++)
                open_all();
        for (int i = 0; i < 2; i++)
                crowd_once();
        expect_no_growth(before);
        chat_n(10);
}

static void test_one_after_another(void **state)
{
        (void)state;
        for (int i = 0; i < 1000; i++)
                expect_chat(channel, 1);
        struct size before = size_now();
        for (int i = 0; i < MANY / 2; i++)
                expect_chat(channel, 1);
        for (int i = 0; i < MANY / 2; i++)
                chat_n(1);
        expect_no_growth(before);
}

/* ---- callbacks that close --------------------------------------------------------------------------------- */

static void close_at_once(baton_stream *stream, void *context)
{
        baton_stream_close(stream);
        *(bool *)context = true;
}

static void test_callback_closes_the_stream(void **state)
{
        (void)state;
        for (int i = 0; i < 100; i++) {
                bool closed = false;
                Conformance__Script script = script_of();
                script.count = 1000;
                assert_non_null(probe_produce_open_async(channel, loop, &script, NULL, close_at_once, &closed));
                turn_until(&closed);
        }
        chat_n(100);
}

static baton_channel *own;

static void close_the_channel(baton_stream *stream, void *context)
{
        struct talker *talker = context;
        talker->calls++;
        if (own) {
                baton_channel *closing = own;
                own = NULL;
                baton_channel_close(closing);
        }
        /* closing the channel has run this again, which may have closed the stream */
        if (!talker->over && baton_stream_ended(stream))
                close_talker(talker, probe_produce_finish(stream));
}

static void test_callback_closes_the_channel(void **state)
{
        (void)state;
        enum { N = 20 };
        struct talker talkers[N] = { 0 };
        Conformance__Script script = script_of();
        script.count = 1000000;
        script.size = 100;
        own = peer_open(&peer, NULL);
        for (int i = 0; i < N; i++) {
                talkers[i].stream = probe_produce_open_async(own, loop, &script, NULL, close_the_channel, &talkers[i]);
                assert_non_null(talkers[i].stream);
        }
        for (int i = 0; i < N; i++) {
                turn_until(&talkers[i].over);
                assert_int_equal(talkers[i].code, BATON_CANCELLED);
        }
        assert_true(settles());
}

static void never(baton_stream *stream, void *context)
{
        (void)stream;
        (void)context;
        fail_msg("ready ran after close");
}

static void test_close_before_anything(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        script.count = 10;
        for (int i = 0; i < 100; i++)
                baton_stream_close(probe_produce_open_async(channel, loop, &script, NULL, never, NULL));
        for (int i = 0; i < 5; i++)
                assert_true(baton_loop_wait(loop, 10) >= 0);
        baton_stream_close(NULL);
}

/* What has not ended is cancelled by finish. */
static void test_finish_cancels(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        script.hang = true;
        baton_stream *stream = probe_produce_open_async(channel, loop, &script, NULL, idle, NULL);
        assert_true(baton_loop_wait(loop, 20) >= 0);
        assert_false(baton_stream_ended(stream));
        assert_null(baton_stream_headers(stream));
        const Conformance__Item *item;
        assert_int_equal(probe_produce_read(stream, &item), -EAGAIN);
        assert_null(item);
        expect_error("/conformance.Probe/Produce|no message");
        expect_status(probe_produce_finish(stream), BATON_CANCELLED, "finished before");
        assert_true(baton_stream_ended(stream));
        assert_int_equal(probe_produce_read(stream, &item), 0);
        baton_stream_close(stream);
}

/* ---- nobody there ----------------------------------------------------------------------------------------- */

static void note_end(baton_stream *stream, void *context)
{
        *(bool *)context = baton_stream_ended(stream);
}

static void test_nobody_there(void **state)
{
        (void)state;
        struct peer gone;
        bool ended = false;
        const Conformance__Item *item;
        Conformance__Item one = item_of(1, NULL, 0);
        transport->addresses(scratch, gone.listen, gone.address);
        baton_channel *lonely = peer_open(&gone, NULL);
        baton_stream *stream = probe_chat_open_async(lonely, loop, NULL, note_end, &ended);
        assert_non_null(stream);
        turn_until(&ended);
        assert_int_equal(probe_chat_write(stream, &one), -EPIPE);
        assert_int_equal(probe_chat_read(stream, &item), 0);
        baton_status status = probe_chat_finish(stream);
        expect_status(status, BATON_UNAVAILABLE, "connect");
        assert_false(status.maybe_executed);
        baton_stream_close(stream);
        stream = probe_chat_open(lonely, NULL);
        assert_int_equal(probe_chat_write(stream, &one), -EPIPE);
        expect_status(probe_chat_finish(stream), BATON_UNAVAILABLE, "");
        baton_stream_close(stream);
        baton_channel_close(lonely);
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

struct writing {
        baton_stream *stream;
        atomic_bool room;
        atomic_int error;
        uint64_t n_read;
        bool over;
};

static void *write_elsewhere(void *context)
{
        struct writing *writing = context;
        for (uint64_t i = 0; i < MANY / 4; i++) {
                Conformance__Item item = item_of(i, NULL, 0);
                int error;
                while ((error = probe_chat_write(writing->stream, &item)) == -EAGAIN)
                        while (!atomic_exchange(&writing->room, false))
                                pause_ms(1);
                if (error)
                        atomic_store(&writing->error, error);
        }
        baton_stream_writes_done(writing->stream);
        return NULL;
}

static void on_written_elsewhere(baton_stream *stream, void *context)
{
        struct writing *writing = context;
        const Conformance__Item *item;
        int n;
        atomic_store(&writing->room, true);
        while ((n = probe_chat_read(stream, &item)) > 0)
                assert_int_equal(item->value, writing->n_read++);
        writing->over = n == 0 && baton_stream_ended(stream);
}

static void test_written_on_another_thread(void **state)
{
        (void)state;
        struct writing writing = { 0 };
        pthread_t thread;
        writing.stream = probe_chat_open_async(channel, loop, NULL, on_written_elsewhere, &writing);
        assert_int_equal(pthread_create(&thread, NULL, write_elsewhere, &writing), 0);
        turn_until(&writing.over);
        pthread_join(thread, NULL);
        assert_int_equal(writing.error, 0);
        assert_int_equal(writing.n_read, MANY / 4);
        expect_status(probe_chat_finish(writing.stream), BATON_OK, "");
        baton_stream_close(writing.stream);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_chat, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_chat, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_produce, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_produce, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_collect, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_collect, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_beside_unary_calls, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_many_open, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_one_after_another, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_callback_closes_the_stream, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_callback_closes_the_channel, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_close_before_anything, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_finish_cancels, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_nobody_there, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_written_on_another_thread, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_written_on_another_thread, begin_blocking, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
