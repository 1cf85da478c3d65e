/* The lives of servers and channels: stopping and serving again, closing, and what must not wait for another's connecting. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 3, CONNECT_MS = 1500, SHORT_MS = 50, LATE_MS = 50 };

static void note_code(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        *(baton_code *)context = status->code;
}

static const baton_code pending = (baton_code)-1;

static void turn_until(baton_loop *loop, const baton_code *code)
{
        for (uint64_t end_ns = now_ns() + 10000000000u; *code == pending && now_ns() < end_ns;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_not_equal(*code, pending);
}

/* ---- serving again ---------------------------------------------------------------------------------------- */

static char listen_address[LONGEST_ADDRESS], channel_address[LONGEST_ADDRESS];

static bool listens_again(void *server)
{
        int error = baton_server_listen(server, listen_address);
        assert_true(error == 0 || error == -EBUSY); /* threads that end yet */
        return error == 0;
}

static void *run(void *server)
{
        return (void *)(intptr_t)baton_server_run(server);
}

static void expect_nobody(baton_channel *channel)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        expect_status(act(channel, &order, &(baton_call_options){ .timeout_ms = 5000 }, NULL), BATON_UNAVAILABLE, "");
}

static void serve_again_and_again(uint32_t workers)
{
        transport->addresses(scratch, listen_address, channel_address);
        struct probe *probe = probe_new();
        baton_server *server = baton_server_new(&(baton_server_options){ .workers = workers });
        assert_int_equal(probe_serve(probe, server), 0);
        baton_channel *channel = baton_channel_open(channel_address, NULL);
        for (int i = 0; i < ROUNDS; i++) {
                assert_true(eventually(listens_again, server));
                assert_int_equal(baton_server_start(server), 0);
                expect_alive(channel);
                baton_server_stop(server);
                assert_true(eventually(listens_again, server));
                pthread_t thread;
                void *result = server;
                assert_int_equal(pthread_create(&thread, NULL, run, server), 0);
                expect_alive(channel);
                baton_server_stop(server);
                pthread_join(thread, &result);
                assert_ptr_equal(result, NULL);
                expect_nobody(channel);
        }
        baton_channel_close(channel);
        baton_server_free(server);
        probe_free(probe);
}

static void test_serve_again(void **state)
{
        (void)state;
        serve_again_and_again(1);
        serve_again_and_again(3);
}

/* A stop that nobody was there to answer ends no later run. */
static void test_stop_before_the_start(void **state)
{
        (void)state;
        struct peer peer;
        peer_start_here(&peer, NULL);
        baton_server_stop(peer.server);
        baton_server_stop(peer.server);
        memcpy(listen_address, peer.listen, sizeof listen_address);
        assert_true(eventually(listens_again, peer.server));
        assert_int_equal(baton_server_start(peer.server), 0);
        baton_channel *channel = peer_open(&peer, NULL);
        expect_alive(channel);
        pause_ms(10);
        expect_alive(channel);
        baton_channel_close(channel);
        peer_end(&peer);
}

/* ---- stopping inside a handler ---------------------------------------------------------------------------- */

static void stop_inside(baton_call *call, const Conformance__Empty *request, void *context)
{
        baton_server_stop(*(baton_server **)context);
        probe_nothing_reply(call, request);
}

static const probe_handlers stopping = { .nothing = stop_inside };

static void stop_by_call(uint32_t workers, bool start)
{
        transport->addresses(scratch, listen_address, channel_address);
        baton_server *server = baton_server_new(&(baton_server_options){ .workers = workers });
        assert_int_equal(probe_register(server, &stopping, &server), 0);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        pthread_t thread;
        void *result = server;
        if (start)
                assert_int_equal(baton_server_start(server), 0);
        else
                assert_int_equal(pthread_create(&thread, NULL, run, server), 0);
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        baton_channel *channel = baton_channel_open(channel_address, NULL);
        /* The call being handled ends first. */
        expect_status(probe_nothing(channel, &request, &reply, &(baton_call_options){ .timeout_ms = 5000 }), BATON_OK,
                      "");
        baton_release(reply);
        if (start) {
                assert_true(eventually(listens_again, server)); /* it has ended */
        } else {
                pthread_join(thread, &result);
                assert_ptr_equal(result, NULL);
                expect_nobody(channel);
        }
        baton_channel_close(channel);
        baton_server_free(server);
}

static void test_stop_inside_a_handler(void **state)
{
        (void)state;
        stop_by_call(1, true);
        stop_by_call(1, false);
        stop_by_call(3, true);
        stop_by_call(3, false);
}

/* ---- connecting takes a while, for others ------------------------------------------------------------------- */

static void *call_without_deadline(void *channel)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        baton_status status = act(channel, &order, NULL, NULL);
        return (void *)(intptr_t)status.code;
}

static void expect_on_time(uint64_t start_ns)
{
        assert_in_range((now_ns() - start_ns) / 1000000, SHORT_MS - 1, SHORT_MS + LATE_MS);
}

/* The kernel accepts for a server that stands still; the handshake never comes. */
static void test_deadline_while_another_connects(void **state)
{
        (void)state;
        struct peer peer;
        pthread_t thread;
        void *code = NULL;
        peer_start_process(&peer, NULL);
        baton_channel *channel = peer_open(&peer, &(baton_channel_options){ .connect_timeout_ms = CONNECT_MS });
        baton_loop *loop = baton_loop_new();
        kill(peer.pid, SIGSTOP);
        uint64_t began_ns = now_ns();
        assert_int_equal(pthread_create(&thread, NULL, call_without_deadline, channel), 0);
        pause_ms(30); /* it is connecting now, and holds what that takes */
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < 3; i++) {
                uint64_t start_ns = now_ns();
                expect_status(act(channel, &order, &(baton_call_options){ .timeout_ms = SHORT_MS }, NULL),
                              BATON_DEADLINE_EXCEEDED, "");
                expect_on_time(start_ns);
        }
        uint64_t start_ns = now_ns();
        baton_code async = pending;
        baton_call_options options = { .timeout_ms = SHORT_MS };
        assert_int_equal(probe_act_async(channel, loop, &order, &options, note_code, &async), 0);
        turn_until(loop, &async);
        assert_int_equal(async, BATON_DEADLINE_EXCEEDED);
        expect_on_time(start_ns);
        pthread_join(thread, &code);
        assert_int_equal((intptr_t)code, BATON_UNAVAILABLE);
        assert_true(now_ns() - began_ns >= (CONNECT_MS - 100) * UINT64_C(1000000)); /* so it was meanwhile */
        kill(peer.pid, SIGCONT);
        expect_alive(channel);
        baton_channel_close(channel);
        baton_loop_free(loop);
        peer_end(&peer);
}

/* ---- texts ------------------------------------------------------------------------------------------------ */

struct text {
        baton_code code;
        char text[128];
};

static void note_text(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        struct text *text = context;
        strncpy(text->text, status->message, sizeof text->text - 1);
        text->code = status->code;
}

static void expect_no_older_text(const char *text)
{
        assert_null(strstr(text, "an older text")); /* of the call before */
        assert_null(strstr(text, "nowhere"));       /* of this thread */
}

/* A failure without a text borrows none. */
static void test_empty_text(void **state)
{
        (void)state;
        struct peer peer;
        peer_start(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_loop *loop = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.code = BATON_ABORTED;
        for (int i = 0; i < ROUNDS; i++) {
                order.message = (char *)"an older text";
                expect_status(act(channel, &order, NULL, NULL), BATON_ABORTED, "an older text");
                assert_null(baton_channel_open("nowhere", NULL));
                order.message = (char *)"";
                baton_status status = act(channel, &order, NULL, NULL);
                expect_status(status, BATON_ABORTED, "");
                expect_no_older_text(status.message);
                struct text text = { .code = pending };
                assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_text, &text), 0);
                assert_null(baton_channel_open("nowhere", NULL));
                turn_until(loop, &text.code);
                assert_int_equal(text.code, BATON_ABORTED);
                expect_no_older_text(text.text);
        }
        baton_channel_close(channel);
        baton_loop_free(loop);
        peer_end(&peer);
}

/* ---- a block freed twice while it is lent ------------------------------------------------------------------ */

enum { BLOCK = 128 << 10, OTHERS = 8 };

static struct {
        baton_call *call;
        const Conformance__Blob *request;
        atomic_bool there;
} lent;

static void keep_call(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)context;
        lent.call = baton_call_retain(call);
        lent.request = request;
        atomic_store(&lent.there, true);
}

static const probe_handlers keeping = { .echo = keep_call };

static bool is_there(void *flag)
{
        return atomic_load((atomic_bool *)flag);
}

static void note_sent(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)reply;
        *(baton_code *)context = status->code;
}

/* Blocks that are asked for while the loan is out are others, and apart: writing them changes nothing that the server reads. */
static void write_other_blocks(baton_channel *channel, const uint8_t *block, uint8_t *others[OTHERS])
{
        for (int i = 0; i < OTHERS; i++) {
                others[i] = baton_channel_alloc(channel, BLOCK);
                assert_non_null(others[i]);
                assert_true(others[i] + BLOCK <= block || others[i] >= block + BLOCK);
                for (int j = 0; j < i; j++)
                        assert_ptr_not_equal(others[i], others[j]);
                memset(others[i], 0xee, BLOCK);
        }
}

static void test_free_twice_while_lent(void **state)
{
        (void)state;
        transport->addresses(scratch, listen_address, channel_address);
        baton_server *server = baton_server_new(NULL);
        assert_int_equal(probe_register(server, &keeping, NULL), 0);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        assert_int_equal(baton_server_start(server), 0);
        baton_channel *channel = baton_channel_open(channel_address, NULL);
        baton_loop *loop = baton_loop_new();
        uint8_t *block = baton_channel_alloc(channel, BLOCK), *bytes = pattern(BLOCK, 3), *others[OTHERS];
        memcpy(block, bytes, BLOCK);
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        request.data = (ProtobufCBinaryData){ BLOCK, block };
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        baton_code code = pending, first = pending;
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_code, &first), 0);
        turn_until(loop, &first); /* there is a lane: payloads of calls that wait for one are copied */
        assert_int_equal(probe_echo_async(channel, loop, &request, NULL, note_sent, &code), 0);
        assert_true(eventually(is_there, &lent.there));
        log_clear();
        baton_channel_free(channel, block);
        baton_channel_free(channel, block);
        assert_true(log_has("baton_channel_free|freed before"));
        write_other_blocks(channel, block, others);
        assert_memory_equal(lent.request->data.data, bytes, BLOCK);
        Conformance__Blob reply = CONFORMANCE__BLOB__INIT;
        assert_int_equal(probe_echo_reply(lent.call, &reply), 0);
        baton_call_release(lent.call);
        turn_until(loop, &code);
        assert_int_equal(code, BATON_OK);
        for (int i = 0; i < OTHERS; i++)
                baton_channel_free(channel, others[i]);
        write_other_blocks(channel, bytes, others); /* the free lists are whole */
        baton_channel_close(channel);
        baton_loop_free(loop);
        baton_server_free(server);
        free(bytes);
}

/* ---- callbacks that call ----------------------------------------------------------------------------------- */

static struct {
        baton_channel *channel;
        baton_loop *loop;
        int n;
        bool enough;
} restarting;

static void restart(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        restarting.n++;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        if (restarting.enough)
                note_code(status, NULL, context);
        else if (probe_act_async(restarting.channel, restarting.loop, &order, NULL, restart, context) != 0)
                abort();
}

/* Its server is dead: each try fails at once, and the next is made inside its callback. */
static void test_restart_for_ever(void **state)
{
        (void)state;
        struct peer peer;
        baton_code code = pending;
        peer_start(&peer, NULL);
        restarting.channel = peer_open(&peer, NULL);
        restarting.loop = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 4000; /* is held for ever */
        assert_int_equal(probe_act_async(restarting.channel, restarting.loop, &order, NULL, restart, &code), 0);
        pause_ms(20);
        peer_kill(&peer);
        alarm(30); /* ends a test that never returns */
        for (uint64_t until = now_ns() + 10000000000u; now_ns() < until && restarting.n < 50;) {
                int before = restarting.n;
                assert_true(baton_loop_dispatch(restarting.loop) >= 0);
                assert_in_range(restarting.n - before, 0, 1000);
        }
        assert_in_range(restarting.n, 50, 2000);
        alarm(0);
        peer_restart(&peer, NULL);
        restarting.enough = true;
        turn_until(restarting.loop, &code);
        baton_channel_close(restarting.channel);
        baton_loop_free(restarting.loop);
        peer_end(&peer);
}

static struct {
        baton_channel *channel;
        baton_loop *loop;
        int n, n_refused;
} closing;

static void call_further(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        (void)context;
        closing.n++;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        int error = probe_act_async(closing.channel, closing.loop, &order, NULL, call_further, NULL);
        closing.n_refused += status->code != BATON_OK && error == -ECANCELED && strstr(baton_error(), "closed");
}

static void close_with_calls(const struct peer *peer, int n)
{
        closing.channel = peer_open(peer, NULL);
        closing.loop = baton_loop_new();
        closing.n = closing.n_refused = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 4000; /* is held for ever */
        for (int i = 0; i < n; i++)
                assert_int_equal(probe_act_async(closing.channel, closing.loop, &order, NULL, call_further, NULL), 0);
        alarm(30);
        baton_channel_close(closing.channel);
        alarm(0);
        assert_int_equal(closing.n, n);
        assert_int_equal(closing.n_refused, n);
        assert_true(baton_loop_wait(closing.loop, 20) >= 0);
        assert_int_equal(closing.n, n);
        baton_loop_free(closing.loop);
}

/* Calls at a living server are cancelled; those at a dead one have failed, and that is delivered. */
static void test_call_inside_the_close(void **state)
{
        (void)state;
        struct peer peer;
        peer_start(&peer, NULL);
        close_with_calls(&peer, 5);
        peer_kill(&peer);
        close_with_calls(&peer, 5);
}

/* ---- replies that pile up ---------------------------------------------------------------------------------- */

enum { MANY = 3000 };

struct arrival {
        uint64_t value;
        int *n_ok;
};

static void count_ok(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        const struct arrival *arrival = context;
        if (status->code != BATON_OK)
                print_error("call %llu: %s: %s\n", (unsigned long long)arrival->value, baton_code_name(status->code),
                            status->message);
        *arrival->n_ok += status->code == BATON_OK && outcome->value == arrival->value;
}

/* All are answered at once, many times what the ring takes, while the client does not look. */
static void test_replies_wait_for_the_client(void **state)
{
        (void)state;
        static struct arrival arrivals[MANY];
        struct peer peer;
        int n_ok = 0;
        peer_start_here(&peer, NULL);
        baton_channel *channel = peer_open(&peer, &(baton_channel_options){ .max_in_flight = 4096 });
        baton_loop *loop = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        /* The loop has its lane: from here on calls are sent at once, or not at all. */
        arrivals[0] = (struct arrival){ 0, &n_ok };
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, count_ok, &arrivals[0]), 0);
        while (!n_ok)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        n_ok = 0;
        order.batch = MANY;
        for (uint64_t i = 0, tries = 0; i < MANY && tries < 20000; tries++) {
                order.value = i;
                arrivals[i] = (struct arrival){ i, &n_ok };
                int error = probe_act_async(channel, loop, &order, NULL, count_ok, &arrivals[i]);
                assert_true(error == 0 || error == -EAGAIN);
                i += error == 0;
                if (error < 0)
                        pause_ms(1); /* until the server has read on */
        }
        while (probe_runs(peer.probe) < MANY + 1 || probe_held(peer.probe))
                pause_ms(1);
        assert_int_equal(probe_error(peer.probe), 0);
        assert_int_equal(n_ok, 0);
        for (uint64_t end_ns = now_ns() + 10000000000u; n_ok < MANY && now_ns() < end_ns;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(n_ok, MANY);
        expect_alive(channel);
        baton_channel_close(channel);
        baton_loop_free(loop);
        peer_end(&peer);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_serve_again),
                cmocka_unit_test(test_stop_before_the_start),
                cmocka_unit_test(test_stop_inside_a_handler),
                cmocka_unit_test(test_deadline_while_another_connects),
                cmocka_unit_test(test_empty_text),
                cmocka_unit_test(test_free_twice_while_lent),
                cmocka_unit_test(test_restart_for_ever),
                cmocka_unit_test(test_call_inside_the_close),
                cmocka_unit_test(test_replies_wait_for_the_client),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
