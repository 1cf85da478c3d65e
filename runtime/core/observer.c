#include "core/observer.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>

static int make(const char *owner, bool counters, struct observer *observer)
{
        observer->counters = counters ? counters_new() : NULL;
        return counters && !observer->counters
                       ? error_set(-ENOMEM, "cannot make the counters of a %s: out of memory", owner)
                       : 0;
}

int observer_new(const char *owner, const baton_interceptor *interceptors, size_t n, size_t max_metadata_bytes,
                 bool counters, struct observer **observer)
{
        *observer = NULL;
        if (!n && !counters)
                return 0;
        struct observer *new = calloc(1, sizeof *new);
        if (!new)
                return error_set(-ENOMEM, "cannot make a %s: out of memory", owner);
        atomic_init(&new->references, 1);
        int error = interceptors_init(&new->interceptors, owner, interceptors, n, max_metadata_bytes);
        if (error >= 0)
                error = make(owner, counters, new);
        if (error < 0) {
                free(new);
                return error;
        }
        *observer = new;
        return 0;
}

void observer_ref(struct observer *observer)
{
        atomic_fetch_add_explicit(&observer->references, 1, memory_order_relaxed);
}

void observer_unref(struct observer *observer)
{
        if (!observer || atomic_fetch_sub_explicit(&observer->references, 1, memory_order_acq_rel) != 1)
                return;
        counters_free(observer->counters);
        free(observer);
}

baton_code observed_begin(struct observed *observed, struct observer *observer, const baton_method *method,
                          const char **text)
{
        observed->observer = observer;
        observed->method = method;
        if (observer->counters)
                counters_begin(observer->counters, method, &observed->begun);
        atomic_init(&observed->sent, 0);
        atomic_init(&observed->received, 0);
        return observer->interceptors.n ? interceptors_begin(&observed->frame, &observer->interceptors, text)
                                        : BATON_OK;
}

void observed_drop(struct observed *observed, const baton_status *status)
{
        if (observed->observer->interceptors.n)
                interceptors_end(&observed->frame, status);
}

void observed_end(struct observed *observed, const baton_status *status, const struct traffic *traffic)
{
        struct counters *counters = observed->observer->counters;
        if (counters)
                counters_end(
                        counters, observed->method, &observed->begun,
                        &(struct count){ .code = status->code,
                                         .sent = atomic_load_explicit(&observed->sent, memory_order_relaxed),
                                         .received = atomic_load_explicit(&observed->received, memory_order_relaxed),
                                         .traffic = traffic });
        observed_drop(observed, status);
}
