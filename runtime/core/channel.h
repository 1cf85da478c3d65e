/* A channel's insides: what channel.c, unary.c and unary_async.c share. */
#ifndef CORE_CHANNEL_H
#define CORE_CHANNEL_H

#include "base/list.h"
#include "core/reply.h"
#include <pthread.h>

enum { CALLERS = 56 }; /* lanes for blocking calls; further ones of the connection are for loops */

/* A lane that one thread at a time leases for a blocking call. */
struct caller {
        _Alignas(64) atomic_bool leased;
        struct connection *connection; /* the one the lane belongs to */
        struct lane *lane;             /* NULL: none yet */
        struct reply_home *home;
};

/* The asynchronous calls of one loop. */
struct channel_loop {
        baton_channel *channel;
        baton_loop *loop;
        struct connection *connection;
        struct async_lane *lane;
        struct reply_home *home;
        struct list link;
};

/* A connection, and how many blocks of its payload memory the user holds. */
struct source {
        struct connection *connection;
        size_t n_blocks;
        struct list link;
};

struct baton_channel {
        struct client_sink sink;
        const struct transport *transport;
        char *address;
        baton_channel_options options; /* defaults filled in */
        uint64_t fork_generation;
        pthread_mutex_t lock;  /* connecting, which may take a while, and all below */
        struct source *source; /* the newest connection; NULL: none yet */
        struct list past;      /* lost ones whose memory the user still holds */
        bool closing;
        struct list loops;

        pthread_mutex_t callers_lock; /* the rest; never held while something blocks */
        struct list early;            /* reply boxes of asynchronous calls that ended at once */
        struct caller *callers[CALLERS];
        atomic_uint n_callers; /* those before it are set for good */
        pthread_cond_t caller_free;
        atomic_uint waiting; /* threads that wait for a caller */
};

/* The transport that an address names; NULL with the reason set where the address is malformed. */
const struct transport *transport_for(const char *address);

/* Whether the channel may be used in this process; if not, the reason is set. */
bool channel_usable(const baton_channel *channel);

/* When the call is over, by its options. CLOCK_MONOTONIC; 0: never. */
uint64_t channel_deadline(const baton_call_options *options);

/* Takes the lock, or -ETIMEDOUT with the reason set. */
int channel_lock(baton_channel *channel, uint64_t deadline_ns);

/* Connects where no living connection is there; the lock is held. 0, or a negative errno with the reason set and *code. */
int channel_connect(baton_channel *channel, uint64_t deadline_ns, baton_code *code);

void callers_init(baton_channel *channel);
void callers_deinit(baton_channel *channel);

/* Callers that nobody leases let go of a lost connection: its fds and memory would stay until they are leased again. */
void callers_drop_idle(baton_channel *channel);

/* Leases a caller; NULL: no memory, or the deadline. */
struct caller *channel_lease(baton_channel *channel, uint64_t deadline_ns);
void channel_give_back(baton_channel *channel, struct caller *caller);

/* Sees to it that the caller has a lane to a living server. As channel_connect. */
int channel_ready(baton_channel *channel, struct caller *caller, uint64_t deadline_ns, baton_code *code);

/* Closes the loop's lane and frees it; it is in no list any more. The loop's thread. */
void channel_loop_free(struct channel_loop *loop);

/* What is wrong with a call of this method, in words; NULL: nothing. */
const char *channel_wrong_call(const baton_channel *channel, const baton_method *method,
                               const ProtobufCMessage *request);

/* The parts of a call that do not depend on how it is made. */
void channel_fill_call(const baton_channel *channel, struct client_call *call, const baton_method *method,
                       const ProtobufCMessage *request, uint64_t deadline_ns);

#endif
