#include "common/watching.h"
#include "common/latency.h"
#include "common/report.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a log ------------------------------------------------------------------------------------------------ */

static baton_code log_begin(baton_intercept *intercept, void *context)
{
        (void)context;
        intercept->state = (void *)(uintptr_t)now_ns();
        return BATON_OK;
}

static void log_end(baton_intercept *intercept, const baton_status *status, void *context)
{
        (void)context;
        uint64_t took_ns = now_ns() - (uintptr_t)intercept->state;
        fprintf(stderr, "%s: process %d called %s: %s after %.1f us%s%s\n", program_invocation_short_name,
                (int)baton_call_peer(intercept->call).pid, intercept->method, baton_code_name(status->code),
                (double)took_ns / 1000, status->message[0] ? ": " : "", status->message);
}

baton_interceptor log_calls(void)
{
        return (baton_interceptor){ .begin = log_begin, .end = log_end };
}

/* ---- a token ---------------------------------------------------------------------------------------------- */

static const char scheme[] = "Bearer ";

/* Takes as long however much of it is right. */
static bool same_token(const char *left, const char *right)
{
        size_t n = strlen(left);
        if (n != strlen(right))
                return false;
        int difference = 0;
        for (size_t i = 0; i < n; i++)
                difference |= left[i] ^ right[i];
        return difference == 0;
}

static baton_code check_token(baton_intercept *intercept, void *context)
{
        const char *sent = baton_metadata_text(intercept->metadata, "authorization");
        if (sent && strncmp(sent, scheme, sizeof scheme - 1) == 0 && same_token(sent + sizeof scheme - 1, context))
                return BATON_OK;
        return baton_intercept_refuse(intercept, BATON_UNAUTHENTICATED,
                                      "%s: send the server's token as metadata, authorization: Bearer TOKEN",
                                      sent ? "the token is not the server's" : "there is no token");
}

baton_interceptor require_token(const char *token)
{
        return (baton_interceptor){ .begin = check_token, .context = (void *)token };
}

static baton_code add_token(baton_intercept *intercept, void *context)
{
        char text[256];
        int size = snprintf(text, sizeof text, "%s%s", scheme, (const char *)context);
        if (size >= (int)sizeof text || baton_intercept_add(intercept, "authorization", text, (size_t)size) < 0)
                return baton_intercept_refuse(intercept, BATON_INVALID_ARGUMENT, "the token cannot be sent: %s",
                                              size < (int)sizeof text ? baton_error() : "it is too long");
        return BATON_OK;
}

baton_interceptor send_token(const char *token)
{
        return (baton_interceptor){ .begin = add_token, .context = (void *)token };
}

/* ---- counters --------------------------------------------------------------------------------------------- */

void print_counters(baton_server *server)
{
        enum { METHODS = 64 };
        static baton_counters counters[METHODS];
        size_t n = baton_server_counters(server, counters, METHODS);
        for (size_t i = 0; i < n && i < METHODS; i++) {
                const baton_counters *at = &counters[i];
                if (!at->calls)
                        continue;
                fprintf(stderr, "counted %-22s %8" PRIu64 " calls, %" PRIu64 " failed; p50 %.1f us, p99 %.1f us\n",
                        at->method, at->calls, at->calls - at->by_code[BATON_OK],
                        (double)baton_latency_quantile(at, 0.5) / 1000,
                        (double)baton_latency_quantile(at, 0.99) / 1000);
        }
}
