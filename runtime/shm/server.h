/* The server's end: what listener.c, server_connection.c, server_lane.c and server_call.c share. */
#ifndef SHM_SERVER_H
#define SHM_SERVER_H

#include "base/loop.h"
#include "shm/inproc.h"
#include "shm/link.h"
#include "shm/message.h"
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
};

struct server_connection {
        atomic_uint references;    /* the loop's, and one of each call */
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
        atomic_uint n_calls;
        struct turn turn; /* of its calls, with core */
        struct server_lane *lanes[SHM_LANES];
        struct shm_server_call *spare;              /* calls for reuse; the loop's */
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
        struct shm_server_call *next;
        _Alignas(16) uint8_t first_chunk[2048]; /* of the arena: small calls need no malloc */
};

/* ---- server_connection.c ---------------------------------------------------------------------------------- */

/* Takes over an accepted socket, and its place with the sink; handshake and all else run on `loop`. */
void server_connection_adopt(struct listener *listener, baton_loop *loop, int socket, baton_peer peer);

/* Ends the connection; on its loop's thread, or while no loop runs. Frees it unless calls are left. */
void server_connection_close(struct server_connection *connection, const char *why);

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

/* Sends, or else parks, a failure. */
int server_fail(struct server_lane *lane, uint64_t number, baton_code code, bool not_run, const char *text);

/* Ends the connection of a client that broke the protocol; the lane's lock is held. Any thread: its loop closes it. */
void server_lane_condemn(struct server_lane *lane, const char *why);

/* Sends what is parked as far as there is room; the lane's lock is held. True when nothing is left. */
bool server_unpark(struct server_lane *lane);

/* Sees to it that the loop sends what was parked; the lane's lock is held. Any thread. */
void server_lane_attend(struct server_lane *lane);

/* Rings the client where it sleeps; the lane's lock is held. */
void server_lane_notify(struct server_lane *lane);

void server_calls_free(struct server_connection *connection);

#endif
