/* Two ends of a stream over the lane 0 of two links, with the records in between handed over by hand. */
#include "shm/stream.h"
#include "base/arena.h"
#include "note.baton.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RING = 8192, HEAP = 1 << 20, WINDOW = 8, MESSAGE_MOST = 1 << 20 };

struct end {
        struct stream stream; /* first, so that the side's functions find the rest */
        struct link link;
        struct lane_ends lane;
        pthread_mutex_t lock;
        bool blocked; /* the side has no turn */
        int notified, waits;
};

static struct end client, server;
static struct inbox_budget budget;

static struct end *end_of(struct stream *stream)
{
        return container_of(stream, struct end, stream);
}

static bool turn(struct stream *stream)
{
        return !end_of(stream)->blocked;
}

static void notify(struct stream *stream)
{
        end_of(stream)->notified++;
}

static void wait_for_room(struct stream *stream)
{
        end_of(stream)->waits++;
}

static const struct stream_side side = { .turn = turn, .notify = notify, .wait = wait_for_room };

/* ---- fixture ---------------------------------------------------------------------------------------------- */

static void begin(struct end *end, uint64_t credit)
{
        struct stream_terms terms = { .side = &side,
                                      .link = &end->link,
                                      .ends = &end->lane,
                                      .lock = &end->lock,
                                      .budget = &budget,
                                      .window = WINDOW,
                                      .credit = credit };
        pthread_mutex_init(&end->lock, NULL);
        end->blocked = false;
        end->notified = end->waits = 0;
        stream_init(&end->stream, &terms, 77);
}

static int set_up(void **state)
{
        (void)state;
        budget.limit = 0;
        int fds[2] = { link_init(&client.link, -1, RING, HEAP), link_init(&server.link, -1, RING, HEAP) };
        assert_true(fds[0] >= 0 && fds[1] >= 0);
        assert_int_equal(link_attach(&client.link, fds[1], 0), 0);
        assert_int_equal(link_attach(&server.link, fds[0], 0), 0);
        close(fds[0]);
        close(fds[1]);
        link_lane0(&client.link, &client.lane);
        link_lane0(&server.link, &server.lane);
        begin(&client, WINDOW);
        begin(&server, WINDOW);
        return 0;
}

static void finish(struct end *end)
{
        list_remove(&end->stream.waiting);
        stream_deinit(&end->stream);
        link_lane_deinit(&end->lane);
        link_deinit(&end->link);
        pthread_mutex_destroy(&end->lock);
}

static int tear_down(void **state)
{
        (void)state;
        finish(&client);
        finish(&server);
        assert_int_equal(atomic_load(&budget.used), 0);
        return 0;
}

/* ---- both ends -------------------------------------------------------------------------------------------- */

static int write_note(struct end *end, uint64_t number, size_t size)
{
        static uint8_t data[2000];
        Test__Note note = TEST__NOTE__INIT;
        struct traffic traffic = { 0 };
        struct message_form form = { .type = &test__note__type, .max_bytes = MESSAGE_MOST, .traffic = &traffic };
        note.number = number;
        note.data = (ProtobufCBinaryData){ size, data };
        return stream_write(&end->stream, &form, &note.base);
}

/* Reads one message; its number, or what stream_read said below 1. */
static int read_note(struct end *end)
{
        struct reply reply = { 0 };
        const ProtobufCMessage *message = NULL;
        int64_t loan;
        struct message_form form = { .type = &test__note__type, .max_bytes = MESSAGE_MOST };
        baton_arena *arena = &reply.arena;
        arena->budget = 1 << 20;
        int n = stream_read(&end->stream, &form, &reply, &message, &loan);
        if (n > 0)
                n = (int)((const Test__Note *)message)->number;
        arena_deinit(arena);
        return n;
}

/* Takes one record off the ring that `to` reads, and hands it to its stream. What that said; its kind in *kind, 0: there is none. */
static int carry(struct end *to, uint8_t *kind)
{
        struct ring_record record;
        int n = ring_peek(&to->lane.in, &record);
        *kind = n > 0 ? record.kind : 0;
        if (n <= 0)
                return n;
        assert_int_equal(record.call, 77);
        pthread_mutex_lock(&to->lock);
        if (record.kind == SHM_MESSAGE)
                n = stream_deliver(&to->stream, &record);
        else if (record.kind == SHM_CREDIT)
                n = stream_add_credit(&to->stream, record.deadline_ns);
        else
                n = record.kind == SHM_HALF_CLOSE && stream_end_input(&to->stream);
        pthread_mutex_unlock(&to->lock);
        ring_advance(&to->lane.in, &record);
        return n;
}

static void expect_carried(struct end *to, uint8_t expected, int said)
{
        uint8_t kind;
        assert_int_equal(carry(to, &kind), said);
        assert_int_equal(kind, expected);
}

static void expect_nothing(struct end *to)
{
        expect_carried(to, 0, 0);
}

/* ---- the tests -------------------------------------------------------------------------------------------- */

static void as_much_as_there_is_credit(void **state)
{
        (void)state;
        for (int i = 0; i < WINDOW; i++)
                assert_int_equal(write_note(&client, (uint64_t)i + 1, 0), 0);
        assert_int_equal(client.notified, WINDOW);
        assert_int_equal(write_note(&client, 99, 0), -EAGAIN);
        assert_int_equal(client.waits, 0);       /* it is credit that it waits for, and not the ring */
        expect_carried(&server, SHM_MESSAGE, 1); /* the reader is hungry at first, and told once */
        for (int i = 1; i < WINDOW; i++)
                expect_carried(&server, SHM_MESSAGE, 0);
        expect_nothing(&server);
        for (int i = 0; i < WINDOW / 2 - 1; i++)
                assert_int_equal(read_note(&server), i + 1);
        expect_nothing(&client); /* credit comes by halves of the window */
        assert_int_equal(read_note(&server), WINDOW / 2);
        expect_carried(&client, SHM_CREDIT, 1); /* the writer was told -EAGAIN */
        for (int i = 0; i < WINDOW / 2; i++)
                assert_int_equal(write_note(&client, 50, 0), 0);
        assert_int_equal(write_note(&client, 50, 0), -EAGAIN);
        for (int i = WINDOW / 2; i < WINDOW; i++)
                assert_int_equal(read_note(&server), i + 1);
        assert_int_equal(read_note(&server), -EAGAIN);
        expect_carried(&server, SHM_MESSAGE, 1); /* hungry again */
}

/* Larger than what is left, and than the window: one goes beyond. */
static void one_goes_beyond(void **state)
{
        (void)state;
        assert_int_equal(write_note(&client, 1, 0), 0);
        assert_int_equal(write_note(&client, 2, 1900), 0);
        assert_int_equal(write_note(&client, 3, 0), -EAGAIN);
        expect_carried(&server, SHM_MESSAGE, 1);
        expect_carried(&server, SHM_MESSAGE, 0);
        assert_int_equal(read_note(&server), 1);
        expect_nothing(&client);
        assert_int_equal(read_note(&server), 2);
        expect_carried(&client, SHM_CREDIT, 1);
        assert_int_equal(write_note(&client, 3, 1900), 0);
}

/* The receiver does not rely on it. */
static void beyond_what_is_allowed(void **state)
{
        (void)state;
        client.stream.credit = 1000;
        for (int i = 0; i < WINDOW; i++)
                assert_int_equal(write_note(&client, 1, 0), 0);
        assert_int_equal(write_note(&client, 1, 0), 0);
        for (int i = 0; i < WINDOW; i++)
                expect_carried(&server, SHM_MESSAGE, i == 0);
        expect_carried(&server, SHM_MESSAGE, -EPROTO);
}

static void impossible_credit(void **state)
{
        (void)state;
        assert_int_equal(stream_add_credit(&client.stream, UINT64_MAX), -EPROTO);
        assert_int_equal(stream_add_credit(&client.stream, UINT64_C(1) << 63), -EPROTO);
        assert_int_equal(stream_add_credit(&client.stream, SHM_CREDIT_MOST + 1), -EPROTO);
        assert_int_equal(stream_add_credit(&client.stream, SHM_CREDIT_MOST), -EPROTO); /* with what there is */
        assert_int_equal(stream_add_credit(&client.stream, SHM_CREDIT_MOST - WINDOW), 0);
        assert_int_equal(stream_add_credit(&client.stream, 1), -EPROTO);
}

static void half_close(void **state)
{
        (void)state;
        assert_int_equal(write_note(&client, 5, 0), 0);
        assert_int_equal(stream_half_close(&client.stream), 0);
        assert_int_equal(stream_half_close(&client.stream), -ESHUTDOWN);
        assert_int_equal(write_note(&client, 6, 0), -ESHUTDOWN);
        expect_carried(&server, SHM_MESSAGE, 1);
        expect_carried(&server, SHM_HALF_CLOSE, 0);
        assert_int_equal(read_note(&server), 5);
        assert_int_equal(read_note(&server), 0);
        assert_int_equal(read_note(&server), 0);
        expect_nothing(&client);
        client.stream.out_done = false; /* a liar */
        assert_int_equal(write_note(&client, 6, 0), 0);
        expect_carried(&server, SHM_MESSAGE, -EPROTO);
}

/* What finds no room in the ring is due, and sent in order. */
static void no_room(void **state)
{
        (void)state;
        client.blocked = true;
        assert_int_equal(write_note(&client, 1, 0), -EAGAIN);
        assert_int_equal(client.waits, 1);
        client.blocked = false;
        assert_int_equal(stream_room(&client.stream, false), 1); /* the writer is to be told */
        assert_int_equal(stream_room(&client.stream, false), 0);
        assert_int_equal(write_note(&client, 1, 0), 0);
        client.blocked = true;
        assert_int_equal(stream_half_close(&client.stream), 0);
        assert_int_equal(client.waits, 2);
        expect_carried(&server, SHM_MESSAGE, 1);
        expect_nothing(&server);
        client.blocked = false;
        assert_int_equal(stream_room(&client.stream, false), 0);
        assert_int_equal(read_note(&server), 1);
        assert_int_equal(read_note(&server), -EAGAIN);
        expect_carried(&server, SHM_HALF_CLOSE, 1);
        assert_int_equal(read_note(&server), 0);
}

static void ends(void **state)
{
        (void)state;
        assert_int_equal(write_note(&client, 1, 0), 0);
        client.blocked = true;
        pthread_mutex_lock(&client.lock);
        stream_abort(&client.stream);
        pthread_mutex_unlock(&client.lock);
        assert_int_equal(write_note(&client, 2, 0), -EPIPE);
        assert_int_equal(stream_half_close(&client.stream), -EPIPE);
        assert_int_equal(read_note(&client), 0);
        client.blocked = false;
        assert_int_equal(stream_room(&client.stream, false), 0);
        expect_carried(&server, SHM_MESSAGE, 1);
        expect_carried(&server, SHM_CANCEL, 0);
        expect_nothing(&server);
        pthread_mutex_lock(&server.lock);
        stream_finish(&server.stream);
        pthread_mutex_unlock(&server.lock);
        assert_int_equal(read_note(&server), 1); /* what came before can be read; no credit is given for it */
        assert_int_equal(read_note(&server), 0);
        expect_nothing(&client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(as_much_as_there_is_credit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(one_goes_beyond, set_up, tear_down),
                cmocka_unit_test_setup_teardown(beyond_what_is_allowed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(impossible_credit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(half_close, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_room, set_up, tear_down),
                cmocka_unit_test_setup_teardown(ends, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
