/* The client's end of a connection: what client.c, client_call.c and client_async.c share. */
#ifndef SHM_CLIENT_H
#define SHM_CLIENT_H

#include "base/loop.h"
#include "base/spin.h"
#include "shm/link.h"
#include "shm/message.h"
#include "shm/watch.h"
#include "transport/transport.h"

enum { METHOD_BUCKETS = 64 };

/* How calls of one method travel on one connection. Immutable. */
struct binding {
        struct binding *next;
        const baton_method *method;
        int32_t number; /* in the server's table; -1: the server does not have it */
        bool graph_request;
        bool graph_reply;
};

enum death {
        ALIVE = 0,
        HUNG_UP = 1, /* the server is gone: what it had not taken by then, it never will */
        KILLED = 2,  /* given up here, while the server may go on for a moment */
        SILENT = 3,  /* likewise, as it gave no sign of life */
};

struct connection {
        atomic_uint references;
        uint64_t fork_generation;
        baton_channel_options options; /* defaults filled in */
        struct sockaddr_un path;
        struct link link;
        struct watch watch;
        struct client_sink *sink;   /* the watching thread's, while it watches this connection */
        _Atomic uint32_t dead;      /* enum death; sleepers wait on it too */
        atomic_bool leaving;        /* the server drains; set under `control` */
        atomic_uint n_untold;       /* streams that ended here, of which the server could not be told yet */
        struct shm_method *methods; /* as the server sent them, sorted by path_hash */
        uint32_t n_methods;
        _Atomic(struct binding *) bindings[METHOD_BUCKETS];
        pthread_mutex_t control; /* receiving on the socket, and what follows */
        bool lane_used[SHM_LANES];
        struct lane_ends *opening[SHM_LANES]; /* waits for the server's half */
        struct kept_lane *kept[SHM_LANES];    /* nobody waits for them just now */
        uint32_t n_openers;                   /* threads that read the socket themselves just now */
        uint32_t n_lanes;                     /* open, or being opened */
        bool left;                            /* the last one of a LEAVING connection is closed */
        struct list leavers;                  /* struct leaver */
        struct list lingering;                /* struct lane; closed with one-way calls that the server has not taken */
        uint64_t heard_ns;                    /* keepalive: when the server last sent something, */
        uint64_t pinged_ns;                   /* and when it was asked to; 0: it has answered */
        uint64_t stream_credit;               /* lines that the server takes ahead of a stream's handler */
};

/* A lane of a loop's, as its connection knows it. */
struct leaver {
        struct list link;
        baton_loop *loop;
        struct loop_task leave; /* posted once when the connection is LEAVING */
};

/* One calling thread's lane. */
struct lane {
        struct list link; /* while it lingers */
        struct connection *connection;
        struct lane_ends ends;
        struct spin spin;
        uint64_t last_call;
};

/* The connection of this socket, which it takes over; shakes hands. As struct transport's connect. path: in place of a path, any
 * name for messages. */
int connection_make(const struct sockaddr_un *path, int socket, const baton_channel_options *options,
                    uint64_t deadline_ns, struct client_sink *sink, struct connection **out, baton_code *code);

/* Takes in what waits on the control socket. Any thread. */
void connection_drain(struct connection *connection);
void connection_drain_locked(struct connection *connection); /* connection->control is held */

/* The server broke the protocol: every caller is told. Any thread. */
void connection_kill(struct connection *connection, const char *why);

/* The server hung up, as the control socket says. Any thread. */
void connection_hung_up(struct connection *connection);

/* The same, as it does not answer. */
void connection_silent(struct connection *connection, const char *why);

/* ---- client_watch.c: what happens while nobody calls -------------------------------------------------------- */

/* The watch's attend. */
uint64_t connection_attend(struct watch *watch, bool hung_up);

/* Counts the lanes in use: with the last one, a LEAVING connection hangs up. -ESHUTDOWN where it has. */
int connection_lane_begins(struct connection *connection);
void connection_lane_ends(struct connection *connection);

/* Has leaver->leave posted when the connection is LEAVING, or at once where it is. connection_stay: no more. */
void connection_leave_later(struct connection *connection, struct leaver *leaver);
void connection_stay(struct connection *connection, struct leaver *leaver);

/* Whether it lives and has yet to take requests of this lane. */
bool lane_unread(const struct lane *lane);

/* Closes a lane whose last calls the server has yet to take. */
void connection_linger(struct connection *connection, struct lane *lane);
void connection_free_lingering(struct connection *connection);

/* Opens a lane, both halves. bell: a socket pair, for the server to ring [1] where the client polls [0], or NULL; [0] may be
 * another one afterwards, and is -1 after a failure that still needs it. 0, or a negative errno with the reason set. */
int connection_open_lane(struct connection *connection, struct lane_ends *ends, int bell[2], uint64_t deadline_ns);
void connection_close_lane(struct connection *connection, struct lane_ends *ends);

/* Frees the lanes that were kept; with the connection. */
void connection_free_lanes(struct connection *connection);

/* How calls of this method travel; NULL when out of memory. */
const struct binding *connection_bind(struct connection *connection, const baton_method *method);

/* Whether the server drains: calls in flight go on, and further ones are to be made elsewhere. */
static inline bool connection_leaving(const struct connection *connection)
{
        return atomic_load_explicit(&connection->leaving, memory_order_relaxed);
}

/* Rings the server where it sleeps: after publishing, or after reading, where it waits for room. The lane's sender only. */
void connection_notify(struct connection *connection, struct lane_ends *ends);
void connection_notify_room(struct connection *connection, struct lane_ends *ends);

/* ---- the calls' common half: client_reply.c --------------------------------------------------------------- */

/* Ends the call without a reply; the text is the one in baton_error(). */
void call_fail(struct client_call *call, baton_code code, bool maybe_executed);

/* Ends the call for which message_send returned this error. */
void call_fail_send(struct client_call *call, int error);

/* Ends a call whose request was sent because the server is gone. taken: whether it had read the request. */
void call_fail_dead(struct connection *connection, struct client_call *call, bool taken);

/* The same where the request was not sent. */
void call_fail_unsent(struct connection *connection, struct client_call *call);

/* Ends a call of a method that the server does not have. */
void call_fail_unknown(struct connection *connection, struct client_call *call);

/* Sends a call's request. As message_send; on -EAGAIN and -EBUSY the caller may wait. */
int call_send(struct lane_ends *ends, const struct binding *binding, struct client_call *call, uint64_t number);

/* Takes in the server's headers for this call, or drops them; call NULL, and the rest, as for call_receive. */
int call_receive_headers(struct connection *connection, struct lane_ends *ends, const struct ring_record *record,
                         struct client_call *call);

/* Drops a record that nobody waits for. Likewise. */
int call_drop(struct connection *connection, struct lane_ends *ends, const struct ring_record *record);

/* Has the reply give this loan back. */
void call_borrow(struct connection *connection, struct reply *reply, int64_t loan);

/* Ends the call with the reply in this record; call NULL: nobody waits for it any more. Advances the ring. Negative: the server
 * broke the protocol, and the call has not ended. */
int call_receive(struct connection *connection, struct lane_ends *ends, const struct ring_record *record,
                 struct client_call *call);

/* ---- entries of the transport table ----------------------------------------------------------------------- */

int shm_lane_open(struct connection *connection, uint64_t deadline_ns, struct lane **out);
void shm_lane_close(struct lane *lane);
int shm_connect(const char *address, const baton_channel_options *options, uint64_t deadline_ns,
                struct client_sink *sink, struct connection **out, baton_code *code);
void shm_call(struct lane *lane, struct client_call *call);
int shm_oneway(struct lane *lane, struct client_call *call);
int shm_flush(struct lane *lane, uint64_t deadline_ns);
int shm_async_open(struct connection *connection, baton_loop *loop, uint64_t deadline_ns, void (*lost)(void *context),
                   void *context, struct async_lane **out);
int shm_async_start(struct async_lane *lane, struct client_call *call);
bool shm_async_cancel(struct async_lane *lane, struct client_call *call);
void shm_async_close(struct async_lane *lane);
enum connection_state shm_state(const struct connection *connection);
void shm_hang_up(struct connection *connection);
void *shm_alloc(struct connection *connection, size_t size);
bool shm_free(struct connection *connection, void *memory);
struct connection *shm_ref(struct connection *connection);
void shm_unref(struct connection *connection);

#endif
