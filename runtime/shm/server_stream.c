/* Calls that live longer than their handler ran on the loop: found again by their number for the records that follow. And streams. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/server.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        DRAINS_MOST = 16, /* of 64 control messages each: more than an honest client ever has under way */
        CALLS_LEAST = 16,
};

/* ---- the calls of a lane; its lock is held ------------------------------------------------------------------ */

static uint32_t slot_of(uint64_t number)
{
        return (uint32_t)(number & ((1u << SHM_SLOT_BITS) - 1));
}

static struct shm_server_call *find(struct server_lane *lane, uint64_t number)
{
        uint32_t slot = slot_of(number);
        struct shm_server_call *self = slot < lane->n_calls ? lane->calls[slot] : NULL;
        return self && self->number == number ? self : NULL;
}

void server_call_forget(struct shm_server_call *self)
{
        struct server_lane *lane = self->lane;
        if (self->known) {
                lane->calls[slot_of(self->number)] = NULL;
                timers_remove(&lane->deadlines, &self->due);
                self->known = false;
        }
        if (!self->streams)
                return;
        stream_finish(&self->stream);
        list_remove(&self->stream.waiting);
}

/* Room in the table for this number. Its size follows the client's numbers, which are small unless it is hostile. */
static bool make_room(struct server_lane *lane, uint64_t number)
{
        uint32_t n = lane->n_calls ? lane->n_calls : CALLS_LEAST;
        while (n <= slot_of(number))
                n *= 2;
        if (n == lane->n_calls)
                return true;
        struct shm_server_call **calls = realloc(lane->calls, n * sizeof *calls);
        if (!calls)
                return false;
        memset(calls + lane->n_calls, 0, (n - lane->n_calls) * sizeof *calls);
        /* A hostile client can make it large: it counts against the connection, for as long as that lasts. */
        atomic_fetch_add_explicit(&lane->connection->held.used, (n - lane->n_calls) * sizeof *calls,
                                  memory_order_relaxed);
        lane->calls = calls;
        lane->n_calls = n;
        return true;
}

size_t server_call_size(const struct shm_server_call *self)
{
        size_t chunks = arena_budget(self->lane->connection->max_message_bytes) - self->call.arena.budget;
        return sizeof *self + chunks + (self->body.loan == NO_LOAN ? 0 : self->body.size);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

/* Nobody waits for its answer any more: core tells the handler. It is forgotten already; takes over one reference. */
static void cancel(struct shm_server_call *self)
{
        struct server_sink *sink = self->lane->connection->sink;
        sink->cancel(&self->call);
        sink->unref(&self->call);
}

/* Forgets the call, keeping a reference; the lock is held. */
static struct shm_server_call *take(struct shm_server_call *self)
{
        if (self) {
                call_ref(&self->call);
                server_call_forget(self);
        }
        return self;
}

static void set_deadline(struct server_lane *lane)
{
        struct timer_node *first = timers_first(&lane->deadlines);
        loop_timer_set(lane->connection->loop, &lane->deadline, first ? first->due_ns : 0);
}

void server_call_keep(struct shm_server_call *self, size_t size)
{
        struct server_lane *lane = self->lane;
        server_connection_ref(lane->connection);
        atomic_fetch_add_explicit(&lane->connection->n_calls, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&lane->connection->held.used, size, memory_order_relaxed);
        self->held = size;
        pthread_mutex_lock(&lane->lock);
        bool waited_for = !atomic_load_explicit(&self->call.answered, memory_order_relaxed) && !self->call.oneway;
        bool lost = waited_for && (server_closed(lane->connection) || !make_room(lane, self->number));
        if (waited_for && !lost) {
                lane->calls[slot_of(self->number)] = self;
                self->known = true;
                if (self->call.deadline_ns) {
                        timers_insert(&lane->deadlines, &self->due, self->call.deadline_ns);
                        set_deadline(lane);
                }
        }
        if (lost)
                take(self);
        pthread_mutex_unlock(&lane->lock);
        if (!lost)
                return;
        /* Its handler would never be told of anything. */
        server_fail(lane, self->number, BATON_RESOURCE_EXHAUSTED, false, "the server is out of memory");
        cancel(self);
}

void server_call_deinit(struct shm_server_call *self)
{
        struct server_connection *connection = self->lane->connection;
        pthread_mutex_lock(&self->lane->lock);
        server_call_forget(self);
        pthread_mutex_unlock(&self->lane->lock);
        if (self->streams)
                stream_deinit(&self->stream);
        self->streams = false;
        atomic_fetch_sub_explicit(&connection->held.used, self->held, memory_order_relaxed);
        self->held = 0;
}

void server_call_supersede(struct server_lane *lane, uint64_t number)
{
        if (slot_of(number) >= lane->n_calls)
                return;
        pthread_mutex_lock(&lane->lock);
        struct shm_server_call *old = take(lane->calls[slot_of(number)]);
        pthread_mutex_unlock(&lane->lock);
        if (old)
                cancel(old);
}

void server_on_deadline(struct loop_timer *timer)
{
        struct server_lane *lane = container_of(timer, struct server_lane, deadline);
        struct server_connection *connection = lane->connection;
        uint64_t now = clock_now_ns();
        server_connection_ref(connection);
        for (;;) {
                pthread_mutex_lock(&lane->lock);
                struct timer_node *first = timers_first(&lane->deadlines);
                bool due = first && first->due_ns <= now;
                struct shm_server_call *self = due ? take(container_of(first, struct shm_server_call, due)) : NULL;
                if (!due && !server_closed(connection))
                        set_deadline(lane);
                pthread_mutex_unlock(&lane->lock);
                if (!self)
                        break;
                cancel(self);
        }
        server_connection_unref(connection);
}

void server_calls_cancel(struct server_lane *lane)
{
        for (uint32_t slot = 0; slot < lane->n_calls; slot++)
                server_call_supersede(lane, slot);
}

/* ---- the server's side of a stream; the lane's lock is held ------------------------------------------------- */

static struct shm_server_call *call_of(struct stream *stream)
{
        return container_of(stream, struct shm_server_call, stream);
}

static bool turn(struct stream *stream)
{
        return server_unpark(call_of(stream)->lane);
}

static void notify(struct stream *stream)
{
        server_lane_notify(call_of(stream)->lane);
}

static void wait_for_room(struct stream *stream)
{
        struct server_lane *lane = call_of(stream)->lane;
        if (list_empty(&stream->waiting))
                list_append(stream->needs_heap ? &lane->wanting : &lane->waiting, &stream->waiting);
        if (!stream->needs_heap)
                atomic_store_explicit(&lane->waits, true, memory_order_relaxed);
        server_lane_attend(lane);
}

static const struct stream_side server_side = { .turn = turn, .notify = notify, .wait = wait_for_room };

void server_stream_begin(struct shm_server_call *self)
{
        struct server_lane *lane = self->lane;
        struct server_connection *connection = lane->connection;
        struct stream_terms terms = { .side = &server_side,
                                      .link = &connection->shared,
                                      .ends = &lane->ends,
                                      .lock = &lane->lock,
                                      .budget = &connection->held,
                                      .window = connection->stream_window,
                                      .credit = connection->stream_credit };
        stream_init(&self->stream, &terms, self->number);
        self->stream.in_done = !(self->call.method->flags & BATON_CLIENT_STREAMING);
        self->streams = true;
        list_init(&self->excited);
}

/* ---- core's half ------------------------------------------------------------------------------------------ */

static int broken(struct server_lane *lane)
{
        pthread_mutex_lock(&lane->lock);
        server_lane_condemn(lane, "its read position is impossible");
        pthread_mutex_unlock(&lane->lock);
        return -EPIPE;
}

static int send_headers(struct shm_server_call *self, const baton_metadata *headers)
{
        struct server_lane *lane = self->lane;
        pthread_mutex_lock(&lane->lock);
        int error = server_closed(lane->connection) || atomic_load_explicit(&self->call.cancelled, memory_order_relaxed)
                            ? -EPIPE
                            : server_send_headers(lane, self->number, headers);
        pthread_mutex_unlock(&lane->lock);
        return error;
}

int server_stream_send(struct baton_call *call, const ProtobufCMessage *message, const baton_metadata *headers)
{
        struct shm_server_call *self = shm_call_of(call);
        int error = headers ? send_headers(self, headers) : 0;
        if (error < 0 || !message)
                return error;
        if (server_closed(self->lane->connection))
                return -EPIPE;
        struct message_form form = { .type = call->method->output,
                                     .graph = self->graph_reply,
                                     .max_bytes = self->lane->connection->max_message_bytes,
                                     .traffic = &call->traffic };
        error = stream_write(&self->stream, &form, message);
        return error == -EPROTO ? broken(self->lane) : error;
}

static void give_back(void *lender, uint32_t loan)
{
        struct server_connection *connection = lender;
        link_return_loan(&connection->shared, loan);
        server_connection_unref(connection);
}

/* Whether the call has been answered or cancelled. */
static bool ended(struct shm_server_call *self)
{
        pthread_mutex_lock(&self->lane->lock);
        bool gone = self->stream.gone;
        pthread_mutex_unlock(&self->lane->lock);
        return gone;
}

int server_stream_recv(struct baton_call *call, struct reply *reply, const ProtobufCMessage **message)
{
        struct shm_server_call *self = shm_call_of(call);
        struct server_connection *connection = self->lane->connection;
        struct message_form form = { .type = call->method->input, .max_bytes = connection->max_message_bytes };
        int64_t loan = NO_LOAN;
        int n = stream_read(&self->stream, &form, reply, message, &loan);
        if (n == 0 && ended(self)) /* which is no half-close */
                return -EPIPE;
        if (n > 0 && loan != NO_LOAN) {
                server_connection_ref(connection);
                reply->give_back = give_back;
                reply->lender = connection;
                reply->loan = (uint32_t)loan;
        }
        return n;
}

/* A message that outlives the next one counts against its connection. */
struct kept {
        struct server_connection *connection;
        size_t bytes;
        bool lent;
};

static void give_up(void *lender, uint32_t loan)
{
        struct kept *kept = lender;
        struct server_connection *connection = kept->connection;
        atomic_fetch_sub_explicit(&connection->held.used, kept->bytes, memory_order_relaxed);
        if (kept->lent)
                link_return_loan(&connection->shared, loan);
        server_connection_unref(connection);
        free(kept);
}

void server_stream_keep(struct baton_call *call, struct reply *reply, size_t bytes)
{
        struct server_connection *connection = shm_call_of(call)->lane->connection;
        struct kept *kept = malloc(sizeof *kept);
        if (!kept)
                return;
        *kept = (struct kept){ .connection = connection, .bytes = bytes, .lent = reply->give_back != NULL };
        if (!kept->lent) /* otherwise the loan has a reference already */
                server_connection_ref(connection);
        atomic_fetch_add_explicit(&connection->held.used, bytes, memory_order_relaxed);
        reply->lender = kept;
        reply->give_back = give_up;
}

/* ---- records ---------------------------------------------------------------------------------------------- */

int server_locate(struct server_lane *lane, const struct ring_record *record, struct message_body *body)
{
        int error = message_locate(&lane->connection->shared, record, body);
        for (int i = 0; error == -EAGAIN && i < DRAINS_MOST; i++) {
                error = server_connection_drain(lane->connection);
                if (error >= 0)
                        error = message_locate(&lane->connection->shared, record, body);
        }
        return error == -EAGAIN ? -EPROTO : error;
}

/* What comes for a call that has just ended. */
static int drop(struct server_lane *lane, const struct ring_record *record)
{
        struct message_body body;
        int error = server_locate(lane, record, &body);
        if (error >= 0)
                message_return(&lane->connection->shared, &body);
        return error;
}

/* There is no memory for what the client has sent: its call ends. */
static void fail(struct server_lane *lane, uint64_t number)
{
        pthread_mutex_lock(&lane->lock);
        struct shm_server_call *self = take(find(lane, number));
        pthread_mutex_unlock(&lane->lock);
        if (!self)
                return;
        server_fail(lane, number, BATON_RESOURCE_EXHAUSTED, false, baton_error());
        cancel(self);
}

static int cancelled(struct server_lane *lane, uint64_t number)
{
        pthread_mutex_lock(&lane->lock);
        struct shm_server_call *self = take(find(lane, number));
        pthread_mutex_unlock(&lane->lock);
        if (self)
                cancel(self);
        return 0;
}

/* As stream_deliver; the lock is held. */
static int arrive(struct shm_server_call *self, const struct ring_record *record)
{
        uint32_t needed = record->kind == SHM_CREDIT ? BATON_SERVER_STREAMING : BATON_CLIENT_STREAMING;
        if (!self->streams || !(self->call.method->flags & needed))
                return -EPROTO;
        if (record->kind == SHM_CREDIT)
                return stream_add_credit(&self->stream, record->deadline_ns);
        if (record->kind == SHM_MESSAGE)
                return stream_deliver(&self->stream, record);
        return stream_end_input(&self->stream);
}

static void excite(struct shm_server_call *self)
{
        if (!list_empty(&self->excited))
                return;
        call_ref(&self->call);
        list_append(&self->lane->excited, &self->excited);
}

/* 1: there is no such call. */
static int arrive_locked(struct server_lane *lane, const struct ring_record *record)
{
        pthread_mutex_lock(&lane->lock);
        struct shm_server_call *self = find(lane, record->call);
        int tell = self ? arrive(self, record) : 0;
        if (tell > 0)
                excite(self);
        pthread_mutex_unlock(&lane->lock);
        return !self ? 1 : tell < 0 ? tell : 0;
}

static int stream_record(struct server_lane *lane, const struct ring_record *record)
{
        int n = arrive_locked(lane, record);
        for (int i = 0; n == -EAGAIN && i < DRAINS_MOST; i++) {
                n = server_connection_drain(lane->connection);
                if (n >= 0)
                        n = arrive_locked(lane, record);
        }
        if (n == 1)
                return drop(lane, record);
        if (n == -ENOBUFS || n == -ENOMEM)
                fail(lane, record->call);
        else if (n < 0)
                return n == -EAGAIN ? -EPROTO : n;
        return 0;
}

int server_record(struct server_lane *lane, const struct ring_record *record)
{
        int error;
        switch (record->kind) {
        case SHM_REQUEST:
                return server_call_begin(lane, record);
        case SHM_MESSAGE:
        case SHM_HALF_CLOSE:
        case SHM_CREDIT:
                error = stream_record(lane, record);
                break;
        case SHM_CANCEL:
                error = cancelled(lane, record->call);
                break;
        case SHM_FENCE:
                error = server_send_fence(lane, record->call);
                break;
        default:
                return -EPROTO;
        }
        if (error >= 0) {
                ring_advance(&lane->ends.in, record);
                lane->unannounced = true; /* whatever was sent meanwhile came too early to tell of this room */
        }
        return error == -EPIPE ? 0 : error;
}

/* ---- telling core ----------------------------------------------------------------------------------------- */

void server_streams_tell(struct server_lane *lane)
{
        struct server_sink *sink = lane->connection->sink;
        while (!list_empty(&lane->excited)) {
                struct shm_server_call *self = container_of(lane->excited.next, struct shm_server_call, excited);
                list_remove(&self->excited);
                sink->ready(&self->call);
                sink->unref(&self->call);
        }
}

/* The lock is held. */
static void get_on(struct list *waiting, bool heap)
{
        for (struct list *at = waiting->next; at != waiting;) {
                struct shm_server_call *self = call_of(container_of(at, struct stream, waiting));
                at = at->next;
                int tell = stream_room(&self->stream, heap);
                if (tell == -EAGAIN)
                        break; /* the ring is full: the others wait for the same */
                list_remove(&self->stream.waiting);
                if (tell)
                        excite(self);
        }
}

bool server_streams_room(struct server_lane *lane, bool heap)
{
        pthread_mutex_lock(&lane->lock);
        get_on(&lane->waiting, false);
        if (heap)
                get_on(&lane->wanting, true);
        bool ring = !list_empty(&lane->waiting), left = ring || !list_empty(&lane->wanting);
        atomic_store_explicit(&lane->waits, ring, memory_order_relaxed);
        pthread_mutex_unlock(&lane->lock);
        return left;
}
