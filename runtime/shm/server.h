/* The server's end: what listener.c, server_connection.c, server_lane.c and server_call.c share. */
#ifndef SHM_SERVER_H
#define SHM_SERVER_H

#include "base/loop.h"
#include "base/timers.h"
#include "shm/inproc.h"
#include "shm/link.h"
#include "shm/message.h"
#include "shm/stream.h"
#include "transport/transport.h"

struct server_connection;

struct listener {
        struct loop_source source;
        struct loop_timer resume; /* accepting, after a pause */
        baton_loop *loop;
        const struct server_config *config;
        struct server_sink *sink;
        struct sockaddr_un path;
        int lock_fd;
        int methods_fd; /* the method table, sealed */
        bool owns_file; /* and removes it at the end */
        bool listening;
        struct inproc_port port; /* where the address is one within this process; source.fd is -1 then */
        pthread_mutex_t lock;
        struct list connections; /* under the lock, as are the next */
        bool draining;
        struct server_connection *successor; /* of a new server that was given the socket, until it serves */
        bool given;                          /* it does: there is nothing left to hand over */
        struct loop_task taken;              /* stops this listener, then */
        int predecessor;                     /* the other way round: a connection to the old server; -1 */
        struct loop_task confirm;            /* tells it that this one serves */
};

/* A reply that waits for room in the ring. */
struct parked {
        struct list link;
        struct shm_record header;
        uint8_t body[];
};

struct server_lane {
        struct server_connection *connection;
        struct lane_ends ends; /* in: the loop's. out, waker: under lock */
        struct loop_poller poller;
        struct loop_timer retry; /* tries to send what is parked */
        uint64_t retry_ns;
        struct loop_task attend; /* tells the loop of what another thread parked */
        pthread_mutex_t lock;    /* the rest */
        struct list parked;
        _Atomic uint32_t n_parked; /* changed under the lock */
        bool attend_posted;
        int bell_fd;      /* rings the client's loop; -1: futex */
        bool unannounced; /* read since the client was last told; the loop's */
        /* Calls that live on after their handler ran, by the slot in their number. */
        struct shm_server_call **calls;
        uint32_t n_calls; /* slots of that table; changed by the loop */
        struct timers deadlines;
        struct loop_timer deadline; /* the earliest; the loop's */
        struct list waiting;        /* streams that wait for room in the ring */
        struct list wanting;        /* and those that wait for some in the heap, for which there is no bell */
        atomic_bool waits;          /* there are some; set under the lock */
        struct list excited;        /* calls whose handlers are to be told; the loop's */
        uint32_t n_turns;           /* the connection's turn that this lane last had a part in; the loop's */
};

struct server_connection {
        atomic_uint references;    /* the loop's, and one of each call that outlives its handler */
        uint32_t entered;          /* how deep the loop is inside this connection; the loop's, as is the next */
        bool left;                 /* the loop's reference is to go once it is out */
        struct listener *listener; /* NULL once closed; the loop's */
        struct server_sink *sink;
        baton_loop *loop;
        struct list link; /* of the listener's; its lock */
        struct link shared;
        struct loop_source source;
        struct loop_timer handshake;
        struct loop_task adopt;
        baton_peer peer;
        size_t max_message_bytes;
        atomic_bool closed;
        bool established; /* changes under the listener's lock, as does the next */
        bool told_goaway;
        baton_code
                guest; /* what a client is refused with; OK: none. A new server of the same user is heard all the same. */
        const char *guest_text;
        atomic_uint n_calls;
        struct turn turn; /* of its calls, with core */
        struct server_lane *lanes[SHM_LANES];
        size_t max_metadata_bytes;
        uint32_t stream_window;        /* lines */
        uint64_t stream_credit;        /* lines that the client takes ahead of a stream's reader */
        struct inbox_budget held;      /* what its calls take beyond their handlers */
        uint32_t n_turns;              /* of its lanes together; the loop's, as are the next */
        uint32_t n_taken;              /* records in this turn so far, */
        uint64_t took_ns;              /* and the time that they took */
        uint64_t looked_ns;            /* when a handler last looked whether the client is gone; the loop's */
        struct shm_server_call *spare; /* calls for reuse; the loop's */
        _Atomic(struct shm_server_call *) returned; /* freed on other threads */
};

struct shm_server_call {
        struct baton_call call;
        struct server_lane *lane;
        uint64_t number;
        bool graph_reply;
        struct message_body body; /* the request's loan */
        void **blocks;            /* from baton_call_alloc */
        uint32_t n_blocks;
        size_t held;           /* bytes that count against the connection */
        bool known;            /* in the lane's table; its lock */
        bool streams;          /* as is the rest */
        struct timer_node due; /* in the lane's deadlines */
        struct stream stream;
        struct list excited; /* in the lane's list, or alone */
        struct shm_server_call *next;
        _Alignas(16) uint8_t first_chunk[2048]; /* of the arena: small calls need no malloc */
};

static inline struct shm_server_call *shm_call_of(const struct baton_call *call)
{
        return container_of(call, struct shm_server_call, call);
}

static inline bool server_closed(const struct server_connection *connection)
{
        return atomic_load_explicit(&connection->closed, memory_order_acquire);
}

/* ---- server_connection.c ---------------------------------------------------------------------------------- */

/* Takes over an accepted socket, and its place with the sink, unless it is a guest (code not OK); handshake and all else run on
 * `loop`. */
void server_connection_adopt(struct listener *listener, baton_loop *loop, int socket, baton_peer peer, baton_code code,
                             const char *text);

/* Ends the connection; on its loop's thread, or while no loop runs. Frees it unless calls are left. */
void server_connection_close(struct server_connection *connection, const char *why);

/* Around what the loop does for the connection, which may close it meanwhile: cheaper than a reference. */
static inline void server_connection_enter(struct server_connection *connection)
{
        connection->entered++;
}
void server_connection_leave(struct server_connection *connection);

void server_connection_ref(struct server_connection *connection);
void server_connection_unref(struct server_connection *connection);

/* Takes in what waits on the control socket. Negative when the connection must end. The loop's thread. */
int server_connection_drain(struct server_connection *connection);

/* Tells an established connection's client that the server drains. False: it has no room for that now. The listener's lock is held. */
bool server_connection_goaway(struct server_connection *connection);

/* Sends a refusal; the caller closes. */
void server_refuse(int socket, baton_code code, const char *text);

/* ---- server_lane.c ---------------------------------------------------------------------------------------- */

/* Sets the lane up around its ends and polls it. NULL: out of memory. Takes over bell_fd on success. */
struct server_lane *server_lane_new(struct server_connection *connection, int bell_fd);
void server_lane_start(struct server_lane *lane);
void server_lane_stop(struct server_lane *lane);
void server_lane_free(struct server_lane *lane);

/* ---- server_call.c ---------------------------------------------------------------------------------------- */

/* Serves the request in this record and hands its lines back. Negative when the client broke the protocol. */
int server_call_begin(struct server_lane *lane, const struct ring_record *record);

void server_calls_free(struct server_connection *connection);

/* ---- server_answer.c: what is sent now, or else parked ------------------------------------------------------- */

int server_answer(struct baton_call *call, const struct answer *answer);
int server_fail(struct server_lane *lane, uint64_t number, baton_code code, bool not_run, const char *text);
int server_send_fence(struct server_lane *lane, uint64_t number);

/* headers NULL: nothing is sent. The lane's lock is held. */
int server_send_headers(struct server_lane *lane, uint64_t number, const baton_metadata *headers);

/* ---- server_stream.c -------------------------------------------------------------------------------------- */

/* Handles one record of any kind, and hands its lines back. Negative when the client broke the protocol. The loop's thread, as
 * all but the entries of call_ops. */
int server_record(struct server_lane *lane, const struct ring_record *record);

/* Finds the message of a record, whose segment was announced before it. 0 or negative. */
int server_locate(struct server_lane *lane, const struct ring_record *record, struct message_body *body);

/* The call lives on after its handler ran: it is found again by its number, ends at its deadline, and counts against the
 * connection, with this size. The caller has a reference. */
void server_call_keep(struct shm_server_call *self, size_t size);

/* What the call takes of the server's memory; not once its handler runs. */
size_t server_call_size(const struct shm_server_call *self);

/* It was answered, or is cancelled: records for it are dropped from now on. The lane's lock is held; any thread. */
void server_call_forget(struct shm_server_call *self);

/* The last reference is gone. Any thread. */
void server_call_deinit(struct shm_server_call *self);

/* A request with this number begins: what its slot held before is cancelled. */
void server_call_supersede(struct server_lane *lane, uint64_t number);

/* The client is gone. */
void server_calls_cancel(struct server_lane *lane);

/* The lane's timer. */
void server_on_deadline(struct loop_timer *timer);

/* A streaming call is about to be served. */
void server_stream_begin(struct shm_server_call *self);

/* Tells the handlers that are to be told. */
void server_streams_tell(struct server_lane *lane);

/* Streams that wait for room in the ring, or, with `heap`, in the heap, get on. True: some still wait. */
bool server_streams_room(struct server_lane *lane, bool heap);

int server_stream_send(struct baton_call *call, const ProtobufCMessage *message, const baton_metadata *headers);
int server_stream_recv(struct baton_call *call, struct reply *reply, const ProtobufCMessage **message);
void server_stream_keep(struct baton_call *call, struct reply *reply, size_t bytes);

/* ---- more of server_lane.c -------------------------------------------------------------------------------- */

/* Ends the connection of a client that broke the protocol; the lane's lock is held. Any thread: its loop closes it. */
void server_lane_condemn(struct server_lane *lane, const char *why);

/* Sends what is parked as far as there is room; the lane's lock is held. True when nothing is left. */
bool server_unpark(struct server_lane *lane);

/* Sees to it that the loop sends what was parked; the lane's lock is held. Any thread. */
void server_lane_attend(struct server_lane *lane);

/* Rings the client where it sleeps; the lane's lock is held. */
void server_lane_notify(struct server_lane *lane);

#endif
