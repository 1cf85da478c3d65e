/* A client's session with the store: its channel, and a count of what went over it. */
#ifndef KV_SESSION_H
#define KV_SESSION_H

#include "common/latency.h"
#include <baton/channel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct session {
        baton_channel *channel;
        baton_call_options options;        /* of every call */
        baton_call_options stream_options; /* of every stream, which may take long */
        struct latency latency;
        uint64_t moved;        /* bytes of keys and values, both ways */
        uint64_t by_reference; /* of these, not copied between the processes */
};

FILE *open_text(const char *path);
void close_text(FILE *file, const char *path);

/* Notes one finished call. */
void session_count(struct session *session, uint64_t start_ns, uint64_t moved, uint64_t by_reference);

/* Counts the words of the text file in the store: one call of Add per word. */
void count_words(struct session *session, const char *path);

/* The same by one stream, as fast as it goes. */
void load_words(struct session *session, const char *path);

/* Prints the changes under a prefix as they happen, at most `most` of them (0: no limit), and first what is there now. */
void watch_keys(struct session *session, char *prefix, bool current, unsigned most);

/* Runs a transaction from stdin: lines of get KEY, put KEY VALUE, delete KEY, commit. Returns the exit status. */
int run_transaction(struct session *session);

/* Moves an amount from one number to another in a transaction, `repeat` times; begins again where others interfere. */
void transfer(struct session *session, char *from, char *to, int64_t amount, unsigned repeat);

/* Compares the counts in the store with those of these files together; a file loaded twice must be named twice. Returns
 * how many words differ, after naming some of them. */
unsigned verify_words(struct session *session, char *const *paths, int n_paths);

#endif
