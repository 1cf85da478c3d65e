#define _GNU_SOURCE
#include "core/retry.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/random.h"

enum { TENTHS = 10 }; /* a success gives back a tenth of a token */

uint64_t jitter(uint64_t ns)
{
        return ns / 1000 * (800 + random_u64() % 401);
}

void retry_init(baton_channel *channel)
{
        atomic_init(&channel->tokens, (int64_t)channel->options.retry.budget * TENTHS);
}

/* Adds tenths of tokens; returns how many there are now. Only a count: it orders nothing. */
static int64_t add_tokens(baton_channel *channel, int64_t tenths)
{
        int64_t most = (int64_t)(int64_t)channel->options.retry.budget * TENTHS;
        int64_t old = atomic_load_explicit(&channel->tokens, memory_order_relaxed), now;
        do {
                now = old + tenths < 0 ? 0 : old + tenths < most ? old + tenths : most;
                if (now == old)
                        break;
        } while (!atomic_compare_exchange_weak_explicit(&channel->tokens, &old, now, memory_order_relaxed,
                                                        memory_order_relaxed));
        return now;
}

static uint64_t pause_ns(const baton_retry *retry, uint32_t attempts)
{
        uint64_t pause = retry->initial_backoff_ms * UINT64_C(1000000);
        uint64_t most = retry->max_backoff_ms * UINT64_C(1000000);
        for (uint32_t i = 1; i < attempts && pause < most; i++)
                pause += pause / 2;
        return jitter(pause < most ? pause : most);
}

bool retry_due(baton_channel *channel, const struct client_call *call, uint32_t attempts, uint64_t *at_ns)
{
        const baton_retry *retry = &channel->options.retry;
        if (call->code == BATON_OK) {
                add_tokens(channel, 1);
                return false;
        }
        bool allowed = !call->maybe_executed || call->method->flags & BATON_IDEMPOTENT;
        if (!allowed || !(retry->codes & 1u << call->code))
                return false;
        int64_t tokens = add_tokens(channel, -TENTHS);
        if (attempts >= retry->max_attempts || 2 * tokens < (int64_t)retry->budget * TENTHS)
                return false;
        *at_ns = clock_now_ns() + pause_ns(retry, attempts);
        return !call->deadline_ns || *at_ns < call->deadline_ns;
}

bool retry_pause(const struct patience *patience, uint64_t at_ns)
{
        struct timespec until = clock_timespec(at_ns);
        while (!patience_cancelled(patience) && !deadline_passed(at_ns)) {
                if (patience->cancelled)
                        futex_wait(patience->cancelled, 0, &until);
                else
                        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        return !patience_cancelled(patience);
}
