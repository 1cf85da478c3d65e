/*
 * What the conformance tests share: the transports they run over, servers to call, and checks.
 *
 * Every test program is run as PROGRAM TRANSPORT SERVERS: over one transport of transports.c, with servers on threads of
 * its own ("threads") or in processes of their own ("processes").
 */
#ifndef CONFORMANCE_HARNESS_H
#define CONFORMANCE_HARNESS_H

#include "probe.h"
#include <baton/baton.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
/* after those above, as it demands */
#include <cmocka.h>

enum { LONGEST_ADDRESS = 160 };

/* ---- transports ------------------------------------------------------------------------------------------- */

struct transport_case {
        const char *name;
        /* A fresh pair of addresses: where a server listens, and what a channel to it is opened with. `scratch` is a directory
         * of the test program's own, and its $XDG_RUNTIME_DIR. */
        void (*addresses)(const char *scratch, char listen[LONGEST_ADDRESS], char channel[LONGEST_ADDRESS]);
        bool in_process;   /* servers and clients are of one process */
        bool by_reference; /* payloads are handed over without a copy */
        bool same_host;    /* the kernel vouches for the peer */
        bool shm;          /* addresses and handshake are those of runtime/shm */
};

extern const struct transport_case transports[];
extern const size_t n_transports;

/* ---- the running program ---------------------------------------------------------------------------------- */

extern const struct transport_case *transport; /* the one under test */
extern bool processes;                         /* servers are processes of their own */
extern char scratch[64];                       /* the directory */

/* Runs the tests as the command line says; main's result. */
int run_suite(int argc, char **argv, const struct CMUnitTest *tests, size_t n);

/* ---- servers ---------------------------------------------------------------------------------------------- */

struct peer {
        char listen[LONGEST_ADDRESS];
        char address[LONGEST_ADDRESS];
        struct probe *probe; /* on threads only, as is the next */
        baton_server *server;
        pid_t pid; /* 0: on threads */
};

/* A server of Probe at a fresh address. options NULL: the defaults. authorize works on threads only. */
void peer_start(struct peer *peer, const baton_server_options *options);
/* As above, always on threads of this process. */
void peer_start_here(struct peer *peer, const baton_server_options *options);
/* As above, always in a process of its own. */
void peer_start_process(struct peer *peer, const baton_server_options *options);
/* Serves again at the address that it had. */
void peer_restart(struct peer *peer, const baton_server_options *options);
/* Ends the server as suddenly as can be. */
void peer_kill(struct peer *peer);
/* Ends it in order. */
void peer_end(struct peer *peer);

/* Starts a program whose first output says that it is ready. */
pid_t start_program(char *const argv[]);

/* A channel to the server; fails the test where there is none. */
baton_channel *peer_open(const struct peer *peer, const baton_channel_options *options);

/* ---- checks ----------------------------------------------------------------------------------------------- */

/* The status has this code, and its message all of the words, which are separated by '|'. */
void expect_status_at(baton_status status, baton_code code, const char *words, const char *file, int line);
#define expect_status(status, code, words) expect_status_at(status, code, words, __FILE__, __LINE__)

/* baton_error() holds all of the words. */
void expect_error_at(const char *words, const char *file, int line);
#define expect_error(words) expect_error_at(words, __FILE__, __LINE__)

/* One echo of a few bytes works on this channel. */
void expect_alive_at(baton_channel *channel, const char *file, int line);
#define expect_alive(channel) expect_alive_at(channel, __FILE__, __LINE__)

/* Act with this value; the status, with nothing to release. The message lives until the thread's next call of it. */
baton_status act(baton_channel *channel, const Conformance__Order *order, const baton_call_options *options,
                 Conformance__Outcome *outcome);

/* Whether a log line with all of the words came since log_clear; waits for it a moment. */
bool log_has(const char *words);
void log_clear(void);

uint64_t now_ns(void);
void pause_ms(uint32_t ms);

/* Waits until condition(argument), at most five seconds. False: it did not come true. */
bool eventually(bool (*condition)(void *argument), void *argument);

/* `n` bytes that differ by seed and place, as Make's reply; malloc. */
uint8_t *pattern(size_t n, uint32_t seed);
bool is_pattern(const uint8_t *data, size_t n, uint32_t seed);

#endif
