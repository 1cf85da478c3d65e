#include "probe.h"
#include "probe_stream.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HELD = 4096, NESTED_TIMEOUT_MS = 5000 };

struct probe {
        atomic_ullong runs;
        atomic_int error;
        pthread_mutex_t lock;
        baton_call *held[MOST_HELD];
        const Conformance__Order *orders[MOST_HELD];
        uint32_t n_held;
        atomic_uint n_threads;
        struct talks talks;
};

/* A deferred answer, and the thread that gives it. */
struct answering {
        struct probe *probe;
        baton_call *call; /* NULL: all that is held */
        const Conformance__Order *order;
};

void permissions_at(const void *address, char text[8])
{
        char line[512];
        text[0] = '\0';
        FILE *maps = fopen("/proc/self/maps", "re");
        while (maps && fgets(line, sizeof line, maps)) {
                unsigned long start, end;
                char permissions[8];
                if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) == 3 && (uintptr_t)address >= start &&
                    (uintptr_t)address < end) {
                        memcpy(text, permissions, sizeof permissions);
                        break;
                }
        }
        if (maps)
                fclose(maps);
}

static void sleep_ms(uint32_t ms)
{
        struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
        nanosleep(&pause, NULL);
}

/* ---- echoes ----------------------------------------------------------------------------------------------- */

static void nothing(baton_call *call, const Conformance__Empty *request, void *context)
{
        (void)context;
        probe_nothing_reply(call, request);
}

static void echo(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)context;
        probe_echo_reply(call, request);
}

static void echo_kinds(baton_call *call, const Conformance__Kinds *request, void *context)
{
        (void)context;
        probe_echo_kinds_reply(call, request);
}

static void echo_legacy(baton_call *call, const Conformance__Legacy *request, void *context)
{
        (void)context;
        probe_echo_legacy_reply(call, request);
}

static void make(baton_call *call, const Conformance__Wish *wish, void *context)
{
        (void)context;
        Conformance__Blob reply = CONFORMANCE__BLOB__INIT;
        reply.data.len = wish->size;
        reply.data.data = wish->lend ? baton_call_alloc(call, wish->size) : malloc(wish->size + 1);
        if (!reply.data.data) {
                baton_call_fail(call, BATON_ABORTED, "no memory to lend: %s", baton_error());
                return;
        }
        for (size_t i = 0; i < wish->size; i++)
                reply.data.data[i] = (uint8_t)(i * 7 + wish->seed);
        probe_make_reply(call, &reply);
        if (!wish->lend)
                free(reply.data.data);
}

static void look(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)context;
        char permissions[8];
        Conformance__Place reply = CONFORMANCE__PLACE__INIT;
        permissions_at(request->data.data, permissions);
        reply.permissions = permissions;
        for (size_t i = 0; i < request->data.len; i++)
                reply.sum += request->data.data[i];
        probe_look_reply(call, &reply);
}

/* ---- orders ----------------------------------------------------------------------------------------------- */

static int answer(struct probe *probe, baton_call *call, const Conformance__Order *order)
{
        if (order->code)
                return baton_call_fail(call, (baton_code)order->code, "%s", order->message);
        Conformance__Outcome *outcome = probe_act_new_reply(call);
        baton_peer peer = baton_call_peer(call);
        outcome->value = order->value;
        outcome->deadline_ns = baton_call_deadline_ns(call);
        outcome->runs = atomic_load(&probe->runs);
        outcome->error = atomic_load(&probe->error);
        outcome->pid = peer.pid;
        outcome->uid = peer.uid;
        outcome->method = (char *)baton_call_method(call);
        if (order->invalid_text)
                outcome->text = (char *)"\xff\xfe";
        return probe_act_reply(call, outcome);
}

void probe_answer_held(struct probe *probe)
{
        pthread_mutex_lock(&probe->lock);
        while (probe->n_held) {
                uint32_t last = --probe->n_held;
                atomic_store(&probe->error, answer(probe, probe->held[last], probe->orders[last]));
                baton_call_release(probe->held[last]);
        }
        pthread_mutex_unlock(&probe->lock);
}

static void *give_answer(void *argument)
{
        struct answering *answering = argument;
        struct probe *probe = answering->probe;
        if (answering->call) {
                sleep_ms(answering->order->defer_ms);
                atomic_store(&probe->error, answer(probe, answering->call, answering->order));
                baton_call_release(answering->call);
        } else {
                probe_answer_held(probe);
        }
        free(answering);
        atomic_fetch_sub(&probe->n_threads, 1);
        return NULL;
}

static void answer_elsewhere(struct probe *probe, baton_call *call, const Conformance__Order *order)
{
        struct answering *answering = malloc(sizeof *answering);
        pthread_t thread;
        if (!answering)
                abort();
        *answering = (struct answering){ .probe = probe, .call = baton_call_retain(call), .order = order };
        atomic_fetch_add(&probe->n_threads, 1);
        if (pthread_create(&thread, NULL, give_answer, answering) != 0)
                abort();
        pthread_detach(thread);
}

static void hold(struct probe *probe, baton_call *call, const Conformance__Order *order)
{
        pthread_mutex_lock(&probe->lock);
        if (probe->n_held == MOST_HELD)
                abort();
        probe->orders[probe->n_held] = order;
        probe->held[probe->n_held++] = baton_call_retain(call);
        bool full = probe->n_held >= order->batch;
        pthread_mutex_unlock(&probe->lock);
        if (full)
                answer_elsewhere(probe, NULL, NULL);
}

/* Calls another server, or the same one. False: the call has been answered with the failure. */
static bool call_further(baton_call *call, const Conformance__Order *order)
{
        Conformance__Order request = CONFORMANCE__ORDER__INIT;
        const Conformance__Outcome *outcome = NULL;
        baton_call_options options = { .timeout_ms = NESTED_TIMEOUT_MS, .deadline_ns = baton_call_deadline_ns(call) };
        request.value = order->value + 1;
        baton_channel *channel = baton_channel_open(order->call, NULL);
        baton_status status = probe_act(channel, &request, &outcome, &options);
        if (status.code == BATON_OK && outcome->value != order->value + 1)
                baton_call_fail(call, BATON_DATA_LOSS, "the further call brought another value");
        else if (status.code != BATON_OK)
                baton_call_fail(call, status.code, "the further call: %s", status.message);
        bool ok = status.code == BATON_OK && outcome->value == order->value + 1;
        baton_release(outcome);
        baton_channel_close(channel);
        return ok;
}

static void make_mistakes(struct probe *probe, baton_call *call, const Conformance__Order *order)
{
        const Conformance__Blob wrong = CONFORMANCE__BLOB__INIT;
        if (order->wrong_type)
                atomic_store(&probe->error, baton_call_reply(call, &wrong.base));
        if (order->fail_ok)
                atomic_store(&probe->error, baton_call_fail(call, BATON_OK, "no failure"));
}

static void act(baton_call *call, const Conformance__Order *order, void *context)
{
        struct probe *probe = context;
        atomic_fetch_add(&probe->runs, 1);
        if (order->die)
                raise(SIGKILL);
        sleep_ms(order->sleep_ms);
        make_mistakes(probe, call, order);
        if (order->vanish || (*order->call && !call_further(call, order)))
                return;
        if (order->batch) {
                hold(probe, call, order);
        } else if (order->defer_ms) {
                answer_elsewhere(probe, call, order);
        } else {
                int error = answer(probe, call, order);
                if (order->twice)
                        error = answer(probe, call, order);
                if (error < 0)
                        atomic_store(&probe->error, error);
        }
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

static struct talks *talks_of(void *context)
{
        struct probe *probe = context;
        return &probe->talks;
}

static void collect(baton_call *call, void *context)
{
        talk_collect(call, talks_of(context));
}

static void produce(baton_call *call, const Conformance__Script *script, void *context)
{
        talk_produce(call, script, talks_of(context));
}

static void chat(baton_call *call, void *context)
{
        talk_chat(call, talks_of(context));
}

static void wait_as_told(baton_call *call, const Conformance__Script *script, void *context)
{
        talk_wait(call, script, talks_of(context));
}

static void control(baton_call *call, const Conformance__Command *command, void *context)
{
        talk_control(call, command, talks_of(context));
}

static const probe_handlers handlers = { .nothing = nothing,
                                         .echo = echo,
                                         .echo_kinds = echo_kinds,
                                         .echo_legacy = echo_legacy,
                                         .make = make,
                                         .look = look,
                                         .act = act,
                                         .collect = collect,
                                         .produce = produce,
                                         .chat = chat,
                                         .wait = wait_as_told,
                                         .control = control };

/* ---- life ------------------------------------------------------------------------------------------------- */

struct probe *probe_new(void)
{
        struct probe *probe = calloc(1, sizeof *probe);
        if (!probe)
                abort();
        pthread_mutex_init(&probe->lock, NULL);
        talks_init(&probe->talks);
        return probe;
}

void probe_free(struct probe *probe)
{
        probe_answer_held(probe);
        while (atomic_load(&probe->n_threads))
                sleep_ms(1);
        talks_deinit(&probe->talks);
        pthread_mutex_destroy(&probe->lock);
        free(probe);
}

void probe_set_blocking(struct probe *probe)
{
        probe->talks.blocking = true;
}

int probe_serve(struct probe *probe, baton_server *server)
{
        return probe_register(server, &handlers, probe);
}

uint64_t probe_runs(const struct probe *probe)
{
        return atomic_load(&probe->runs);
}

int probe_error(const struct probe *probe)
{
        return atomic_load(&probe->error);
}

uint32_t probe_held(struct probe *probe)
{
        pthread_mutex_lock(&probe->lock);
        uint32_t n = probe->n_held;
        pthread_mutex_unlock(&probe->lock);
        return n;
}
