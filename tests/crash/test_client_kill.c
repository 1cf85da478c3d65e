/* kill -9 of clients in every state: the server takes its memory back and goes on serving others. */
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { ROUNDS = 8, BYSTANDERS = 2, IN_FLIGHT = 1000, PAYLOADS = 8 };

static atomic_bool quit;
static atomic_ullong bystanders_calls;

/* Others' calls, small and by reference, must all succeed while their neighbours die. */
static void *call_on(void *channel)
{
        for (uint64_t n = 0; !quit; n++) {
                struct outcome small = call_echo(channel, n, 64, 5000);
                check(small.code == BATON_OK, "a bystander's call ended %s", baton_code_name(small.code));
                struct outcome large = call_echo(channel, n, 256 << 10, 5000);
                check(large.code == BATON_OK, "a bystander's large call ended %s", baton_code_name(large.code));
                bystanders_calls += 2;
        }
        return NULL;
}

static struct process start_client(const char *mode)
{
        return start("crash_client", (const char *const[]){ address(), mode, NULL });
}

/* n_held: the calls that the client leaves with the server's handler, whose late replies find nobody. */
static void kill_in(const char *mode, uint64_t n_held, const struct process *server, baton_channel *control)
{
        struct holding before = { 0 };
        for (int round = 0; round < ROUNDS; round++) {
                struct process client = start_client(mode);
                await_held(control, n_held);
                end(&client, SIGKILL);
                sleep_ms(20); /* the server hears of it */
                Test__Facts facts = release_held(control);
                check(facts.gone == n_held && facts.answered == 0,
                      "%s: of %llu late replies %llu returned -EPIPE, %llu were sent", mode, (unsigned long long)n_held,
                      (unsigned long long)facts.gone, (unsigned long long)facts.answered);
                if (round == 2) {
                        sleep_ms(20);
                        before = holding(server->pid);
                }
        }
        check_back(server->pid, before, 4, 1024, mode);
}

static int ended_cleanly(int status)
{
        return status == 0;
}

int main(void)
{
        struct process server = start("crash_server", (const char *const[]){ address(), "workers", "2", NULL });
        baton_channel *control = open_channel(NULL);
        baton_channel *channels[BYSTANDERS];
        pthread_t threads[BYSTANDERS];
        look(control);
        struct holding fresh = holding(server.pid);
        for (int i = 0; i < BYSTANDERS; i++) {
                channels[i] = open_channel(NULL);
                pthread_create(&threads[i], NULL, call_on, channels[i]);
        }
        kill_in("idle", 0, &server, control);
        kill_in("call", 1, &server, control);
        kill_in("payload", PAYLOADS, &server, control);
        kill_in("async", IN_FLIGHT, &server, control);
        kill_in("deaf", 0, &server, control);
        quit = true;
        for (int i = 0; i < BYSTANDERS; i++) {
                pthread_join(threads[i], NULL);
                baton_channel_close(channels[i]);
        }
        check_back(server.pid, fresh, 16, 8192, "the server when all are gone");
        baton_channel_close(control);
        check(ended_cleanly(end(&server, SIGTERM)), "the server did not end cleanly");
        say("%llu calls of bystanders meanwhile, all answered", (unsigned long long)bystanders_calls);
        return 0;
}
