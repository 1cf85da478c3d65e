/* SIGSTOP: deadlines hold while the other side stands still, and nothing is lost when it goes on. */
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { MIB = 1 << 20, LATE = 200, THREADS = 8, ROUNDS = 10, FLOOD = 8000 };

/* How late a deadline may end; sanitizers slow both sides down several times. */
static double late_ms(void)
{
        return memory_counts() ? 50 : 250;
}

static double ms_since(uint64_t start)
{
        return (double)(now_ns() - start) / 1e6;
}

/* ---- deadlines at a stopped server -------------------------------------------------------------------------- */

static void blocking_deadlines(struct process *server, baton_channel *channel)
{
        double latest = 0;
        stop(server);
        for (uint32_t i = 0; i < 10; i++) {
                uint32_t timeout = 10 + 10 * i;
                uint64_t start = now_ns();
                struct outcome outcome = call_echo(channel, i, 0, timeout);
                double late = ms_since(start) - timeout;
                latest = late > latest ? late : latest;
                check(outcome.code == BATON_DEADLINE_EXCEEDED, "at a stopped server a call ended %s",
                      baton_code_name(outcome.code));
                check(late > -1 && late < late_ms(), "a deadline of %u ms ended %.1f ms late", timeout, late);
        }
        go_on(server);
        check(call_echo(channel, 1, 100, 5000).code == BATON_OK, "after SIGCONT the channel does not work");
        say("blocking deadlines at a stopped server: at most %.2f ms late", latest);
}

struct timed {
        uint64_t due_ns;
        double late_ms;
        baton_code code;
        bool done;
};

static void on_timed(const baton_status *status, const Test__Blob *reply, void *context)
{
        struct timed *timed = context;
        (void)reply;
        timed->code = status->code;
        timed->late_ms = ((double)now_ns() - (double)timed->due_ns) / 1e6;
        timed->done = true;
}

static void await_timed(baton_loop *loop, const struct timed *timed)
{
        uint64_t until = now_ns() + UINT64_C(10000000000);
        while (!timed->done && now_ns() < until)
                baton_loop_wait(loop, 100);
        check(timed->done, "an asynchronous call never ended");
}

static void start_timed(baton_channel *channel, baton_loop *loop, struct timed *timed, uint32_t timeout)
{
        Test__Blob request = TEST__BLOB__INIT;
        *timed = (struct timed){ .due_ns = now_ns() + timeout * UINT64_C(1000000) };
        check(peer_echo_async(channel, loop, &request, &(baton_call_options){ .timeout_ms = timeout }, on_timed,
                              timed) == 0,
              "%s", baton_error());
}

static void async_deadlines(struct process *server, baton_channel *channel)
{
        struct timed timed[10];
        double latest = 0;
        baton_loop *loop = baton_loop_new();
        start_timed(channel, loop, &timed[0], 5000);
        await_timed(loop, &timed[0]);
        check(timed[0].code == BATON_OK, "an asynchronous call ended %s", baton_code_name(timed[0].code));
        stop(server);
        for (uint32_t i = 0; i < 10; i++)
                start_timed(channel, loop, &timed[i], 200 - 20 * i); /* the earliest last */
        for (int i = 0; i < 10; i++) {
                await_timed(loop, &timed[i]);
                latest = timed[i].late_ms > latest ? timed[i].late_ms : latest;
                check(timed[i].code == BATON_DEADLINE_EXCEEDED, "asynchronous at a stopped server: %s",
                      baton_code_name(timed[i].code));
                check(timed[i].late_ms > -1 && timed[i].late_ms < late_ms(),
                      "an asynchronous deadline was %.1f ms late", timed[i].late_ms);
        }
        go_on(server);
        start_timed(channel, loop, &timed[0], 5000);
        await_timed(loop, &timed[0]);
        check(timed[0].code == BATON_OK, "after SIGCONT an asynchronous call ended %s", baton_code_name(timed[0].code));
        baton_channel_close(channel);
        baton_loop_free(loop);
        say("asynchronous deadlines at a stopped server: at most %.2f ms late", latest);
}

/* ---- new lanes at a stopped server -------------------------------------------------------------------------- */

static struct outcome held;

static void *hold_one(void *channel)
{
        held = call_hold(channel, 20000);
        return NULL;
}

static void *call_briefly(void *channel)
{
        uint64_t start = now_ns();
        struct outcome outcome = call_echo(channel, 1, 0, 20);
        check(outcome.code == BATON_DEADLINE_EXCEEDED, "a new thread's call at a stopped server ended %s",
              baton_code_name(outcome.code));
        check(ms_since(start) < 20 + late_ms(), "a new thread's deadline was %.1f ms late", ms_since(start) - 20);
        return NULL;
}

/* Threads that call for the first time need a lane, which a stopped server does not grant. That must neither harm a call in
 * progress when the server goes on, nor use up the connection's lanes. */
static void new_lanes(struct process *server)
{
        baton_channel *channel = open_channel(NULL), *control = open_channel(NULL);
        pthread_t holder, threads[THREADS];
        pthread_create(&holder, NULL, hold_one, channel);
        await_held(control, 1);
        stop(server);
        for (int round = 0; round < ROUNDS; round++) {
                for (int i = 0; i < THREADS; i++)
                        pthread_create(&threads[i], NULL, call_briefly, channel);
                for (int i = 0; i < THREADS; i++)
                        pthread_join(threads[i], NULL);
        }
        go_on(server);
        struct outcome after = call_echo(channel, 5, 0, 5000);
        check(after.code == BATON_OK, "after %d calls that found no lane: %s", THREADS * ROUNDS,
              baton_code_name(after.code));
        Test__Facts facts = release_held(control);
        pthread_join(holder, NULL);
        check(held.code == BATON_OK && facts.answered == 1, "a call in progress ended %s because others found no lane",
              baton_code_name(held.code));
        baton_channel_close(channel);
        baton_channel_close(control);
        say("%d first calls at a stopped server: on time, and none harmed a call in progress", THREADS * ROUNDS);
}

/* Starting a call must come back, whatever the server does. */
static void new_async_lane(struct process *server)
{
        baton_channel *channel = open_channel(&(baton_channel_options){ .connect_timeout_ms = 100 });
        baton_loop *loop = baton_loop_new();
        struct timed timed;
        check(call_echo(channel, 1, 0, 5000).code == BATON_OK, "no echo");
        stop(server);
        uint64_t start = now_ns();
        start_timed(channel, loop, &timed, 20);
        await_timed(loop, &timed);
        check(timed.code == BATON_DEADLINE_EXCEEDED && timed.late_ms < late_ms(),
              "first asynchronous call: %s, %.1f ms late", baton_code_name(timed.code), timed.late_ms);
        start = now_ns();
        start_timed(channel, loop, &timed, 0); /* no deadline: the connect timeout counts */
        check(ms_since(start) < 100 + late_ms(), "starting an asynchronous call took %.1f ms", ms_since(start));
        await_timed(loop, &timed);
        check(timed.code == BATON_UNAVAILABLE, "first asynchronous call without a deadline: %s",
              baton_code_name(timed.code));
        go_on(server);
        start_timed(channel, loop, &timed, 5000);
        await_timed(loop, &timed);
        check(timed.code == BATON_OK, "after SIGCONT the asynchronous call ended %s", baton_code_name(timed.code));
        baton_channel_close(channel);
        baton_loop_free(loop);
        say("first asynchronous calls at a stopped server: on time");
}

/* ---- late replies ------------------------------------------------------------------------------------------- */

/* With 8 MiB of heap on both sides, a leak of a few payloads ends the calls. */
static void late_replies(baton_channel *control)
{
        baton_channel *channel =
                open_channel(&(baton_channel_options){ .max_message_bytes = 2 * MIB, .max_heap_bytes = 8 * MIB });
        uint64_t begun = look(control).begun;
        int late = 0;
        for (int i = 0; i < LATE;
             i++, sleep_ms(4)) /* or else the server would turn the next one away for its deadline */
                late += call_make(channel, MIB, 4, 2).code == BATON_DEADLINE_EXCEEDED;
        begun = look(control).begun - begun;
        check(late > LATE / 2 && begun > LATE / 2, "of %d calls %d were late, and the server began %llu", LATE, late,
              (unsigned long long)begun);
        struct outcome outcome = call_make(channel, 4 * (MIB / 4), 0, 5000);
        check(outcome.code == BATON_OK && outcome.size == MIB, "after late replies: %s", baton_code_name(outcome.code));
        baton_channel_close(channel);
        say("%d late replies of 1 MiB by reference (%llu made) were discarded and given back", LATE,
            (unsigned long long)begun);
}

static void late_requests(struct process *server)
{
        baton_channel *channel =
                open_channel(&(baton_channel_options){ .max_message_bytes = 2 * MIB, .max_heap_bytes = 8 * MIB });
        check(call_echo(channel, 1, MIB, 5000).code == BATON_OK, "no echo");
        for (int i = 0; i < LATE; i++) {
                stop(server);
                struct outcome outcome = call_echo(channel, (uint64_t)i, MIB, 1);
                check(outcome.code == BATON_DEADLINE_EXCEEDED, "a call at a stopped server ended %s",
                      baton_code_name(outcome.code));
                go_on(server);
                outcome = call_echo(channel, 1, MIB, 5000);
                check(outcome.code == BATON_OK, "after SIGCONT no. %d a call ended %s", i,
                      baton_code_name(outcome.code));
        }
        baton_channel_close(channel);
        say("%d times SIGSTOP, 1 MiB by reference that came too late, SIGCONT: nothing lost", LATE);
}

/* ---- clients that stand still ------------------------------------------------------------------------------- */

static void stopped_client(baton_channel *control)
{
        struct process client = start("crash_client", (const char *const[]){ address(), "deaf", NULL });
        stop(&client);
        uint64_t slowest = 0;
        for (uint64_t i = 0; i < 500; i++) {
                uint64_t start = now_ns();
                check(call_echo(control, i, 64, 5000).code == BATON_OK,
                      "the server does not serve beside a stopped client");
                slowest = now_ns() - start > slowest ? now_ns() - start : slowest;
        }
        check(slowest < 500000000, "beside a stopped client a call took %.1f ms", (double)slowest / 1e6);
        end(&client, SIGKILL);
        say("beside a stopped client with a full ring: slowest call %.2f ms", (double)slowest / 1e6);
}

static int n_echoed;

static void count_echo(const baton_status *status, const Test__Blob *reply, void *context)
{
        check(status->code == BATON_OK && reply->number == (uint64_t)(uintptr_t)context, "a parked reply ended %s",
              baton_code_name(status->code));
        n_echoed++;
}

static void slow_reader_beside(baton_channel *control, uintptr_t started)
{
        check(n_echoed == 0, "callbacks ran without a loop");
        check(call_echo(control, 3, 64, 5000).code == BATON_OK, "the server does not serve beside a slow reader");
        say("a client that did not read could start %d calls", (int)started);
}

/* Replies that pile up at the server arrive when the client reads again: all, once, each its own. */
static void slow_reader(baton_channel *control)
{
        baton_channel *channel = open_channel(&(baton_channel_options){ .max_in_flight = FLOOD });
        baton_loop *loop = baton_loop_new();
        uint8_t data[200] = { 0 };
        Test__Blob request = TEST__BLOB__INIT;
        request.data = (ProtobufCBinaryData){ sizeof data, data };
        uintptr_t started = 0;
        /* Until the server has stopped reading as well, and then all the others. */
        for (int stalls = 0; started < FLOOD;) {
                request.number = started;
                if (peer_echo_async(channel, loop, &request, NULL, count_echo, (void *)started) == 0) {
                        started++;
                        continue;
                }
                if (stalls == 50)
                        slow_reader_beside(control, started);
                if (stalls++ < 50)
                        sleep_ms(1);
                else
                        baton_loop_dispatch(loop);
        }
        for (uint64_t until = now_ns() + UINT64_C(10000000000); n_echoed < FLOOD && now_ns() < until;)
                baton_loop_wait(loop, 100);
        check(n_echoed == FLOOD, "%d of %d parked replies arrived", n_echoed, FLOOD);
        baton_channel_close(channel);
        baton_loop_free(loop);
        say("%d calls of a client that read slowly: all answered, once each", FLOOD);
}

int main(void)
{
        struct process server = start("crash_server", (const char *const[]){ address(), "heap", "8", NULL });
        baton_channel *control = open_channel(NULL);
        check(call_echo(control, 1, 0, 5000).code == BATON_OK, "no echo");
        blocking_deadlines(&server, control);
        async_deadlines(&server, open_channel(NULL));
        late_replies(control);
        late_requests(&server);
        stopped_client(control);
        slow_reader(control);
        new_async_lane(&server);
        new_lanes(&server);
        baton_channel_close(control);
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        return 0;
}
