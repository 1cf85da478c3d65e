#include "core/observed_client.h"
#include "base/error.h"
#include "core/channel.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

baton_code client_observe(struct observed *observed, struct observer *observer, struct call_terms *terms,
                          const baton_method *method, const ProtobufCMessage *request)
{
        observed->frame.view = (baton_intercept){ .method = method->path,
                                                  .client = true,
                                                  .request = request,
                                                  .metadata = terms->metadata,
                                                  .deadline_ns = terms->patience.deadline_ns };
        const char *text;
        baton_code code = observed_begin(observed, observer, method, &text);
        if (code != BATON_OK)
                error_set(-EACCES, "%s", text);
        const baton_metadata *added = observed_metadata(observed);
        if (added)
                terms->metadata = added;
        return code;
}

void client_observed(struct observed *observed, const baton_status *status, const struct client_call *call)
{
        if (status->maybe_executed && !(call->method->flags & BATON_CLIENT_STREAMING))
                observed_message(observed, true);
        if (call->message && !(call->method->flags & BATON_SERVER_STREAMING))
                observed_message(observed, false);
        observed_end(observed, status, &call->traffic);
}

struct observed *observed_new(struct observer *observer, struct call_terms *terms, struct client_call *call,
                              baton_code *refused)
{
        struct observed *observed = malloc(sizeof *observed);
        if (!observed) {
                error_set(-ENOMEM, "%s: out of memory", call->method->path);
                return NULL;
        }
        observer_ref(observer);
        *refused = client_observe(observed, observer, terms, call->method, call->request);
        call->metadata = terms->metadata;
        return observed;
}

void observed_free(struct observed *observed)
{
        observer_unref(observed->observer);
        free(observed);
}

int observed_abandon(struct observed *observed, int error)
{
        char text[512];
        snprintf(text, sizeof text, "%s", baton_error());
        observed_drop(observed,
                      &(baton_status){ .code = error == -ECANCELED ? BATON_CANCELLED : BATON_RESOURCE_EXHAUSTED,
                                       .message = text });
        observed_free(observed);
        return error_set(error, "%s", text);
}

size_t baton_channel_counters(baton_channel *channel, baton_counters *out, size_t n)
{
        if (!channel || !channel->observer || !channel->observer->counters)
                return 0;
        return counters_read(channel->observer->counters, out, n);
}
