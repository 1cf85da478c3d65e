/* The asynchronous calls and streams of one loop over one connection: what async_lane.c, async_calls.c, async_slots.c and client_stream.c share. */
#ifndef SHM_ASYNC_LANE_H
#define SHM_ASYNC_LANE_H

#include "base/loop.h"
#include "base/timers.h"
#include "shm/client.h"
#include "shm/stream.h"

enum { SLOTS_AT_ONCE = 256, SLOT_CHUNKS = (1 << SHM_SLOT_BITS) / SLOTS_AT_ONCE };

/* A call or a stream in flight. */
struct slot {
        struct client_call *call;  /* NULL: free */
        struct stream_end *stream; /* that the call opened; NULL: unary */
        uint64_t number;
        uint64_t end; /* the line behind its request */
        struct timer_node due;
        uint32_t next_free;
};

struct async_lane {
        atomic_uint references; /* the owner's, and one of each stream_end */
        struct connection *connection;
        baton_loop *loop;
        struct leaver leaver;
        struct lane_ends ends;
        struct loop_poller poller;
        struct loop_source bell; /* the server rings here, and its death hangs it up */
        struct loop_timer timer; /* the earliest deadline */
        struct loop_timer retry; /* tries again what found no room in the heap */
        struct loop_task attend; /* has the loop look after the lane */
        void (*lost)(void *context);
        void *lost_context;
        uint32_t entered; /* how deep the loop is inside this lane */
        bool closed;
        struct list excited;   /* streams that are to be told; the loop's */
        atomic_uint n_streams; /* that have not ended */

        pthread_mutex_t lock; /* all below, and ends.out, ends.waker for ringing */
        struct slot *slots[SLOT_CHUNKS];
        uint32_t n_slots; /* that there is memory for */
        uint32_t n_used;
        uint32_t free_slot;
        struct timers deadlines;
        struct list waiting; /* streams that wait for room in the ring */
        struct list wanting; /* and those that wait for some in the heap, for which there is no bell */
        atomic_bool waits;   /* some wait for the ring; set under the lock */
        bool attend_posted;
        bool left; /* nothing starts on it any more: it is lost, as the server drains, or is gone */
};

struct stream_end {
        struct stream stream;
        struct async_lane *lane;
        struct client_stream *client; /* NULL once closed: it is kept until the server was told */
        bool graph_request;
        bool untold;         /* counted by the connection; the lane's lock */
        struct list excited; /* in the lane's list, or alone */
};

/* ---- async_slots.c; the lock is held ---------------------------------------------------------------------- */

enum { NO_SLOT = UINT32_MAX };

/* A free slot with a number for its next call; NULL with -EBUSY or -ENOMEM set in *error. It is taken by slot_fill. */
struct slot *slot_find(struct async_lane *lane, int *error);

/* The slot's call, which has this number, is on its way. */
void slot_fill(struct async_lane *lane, struct slot *slot, struct client_call *call, struct stream_end *stream);

/* The slot of the call with this number; NULL where none waits for it. */
struct slot *slot_of(struct async_lane *lane, uint64_t number);

void slot_release(struct async_lane *lane, struct slot *slot);
void slots_free(struct async_lane *lane);

/* ---- async_lane.c ----------------------------------------------------------------------------------------- */

/* Has the loop look after the lane; the lock is held. Any thread. */
void async_lane_attend(struct async_lane *lane);
void async_lane_ref(struct async_lane *lane);
void async_lane_unref(struct async_lane *lane);

/* ---- async_calls.c ---------------------------------------------------------------------------------------- */

/* Starts a call in a new slot: -EBUSY, -EAGAIN, -ENOMEM, or an error of message_send; the lock is held. */
int async_lane_start(struct async_lane *lane, const struct binding *binding, struct client_call *call,
                     struct stream_end *stream);

/* The rest: the loop's thread. Delivers the outcome that the call has. */
void async_deliver(struct client_call *call, struct stream_end *stream);

/* Takes the call out of its slot and fails it with the text in baton_error(). tell: the server does not know. */
void async_fail_slot(struct async_lane *lane, struct slot *slot, baton_code code, bool maybe_executed, bool tell);

/* The server is gone: every call ends. Returns how many callbacks ran. */
int async_fail_all(struct async_lane *lane);

/* The next slot in use from *at on; NULL: none. */
struct slot *async_next_slot(struct async_lane *lane, uint32_t *at);

/* The earliest slot that is due; NULL: none, and the timer is set for the next. */
struct slot *async_next_due(struct async_lane *lane, uint64_t now);

/* ---- client_stream.c; the loop's thread ------------------------------------------------------------------- */

/* Takes in one record for a stream, and advances the ring; slot NULL: for none. Negative: the server broke the protocol. */
int client_stream_receive(struct async_lane *lane, const struct ring_record *record, struct slot *slot);

/* The stream's call has its outcome. Its slot is released. */
void client_stream_ended(struct stream_end *end);

/* Streams that wait for room in the ring, or, with `heap`, in the heap, get on. */
void client_streams_room(struct async_lane *lane, bool heap);

/* Tells the streams that are to be told. Returns how many. */
int client_streams_tell(struct async_lane *lane);

/* The lane is closed: streams that only wait to tell the server of their end are freed. */
void client_streams_forget(struct async_lane *lane);

int shm_stream_open(struct async_lane *lane, struct client_stream *client);
int shm_stream_write(struct client_stream *client, const ProtobufCMessage *message);
int shm_stream_writes_done(struct client_stream *client);
int shm_stream_read(struct client_stream *client, struct reply *reply, const ProtobufCMessage **message);
void shm_stream_cancel(struct client_stream *client, baton_code code, const char *text);
void shm_stream_close(struct client_stream *client);

#endif
