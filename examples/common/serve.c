#include "common/serve.h"
#include "common/report.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>

static baton_server *serving; /* for the signal handler */

static void log_line(baton_log_level level, const char *line, void *context)
{
        (void)context;
        if (level <= BATON_LOG_WARNING)
                fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

struct serve_arguments serve_parse(int argc, char **argv, const char *default_address)
{
        static const struct option options[] = {
                { "workers", required_argument, NULL, 'w' },
                { "address", required_argument, NULL, 'a' },
                { 0 },
        };
        baton_log_set(log_line, NULL); /* here, because it must precede the server */
        struct serve_arguments arguments = { .address = default_address, .workers = 1 };
        for (int option; (option = getopt_long(argc, argv, "w:a:", options, NULL)) != -1;) {
                if (option == 'w')
                        arguments.workers = parse_number("--workers", optarg, 1, 64);
                else if (option == 'a')
                        arguments.address = optarg;
                else
                        die("usage: %s [--workers N] [--address ADDRESS]", program_invocation_short_name);
        }
        if (optind < argc)
                die("'%s' is not understood; usage: %s [--workers N] [--address ADDRESS]", argv[optind],
                    program_invocation_short_name);
        return arguments;
}

static void stop(int signal_number)
{
        signal(signal_number, SIG_DFL); /* a second one ends the program at once */
        baton_server_stop(serving);
}

void serve_until_signal(baton_server *server, const char *address)
{
        if (baton_server_listen(server, address) < 0)
                die("%s", baton_error());
        serving = server;
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        fprintf(stderr, "%s: serving %s\n", program_invocation_short_name, address);
        if (baton_server_run(server) < 0)
                die("%s", baton_error());
}
