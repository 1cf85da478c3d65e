/* What the tests of streams share: kinds of handlers for the fixture, and the server's counts. */
#ifndef CONFORMANCE_STREAMS_H
#define CONFORMANCE_STREAMS_H

#include "fixture.h"

/* Sanitizers make everything slow: so many times less of what only has to be much. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { LESS = 10 };
#else
enum { LESS = 1 };
#endif

extern bool blocking; /* the server's handlers run on threads where they may wait */

/* Set-up: handlers on the worker, or on threads of their own. Tear-down: expects that no handler is left. */
int begin_inline(void **state);
int begin_blocking(void **state);
int end_settled(void **state);

/* The same with these options beside handler_threads; NULL: the defaults. For tests that set up themselves. */
void open_with(baton_server_options server, const baton_channel_options *client);
void close_both(void);

/* The server's counts, after the command; through a channel of its own. They live until the next call. */
Conformance__Counts control(Conformance__Command command);
Conformance__Counts counts_now(void);

/* Waits until a count has at least this value. */
enum count { LIVE, RECEIVED, SENT, TOLD, CANCELLED, STALLED_NOW };
bool reaches(enum count count, uint64_t value);
/* Waits until no handler is left. */
bool settles(void);
/* Waits until a count stands still for 100 ms; its value. */
uint64_t stands_at(enum count count);

/* An item; data may be NULL. */
Conformance__Item item_of(uint64_t value, const void *data, size_t size);
Conformance__Script script_of(void);

/* Writes `n` items of `size` bytes of pattern `value` with values from `first` on; the first with the script, unless NULL. Stops at the
 * first failure, which it returns. */
int write_items(baton_stream *stream, uint64_t first, uint64_t n, size_t size, Conformance__Script *script,
                int (*write)(baton_stream *, const Conformance__Item *));

/* Reads to the end; the number of items, which have to count up from `first`. */
uint64_t read_items(baton_stream *stream, uint64_t first, int (*read)(baton_stream *, const Conformance__Item **));

/* A whole stream that has to succeed. */
void expect_chat_at(baton_channel *on, uint64_t n, const char *file, int line);
#define expect_chat(on, n) expect_chat_at(on, n, __FILE__, __LINE__)

#endif
