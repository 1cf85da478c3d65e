/* What the generated functions hand to the runtime and back, with the runtime's ends replaced (ld --wrap), and the files that
 * reflection serves. */
#include "dir/relay.baton.h"
#include "google/protobuf/descriptor.baton.h"
#include "nothing.baton.h"
#include "reflection.baton.h"
#include "streams.baton.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

/* ---- the runtime's ends ----------------------------------------------------------------------------------- */

/* Of the last call. */
static struct {
        const char *function;
        const void *object; /* channel, stream or call */
        const void *loop;
        const baton_method *method;
        const void *message;
        const void *options;
        baton_stream_ready ready;
        void *context;
        bool out; /* whether there was a place for a message */
} seen;

/* Objects that are only passed through. */
static char a_channel, a_loop, a_stream, a_call, a_context;
#define CHANNEL ((baton_channel *)(void *)&a_channel)
#define LOOP ((baton_loop *)(void *)&a_loop)
#define STREAM ((baton_stream *)(void *)&a_stream)
#define CALL ((baton_call *)(void *)&a_call)

static Streams__Item item = STREAMS__ITEM__INIT;
static Streams__Sum sum = STREAMS__SUM__INIT;
static const baton_call_options options = { .timeout_ms = 1 };
static int answer;                         /* what the ends return */
static const ProtobufCMessage *to_receive; /* what they deliver */

static int deliver(const char *function, const void *object, const ProtobufCMessage **message)
{
        seen.function = function;
        seen.object = object;
        seen.out = message;
        if (message && to_receive)
                *message = to_receive;
        return answer;
}

static int take(const char *function, const void *object, const void *message)
{
        seen.function = function;
        seen.object = object;
        seen.message = message;
        return answer;
}

int __wrap_baton_oneway(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                        const baton_call_options *call_options);
int __wrap_baton_oneway(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                        const baton_call_options *call_options)
{
        seen.method = method;
        seen.options = call_options;
        return take("oneway", channel, request);
}

baton_stream *__wrap_baton_stream_open(baton_channel *channel, baton_loop *loop, const baton_method *method,
                                       const ProtobufCMessage *request, const baton_call_options *call_options,
                                       baton_stream_ready ready, void *context);
baton_stream *__wrap_baton_stream_open(baton_channel *channel, baton_loop *loop, const baton_method *method,
                                       const ProtobufCMessage *request, const baton_call_options *call_options,
                                       baton_stream_ready ready, void *context)
{
        seen.loop = loop;
        seen.method = method;
        seen.options = call_options;
        seen.ready = ready;
        seen.context = context;
        take("open", channel, request);
        return answer ? NULL : STREAM;
}

int __wrap_baton_stream_write(baton_stream *stream, const ProtobufCMessage *message);
int __wrap_baton_stream_write(baton_stream *stream, const ProtobufCMessage *message)
{
        return take("write", stream, message);
}

int __wrap_baton_stream_writes_done(baton_stream *stream);
int __wrap_baton_stream_writes_done(baton_stream *stream)
{
        return take("writes_done", stream, NULL);
}

int __wrap_baton_stream_read(baton_stream *stream, const ProtobufCMessage **message);
int __wrap_baton_stream_read(baton_stream *stream, const ProtobufCMessage **message)
{
        return deliver("read", stream, message);
}

baton_status __wrap_baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply);
baton_status __wrap_baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply)
{
        return (baton_status){ .code = (baton_code)deliver("finish", stream, reply), .message = "" };
}

int __wrap_baton_call_recv(baton_call *call, const ProtobufCMessage **message);
int __wrap_baton_call_recv(baton_call *call, const ProtobufCMessage **message)
{
        return deliver("recv", call, message);
}

int __wrap_baton_call_send(baton_call *call, const ProtobufCMessage *message);
int __wrap_baton_call_send(baton_call *call, const ProtobufCMessage *message)
{
        return take("send", call, message);
}

int __wrap_baton_call_end(baton_call *call);
int __wrap_baton_call_end(baton_call *call)
{
        return take("end", call, NULL);
}

int __wrap_baton_call_reply(baton_call *call, const ProtobufCMessage *message);
int __wrap_baton_call_reply(baton_call *call, const ProtobufCMessage *message)
{
        return take("reply", call, message);
}

static int reset(void **state)
{
        (void)state;
        memset(&seen, 0, sizeof seen);
        answer = 0;
        to_receive = NULL;
        return 0;
}

static void expect_seen(const char *function, const void *object, const void *message)
{
        assert_string_equal(seen.function, function);
        assert_ptr_equal(seen.object, object);
        assert_ptr_equal(seen.message, message);
        memset(&seen, 0, sizeof seen);
}

/* ---- tables ----------------------------------------------------------------------------------------------- */

static const baton_method *method_of(const char *path)
{
        for (size_t i = 0; i < mixed_service.n_methods; i++) {
                if (strcmp(mixed_service.methods[i].path, path) == 0)
                        return &mixed_service.methods[i];
        }
        fail_msg("no method %s", path);
        return NULL;
}

static const char *handled;

static void on_upload(baton_call *call, void *context)
{
        assert_ptr_equal(call, CALL);
        assert_ptr_equal(context, &a_context);
        handled = "upload";
}

static void on_get(baton_call *call, const Streams__Item *request, void *context)
{
        assert_ptr_equal(call, CALL);
        assert_ptr_equal(request, &item);
        assert_ptr_equal(context, &a_context);
        handled = "get";
}

static void on_watch(baton_call *call, const Streams__Sum *request, void *context)
{
        assert_ptr_equal(call, CALL);
        assert_ptr_equal(request, &sum);
        assert_ptr_equal(context, &a_context);
        handled = "watch";
}

static void on_talk(baton_call *call, void *context)
{
        assert_ptr_equal(call, CALL);
        assert_ptr_equal(context, &a_context);
        handled = "talk";
}

static void every_method_reaches_its_slot(void **state)
{
        (void)state;
        const mixed_handlers all = { .upload = on_upload, .get = on_get, .watch = on_watch, .talk = on_talk };
        const mixed_handlers none = { 0 };
        const struct {
                const char *path;
                const char *slot;
                const ProtobufCMessage *request;
                uint32_t flags;
        } methods[] = {
                { "/streams.Mixed/Upload", "upload", NULL, BATON_CLIENT_STREAMING },
                { "/streams.Mixed/Get", "get", &item.base, BATON_DEPRECATED },
                { "/streams.Mixed/Watch", "watch", &sum.base, BATON_SERVER_STREAMING | BATON_DEPRECATED },
                { "/streams.Mixed/Talk", "talk", NULL, BATON_CLIENT_STREAMING | BATON_SERVER_STREAMING },
        };
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                const baton_method *method = &mixed_service.methods[i];
                assert_string_equal(method->path, methods[i].path);
                assert_int_equal(method->flags, methods[i].flags);
                assert_int_equal(!method->complete, strcmp(methods[i].slot, "get") != 0);
                handled = "";
                assert_true(method->dispatch(&all, &a_context, CALL, methods[i].request));
                assert_string_equal(handled, methods[i].slot);
                assert_false(method->dispatch(&none, &a_context, CALL, methods[i].request));
        }
}

/* ---- stubs ------------------------------------------------------------------------------------------------ */

static void on_ready(baton_stream *stream, void *context)
{
        (void)stream;
        (void)context;
}

static void expect_opened(const baton_stream *stream, const char *path, const void *request, bool async)
{
        assert_ptr_equal(stream, STREAM);
        assert_ptr_equal(seen.method, method_of(path));
        assert_ptr_equal(seen.options, &options);
        assert_ptr_equal(seen.loop, async ? LOOP : NULL);
        assert_true(seen.ready == (async ? on_ready : NULL));
        assert_ptr_equal(seen.context, async ? &a_context : NULL);
        expect_seen("open", CHANNEL, request);
}

static void streams_open(void **state)
{
        (void)state;
        expect_opened(mixed_upload_open(CHANNEL, &options), "/streams.Mixed/Upload", NULL, false);
        expect_opened(mixed_watch_open(CHANNEL, &sum, &options), "/streams.Mixed/Watch", &sum, false);
        expect_opened(mixed_talk_open(CHANNEL, &options), "/streams.Mixed/Talk", NULL, false);
        expect_opened(mixed_upload_open_async(CHANNEL, LOOP, &options, on_ready, &a_context), "/streams.Mixed/Upload",
                      NULL, true);
        expect_opened(mixed_watch_open_async(CHANNEL, LOOP, &sum, &options, on_ready, &a_context),
                      "/streams.Mixed/Watch", &sum, true);
        expect_opened(mixed_talk_open_async(CHANNEL, LOOP, &options, on_ready, &a_context), "/streams.Mixed/Talk", NULL,
                      true);
        answer = -ENOMEM;
        assert_null(mixed_talk_open(CHANNEL, &options));
}

static void messages_go_out(void **state)
{
        (void)state;
        answer = -EAGAIN;
        assert_int_equal(mixed_get_oneway(CHANNEL, &item, &options), -EAGAIN);
        assert_ptr_equal(seen.method, method_of("/streams.Mixed/Get"));
        assert_ptr_equal(seen.options, &options);
        expect_seen("oneway", CHANNEL, &item);
        assert_int_equal(mixed_upload_write(STREAM, &item), -EAGAIN);
        expect_seen("write", STREAM, &item);
        assert_int_equal(mixed_upload_writes_done(STREAM), -EAGAIN);
        expect_seen("writes_done", STREAM, NULL);
        assert_int_equal(mixed_watch_send(CALL, &item), -EAGAIN);
        expect_seen("send", CALL, &item);
        assert_int_equal(mixed_talk_end(CALL), -EAGAIN);
        expect_seen("end", CALL, NULL);
        assert_int_equal(mixed_upload_reply(CALL, &sum), -EAGAIN);
        expect_seen("reply", CALL, &sum);
}

/* Each with a message, without one, and without a place for one. */
static void messages_come_in(void **state)
{
        (void)state;
        const Streams__Item *in = &item;
        const Streams__Sum *out = &sum;
        assert_int_equal(mixed_watch_read(STREAM, &in), 0);
        assert_null(in);
        assert_int_equal(mixed_talk_recv(CALL, &in), 0);
        assert_null(in);
        assert_int_equal(mixed_upload_finish(STREAM, &out).code, 0);
        assert_null(out);

        answer = 1;
        to_receive = &item.base;
        assert_int_equal(mixed_watch_read(STREAM, &in), 1);
        expect_seen("read", STREAM, NULL);
        assert_ptr_equal(in, &item);
        in = NULL;
        assert_int_equal(mixed_upload_recv(CALL, &in), 1);
        expect_seen("recv", CALL, NULL);
        assert_ptr_equal(in, &item);
        to_receive = &sum.base;
        assert_int_equal(mixed_upload_finish(STREAM, &out).code, 1);
        expect_seen("finish", STREAM, NULL);
        assert_ptr_equal(out, &sum);

        answer = -EINVAL;
        assert_int_equal(mixed_watch_read(STREAM, NULL), -EINVAL);
        assert_false(seen.out);
        assert_int_equal(mixed_upload_recv(CALL, NULL), -EINVAL);
        assert_false(seen.out);
        mixed_upload_finish(STREAM, NULL);
        assert_false(seen.out);
        mixed_talk_finish(STREAM);
        assert_false(seen.out);
}

/* ---- files ------------------------------------------------------------------------------------------------ */

/* That the descriptor is the file's, and that imports are complete and in its order, all the way down. Returns how many files
 * were seen. */
static size_t check_file(const baton_file *file)
{
        size_t n = 1;
        Google__Protobuf__FileDescriptorProto *proto =
                google__protobuf__file_descriptor_proto__unpack(NULL, file->descriptor_size, file->descriptor);
        assert_non_null(proto);
        assert_string_equal(proto->name, file->name);
        assert_null(proto->source_code_info);
        assert_int_equal(proto->n_dependency, file->n_imports);
        for (size_t i = 0; i < file->n_imports; i++) {
                assert_string_equal(file->imports[i]->name, proto->dependency[i]);
                n += check_file(file->imports[i]);
        }
        google__protobuf__file_descriptor_proto__free_unpacked(proto, NULL);
        return n;
}

static void files_are_complete(void **state)
{
        (void)state;
        /* Itself; relay and common-types; nothing; descriptor; protobuf-c, which has descriptor again. */
        assert_int_equal(check_file(&idl_reflection__file), 7);
        assert_ptr_equal(idl_reflection__file.imports[0], &idl_dir_2frelay__file);
        assert_ptr_equal(idl_reflection__file.imports[2], &idl_google_2fprotobuf_2fdescriptor__file);
        assert_int_equal(check_file(&idl_streams__file), 1);
        assert_ptr_equal(mixed_service.file, &idl_streams__file);
        assert_ptr_equal(nothing_service.file, &idl_streams__file);
}

/* Of options that the compiler does not know. */
static void files_keep_custom_options(void **state)
{
        (void)state;
        const char note[] = "kept in the descriptor";
        assert_non_null(
                memmem(idl_reflection__file.descriptor, idl_reflection__file.descriptor_size, note, sizeof note - 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(every_method_reaches_its_slot, reset),
                cmocka_unit_test_setup(streams_open, reset),
                cmocka_unit_test_setup(messages_go_out, reset),
                cmocka_unit_test_setup(messages_come_in, reset),
                cmocka_unit_test(files_are_complete),
                cmocka_unit_test(files_keep_custom_options),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
