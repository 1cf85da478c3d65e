/* Many connections at once, and a server that runs out of file descriptors. */
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { IDLE = 1000, BUSY = 64, CALLS = 200, FEW = 64, TOO_MANY = 100 };

static baton_channel *channels[IDLE];

static void *be_busy(void *argument)
{
        uint64_t me = (uint64_t)(uintptr_t)argument;
        for (uint64_t i = 0; i < CALLS; i++)
                check(call_echo(channels[me], me << 32 | i, 64, 30000).code == BATON_OK,
                      "busy channel %llu: a call failed", (unsigned long long)me);
        return NULL;
}

static void many_connections(void)
{
        pthread_t threads[BUSY];
        struct process server = start("crash_server", (const char *const[]){ address(), "workers", "2", NULL });
        struct holding before = holding(server.pid), mine = holding(0);
        uint64_t begin = now_ns();
        for (int i = 0; i < IDLE; i++) {
                channels[i] = open_channel(&(baton_channel_options){ .connect_timeout_ms = 10000 });
                check(call_echo(channels[i], (uint64_t)i, 0, 30000).code == BATON_OK, "channel %d does not connect", i);
        }
        uint64_t connected = now_ns();
        struct holding with = holding(server.pid);
        for (uintptr_t i = 0; i < BUSY; i++)
                pthread_create(&threads[i], NULL, be_busy, (void *)i);
        for (int i = 0; i < BUSY; i++)
                pthread_join(threads[i], NULL);
        uint64_t served = now_ns();
        for (int i = 0; i < IDLE; i++)
                check(call_echo(channels[i], (uint64_t)i, 10, 30000).code == BATON_OK,
                      "idle channel %d has stopped working", i);
        for (int i = 0; i < IDLE; i++)
                baton_channel_close(channels[i]);
        say("%d connections in %.0f ms, %d fds and %ld KiB private memory at the server; %d busy ones: %d calls in "
            "%.0f ms",
            IDLE, (double)(connected - begin) / 1e6, with.fds - before.fds, with.anonymous_kb - before.anonymous_kb,
            BUSY, BUSY * CALLS, (double)(served - connected) / 1e6);
        check_back(server.pid, before, 8, 16384, "the server after 1000 connections");
        check_back(0, mine, 80, 16384, "the client after 1000 channels"); /* threads' stacks and heaps stay */
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
}

static bool file_has(const char *path, const char *text)
{
        char line[512];
        bool found = false;
        FILE *file = fopen(path, "re");
        while (file && !found && fgets(line, sizeof line, file))
                found = strstr(line, text);
        if (file)
                fclose(file);
        return found;
}

static int connect_all(void)
{
        int n = 0;
        for (int i = 0; i < TOO_MANY; i++) {
                channels[i] = open_channel(&(baton_channel_options){ .connect_timeout_ms = 50 });
                baton_status status = baton_channel_connect(channels[i]);
                if (status.code == BATON_OK)
                        n++;
                else
                        check(strstr(status.message, socket_path()), "a server without fds: \"%s\"", status.message);
        }
        return n;
}

static void out_of_fds(void)
{
        char log[128];
        snprintf(log, sizeof log, "%s/log", place());
        struct process server =
                start("crash_server", (const char *const[]){ address(), "nofile", "64", "log", log, NULL });
        int n = connect_all();
        check(n > FEW / 2 && n < FEW, "%d of %d clients got a connection to a server with %d fds", n, TOO_MANY, FEW);
        check(file_has(log, "Too many open files"), "the server did not log why");
        check(call_echo(channels[0], 1, 1 << 10, 5000).code == BATON_OK, "the server stopped serving those it has");
        for (int i = 0; i < TOO_MANY / 2; i++)
                baton_channel_close(channels[i]);
        baton_channel *late = open_channel(&(baton_channel_options){ .connect_timeout_ms = 10000 });
        check(call_echo(late, 1, 10, 10000).code == BATON_OK, "the server did not recover when fds came free");
        check(running(&server), "the server died");
        baton_channel_close(late);
        for (int i = TOO_MANY / 2; i < TOO_MANY; i++)
                baton_channel_close(channels[i]);
        end(&server, SIGKILL);
        say("a server with %d fds served %d clients, refused %d with a log line, and recovered", FEW, n, TOO_MANY - n);
}

int main(void)
{
        struct rlimit fds;
        getrlimit(RLIMIT_NOFILE, &fds);
        fds.rlim_cur = fds.rlim_max < 8192 ? fds.rlim_max : 8192;
        setrlimit(RLIMIT_NOFILE, &fds);
        check(fds.rlim_cur >= 4096, "this test needs 4096 file descriptors; raise ulimit -Hn");
        out_of_fds();
        many_connections();
        return 0;
}
