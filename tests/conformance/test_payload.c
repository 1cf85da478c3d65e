/* Payload memory: handed over by reference, kept, shared, freed at any time; and limits on it. */
#include "fixture.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256 << 10, LIMIT = 64 << 10 };

static uint8_t *lent_pattern(size_t n, uint32_t seed)
{
        uint8_t *block = baton_channel_alloc(channel, n);
        if (!block)
                fail_msg("%s", baton_error());
        assert_int_equal((uintptr_t)block % 64, 0);
        for (size_t i = 0; i < n; i++)
                block[i] = (uint8_t)(i * 7 + seed);
        return block;
}

/* Echoes n bytes at data; the reply stays with the caller. */
static const Conformance__Blob *echo(uint8_t *data, size_t n)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        request.data = (ProtobufCBinaryData){ n, data };
        expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
        assert_int_equal(reply->data.len, n);
        assert_true(n == 0 || reply->data.data != data);
        return reply;
}

static const Conformance__Blob *make(size_t n, bool lend, uint32_t seed)
{
        Conformance__Wish wish = CONFORMANCE__WISH__INIT;
        const Conformance__Blob *reply = NULL;
        wish.size = n;
        wish.lend = lend;
        wish.seed = seed;
        expect_status(probe_make(channel, &wish, &reply, NULL), BATON_OK, "");
        assert_int_equal(reply->data.len, n);
        assert_true(is_pattern(reply->data.data, n, seed));
        return reply;
}

/* ---- by reference ----------------------------------------------------------------------------------------- */

static void expect_read_only(const char *permissions)
{
        if (transport->by_reference)
                assert_string_equal(permissions, "r--s");
}

static void test_request_by_reference(void **state)
{
        (void)state;
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Place *place = NULL;
        uint64_t sum = 0;
        uint8_t *block = lent_pattern(BLOCK, 1);
        for (size_t i = 0; i < BLOCK; i++)
                sum += block[i];
        request.data = (ProtobufCBinaryData){ BLOCK, block };
        expect_status(probe_look(channel, &request, &place, NULL), BATON_OK, "");
        expect_read_only(place->permissions);
        assert_int_equal(place->sum, sum);
        baton_release(place);
        baton_channel_free(channel, block);
}

static void test_reply_by_reference(void **state)
{
        (void)state;
        char permissions[8];
        for (int lend = 0; lend < 2; lend++) {
                const Conformance__Blob *reply = make(BLOCK, lend, 5);
                permissions_at(reply->data.data, permissions);
                expect_read_only(permissions);
                baton_release(reply);
        }
}

static void test_one_block_many_times(void **state)
{
        (void)state;
        uint8_t *block = lent_pattern(BLOCK, 2);
        const Conformance__Blob *replies[20];
        for (int i = 0; i < 20; i++)
                replies[i] = echo(block, BLOCK);
        for (int i = 0; i < 20; i++) {
                assert_true(is_pattern(replies[i]->data.data, BLOCK, 2));
                baton_release(replies[i]);
        }
        baton_channel_free(channel, block);
}

/* A block is written anew for each call: what the server saw must be the latest. */
static void test_block_written_between_calls(void **state)
{
        (void)state;
        uint8_t *block = lent_pattern(BLOCK, 0);
        for (uint32_t i = 0; i < 50; i++) {
                for (size_t at = 0; at < BLOCK; at++)
                        block[at] = (uint8_t)(at * 7 + i);
                const Conformance__Blob *reply = echo(block, BLOCK);
                assert_true(is_pattern(reply->data.data, BLOCK, i));
                baton_release(reply);
        }
        baton_channel_free(channel, block);
}

static void test_middle_of_a_block(void **state)
{
        (void)state;
        static const size_t starts[] = { 1, 8, 63, 64, 4097, BLOCK - 8192 };
        uint8_t *block = lent_pattern(BLOCK, 0);
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
                const Conformance__Blob *reply = echo(block + starts[i], 8192);
                assert_true(is_pattern(reply->data.data, 8192, (uint32_t)(starts[i] * 7)));
                baton_release(reply);
        }
        /* An array of numbers that lies askew is not handed over askew. */
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        request.n_numbers = 4096;
        request.numbers = (uint32_t *)(void *)(block + 8);
        expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
        assert_int_equal((uintptr_t)reply->numbers % 4, 0);
        assert_memory_equal(reply->numbers, block + 8, 4 * 4096);
        baton_release(reply);
        baton_channel_free(channel, block);
}

/* ---- lives ------------------------------------------------------------------------------------------------ */

static void ignore(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        (void)reply;
        if (status->code == BATON_OK)
                ++*(int *)context;
}

static void sum_done(const baton_status *status, const Conformance__Place *place, void *context)
{
        *(uint64_t *)context = status->code == BATON_OK ? place->sum : 0;
}

/* The block is freed while its call waits in the server's ring behind a slow one, and its memory asked for again. */
static void test_free_in_flight(void **state)
{
        (void)state;
        int n_done = 0;
        uint64_t sum = 0, expected = 0;
        Conformance__Order slow = CONFORMANCE__ORDER__INIT;
        slow.sleep_ms = 100;
        assert_int_equal(probe_act_async(channel, loop, &slow, NULL, ignore, &n_done), 0);
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        uint8_t *block = lent_pattern(BLOCK, 9);
        for (size_t i = 0; i < BLOCK; i++)
                expected += block[i];
        request.data = (ProtobufCBinaryData){ BLOCK, block };
        assert_int_equal(probe_look_async(channel, loop, &request, NULL, sum_done, &sum), 0);
        baton_channel_free(channel, block);
        uint8_t *other = baton_channel_alloc(channel, BLOCK);
        assert_non_null(other);
        memset(other, 0xee, BLOCK);
        for (int i = 0; i < 100 && (!n_done || !sum); i++)
                assert_true(baton_loop_wait(loop, 1000) >= 0);
        assert_int_equal(n_done, 1);
        assert_int_equal(sum, expected);
        baton_channel_free(channel, other);
}

static void test_free_what_is_none(void **state)
{
        (void)state;
        uint8_t *block = lent_pattern(100, 0);
        int stranger;
        log_clear();
        baton_channel_free(channel, &stranger);
        assert_true(log_has("baton_channel_free|is no memory of the channel"));
        baton_channel_free(channel, block);
        log_clear();
        baton_channel_free(channel, block);
        assert_true(log_has("baton_channel_free|freed before"));
        baton_channel_free(channel, NULL);
        baton_channel_free(NULL, block);
        expect_alive(channel);
}

static void test_reply_outlives_channel(void **state)
{
        (void)state;
        const Conformance__Blob *large = make(BLOCK, true, 4), *small = make(100, false, 4);
        baton_channel_close(channel);
        assert_true(is_pattern(large->data.data, BLOCK, 4));
        assert_true(is_pattern(small->data.data, 100, 4));
        baton_release(small);
        peer_kill(&peer);
        assert_true(is_pattern(large->data.data, BLOCK, 4));
        baton_release(large);
        peer_restart(&peer, NULL);
        channel = peer_open(&peer, NULL);
        expect_alive(channel);
}

static void *release_elsewhere(void *reply)
{
        baton_release(reply);
        return NULL;
}

static void test_release_from_another_thread(void **state)
{
        (void)state;
        for (int i = 0; i < 200; i++) {
                pthread_t thread;
                const Conformance__Blob *reply = make(i % 2 ? BLOCK : 10, i % 4 < 2, (uint32_t)i);
                assert_int_equal(pthread_create(&thread, NULL, release_elsewhere, (void *)reply), 0);
                pthread_join(thread, NULL);
        }
}

static void test_retain(void **state)
{
        (void)state;
        const Conformance__Blob *reply = make(BLOCK, true, 6);
        for (int i = 0; i < 3; i++)
                assert_ptr_equal(baton_retain(reply), reply);
        for (int i = 0; i < 3; i++) {
                baton_release(reply);
                assert_true(is_pattern(reply->data.data, BLOCK, 6));
        }
        baton_release(reply);
        baton_release(NULL);
        assert_null(baton_retain(NULL));
}

/* More replies than there can be loans, kept at once: back-pressure or copies, but no failure and no mix-up. */
static void test_many_replies_kept(void **state)
{
        (void)state;
        enum { MANY = 600 };
        const Conformance__Blob *replies[MANY];
        for (uint32_t i = 0; i < MANY; i++)
                replies[i] = make(8192, i % 2, i);
        for (uint32_t i = 0; i < MANY; i++) {
                assert_true(is_pattern(replies[i]->data.data, 8192, i));
                baton_release(replies[i]);
        }
        expect_alive(channel);
}

static void test_block_after_reconnect(void **state)
{
        (void)state;
        uint8_t *block = lent_pattern(BLOCK, 8);
        baton_release(echo(block, BLOCK));
        peer_kill(&peer);
        peer_restart(&peer, NULL);
        const Conformance__Blob *reply = echo(block, BLOCK);
        assert_true(is_pattern(reply->data.data, BLOCK, 8));
        baton_release(reply);
        baton_channel_free(channel, block);
        expect_alive(channel);
}

/* ---- limits ----------------------------------------------------------------------------------------------- */

/* The status of an echo of n bytes, in a string or in bytes. */
static baton_status echo_status(baton_channel *to, size_t n, bool text)
{
        static char words[512];
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        uint8_t *data = malloc(n + 1);
        memset(data, 'y', n);
        data[n] = '\0';
        if (text)
                request.text = (char *)data;
        else
                request.data = (ProtobufCBinaryData){ n, data };
        baton_status status = probe_echo(to, &request, &reply, NULL);
        strncpy(words, status.message, sizeof words - 1);
        status.message = words;
        baton_release(reply);
        free(data);
        return status;
}

static void test_channel_limit(void **state)
{
        (void)state;
        baton_channel *limited = peer_open(&peer, &(baton_channel_options){ .max_message_bytes = LIMIT });
        for (int text = 0; text < 2; text++) {
                expect_status(echo_status(limited, LIMIT - 512, text), BATON_OK, "");
                baton_status status = echo_status(limited, LIMIT + 1, text);
                expect_status(status, BATON_RESOURCE_EXHAUSTED,
                              "conformance.Blob|over the limit of 65536|max_message_bytes");
                assert_false(status.maybe_executed);
                expect_status(echo_status(limited, 100 * LIMIT, text), BATON_RESOURCE_EXHAUSTED,
                              "limit|max_message_bytes");
                expect_alive(limited);
        }
        baton_channel_close(limited);
}

/* The reply is over the channel's limit, but not the server's. */
static void test_channel_limit_reply(void **state)
{
        (void)state;
        baton_channel *limited = peer_open(&peer, &(baton_channel_options){ .max_message_bytes = LIMIT });
        for (int lend = 0; lend < 2; lend++) {
                Conformance__Wish wish = CONFORMANCE__WISH__INIT;
                const Conformance__Blob *reply = NULL;
                wish.size = LIMIT - 512;
                wish.lend = lend;
                expect_status(probe_make(limited, &wish, &reply, NULL), BATON_OK, "");
                baton_release(reply);
                wish.size = 4 * LIMIT;
                expect_status(probe_make(limited, &wish, &reply, NULL), BATON_RESOURCE_EXHAUSTED,
                              "limit|max_message_bytes");
                assert_int_equal(reply->data.len, 0);
                baton_release(reply);
                expect_alive(limited);
        }
        baton_channel_close(limited);
}

static void test_server_limit(void **state)
{
        (void)state;
        struct peer limited;
        peer_start(&limited, &(baton_server_options){ .max_message_bytes = LIMIT });
        baton_channel *to = peer_open(&limited, NULL);
        for (int text = 0; text < 2; text++) {
                expect_status(echo_status(to, LIMIT - 512, text), BATON_OK, "");
                baton_status status = echo_status(to, LIMIT + 1, text);
                expect_status(status, BATON_RESOURCE_EXHAUSTED, "limit|max_message_bytes");
                assert_false(status.maybe_executed);
                expect_alive(to);
        }
        Conformance__Wish wish = CONFORMANCE__WISH__INIT;
        const Conformance__Blob *reply = NULL;
        wish.size = LIMIT + 1;
        baton_status status = probe_make(to, &wish, &reply, NULL);
        expect_status(status, BATON_RESOURCE_EXHAUSTED, "/conformance.Probe/Make|reply|limit|max_message_bytes");
        assert_true(status.maybe_executed);
        baton_release(reply);
        expect_alive(to);
        baton_channel_close(to);
        peer_end(&limited);
}

/* A client that keeps all that the server may lend is told so, and can go on once it lets go. */
static void test_server_heap_used_up(void **state)
{
        (void)state;
        struct peer small;
        peer_start(&small, &(baton_server_options){ .max_message_bytes = 1 << 20, .max_heap_bytes = 2 << 20 });
        baton_channel *to = peer_open(&small, NULL);
        Conformance__Wish wish = CONFORMANCE__WISH__INIT;
        const Conformance__Blob *kept[8], *last = NULL;
        int n = 0;
        wish.size = 512 << 10;
        wish.lend = true;
        for (; n < 8 && probe_make(to, &wish, &kept[n], NULL).code == BATON_OK; n++)
                continue;
        assert_in_range(n, 1, 4);
        baton_release(kept[n]);
        expect_status(probe_make(to, &wish, &last, NULL), BATON_ABORTED, "no memory to lend|max_heap_bytes");
        baton_release(last);
        expect_alive(to);
        while (n)
                baton_release(kept[--n]);
        expect_status(probe_make(to, &wish, &last, NULL), BATON_OK, "");
        baton_release(last);
        baton_channel_close(to);
        peer_end(&small);
}

static void test_channel_heap_used_up(void **state)
{
        (void)state;
        baton_channel *small = peer_open(&peer, &(baton_channel_options){ .max_heap_bytes = 2 << 20 });
        void *blocks[3];
        for (int i = 0; i < 2; i++)
                assert_non_null(blocks[i] = baton_channel_alloc(small, 900 << 10));
        assert_null(baton_channel_alloc(small, 900 << 10));
        expect_error("max_heap_bytes");
        expect_alive(small);
        baton_channel_free(small, blocks[0]);
        assert_non_null(blocks[2] = baton_channel_alloc(small, 900 << 10));
        baton_channel_free(small, blocks[1]);
        baton_channel_free(small, blocks[2]);
        baton_channel_close(small);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_request_by_reference, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_by_reference, begin, end),
                cmocka_unit_test_setup_teardown(test_one_block_many_times, begin, end),
                cmocka_unit_test_setup_teardown(test_block_written_between_calls, begin, end),
                cmocka_unit_test_setup_teardown(test_middle_of_a_block, begin, end),
                cmocka_unit_test_setup_teardown(test_free_in_flight, begin, end),
                cmocka_unit_test_setup_teardown(test_free_what_is_none, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_outlives_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_release_from_another_thread, begin, end),
                cmocka_unit_test_setup_teardown(test_retain, begin, end),
                cmocka_unit_test_setup_teardown(test_many_replies_kept, begin, end),
                cmocka_unit_test_setup_teardown(test_block_after_reconnect, begin, end),
                cmocka_unit_test_setup_teardown(test_channel_limit, begin, end),
                cmocka_unit_test_setup_teardown(test_channel_limit_reply, begin, end),
                cmocka_unit_test_setup_teardown(test_server_limit, begin, end),
                cmocka_unit_test_setup_teardown(test_server_heap_used_up, begin, end),
                cmocka_unit_test_setup_teardown(test_channel_heap_used_up, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
