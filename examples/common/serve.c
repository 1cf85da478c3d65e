#include "common/serve.h"
#include "common/report.h"
#include "common/watching.h"
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

static const char usage[] = "[--workers N] [--address ADDRESS] [--takeover] [--token TOKEN] [--log] [--counters]";

static void intercept(struct serve_arguments *arguments, baton_interceptor interceptor)
{
        if (arguments->options.n_interceptors == 2)
                die("--log and --token are for once; usage: %s %s", program_invocation_short_name, usage);
        arguments->interceptors[arguments->options.n_interceptors++] = interceptor;
        arguments->options.interceptors = arguments->interceptors;
}

void serve_parse(struct serve_arguments *arguments, int argc, char **argv, const char *default_address)
{
        static const struct option options[] = {
                { "workers", required_argument, NULL, 'w' },
                { "address", required_argument, NULL, 'a' },
                { "takeover", no_argument, NULL, 'o' },
                { "token", required_argument, NULL, 't' },
                { "log", no_argument, NULL, 'l' },
                { "counters", no_argument, NULL, 'c' },
                { 0 },
        };
        baton_log_set(log_line, NULL); /* here, because it must precede the server */
        *arguments = (struct serve_arguments){ .address = default_address, .options.workers = 1 };
        for (int option; (option = getopt_long(argc, argv, "w:a:ot:lc", options, NULL)) != -1;) {
                if (option == 'w')
                        arguments->options.workers = parse_number("--workers", optarg, 1, 64);
                else if (option == 'a')
                        arguments->address = optarg;
                else if (option == 'o')
                        arguments->options.takeover = true;
                else if (option == 't')
                        intercept(arguments, require_token(optarg));
                else if (option == 'l')
                        intercept(arguments, log_calls());
                else if (option == 'c')
                        arguments->options.counters = true;
                else
                        die("usage: %s %s", program_invocation_short_name, usage);
        }
        if (optind < argc)
                die("'%s' is not understood; usage: %s %s", argv[optind], program_invocation_short_name, usage);
}

static void stop(int signal_number)
{
        signal(signal_number, SIG_DFL); /* a second one ends the program at once */
        baton_server_stop(serving);
}

void serve_until_signal(baton_server *server, const struct serve_arguments *arguments)
{
        if (baton_server_listen(server, arguments->address) < 0)
                die("%s", baton_error());
        serving = server;
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        fprintf(stderr, "%s: serving %s\n", program_invocation_short_name, arguments->address);
        if (baton_server_run(server) < 0)
                die("%s", baton_error());
        print_counters(server);
}
