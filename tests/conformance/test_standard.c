/* The standard services: grpc.health.v1. Reflection is in test_reflection.c. */
#include "grpc/health/v1/health.baton.h"
#include "standard_server.h"
#include <baton/reflection.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;

enum { WATCHERS = 100, SWINGS = 20000 };

static const baton_call_options patient = { .timeout_ms = 20000 };

static void expect_health(baton_channel *channel, const char *service, int status)
{
        check_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
        const check_response *reply;
        request.service = (char *)service;
        baton_status outcome = grpc_health_v1_health_check(channel, &request, &reply, &patient);
        if (status < 0)
                expect_status(outcome, BATON_NOT_FOUND, service);
        else
                expect_status(outcome, BATON_OK, "");
        assert_int_equal(reply->status, status < 0 ? 0 : status);
        baton_release(reply);
}

static void test_check(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        expect_health(channel, "", BATON_HEALTH_SERVING);
        expect_health(channel, "a.B", -1);
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_SERVING), 0);
        assert_int_equal(baton_health_set(health, "a.C", BATON_HEALTH_UNKNOWN), 0);
        expect_health(channel, "a.B", BATON_HEALTH_SERVING);
        expect_health(channel, "a.C", BATON_HEALTH_UNKNOWN);
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_NOT_SERVING), 0);
        expect_health(channel, "a.B", BATON_HEALTH_NOT_SERVING);
        expect_health(channel, "", BATON_HEALTH_SERVING);
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_SERVICE_UNKNOWN), 0);
        assert_int_equal(baton_health_set(health, "never", BATON_HEALTH_SERVICE_UNKNOWN), 0);
        expect_health(channel, "a.B", -1);
        expect_health(channel, "a.C", BATON_HEALTH_UNKNOWN);
        baton_channel_close(channel);
        standard_end(&peer, health);
}

static void test_list(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        Grpc__Health__V1__HealthListRequest request = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
        const Grpc__Health__V1__HealthListResponse *reply;
        char name[257] = "";
        for (int i = 1; i < 100; i++) {
                snprintf(name, sizeof name, "%0*d", i == 1 ? 256 : 3, i);
                assert_int_equal(baton_health_set(health, name, BATON_HEALTH_NOT_SERVING), 0);
        }
        expect_status(grpc_health_v1_health_list(channel, &request, &reply, &patient), BATON_OK, "");
        assert_int_equal(reply->n_statuses, 100);
        for (size_t i = 0; i < 100; i++) {
                assert_int_equal(atoi(reply->statuses[i]->key), i);
                assert_int_equal(reply->statuses[i]->value->status,
                                 i ? BATON_HEALTH_NOT_SERVING : BATON_HEALTH_SERVING);
        }
        baton_release(reply);
        assert_int_equal(baton_health_set(health, "100", BATON_HEALTH_SERVING), 0);
        expect_status(grpc_health_v1_health_list(channel, &request, &reply, &patient), BATON_RESOURCE_EXHAUSTED, "101");
        baton_release(reply);
        baton_channel_close(channel);
        standard_end(&peer, health);
}

static baton_stream *watch(baton_channel *channel, const char *service)
{
        check_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
        request.service = (char *)service;
        baton_stream *stream = grpc_health_v1_health_watch_open(channel, &request, &patient);
        if (!stream)
                fail_msg("%s", baton_error());
        return stream;
}

static int next_status(baton_stream *stream)
{
        const check_response *message;
        if (grpc_health_v1_health_watch_read(stream, &message) != 1)
                fail_msg("the watch ended: %s", grpc_health_v1_health_watch_finish(stream).message);
        return (int)message->status;
}

static void watch_one(const baton_server_options *options)
{
        struct peer peer;
        baton_health *health = standard_start(&peer, options);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *server = watch(channel, ""), *service = watch(channel, "a.B");
        assert_int_equal(next_status(server), BATON_HEALTH_SERVING);
        assert_int_equal(next_status(service), BATON_HEALTH_SERVICE_UNKNOWN);
        for (int i = 0; i < 2; i++)
                assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_SERVING), 0); /* told once */
        assert_int_equal(next_status(service), BATON_HEALTH_SERVING);
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_NOT_SERVING), 0);
        assert_int_equal(next_status(service), BATON_HEALTH_NOT_SERVING);
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_SERVICE_UNKNOWN), 0);
        assert_int_equal(next_status(service), BATON_HEALTH_SERVICE_UNKNOWN);
        assert_int_equal(baton_health_set(health, "", BATON_HEALTH_NOT_SERVING), 0);
        assert_int_equal(next_status(server), BATON_HEALTH_NOT_SERVING); /* and nothing before it */
        baton_stream_cancel(service);
        expect_status(grpc_health_v1_health_watch_finish(service), BATON_CANCELLED, "");
        baton_stream_close(service);
        baton_stream_close(server);
        expect_alive(channel);
        baton_channel_close(channel);
        standard_end(&peer, health);
}

static void test_watch(void **state)
{
        (void)state;
        watch_one(NULL);
        watch_one(&(baton_server_options){ .handler_threads = 2, .workers = 2 });
}

static void test_many_watchers(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, &(baton_server_options){ .workers = 2 });
        baton_channel *channels[2] = { peer_open(&peer, NULL), peer_open(&peer, NULL) };
        baton_stream *streams[WATCHERS];
        for (int i = 0; i < WATCHERS; i++) {
                streams[i] = watch(channels[i % 2], i % 4 < 2 ? "" : "a.B");
                assert_int_equal(next_status(streams[i]),
                                 i % 4 < 2 ? BATON_HEALTH_SERVING : BATON_HEALTH_SERVICE_UNKNOWN);
        }
        assert_int_equal(baton_health_set(health, "a.B", BATON_HEALTH_SERVING), 0);
        for (int i = 0; i < WATCHERS; i++)
                if (i % 4 >= 2)
                        assert_int_equal(next_status(streams[i]), BATON_HEALTH_SERVING);
        for (int i = 0; i < WATCHERS; i += 2) /* one channel's */
                baton_stream_close(streams[i]);
        baton_channel_close(channels[0]);
        baton_health_shutdown(health);
        for (int i = 1; i < WATCHERS; i += 2)
                assert_int_equal(next_status(streams[i]), BATON_HEALTH_NOT_SERVING);
        expect_health(channels[1], "", BATON_HEALTH_NOT_SERVING);
        assert_int_equal(baton_health_set(health, "", BATON_HEALTH_SERVING), -ESHUTDOWN);
        expect_error("shutdown");
        peer_end(&peer); /* with watches open */
        for (int i = 1; i < WATCHERS; i += 2) {
                expect_status(grpc_health_v1_health_watch_finish(streams[i]), BATON_UNAVAILABLE, "");
                baton_stream_close(streams[i]);
        }
        baton_channel_close(channels[1]);
        baton_health_free(health);
}

/* One of two watchers does not read: nobody waits for it, and it is told the latest status once it does. */
static void test_slow_watcher(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, NULL);
        baton_channel *slow = peer_open(&peer, &(baton_channel_options){ .stream_window_bytes = 1024 });
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *sleeper = watch(slow, ""), *reader = watch(channel, "");
        assert_int_equal(next_status(reader), BATON_HEALTH_SERVING);
        for (int i = 0; i < SWINGS; i++) {
                baton_health_status status = i % 2 ? BATON_HEALTH_SERVING : BATON_HEALTH_NOT_SERVING;
                assert_int_equal(baton_health_set(health, "", status), 0);
                assert_int_equal(next_status(reader), (int)status);
        }
        assert_int_equal(baton_health_set(health, "", BATON_HEALTH_UNKNOWN), 0);
        assert_int_equal(next_status(reader), BATON_HEALTH_UNKNOWN);
        int told = 0;
        while (next_status(sleeper) != BATON_HEALTH_UNKNOWN)
                told++;
        assert_in_range(told, 1, 1024); /* what its window held */
        baton_stream_close(sleeper);
        baton_stream_close(reader);
        baton_channel_close(slow);
        baton_channel_close(channel);
        standard_end(&peer, health);
}

struct swinger {
        baton_health *health;
        atomic_bool stop;
};

static void *swing(void *argument)
{
        struct swinger *swinger = argument;
        for (int i = 0; !atomic_load(&swinger->stop); i++) {
                baton_health_set(swinger->health, "a.B", i % 3);
                pause_ms(i % 64 ? 0 : 1);
        }
        return NULL;
}

/* Watchers come and go, in every way, while threads change what they watch. */
static void test_restless_watchers(void **state)
{
        (void)state;
        struct peer peer;
        struct swinger swinger = { .health = standard_start(
                                           &peer, &(baton_server_options){ .workers = 2, .handler_threads = 2 }) };
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, swing, &swinger), 0);
        for (int round = 0; round < 40; round++) {
                baton_channel *channel = peer_open(&peer, NULL);
                baton_stream *streams[4];
                for (int i = 0; i < 4; i++)
                        streams[i] = watch(channel, "a.B");
                for (int i = 0; i < 3 * (round % 4); i++)
                        assert_in_range(next_status(streams[i % 4]), 0, 3);
                baton_stream_cancel(streams[0]);
                for (int i = 0; i < 4; i++)
                        baton_stream_close(streams[i]);
                baton_channel_close(channel);
        }
        atomic_store(&swinger.stop, true);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        standard_end(&peer, swinger.health);
}

static void test_health_bad_input(void **state)
{
        (void)state;
        struct peer peer;
        char name[258];
        memset(name, 'x', 257);
        name[257] = '\0';
        baton_health *health = standard_start(&peer, NULL);
        assert_int_equal(baton_health_set(NULL, "", BATON_HEALTH_SERVING), -EINVAL);
        expect_error("baton_health_set|health is NULL");
        assert_int_equal(baton_health_set(health, NULL, BATON_HEALTH_SERVING), -EINVAL);
        expect_error("name is NULL");
        assert_int_equal(baton_health_set(health, name, BATON_HEALTH_SERVING), -EINVAL);
        expect_error("256 bytes");
        assert_int_equal(baton_health_set(health, "a\n", BATON_HEALTH_SERVING), -EINVAL);
        expect_error("printable");
        assert_int_equal(baton_health_set(health, "\xff", BATON_HEALTH_SERVING), -EINVAL);
        assert_int_equal(baton_health_set(health, "a.B", (baton_health_status)4), -EINVAL);
        expect_error("4 is no status|a.B");
        assert_int_equal(baton_health_set(health, "a.B", (baton_health_status)-1), -EINVAL);
        assert_null(baton_health_register(peer.server));
        expect_error("listens already");
        assert_int_equal(baton_reflection_register(peer.server), -EBUSY);
        assert_null(baton_health_register(NULL));
        assert_int_equal(baton_reflection_register(NULL), -EINVAL);
        baton_health_shutdown(NULL);
        baton_health_free(NULL);
        standard_end(&peer, health);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_check),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_watch),
                cmocka_unit_test(test_many_watchers),
                cmocka_unit_test(test_slow_watcher),
                cmocka_unit_test(test_restless_watchers),
                cmocka_unit_test(test_health_bad_input),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
