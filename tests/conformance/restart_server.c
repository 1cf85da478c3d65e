/* restart-server ADDRESS listen|takeover: serves Probe in a process of its own, drains on SIGTERM, and when its address is taken
 * over. Writes a line when it serves. Dies with its parent. */
#include "program.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAIN_MS = 8000 };

static baton_server *server;

static int fail(const char *what)
{
        fprintf(stderr, "restart-server: %s: %s\n", what, baton_error());
        return 1;
}

static void *drain_on_signal(void *signals)
{
        int number;
        sigwait(signals, &number);
        if (baton_server_drain(server, DRAIN_MS) < 0)
                fail("drain");
        return NULL;
}

int main(int argc, char **argv)
{
        if (argc != 3)
                return 2;
        program_begin();
        sigset_t signals = program_block_sigterm();
        baton_server_options options = { .workers = 2,
                                         .takeover = strcmp(argv[2], "takeover") == 0,
                                         .drain_timeout_ms = DRAIN_MS };
        struct probe *probe = probe_new();
        server = baton_server_new(&options);
        if (!server || probe_serve(probe, server) < 0 || baton_server_listen(server, argv[1]) < 0)
                return fail("cannot serve");
        pthread_t thread;
        pthread_create(&thread, NULL, drain_on_signal, &signals);
        pthread_detach(thread);
        return program_serve(server, probe) < 0 ? fail("serving ended") : 0;
}
