/* The client's end of streams, on the lane of a loop. */
#define _GNU_SOURCE
#include "base/error.h"
#include "shm/async_lane.h"
#include <errno.h>
#include <stdlib.h>

static struct stream_end *end_of(struct stream *stream)
{
        return container_of(stream, struct stream_end, stream);
}

/* ---- the client's side of a stream; the lane's lock is held -------------------------------------------------- */

static bool turn(struct stream *stream)
{
        (void)stream;
        return true;
}

static void notify(struct stream *stream)
{
        connection_notify(end_of(stream)->lane->connection, stream->ends);
}

static void wait_for_room(struct stream *stream)
{
        struct async_lane *lane = end_of(stream)->lane;
        if (!list_empty(
                    &stream->waiting)) /* the loop knows: a writer that looks again must not keep it from sleeping */
                return;
        list_append(stream->needs_heap ? &lane->wanting : &lane->waiting, &stream->waiting);
        if (!stream->needs_heap)
                atomic_store_explicit(&lane->waits, true, memory_order_relaxed);
        /* A loop that sleeps did not ask for a bell where there is room; for the heap there is none. */
        if (!loop_is_current(lane->loop) || stream->needs_heap)
                async_lane_attend(lane);
}

static const struct stream_side client_side = { .turn = turn, .notify = notify, .wait = wait_for_room };

/* ---- telling core ----------------------------------------------------------------------------------------- */

static void excite(struct stream_end *end)
{
        if (end->client && list_empty(&end->excited))
                list_append(&end->lane->excited, &end->excited);
}

int client_streams_tell(struct async_lane *lane)
{
        int n = 0;
        for (; !list_empty(&lane->excited); n++) {
                struct stream_end *end = container_of(lane->excited.next, struct stream_end, excited);
                list_remove(&end->excited);
                end->client->ready(end->client);
        }
        return n;
}

static void set_ended(struct stream_end *end)
{
        atomic_fetch_sub_explicit(&end->lane->n_streams, 1, memory_order_relaxed);
        atomic_store_explicit(&end->client->ended, true, memory_order_release);
}

void client_stream_ended(struct stream_end *end)
{
        set_ended(end);
        excite(end);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

/* The server was told of its end, or need not be any more; the lock is held, or nobody uses the lane. */
static void set_told(struct stream_end *end)
{
        if (end->untold)
                atomic_fetch_sub_explicit(&end->lane->connection->n_untold, 1, memory_order_relaxed);
        end->untold = false;
}

static void free_end(struct stream_end *end)
{
        set_told(end);
        list_remove(&end->excited);
        list_remove(&end->stream.waiting);
        stream_deinit(&end->stream);
        async_lane_unref(end->lane);
        free(end);
}

static void forget(struct list *waiting)
{
        while (!list_empty(waiting)) {
                struct stream_end *end = end_of(container_of(waiting->next, struct stream, waiting));
                list_remove(&end->stream.waiting);
                set_told(end);
                if (!end->client)
                        free_end(end);
        }
}

void client_streams_forget(struct async_lane *lane)
{
        forget(&lane->waiting);
        forget(&lane->wanting);
}

/* The lock is held. */
static void get_on(struct list *waiting, bool heap)
{
        for (struct list *at = waiting->next; at != waiting;) {
                struct stream_end *end = end_of(container_of(at, struct stream, waiting));
                at = at->next;
                int tell = stream_room(&end->stream, heap);
                if (tell == -EAGAIN)
                        break; /* the ring is full: the others wait for the same */
                list_remove(&end->stream.waiting);
                set_told(end);
                if (tell)
                        excite(end);
                if (!end->client)
                        free_end(end);
        }
}

void client_streams_room(struct async_lane *lane, bool heap)
{
        pthread_mutex_lock(&lane->lock);
        get_on(&lane->waiting, false);
        if (heap)
                get_on(&lane->wanting, true);
        atomic_store_explicit(&lane->waits, !list_empty(&lane->waiting), memory_order_relaxed);
        pthread_mutex_unlock(&lane->lock);
}

/* ---- records ---------------------------------------------------------------------------------------------- */

static int deliver(struct stream_end *end, const struct ring_record *record)
{
        struct connection *connection = end->lane->connection;
        int tell = -EAGAIN;
        for (int i = 0; tell == -EAGAIN && i < 2; i++) {
                if (i) /* its heap segment was announced before the record was published */
                        connection_drain(connection);
                pthread_mutex_lock(&end->lane->lock);
                tell = stream_deliver(&end->stream, record);
                pthread_mutex_unlock(&end->lane->lock);
        }
        return tell == -EAGAIN ? -EPROTO : tell;
}

static int add_credit(struct stream_end *end, const struct ring_record *record)
{
        pthread_mutex_lock(&end->lane->lock);
        int tell = stream_add_credit(&end->stream, record->deadline_ns);
        pthread_mutex_unlock(&end->lane->lock);
        return tell;
}

static int receive_headers(struct stream_end *end, const struct ring_record *record)
{
        struct client_stream *client = end->client;
        if (atomic_load_explicit(&client->headers_known, memory_order_relaxed))
                return error_set(-EPROTO, "the server sent headers twice");
        int error = call_receive_headers(end->lane->connection, &end->lane->ends, record, &client->call);
        if (error < 0)
                return error;
        atomic_store_explicit(&client->headers_known, true, memory_order_release);
        excite(end);
        return 0;
}

int client_stream_receive(struct async_lane *lane, const struct ring_record *record, struct slot *slot)
{
        struct stream_end *end = slot ? slot->stream : NULL;
        int tell;
        if (record->kind != SHM_MESSAGE && record->kind != SHM_CREDIT && record->kind != SHM_HEADERS)
                return error_set(-EPROTO, "the server sent a record that only clients send");
        if (!end) /* of a stream that has just ended here */
                return slot ? -EPROTO : call_drop(lane->connection, &lane->ends, record);
        if (record->kind == SHM_HEADERS)
                return receive_headers(end, record);
        uint32_t needed = record->kind == SHM_MESSAGE ? BATON_SERVER_STREAMING : BATON_CLIENT_STREAMING;
        if (!(end->client->call.method->flags & needed))
                return error_set(-EPROTO, "the server sent what is no part of the method");
        tell = record->kind == SHM_MESSAGE ? deliver(end, record) : add_credit(end, record);
        if (tell < 0)
                return tell;
        /* Headers come before messages, if they come. */
        if (record->kind == SHM_MESSAGE && !atomic_load_explicit(&end->client->headers_known, memory_order_relaxed)) {
                atomic_store_explicit(&end->client->headers_known, true, memory_order_release);
                tell = 1;
        }
        if (tell)
                excite(end);
        ring_advance(&lane->ends.in, record);
        return 0;
}

/* ---- entries of the transport table ----------------------------------------------------------------------- */

static struct stream_end *new_end(struct async_lane *lane, struct client_stream *client)
{
        static struct inbox_budget unlimited; /* max_in_flight and the window bound it */
        struct stream_end *end = calloc(1, sizeof *end);
        if (!end)
                return NULL;
        struct connection *connection = lane->connection;
        struct stream_terms terms = { .side = &client_side,
                                      .link = &connection->link,
                                      .ends = &lane->ends,
                                      .lock = &lane->lock,
                                      .budget = &unlimited,
                                      .window = connection->options.stream_window_bytes / SHM_LINE,
                                      .credit = connection->stream_credit };
        stream_init(&end->stream, &terms, 0);
        list_init(&end->excited);
        end->lane = lane;
        end->client = client;
        async_lane_ref(lane);
        return end;
}

static int start(struct async_lane *lane, const struct binding *binding, struct stream_end *end)
{
        pthread_mutex_lock(&lane->lock);
        int error = async_lane_start(lane, binding, &end->client->call, end);
        if (error >= 0) {
                end->graph_request = binding->graph_request;
                end->stream.out_done = !(end->client->call.method->flags & BATON_CLIENT_STREAMING);
                atomic_fetch_add_explicit(&lane->n_streams, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&lane->lock);
        return error;
}

/* The call ends before it began, for the reason in baton_error(). */
static int ended_early(struct stream_end *end)
{
        struct client_stream *client = end->client;
        reply_keep_error(client->call.reply);
        stream_finish(&end->stream);
        client->end = end;
        atomic_store_explicit(&client->ended, true, memory_order_release);
        return 1;
}

int shm_stream_open(struct async_lane *lane, struct client_stream *client)
{
        const struct binding *binding = connection_bind(lane->connection, client->call.method);
        struct stream_end *end = binding ? new_end(lane, client) : NULL;
        if (!end)
                return error_set(-ENOMEM, "%s: out of memory", client->call.method->path);
        if (binding->number < 0) {
                call_fail_unknown(lane->connection, &client->call);
                return ended_early(end);
        }
        if (atomic_load_explicit(&lane->connection->dead, memory_order_acquire)) {
                call_fail_unsent(lane->connection, &client->call);
                return ended_early(end);
        }
        client->end = end; /* before its records can be seen */
        int error = start(lane, binding, end);
        if (error < 0) {
                client->end = NULL;
                free_end(end);
        }
        return error;
}

int shm_stream_write(struct client_stream *client, const ProtobufCMessage *message)
{
        struct stream_end *end = client->end;
        struct message_form form = { .type = client->call.method->input,
                                     .graph = end->graph_request,
                                     .max_bytes = client->call.max_request_bytes,
                                     .traffic = &client->call.traffic };
        int error = stream_write(&end->stream, &form, message);
        if (error != -EPROTO)
                return error;
        connection_kill(end->lane->connection, baton_error());
        return -EPIPE;
}

int shm_stream_writes_done(struct client_stream *client)
{
        return stream_half_close(&client->end->stream);
}

int shm_stream_read(struct client_stream *client, struct reply *reply, const ProtobufCMessage **message)
{
        struct stream_end *end = client->end;
        struct message_form form = { .type = client->call.method->output, .max_bytes = client->call.max_reply_bytes };
        int64_t loan = NO_LOAN;
        int n = stream_read(&end->stream, &form, reply, message, &loan);
        if (n > 0)
                call_borrow(end->lane->connection, reply, loan);
        return n;
}

/* Ends it here, and tells the server. */
static void abort_stream(struct stream_end *end)
{
        struct async_lane *lane = end->lane;
        pthread_mutex_lock(&lane->lock);
        struct slot *slot = slot_of(lane, end->stream.number);
        if (slot)
                slot_release(lane, slot);
        stream_abort(&end->stream);
        bool untold = end->untold = end->stream.cancel_due && !lane->closed;
        if (untold)
                atomic_fetch_add_explicit(&lane->connection->n_untold, 1, memory_order_relaxed);
        pthread_mutex_unlock(&lane->lock);
        if (untold) /* a blocking stream's loop is turned only while somebody waits in it */
                watch_poke(&lane->connection->watch);
        set_ended(end);
}

void shm_stream_cancel(struct client_stream *client, baton_code code, const char *text)
{
        if (atomic_load_explicit(&client->ended, memory_order_acquire))
                return;
        error_set(-ECANCELED, "%s", text);
        call_fail(&client->call, code, true);
        reply_keep_error(client->call.reply);
        abort_stream(client->end);
}

void shm_stream_close(struct client_stream *client)
{
        struct stream_end *end = client->end;
        struct async_lane *lane = end->lane;
        if (!atomic_load_explicit(&client->ended, memory_order_acquire))
                abort_stream(end);
        client->end = NULL;
        pthread_mutex_lock(&lane->lock);
        list_remove(&end->excited);
        end->client = NULL;
        bool telling = end->stream.cancel_due && !lane->closed;
        if (!telling)
                list_remove(&end->stream.waiting);
        pthread_mutex_unlock(&lane->lock);
        if (!telling)
                free_end(end);
}
