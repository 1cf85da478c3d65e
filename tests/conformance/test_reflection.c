/* The standard services: server reflection. */
#include "grpc/reflection/v1/reflection.baton.h"
#include "grpc/reflection/v1alpha/reflection.baton.h"
#include "standard_server.h"
#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;
typedef Google__Protobuf__FileDescriptorProto file_proto;

enum { QUESTIONS = 2000 };

/* Of the answers' kinds, those that are asked about often. */
static const int told_file =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
static const int told_error = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;

static const baton_call_options patient = { .timeout_ms = 20000 };

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
        baton_health *health = standard_start(&peer, NULL);
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
        standard_end(&peer, health);
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
        baton_health *health = standard_start(&peer, &(baton_server_options){ .handler_threads = 2 });
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
        standard_end(&peer, health);
}

/* The same, asked by the older name. */
static void test_older_version(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, NULL);
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
        standard_end(&peer, health);
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
        baton_health *health = standard_start(&peer, NULL);
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
        standard_end(&peer, health);
}

static void test_odd_questions(void **state)
{
        (void)state;
        struct peer peer;
        baton_health *health = standard_start(&peer, NULL);
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
        text[1] = 'x'; /* shortened, this one would end within a character */
        expect_refusal(ask(stream, FILE_NAMED, text + 1, 0), BATON_NOT_FOUND, "no service");
        text[2 * size - 1] = '\0'; /* as this one does */
        assert_true(put(stream, SYMBOL, text + 1, 0) < 0);
        assert_int_equal(ask(stream, SERVICES, "what?", 0)->list_services_response->n_service, 6);
        free(text);
        baton_stream_close(stream);
        baton_channel_close(channel);
        standard_end(&peer, health);
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
        baton_health *health = standard_start(&peer, &(baton_server_options){ .stream_window_bytes = 4096 });
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
                cmocka_unit_test(test_list_of_services), cmocka_unit_test(test_rebuild),
                cmocka_unit_test(test_older_version),    cmocka_unit_test(test_lookups),
                cmocka_unit_test(test_odd_questions),    cmocka_unit_test(test_back_pressure),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
