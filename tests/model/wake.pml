/*
 * The wait protocol of runtime/shm/wake.c, for spin: the waker changes `value` ROUNDS times, the sleeper sees each change, and
 * sleeps where there is none yet. Each side's stores wait in a store buffer, from where they reach memory at any later time and,
 * for different words, in any order; a fence, or a system call, waits until the own buffer is empty. Loads look into the
 * own buffer first, as processors do. A futex wait may end for no reason, SPURIOUS times.
 *
 * No wake-up is lost when both processes end: spin reports a sleeper that nobody wakes as an invalid end state.
 * -DWEAK_S1 lets the load of the bell drift behind the sleep's store (S2), WEAK_S2 takes the same sleep number each time, WEAK_S3 and WEAK_W2 leave
 * out the fence, WEAK_W1 publishes after having looked at the sleeper (W3), WEAK_W4 leaves the bell as it is: each must fail.
 * Not covered: the numbers' wrapping around after 2^32 sleeps; a bell that is a datagram (it stays until it is read, which
 * is easier).
 */
#ifndef ROUNDS
#define ROUNDS 3
#endif
#define SPURIOUS 1
#define NONE 255

byte value, asleep, bell; /* memory */
byte value_buffered = NONE, asleep_buffered = NONE, bell_buffered = NONE;
bool waiting; /* in the kernel's queue */

/* Buffers empty themselves. */
active proctype buffers()
{
end:    do
        :: d_step { value_buffered != NONE -> value = value_buffered; value_buffered = NONE }
        :: d_step { bell_buffered != NONE -> bell = bell_buffered; bell_buffered = NONE }
        :: d_step { asleep_buffered != NONE -> asleep = asleep_buffered; asleep_buffered = NONE }
        od
}

#define SLEEPER_FENCE (asleep_buffered == NONE)
#define WAKER_FENCE (value_buffered == NONE && bell_buffered == NONE)

active proctype sleeper()
{
        byte seen = 0, sleep = 0, old_bell, spurious = 0;
        do
        :: seen == ROUNDS -> break
        :: seen < ROUNDS && value > seen -> seen++ /* looks without arming, as a caller that polls first does */
        :: seen < ROUNDS ->
#ifdef WEAK_S2
                sleep = 1;
#else
                sleep++;
#endif
#ifndef WEAK_S1
                old_bell = bell; /* S1 */
#endif
                d_step { asleep_buffered == NONE -> asleep_buffered = sleep }; /* S2 */
#ifdef WEAK_S1
                old_bell = bell;
#endif
#ifndef WEAK_S3
                SLEEPER_FENCE; /* S3 */
#endif
                if
                :: value > seen -> seen++ /* S4 */
                :: value <= seen ->
                        SLEEPER_FENCE; /* the system call */
                        if
                        :: d_step { bell == old_bell -> waiting = true };
                                if
                                :: !waiting
                                :: spurious < SPURIOUS -> spurious++; waiting = false
                                fi
                        :: bell != old_bell
                        fi
                fi;
                d_step { asleep_buffered == NONE -> asleep_buffered = 0 }
        od
}

active proctype waker()
{
        byte round = 0, rung = 0, sees;
        do
        :: round == ROUNDS -> break
        :: round < ROUNDS ->
                round++;
#ifndef WEAK_W1
                d_step { value_buffered == NONE -> value_buffered = round }; /* W1 */
#endif
#ifndef WEAK_W2
                WAKER_FENCE; /* W2 */
#endif
                sees = asleep; /* W3 */
#ifdef WEAK_W1
                d_step { value_buffered == NONE -> value_buffered = round };
#endif
                if
                :: sees == 0 || sees == rung
                :: else ->
                        rung = sees;
#ifndef WEAK_W4
                        /* W4; nobody else changes the bell, so what memory or the buffer holds is the last */
                        d_step { bell_buffered == NONE -> bell_buffered = bell + 1 };
#endif
                        WAKER_FENCE; /* the system call */
                        waiting = false
                fi
        od
}
