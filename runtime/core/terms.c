#include "core/terms.h"
#include "base/clock.h"
#include "base/error.h"
#include "core/cancel.h"
#include "core/channel.h"
#include "transport/metadata.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t lower(size_t limit, size_t wish)
{
        return wish && wish < limit ? wish : limit;
}

/* Appends the trace to the metadata, unless the user gave one. */
static int add_trace(struct call_terms *terms, size_t max_bytes)
{
        static const char key[] = "traceparent";
        const baton_metadata *user = terms->metadata;
        size_t n = user ? user->n : 0;
        size_t bytes = sizeof key - 1 + sizeof terms->traceparent - 1 + METADATA_ENTRY_COST;
        /* Not at the price of the call. */
        if (baton_metadata_find(user, key) || metadata_bytes(user) + bytes > max_bytes)
                return 0;
        baton_metadata_entry *entries = terms->entries;
        if (n >= TERMS_ENTRIES) {
                entries = terms->allocated = malloc((n + 1) * sizeof *entries);
                if (!entries)
                        return error_set(-ENOMEM, "out of memory");
        }
        if (n)
                memcpy(entries, user->entries, n * sizeof *entries);
        entries[n] = baton_text(key, terms->traceparent);
        terms->extended = (baton_metadata){ n + 1, entries };
        terms->metadata = &terms->extended;
        return 0;
}

static int inherit(struct call_terms *terms, const baton_channel *channel, const baton_call *parent)
{
        terms->patience.deadline_ns = deadline_earlier(terms->patience.deadline_ns, parent->deadline_ns);
        if (!trace_child(baton_metadata_text(&parent->metadata, "traceparent"), terms->traceparent))
                return 0;
        return add_trace(terms, channel->options.max_metadata_bytes);
}

int call_terms_init(struct call_terms *terms, const baton_channel *channel, const baton_method *method,
                    const baton_call_options *options)
{
        static const baton_call_options defaults;
        if (!options)
                options = &defaults;
        uint64_t relative = options->timeout_ms ? clock_now_ns() + options->timeout_ms * UINT64_C(1000000) : 0;
        const baton_call *parent = options->detached ? NULL : options->parent ? options->parent : baton_call_current();
        terms->patience.who = method->path;
        terms->patience.deadline_ns = deadline_earlier(options->deadline_ns, relative);
        terms->patience.wait_for_ready = options->wait_for_ready;
        terms->patience.cancelled = options->cancel ? &options->cancel->word : NULL;
        terms->cancel = options->cancel;
        terms->max_request_bytes = lower(channel->options.max_message_bytes, options->max_request_bytes);
        terms->max_reply_bytes = lower(channel->options.max_message_bytes, options->max_reply_bytes);
        terms->metadata = options->metadata && options->metadata->n ? options->metadata : NULL;
        terms->allocated = NULL;
        int error = 0;
        if (terms->metadata)
                error = metadata_check(terms->metadata, channel->options.max_metadata_bytes, false);
        if (error >= 0 && parent)
                error = inherit(terms, channel, parent);
        return error < 0 ? error_set(error, "%s: %s", method->path, baton_error()) : 0;
}

void call_terms_deinit(struct call_terms *terms)
{
        if (terms->allocated)
                free(terms->allocated);
}

void call_terms_apply(const struct call_terms *terms, struct client_call *call, const baton_method *method,
                      const ProtobufCMessage *request)
{
        /* Field by field, and without those that the transport fills: clearing it all takes longer. */
        call->method = method;
        call->request = request;
        call->metadata = terms->metadata;
        call->deadline_ns = terms->patience.deadline_ns;
        call->reply = NULL;
        call->max_request_bytes = terms->max_request_bytes;
        call->max_reply_bytes = terms->max_reply_bytes;
        call->cancelled = terms->patience.cancelled;
        call->done = NULL;
        call->number = 0;
        call->message = NULL;
        call->code = BATON_OK;
        call->maybe_executed = false;
        call->traffic = (struct traffic){ 0 };
}

bool patience_ended(const struct patience *patience, const char *doing, baton_code *code)
{
        if (patience_cancelled(patience)) {
                *code = BATON_CANCELLED;
                error_set(-ECANCELED, "%s: the call was cancelled %s", patience->who, doing);
        } else if (deadline_passed(patience->deadline_ns)) {
                *code = BATON_DEADLINE_EXCEEDED;
                error_set(-ETIMEDOUT, "%s: the deadline passed %s", patience->who, doing);
        } else {
                return false;
        }
        return true;
}
