/* What the crash and hostile tests share: helper processes, the clock, what a process holds, and checks. */
#ifndef CRASH_SUPPORT_H
#define CRASH_SUPPORT_H

#include "peer.baton.h"
#include <baton/baton.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- checks: plain output, and the first failure ends the program with status 1 ----------------------------- */

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether memory figures mean something: not under a sanitizer, which keeps freed memory. */
bool memory_counts(void);

/* ---- place and time ---------------------------------------------------------------------------------------- */

/* A directory of this program's own, removed at exit; and the address of a socket in it. */
const char *place(void);
const char *address(void);
const char *socket_path(void);

uint64_t now_ns(void);
void sleep_ms(unsigned ms);

/* ---- processes --------------------------------------------------------------------------------------------- */

/* A helper program; dies with the thread that started it. */
struct process {
        pid_t pid;
        int out; /* its standard output */
};

/* Runs a helper of tests/crash with these arguments (NULL-terminated) and waits until it says "ready". Exits on failure. */
struct process start(const char *program, const char *const *arguments);
/* The usual server at address(). */
struct process start_server(void);
/* The same without waiting, and the line that the program prints first ("" when it ends without one). */
struct process spawn(const char *program, const char *const *arguments);
void first_line(const struct process *process, char line[256]);
/* For helpers: forks a child that lives on, without exec, until nobody reads the output any more. When this returns, the child is
 * through with fork(). The child's number, or negative. */
pid_t leave_child(void);
/* Ends it with this signal and reaps it; its wait status. */
int end(struct process *process, int signal_number);
/* SIGSTOP, and waits until it stands; SIGCONT. */
void stop(const struct process *process);
void go_on(const struct process *process);
bool running(const struct process *process);

/* What a process holds; 0 is this one. */
struct holding {
        int fds;
        int maps;
        long anonymous_kb; /* private memory */
        long shared_kb;    /* resident shared memory */
};
struct holding holding(pid_t pid);
/* Waits until the process holds no more than before, with this much slack; fails after 5 s. */
void check_back(pid_t pid, struct holding before, int slack_maps, long slack_kb, const char *what);

/* ---- calls ------------------------------------------------------------------------------------------------- */

struct outcome {
        baton_code code;
        bool maybe_executed;
        uint64_t number;
        size_t size;
};

baton_channel *open_channel(const baton_channel_options *options);
/* One call each; the reply is checked and released. timeout_ms 0: none. */
struct outcome call_echo(baton_channel *channel, uint64_t number, size_t size, uint32_t timeout_ms);
struct outcome call_make(baton_channel *channel, size_t size, uint64_t nap_ms, uint32_t timeout_ms);
struct outcome call_hold(baton_channel *channel, uint32_t timeout_ms);
struct outcome call_nap(baton_channel *channel, uint64_t ms, uint32_t timeout_ms);
/* What the server says; fails the test where it does not answer within 5 s. */
Test__Facts look(baton_channel *channel);
Test__Facts release_held(baton_channel *channel);
/* Waits until that many calls are held. */
void await_held(baton_channel *channel, uint64_t n);

/* p in 0…100 of n values, sorted in place. */
uint64_t percentile(uint64_t *values, size_t n, unsigned p);

#endif
