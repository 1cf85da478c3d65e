/*
 * What watches the calls of a channel or a server: its interceptors and its counters. Where it has neither there is no
 * observer, and a call costs one branch more.
 */
#ifndef CORE_OBSERVER_H
#define CORE_OBSERVER_H

#include "core/counters.h"
#include "core/interceptor.h"

struct observer {
        atomic_uint references; /* the channel's or server's, and one for each call that may outlive it */
        struct interceptors interceptors;
        struct counters *counters; /* NULL: off */
};

/* One call, from begin to end. Before observed_begin only frame.view is set, to what is known of the call. */
struct observed {
        struct observer *observer;
        const baton_method *method;
        struct count_begun begun;             /* where there are counters */
        _Atomic uint64_t sent, received;      /* messages; each has one writer at a time */
        struct baton_intercept_private frame; /* where there are interceptors */
};

/* *observer: NULL where there is nothing to watch. 0 or a negative errno with the reason set. owner: "channel" or "server". */
int observer_new(const char *owner, const baton_interceptor *interceptors, size_t n, size_t max_metadata_bytes,
                 bool counters, struct observer **observer);

void observer_ref(struct observer *observer);
/* NULL is allowed. */
void observer_unref(struct observer *observer);

/* The call begins: as interceptors_begin. */
baton_code observed_begin(struct observed *observed, struct observer *observer, const baton_method *method,
                          const char **text);

/* What is to be sent of metadata, where interceptors added some; NULL: they did not. */
static inline const baton_metadata *observed_metadata(const struct observed *observed)
{
        return observed->observer->interceptors.n && observed->frame.added.metadata.n ? &observed->frame.added.metadata
                                                                                      : NULL;
}

/* One message was sent, or received. */
static inline void observed_message(struct observed *observed, bool sent)
{
        _Atomic uint64_t *count = sent ? &observed->sent : &observed->received;
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The call has ended, and is counted. traffic: NULL: none. */
void observed_end(struct observed *observed, const baton_status *status, const struct traffic *traffic);

/* It was not made after all, for a local reason: only interceptors are told. */
void observed_drop(struct observed *observed, const baton_status *status);

#endif
