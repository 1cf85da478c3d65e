/* Calls that are made again, calls that are cancelled, and what calls made inside of calls inherit. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_MS = 10000 };

/* ---- the server ------------------------------------------------------------------------------------------- */

static char listen_address[LONGEST_ADDRESS], channel_address[LONGEST_ADDRESS];
static baton_server *server;
static baton_channel *channel;
static baton_loop *loop;
static atomic_uint runs;         /* of Echo */
static atomic_uint failures;     /* so many calls of Echo fail next */
static _Atomic int code;         /* with this */
static baton_channel *inside;    /* Look calls Echo there */
static baton_call *_Atomic held; /* a call of Nothing, which answers nobody until asked to */
static baton_call *_Atomic held_too;

static void echo(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)context;
        atomic_fetch_add(&runs, 1);
        if (atomic_load(&failures) && atomic_fetch_sub(&failures, 1)) {
                baton_call_fail(call, (baton_code)atomic_load(&code), "attempt %u fails", atomic_load(&runs));
                return;
        }
        Conformance__Blob reply = *request;
        const char *trace = baton_metadata_text(baton_call_metadata(call), "traceparent");
        char text[128];
        snprintf(text, sizeof text, "%s %llu", trace ? trace : "none",
                 (unsigned long long)baton_call_deadline_ns(call));
        if (!strcmp(request->text, "facts"))
                reply.text = text;
        probe_echo_reply(call, &reply);
}

/* What Echo learns of a call made here: by default, detached, and with another parent's options. */
static void look(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)context;
        Conformance__Blob ask = CONFORMANCE__BLOB__INIT;
        Conformance__Place place = CONFORMANCE__PLACE__INIT;
        const Conformance__Blob *facts = NULL;
        baton_call_options detached = { .detached = true };
        ask.text = (char *)"facts";
        baton_status status = probe_echo(inside, &ask, &facts, request->text[0] == 'd' ? &detached : NULL);
        place.permissions = status.code ? (char *)baton_code_name(status.code) : facts->text;
        place.sum = baton_call_deadline_ns(call);
        probe_look_reply(call, &place);
        baton_release(facts);
}

static void nothing(baton_call *call, const Conformance__Empty *request, void *context)
{
        (void)request;
        (void)context;
        baton_call *first = NULL;
        if (!atomic_compare_exchange_strong(&held, &first, baton_call_retain(call)))
                atomic_store(&held_too, call);
}

static const probe_handlers handlers = { .echo = echo, .look = look, .nothing = nothing };

static int begin(void **state)
{
        (void)state;
        transport->addresses(scratch, listen_address, channel_address);
        server = baton_server_new(&(baton_server_options){ .workers = 2 });
        assert_non_null(server);
        assert_int_equal(probe_register(server, &handlers, NULL), 0);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        assert_int_equal(baton_server_start(server), 0);
        channel = NULL;
        inside = baton_channel_open(channel_address, NULL);
        loop = baton_loop_new();
        runs = 0;
        failures = 0;
        code = BATON_UNAVAILABLE;
        held = held_too = NULL;
        return 0;
}

static int end(void **state)
{
        (void)state;
        baton_channel_close(channel);
        baton_channel_close(inside);
        baton_call_release(atomic_load(&held));
        baton_call_release(atomic_load(&held_too));
        baton_server_free(server);
        baton_loop_free(loop);
        return 0;
}

/* ---- the client ------------------------------------------------------------------------------------------- */

/* How a call ended. */
struct outcome {
        baton_code code;
        bool maybe_executed;
        char text[256];
        atomic_bool done;
};

static void note(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        struct outcome *outcome = context;
        outcome->code = status->code;
        outcome->maybe_executed = status->maybe_executed;
        snprintf(outcome->text, sizeof outcome->text, "%s", status->code ? status->message : reply->text);
        atomic_store(&outcome->done, true);
}

static void note_nothing(const baton_status *status, const Conformance__Empty *reply, void *context)
{
        struct outcome *outcome = context;
        (void)reply;
        outcome->code = status->code;
        outcome->maybe_executed = status->maybe_executed;
        snprintf(outcome->text, sizeof outcome->text, "%s", status->message);
        atomic_store(&outcome->done, true);
}

/* Echo, as its .proto would say it is: idempotent or not. */
static const baton_method *echo_method(bool idempotent)
{
        static baton_method methods[2];
        const baton_service *service = &probe_service;
        for (size_t i = 0; i < service->n_methods; i++)
                if (!strcmp(service->methods[i].path, "/conformance.Probe/Echo"))
                        methods[idempotent] = service->methods[i];
        methods[idempotent].flags |= idempotent ? BATON_IDEMPOTENT : 0;
        return &methods[idempotent];
}

static void turn_until(struct outcome *outcome)
{
        uint64_t end_ns = now_ns() + LONG_MS * UINT64_C(1000000);
        while (!atomic_load(&outcome->done) && now_ns() < end_ns)
                baton_loop_wait(loop, 100);
        assert_true(atomic_load(&outcome->done));
}

/* Echo of "again", blocking or on the loop, where the request goes as soon as it is started. */
static void start_echo(bool idempotent, const baton_call_options *options, struct outcome *outcome)
{
        Conformance__Blob *request = malloc(sizeof *request);
        conformance__blob__init(request);
        request->text = strdup("again");
        *outcome = (struct outcome){ 0 };
        assert_int_equal(baton_unary_async(channel, loop, echo_method(idempotent), &request->base, options,
                                           (baton_callback)note, outcome),
                         0);
        memset(request->text, 'x', 5);
        free(request->text);
        free(request);
}

static struct outcome call_echo(bool async, bool idempotent, const baton_call_options *options)
{
        struct outcome outcome = { 0 };
        if (async) {
                start_echo(idempotent, options, &outcome);
                turn_until(&outcome);
                return outcome;
        }
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const ProtobufCMessage *reply = NULL;
        request.text = (char *)"again";
        baton_status status = baton_unary(channel, echo_method(idempotent), &request.base, &reply, options);
        note(&status, (const Conformance__Blob *)(const void *)reply, &outcome);
        baton_release(reply);
        return outcome;
}

static void open_retrying(const baton_retry *retry)
{
        channel = baton_channel_open(channel_address, &(baton_channel_options){ .retry = *retry });
        assert_non_null(channel);
}

/* ---- retries ---------------------------------------------------------------------------------------------- */

static void check_retried(bool async)
{
        struct outcome outcome;
        runs = 0;
        failures = 3;
        outcome = call_echo(async, true, NULL);
        assert_int_equal(outcome.code, BATON_OK);
        assert_string_equal(outcome.text, "again");
        assert_int_equal(runs, 4);
        /* Not more often than the options say. */
        runs = 0;
        failures = 4;
        outcome = call_echo(async, true, NULL);
        assert_int_equal(outcome.code, BATON_UNAVAILABLE);
        assert_non_null(strstr(outcome.text, "attempt 4 fails"));
        assert_int_equal(runs, 4);
        /* Not what may have been executed, nor with other codes, nor beyond the deadline. */
        runs = 0;
        failures = 1;
        assert_int_equal(call_echo(async, false, NULL).code, BATON_UNAVAILABLE);
        assert_int_equal(runs, 1);
        failures = 1;
        code = BATON_INTERNAL;
        assert_int_equal(call_echo(async, true, NULL).code, BATON_INTERNAL);
        assert_int_equal(runs, 2);
        code = BATON_UNAVAILABLE;
}

static void test_retries(void **state)
{
        (void)state;
        open_retrying(&(baton_retry){ .max_attempts = 4, .initial_backoff_ms = 1 });
        check_retried(false);
        check_retried(true);
}

static void test_no_retry_beyond_the_deadline(void **state)
{
        (void)state;
        open_retrying(&(baton_retry){ .max_attempts = 4, .initial_backoff_ms = 5000, .max_backoff_ms = 5000 });
        for (int async = 0; async < 2; async++) {
                runs = 0;
                failures = 1;
                assert_int_equal(call_echo(async, true, &(baton_call_options){ .timeout_ms = 2000 }).code,
                                 BATON_UNAVAILABLE);
                assert_int_equal(runs, 1);
        }
}

/* A server that fails on and on is left alone once half of the tokens are gone; successes bring them back. */
static void test_budget(void **state)
{
        (void)state;
        open_retrying(
                &(baton_retry){ .max_attempts = 100, .initial_backoff_ms = 1, .max_backoff_ms = 1, .budget = 10 });
        failures = 1000;
        assert_int_equal(call_echo(false, true, NULL).code, BATON_UNAVAILABLE);
        assert_int_equal(runs, 6);
        assert_int_equal(call_echo(true, true, NULL).code, BATON_UNAVAILABLE);
        assert_int_equal(runs, 7);
        failures = 0;
        for (int i = 0; i < 60; i++)
                assert_int_equal(call_echo(i % 2, true, NULL).code, BATON_OK);
        runs = 0;
        failures = 2;
        assert_int_equal(call_echo(false, true, NULL).code, BATON_OK);
        assert_int_equal(runs, 3);
}

/* Nothing was executed where nobody is there: any method is tried again. */
static void test_nobody_there(void **state)
{
        (void)state;
        char listen[LONGEST_ADDRESS], address[LONGEST_ADDRESS];
        transport->addresses(scratch, listen, address);
        channel = baton_channel_open(
                address, &(baton_channel_options){ .retry = { .max_attempts = 3, .initial_backoff_ms = 20 } });
        for (int async = 0; async < 2; async++) {
                uint64_t start_ns = now_ns();
                struct outcome outcome = call_echo(async, false, NULL);
                assert_int_equal(outcome.code, BATON_UNAVAILABLE);
                assert_false(outcome.maybe_executed);
                assert_true(now_ns() - start_ns >= 40000000); /* 80 % of 20 + 30 ms */
        }
}

/* While it waits for its next attempt a call can be cancelled, and its channel closed. */
static void test_pause_ends(void **state)
{
        (void)state;
        struct outcome cancelled, closed;
        baton_cancel *cancel = baton_cancel_new();
        open_retrying(&(baton_retry){ .max_attempts = 2, .initial_backoff_ms = 60000, .max_backoff_ms = 60000 });
        failures = 2;
        start_echo(true, &(baton_call_options){ .cancel = cancel }, &cancelled);
        start_echo(true, NULL, &closed);
        for (int i = 0; i < 100 && atomic_load(&runs) < 2; i++)
                baton_loop_wait(loop, 10);
        baton_loop_wait(loop, 20);
        assert_false(atomic_load(&cancelled.done));
        baton_cancel_now(cancel);
        turn_until(&cancelled);
        assert_int_equal(cancelled.code, BATON_CANCELLED);
        assert_true(cancelled.maybe_executed);
        assert_false(atomic_load(&closed.done));
        baton_channel_close(channel);
        channel = NULL;
        assert_true(atomic_load(&closed.done));
        assert_int_equal(closed.code, BATON_CANCELLED);
        baton_cancel_free(cancel);
}

/* ---- cancelling ------------------------------------------------------------------------------------------- */

static bool is_held(void *unused)
{
        (void)unused;
        return atomic_load(&held);
}

static void *cancel_soon(void *cancel)
{
        if (eventually(is_held, NULL))
                baton_cancel_now(cancel);
        return NULL;
}

static bool sees_the_cancellation(void *call)
{
        return baton_call_cancelled(call);
}

static void check_cancelled_before(baton_cancel *cancel)
{
        baton_call_options options = { .cancel = cancel };
        for (int async = 0; async < 2; async++) {
                struct outcome outcome = call_echo(async, true, &options);
                assert_int_equal(outcome.code, BATON_CANCELLED);
                assert_non_null(strstr(outcome.text, "/conformance.Probe/Echo"));
                assert_false(outcome.maybe_executed);
        }
        assert_int_equal(runs, 0);
}

static void test_cancel_blocking(void **state)
{
        (void)state;
        uint64_t start_ns = now_ns();
        for (int i = 0; i < 6; i++) {
                channel = baton_channel_open(channel_address, &(baton_channel_options){ .no_spin = i % 2 });
                baton_cancel *cancel = baton_cancel_new();
                Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
                const Conformance__Empty *reply = NULL;
                pthread_t thread;
                assert_int_equal(pthread_create(&thread, NULL, cancel_soon, cancel), 0);
                baton_status status =
                        probe_nothing(channel, &request, &reply, &(baton_call_options){ .cancel = cancel });
                expect_status(status, BATON_CANCELLED, "/conformance.Probe/Nothing|cancelled");
                assert_true(status.maybe_executed);
                baton_release(reply);
                pthread_join(thread, NULL);
                /* Its server is told, and the lane is as good as before. */
                assert_true(eventually(sees_the_cancellation, atomic_load(&held)));
                baton_call_release(atomic_exchange(&held, NULL));
                runs = 0;
                assert_true(baton_cancel_called(cancel));
                check_cancelled_before(cancel);
                baton_cancel_free(cancel);
                assert_int_equal(call_echo(false, true, NULL).code, BATON_OK);
                baton_channel_close(channel);
                channel = NULL;
        }
        assert_true(now_ns() - start_ns < 2000000000); /* woken, for a sleep of its own ends after half a second only */
}

static void test_cancel_on_a_loop(void **state)
{
        (void)state;
        channel = baton_channel_open(channel_address, NULL);
        baton_cancel *cancel = baton_cancel_new();
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        struct outcome outcomes[3] = { 0 }, other;
        baton_call_options options = { .cancel = cancel };
        for (int i = 0; i < 2; i++)
                assert_int_equal(
                        probe_nothing_async(channel, loop, &request, i ? NULL : &options, note_nothing, &outcomes[i]),
                        0);
        other = call_echo(true, true, &options); /* its own end takes it off the token */
        assert_int_equal(other.code, BATON_OK);
        assert_true(eventually(is_held, NULL));
        baton_cancel_now(cancel);
        baton_cancel_now(cancel);
        assert_false(atomic_load(&outcomes[0].done)); /* on the loop only */
        turn_until(&outcomes[0]);
        assert_int_equal(outcomes[0].code, BATON_CANCELLED);
        assert_non_null(strstr(outcomes[0].text, "/conformance.Probe/Nothing"));
        assert_false(atomic_load(&outcomes[1].done));
        baton_cancel_free(cancel);
        baton_channel_close(channel);
        channel = NULL;
        assert_int_equal(outcomes[1].code, BATON_CANCELLED);
}

/* One-way calls run side by side, for all that they share a lane. */
static void test_oneway_calls_do_not_end_each_other(void **state)
{
        (void)state;
        channel = baton_channel_open(channel_address, NULL);
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        for (int i = 0; i < 2; i++)
                assert_int_equal(probe_nothing_oneway(channel, &request, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        assert_int_equal(call_echo(false, true, NULL).code, BATON_OK);
        assert_false(baton_call_cancelled(atomic_load(&held)));
        assert_false(baton_call_cancelled(atomic_load(&held_too)));
}

/* ---- limits and metadata ---------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
        (void)state;
        channel = baton_channel_open(channel_address, &(baton_channel_options){ .max_metadata_bytes = 100 });
        char value[80];
        memset(value, 'v', sizeof value);
        baton_metadata_entry entries[] = { { "Upper", "x", 1 }, { "key", value, sizeof value } };
        baton_metadata illegal = { 1, entries }, large = { 1, entries + 1 };
        struct outcome outcome;
        outcome = call_echo(false, true, &(baton_call_options){ .metadata = &illegal });
        assert_int_equal(outcome.code, BATON_INVALID_ARGUMENT);
        assert_non_null(strstr(outcome.text, "/conformance.Probe/Echo: "));
        outcome = call_echo(false, true, &(baton_call_options){ .metadata = &large });
        assert_int_equal(outcome.code, BATON_RESOURCE_EXHAUSTED);
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        assert_int_equal(probe_echo_async(channel, loop, &request, &(baton_call_options){ .metadata = &illegal }, note,
                                          &outcome),
                         -EINVAL);
        expect_error("/conformance.Probe/Echo|Upper");
        assert_int_equal(
                probe_echo_async(channel, loop, &request, &(baton_call_options){ .metadata = &large }, note, &outcome),
                -EMSGSIZE);
        outcome = call_echo(false, true, &(baton_call_options){ .max_request_bytes = 2 });
        assert_int_equal(outcome.code, BATON_RESOURCE_EXHAUSTED);
        assert_int_equal(runs, 0);
        for (int async = 0; async < 2; async++) {
                outcome = call_echo(async, true, &(baton_call_options){ .max_reply_bytes = 2 });
                assert_int_equal(outcome.code, BATON_RESOURCE_EXHAUSTED);
        }
        assert_int_equal(runs, 2);
        assert_int_equal(call_echo(false, true, &(baton_call_options){ .max_reply_bytes = 4096 }).code, BATON_OK);
}

/* ---- calls inside of calls -------------------------------------------------------------------------------- */

static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

static void ask(const char *how, const baton_call_options *options, char facts[128], uint64_t *deadline_ns)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Place *place = NULL;
        request.text = (char *)how;
        expect_status(probe_look(channel, &request, &place, options), BATON_OK, "");
        snprintf(facts, 128, "%s", place->permissions);
        *deadline_ns = place->sum;
        baton_release(place);
}

static void test_inheritance(void **state)
{
        (void)state;
        channel = baton_channel_open(channel_address, NULL);
        baton_metadata_entry entry = baton_text("traceparent", trace);
        baton_metadata metadata = { 1, &entry };
        baton_call_options options = { .timeout_ms = LONG_MS, .metadata = &metadata };
        char facts[128], wanted[32];
        uint64_t deadline_ns;
        ask("plainly", &options, facts, &deadline_ns);
        snprintf(wanted, sizeof wanted, " %llu", (unsigned long long)deadline_ns);
        assert_true(deadline_ns > 0);
        assert_memory_equal(facts, trace, 36);               /* the same trace, */
        assert_memory_not_equal(facts + 36, trace + 36, 16); /* by another call, */
        assert_memory_equal(facts + 52, trace + 52, 3);      /* sampled likewise */
        assert_string_equal(facts + 55, wanted);
        ask("detached", &options, facts, &deadline_ns);
        assert_string_equal(facts, "none 0");
        ask("plainly", NULL, facts, &deadline_ns);
        assert_string_equal(facts, "none 0");
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_retries, begin, end),
                cmocka_unit_test_setup_teardown(test_no_retry_beyond_the_deadline, begin, end),
                cmocka_unit_test_setup_teardown(test_budget, begin, end),
                cmocka_unit_test_setup_teardown(test_nobody_there, begin, end),
                cmocka_unit_test_setup_teardown(test_pause_ends, begin, end),
                cmocka_unit_test_setup_teardown(test_cancel_blocking, begin, end),
                cmocka_unit_test_setup_teardown(test_cancel_on_a_loop, begin, end),
                cmocka_unit_test_setup_teardown(test_oneway_calls_do_not_end_each_other, begin, end),
                cmocka_unit_test_setup_teardown(test_limits, begin, end),
                cmocka_unit_test_setup_teardown(test_inheritance, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
