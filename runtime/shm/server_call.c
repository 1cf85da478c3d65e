#define _GNU_SOURCE
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "shm/server.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DRAINS_MOST = 16 }; /* of 64 control messages each: more than an honest client ever has under way */

static struct shm_server_call *shm_call_of(const struct baton_call *call)
{
        return container_of(call, struct shm_server_call, call);
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

static bool closed(const struct server_connection *connection)
{
        return atomic_load_explicit(&connection->closed, memory_order_acquire);
}

static int gone(void)
{
        return error_set(-EPIPE, "the client is gone; nobody gets this reply");
}

/* Keeps a reply until the client has read on; the lock is held. */
static void park(struct server_lane *lane, struct parked *parked, const struct shm_record *header)
{
        parked->header = *header;
        list_append(&lane->parked, &parked->link);
        lane->n_parked++;
        server_lane_attend(lane);
}

static struct parked *new_parked(size_t body)
{
        struct parked *parked = malloc(sizeof *parked + body);
        if (!parked)
                error_set(-ENOMEM, "no memory to keep a reply for a client that does not read");
        return parked;
}

bool server_unpark(struct server_lane *lane)
{
        while (!list_empty(&lane->parked)) {
                struct parked *parked = container_of(lane->parked.next, struct parked, link);
                int error = message_send_bytes(&lane->ends, &parked->header, parked->body);
                if (error == -EPROTO)
                        server_lane_condemn(lane, "its read position is impossible");
                if (error < 0)
                        return false;
                list_remove(&parked->link);
                lane->n_parked--;
                free(parked);
        }
        return true;
}

static int park_text(struct server_lane *lane, const struct shm_record *header, const char *text)
{
        struct parked *parked = new_parked(header->size);
        if (!parked)
                return -ENOMEM;
        memcpy(parked->body, text, header->size);
        park(lane, parked, header);
        return 0;
}

static int send_failure(struct server_lane *lane, struct shm_record *header, const char *text)
{
        size_t length = strlen(text);
        header->size = (uint32_t)(length < 1024 ? length : 1024);
        int error = server_unpark(lane) ? message_send_bytes(&lane->ends, header, text) : -EAGAIN;
        if (error == -EAGAIN)
                error = park_text(lane, header, text);
        server_lane_notify(lane);
        if (error >= 0)
                return 0;
        /* A call must not stay without an outcome: the end of the connection is one. */
        server_lane_condemn(lane, error == -EPROTO ? "its read position is impossible" : "no memory to answer it");
        return gone();
}

int server_fail(struct server_lane *lane, uint64_t number, baton_code code, bool not_run, const char *text)
{
        struct shm_record header = {
                .method = (uint16_t)code, .kind = SHM_REPLY, .flags = not_run ? SHM_NOT_RUN : 0, .call = number
        };
        pthread_mutex_lock(&lane->lock);
        int error = closed(lane->connection) ? gone() : send_failure(lane, &header, text);
        pthread_mutex_unlock(&lane->lock);
        return error;
}

static int park_message(struct server_lane *lane, struct shm_record *header, const struct message_form *form,
                        const ProtobufCMessage *message)
{
        struct parked *parked = new_parked(SHM_PARKED_BODY);
        int error = parked ? message_park(&lane->ends, header, form, message, parked->body) : -ENOMEM;
        if (error < 0)
                free(parked);
        else
                park(lane, parked, header);
        return error;
}

static int send_reply(struct shm_server_call *self, struct server_lane *lane, const ProtobufCMessage *message)
{
        struct shm_record header = { .method = BATON_OK, .kind = SHM_REPLY, .call = self->number };
        struct message_form form = { .type = self->call.method->output,
                                     .graph = self->graph_reply,
                                     .max_bytes = lane->connection->max_message_bytes };
        int error = server_unpark(lane) ? message_send(&lane->ends, &header, &form, message) : -EAGAIN;
        if (error == -EAGAIN)
                error = park_message(lane, &header, &form, message);
        if (error >= 0)
                server_lane_notify(lane);
        if (error != -EPROTO)
                return error;
        server_lane_condemn(lane, "its read position is impossible");
        return gone();
}

static int answer(struct baton_call *call, const struct answer *answer)
{
        struct shm_server_call *self = shm_call_of(call);
        if (!answer->message)
                return server_fail(self->lane, self->number, answer->code, answer->not_run, answer->text);
        pthread_mutex_lock(&self->lane->lock);
        int error = closed(self->lane->connection) ? gone() : send_reply(self, self->lane, answer->message);
        pthread_mutex_unlock(&self->lane->lock);
        return error;
}

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

static bool call_gone(struct baton_call *call)
{
        return closed(shm_call_of(call)->lane->connection);
}

static bool on_loop(const struct baton_call *call)
{
        const struct shm_server_call *self = container_of(call, struct shm_server_call, call);
        return loop_is_current(self->lane->connection->loop);
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
        for (uint32_t i = 0; i < self->n_blocks; i++)
                heap_free(&connection->shared.heap, self->blocks[i]);
        self->n_blocks = 0;
        message_return(&connection->shared, &self->body);
        arena_reset(&call->arena);
        atomic_fetch_sub_explicit(&connection->n_calls, 1, memory_order_relaxed);
        put_call(connection, self);
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

static const struct call_ops call_ops = {
        .answer = answer, .alloc = alloc, .gone = call_gone, .on_loop = on_loop, .free = free_call
};

/* ---- a call's begin --------------------------------------------------------------------------------------- */

/* The segment was announced before the record was published, so the message is there to be read, if behind others. */
static int locate(struct server_lane *lane, const struct ring_record *record, struct message_body *body)
{
        int error = message_locate(&lane->connection->shared, record, body);
        for (int i = 0; error == -EAGAIN && i < DRAINS_MOST; i++) {
                error = server_connection_drain(lane->connection);
                if (error >= 0)
                        error = message_locate(&lane->connection->shared, record, body);
        }
        return error == -EAGAIN ? -EPROTO : error;
}

/* Answers without a call; the handler did not run. */
static int turn_away(struct server_lane *lane, const struct ring_record *record, struct message_body *body,
                     baton_code code, const char *text)
{
        message_return(&lane->connection->shared, body);
        ring_advance(&lane->ends.in, record);
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
        self->body = (struct message_body){ .loan = -1 };
        connection->sink->init(&self->call, 1);
        self->call.ops = &call_ops;
        self->call.offer = offer;
        self->call.method = offer->method;
        self->call.deadline_ns = record->deadline_ns;
        self->call.peer = connection->peer;
        server_connection_ref(connection);
        atomic_fetch_add_explicit(&connection->n_calls, 1, memory_order_relaxed);
        return self;
}

static int decode(struct shm_server_call *self, const struct ring_record *record, const baton_type *type)
{
        self->call.request = NULL;
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

static int begin(struct server_lane *lane, const struct ring_record *record, struct message_body *body,
                 const struct offer *offer)
{
        const struct server_config *config = lane->connection->listener->config;
        if (deadline_passed(record->deadline_ns))
                return turn_away(lane, record, body, BATON_DEADLINE_EXCEEDED,
                                 "the deadline passed before the call began");
        if (atomic_load_explicit(&lane->connection->n_calls, memory_order_relaxed) >= config->options.max_calls)
                return turn_away(lane, record, body, BATON_RESOURCE_EXHAUSTED,
                                 "too many unanswered calls on this connection (max_calls of the server)");
        struct shm_server_call *self = new_call(lane, record, offer);
        if (!self)
                return turn_away(lane, record, body, BATON_RESOURCE_EXHAUSTED, "the server is out of memory");
        self->body = *body;
        body->loan = -1;
        int error = decode(self, record, offer->method->input);
        if (error < 0) {
                free_call(&self->call);
                bool room = error == -ENOMEM || error == -EMSGSIZE;
                return turn_away(lane, record, body, room ? BATON_RESOURCE_EXHAUSTED : BATON_INVALID_ARGUMENT,
                                 baton_error());
        }
        ring_advance(&lane->ends.in,
                     record); /* before the handler: its lines can be reused, and the client knows that it runs */
        lane->connection->listener->sink->serve(lane->connection->listener->sink, &self->call);
        return 0;
}

int server_call_begin(struct server_lane *lane, const struct ring_record *record)
{
        const struct server_config *config = lane->connection->listener->config;
        struct message_body body;
        if (record->kind != SHM_REQUEST || record->method >= config->n_offers)
                return -EPROTO;
        int error = locate(lane, record, &body);
        if (error < 0)
                return error;
        return begin(lane, record, &body, &config->offers[record->method]);
}
