/* The server's side of perf.Flow: handlers that run on the worker, and are told when to go on. */
#include "flow.h"

#include <cstdint>

namespace perf
{

/* Whether the stream goes on: it waits, and is told of more. Otherwise its hold ends. */
static void keep_or_release(baton_call *call, bool waits)
{
        if (!waits)
                baton_call_release(call);
}

static void start(baton_call *call, void (*ready)(baton_call *call, void *context), void *context = nullptr)
{
        baton_call_retain(call);
        baton_call_on_ready(call, ready, context);
}

/* ---- what comes in ---------------------------------------------------------------------------------------- */

template <typename Message> using Receive = int (*)(baton_call *, const Message **);

/* Takes all there is. Returns what ended it. */
template <typename Message> static int drain(baton_call *call, Receive<Message> receive, std::uint64_t &count)
{
        const Message *message = nullptr;
        int n;
        while ((n = receive(call, &message)) > 0)
                count++;
        return n;
}

template <typename Message, Receive<Message> receive> static void on_arrival(baton_call *call, void *context)
{
        auto &count = *static_cast<std::uint64_t *>(context);
        const int n = drain<Message>(call, receive, count);
        Perf__Small reply = PERF__SMALL__INIT;
        reply.a = count;
        if (n == 0)
                baton_call_reply(call, &reply.base);
        keep_or_release(call, n == -EAGAIN);
}

static void sink(baton_call *call, void *)
{
        start(call, on_arrival<Perf__Small, flow_sink_recv>, baton_call_scratch(call, sizeof(std::uint64_t)));
}

static void blob_sink(baton_call *call, void *)
{
        start(call, on_arrival<Perf__Blob, flow_blob_sink_recv>, baton_call_scratch(call, sizeof(std::uint64_t)));
}

/* ---- what goes out ---------------------------------------------------------------------------------------- */

static void send_small(baton_call *call, void *context)
{
        auto &message = *static_cast<Perf__Small *>(context);
        int error;
        while ((error = flow_source_send(call, &message)) == 0)
                message.f++;
        keep_or_release(call, error == -EAGAIN);
}

static void source(baton_call *call, const Perf__Small *request, void *)
{
        auto *message = static_cast<Perf__Small *>(baton_call_scratch(call, sizeof(Perf__Small)));
        *message = *request; /* whose text lives as long as the call */
        start(call, send_small, message);
}

static void send_blobs(baton_call *call, void *context)
{
        int error;
        while ((error = flow_blob_source_send(call, static_cast<Perf__Blob *>(context))) == 0)
                ;
        keep_or_release(call, error == -EAGAIN);
}

static void blob_source(baton_call *call, const Perf__Blob *request, void *)
{
        auto *message = static_cast<Perf__Blob *>(baton_call_scratch(call, sizeof(Perf__Blob)));
        *message = PERF__BLOB__INIT;
        message->data = { request->data.len, static_cast<std::uint8_t *>(baton_call_alloc(call, request->data.len)) };
        if (!message->data.data) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        start(call, send_blobs, message);
}

/* ---- both ------------------------------------------------------------------------------------------------- */

/* The one that measures has a single message under way, so that there is always room. */
static void answer_all(baton_call *call, void *)
{
        const Perf__Small *message = nullptr;
        int n;
        while ((n = flow_chat_recv(call, &message)) > 0)
                if (flow_chat_send(call, message) < 0)
                        break;
        if (n == 0)
                baton_call_end(call);
        keep_or_release(call, n == -EAGAIN);
}

static void chat(baton_call *call, void *)
{
        start(call, answer_all);
}

int register_flow(baton_server *server)
{
        static const flow_handlers handlers = [] {
                flow_handlers all = {};
                all.sink = sink;
                all.source = source;
                all.blob_sink = blob_sink;
                all.blob_source = blob_source;
                all.chat = chat;
                return all;
        }();
        return flow_register(server, &handlers, nullptr);
}

} // namespace perf
