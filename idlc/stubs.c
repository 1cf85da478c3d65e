#include "stubs.h"
#include "emit.h"

#include <string.h>

enum {
        STREAMS_IN = METHOD_CLIENT_STREAMING | METHOD_BIDIRECTIONAL,
        STREAMS_OUT = METHOD_SERVER_STREAMING | METHOD_BIDIRECTIONAL,
        STREAMS = STREAMS_IN | STREAMS_OUT,
        REPLIES = METHOD_UNARY | METHOD_CLIENT_STREAMING,
};

/* Parameters that occur often. */
static const char channel[] = "baton_channel *channel";
static const char loop[] = "baton_loop *loop";
static const char stream[] = "baton_stream *stream";
static const char call[] = "baton_call *call";
static const char request[] = "const $I *request";
static const char options[] = "const baton_call_options *options";
static const char ready[] = "baton_stream_ready ready";
static const char context[] = "void *context";

static const struct stub stubs[] = {
        /* ---- client, unary */
        {
                METHOD_UNARY,
                "",
                "baton_status $N",
                { channel, request, "const $O **reply", options },
                "Client: makes the call and waits for its outcome: BATON_OK, or another gRPC code and a text. "
                "*reply is the reply, on failure an empty message: release it with baton_release in both cases. "
                "reply may be NULL. Any thread. In full: baton_unary in baton/service.h.",
                "        const ProtobufCMessage *message = NULL;\n"
                "        baton_status status = baton_unary(channel, $M, (const ProtobufCMessage *)request,\n"
                "                                          reply ? &message : NULL, options);\n\n"
                "        if (reply)\n"
                "                *reply = (const $O *)message;\n"
                "        return status;\n",
        },
        {
                METHOD_UNARY,
                "_done",
                "typedef void (*$N)",
                { "const baton_status *status", "const $O *reply", context },
                "Client: what $S_async calls with the outcome. reply and status live until it returns; baton_retain "
                "keeps the reply, which is an empty message on failure.",
                NULL,
        },
        {
                METHOD_UNARY,
                "_async",
                "int $N",
                { channel, loop, request, options, "$S_done done", context },
                "Client: starts the call and returns 0; done runs once, on the loop. Or a negative errno, and done "
                "never runs: -EAGAIN while too many calls are on their way (dispatch the loop, try again), -EINVAL, "
                "-EMSGSIZE, -ENOMEM, -ECHILD; baton_error() has the reason. Any thread. In full: baton_unary_async "
                "in baton/service.h.",
                "        return baton_unary_async(channel, loop, $M, (const ProtobufCMessage *)request, options,\n"
                "                                 (baton_callback)done, context);\n",
        },
        {
                METHOD_UNARY,
                "_oneway",
                "int $N",
                { channel, request, options },
                "Client: makes the call without waiting for its outcome, which is not told. Returns 0 when it is on "
                "its way, or a negative errno when it certainly was not sent: -EPIPE without a server, -ETIMEDOUT, "
                "-ECANCELED, -EINVAL, -EMSGSIZE, -ENOBUFS, -ENOMEM, -ECHILD. Any thread. In full: baton_oneway in "
                "baton/service.h; see also baton_channel_flush.",
                "        return baton_oneway(channel, $M, (const ProtobufCMessage *)request, options);\n",
        },

        /* ---- client, streams */
        {
                METHOD_SERVER_STREAMING,
                "_open",
                "baton_stream *$N",
                { channel, request, options },
                "Client: starts the call, with its request, as a stream whose functions wait. NULL, with the reason "
                "in baton_error(), for a local failure: a wrong argument, no memory, too many calls; everything "
                "else $S_finish tells. Free it with baton_stream_close; baton_stream_cancel ends the call. Any "
                "thread. In full: baton/stream.h, and baton_stream_open in baton/service.h.",
                "        return baton_stream_open(channel, NULL, $M, (const ProtobufCMessage *)request, options, "
                "NULL,\n"
                "                                 NULL);\n",
        },
        {
                STREAMS_IN,
                "_open",
                "baton_stream *$N",
                { channel, options },
                "Client: starts the call as a stream whose functions wait. NULL, with the reason in baton_error(), "
                "for a local failure: a wrong argument, no memory, too many calls; everything else $S_finish tells. "
                "Free it with baton_stream_close; baton_stream_cancel ends the call. Any thread. In full: "
                "baton/stream.h, and baton_stream_open in baton/service.h.",
                "        return baton_stream_open(channel, NULL, $M, NULL, options, NULL, NULL);\n",
        },
        {
                METHOD_SERVER_STREAMING,
                "_open_async",
                "baton_stream *$N",
                { channel, loop, request, options, ready, context },
                "Client: as $S_open, but asynchronous: the stream's functions return -EAGAIN where they would "
                "wait, and ready runs on the loop when it is worth trying again.",
                "        return baton_stream_open(channel, loop, $M, (const ProtobufCMessage *)request, options, "
                "ready,\n"
                "                                 context);\n",
        },
        {
                STREAMS_IN,
                "_open_async",
                "baton_stream *$N",
                { channel, loop, options, ready, context },
                "Client: as $S_open, but asynchronous: the stream's functions return -EAGAIN where they would "
                "wait, and ready runs on the loop when it is worth trying again.",
                "        return baton_stream_open(channel, loop, $M, NULL, options, ready, context);\n",
        },
        {
                STREAMS_IN,
                "_write",
                "int $N",
                { stream, "const $I *message" },
                "Client: sends a message. 0; -EAGAIN (asynchronous only): no room now; -EPIPE: the call has ended, "
                "and $S_finish says how; -ESHUTDOWN: after the half-close; -EINVAL, -EILSEQ, -ENODATA, -EMSGSIZE "
                "and others: this message cannot be sent. In full: baton_stream_write in baton/stream.h.",
                "        return baton_stream_write(stream, (const ProtobufCMessage *)message);\n",
        },
        {
                STREAMS_IN,
                "_writes_done",
                "int $N",
                { stream },
                "Client: half-closes: no more messages follow. 0; -ESHUTDOWN the second time; -EPIPE: the call has "
                "ended. Never waits. In full: baton_stream_writes_done in baton/stream.h.",
                "        return baton_stream_writes_done(stream);\n",
        },
        {
                STREAMS_OUT,
                "_read",
                "int $N",
                { stream, "const $O **message" },
                "Client: the server's next message. 1: *message lives until the next read or close, longer by "
                "baton_retain; 0: no more will come, and $S_finish has the outcome; -EAGAIN (asynchronous only): "
                "none yet; -EINVAL. *message is NULL where there is none. In full: baton_stream_read in "
                "baton/stream.h.",
                "        const ProtobufCMessage *next = NULL;\n"
                "        int r = baton_stream_read(stream, message ? &next : NULL);\n\n"
                "        if (message)\n"
                "                *message = (const $O *)next;\n"
                "        return r;\n",
        },
        {
                METHOD_CLIENT_STREAMING,
                "_finish",
                "baton_status $N",
                { stream, "const $O **reply" },
                "Client: half-closes, waits until the server ends the call (an asynchronous stream does not wait, "
                "but cancels), and returns the outcome: BATON_OK, or another gRPC code and a text. *reply is the "
                "reply, on failure an empty message; reply may be NULL. It and the texts live until close. "
                "In full: baton_stream_finish in baton/stream.h.",
                "        const ProtobufCMessage *message = NULL;\n"
                "        baton_status status = baton_stream_finish(stream, reply ? &message : NULL);\n\n"
                "        if (reply)\n"
                "                *reply = (const $O *)message;\n"
                "        return status;\n",
        },
        {
                STREAMS_OUT,
                "_finish",
                "baton_status $N",
                { stream },
                "Client: drops what was not read, waits until the server ends the call (an asynchronous stream does "
                "not wait, but cancels), and returns the outcome: BATON_OK, or another gRPC code and a text, which "
                "lives until close. In full: baton_stream_finish in baton/stream.h.",
                "        return baton_stream_finish(stream, NULL);\n",
        },

        /* ---- server */
        {
                STREAMS_IN,
                "_recv",
                "int $N",
                { call, "const $I **message" },
                "Server: the client's next message. 1: *message lives until the next recv or the call's end, longer "
                "by baton_retain; 0: the client has sent all; -EAGAIN: none yet, on a thread that must not wait "
                "(see baton_call_on_ready); -ECANCELED; -EALREADY: answered before; -EBADMSG; -EINVAL. *message is "
                "NULL where there is none. In full: baton_call_recv in baton/call.h.",
                "        const ProtobufCMessage *next = NULL;\n"
                "        int r = baton_call_recv(call, message ? &next : NULL);\n\n"
                "        if (message)\n"
                "                *message = (const $I *)next;\n"
                "        return r;\n",
        },
        {
                STREAMS_OUT,
                "_send",
                "int $N",
                { call, "const $O *message" },
                "Server: sends a message. 0; -EAGAIN: no room now, on a thread that must not wait (see "
                "baton_call_on_ready); -ECANCELED; -EALREADY: answered before; -EINVAL, -EBADMSG, -EMSGSIZE, "
                "-ENOBUFS: this message cannot be sent. In full: baton_call_send in baton/call.h.",
                "        return baton_call_send(call, (const ProtobufCMessage *)message);\n",
        },
        {
                STREAMS_OUT,
                "_end",
                "int $N",
                { call },
                "Server: ends the call with BATON_OK; baton_call_fail ends it with another code. 0; -EALREADY; "
                "-EPIPE: the client is gone; -EINVAL. Any thread. In full: baton_call_end in baton/call.h.",
                "        return baton_call_end(call);\n",
        },
        {
                REPLIES,
                "_new_reply",
                "$O *$N",
                { call },
                "Server: an empty reply that lives as long as the call; NULL when out of memory.",
                "        return ($O *)baton_call_new_reply(call);\n",
        },
        {
                REPLIES,
                "_reply",
                "int $N",
                { call, "const $O *reply" },
                "Server: ends the call with BATON_OK and this reply, now or later (see baton_call_retain); "
                "baton_call_fail ends it with another code. 0; -EALREADY; -EPIPE: the client is gone; -EINVAL; "
                "-EBADMSG, -EMSGSIZE, -ENOBUFS: the reply cannot be sent, and the call failed. Any thread. In full: "
                "baton_call_reply in baton/call.h.",
                "        return baton_call_reply(call, (const ProtobufCMessage *)reply);\n",
        },
};

const struct stub *stubs_of_methods(size_t *n)
{
        *n = sizeof stubs / sizeof *stubs;
        return stubs;
}

static void fill_in(struct text *text, char placeholder, const struct stub *stub, const struct method *method)
{
        const struct service *service = method->service;
        if (placeholder == 'N')
                text_printf(text, "%s%s", method->stem, stub->suffix);
        else if (placeholder == 'S')
                text_puts(text, method->stem);
        else if (placeholder == 'I')
                text_puts(text, method->input->c_name);
        else if (placeholder == 'O')
                text_puts(text, method->output->c_name);
        else
                text_printf(text, "&methods__%s[%zu]", service->stem, (size_t)(method - service->methods));
}

char *stub_fill(struct arena *arena, const char *template, const struct stub *stub, const struct method *method)
{
        struct text text = { 0 };
        for (const char *at = template; *at;) {
                size_t plain = strcspn(at, "$");
                text_append(&text, at, plain);
                at += plain;
                if (*at) {
                        fill_in(&text, at[1], stub, method);
                        at += 2;
                }
        }
        char *filled = arena_copy(arena, text.data, text.size);
        text_free(&text);
        return filled;
}

void stub_prototype(struct text *text, const struct stub *stub, const struct method *method, struct arena *arena)
{
        const char *parameters[STUB_PARAMETERS_MAX];
        size_t n = 0;
        for (; stub->parameters[n]; n++)
                parameters[n] = stub_fill(arena, stub->parameters[n], stub, method);
        emit_prototype(text, stub_fill(arena, stub->head, stub, method), parameters, n);
}
