/* Servers that end and come back, in order or not, and clients that were there first. */
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

enum { CLIENTS = 4, RESTARTS = 15, RACES = 20, RACERS = 4 };

static atomic_bool quit;
static atomic_ullong answered, lost;

/* Calls on and on; while servers come and go a call is answered, or ends UNAVAILABLE. */
static void *call_on(void *unused)
{
        baton_channel *channel = open_channel(NULL);
        for (uint64_t n = 0; !quit; n++) {
                struct outcome outcome = n % 8 ? call_echo(channel, n, 64, 10000) : call_hold(channel, 10000);
                check(outcome.code == BATON_OK || outcome.code == BATON_UNAVAILABLE, "around a restart a call ended %s",
                      baton_code_name(outcome.code));
                if (outcome.code == BATON_OK)
                        answered++;
                else
                        lost++;
                if (outcome.code != BATON_OK)
                        sleep_ms(1);
        }
        baton_channel_close(channel);
        return unused;
}

/* SIGTERM: baton_server_stop from a signal handler, then free, with calls in progress and held. */
static void clean_restarts(void)
{
        pthread_t threads[CLIENTS];
        struct process server = start("crash_server", (const char *const[]){ address(), "workers", "2", NULL });
        for (int i = 0; i < CLIENTS; i++)
                pthread_create(&threads[i], NULL, call_on, NULL);
        for (int i = 0; i < RESTARTS; i++) {
                sleep_ms(20);
                uint64_t before = now_ns();
                int status = end(&server, SIGTERM);
                check(status == 0, "a server that was asked to end did so with wait status %d", status);
                check(now_ns() - before < 5000000000, "a server took %.1f s to end", (double)(now_ns() - before) / 1e9);
                server = start("crash_server", (const char *const[]){ address(), "workers", "2", NULL });
        }
        quit = true;
        end(&server, SIGTERM);
        for (int i = 0; i < CLIENTS; i++)
                pthread_join(threads[i], NULL);
        check(lost >= RESTARTS && answered > RESTARTS, "%llu calls answered, %llu lost", (unsigned long long)answered,
              (unsigned long long)lost);
        say("%d clean restarts under load: %llu calls answered, %llu UNAVAILABLE", RESTARTS,
            (unsigned long long)answered, (unsigned long long)lost);
}

/* A killed server leaves its socket file: the next one takes it over; a living one's is respected. */
static void stale_socket(void)
{
        struct process first = start_server();
        char line[256];
        struct process second = spawn("crash_server", (const char *const[]){ address(), NULL });
        first_line(&second, line);
        check(strstr(line, "cannot listen") && strstr(line, "a server that is running has it"),
              "a second server said \"%s\"", line);
        check(WEXITSTATUS(end(&second, 0)) == 1, "a second server did not end with status 1");
        baton_channel *channel = open_channel(NULL);
        check(call_echo(channel, 1, 0, 5000).code == BATON_OK, "the second server harmed the first");
        end(&first, SIGKILL);
        struct outcome outcome = call_echo(channel, 1, 0, 5000);
        check(outcome.code == BATON_UNAVAILABLE && !outcome.maybe_executed, "at a stale socket a call ended %s",
              baton_code_name(outcome.code));
        first = start_server();
        check(call_echo(channel, 1, 0, 5000).code == BATON_OK, "no call after a restart over a stale socket");
        baton_channel_close(channel);
        end(&first, SIGKILL);
        say("a stale socket is taken over, a living server's is not");
}

/* Over a stale socket or none, exactly one of several servers gets the name, and the clients. */
static void races(void)
{
        baton_channel *channel = open_channel(NULL);
        for (int i = 0; i < RACES; i++) {
                struct process servers[RACERS];
                char line[256];
                int winners = 0;
                for (int j = 0; j < RACERS; j++)
                        servers[j] = spawn("crash_server", (const char *const[]){ address(), NULL });
                for (int j = 0; j < RACERS; j++) {
                        first_line(&servers[j], line);
                        winners += !strcmp(line, "ready");
                }
                check(winners == 1, "%d of %d servers got the name", winners, RACERS);
                check(call_echo(channel, 1, 0, 5000).code == BATON_OK, "the winner does not serve");
                for (int j = 0; j < RACERS; j++)
                        end(&servers[j], i % 2 ? SIGKILL : SIGTERM);
        }
        baton_channel_close(channel);
        say("%d races of %d servers for a name: one winner each", RACES, RACERS);
}

/* A channel opened before the server works once the server is there, and says why until then. */
static void client_first(void)
{
        baton_channel *channel = open_channel(NULL);
        struct outcome outcome = call_echo(channel, 1, 0, 1000);
        check(outcome.code == BATON_UNAVAILABLE && !outcome.maybe_executed,
              "without a server a call ended %s, maybe_executed %d", baton_code_name(outcome.code),
              outcome.maybe_executed);
        baton_status status = baton_channel_connect(channel);
        check(status.code == BATON_UNAVAILABLE && strstr(status.message, socket_path()),
              "without a server connect says \"%s\"", status.message);
        struct process server = start_server();
        check(call_echo(channel, 1, 0, 5000).code == BATON_OK, "no call once the server is there");
        baton_channel_close(channel);
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        say("a client that was there first works once the server is there");
}

int main(void)
{
        client_first();
        stale_socket();
        races();
        clean_restarts();
        return 0;
}
