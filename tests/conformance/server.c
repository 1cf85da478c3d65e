/* conformance-server LISTEN WORKERS MAX_CONNECTIONS MAX_CALLS MAX_MESSAGE_BYTES MAX_HEAP_BYTES NO_SPIN HANDLER_THREADS
 * MAX_HELD_BYTES MAX_METADATA_BYTES STREAM_WINDOW_BYTES: serves Probe in a process of its own; writes a line when it listens. Dies with its parent. */
#include "program.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static baton_server *server;

static void stop(int signal_number)
{
        (void)signal_number;
        baton_server_stop(server);
}

static int fail(const char *what)
{
        fprintf(stderr, "conformance-server: %s: %s\n", what, baton_error());
        return 1;
}

int main(int argc, char **argv)
{
        if (argc != 12)
                return 2;
        program_begin();
        baton_server_options options = { .workers = (uint32_t)atol(argv[2]),
                                         .max_connections = (uint32_t)atol(argv[3]),
                                         .max_calls = (uint32_t)atol(argv[4]),
                                         .max_message_bytes = strtoull(argv[5], NULL, 10),
                                         .max_heap_bytes = strtoull(argv[6], NULL, 10),
                                         .no_spin = atol(argv[7]),
                                         .handler_threads = (uint32_t)atol(argv[8]),
                                         .max_held_bytes = strtoull(argv[9], NULL, 10),
                                         .max_metadata_bytes = strtoull(argv[10], NULL, 10),
                                         .stream_window_bytes = (uint32_t)atol(argv[11]) };
        struct probe *probe = probe_new();
        if (options.handler_threads)
                probe_set_blocking(probe);
        server = baton_server_new(&options);
        if (!server || probe_serve(probe, server) < 0 || baton_server_listen(server, argv[1]) < 0)
                return fail("cannot serve");
        signal(SIGTERM, stop);
        return program_serve(server, probe) < 0 ? fail("serving ended") : 0;
}
