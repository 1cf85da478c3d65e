/* Interceptors on both sides: order, what they see, refusals, metadata. */
#include "spies.h"
#include <errno.h>

static baton_status echo(const char *text, const baton_call_options *options)
{
        static _Thread_local char message[LONGEST_NOTE];
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply;
        request.text = (char *)text;
        baton_status status = probe_echo(channel, &request, &reply, options);
        snprintf(message, sizeof message, "%s", status.message);
        baton_release(reply);
        status.message = message;
        status.headers = status.trailers = NULL;
        return status;
}

/* ---- what they see ---------------------------------------------------------------------------------------- */

static void test_order(void **state)
{
        (void)state;
        baton_call_options options = { .deadline_ns = now_ns() + 60000000000u };
        expect_status(echo("hello", &options), BATON_OK, "");
        spies_expect(ALL_CLIENT, ALL_SERVER);
        for (int i = 0; i < SPIES; i++) {
                assert_true(client_spies[i].client && !server_spies[i].client);
                assert_true(server_spies[i].with_call && !client_spies[i].with_call);
                assert_true(client_spies[i].deadline_ns == options.deadline_ns);
                assert_true(server_spies[i].deadline_ns != 0);
                assert_string_equal(client_spies[i].request, "hello");
                assert_string_equal(server_spies[i].request, "hello");
                assert_int_equal(client_spies[i].code, BATON_OK);
                assert_string_equal(server_spies[i].message, "");
        }
        expect_status(echo("again", NULL), BATON_OK, "");
        spies_expect(ALL_CLIENT ALL_CLIENT, ALL_SERVER ALL_SERVER);
        assert_true(client_spies[0].deadline_ns == 0);
}

static void test_failures_are_told(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.code = BATON_NOT_FOUND;
        order.message = (char *)"no such thing";
        expect_status(act(channel, &order, NULL, NULL), BATON_NOT_FOUND, "no such thing");
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(client_spies[0].code, BATON_NOT_FOUND);
        assert_string_equal(client_spies[0].message, "no such thing");
        assert_int_equal(server_spies[0].code, BATON_NOT_FOUND);
        assert_string_equal(server_spies[0].message, "no such thing");
        spies_reset();
        order = (Conformance__Order)CONFORMANCE__ORDER__INIT;
        order.vanish = true;
        expect_status(act(channel, &order, NULL, NULL), BATON_INTERNAL, "without a reply");
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(server_spies[2].code, BATON_INTERNAL);
        spies_reset();
        order = (Conformance__Order)CONFORMANCE__ORDER__INIT;
        order.invalid_text = true; /* the reply cannot be sent: one end, with the failure */
        expect_status(act(channel, &order, NULL, NULL), BATON_INTERNAL, "");
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(server_spies[2].code, BATON_INTERNAL);
}

static void count_end(baton_intercept *intercept, const baton_status *status, void *context)
{
        assert_null(intercept->state);
        assert_int_equal(status->code, BATON_OK);
        ++*(int *)context;
}

static void test_without_functions(void **state)
{
        (void)state;
        int n = 0;
        const baton_interceptor few[2] = { { 0 }, { .end = count_end, .context = &n } };
        baton_channel *other = peer_open(&peer, &(baton_channel_options){ .interceptors = few, .n_interceptors = 2 });
        expect_alive(other);
        assert_int_equal(n, 1);
        baton_channel_close(other);
}

/* ---- refusing --------------------------------------------------------------------------------------------- */

static void test_client_refuses(void **state)
{
        (void)state;
        client_spies[1].refuses = BATON_PERMISSION_DENIED;
        client_spies[1].text = "not at this hour";
        baton_status status = echo("x", NULL);
        expect_status(status, BATON_PERMISSION_DENIED, "not at this hour");
        assert_false(status.maybe_executed);
        spies_expect("(a(bb)a)", "");
        assert_int_equal(client_spies[0].code, BATON_PERMISSION_DENIED);
        assert_string_equal(client_spies[0].message, "not at this hour");
        client_spies[1].text = NULL;
        expect_status(echo("x", NULL), BATON_PERMISSION_DENIED, "refused by an interceptor");
        client_spies[1].refuses = (baton_code)99;
        expect_status(echo("x", NULL), BATON_UNKNOWN, "");
        client_spies[1].refuses = BATON_OK;
        expect_status(echo("x", NULL), BATON_OK, "");
}

static void test_refuses_without_a_server(void **state)
{
        (void)state;
        char nowhere[LONGEST_ADDRESS], address[LONGEST_ADDRESS];
        transport->addresses(scratch, nowhere, address);
        baton_channel *other = baton_channel_open(
                address, &(baton_channel_options){ .interceptors = spies_array(client_spies), .n_interceptors = 1 });
        const Conformance__Empty *reply;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        client_spies[0].refuses = BATON_FAILED_PRECONDITION;
        assert_int_equal(probe_nothing(other, &request, &reply, NULL).code, BATON_FAILED_PRECONDITION);
        baton_release(reply);
        client_spies[0].refuses = BATON_OK;
        assert_int_equal(probe_nothing(other, &request, &reply, NULL).code, BATON_UNAVAILABLE);
        baton_release(reply);
        assert_int_equal(client_spies[0].code, BATON_UNAVAILABLE);
        assert_int_equal(client_spies[0].n_ended, 2);
        baton_channel_close(other);
}

static void test_server_refuses(void **state)
{
        (void)state;
        server_spies[1].refuses = BATON_UNAUTHENTICATED;
        server_spies[1].text = "who are you?";
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        expect_status(act(channel, &order, NULL, NULL), BATON_UNAUTHENTICATED, "who are you?");
        spies_expect(ALL_CLIENT, "(x(yy)x)");
        assert_int_equal(probe_runs(peer.probe), 0);
        assert_int_equal(server_spies[0].code, BATON_UNAUTHENTICATED);
        assert_string_equal(server_spies[0].message, "who are you?");
        server_spies[1].refuses = BATON_OK;
        expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
        assert_int_equal(probe_runs(peer.probe), 1);
}

/* Not the way to refuse, but defined: the call has its answer, and goes no further. */
static void test_begin_answers(void **state)
{
        (void)state;
        server_spies[1].answers = true;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        expect_status(act(channel, &order, NULL, NULL), BATON_ABORTED, "answered by y");
        spies_expect(ALL_CLIENT, "(x(yy)x)");
        assert_int_equal(probe_runs(peer.probe), 0);
        spies_reset();
        expect_alive(channel);
}

static void test_long_text(void **state)
{
        (void)state;
        char text[LONGEST_NOTE];
        for (int i = 0; i + 2 < LONGEST_NOTE; i += 2)
                memcpy(text + i, "\xc3\xa4", 3); /* two bytes each: cut between characters */
        client_spies[0].refuses = BATON_ABORTED;
        client_spies[0].text = text;
        baton_status status = echo("x", NULL);
        assert_int_equal(status.code, BATON_ABORTED);
        assert_in_range(strlen(status.message), 1000, 1024);
        assert_int_equal(strlen(status.message) % 2, 0);
        client_spies[0].refuses = BATON_OK;
        server_spies[0].refuses = BATON_ABORTED;
        server_spies[0].text = text;
        status = echo("x", NULL);
        assert_int_equal(status.code, BATON_ABORTED);
        assert_in_range(strlen(status.message), 1000, 1024);
        assert_int_equal(strlen(status.message) % 2, 0);
}

/* ---- metadata --------------------------------------------------------------------------------------------- */

static void test_adds_metadata(void **state)
{
        (void)state;
        client_spies[0].adds = client_spies[1].adds = "k";
        expect_status(echo("x", NULL), BATON_OK, "");
        assert_int_equal(client_spies[0].added, 0);
        assert_string_equal(client_spies[0].metadata, "");
        assert_string_equal(client_spies[1].metadata, "a"); /* as far as it is known */
        assert_string_equal(server_spies[0].metadata, "a"); /* the first of two */
        baton_metadata_entry mine = baton_text("k", "user's");
        baton_call_options options = { .metadata = &(baton_metadata){ 1, &mine } };
        expect_status(echo("x", &options), BATON_OK, "");
        assert_string_equal(client_spies[0].metadata, "user's");
        assert_string_equal(server_spies[0].metadata, "user's");
        client_spies[0].adds = client_spies[1].adds = NULL;
        expect_status(echo("x", NULL), BATON_OK, "");
        assert_string_equal(server_spies[0].metadata, "");
}

static void test_illegal_metadata(void **state)
{
        (void)state;
        static const char *const illegal[] = { "", "Upper", "grpc-x", "with space" };
        for (size_t i = 0; i < sizeof illegal / sizeof *illegal; i++) {
                client_spies[0].adds = illegal[i];
                expect_status(echo("x", NULL), BATON_OK, "");
                assert_int_equal(client_spies[0].added, -EINVAL);
        }
        client_spies[0].adds = NULL;
        server_spies[0].adds = "k";
        expect_status(echo("x", NULL), BATON_OK, "");
        assert_int_equal(server_spies[0].added, -EINVAL);
        assert_int_equal(baton_intercept_add(NULL, "k", "v", 1), -EINVAL);
        assert_int_equal(baton_intercept_refuse(NULL, BATON_ABORTED, "x"), BATON_ABORTED);
}

static baton_code add_much(baton_intercept *intercept, void *context)
{
        static const char value[9000] = { 0 };
        *(int *)context = baton_intercept_add(intercept, "k-bin", value, sizeof value);
        return BATON_OK;
}

static void test_too_much_metadata(void **state)
{
        (void)state;
        int added = 0;
        baton_interceptor adding = { .begin = add_much, .context = &added };
        baton_channel *other =
                peer_open(&peer, &(baton_channel_options){ .interceptors = &adding, .n_interceptors = 1 });
        expect_alive(other);
        assert_int_equal(added, -EMSGSIZE);
        baton_channel_close(other);
        other = peer_open(&peer, &(baton_channel_options){
                                         .interceptors = &adding, .n_interceptors = 1, .max_metadata_bytes = 10000 });
        const Conformance__Empty *reply;
        baton_status status = probe_nothing(other, &(Conformance__Empty)CONFORMANCE__EMPTY__INIT, &reply, NULL);
        assert_int_equal(added, 0);
        assert_int_equal(status.code, BATON_RESOURCE_EXHAUSTED); /* the server's limit is what it was */
        baton_release(reply);
        baton_channel_close(other);
}

/* ---- bad options ------------------------------------------------------------------------------------------ */

static void test_bad_options(void **state)
{
        (void)state;
        static const baton_interceptor many[17];
        baton_channel_options client = { .interceptors = many, .n_interceptors = 17 };
        baton_server_options server = { .interceptors = many, .n_interceptors = 17 };
        assert_null(baton_channel_open(peer.address, &client));
        expect_error("channel|n_interceptors|17|16");
        assert_null(baton_server_new(&server));
        expect_error("server|n_interceptors|17|16");
        client = (baton_channel_options){ .n_interceptors = 1 };
        server = (baton_server_options){ .n_interceptors = 1 };
        assert_null(baton_channel_open(peer.address, &client));
        expect_error("channel|interceptors|NULL");
        assert_null(baton_server_new(&server));
        expect_error("server|interceptors|NULL");
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, spies_begin, spies_end)
        const struct CMUnitTest tests[] = {
                TEST(test_order),
                TEST(test_failures_are_told),
                TEST(test_without_functions),
                TEST(test_client_refuses),
                TEST(test_refuses_without_a_server),
                TEST(test_server_refuses),
                TEST(test_begin_answers),
                TEST(test_long_text),
                TEST(test_adds_metadata),
                TEST(test_illegal_metadata),
                TEST(test_too_much_metadata),
                TEST(test_bad_options),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
