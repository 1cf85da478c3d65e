#define _GNU_SOURCE
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
        DEPTH = 4096,
        STACK = 64 * 1024,
        LABELS = 32,
        TABLE = 1 << 22, /* states */
};

struct thread threads[2];
int running;

static ucontext_t contexts[2], out;
static char stacks[2][STACK];

static struct label {
        char file[32];
        int line;
        char name[4];
} labels[LABELS];
static int n_labels;

static const struct machine_scenario *scenario;
static const char *mutated_label;
static enum machine_mutation mutation;
static bool met, crashed;

static struct choice {
        int n, taken;
} choices[DEPTH];
static int n_choices, at_choice;
static uint64_t *table;
static struct machine_result result;

/* ---- choices and states ----------------------------------------------------------------------------------- */

void machine_leave(void)
{
        setcontext(&out);
}

void machine_fail(const char *why)
{
        if (!result.failure)
                result.failure = why;
        machine_leave();
}

int machine_choose(int n)
{
        if (n == 1)
                return 0;
        if (at_choice == DEPTH)
                machine_fail("the run is too long for the checker");
        if (at_choice == n_choices)
                choices[n_choices++] = (struct choice){ .n = n };
        return choices[at_choice++].taken;
}

/* Turns to the next combination of choices; false after the last. */
static bool next_choices(void)
{
        while (n_choices && choices[n_choices - 1].taken + 1 == choices[n_choices - 1].n)
                n_choices--;
        if (!n_choices)
                return false;
        choices[n_choices - 1].taken++;
        return true;
}

uint64_t machine_mix(uint64_t hash, uint64_t value)
{
        hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
        return hash ^ hash >> 29;
}

void machine_remember(uint64_t value)
{
        threads[running].history = machine_mix(threads[running].history, value + 1);
}

void machine_settle(const void *state, size_t size)
{
        uint64_t hash = 0, word;
        for (size_t i = 0; i < size; i += sizeof word) {
                word = 0;
                memcpy(&word, (const char *)state + i, size - i < sizeof word ? size - i : sizeof word);
                hash = machine_mix(hash, word);
        }
        threads[running].history = hash;
}

/* Leaves a run that has come to a state seen before. */
static void visit(void)
{
        if (at_choice < n_choices)
                return; /* on the way to what is new */
        uint64_t key = machine_mix(memory_hash(), crashed) | 1;
        uint64_t slot = key % TABLE;
        for (; table[slot]; slot = (slot + 1) % TABLE)
                if (table[slot] == key)
                        machine_leave();
        table[slot] = key;
        if (++result.states > TABLE / 2)
                machine_fail("the scenario has too many states for the checker");
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

static bool can_run(int t)
{
        return threads[t].status == READY || (threads[t].status == WAITING && memory_has_newer(&threads[t]));
}

static void switch_to(int t)
{
        int from = running;
        if (threads[t].status == WAITING) {
                threads[t].status = READY;
                threads[t].newer = true;
        }
        running = t;
        if (t != from)
                swapcontext(&contexts[from], &contexts[t]);
}

/* Who is next, or does one stop for ever? */
void machine_schedule(void)
{
        bool begun = threads[running].begun;
        threads[running].begun = true;
        if (!begun && running == 1)
                return; /* it was chosen just now */
        for (;;) {
                int options[4], n = 0;
                for (int t = 0; t < 2; t++)
                        if (can_run(t))
                                options[n++] = t;
                if (!n) {
                        memory_settle_guess();
                        scenario->end();
                        machine_leave();
                }
                for (int t = 0; t < 2 && !crashed; t++)
                        if (scenario->crashes >> t & 1 && can_run(t))
                                options[n++] = 2 + t;
                visit();
                int option = options[machine_choose(n)];
                if (option < 2) {
                        switch_to(option);
                        return;
                }
                threads[option - 2].status = CRASHED;
                crashed = true;
        }
}

static void start(void)
{
        scenario->threads[running]();
        memory_settle_guess();
        threads[running].status = FINISHED;
        machine_schedule();
}

void machine_wait(void)
{
        memory_settle_guess();
        threads[running].status = WAITING;
        machine_schedule();
}

bool machine_crashed(int thread)
{
        return threads[thread].status == CRASHED;
}

/* ---- mutants ---------------------------------------------------------------------------------------------- */

bool machine_labels(const char *path)
{
        FILE *file = fopen(path, "r");
        if (!file)
                return false;
        char text[512];
        const char *name = strrchr(path, '/');
        name = name ? name + 1 : path;
        for (int line = 1; fgets(text, sizeof text, file); line++) {
                for (const char *at = text; (at = strstr(at, "/* ")); at++) {
                        if (at[3] < 'A' || at[3] > 'Z' || at[4] < '0' || at[4] > '9' || strncmp(at + 5, " */", 3) != 0)
                                continue;
                        struct label *label = &labels[n_labels++ % LABELS];
                        *label = (struct label){ .line = line, .name = { at[3], at[4] } };
                        snprintf(label->file, sizeof label->file, "%s", name);
                }
        }
        fclose(file);
        return true;
}

bool machine_is_mutated(const char *file, int line, enum machine_mutation how)
{
        if (!mutated_label)
                return false;
        const char *name = strrchr(file, '/');
        name = name ? name + 1 : file;
        for (int i = 0; i < n_labels; i++)
                if (labels[i].line == line && !strcmp(labels[i].name, mutated_label) && !strcmp(labels[i].file, name)) {
                        met = true;
                        return mutation == how;
                }
        return false;
}

bool machine_mutated(void)
{
        return met;
}

/* ---- exploring -------------------------------------------------------------------------------------------- */

static void run_once(void)
{
        for (int t = 0; t < 2; t++) {
                memset(&threads[t], 0, sizeof threads[t]);
                getcontext(&contexts[t]);
                contexts[t].uc_stack.ss_sp = stacks[t];
                contexts[t].uc_stack.ss_size = sizeof stacks[t];
                makecontext(&contexts[t], start, 0);
        }
        scenario->reset();
        memory_reset(scenario);
        crashed = false;
        at_choice = 0;
        running = 0;
        result.runs++;
        swapcontext(&out, &contexts[0]);
}

struct machine_result machine_explore(const struct machine_scenario *what, const char *label, enum machine_mutation how)
{
        scenario = what;
        mutated_label = label;
        mutation = how;
        met = false;
        n_choices = 0;
        result = (struct machine_result){ 0 };
        table = calloc(TABLE, sizeof *table);
        if (!table)
                abort();
        do
                run_once();
        while (!result.failure && next_choices());
        free(table);
        return result;
}
