/* A client's session with the store: its channel, and a count of what went over it. */
#ifndef KV_SESSION_H
#define KV_SESSION_H

#include "common/latency.h"
#include <baton/channel.h>
#include <stdint.h>

struct session {
        baton_channel *channel;
        baton_call_options options; /* of every call */
        struct latency latency;
        uint64_t moved;        /* bytes of keys and values, both ways */
        uint64_t by_reference; /* of these, not copied between the processes */
};

/* Notes one finished call. */
void session_count(struct session *session, uint64_t start_ns, uint64_t moved, uint64_t by_reference);

/* Counts the words of the text file in the store: one call of Add per word. */
void load_words(struct session *session, const char *path);

/* Compares the counts in the store with those of these files together; a file loaded twice must be named twice. Returns
 * how many words differ, after naming some of them. */
unsigned verify_words(struct session *session, char *const *paths, int n_paths);

#endif
