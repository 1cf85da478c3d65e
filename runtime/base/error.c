#include "base/error.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

/* Long enough for a path and a sentence; what is longer is cut. */
static _Thread_local char error_text[1024];

enum { LINES_PER_SECOND = 100 };

static baton_log_function log_function;
static void *log_context;

/* Formatted beside the text and then copied: an argument may be the old text itself. */
static void set_text(const char *format, va_list arguments)
{
        char text[sizeof error_text];
        vsnprintf(text, sizeof text, format, arguments);
        snprintf(error_text, sizeof error_text, "%s", text);
}

int error_set(int code, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        set_text(format, arguments);
        va_end(arguments);
        return code;
}

int baton_error_set(int code, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        set_text(format, arguments);
        va_end(arguments);
        return code;
}

const char *baton_error(void)
{
        return error_text;
}

void baton_log_set(baton_log_function function, void *context)
{
        log_function = function;
        log_context = context;
}

/* A peer can cause lines as fast as it likes: at most so many a second get through. No lock, which a fork() could catch held. */
static bool within_limit(uint32_t *dropped)
{
        static _Atomic uint64_t window; /* the second << 32 | lines in it */
        uint64_t second = clock_now_ns() / 1000000000u;
        uint64_t old = atomic_load_explicit(&window, memory_order_relaxed), now;
        do
                now = old >> 32 == second ? old + 1 : second << 32 | 1;
        while (!atomic_compare_exchange_weak_explicit(&window, &old, now, memory_order_relaxed, memory_order_relaxed));
        bool first = old >> 32 != second;
        *dropped = first && (uint32_t)old > LINES_PER_SECOND ? (uint32_t)old - LINES_PER_SECOND : 0;
        return (uint32_t)now <= LINES_PER_SECOND;
}

void log_line(baton_log_level level, const char *format, ...)
{
        uint32_t dropped;
        if (!log_function || !within_limit(&dropped))
                return;
        if (dropped) {
                char note[64];
                snprintf(note, sizeof note, "%u lines were dropped here", dropped);
                log_function(BATON_LOG_WARNING, note, log_context);
        }
        char line[1024];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        log_function(level, line, log_context);
}

const char *baton_code_name(int code)
{
        static const char *const names[] = {
                "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
                "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
                "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
                "DATA_LOSS", "UNAUTHENTICATED",
        };
        return code >= 0 && code < (int)(sizeof names / sizeof *names) ? names[code] : "UNKNOWN";
}
