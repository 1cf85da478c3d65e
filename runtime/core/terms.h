/* What the options of one call come to, with what it inherits from the call it is made for. */
#ifndef CORE_TERMS_H
#define CORE_TERMS_H

#include "core/trace.h"
#include "transport/transport.h"

enum { TERMS_ENTRIES = 8 };

/* How long a call waits for what it needs. */
struct patience {
        const char *who;             /* the method, for texts */
        uint64_t deadline_ns;        /* 0: none */
        _Atomic uint32_t *cancelled; /* becomes 1; NULL: cannot be cancelled */
        bool wait_for_ready;
};

struct call_terms {
        struct patience patience;
        baton_cancel *cancel;
        size_t max_request_bytes;
        size_t max_reply_bytes;
        const baton_metadata *metadata; /* checked; NULL: none. The user's, or the next with room for one entry more */
        baton_metadata extended;
        baton_metadata_entry *allocated; /* NULL: `entries` was enough */
        baton_metadata_entry entries[TERMS_ENTRIES];
        char traceparent[TRACEPARENT_SIZE];
};

/* 0, and call_terms_deinit is due; or -EINVAL, -EMSGSIZE, -ENOMEM with the reason set. */
int call_terms_init(struct call_terms *terms, const baton_channel *channel, const baton_method *method,
                    const baton_call_options *options);
void call_terms_deinit(struct call_terms *terms);

/* Sets the first part of a call; reply is left to the caller. */
void call_terms_apply(const struct call_terms *terms, struct client_call *call, const baton_method *method,
                      const ProtobufCMessage *request);

/* Whether it was cancelled. */
static inline bool patience_cancelled(const struct patience *patience)
{
        return patience->cancelled && atomic_load_explicit(patience->cancelled, memory_order_acquire);
}

/* Whether nobody waits any more; then sets the reason, and *code. doing: what for, as "while connecting to shm:x". */
bool patience_ended(const struct patience *patience, const char *doing, baton_code *code);

static inline bool patience_over(const struct patience *patience, const char *doing, baton_code *code)
{
        return (patience->deadline_ns || patience->cancelled) && patience_ended(patience, doing, code);
}

#endif
