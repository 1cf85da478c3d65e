/* Servers: their options, serving on the user's loop, quotas, draining, and what a handler knows of itself. */
#include "harness.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { PATIENCE_MS = 5000 };

static const baton_call_options patient = { .timeout_ms = PATIENCE_MS };
static char listen_address[LONGEST_ADDRESS], channel_address[LONGEST_ADDRESS];

static bool ended(void *server)
{
        return !baton_server_serving(server);
}

static baton_status call_nothing(baton_channel *channel)
{
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        baton_status status = probe_nothing(channel, &request, &reply, &patient);
        baton_release(reply);
        return status;
}

/* A server with these handlers that listens at a fresh address. */
static baton_server *listening(const baton_server_options *options, const probe_handlers *handlers, void *context)
{
        transport->addresses(scratch, listen_address, channel_address);
        baton_server *server = baton_server_new(options);
        assert_non_null(server);
        assert_int_equal(probe_register(server, handlers, context), 0);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        return server;
}

static void reply_nothing(baton_call *call, const Conformance__Empty *request, void *context)
{
        (void)context;
        probe_nothing_reply(call, request);
}

static const probe_handlers plain = { .nothing = reply_nothing };

static void *run(void *server)
{
        return (void *)(intptr_t)baton_server_run(server);
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static void execute_never(void *context, void (*function)(void *argument), void *argument)
{
        (void)context, (void)function, (void)argument;
}

static void test_options(void **state)
{
        (void)state;
        baton_loop *loop = baton_loop_new();
        const struct {
                baton_server_options options;
                const char *words;
        } table[] = {
                { { .handler_threads = 1025 }, "server option handler_threads is 1025|at most 1024" },
                { { .max_metadata_bytes = (1 << 20) + 1 }, "max_metadata_bytes is 1048577|at most 1 MiB" },
                { { .stream_window_bytes = 1023 }, "stream_window_bytes is 1023|1 KiB to 64 MiB" },
                { { .stream_window_bytes = (64 << 20) + 1 }, "stream_window_bytes|1 KiB to 64 MiB" },
                { { .loop = loop, .workers = 2 }, "workers is 2|option loop" },
                { { .execute = execute_never, .handler_threads = 1 }, "handler_threads is 1|option execute" },
        };
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                assert_null(baton_server_new(&table[i].options));
                expect_error(table[i].words);
        }
        baton_server_free(baton_server_new(&(baton_server_options){
                .loop = loop, .workers = 1, .handler_threads = 1024, .stream_window_bytes = 1024 }));
        assert_int_equal(baton_loop_dispatch(loop), 0); /* nothing of the server is left */
        baton_loop_free(loop);
}

static void test_services(void **state)
{
        (void)state;
        static const stranger_handlers strangers = { 0 };
        const baton_service *services[3] = { NULL };
        baton_server *server = baton_server_new(NULL);
        assert_int_equal(baton_server_services(server, NULL, 0), 0);
        assert_int_equal(stranger_register(server, &strangers, NULL), 0);
        assert_int_equal(probe_register(server, &plain, NULL), 0);
        assert_int_equal(baton_server_services(server, services, 1), 2);
        assert_string_equal(services[0]->name, "conformance.Stranger");
        assert_null(services[1]);
        assert_int_equal(baton_server_services(server, services, 3), 2);
        assert_string_equal(services[1]->name, "conformance.Probe");
        assert_null(services[2]);
        assert_int_equal(baton_server_services(NULL, services, 3), 0);
        baton_server_free(server);
}

/* ---- on the user's loop ----------------------------------------------------------------------------------- */

static const baton_code pending = (baton_code)-1;

static void note_code(const baton_status *status, const Conformance__Empty *reply, void *context)
{
        (void)reply;
        atomic_store((atomic_int *)context, (int)status->code);
}

/* Turns the loop as a program with a loop of its own does, until the code is known. */
static void turn_until(baton_loop *loop, atomic_int *code)
{
        for (uint64_t end_ns = now_ns() + 10000000000u; atomic_load(code) == (int)pending && now_ns() < end_ns;) {
                struct pollfd ready = { .fd = baton_loop_fd(loop), .events = baton_loop_events(loop) };
                assert_true(poll(&ready, 1, 1000) >= 0);
                assert_true(baton_loop_dispatch(loop) >= 0);
        }
        assert_int_not_equal(atomic_load(code), (int)pending);
}

struct starter {
        baton_channel *channel;
        baton_loop *loop;
        atomic_int code;
};

static void start_call(struct starter *starter)
{
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        atomic_store(&starter->code, (int)pending);
        assert_int_equal(
                probe_nothing_async(starter->channel, starter->loop, &request, &patient, note_code, &starter->code), 0);
}

static void *start_first(void *starter)
{
        start_call(starter);
        return NULL;
}

/* The first call connects, for which the loop has to turn: another thread starts it. */
static void call_on_loop(struct starter *starter)
{
        pthread_t thread;
        atomic_store(&starter->code, (int)pending);
        assert_int_equal(pthread_create(&thread, NULL, start_first, starter), 0);
        turn_until(starter->loop, &starter->code);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&starter->code), BATON_OK);
        for (int i = 0; i < 100; i++) {
                start_call(starter);
                turn_until(starter->loop, &starter->code);
                assert_int_equal(atomic_load(&starter->code), BATON_OK);
        }
}

static void test_loop(void **state)
{
        (void)state;
        baton_loop *loop = baton_loop_new();
        baton_server *server = listening(&(baton_server_options){ .loop = loop }, &plain, NULL);
        assert_true(baton_server_serving(server));
        assert_int_equal(baton_server_run(server), -EINVAL);
        expect_error("option loop|run that");
        assert_int_equal(baton_server_start(server), -EINVAL);
        struct starter starter = { .channel = baton_channel_open(channel_address, NULL), .loop = loop };
        call_on_loop(&starter);
        baton_channel_close(starter.channel);
        baton_server_free(server);
        assert_true(baton_loop_dispatch(loop) >= 0); /* the loop goes on */
        baton_loop_free(loop);
}

static void *stop(void *server)
{
        pause_ms(10);
        baton_server_stop(server);
        return NULL;
}

/* Stopping takes effect on the loop, ends its wait, and leaves the loop and the server fit for more. */
static void test_loop_stop(void **state)
{
        (void)state;
        baton_loop *loop = baton_loop_new();
        baton_server *server = listening(&(baton_server_options){ .loop = loop, .handler_threads = 2 }, &plain, NULL);
        for (int round = 0; round < 3; round++) {
                struct starter starter = { .channel = baton_channel_open(channel_address, NULL), .loop = loop };
                pthread_t thread;
                call_on_loop(&starter);
                assert_int_equal(pthread_create(&thread, NULL, stop, server), 0);
                while (baton_server_serving(server))
                        assert_true(baton_loop_wait(loop, PATIENCE_MS) > 0);
                pthread_join(thread, NULL);
                start_call(&starter);
                turn_until(loop, &starter.code);
                assert_int_equal(atomic_load(&starter.code), BATON_UNAVAILABLE);
                baton_channel_close(starter.channel);
                baton_server_stop(server); /* too late to end the next round */
                if (round == 1)
                        assert_true(baton_loop_dispatch(loop) > 0);
                assert_int_equal(baton_server_listen(server, listen_address), 0);
        }
        baton_server_free(server);
        baton_loop_free(loop);
}

/* ---- quotas ----------------------------------------------------------------------------------------------- */

static void test_connections_per_process(void **state)
{
        (void)state;
        if (!transport->same_host)
                skip();
        baton_channel *channels[3];
        baton_server *server = listening(&(baton_server_options){ .max_connections_per_process = 2 }, &plain, NULL);
        assert_int_equal(baton_server_start(server), 0);
        for (int i = 0; i < 3; i++)
                channels[i] = baton_channel_open(channel_address, NULL);
        expect_status(call_nothing(channels[0]), BATON_OK, "");
        expect_status(call_nothing(channels[1]), BATON_OK, "");
        log_clear();
        baton_status status = call_nothing(channels[2]);
        expect_status(status, BATON_RESOURCE_EXHAUSTED, "2 connections|max_connections_per_process");
        assert_false(status.maybe_executed);
        assert_true(log_has("refused|max_connections_per_process"));
        baton_channel_close(channels[0]);
        for (int i = 0; i < PATIENCE_MS && baton_channel_connect(channels[2]).code != BATON_OK; i++)
                pause_ms(1);
        expect_status(call_nothing(channels[2]), BATON_OK, ""); /* there is room again */
        baton_channel_close(channels[1]);
        baton_channel_close(channels[2]);
        baton_server_free(server);
}

/* ---- draining --------------------------------------------------------------------------------------------- */

static void test_drain_until_clients_leave(void **state)
{
        (void)state;
        for (uint32_t workers = 1; workers <= 3; workers += 2) {
                baton_server *server = listening(&(baton_server_options){ .workers = workers }, &plain, NULL);
                assert_int_equal(baton_server_start(server), 0);
                baton_channel *channel = baton_channel_open(channel_address, NULL);
                expect_status(call_nothing(channel), BATON_OK, "");
                assert_int_equal(baton_server_drain(server, 3600000), 0);
                baton_channel_close(channel);
                assert_true(eventually(ended, server));
                assert_int_equal(baton_server_drain(server, 0), -EINVAL);
                expect_error("cannot drain|does not listen");
                assert_int_equal(baton_server_listen(server, listen_address), 0); /* and serves again */
                assert_int_equal(baton_server_start(server), 0);
                channel = baton_channel_open(channel_address, NULL);
                expect_status(call_nothing(channel), BATON_OK, "");
                pause_ms(10);
                assert_true(baton_server_serving(server));
                baton_channel_close(channel);
                baton_server_free(server);
        }
}

static bool holds_one(void *probe)
{
        return probe_held(probe) == 1;
}

static void note_outcome(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        atomic_store((atomic_int *)context, (int)status->code);
}

/* A call in flight keeps its connection up; of two ends that were asked for the earlier counts. */
static void test_drain_timeout(void **state)
{
        (void)state;
        struct peer peer;
        peer_start_here(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_loop *loop = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        atomic_int code = (int)pending;
        order.batch = 2;
        assert_int_equal(probe_act_async(channel, loop, &order, &patient, note_outcome, &code), 0);
        assert_true(eventually(holds_one, peer.probe));
        uint64_t began_ns = now_ns();
        assert_int_equal(baton_server_drain(peer.server, 3600000), 0);
        assert_int_equal(baton_server_drain(peer.server, 50), 0);
        assert_int_equal(baton_server_drain(peer.server, 3600000), 0);
        turn_until(loop, &code);
        assert_int_equal(atomic_load(&code), BATON_UNAVAILABLE);
        assert_true(now_ns() - began_ns >= 50000000u);
        assert_true(eventually(ended, peer.server));
        baton_channel_close(channel);
        baton_loop_free(loop);
        peer_end(&peer);
}

/* Calls in flight end well; then the client leaves by itself, though its channel is open, and its next call finds nobody. */
static void test_drain_lets_calls_end(void **state)
{
        (void)state;
        struct peer peer;
        peer_start_here(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_loop *loop = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        atomic_int code = (int)pending;
        order.batch = 2;
        assert_int_equal(probe_act_async(channel, loop, &order, &patient, note_outcome, &code), 0);
        assert_true(eventually(holds_one, peer.probe));
        assert_int_equal(baton_server_drain(peer.server, 3600000), 0);
        pause_ms(20);
        assert_true(baton_server_serving(peer.server));
        probe_answer_held(peer.probe);
        turn_until(loop, &code);
        assert_int_equal(atomic_load(&code), BATON_OK);
        for (int i = 0; i < 100 && baton_server_serving(peer.server); i++)
                assert_true(baton_loop_wait(loop, 10) >= 0);
        assert_false(baton_server_serving(peer.server));
        expect_status(call_nothing(channel), BATON_UNAVAILABLE, "");
        baton_channel_close(channel);
        baton_loop_free(loop);
        peer_end(&peer);
}

static void test_drain_before_the_run(void **state)
{
        (void)state;
        baton_server *server = baton_server_new(NULL);
        assert_int_equal(baton_server_drain(NULL, 0), -EINVAL);
        expect_error("server is NULL");
        assert_int_equal(baton_server_drain(server, 0), -EINVAL);
        expect_error("does not listen");
        baton_server_free(server);
        server = listening(NULL, &plain, NULL);
        assert_int_equal(baton_server_drain(server, 3600000), 0);
        assert_int_equal(baton_server_run(server), 0); /* ends at once */
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        assert_int_equal(baton_server_drain(server, 3600000), 0);
        baton_server_free(server); /* without a run */
}

static void drain_inside(baton_call *call, const Conformance__Empty *request, void *context)
{
        assert_int_equal(baton_server_drain(*(baton_server **)context, PATIENCE_MS), 0);
        probe_nothing_reply(call, request);
}

static const probe_handlers draining = { .nothing = drain_inside };

static void drain_by_call(const baton_server_options *options)
{
        static baton_server *server;
        server = listening(options, &draining, &server);
        pthread_t thread;
        void *result = server;
        assert_int_equal(pthread_create(&thread, NULL, run, server), 0);
        baton_channel *channel = baton_channel_open(channel_address, NULL);
        expect_status(call_nothing(channel), BATON_OK, "");
        baton_channel_close(channel);
        pthread_join(thread, &result);
        assert_ptr_equal(result, NULL);
        baton_server_free(server);
}

static void test_drain_inside_a_handler(void **state)
{
        (void)state;
        drain_by_call(NULL);
        drain_by_call(&(baton_server_options){ .workers = 2 });
        drain_by_call(&(baton_server_options){ .handler_threads = 1 });
}

static void test_drain_on_a_loop(void **state)
{
        (void)state;
        baton_loop *loop = baton_loop_new();
        baton_server *server = listening(&(baton_server_options){ .loop = loop }, &plain, NULL);
        struct starter starter = { .channel = baton_channel_open(channel_address, NULL), .loop = loop };
        call_on_loop(&starter);
        assert_int_equal(baton_server_drain(server, 3600000), 0);
        baton_channel_close(starter.channel);
        while (baton_server_serving(server))
                assert_true(baton_loop_wait(loop, PATIENCE_MS) > 0);
        baton_server_free(server);
        assert_true(baton_loop_dispatch(loop) >= 0);
        baton_loop_free(loop);
}

/* ---- inside handlers -------------------------------------------------------------------------------------- */

struct self {
        baton_server *server;
        baton_loop *nested; /* another server's, turned by the handler */
        baton_channel *to_nested;
        atomic_uint n_wrong;
        atomic_uint depth;
};

static void note_self(struct self *self, const baton_call *call)
{
        if (baton_call_current() != call)
                atomic_fetch_add(&self->n_wrong, 1);
}

/* Turns the loop of another server, whose handler has its own current call. */
static void look_at_self(baton_call *call, const Conformance__Empty *request, void *context)
{
        struct self *self = context;
        note_self(self, call);
        if (self->nested && atomic_fetch_add(&self->depth, 1) == 0) {
                struct starter starter = { .channel = self->to_nested, .loop = self->nested };
                call_on_loop(&starter);
                note_self(self, call);
        }
        probe_nothing_reply(call, request);
        note_self(self, call);
}

static const probe_handlers looking = { .nothing = look_at_self };

static void test_current_call(void **state)
{
        (void)state;
        static const baton_server_options kinds[] = { { .workers = 1 }, { .workers = 2 }, { .handler_threads = 1 } };
        assert_null(baton_call_current());
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
                struct self self = { .nested = baton_loop_new() };
                baton_server *inner = listening(&(baton_server_options){ .loop = self.nested }, &looking, &self);
                self.to_nested = baton_channel_open(channel_address, NULL);
                baton_server *outer = listening(&kinds[i], &looking, &self);
                assert_int_equal(baton_server_start(outer), 0);
                baton_channel *channel = baton_channel_open(channel_address, NULL);
                expect_status(call_nothing(channel), BATON_OK, "");
                assert_true(atomic_load(&self.depth) > 1);
                assert_int_equal(atomic_load(&self.n_wrong), 0);
                baton_channel_close(channel);
                baton_server_free(outer);
                baton_channel_close(self.to_nested);
                baton_server_free(inner);
                baton_loop_free(self.nested);
        }
        assert_null(baton_call_current());
}

static void free_inside(baton_call *call, const Conformance__Empty *request, void *context)
{
        probe_nothing_reply(call, request);
        baton_server_free(*(baton_server **)context);
}

static const probe_handlers freeing = { .nothing = free_inside };

static void free_by_call(const baton_server_options *options)
{
        static baton_server *server;
        server = listening(options, &freeing, &server);
        assert_int_equal(baton_server_start(server), 0);
        baton_channel *channel = baton_channel_open(channel_address, NULL);
        log_clear();
        expect_status(call_nothing(channel), BATON_OK, "");
        assert_true(log_has("baton_server_free|handler|not freed"));
        assert_true(eventually(ended, server)); /* it is stopped */
        baton_channel_close(channel);
        baton_server_free(server);
}

static void test_free_inside_a_handler(void **state)
{
        (void)state;
        free_by_call(NULL);
        free_by_call(&(baton_server_options){ .workers = 2 });
        free_by_call(&(baton_server_options){ .handler_threads = 1 });
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_options),
                cmocka_unit_test(test_services),
                cmocka_unit_test(test_loop),
                cmocka_unit_test(test_loop_stop),
                cmocka_unit_test(test_connections_per_process),
                cmocka_unit_test(test_drain_until_clients_leave),
                cmocka_unit_test(test_drain_timeout),
                cmocka_unit_test(test_drain_lets_calls_end),
                cmocka_unit_test(test_drain_before_the_run),
                cmocka_unit_test(test_drain_inside_a_handler),
                cmocka_unit_test(test_drain_on_a_loop),
                cmocka_unit_test(test_current_call),
                cmocka_unit_test(test_free_inside_a_handler),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
