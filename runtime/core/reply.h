/*
 * Replies and their reuse. A home belongs to whoever makes calls one at a time (a caller slot, or the calls of one loop);
 * replies are taken by that owner only, and come back from any thread.
 */
#ifndef CORE_REPLY_H
#define CORE_REPLY_H

#include "base/loop.h"
#include "transport/transport.h"

struct reply_home;

/* A reply, and what core remembers of an asynchronous call that waits for it. */
struct reply_box {
        struct reply reply;
        atomic_uint holds;
        struct reply_home *home; /* NULL: freed instead of reused */
        size_t budget;           /* of its arena */
        struct reply_box *next;
        const ProtobufCMessage *message; /* of a stream */
        struct client_call call;         /* asynchronous only, as is the rest */
        baton_callback callback;
        void *context;
        baton_channel *channel;
        baton_loop *loop;
        struct pending *pending;                /* core/pending.h; NULL for most calls */
        struct observed *observed;              /* core/observer.h; NULL: not */
        struct loop_task task;                  /* delivers an outcome that was known at once */
        struct list link;                       /* of the channel's `early`, then */
        _Alignas(16) uint8_t first_chunk[1024]; /* of the arena: small replies need no malloc */
};

/* NULL: no memory. The owner's reference. */
struct reply_home *reply_home_new(void);

/* The owner's reference goes; replies that are out keep the home until they are released. */
void reply_home_leave(struct reply_home *home);

/* A fresh reply with one hold, for messages up to that size; the owner only. home NULL: a single one. NULL: no memory. */
struct reply_box *reply_take(struct reply_home *home, size_t max_message_bytes);

/* What it takes of memory, payloads in the peer's left out. */
size_t reply_bytes(const struct reply_box *box);

/* Gives one hold back. */
void reply_drop(struct reply_box *box);

/* The same, where the holder wants another reply next: the box itself, fresh and with one hold, if nobody else holds it; else NULL. */
struct reply_box *reply_renew(struct reply_box *box);

/* Where the outcome's text is still in baton_error(), copies it into the reply. */
void reply_keep_text(struct reply_box *box);

/* Makes the outcome of a call into what the user sees. On failure an empty message of the type is made. */
baton_status reply_status(struct reply_box *box, const struct client_call *call, const ProtobufCMessage **message);

#endif
