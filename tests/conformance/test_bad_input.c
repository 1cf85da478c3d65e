/* Bad input: each a clear error that names what and why, and nothing lost. */
#include "fixture.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- requests --------------------------------------------------------------------------------------------- */

static void test_unknown_service(void **state)
{
        (void)state;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        baton_status status = stranger_hello(channel, &request, &reply, NULL);
        expect_status(status, BATON_UNIMPLEMENTED, "/conformance.Stranger/Hello|no method|registered");
        assert_false(status.maybe_executed);
        baton_release(reply);
        expect_alive(channel);
}

/* A method that a newer client knows. */
static void test_unknown_method(void **state)
{
        (void)state;
        baton_method newer = probe_service.methods[0];
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const ProtobufCMessage *reply = NULL;
        newer.path = "/conformance.Probe/Newer";
        baton_status status = baton_unary(channel, &newer, &request.base, &reply, NULL);
        expect_status(status, BATON_UNIMPLEMENTED, "/conformance.Probe/Newer|no method|up to date");
        baton_release(reply);
        expect_alive(channel);
}

static void test_streaming_method(void **state)
{
        (void)state;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const ProtobufCMessage *reply = NULL;
        for (size_t i = 0; i < probe_service.n_methods; i++) {
                const baton_method *method = &probe_service.methods[i];
                if (strcmp(method->path, "/conformance.Probe/Stream") != 0)
                        continue;
                expect_status(baton_unary(channel, method, &request.base, &reply, NULL), BATON_INVALID_ARGUMENT,
                              "/conformance.Probe/Stream|streaming");
                baton_release(reply);
                /* One that takes it for a unary method. */
                baton_method unary = *method;
                unary.flags = 0;
                expect_status(baton_unary(channel, &unary, &request.base, &reply, NULL), BATON_UNIMPLEMENTED,
                              "/conformance.Probe/Stream|no handler");
                baton_release(reply);
        }
        expect_alive(channel);
}

static void expect_refused(const Conformance__Legacy *request, const char *words)
{
        const Conformance__Legacy *reply = NULL;
        baton_status status = probe_echo_legacy(channel, request, &reply, NULL);
        expect_status(status, BATON_INVALID_ARGUMENT, words);
        assert_false(status.maybe_executed);
        assert_non_null(reply);
        baton_release(reply);
        expect_alive(channel);
}

static void test_required_field_missing(void **state)
{
        (void)state;
        Conformance__Legacy request = CONFORMANCE__LEGACY__INIT;
        Conformance__Needed needed = CONFORMANCE__NEEDED__INIT;
        Conformance__Needed *list[] = { &needed, &needed };
        request.o_message = &needed;
        expect_refused(&request, "o_message|text|required");
        needed.text = (char *)"there";
        needed.blob = (ProtobufCBinaryData){ 5, NULL };
        expect_refused(&request, "o_message|blob");
        request.o_message = NULL;
        needed.text = NULL;
        request.n_r_message = 2;
        request.r_message = list;
        expect_refused(&request, "r_message|text|required");
        list[1] = NULL;
        needed.text = (char *)"there";
        needed.blob = (ProtobufCBinaryData){ 0, NULL };
        expect_refused(&request, "r_message");
        request.r_message = NULL;
        expect_refused(&request, "r_message");
}

static void test_invalid_utf8(void **state)
{
        (void)state;
        static const char *const texts[] = { "\xff",     "a\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80",
                                             "\xc0\xaf", "ok\x80" };
        char *list[2] = { (char *)"good", NULL };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                Conformance__Legacy request = CONFORMANCE__LEGACY__INIT;
                request.o_string = (char *)texts[i];
                expect_refused(&request, "conformance.Legacy|o_string|UTF-8");
                request.o_string = NULL;
                list[1] = (char *)texts[i];
                request.n_r_string = 2;
                request.r_string = list;
                expect_refused(&request, "r_string|UTF-8");
                request.n_r_string = 0;
                request.choice_case = CONFORMANCE__LEGACY__CHOICE_C_STRING;
                request.c_string = (char *)texts[i];
                expect_refused(&request, "c_string|UTF-8");
        }
}

static void test_nested_too_deep(void **state)
{
        (void)state;
        static Conformance__Legacy levels[101];
        for (int i = 0; i < 101; i++) {
                conformance__legacy__init(&levels[i]);
                levels[i].child = i ? &levels[i - 1] : NULL;
        }
        const Conformance__Legacy *reply = NULL;
        expect_status(probe_echo_legacy(channel, &levels[99], &reply, NULL), BATON_OK, "");
        baton_release(reply);
        expect_refused(&levels[100], "nested|100");
}

static void test_request_of_another_type(void **state)
{
        (void)state;
        Conformance__Empty wrong = CONFORMANCE__EMPTY__INIT;
        Conformance__Legacy never_initialised;
        memset(&never_initialised, 0, sizeof never_initialised);
        expect_refused((const Conformance__Legacy *)(const void *)&wrong, "conformance.Legacy");
        expect_refused(&never_initialised, "conformance.Legacy");
}

/* ---- NULL ------------------------------------------------------------------------------------------------- */

static void test_null_in_calls(void **state)
{
        (void)state;
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        expect_status(probe_echo(NULL, &request, &reply, NULL), BATON_INVALID_ARGUMENT,
                      "/conformance.Probe/Echo|channel is NULL");
        assert_non_null(reply);
        baton_release(reply);
        expect_status(probe_echo(channel, NULL, &reply, NULL), BATON_INVALID_ARGUMENT,
                      "/conformance.Probe/Echo|request is NULL");
        baton_release(reply);
        expect_status(probe_echo(channel, &request, NULL, NULL), BATON_INVALID_ARGUMENT, "place for the reply is NULL");
        const ProtobufCMessage *message = NULL;
        expect_status(baton_unary(channel, NULL, &request.base, &message, NULL), BATON_INVALID_ARGUMENT,
                      "method is NULL");
        /* A NULL string is an empty one, or unset. */
        request.text = NULL;
        expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
        assert_string_equal(reply->text, "");
        baton_release(reply);
        expect_alive(channel);
}

static void test_null_elsewhere(void **state)
{
        (void)state;
        baton_server *server = baton_server_new(NULL);
        assert_null(baton_channel_open(NULL, NULL));
        expect_error("address is NULL");
        assert_null(baton_channel_alloc(NULL, 1));
        expect_error("channel is NULL");
        assert_int_equal(baton_server_register(NULL, &probe_service, &server, NULL), -EINVAL);
        expect_error("server is NULL");
        assert_int_equal(baton_server_register(server, NULL, &server, NULL), -EINVAL);
        expect_error("service is NULL");
        assert_int_equal(baton_server_register(server, &probe_service, NULL, NULL), -EINVAL);
        expect_error("handlers is NULL");
        assert_int_equal(baton_server_listen(NULL, peer.listen), -EINVAL);
        expect_error("server is NULL");
        assert_int_equal(baton_server_listen(server, NULL), -EINVAL);
        expect_error("address is NULL");
        assert_int_equal(baton_server_run(NULL), -EINVAL);
        assert_int_equal(baton_server_start(NULL), -EINVAL);
        assert_int_equal(baton_server_run(server), -EINVAL);
        expect_error("does not listen|baton_server_listen");
        baton_server_stop(NULL);
        baton_server_free(NULL);
        baton_channel_close(NULL);
        baton_loop_free(NULL);
        baton_server_free(server);
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static void test_channel_options(void **state)
{
        (void)state;
        static const struct {
                baton_channel_options options;
                const char *words;
        } table[] = {
                { { .max_message_bytes = (1u << 30) + 1 }, "max_message_bytes is 1073741825|at most 1 GiB" },
                { { .max_heap_bytes = SIZE_MAX }, "max_heap_bytes|at most" },
                { { .ring_bytes = 4095 }, "ring_bytes is 4095|power of two" },
                { { .ring_bytes = 5000 }, "ring_bytes is 5000|power of two" },
                { { .ring_bytes = 2048 }, "ring_bytes is 2048|power of two" },
                { { .ring_bytes = 32 << 20 }, "ring_bytes|power of two" },
                { { .max_in_flight = 65537 }, "max_in_flight is 65537|at most 65536" },
        };
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                assert_null(baton_channel_open(peer.address, &table[i].options));
                expect_error(table[i].words);
        }
        baton_channel *edge =
                peer_open(&peer, &(baton_channel_options){ .ring_bytes = 1 << 20, .max_in_flight = 65536 });
        expect_alive(edge);
        baton_channel_close(edge);
}

static void test_server_options(void **state)
{
        (void)state;
        static const struct {
                baton_server_options options;
                const char *words;
        } table[] = {
                { { .workers = 1025 }, "workers is 1025|at most 1024" },
                { { .max_message_bytes = (1u << 30) + 1 }, "max_message_bytes is 1073741825|at most 1 GiB" },
                { { .max_heap_bytes = SIZE_MAX }, "max_heap_bytes|at most" },
        };
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                assert_null(baton_server_new(&table[i].options));
                expect_error(table[i].words);
        }
}

/* ---- who may connect, and how many ------------------------------------------------------------------------ */

static bool nobody(const baton_peer *who, void *context)
{
        *(pid_t *)context = who->pid;
        return false;
}

static void test_not_authorized(void **state)
{
        (void)state;
        struct peer closed;
        pid_t asked = 0;
        peer_start_here(&closed, &(baton_server_options){ .authorize = nobody, .authorize_context = &asked });
        baton_channel *to = peer_open(&closed, NULL);
        log_clear();
        for (int i = 0; i < 3; i++) {
                baton_status status = act(to, &(Conformance__Order)CONFORMANCE__ORDER__INIT, NULL, NULL);
                expect_status(status, BATON_PERMISSION_DENIED, "refused|user|authorize");
                assert_false(status.maybe_executed);
        }
        expect_status(baton_channel_connect(to), BATON_PERMISSION_DENIED, "refused");
        if (transport->same_host)
                assert_int_equal(asked, getpid());
        assert_true(log_has("refused|not authorized"));
        baton_channel_close(to);
        peer_end(&closed);
}

/* Exit status of a child of another user that calls: 100 + the status' code. */
static int call_as_another_user(const char *address)
{
        pid_t pid = fork();
        if (pid == 0) {
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(99);
                baton_channel *own = baton_channel_open(address, NULL);
                baton_status status = act(own, &(Conformance__Order)CONFORMANCE__ORDER__INIT, NULL, NULL);
                _exit(100 + (int)status.code);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static bool anybody(const baton_peer *who, void *context)
{
        (void)context;
        return who->uid == 65534;
}

static void test_another_user(void **state)
{
        (void)state;
        if (getuid() != 0 || !transport->same_host || transport->in_process)
                skip();
        assert_int_equal(chmod(scratch, 0711), 0);
        assert_int_equal(call_as_another_user(peer.address), 100 + BATON_PERMISSION_DENIED);
        expect_alive(channel);
        struct peer open;
        peer_start_here(&open, &(baton_server_options){ .authorize = anybody });
        assert_int_equal(call_as_another_user(open.address), 100 + BATON_OK);
        assert_int_equal(chmod(scratch, 0700), 0); /* the way to the socket is barred */
        assert_int_equal(call_as_another_user(open.address), 100 + BATON_PERMISSION_DENIED);
        peer_end(&open);
}

static void test_server_full(void **state)
{
        (void)state;
        struct peer small;
        baton_channel *channels[3];
        peer_start_here(&small, &(baton_server_options){ .max_connections = 2 });
        for (int i = 0; i < 3; i++)
                channels[i] = peer_open(&small, NULL);
        expect_alive(channels[0]);
        expect_alive(channels[1]);
        log_clear();
        baton_status status = act(channels[2], &(Conformance__Order)CONFORMANCE__ORDER__INIT, NULL, NULL);
        expect_status(status, BATON_RESOURCE_EXHAUSTED, "full|max_connections");
        assert_false(status.maybe_executed);
        assert_true(log_has("refused|2 connections"));
        expect_alive(channels[0]);
        baton_channel_close(channels[0]);
        for (int i = 0; i < 1000 && baton_channel_connect(channels[2]).code != BATON_OK; i++)
                pause_ms(1);
        expect_alive(channels[2]); /* there is room again */
        baton_channel_close(channels[1]);
        baton_channel_close(channels[2]);
        peer_end(&small);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_unknown_service, begin, end),
                cmocka_unit_test_setup_teardown(test_unknown_method, begin, end),
                cmocka_unit_test_setup_teardown(test_streaming_method, begin, end),
                cmocka_unit_test_setup_teardown(test_required_field_missing, begin, end),
                cmocka_unit_test_setup_teardown(test_invalid_utf8, begin, end),
                cmocka_unit_test_setup_teardown(test_nested_too_deep, begin, end),
                cmocka_unit_test_setup_teardown(test_request_of_another_type, begin, end),
                cmocka_unit_test_setup_teardown(test_null_in_calls, begin, end),
                cmocka_unit_test_setup_teardown(test_null_elsewhere, begin, end),
                cmocka_unit_test_setup_teardown(test_channel_options, begin, end),
                cmocka_unit_test_setup_teardown(test_server_options, begin, end),
                cmocka_unit_test_setup_teardown(test_not_authorized, begin, end),
                cmocka_unit_test_setup_teardown(test_another_user, begin, end),
                cmocka_unit_test_setup_teardown(test_server_full, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
