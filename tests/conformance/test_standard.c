/* The standard services: grpc.health.v1 and server reflection. */
#include "grpc/health/v1/health.baton.h"
#include "grpc/reflection/v1/reflection.baton.h"
#include "grpc/reflection/v1alpha/reflection.baton.h"
#include "harness.h"
#include "standard.baton.h"
#include <baton/health.h>
#include <baton/reflection.h>
#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;
typedef Google__Protobuf__FileDescriptorProto file_proto;

enum { WATCHERS = 100, SWINGS = 20000, QUESTIONS = 2000 };

/* Of the answers' kinds, those that are asked about often. */
static const int told_file =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
static const int told_error = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;

static const baton_call_options patient = { .timeout_ms = 20000 };

/* ---- servers ---------------------------------------------------------------------------------------------- */

static const library_handlers library;
static const library_of_babel_handlers babel;

static baton_health *serve(struct peer *peer, const baton_server_options *options)
{
        transport->addresses(scratch, peer->listen, peer->address);
        peer->pid = 0;
        peer->probe = probe_new();
        peer->server = baton_server_new(options);
        baton_health *health = baton_health_register(peer->server);
        assert_non_null(health);
        assert_int_equal(probe_serve(peer->probe, peer->server), 0);
        assert_int_equal(baton_reflection_register(peer->server), 0);
        assert_int_equal(library_register(peer->server, &library, NULL), 0);
        assert_int_equal(library_of_babel_register(peer->server, &babel, NULL), 0);
        if (baton_server_listen(peer->server, peer->listen) < 0 || baton_server_start(peer->server) < 0)
                fail_msg("cannot serve: %s", baton_error());
        return health;
}

static void end(struct peer *peer, baton_health *health)
{
        peer_end(peer);
        baton_health_free(health);
}

/* ---- health ----------------------------------------------------------------------------------------------- */

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
        baton_health *health = serve(&peer, NULL);
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
        end(&peer, health);
}

static void test_list(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, NULL);
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
        end(&peer, health);
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
        baton_health *health = serve(&peer, options);
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
        end(&peer, health);
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
        baton_health *health = serve(&peer, &(baton_server_options){ .workers = 2 });
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
        baton_health *health = serve(&peer, NULL);
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
        end(&peer, health);
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
        struct swinger swinger = { .health = serve(&peer,
                                                   &(baton_server_options){ .workers = 2, .handler_threads = 2 }) };
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
        end(&peer, swinger.health);
}

static void test_health_bad_input(void **state)
{
        (void)state;
        struct peer peer;
        char name[258];
        memset(name, 'x', 257);
        name[257] = '\0';
        baton_health *health = serve(&peer, NULL);
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
        end(&peer, health);
}

/* ---- reflection ------------------------------------------------------------------------------------------- */

/* What the tests ask; the kinds are the fields' numbers in ServerReflectionRequest. */
enum kind { NOTHING = 0, FILE_NAMED = 3, SYMBOL = 4, EXTENSION = 5, NUMBERS = 6, SERVICES = 7 };

static baton_stream *ask_open(baton_channel *channel)
{
        baton_stream *stream = grpc_reflection_v1_server_reflection_server_reflection_info_open(channel, &patient);
        if (!stream)
                fail_msg("%s", baton_error());
        return stream;
}

static int put(baton_stream *stream, enum kind kind, const char *text, int32_t number)
{
        question message = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
        Grpc__Reflection__V1__ExtensionRequest extension = GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
        char host[16];
        snprintf(host, sizeof host, "%d", (int)number);
        message.host = host;
        message.message_request_case = (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)kind;
        message.file_by_filename = (char *)text; /* all texts are one member of the union */
        if (kind == EXTENSION) {
                extension.containing_type = (char *)(text ? text : "");
                extension.extension_number = number;
                message.file_containing_extension = text ? &extension : NULL;
        }
        return grpc_reflection_v1_server_reflection_server_reflection_info_write(stream, &message);
}

/* Lives until the next one. */
static const answer *get(baton_stream *stream)
{
        const answer *message;
        if (grpc_reflection_v1_server_reflection_server_reflection_info_read(stream, &message) != 1)
                fail_msg("no answer: %s",
                         grpc_reflection_v1_server_reflection_server_reflection_info_finish(stream).message);
        return message;
}

static const answer *ask(baton_stream *stream, enum kind kind, const char *text, int32_t number)
{
        assert_int_equal(put(stream, kind, text, number), 0);
        const answer *message = get(stream);
        assert_int_equal(atoi(message->valid_host), number);
        assert_int_equal(message->original_request->message_request_case, kind);
        return message;
}

static void expect_refusal(const answer *message, baton_code code, const char *words)
{
        assert_int_equal(message->message_response_case, told_error);
        baton_status status = { .code = (baton_code)message->error_response->error_code,
                                .message = message->error_response->error_message };
        expect_status(status, code, words);
}

static void test_list_of_services(void **state)
{
        (void)state;
        static const char *const names[] = { "grpc.health.v1.Health",
                                             "conformance.Probe",
                                             "grpc.reflection.v1.ServerReflection",
                                             "grpc.reflection.v1alpha.ServerReflection",
                                             "conformance.standard.Library",
                                             "conformance.standard.LibraryOfBabel" };
        struct peer peer;
        baton_health *health = serve(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *stream = ask_open(channel);
        const Grpc__Reflection__V1__ListServiceResponse *list = ask(stream, SERVICES, "", 0)->list_services_response;
        assert_int_equal(list->n_service, 6);
        for (int i = 0; i < 6; i++) {
                assert_string_equal(list->service[i]->name, names[i]);
        }
        assert_int_equal(baton_stream_writes_done(stream), 0);
        const answer *none;
        assert_int_equal(grpc_reflection_v1_server_reflection_server_reflection_info_read(stream, &none), 0);
        expect_status(grpc_reflection_v1_server_reflection_server_reflection_info_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        baton_channel_close(channel);
        end(&peer, health);
}

static file_proto *rebuild(ProtobufCBinaryData data)
{
        file_proto *file = google__protobuf__file_descriptor_proto__unpack(NULL, data.len, data.data);
        assert_non_null(file);
        return file;
}

/* The message, as it was fetched, has the fields that this program was built with. */
static void compare_message(const Google__Protobuf__DescriptorProto *fetched, const ProtobufCMessageDescriptor *built)
{
        assert_string_equal(fetched->name, built->short_name);
        assert_int_equal(fetched->n_field, built->n_fields);
        for (size_t i = 0; i < fetched->n_field; i++) {
                const ProtobufCFieldDescriptor *field =
                        protobuf_c_message_descriptor_get_field(built, (unsigned)fetched->field[i]->number);
                assert_non_null(field);
                assert_string_equal(fetched->field[i]->name, field->name);
        }
}

/* Fetches what defines Probe, and sees that it is complete and what this program was built with. */
static void test_rebuild(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, &(baton_server_options){ .handler_threads = 2 });
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *stream = ask_open(channel);
        const answer *message = ask(stream, SYMBOL, "conformance.Probe", 0);
        assert_int_equal(message->message_response_case, told_file);
        const Grpc__Reflection__V1__FileDescriptorResponse *told = message->file_descriptor_response;
        assert_int_equal(told->n_file_descriptor_proto, 1 + probe_service.file->n_imports);
        assert_int_equal(told->file_descriptor_proto[0].len, probe_service.file->descriptor_size);
        assert_memory_equal(told->file_descriptor_proto[0].data, probe_service.file->descriptor,
                            probe_service.file->descriptor_size);
        file_proto *file = rebuild(told->file_descriptor_proto[0]);
        assert_string_equal(file->name, "probe.proto");
        assert_int_equal(file->service[0]->n_method, probe_service.n_methods);
        for (size_t i = 0; i < probe_service.n_methods; i++)
                assert_string_equal(file->service[0]->method[i]->name, strrchr(probe_service.methods[i].path, '/') + 1);
        compare_message(file->message_type[1], &conformance__blob__descriptor);
        for (size_t i = 0; i < file->n_dependency; i++) {
                file_proto *import = rebuild(told->file_descriptor_proto[1 + i]);
                assert_string_equal(import->name, file->dependency[i]);
                if (strcmp(import->name, "kinds.proto") == 0)
                        compare_message(import->message_type[1], &conformance__kinds__descriptor);
                google__protobuf__file_descriptor_proto__free_unpacked(import, NULL);
        }
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
        baton_stream_close(stream);
        baton_channel_close(channel);
        end(&peer, health);
}

/* The same, asked by the older name. */
static void test_older_version(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        Grpc__Reflection__V1alpha__ServerReflectionRequest request =
                GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;
        const Grpc__Reflection__V1alpha__ServerReflectionResponse *reply;
        request.message_request_case =
                GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME;
        request.file_by_filename = (char *)"grpc/reflection/v1alpha/reflection.proto";
        baton_stream *stream = grpc_reflection_v1alpha_server_reflection_server_reflection_info_open(channel, &patient);
        assert_non_null(stream);
        assert_int_equal(grpc_reflection_v1alpha_server_reflection_server_reflection_info_write(stream, &request), 0);
        assert_int_equal(grpc_reflection_v1alpha_server_reflection_server_reflection_info_read(stream, &reply), 1);
        assert_int_equal(
                reply->message_response_case,
                GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE);
        assert_string_equal(reply->original_request->file_by_filename, request.file_by_filename);
        assert_int_equal(reply->file_descriptor_response->n_file_descriptor_proto, 1);
        file_proto *file = rebuild(reply->file_descriptor_response->file_descriptor_proto[0]);
        assert_string_equal(file->package, "grpc.reflection.v1alpha");
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
        baton_stream_close(stream);
        baton_channel_close(channel);
        end(&peer, health);
}

/* The first file of the answer. "": there is none. */
static void expect_file(const answer *message, const char *name)
{
        if (!*name) {
                expect_refusal(message, BATON_NOT_FOUND, "");
                return;
        }
        assert_int_equal(message->message_response_case, told_file);
        file_proto *file = rebuild(message->file_descriptor_response->file_descriptor_proto[0]);
        assert_string_equal(file->name, name);
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
}

static const struct {
        enum kind kind;
        const char *text;
        int32_t number;
        const char *file;
} lookups[] = {
        { FILE_NAMED, "standard.proto", 0, "standard.proto" },
        { FILE_NAMED, "google/protobuf/timestamp.proto", 0, "google/protobuf/timestamp.proto" },
        { FILE_NAMED, "", 0, "" },
        { FILE_NAMED, "../standard.proto", 0, "" },
        { SYMBOL, "conformance.standard.Library", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Library.Find", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.LibraryOfBabel.Search", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Library.Search", 0, "" },
        { SYMBOL, "conformance.standard.Book", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.title", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.keeper", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.Binding", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.CLOTH", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.Page.Line.text", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Book.Page.folio", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.Language", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.LATIN", 0, "standard.proto" },
        { SYMBOL, "conformance.standard.note", 0, "standard.proto" },
        { SYMBOL, "conformance.Leaf", 0, "kinds.proto" },
        { SYMBOL, "google.protobuf.Timestamp", 0, "google/protobuf/timestamp.proto" },
        { SYMBOL, "grpc.health.v1.Health.Watch", 0, "grpc/health/v1/health.proto" },
        { SYMBOL, "conformance", 0, "" },
        { SYMBOL, "conformance.standard", 0, "" },
        { SYMBOL, "conformance.standard.", 0, "" },
        { SYMBOL, "conformance.standard.Boo", 0, "" },
        { SYMBOL, "conformance.standard.Book.", 0, "" },
        { SYMBOL, "conformance.standard.Book.Page.Line.text.x", 0, "" },
        { SYMBOL, "Book", 0, "" },
        { SYMBOL, ".", 0, "" },
        { SYMBOL, "", 0, "" },
        { EXTENSION, "conformance.standard.Book", 101, "standard.proto" },
        { EXTENSION, "conformance.standard.Book", 150, "standard.proto" },
        { EXTENSION, "conformance.standard.Book", 1, "" },
        { EXTENSION, "conformance.standard.Page", 101, "" },
        { EXTENSION, "", -1, "" },
};

static void test_lookups(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *stream = ask_open(channel);
        for (size_t i = 0; i < sizeof lookups / sizeof *lookups; i++)
                expect_file(ask(stream, lookups[i].kind, lookups[i].text, lookups[i].number), lookups[i].file);
        const answer *message = ask(stream, NUMBERS, "conformance.standard.Book", 0);
        const Grpc__Reflection__V1__ExtensionNumberResponse *numbers = message->all_extension_numbers_response;
        assert_string_equal(numbers->base_type_name, "conformance.standard.Book");
        assert_int_equal(numbers->n_extension_number, 3);
        assert_int_equal(numbers->extension_number[0], 101);
        assert_int_equal(numbers->extension_number[1], 102);
        assert_int_equal(numbers->extension_number[2], 150);
        numbers = ask(stream, NUMBERS, "conformance.Leaf", 0)->all_extension_numbers_response;
        assert_int_equal(numbers->n_extension_number, 0);
        expect_refusal(ask(stream, NUMBERS, "conformance.standard.Language", 0), BATON_NOT_FOUND, "no such message");
        expect_refusal(ask(stream, NUMBERS, "conformance.standard.Library", 0), BATON_NOT_FOUND, "Library: no such");
        baton_stream_close(stream);
        baton_channel_close(channel);
        end(&peer, health);
}

static void test_odd_questions(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_stream *stream = ask_open(channel);
        expect_refusal(ask(stream, NOTHING, NULL, 0), BATON_UNIMPLEMENTED, "no question");
        assert_int_equal(put(stream, EXTENSION, NULL, 0), -ENODATA);
        assert_int_equal(put(stream, SYMBOL, NULL, 0), -ENODATA);
        size_t size = 100000;
        char *text = malloc(2 * size + 1);
        for (size_t i = 0; i < size; i++)
                memcpy(text + 2 * i, "\xc3\xa9", 3); /* e with an accent */
        expect_refusal(ask(stream, SYMBOL, text, 0), BATON_NOT_FOUND, "not declared");
        expect_refusal(ask(stream, FILE_NAMED, text + 1 + 1, 0), BATON_NOT_FOUND, "no service");
        text[2 * size - 1] = '\0'; /* within a character */
        text[1] = 'x';
        assert_true(put(stream, SYMBOL, text + 1, 0) < 0);
        assert_int_equal(ask(stream, SERVICES, "what?", 0)->list_services_response->n_service, 6);
        free(text);
        baton_stream_close(stream);
        baton_channel_close(channel);
        end(&peer, health);
}

static void *ask_much(void *stream)
{
        for (int i = 0; i < QUESTIONS; i++)
                if (put(stream, i % 2 ? FILE_NAMED : SERVICES, "standard.proto", i) < 0)
                        return stream;
        return baton_stream_writes_done(stream) < 0 ? stream : NULL;
}

/* A client that asks faster than it reads is held back, and nobody else is; all is answered, in order. */
static void test_back_pressure(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = serve(&peer, &(baton_server_options){ .stream_window_bytes = 4096 });
        baton_channel *channel = peer_open(&peer, &(baton_channel_options){ .stream_window_bytes = 4096 });
        baton_channel *other = peer_open(&peer, NULL);
        baton_stream *stream = ask_open(channel), *left = ask_open(channel);
        pthread_t thread;
        void *failed;
        assert_int_equal(pthread_create(&thread, NULL, ask_much, stream), 0);
        pause_ms(20);
        expect_alive(other);
        assert_int_equal(put(left, SERVICES, "", 0), 0);
        for (int i = 0; i < QUESTIONS; i++)
                assert_int_equal(atoi(get(stream)->valid_host), i);
        pthread_join(thread, &failed);
        assert_null(failed);
        expect_status(grpc_reflection_v1_server_reflection_server_reflection_info_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        peer_end(&peer); /* with a stream open */
        baton_stream_close(left);
        baton_channel_close(channel);
        baton_channel_close(other);
        baton_health_free(health);
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
                cmocka_unit_test(test_list_of_services),
                cmocka_unit_test(test_rebuild),
                cmocka_unit_test(test_older_version),
                cmocka_unit_test(test_lookups),
                cmocka_unit_test(test_odd_questions),
                cmocka_unit_test(test_back_pressure),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
