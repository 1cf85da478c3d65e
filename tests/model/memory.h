/* What the two halves of the machine share: machine.c explores and runs the threads, memory.c is their memory. */
#ifndef MODEL_MEMORY_H
#define MODEL_MEMORY_H

#include "machine.h"

enum { LOCATIONS = 24, NOBODY = -1 };

struct view {
        uint8_t oldest[LOCATIONS]; /* store that may still be read */
        uint32_t clock[2];         /* what happened before, for races: counts release operations */
};

enum status { READY, WAITING, SLEEPING, FINISHED, CRASHED };

struct thread {
        enum status status;
        int location; /* last loaded; what it waits for or sleeps on */
        bool newer;   /* the next load of it must read a newer store */
        bool begun;
        bool guessing; /* it has loaded `guess` before anybody stores it: somebody has to, before its next ordered operation */
        int guessed; /* of which location */
        uint64_t guess;
        uint64_t history; /* hash of its private state when it last settled, and of all it has read since */
        struct view current, acquired, released;
};

extern struct thread threads[2];
extern int running;

/* machine.c */
void machine_leave(void);
int machine_choose(int n);
void machine_schedule(void); /* every visible operation begins with it */
void machine_remember(uint64_t value);
uint64_t machine_mix(uint64_t hash, uint64_t value);
bool machine_is_mutated(const char *file, int line, enum machine_mutation how);

/* memory.c */
void memory_reset(const struct machine_scenario *scenario);
/* An operation that what comes before it in its thread cannot drift behind. */
void memory_settle_guess(void);
bool memory_has_newer(const struct thread *thread);
uint64_t memory_hash(void); /* of all that matters for what may come */

#endif
