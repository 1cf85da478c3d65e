/* A channel's insides: what the files of its parts share. */
#ifndef CORE_CHANNEL_H
#define CORE_CHANNEL_H

#include "base/list.h"
#include "core/reply.h"
#include "core/terms.h"
#include <pthread.h>

enum {
        CALLERS = 48, /* lanes for blocking calls; further ones of the connection are for loops, */
        PUMPS = 4,    /* those of blocking streams among them */
};

enum { UNTOLD = 16 };

/* A lane that one thread at a time leases for a blocking call. */
struct caller {
        _Alignas(64) atomic_bool leased;
        atomic_bool unflushed;         /* one-way calls were made that no flush has waited for */
        atomic_bool lost;              /* the server went, and maybe such calls with it, which no flush has told */
        struct connection *connection; /* the one the lane belongs to */
        struct lane *lane;             /* NULL: none yet */
        struct reply_home *home;
};

/* A connection that is not down, or how many blocks of its payload memory the user holds. */
struct source {
        struct connection *connection;
        size_t n_blocks;
        struct list link;
};

/* The pause after failed attempts to connect; connect.c. */
struct backoff {
        uint64_t pause_ns; /* the next one, before the jitter; 0: the last attempt did not fail */
        uint64_t until_ns; /* no attempt before */
        int error;         /* of the last one, as are the next */
        baton_code code;
        char text[512];
};

struct baton_channel {
        struct client_sink sink;
        const struct transport *transport;
        char *address;
        baton_channel_options options; /* defaults filled in */
        struct observer *observer;     /* NULL: none */
        uint64_t fork_generation;

        pthread_mutex_t lock;      /* connect.c's; no transport is called under it but for state and ref */
        struct connection *newest; /* NULL: none */
        bool connecting;           /* some thread does */
        uint32_t n_connected;      /* times */
        baton_channel_state state;
        baton_channel_state untold[UNTOLD]; /* changes that the user is to be told of */
        uint32_t n_untold;
        bool telling;           /* some thread is */
        pthread_cond_t changed; /* connecting or state */
        struct backoff backoff;

        pthread_mutex_t sources_lock; /* memory.c's */
        struct list sources;

        pthread_mutex_t lanes_lock; /* async_lanes.c's; nothing blocks under it */
        struct list loops;
        struct pump *pumps[PUMPS]; /* NULL: not needed so far */
        struct list early;         /* reply boxes of asynchronous calls that ended at once */
        struct list waiting_calls; /* pending.c's: for their next attempt */
        struct list connectors;    /* connector.c's */
        _Atomic uint32_t
                closing; /* set under the lock, and by then nobody adds anything above; release: connecting stops */
        pthread_cond_t lane_added;
        pthread_mutex_t opening; /* held while a lane is opened */

        pthread_mutex_t callers_lock; /* callers.c's; nothing blocks under it */
        struct caller *callers[CALLERS];
        atomic_uint n_callers; /* those before it are set for good */
        pthread_cond_t caller_free;
        atomic_uint waiting; /* threads that wait for a caller */

        _Atomic int64_t tokens; /* retry.c's, in tenths */
};

/* The transport that an address names; NULL with the reason set where the address is malformed. */
const struct transport *transport_for(const char *address);

/* Whether baton_channel_close has begun. The lock of the lanes is held. */
static inline bool channel_closing(const baton_channel *channel)
{
        return atomic_load_explicit(&channel->closing, memory_order_relaxed);
}

/* Whether the channel may be used in this process; if not, the reason is set. */
bool channel_usable(const baton_channel *channel);

/* When an attempt to do something at the server is given up: by the options and the deadline. */
uint64_t channel_attempt_end(const baton_channel *channel, uint64_t deadline_ns);

void connect_init(baton_channel *channel);
void sources_init(baton_channel *channel);
void sources_deinit(baton_channel *channel);
int sources_add(baton_channel *channel, struct connection *connection);
/* Lets go of connections that are down, and whose memory nobody holds. */
void sources_prune(baton_channel *channel);
void sources_hang_up(baton_channel *channel);

/* Hangs up: no transport's thread enters the channel any more. */
void connect_close(baton_channel *channel);
void connect_deinit(baton_channel *channel);

/* A reference to a living connection; connects where there is none. 0, or a negative errno with the reason set and *code: what
 * calls that wait for it end with. */
int channel_connect(baton_channel *channel, const struct patience *patience, baton_code *code,
                    struct connection **connection);

/* Whether a call may wait for a connection: 0, and *due_ns as the next; or it fails at once, within a pause after a failed
 * attempt, as channel_connect. */
int channel_admit(baton_channel *channel, bool wait_for_ready, baton_code *code, uint64_t *due_ns);

/* When the pause after a failed attempt is over; 0, or what is past: now. */
uint64_t channel_next_attempt(baton_channel *channel);

/* -EPIPE, for a connection that was up and is gone. */
int channel_vanished(const baton_channel *channel);

void callers_init(baton_channel *channel);
void callers_deinit(baton_channel *channel);

/* Callers that nobody leases let go of a lost connection: its fds and memory would stay until they are leased again. */
void callers_drop_idle(baton_channel *channel);

/* Leases a caller; NULL with the reason set, and *code. */
struct caller *channel_lease(baton_channel *channel, const struct patience *patience, baton_code *code);
/* Waits for this very caller; false: the deadline. */
bool channel_lease_this(baton_channel *channel, struct caller *caller, uint64_t deadline_ns);
void channel_give_back(baton_channel *channel, struct caller *caller);

/* Sees to it that the caller has a lane to a living server. As channel_connect. */
int channel_ready(baton_channel *channel, struct caller *caller, const struct patience *patience, baton_code *code);

/* What is wrong with a call of this method, in words; NULL: nothing. */
const char *channel_wrong_call(const baton_channel *channel, const baton_method *method,
                               const ProtobufCMessage *request);

#endif
