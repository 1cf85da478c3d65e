/* A process forks, and its child lives on without exec: the death of the parent must be as visible as without the child. */
#include "support.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Without Baton's care the child's end would be the limit, which never comes. */
enum { ROUNDS = 3, SLEEPERS = 2, ASYNC = 200, CLIENT_HOLDS = 1001, LIMIT_NS = 1000000000 };

/* As end(), but the children go on reading that somebody reads the output. */
static void kill_parent(const struct process *process)
{
        int status = 0;
        kill(process->pid, SIGKILL);
        check(waitpid(process->pid, &status, 0) == process->pid, "waitpid: %s", strerror(errno));
}

/* ---- a server ---------------------------------------------------------------------------------------------- */

static pid_t make_child(baton_channel *control)
{
        Test__Amount request = TEST__AMOUNT__INIT;
        const Test__Amount *reply = NULL;
        baton_status status = peer_fork(control, &request, &reply, &(baton_call_options){ .timeout_ms = 5000 });
        check(status.code == BATON_OK, "the server did not fork: %s", status.message);
        pid_t pid = (pid_t)reply->n;
        baton_release(reply);
        check(pid > 0 && kill(pid, 0) == 0, "the server has no child");
        return pid;
}

struct waiter {
        baton_channel *channel;
        struct outcome outcome;
        uint64_t told_ns;
        int n; /* asynchronous calls that ended */
};

static void *wait_blocking(void *argument)
{
        struct waiter *waiter = argument;
        waiter->outcome = call_hold(waiter->channel, 0);
        waiter->told_ns = now_ns();
        return NULL;
}

static void ended(const baton_status *status, const Test__Blob *reply, void *context)
{
        (void)reply;
        struct waiter *waiter = context;
        check(status->code == BATON_UNAVAILABLE && status->maybe_executed, "an asynchronous call ended %s: %s",
              baton_code_name(status->code), status->message);
        waiter->n++;
}

static void *wait_async(void *argument)
{
        struct waiter *waiter = argument;
        Test__Blob request = TEST__BLOB__INIT;
        baton_loop *loop = baton_loop_new();
        for (int i = 0; i < ASYNC; i++)
                check(peer_hold_async(waiter->channel, loop, &request, NULL, ended, waiter) == 0, "%s", baton_error());
        while (waiter->n < ASYNC)
                check(baton_loop_wait(loop, 10000) > 0, "%d asynchronous calls are told nothing", ASYNC - waiter->n);
        waiter->told_ns = now_ns();
        waiter->outcome = (struct outcome){ .code = BATON_UNAVAILABLE };
        baton_channel_close(waiter->channel);
        baton_loop_free(loop);
        return NULL;
}

static void server_dies(void)
{
        struct process server = start("crash_server", (const char *const[]){ address(), "workers", "2", NULL });
        baton_channel *shared = open_channel(NULL), *control = open_channel(NULL);
        struct waiter waiters[SLEEPERS + 1] = { 0 };
        pthread_t threads[SLEEPERS + 1];
        for (int i = 0; i <= SLEEPERS; i++) {
                waiters[i].channel = i < SLEEPERS ? shared : open_channel(NULL);
                pthread_create(&threads[i], NULL, i < SLEEPERS ? wait_blocking : wait_async, &waiters[i]);
        }
        await_held(control, SLEEPERS + ASYNC);
        pid_t child = make_child(control);
        uint64_t killed_ns = now_ns(), slowest_ns = 0;
        kill_parent(&server);
        struct process next = start_server(); /* at the same address */
        check(call_echo(control, 1, 100, 5000).code == BATON_OK, "no call at the next server");
        for (int i = 0; i <= SLEEPERS; i++) {
                pthread_join(threads[i], NULL);
                check(waiters[i].outcome.code == BATON_UNAVAILABLE, "waiter %d: %s", i,
                      baton_code_name(waiters[i].outcome.code));
                if (waiters[i].told_ns - killed_ns > slowest_ns)
                        slowest_ns = waiters[i].told_ns - killed_ns;
        }
        check(slowest_ns < LIMIT_NS, "told after %.1f ms", (double)slowest_ns / 1e6);
        check(kill(child, 0) == 0, "the child did not live on");
        close(server.out);
        baton_channel_close(shared);
        baton_channel_close(control);
        end(&next, SIGKILL);
        say("a server died and its child lives on: all were told within %.1f ms", (double)slowest_ns / 1e6);
}

/* ---- a client ---------------------------------------------------------------------------------------------- */

static void client_dies(const struct process *server, baton_channel *control)
{
        look(control);
        int fds = holding(server->pid).fds;
        struct process client = start("crash_client", (const char *const[]){ address(), "fork", NULL });
        await_held(control, CLIENT_HOLDS);
        check(holding(server->pid).fds > fds, "a connection costs no fds");
        kill_parent(&client);
        sleep_ms(LIMIT_NS / 1000000 / 4);
        Test__Facts facts = release_held(control);
        check(facts.gone == CLIENT_HOLDS && facts.answered == 0,
              "a client died and left a child: of %d late replies %llu returned -EPIPE, %llu were sent", CLIENT_HOLDS,
              (unsigned long long)facts.gone, (unsigned long long)facts.answered);
        for (uint64_t until = now_ns() + LIMIT_NS; holding(server->pid).fds > fds && now_ns() < until;)
                sleep_ms(1);
        check(holding(server->pid).fds <= fds, "the server still has fds of a client that died and left a child");
        close(client.out);
        say("a client died and its child lives on: its connection is gone");
}

int main(void)
{
        for (int i = 0; i < ROUNDS; i++)
                server_dies();
        struct process server = start_server();
        baton_channel *control = open_channel(NULL);
        for (int i = 0; i < ROUNDS; i++)
                client_dies(&server, control);
        baton_channel_close(control);
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        return 0;
}
