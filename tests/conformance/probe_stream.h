/* The streaming handlers of the service Probe, and what they share. */
#ifndef CONFORMANCE_PROBE_STREAM_H
#define CONFORMANCE_PROBE_STREAM_H

#include "probe.baton.h"
#include <baton/baton.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { MOST_KEPT = 1 << 16, MOST_NOTES = 64 };

struct talk;

/* Counts of all streams of one server, and what they wait for. */
struct talks {
        bool blocking; /* handlers run on threads where they may wait */
        atomic_ullong live, received, sent, told, cancelled, deadline_ns;
        pthread_mutex_t lock; /* the rest */
        uint64_t go;          /* commands to go on */
        uint64_t n_waiting;   /* stalled handlers */
        struct talk *stalled; /* those of them that run on the worker */
        const Conformance__Item *kept[MOST_KEPT];
        uint32_t n_kept;
        int notes[MOST_NOTES];
        uint32_t n_notes;
};

void talks_init(struct talks *talks);
/* After the server: releases what is kept. */
void talks_deinit(struct talks *talks);

/* The handlers; context: struct talks. */
void talk_collect(baton_call *call, struct talks *talks);
void talk_produce(baton_call *call, const Conformance__Script *script, struct talks *talks);
void talk_chat(baton_call *call, struct talks *talks);
void talk_wait(baton_call *call, const Conformance__Script *script, struct talks *talks);
void talk_control(baton_call *call, const Conformance__Command *command, struct talks *talks);

/* This process' resident memory in bytes, and its open descriptors. */
uint64_t resident_bytes(void);
uint64_t open_files(void);

#endif
