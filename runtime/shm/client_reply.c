#define _GNU_SOURCE
#include "base/error.h"
#include "base/fork.h"
#include "base/utf8.h"
#include "shm/client.h"
#include <errno.h>
#include <string.h>

/* ---- outcomes --------------------------------------------------------------------------------------------- */

void call_fail(struct client_call *call, baton_code code, bool maybe_executed)
{
        call->message = NULL;
        call->code = code;
        call->maybe_executed = maybe_executed;
}

void call_fail_send(struct client_call *call, int error)
{
        switch (error) {
        case -EILSEQ:
        case -ENODATA:
        case -ELOOP:
        case -EINVAL:
        case -EBADMSG:
                call_fail(call, BATON_INVALID_ARGUMENT, false);
                return;
        case -EMSGSIZE:
        case -ENOBUFS:
        case -ENOMEM:
                call_fail(call, BATON_RESOURCE_EXHAUSTED, false);
                return;
        default:
                call_fail(call, BATON_UNAVAILABLE, false);
        }
}

static void fail_gone(struct connection *connection, struct client_call *call, bool maybe_executed)
{
        bool silent = atomic_load_explicit(&connection->dead, memory_order_acquire) == SILENT;
        error_set(-EPIPE, "the server at %s %s; %s", connection->path.sun_path,
                  silent ? "gives no sign of life: it hangs, or is stopped (see keepalive_ms)" : "is gone",
                  maybe_executed ? "it may have executed the call"
                                 : "it did not begin the call, which can be tried again");
        call_fail(call, BATON_UNAVAILABLE, maybe_executed);
}

void call_fail_dead(struct connection *connection, struct client_call *call, bool taken)
{
        /* A server that was given up, rather than gone, may take what is in the ring a moment later. */
        bool killed = atomic_load_explicit(&connection->dead, memory_order_acquire) != HUNG_UP;
        fail_gone(connection, call, taken || killed);
}

void call_fail_unsent(struct connection *connection, struct client_call *call)
{
        fail_gone(connection, call, false);
}

void call_fail_unknown(struct connection *connection, struct client_call *call)
{
        error_set(-ENOSYS,
                  "the server at %s has no method %s; is the service registered there, and the server up to "
                  "date?",
                  connection->path.sun_path, call->method->path);
        call_fail(call, BATON_UNIMPLEMENTED, false);
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

int call_send(struct lane_ends *ends, const struct binding *binding, struct client_call *call, uint64_t number)
{
        struct shm_record header = { .method = (uint16_t)binding->number,
                                     .kind = SHM_REQUEST,
                                     .flags = (binding->graph_reply ? SHM_GRAPH_REPLY : 0) |
                                              (call->reply ? 0 : SHM_ONEWAY),
                                     .call = number,
                                     .deadline_ns = call->deadline_ns };
        struct message_form form = { .type = call->method->input,
                                     .graph = binding->graph_request,
                                     .max_bytes = call->max_request_bytes,
                                     .metadata = call->metadata,
                                     .traffic = &call->traffic };
        if (!call->request) /* the client streams */
                return message_send_text(ends, &header, call->metadata, "", 0);
        return message_send(ends, &header, &form, call->request);
}

/* ---- receiving -------------------------------------------------------------------------------------------- */

static int locate(struct connection *connection, const struct ring_record *record, struct message_body *body)
{
        int error = message_locate(&connection->link, record, body);
        if (error != -EAGAIN)
                return error;
        /* The segment was announced before the record was published, so the message is there to be read. */
        connection_drain(connection);
        error = message_locate(&connection->link, record, body);
        return error == -EAGAIN ? error_set(-EPROTO, "the server refers to a heap segment that it did not send")
                                : error;
}

static void receive_failure(const struct ring_record *record, const struct message_body *body, struct client_call *call)
{
        call_fail(call, record->method <= BATON_UNAUTHENTICATED ? (baton_code)record->method : BATON_UNKNOWN,
                  !(record->flags & SHM_NOT_RUN));
        size_t size = body->size < 4096 ? body->size : 4096;
        char *text = baton_arena_alloc(&call->reply->arena, size + 1);
        if (!text)
                return;
        memcpy(text, body->at, size);
        text[size] = '\0';
        if (!*text)
                call->reply->text = "(the server gave no reason)";
        else
                call->reply->text = utf8_valid(text, size) ? text : "(the server's message is not valid UTF-8)";
}

static void give_back(void *lender, uint32_t loan)
{
        struct connection *connection = lender;
        if (connection->fork_generation == fork_generation()) /* a forked child has not got the region */
                link_return_loan(&connection->link, loan);
        shm_unref(connection);
}

void call_borrow(struct connection *connection, struct reply *reply, int64_t loan)
{
        if (loan == NO_LOAN)
                return;
        reply->give_back = give_back;
        reply->lender = shm_ref(connection);
        reply->loan = (uint32_t)loan;
}

static void receive_message(struct connection *connection, const struct ring_record *record, struct message_body *body,
                            struct client_call *call)
{
        struct reply *reply = call->reply;
        struct message_form form = { .type = call->method->output,
                                     .graph = record->flags & SHM_GRAPH,
                                     .max_bytes = call->max_reply_bytes };
        ProtobufCMessage *message = held_new_message(&reply->held, &reply->arena, form.type->descriptor);
        int error = message ? message_decode(&connection->link, body, &form, &reply->arena, message)
                            : error_set(-ENOMEM, "no memory to receive a %s", form.type->descriptor->name);
        if (error < 0) {
                bool room = error == -ENOMEM || error == -EMSGSIZE;
                call_fail(call, room ? BATON_RESOURCE_EXHAUSTED : BATON_INTERNAL, true);
                return;
        }
        call_borrow(connection, reply, body->loan);
        body->loan = NO_LOAN;
        call->message = message;
        call->code = BATON_OK;
        call->maybe_executed = true;
}

/* Metadata that is malformed breaks the protocol; what is too much fails the call. */
static int receive_metadata(struct connection *connection, const struct message_body *body, struct client_call *call,
                            baton_metadata *metadata)
{
        int error = message_metadata(body, connection->options.max_metadata_bytes, &call->reply->arena, metadata);
        if (error == -EMSGSIZE || error == -ENOMEM) {
                call_fail(call, BATON_RESOURCE_EXHAUSTED, true);
                reply_keep_error(call->reply);
        }
        return error;
}

static int receive_outcome(struct connection *connection, const struct ring_record *record, struct message_body *body,
                           struct client_call *call)
{
        int error = receive_metadata(connection, body, call, &call->reply->trailers);
        if (error < 0)
                return error == -EPROTO ? error : 0;
        if (record->method != BATON_OK) {
                receive_failure(record, body, call);
        } else if (call->method->flags & BATON_SERVER_STREAMING) {
                call->code = BATON_OK;
                call->maybe_executed = true;
        } else {
                receive_message(connection, record, body, call);
        }
        return 0;
}

int call_receive(struct connection *connection, struct lane_ends *ends, const struct ring_record *record,
                 struct client_call *call)
{
        struct message_body body;
        if (record->kind != SHM_REPLY)
                return error_set(-EPROTO, "the server sent a record that is no reply");
        int error = locate(connection, record, &body);
        if (error < 0)
                return error;
        if (call)
                error = receive_outcome(connection, record, &body, call);
        message_return(&connection->link, &body);
        if (error >= 0)
                ring_advance(&ends->in, record);
        return error;
}

int call_receive_headers(struct connection *connection, struct lane_ends *ends, const struct ring_record *record,
                         struct client_call *call)
{
        struct message_body body;
        int error = locate(connection, record, &body);
        if (error < 0)
                return error;
        if (call)
                error = message_metadata(&body, connection->options.max_metadata_bytes, &call->reply->arena,
                                         &call->reply->headers);
        message_return(&connection->link, &body);
        if (error == -EPROTO)
                return error;
        if (error < 0) /* the call goes on without: it can do no better */
                log_line(BATON_LOG_WARNING, "%s: the server's headers are dropped: %s", call->method->path,
                         baton_error());
        ring_advance(&ends->in, record);
        return 0;
}

int call_drop(struct connection *connection, struct lane_ends *ends, const struct ring_record *record)
{
        return call_receive_headers(connection, ends, record, NULL);
}
