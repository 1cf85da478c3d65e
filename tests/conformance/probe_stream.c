/*
 * Streams that do as a Script tells. The same code serves handlers on the worker, which go on when baton_call_on_ready says so, and
 * handlers on threads, which wait in recv and send.
 */
#include "probe_stream.h"
#include "probe.h"
#include "probe_script.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 1, STALLED = 2 };

struct talk {
        struct talks *talks;
        baton_call *call;
        const Conformance__Script *script; /* lives as long as `first`, or the request */
        const Conformance__Item *first;    /* retained */
        const Conformance__Item *echo;     /* to be sent */
        int (*step)(struct talk *talk);
        uint64_t n_in, n_out, sum, bytes, by_reference;
        ProtobufCBinaryData payload;
        char *text;
        uint64_t go; /* commands seen when it stalled */
        bool passed; /* the place where it stalls */
        bool at_end; /* hangs */
        struct talk *next;
};

static const Conformance__Script nothing = CONFORMANCE__SCRIPT__INIT;

static void advance(baton_call *call, void *context);

/* ---- life ------------------------------------------------------------------------------------------------- */

static void told(baton_call *call, void *context)
{
        struct talks *talks = context;
        (void)call;
        atomic_fetch_add(&talks->told, 1);
}

static void begin(struct talks *talks, baton_call *call, const Conformance__Script *script,
                  int (*step)(struct talk *talk))
{
        struct talk *talk = calloc(1, sizeof *talk);
        if (!talk)
                abort();
        *talk = (struct talk){ .talks = talks, .call = baton_call_retain(call), .script = script, .step = step };
        atomic_fetch_add(&talks->live, 1);
        atomic_store(&talks->deadline_ns, baton_call_deadline_ns(call));
        baton_call_on_cancel(call, told, talks);
        if (script != &nothing && !script_begin(call, script, talks)) {
                baton_call_release(call);
                atomic_fetch_sub(&talks->live, 1);
                free(talk);
                return;
        }
        if (talks->blocking)
                advance(call, talk);
        else
                baton_call_on_ready(call, advance, talk);
}

static void finish(struct talk *talk)
{
        struct talks *talks = talk->talks;
        baton_call *call = talk->call;
        if (!talk->script->lend)
                free(talk->payload.data);
        baton_release(talk->first); /* the script may be in there */
        free(talk->text);
        free(talk);
        baton_call_release(call);
        atomic_fetch_sub(&talks->live, 1);
}

/* ---- stalling --------------------------------------------------------------------------------------------- */

/* Whether it must not go on yet. */
static bool must_stall(struct talk *talk, uint64_t done)
{
        if (!talk->script->stall || talk->passed || done < talk->script->stall_after)
                return false;
        talk->passed = true;
        return true;
}

static void wait_here(struct talk *talk)
{
        struct talks *talks = talk->talks;
        for (bool on = false; !on && !baton_call_cancelled(talk->call);) {
                pthread_mutex_lock(&talks->lock);
                on = talks->go != talk->go;
                pthread_mutex_unlock(&talks->lock);
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        pthread_mutex_lock(&talks->lock);
        talks->n_waiting--;
        pthread_mutex_unlock(&talks->lock);
}

static void stall(struct talk *talk)
{
        struct talks *talks = talk->talks;
        pthread_mutex_lock(&talks->lock);
        talk->go = talks->go;
        talks->n_waiting++;
        if (!talks->blocking) {
                talk->next = talks->stalled;
                talks->stalled = talk;
        }
        pthread_mutex_unlock(&talks->lock);
        if (!talks->blocking)
                baton_call_on_ready(talk->call, NULL, NULL);
        else
                wait_here(talk);
}

static void go_on(struct talks *talks)
{
        pthread_mutex_lock(&talks->lock);
        struct talk *talk = talks->stalled;
        talks->stalled = NULL;
        talks->go++;
        for (struct talk *at = talk; at; at = at->next)
                talks->n_waiting--;
        pthread_mutex_unlock(&talks->lock);
        while (talk) {
                struct talk *next = talk->next;
                baton_call_on_ready(talk->call, advance, talk);
                talk = next;
        }
}

/* ---- steps: DONE, STALLED, or what recv or send said ------------------------------------------------------ */

static void keep(struct talks *talks, const Conformance__Item *item)
{
        pthread_mutex_lock(&talks->lock);
        if (talks->n_kept < MOST_KEPT)
                talks->kept[talks->n_kept++] = baton_retain(item);
        pthread_mutex_unlock(&talks->lock);
}

static void take(struct talk *talk, const Conformance__Item *item)
{
        struct talks *talks = talk->talks;
        atomic_fetch_add(&talks->received, 1);
        talk->n_in++;
        talk->sum += item->value;
        talk->bytes += item->data.len + strlen(item->text);
        if (talk->script->look) {
                char permissions[8];
                permissions_at(item->data.data, permissions);
                talk->by_reference += strcmp(permissions, "r--s") == 0;
        }
        if (talk->script->keep)
                keep(talks, item);
}

/* The first item brings the script. False: the script answered. */
static bool learn(struct talk *talk, const Conformance__Item *item)
{
        if (talk->script != &nothing || !item->script)
                return true;
        talk->first = baton_retain(item);
        talk->script = item->script;
        return script_begin(talk->call, talk->script, talk->talks);
}

static bool is_over(const struct talk *talk, uint64_t done)
{
        if (talk->script->die && done >= talk->script->count)
                raise(SIGKILL);
        return talk->script->early && done >= talk->script->count;
}

static int step_collect(struct talk *talk)
{
        for (;;) {
                const Conformance__Item *item;
                if (must_stall(talk, talk->n_in))
                        return STALLED;
                int n = probe_collect_recv(talk->call, &item);
                if (n <= 0)
                        return n ? n : DONE;
                if (!learn(talk, item))
                        return -EALREADY;
                take(talk, item);
                if (is_over(talk, talk->n_in))
                        return DONE;
        }
}

static int step_produce(struct talk *talk)
{
        const Conformance__Script *script = talk->script;
        if (!talk->payload.data) {
                talk->payload = script_payload(talk->call, script);
                talk->text = script_text(script);
        }
        while (talk->n_out < script->count) {
                Conformance__Item item = CONFORMANCE__ITEM__INIT;
                if (must_stall(talk, talk->n_out))
                        return STALLED;
                item.value = talk->n_out;
                item.data = talk->payload;
                item.text = talk->text;
                int n = probe_produce_send(talk->call, &item);
                if (n < 0)
                        return n;
                talk->n_out++;
                atomic_fetch_add(&talk->talks->sent, 1);
        }
        is_over(talk, talk->n_out);
        return DONE;
}

static int echo(struct talk *talk)
{
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        item.value = talk->echo->value;
        item.data = talk->echo->data;
        item.text = talk->echo->text;
        int n = probe_chat_send(talk->call, &item);
        if (n < 0)
                return n;
        talk->echo = NULL;
        talk->n_out++;
        atomic_fetch_add(&talk->talks->sent, 1);
        return 0;
}

static int step_chat(struct talk *talk)
{
        for (;;) {
                int n = talk->echo ? echo(talk) : 0;
                if (n < 0)
                        return n;
                if (is_over(talk, talk->n_out))
                        return DONE;
                if (must_stall(talk, talk->n_in))
                        return STALLED;
                n = probe_chat_recv(talk->call, &talk->echo);
                if (n <= 0)
                        return n ? n : DONE;
                if (!learn(talk, talk->echo))
                        return -EALREADY;
                take(talk, talk->echo);
        }
}

/* ---- ending ----------------------------------------------------------------------------------------------- */

static int answer(struct talk *talk)
{
        const Conformance__Script *script = talk->script;
        Conformance__Sum sum = CONFORMANCE__SUM__INIT;
        if (script->vanish)
                return 0;
        if (script->code)
                return script_fail(talk->call, script);
        if (talk->step != step_collect)
                return baton_call_end(talk->call);
        sum.count = talk->n_in;
        sum.sum = talk->sum;
        sum.bytes = talk->bytes;
        sum.by_reference = talk->by_reference;
        sum.deadline_ns = baton_call_deadline_ns(talk->call);
        return probe_collect_reply(talk->call, &sum);
}

/* At its end, a script that hangs. True: it is over. */
static bool hangs(struct talk *talk)
{
        talk->at_end = true;
        while (talk->talks->blocking && !baton_call_cancelled(talk->call))
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        return !baton_call_cancelled(talk->call);
}

static void advance(baton_call *call, void *context)
{
        struct talk *talk = context;
        (void)call;
        int n = talk->at_end ? DONE : talk->step(talk);
        while (n == STALLED) {
                stall(talk);
                if (!talk->talks->blocking)
                        return;
                n = talk->step(talk);
        }
        if (n == -EAGAIN || (n == DONE && talk->script->hang && hangs(talk)))
                return;
        if (n == -ECANCELED || talk->at_end)
                atomic_fetch_add(&talk->talks->cancelled, 1);
        else if (n < 0)
                talks_note(talk->talks, n);
        else if (answer(talk) == -EPIPE)
                atomic_fetch_add(&talk->talks->cancelled, 1);
        finish(talk);
}

/* ---- handlers --------------------------------------------------------------------------------------------- */

void talk_collect(baton_call *call, struct talks *talks)
{
        begin(talks, call, &nothing, step_collect);
}

void talk_produce(baton_call *call, const Conformance__Script *script, struct talks *talks)
{
        begin(talks, call, script, step_produce);
}

void talk_chat(baton_call *call, struct talks *talks)
{
        begin(talks, call, &nothing, step_chat);
}

static void unhang(baton_call *call, void *context)
{
        struct talks *talks = context;
        atomic_fetch_add(&talks->told, 1);
        atomic_fetch_add(&talks->cancelled, 1);
        atomic_fetch_sub(&talks->live, 1);
        baton_call_release(call);
}

void talk_wait(baton_call *call, const Conformance__Script *script, struct talks *talks)
{
        if (!script_begin(call, script, talks))
                return;
        if (script->hang) {
                atomic_fetch_add(&talks->live, 1);
                baton_call_on_cancel(baton_call_retain(call), unhang, talks);
        } else if (script->code) {
                script_fail(call, script);
        } else if (!script->vanish) {
                script_reply(call, script);
        }
}

void talk_control(baton_call *call, const Conformance__Command *command, struct talks *talks)
{
        Conformance__Counts *counts = probe_control_new_reply(call);
        if (command->go)
                go_on(talks);
        talks_report(talks, command, call, counts);
        probe_control_reply(call, counts);
}

/* ---- all of them ------------------------------------------------------------------------------------------ */

void talks_init(struct talks *talks)
{
        memset(talks, 0, sizeof *talks);
        pthread_mutex_init(&talks->lock, NULL);
}

void talks_deinit(struct talks *talks)
{
        go_on(talks);
        for (uint32_t i = 0; i < talks->n_kept; i++)
                baton_release(talks->kept[i]);
        pthread_mutex_destroy(&talks->lock);
}

uint64_t resident_bytes(void)
{
        unsigned long long size = 0, resident = 0;
        FILE *file = fopen("/proc/self/statm", "re");
        if (file && fscanf(file, "%llu %llu", &size, &resident) != 2)
                resident = 0;
        if (file)
                fclose(file);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t open_files(void)
{
        uint64_t n = 0;
        DIR *directory = opendir("/proc/self/fd");
        while (directory && readdir(directory))
                n++;
        if (directory)
                closedir(directory);
        return n;
}
