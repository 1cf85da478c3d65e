/* Counters of channels and servers. */
#include "fixture.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { METHODS = 32, THREADS = 3, CALLS = 500 };

static int begin_counting(void **state)
{
        (void)state;
        fixture_open(&(baton_server_options){ .counters = true, .workers = 2 },
                     &(baton_channel_options){ .counters = true });
        return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static baton_counters pick(const baton_counters *all, size_t n, const char *method)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(all[i].method + strlen("/conformance.Probe/"), method) == 0)
                        return all[i];
        return (baton_counters){ .method = NULL };
}

static baton_counters of_client(const char *method)
{
        baton_counters all[METHODS];
        size_t n = baton_channel_counters(channel, all, METHODS);
        assert_in_range(n, 0, METHODS);
        return pick(all, n, method);
}

static baton_counters of_server(const char *method)
{
        baton_counters all[METHODS];
        size_t n = baton_server_counters(peer.server, all, METHODS);
        assert_in_range(n, 0, METHODS);
        return pick(all, n, method);
}

struct wanted {
        const char *method;
        uint64_t calls;
};

static bool server_has(void *argument)
{
        const struct wanted *wanted = argument;
        return of_server(wanted->method).calls >= wanted->calls;
}

/* The server counts after it has answered, and so maybe after the client. */
static baton_counters of_server_after(const char *method, uint64_t calls)
{
        struct wanted wanted = { method, calls };
        eventually(server_has, &wanted);
        return of_server(method);
}

static uint64_t sampled(const baton_counters *counters)
{
        uint64_t sum = 0;
        for (int i = 0; i < BATON_LATENCY_BUCKETS; i++)
                sum += counters->latency[i];
        return sum;
}

static void echo_bytes(size_t n, bool lent)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply;
        request.data.len = n;
        request.data.data = lent ? baton_channel_alloc(channel, n) : malloc(n + 1);
        assert_non_null(request.data.data);
        memset(request.data.data, 1, n);
        assert_int_equal(probe_echo(channel, &request, &reply, NULL).code, BATON_OK);
        baton_release(reply);
        if (lent)
                baton_channel_free(channel, request.data.data);
        else
                free(request.data.data);
}

/* ---- counting --------------------------------------------------------------------------------------------- */

static void test_calls_and_codes(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < 5; i++)
                expect_alive(channel);
        for (int i = 0; i < 3; i++)
                expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
        order.code = BATON_NOT_FOUND;
        order.message = (char *)"";
        for (int i = 0; i < 2; i++)
                act(channel, &order, NULL, NULL);
        baton_counters client = of_client("Act"), server = of_server_after("Act", 5);
        for (int i = 0; i < 2; i++) {
                const baton_counters *counters = i ? &server : &client;
                assert_string_equal(counters->method, "/conformance.Probe/Act");
                assert_int_equal(counters->calls, 5);
                assert_int_equal(counters->by_code[BATON_OK], 3);
                assert_int_equal(counters->by_code[BATON_NOT_FOUND], 2);
                assert_int_equal(sampled(counters), 5);
        }
        assert_int_equal(client.messages_sent, 5);
        assert_int_equal(client.messages_received, 3);
        assert_int_equal(server.messages_sent, 3);
        assert_int_equal(server.messages_received, 5);
        assert_int_equal(of_client("Echo").calls, 5);
}

static void test_bytes(void **state)
{
        (void)state;
        enum { SIZE = 100000 };
        echo_bytes(100, false);
        baton_counters client = of_client("Echo"), server = of_server_after("Echo", 1);
        assert_in_range(client.bytes_copied, 100, 1000);
        assert_in_range(server.bytes_copied, 100, 1000);
        assert_int_equal(client.bytes_by_reference, 0);
        if (!transport->by_reference)
                return;
        echo_bytes(SIZE, true);
        client = of_client("Echo");
        assert_in_range(client.bytes_copied, 100, 3000);
        assert_in_range(client.bytes_by_reference, SIZE, SIZE + 100);
}

static void test_latencies(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 20;
        expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
        baton_counters client = of_client("Act"), server = of_server_after("Act", 1);
        assert_true(baton_latency_quantile(&client, 0.5) > 19000000);
        assert_true(baton_latency_quantile(&server, 0.5) > 19000000);
        assert_true(baton_latency_quantile(&client, 0.5) < UINT64_MAX);
}

static void test_waits(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        if (!transport->by_reference)
                return; /* sockets: all waits sleep */
        order.sleep_ms = 20;
        expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
        assert_int_equal(of_client("Act").wakes + of_client("Act").spins, 1);
        for (int i = 0; i < 200; i++)
                expect_alive(channel);
        assert_int_equal(of_client("Echo").wakes + of_client("Echo").spins, 200);
        baton_channel *sleepy = peer_open(&peer, &(baton_channel_options){ .counters = true, .no_spin = true });
        baton_counters one;
        order.sleep_ms = 5;
        for (int i = 0; i < 20; i++)
                expect_status(act(sleepy, &order, NULL, NULL), BATON_OK, "");
        assert_int_equal(baton_channel_counters(sleepy, &one, 1), 1);
        assert_int_equal(one.wakes + one.spins, 20);
        assert_in_range(one.wakes, 10, 20);
        baton_channel_close(sleepy);
}

static void test_failures_before_the_server(void **state)
{
        (void)state;
        const Conformance__Empty *reply;
        const Conformance__Blob *blob;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        Conformance__Blob wrong = CONFORMANCE__BLOB__INIT;
        wrong.text = (char *)"\xff";
        assert_int_equal(probe_echo(channel, &wrong, &blob, NULL).code, BATON_INVALID_ARGUMENT);
        baton_release(blob);
        assert_int_equal(of_client("Echo").by_code[BATON_INVALID_ARGUMENT], 1);
        assert_int_equal(of_client("Echo").messages_sent, 0);
        baton_call_options late = { .deadline_ns = 1 };
        assert_int_equal(probe_nothing(channel, &request, &reply, &late).code, BATON_DEADLINE_EXCEEDED);
        baton_release(reply);
        assert_int_equal(of_client("Nothing").by_code[BATON_DEADLINE_EXCEEDED], 1);
        assert_int_equal(probe_nothing(channel, NULL, &reply, NULL).code, BATON_INVALID_ARGUMENT);
        baton_release(reply);
        assert_int_equal(of_client("Nothing").calls, 1); /* that was no call */
        assert_int_equal(of_server("Echo").calls + of_server("Nothing").calls, 0);
}

static void on_reply(const baton_status *status, const Conformance__Empty *reply, void *context)
{
        (void)reply;
        *(int *)context += status->code == BATON_OK;
}

static void on_blob(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)status, (void)reply, (void)context;
        fail_msg("a call that was not made has an outcome");
}

static void test_async(void **state)
{
        (void)state;
        enum { MANY = 50 };
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        int n = 0;
        for (int i = 0; i < MANY; i++)
                assert_int_equal(probe_nothing_async(channel, loop, &request, NULL, on_reply, &n), 0);
        for (uint64_t end_ns = now_ns() + 10000000000u; n < MANY && now_ns() < end_ns;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(of_client("Nothing").by_code[BATON_OK], MANY);
        assert_int_equal(of_server_after("Nothing", MANY).calls, MANY);
        /* Not made: not counted. */
        Conformance__Blob wrong = CONFORMANCE__BLOB__INIT;
        wrong.text = (char *)"\xff";
        assert_int_equal(probe_echo_async(channel, loop, &wrong, NULL, on_blob, NULL), -EINVAL);
        assert_int_equal(of_client("Echo").calls, 0);
}

static void test_streams(void **state)
{
        (void)state;
        const Conformance__Sum *sum;
        const Conformance__Item *read;
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        baton_stream *stream = probe_collect_open(channel, NULL);
        for (int i = 0; i < 5; i++)
                assert_int_equal(probe_collect_write(stream, &item), 0);
        assert_int_equal(of_client("Collect").calls, 0); /* counted when they end */
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        baton_stream_close(stream);
        baton_counters client = of_client("Collect"), server = of_server_after("Collect", 1);
        assert_int_equal(client.by_code[BATON_OK], 1);
        assert_int_equal(client.messages_sent, 5);
        assert_int_equal(client.messages_received, 1);
        assert_int_equal(server.by_code[BATON_OK], 1);
        assert_int_equal(server.messages_sent, 1);
        assert_int_equal(server.messages_received, 5);
        Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        script.count = 7;
        stream = probe_produce_open(channel, &script, NULL);
        while (probe_produce_read(stream, &read) > 0) {
        }
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        client = of_client("Produce");
        server = of_server_after("Produce", 1);
        assert_int_equal(client.messages_sent, 1);
        assert_int_equal(client.messages_received, 7);
        assert_int_equal(server.messages_sent, 7);
        assert_int_equal(server.messages_received, 1);
        assert_true(client.bytes_copied > 0 && server.bytes_copied > 0);
}

static void test_oneway(void **state)
{
        (void)state;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        assert_int_equal(probe_nothing_oneway(channel, &request, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, 5000), 0);
        assert_int_equal(of_client("Nothing").by_code[BATON_OK], 1);
        assert_int_equal(of_client("Nothing").messages_sent, 1);
        assert_int_equal(of_server_after("Nothing", 1).by_code[BATON_OK], 1);
}

static void *call_often(void *context)
{
        for (int i = 0; i < CALLS; i++)
                expect_alive(channel);
        return context;
}

/* Reading meanwhile; sums never fall, and are exact in the end, also of threads that are gone. */
static void test_threads(void **state)
{
        (void)state;
        pthread_t threads[THREADS];
        uint64_t last = 0;
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, call_often, NULL), 0);
        while (last < THREADS * CALLS) {
                uint64_t calls = of_client("Echo").calls;
                assert_true(calls >= last && calls <= THREADS * CALLS);
                last = calls;
        }
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(of_server_after("Echo", THREADS * CALLS).calls, THREADS * CALLS);
        assert_in_range(sampled(&(baton_counters[1]){ of_client("Echo") }[0]), THREADS * 64, THREADS * CALLS / 2);
}

/* ---- what there is to read -------------------------------------------------------------------------------- */

static void test_lists(void **state)
{
        (void)state;
        baton_counters all[METHODS];
        assert_int_equal(baton_channel_counters(channel, all, METHODS), 0);
        expect_alive(channel);
        assert_int_equal(baton_channel_counters(channel, NULL, 0), 1);
        assert_int_equal(baton_channel_counters(channel, all, METHODS), 1);
        size_t offered = baton_server_counters(peer.server, NULL, 0); /* also what nobody called */
        assert_true(offered >= 9);
        memset(all, 0x55, sizeof all);
        assert_int_equal(baton_server_counters(peer.server, all, 1), offered);
        assert_int_equal(all[1].calls, UINT64_C(0x5555555555555555));
        assert_string_equal(of_server("Unserved").method, "/conformance.Probe/Unserved");
        assert_int_equal(of_server("Unserved").calls, 0);
}

static void test_off(void **state)
{
        (void)state;
        struct peer other;
        baton_counters one;
        peer_start_here(&other, NULL);
        baton_channel *plain = peer_open(&other, NULL);
        expect_alive(plain);
        assert_int_equal(baton_channel_counters(plain, &one, 1), 0);
        assert_int_equal(baton_server_counters(other.server, &one, 1), 0);
        assert_int_equal(baton_channel_counters(NULL, &one, 1), 0);
        assert_int_equal(baton_server_counters(NULL, &one, 1), 0);
        baton_channel_close(plain);
        peer_end(&other);
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin_counting, end)
        const struct CMUnitTest tests[] = {
                TEST(test_calls_and_codes),
                TEST(test_bytes),
                TEST(test_waits),
                TEST(test_latencies),
                TEST(test_failures_before_the_server),
                TEST(test_async),
                TEST(test_threads),
                TEST(test_streams),
                TEST(test_oneway),
                TEST(test_lists),
                TEST(test_off),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
