/* Metadata both ways, and status with details, for unary calls and streams. */
#include "streams.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MOST = 300, COST = 32 };

/* ---- pairs ------------------------------------------------------------------------------------------------ */

struct pairs {
        size_t n;
        Conformance__Pair pairs[PAIRS_MOST];
        Conformance__Pair *list[PAIRS_MOST];
};

static void add(struct pairs *pairs, const char *key, const void *value, size_t size)
{
        Conformance__Pair *pair = &pairs->pairs[pairs->n];
        conformance__pair__init(pair);
        pair->key = (char *)key;
        pair->value = (ProtobufCBinaryData){ size, (uint8_t *)value };
        pairs->list[pairs->n++] = pair;
}

static void add_text(struct pairs *pairs, const char *key, const char *value)
{
        add(pairs, key, value, strlen(value));
}

static void expect_entry(const baton_metadata *metadata, size_t at, const char *key, const void *value, size_t size)
{
        assert_non_null(metadata);
        assert_true(at < metadata->n);
        const baton_metadata_entry *entry = &metadata->entries[at];
        assert_string_equal(entry->key, key);
        assert_int_equal(entry->size, size);
        assert_memory_equal(entry->value, value, size);
        assert_int_equal(((const char *)entry->value)[size], 0);
}

static void expect_pairs(const baton_metadata *metadata, const struct pairs *pairs)
{
        if (!pairs->n) {
                assert_null(metadata);
                return;
        }
        assert_non_null(metadata);
        assert_int_equal(metadata->n, pairs->n);
        for (size_t i = 0; i < pairs->n; i++)
                expect_entry(metadata, i, pairs->pairs[i].key, pairs->pairs[i].value.data, pairs->pairs[i].value.len);
}

static Conformance__Script answering(struct pairs *headers, struct pairs *trailers)
{
        Conformance__Script script = script_of();
        script.n_headers = headers->n;
        script.headers = headers->list;
        script.n_trailers = trailers->n;
        script.trailers = trailers->list;
        return script;
}

static const uint8_t any_bytes[] = { 0, 255, 1, 0, '\n', 200, 0 };

static void fill(struct pairs *headers, struct pairs *trailers)
{
        headers->n = trailers->n = 0;
        add_text(headers, "first", "one");
        add_text(headers, "twice", "a");
        add(headers, "some-bin", any_bytes, sizeof any_bytes);
        add_text(headers, "twice", "b");
        add_text(headers, "empty", "");
        add(headers, "empty-bin", "", 0);
        add_text(trailers, "last", " spaces, and ~!\" ");
        add(trailers, "some-bin", any_bytes, sizeof any_bytes);
        add_text(trailers, "twice", "1");
        add_text(trailers, "twice", "2");
}

/* ---- from the server -------------------------------------------------------------------------------------- */

/* With the reply of a unary call, and with its failure. */
static void test_with_unary_calls(void **state)
{
        (void)state;
        struct pairs headers, trailers;
        const Conformance__Sum *sum;
        fill(&headers, &trailers);
        Conformance__Script script = answering(&headers, &trailers);
        for (int i = 0; i < 4; i++) {
                script.send_headers = i & 1;
                script.code = i & 2 ? BATON_NOT_FOUND : 0;
                script.message = (char *)"nothing here";
                baton_status status = probe_wait(channel, &script, &sum, NULL);
                expect_status(status, (baton_code)script.code, i & 2 ? "nothing here" : "");
                expect_pairs(status.headers, &headers);
                expect_pairs(status.trailers, &trailers);
                assert_string_equal(baton_metadata_text(status.headers, "twice"), "a");
                assert_null(baton_metadata_find(status.headers, "last"));
                baton_release(sum);
        }
        expect_alive(channel);
}

static void expect_stream_metadata(Conformance__Script *script, struct pairs *headers, struct pairs *trailers)
{
        const Conformance__Item *item;
        baton_stream *stream = probe_produce_open(channel, script, NULL);
        const baton_metadata *early = baton_stream_headers(stream);
        expect_pairs(early, headers);
        for (uint64_t n = 0; n < script->count; n++)
                assert_int_equal(probe_produce_read(stream, &item), 1);
        baton_status status = probe_produce_finish(stream);
        expect_status(status, (baton_code)script->code, "");
        expect_pairs(status.headers, headers);
        expect_pairs(status.trailers, trailers);
        expect_pairs(baton_stream_headers(stream), headers);
        baton_stream_close(stream);
}

static void test_with_streams(void **state)
{
        (void)state;
        struct pairs headers, trailers, none = { 0 };
        fill(&headers, &trailers);
        for (int i = 0; i < 32; i++) {
                struct pairs *h = i & 4 ? &headers : &none, *t = i & 8 ? &trailers : &none;
                Conformance__Script script = answering(h, t);
                script.send_headers = i & 1;
                script.code = i & 2 ? BATON_ABORTED : 0;
                script.count = i & 16 ? 3 : 0;
                expect_stream_metadata(&script, h, t);
        }
}

/* Headers are there while the server waits for something else. */
static void test_headers_come_first(void **state)
{
        (void)state;
        struct pairs headers = { 0 }, trailers = { 0 };
        add_text(&headers, "early", "yes");
        Conformance__Script script = answering(&headers, &trailers);
        script.send_headers = true;
        script.hang = true;
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        assert_string_equal(baton_metadata_text(baton_stream_headers(stream), "early"), "yes");
        assert_false(baton_stream_ended(stream));
        baton_stream_cancel(stream);
        baton_status status = probe_produce_finish(stream);
        expect_status(status, BATON_CANCELLED, "");
        expect_pairs(status.headers, &headers);
        baton_stream_close(stream);
}

static void test_many_entries(void **state)
{
        (void)state;
        struct pairs *headers = calloc(1, sizeof *headers), *trailers = calloc(1, sizeof *trailers);
        char keys[200][16];
        for (int i = 0; i < 200; i++) {
                snprintf(keys[i], sizeof keys[i], "k%d", i);
                add_text(headers, keys[i], keys[i]);
                add_text(trailers, keys[199 - i], keys[i] + 1);
        }
        for (int i = 0; i < 200; i++) /* the rest may have been filled later */
                trailers->pairs[i].key = keys[i];
        Conformance__Script script = answering(headers, trailers);
        script.count = 2;
        expect_stream_metadata(&script, headers, trailers);
        free(headers);
        free(trailers);
}

/* ---- from the client -------------------------------------------------------------------------------------- */

static void expect_echoed(const baton_metadata *sent)
{
        Conformance__Script script = script_of();
        const Conformance__Sum *sum;
        script.echo_metadata = true;
        baton_call_options options = { .metadata = sent };
        baton_status status = probe_wait(channel, &script, &sum, &options);
        expect_status(status, BATON_OK, "");
        assert_int_equal(sum->n_metadata, sent->n);
        baton_stream *stream = probe_produce_open(channel, &script, &options);
        baton_status end = probe_produce_finish(stream);
        for (size_t i = 0; i < sent->n; i++) {
                const baton_metadata_entry *entry = &sent->entries[i];
                assert_string_equal(sum->metadata[i]->key, entry->key);
                assert_int_equal(sum->metadata[i]->value.len, entry->size);
                assert_memory_equal(sum->metadata[i]->value.data, entry->value, entry->size);
                expect_entry(status.trailers, i, entry->key, entry->value, entry->size);
                expect_entry(end.trailers, i, entry->key, entry->value, entry->size);
        }
        baton_release(sum);
        baton_stream_close(stream);
}

static void test_from_the_client(void **state)
{
        (void)state;
        baton_metadata_entry entries[] = { baton_text("authorization", "Bearer abc"),
                                           { "x-bin", any_bytes, sizeof any_bytes },
                                           baton_text("twice", "b"),
                                           baton_text("twice", "a"),
                                           baton_text("0_-.z", ""),
                                           { "y-bin", "", 0 } };
        for (size_t n = 0; n <= 6; n++)
                expect_echoed(&(baton_metadata){ n, entries });
}

/* ---- limits ----------------------------------------------------------------------------------------------- */

/* One entry that counts `size` in all. */
static baton_metadata_entry of_size(char *value, size_t size)
{
        memset(value, 'v', size);
        return (baton_metadata_entry){ "k", value, size - COST - 1 };
}

static void within_limits(uint32_t ring, size_t limit, size_t size)
{
        char *value = malloc(size);
        baton_metadata_entry entry = of_size(value, size);
        struct pairs headers = { 0 }, trailers = { 0 };
        open_with((baton_server_options){ .max_metadata_bytes = limit },
                  &(baton_channel_options){ .max_metadata_bytes = limit, .ring_bytes = ring });
        expect_echoed(&(baton_metadata){ 1, &entry });
        add(&headers, "k", value, entry.size);
        add(&trailers, "l", value, entry.size);
        Conformance__Script script = answering(&headers, &trailers);
        for (int i = 0; i < 4; i++) {
                script.count = i & 1 ? 10 : 0;
                script.code = i & 2 ? BATON_ABORTED : 0;
                expect_stream_metadata(&script, &headers, &trailers);
        }
        assert_int_equal(counts_now().n_notes, 0);
        close_both();
        free(value);
}

static void test_sizes(void **state)
{
        (void)state;
        blocking = false;
        static const size_t of[] = { 100, 1000, 1900, 2040, 2048, 2100, 4000, 8192 };
        for (size_t i = 0; i < sizeof of / sizeof *of; i++)
                within_limits(8192, 0, of[i]);
        within_limits(0, 0, 8192);
        within_limits(8192, 100000, 100000);
        within_limits(0, 1 << 20, 1 << 20);
}

static void test_over_the_limit(void **state)
{
        (void)state;
        char *value = malloc(8193);
        baton_metadata_entry entry = of_size(value, 8193);
        const Conformance__Sum *sum;
        Conformance__Script script = script_of();
        baton_call_options options = { .metadata = &(baton_metadata){ 1, &entry } };
        expect_status(probe_wait(channel, &script, &sum, &options), BATON_RESOURCE_EXHAUSTED,
                      "/conformance.Probe/Wait|max_metadata_bytes");
        baton_release(sum);
        assert_null(probe_produce_open(channel, &script, &options));
        expect_error("/conformance.Probe/Produce|max_metadata_bytes");
        struct pairs headers = { 0 }, trailers = { 0 };
        add(&headers, "k", value, entry.size);
        add_text(&headers, "fits", "yes");
        add(&trailers, "k", value, entry.size);
        script = answering(&headers, &trailers);
        baton_status status = probe_wait(channel, &script, &sum, NULL);
        expect_status(status, BATON_OK, "");
        assert_int_equal(status.headers->n, 1);
        assert_null(status.trailers);
        baton_release(sum);
        Conformance__Counts counts = counts_now();
        assert_int_equal(counts.n_notes, 2);
        assert_int_equal(counts.notes[0], -EMSGSIZE);
        assert_int_equal(counts.notes[1], -EMSGSIZE);
        free(value);
}

/* Each side has a limit of its own, and the other's is larger. */
static void test_limits_that_differ(void **state)
{
        (void)state;
        char *value = malloc(4000);
        baton_metadata_entry entry = of_size(value, 4000);
        const Conformance__Sum *sum;
        struct pairs headers = { 0 }, trailers = { 0 };
        blocking = false;
        open_with((baton_server_options){ .max_metadata_bytes = 1000 }, NULL);
        Conformance__Script script = script_of();
        baton_call_options options = { .metadata = &(baton_metadata){ 1, &entry } };
        baton_status status = probe_wait(channel, &script, &sum, &options);
        expect_status(status, BATON_RESOURCE_EXHAUSTED, "metadata");
        assert_false(status.maybe_executed);
        baton_release(sum);
        baton_stream *stream = probe_chat_open(channel, &options);
        expect_status(probe_chat_finish(stream), BATON_RESOURCE_EXHAUSTED, "metadata");
        baton_stream_close(stream);
        expect_alive(channel);
        close_both();
        open_with((baton_server_options){ 0 }, &(baton_channel_options){ .max_metadata_bytes = 1000 });
        add(&headers, "k", value, entry.size);
        add(&trailers, "k", value, entry.size);
        for (int i = 0; i < 3; i++) {
                struct pairs none = { 0 };
                script = answering(i == 1 ? &none : &headers, i == 0 ? &none : &trailers);
                script.count = 1;
                /* headers are dropped, and the call goes on; trailers are part of the outcome */
                baton_code code = i == 0 ? BATON_OK : BATON_RESOURCE_EXHAUSTED;
                status = probe_wait(channel, &script, &sum, NULL);
                expect_status(status, code, i == 0 ? "" : "metadata");
                assert_null(status.headers);
                baton_release(sum);
                stream = probe_produce_open(channel, &script, NULL);
                assert_null(baton_stream_headers(stream));
                assert_int_equal(read_items(stream, 0, probe_produce_read), 1);
                expect_status(probe_produce_finish(stream), code, i == 0 ? "" : "metadata");
                baton_stream_close(stream);
                assert_true(log_has("headers are dropped"));
                expect_alive(channel);
        }
        close_both();
        free(value);
}

/* ---- what is illegal -------------------------------------------------------------------------------------- */

static void test_illegal(void **state)
{
        (void)state;
        static char long_key[258];
        memset(long_key, 'k', sizeof long_key - 1);
        const baton_metadata_entry wrong[] = {
                baton_text("", "v"),           baton_text("Upper", "v"),      baton_text("with space", "v"),
                baton_text("colon:", "v"),     baton_text("grpc-status", ""), baton_text("k\xc3\xa9", "v"),
                baton_text("key", "line\n"),   baton_text("key", "\x7f"),     { "key", "a\0b", 3 },
                baton_text("key", "\xc3\xa9"), baton_text(long_key, "v"),
        };
        enum { N = sizeof wrong / sizeof *wrong };
        struct pairs headers = { 0 }, trailers = { 0 };
        const Conformance__Sum *sum;
        for (size_t i = 0; i < N; i++) {
                Conformance__Script script = script_of();
                baton_call_options options = { .metadata = &(baton_metadata){ 1, &wrong[i] } };
                expect_status(probe_wait(channel, &script, &sum, &options), BATON_INVALID_ARGUMENT, "metadata");
                baton_release(sum);
                assert_null(probe_chat_open(channel, &options));
                expect_error("/conformance.Probe/Chat");
                if (strchr(wrong[i].key, '\xc3') == NULL) { /* which no string can carry */
                        add(&headers, wrong[i].key, wrong[i].value, wrong[i].size);
                        add(&trailers, wrong[i].key, wrong[i].value, wrong[i].size);
                }
        }
        Conformance__Script script = answering(&headers, &trailers);
        baton_status status = probe_wait(channel, &script, &sum, NULL);
        expect_status(status, BATON_OK, "");
        assert_null(status.headers);
        assert_null(status.trailers);
        baton_release(sum);
        Conformance__Counts counts = counts_now();
        assert_int_equal(counts.n_notes, 2 * headers.n);
        for (size_t i = 0; i < counts.n_notes; i++)
                assert_int_equal(counts.notes[i], -EINVAL);
        assert_null(baton_metadata_find(NULL, "key"));
        assert_null(baton_metadata_text(NULL, "key"));
}

/* ---- details ---------------------------------------------------------------------------------------------- */

static void expect_details(const baton_status *status, size_t n)
{
        size_t size = 0;
        expect_status(*status, BATON_FAILED_PRECONDITION, "not now");
        assert_non_null(baton_status_details(status, &size));
        assert_true(size > 0);
        Conformance__Item *item = (Conformance__Item *)baton_status_detail(status, &conformance__item__descriptor);
        Conformance__Blob *blob = (Conformance__Blob *)baton_status_detail(status, &conformance__blob__descriptor);
        assert_true(n == 0 || (item && item->value == 1)); /* the first */
        assert_string_equal(blob->text, "the last");
        assert_null(baton_status_detail(status, &conformance__sum__descriptor));
        conformance__item__free_unpacked(item, NULL);
        conformance__blob__free_unpacked(blob, NULL);
}

static Conformance__Script detailed(uint32_t details, size_t size)
{
        Conformance__Script script = script_of();
        script.code = BATON_FAILED_PRECONDITION;
        script.message = (char *)"not now";
        script.details = details;
        script.size = size;
        return script;
}

static void test_details(void **state)
{
        (void)state;
        for (uint32_t n = 1; n <= 10; n++) {
                Conformance__Script script = detailed(n, 300);
                const Conformance__Sum *sum;
                baton_status status = probe_wait(channel, &script, &sum, NULL);
                expect_details(&status, n);
                baton_release(sum);
                script.size = 0;
                script.count = n;
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                status = probe_produce_finish(stream);
                expect_details(&status, n);
                baton_stream_close(stream);
        }
}

/* Too large: the call fails all the same. */
static void test_details_over_the_limit(void **state)
{
        (void)state;
        Conformance__Script script = detailed(3, 3000);
        const Conformance__Sum *sum;
        size_t size = 1;
        baton_status status = probe_wait(channel, &script, &sum, NULL);
        expect_status(status, BATON_FAILED_PRECONDITION, "not now");
        assert_null(baton_status_details(&status, &size));
        assert_null(baton_status_detail(&status, &conformance__item__descriptor));
        assert_null(baton_status_detail(NULL, &conformance__item__descriptor));
        assert_null(baton_status_detail(&status, NULL));
        baton_release(sum);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_with_unary_calls, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_with_unary_calls, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_with_streams, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_with_streams, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_headers_come_first, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_headers_come_first, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_many_entries, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_from_the_client, begin_inline, end_settled),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test_setup_teardown(test_over_the_limit, begin_inline, end_settled),
                cmocka_unit_test(test_limits_that_differ),
                cmocka_unit_test_setup_teardown(test_illegal, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_details, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_details, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_details_over_the_limit, begin_inline, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
