#define _GNU_SOURCE
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "shm/server.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* ---- a call's memory -------------------------------------------------------------------------------------- */

/* The lane's lock is held: several threads may work for one call. */
static void *alloc_locked(struct shm_server_call *self, size_t size)
{
        void **blocks = realloc(self->blocks, (self->n_blocks + 1) * sizeof *blocks);
        if (!blocks) {
                error_set(-ENOMEM, "no memory for a payload");
                return NULL;
        }
        self->blocks = blocks;
        void *block = heap_alloc(&self->lane->connection->shared.heap, size ? size : 1);
        if (block)
                blocks[self->n_blocks++] = block;
        return block;
}

static void *alloc(struct baton_call *call, size_t size)
{
        struct shm_server_call *self = shm_call_of(call);
        pthread_mutex_lock(&self->lane->lock);
        void *block = alloc_locked(self, size);
        pthread_mutex_unlock(&self->lane->lock);
        return block;
}

/* Looks for the client's death and for CANCEL where the loop cannot, because a handler keeps it; costs a system call, so only
 * now and then. */
static bool look_for_end(struct shm_server_call *self)
{
        struct server_connection *connection = self->lane->connection;
        uint64_t now = clock_coarse_ns();
        if (now == connection->looked_ns)
                return false;
        connection->looked_ns = now;
        struct pollfd control = { .fd = connection->shared.socket, .events = POLLRDHUP };
        if (poll(&control, 1, 0) > 0 && control.revents & (POLLRDHUP | POLLHUP | POLLERR))
                return true;
        _Atomic uint64_t nowhere;
        struct ring_consumer ahead = self->lane->ends.in; /* a copy: what it sees stays in the ring */
        ahead.consumed_word = &nowhere;
        struct ring_record record;
        for (uint64_t lines = 0; lines < ahead.n_lines && ring_peek(&ahead, &record) > 0;) {
                if (record.kind == SHM_CANCEL && record.call == self->number)
                        return true;
                lines += record.next - record.line;
                ring_advance(&ahead, &record);
        }
        return false;
}

static bool call_gone(struct baton_call *call)
{
        struct shm_server_call *self = shm_call_of(call);
        return atomic_load_explicit(&call->cancelled, memory_order_relaxed) || server_closed(self->lane->connection) ||
               (loop_is_current(self->lane->connection->loop) && look_for_end(self));
}

static struct shm_server_call *take_call(struct server_connection *connection)
{
        if (!connection->spare)
                connection->spare = atomic_exchange_explicit(&connection->returned, NULL, memory_order_acquire);
        struct shm_server_call *self = connection->spare;
        if (self) {
                connection->spare = self->next;
                return self;
        }
        self = aligned_alloc(64, (sizeof *self + 63) / 64 * 64);
        if (!self)
                return NULL;
        memset(self, 0, sizeof *self);
        self->call.turn = &connection->turn;
        self->call.max_message_bytes = connection->max_message_bytes;
        self->call.max_metadata_bytes = connection->max_metadata_bytes;
        arena_init_inline(&self->call.arena, arena_budget(connection->max_message_bytes), self->first_chunk,
                          sizeof self->first_chunk);
        return self;
}

static void put_call(struct server_connection *connection, struct shm_server_call *self)
{
        if (loop_is_current(connection->loop)) {
                self->next = connection->spare;
                connection->spare = self;
                return;
        }
        self->next = atomic_load_explicit(&connection->returned, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&connection->returned, &self->next, self, memory_order_release,
                                                      memory_order_relaxed)) {
        }
}

static void free_call(struct baton_call *call)
{
        struct shm_server_call *self = shm_call_of(call);
        struct server_connection *connection = self->lane->connection;
        bool kept = self->held;
        if (kept || self->streams)
                server_call_deinit(self);
        for (uint32_t i = 0; i < self->n_blocks; i++)
                heap_free(&connection->shared.heap, self->blocks[i]);
        self->n_blocks = 0;
        message_return(&connection->shared, &self->body);
        arena_reset(&call->arena);
        put_call(connection, self);
        if (!kept) /* the loop is inside the connection */
                return;
        atomic_fetch_sub_explicit(&connection->n_calls, 1, memory_order_relaxed);
        server_connection_unref(connection);
}

static void free_calls(struct shm_server_call *self)
{
        while (self) {
                struct shm_server_call *next = self->next;
                arena_deinit(&self->call.arena);
                free(self->blocks);
                free(self);
                self = next;
        }
}

void server_calls_free(struct server_connection *connection)
{
        free_calls(connection->spare);
        free_calls(atomic_load_explicit(&connection->returned, memory_order_acquire));
}

static const struct call_ops call_ops = { .answer = server_answer,
                                          .send = server_stream_send,
                                          .recv = server_stream_recv,
                                          .keep = server_stream_keep,
                                          .alloc = alloc,
                                          .gone = call_gone,
                                          .free = free_call };

/* ---- a call's begin --------------------------------------------------------------------------------------- */

/* Answers without a call; the handler did not run. */
static int turn_away(struct server_lane *lane, const struct ring_record *record, struct message_body *body,
                     baton_code code, const char *text)
{
        message_return(&lane->connection->shared, body);
        ring_advance(&lane->ends.in, record);
        if (record->flags & SHM_ONEWAY) {
                log_line(BATON_LOG_INFO, "%s: a one-way call was refused: %s: %s",
                         lane->connection->listener->config->offers[record->method].method->path, baton_code_name(code),
                         text);
                return 0;
        }
        server_fail(lane, record->call, code, true, text);
        return 0;
}

static struct shm_server_call *new_call(struct server_lane *lane, const struct ring_record *record,
                                        const struct offer *offer)
{
        struct server_connection *connection = lane->connection;
        struct shm_server_call *self = take_call(connection);
        if (!self)
                return NULL;
        self->lane = lane;
        self->number = record->call;
        self->graph_reply = record->flags & SHM_GRAPH_REPLY;
        self->body = (struct message_body){ .loan = NO_LOAN };
        connection->sink->init(&self->call, 2); /* for its holds, and to look at it after its handler */
        self->call.ops = &call_ops;
        self->call.offer = offer;
        self->call.method = offer->method;
        self->call.deadline_ns = record->deadline_ns;
        self->call.peer = connection->peer;
        self->call.oneway = record->flags & SHM_ONEWAY;
        return self;
}

static int decode(struct shm_server_call *self, const struct ring_record *record, const baton_type *type)
{
        int bad = message_metadata(&self->body, self->lane->connection->max_metadata_bytes, &self->call.arena,
                                   &self->call.metadata);
        self->call.request = NULL;
        if (bad < 0 || self->call.method->flags & BATON_CLIENT_STREAMING)
                return bad;
        ProtobufCMessage *message = held_new_message(&self->call.held, &self->call.arena, type->descriptor);
        if (!message)
                return error_set(-ENOMEM, "no memory for the request");
        struct message_form form = { .type = type,
                                     .graph = record->flags & SHM_GRAPH,
                                     .max_bytes = self->lane->connection->max_message_bytes };
        int error = message_decode(&self->lane->connection->shared, &self->body, &form, &self->call.arena, message);
        self->call.request = message;
        return error;
}

/* Why no more calls are taken; NULL: they are. */
static const char *overload(struct server_connection *connection)
{
        const baton_server_options *options = &connection->listener->config->options;
        if (atomic_load_explicit(&connection->n_calls, memory_order_relaxed) >= options->max_calls)
                return "too many unanswered calls on this connection (max_calls of the server)";
        if (atomic_load_explicit(&connection->held.used, memory_order_relaxed) > connection->held.limit)
                return "the calls of this connection hold too much memory (max_held_bytes of the server)";
        return NULL;
}

static void serve(struct server_lane *lane, struct shm_server_call *self)
{
        struct server_sink *sink = lane->connection->sink;
        size_t size = server_call_size(self); /* now: the handler may run on another thread, and take more */
        sink->serve(sink, &self->call);
        /* Most calls have ended by now, and nobody else knows them. */
        if (atomic_load_explicit(&self->call.memory, memory_order_acquire) != 1)
                server_call_keep(self, size);
        sink->unref(&self->call);
}

static int begin(struct server_lane *lane, const struct ring_record *record, struct message_body *body,
                 const struct offer *offer)
{
        if (deadline_passed(record->deadline_ns))
                return turn_away(lane, record, body, BATON_DEADLINE_EXCEEDED,
                                 "the deadline passed before the call began");
        const char *why = overload(lane->connection);
        if (why)
                return turn_away(lane, record, body, BATON_RESOURCE_EXHAUSTED, why);
        struct shm_server_call *self = new_call(lane, record, offer);
        if (!self)
                return turn_away(lane, record, body, BATON_RESOURCE_EXHAUSTED, "the server is out of memory");
        self->body = *body;
        body->loan = NO_LOAN;
        int error = decode(self, record, offer->method->input);
        if (error < 0) {
                free_call(&self->call);
                bool room = error == -ENOMEM || error == -EMSGSIZE;
                return turn_away(lane, record, body, room ? BATON_RESOURCE_EXHAUSTED : BATON_INVALID_ARGUMENT,
                                 baton_error());
        }
        if (offer->method->flags & (BATON_CLIENT_STREAMING | BATON_SERVER_STREAMING))
                server_stream_begin(self);
        /* Before the handler: its lines can be reused, and the client knows that it runs. */
        ring_advance(&lane->ends.in, record);
        serve(lane, self);
        return 0;
}

int server_call_begin(struct server_lane *lane, const struct ring_record *record)
{
        const struct server_config *config = lane->connection->listener->config;
        struct message_body body;
        if (record->method >= config->n_offers)
                return -EPROTO;
        int error = server_locate(lane, record, &body);
        if (error < 0)
                return error;
        server_call_supersede(lane, record->call);
        return begin(lane, record, &body, &config->offers[record->method]);
}
