/* What a server's program can do about streams that would never end, when the server drains. The rest of draining: test_server.c. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { PATIENCE_MS = 5000, ITEMS = 100000 };

/* A watch that goes on until the server drains; the handler runs on the worker. */
struct watch {
        pthread_mutex_t lock;
        baton_call *call; /* NULL: none, or ended */
        atomic_int n_drains;
};

static void produce(baton_call *call, const Conformance__Script *request, void *context)
{
        (void)request;
        struct watch *watch = context;
        pthread_mutex_lock(&watch->lock);
        watch->call = baton_call_retain(call);
        pthread_mutex_unlock(&watch->lock);
}

static const probe_handlers handlers = { .produce = produce };

/* Ends the watch: from another thread than the worker's, which must not matter. */
static void draining(baton_server *server, void *context)
{
        (void)server;
        struct watch *watch = context;
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        atomic_fetch_add(&watch->n_drains, 1);
        pthread_mutex_lock(&watch->lock);
        /* Nobody reads: it is told so sooner or later, and never waits, for it runs on a loop. */
        int error = 0;
        for (int i = 0; i < ITEMS && !error; i++)
                error = probe_produce_send(watch->call, &item);
        assert_int_equal(error, -EAGAIN);
        assert_int_equal(probe_produce_end(watch->call), 0);
        baton_call_release(watch->call);
        watch->call = NULL;
        pthread_mutex_unlock(&watch->lock);
}

static bool began(void *argument)
{
        struct watch *watch = argument;
        pthread_mutex_lock(&watch->lock);
        bool there = watch->call;
        pthread_mutex_unlock(&watch->lock);
        return there;
}

static bool ended(void *server)
{
        return !baton_server_serving(server);
}

static void drain_with(const baton_server_options *given)
{
        char listen[LONGEST_ADDRESS], address[LONGEST_ADDRESS];
        struct watch watch = { .lock = PTHREAD_MUTEX_INITIALIZER };
        baton_server_options options = *given;
        options.draining = draining;
        options.draining_context = &watch;
        transport->addresses(scratch, listen, address);
        baton_server *server = baton_server_new(&options);
        assert_int_equal(probe_register(server, &handlers, &watch), 0);
        assert_int_equal(baton_server_listen(server, listen), 0);
        assert_int_equal(baton_server_start(server), 0);
        baton_channel *channel = baton_channel_open(address, NULL);
        Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        baton_stream *stream = probe_produce_open(channel, &script, &(baton_call_options){ .timeout_ms = PATIENCE_MS });
        assert_true(eventually(began, &watch));
        assert_int_equal(atomic_load(&watch.n_drains), 0);
        assert_int_equal(baton_server_drain(server, 3600000), 0);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        assert_true(eventually(ended, server)); /* the client has left */
        assert_int_equal(atomic_load(&watch.n_drains), 1);
        baton_channel_close(channel);
        baton_server_free(server);
}

static void test_draining_ends_streams(void **state)
{
        (void)state;
        drain_with(&(baton_server_options){ .workers = 1 });
}

static void test_draining_on_another_worker(void **state)
{
        (void)state;
        drain_with(&(baton_server_options){ .workers = 3 });
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_draining_ends_streams),
                cmocka_unit_test(test_draining_on_another_worker),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
