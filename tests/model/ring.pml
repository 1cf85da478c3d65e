/*
 * The ring of runtime/shm/ring.c, for spin: one producer, one consumer, N lines, records of one or two lines, pads, laps.
 * The accesses of one record happen in any order that the labelled orders (ring.h) do not forbid, as on a weakly ordered
 * machine. The second line of a record starts with the most dangerous payload: the mark that is right in the next lap.
 * Either side may stop for ever at any point.
 *
 * -DWEAK_P0 leaves out the clearing of the next mark; -DWEAK_P1, P2, C1, C2 make that operation relaxed: each must fail. (In
 * WEAK_P2 the record's stores may come before the load of `consumed`, which C11 allows though today's processors do not.)
 * Not covered: accesses of two records in each other's order (model_check has that), more than LAST lines of life.
 */
#define N 8
#define LAST 18 /* the producer stops at or behind this line */
#define STALE(line) ((line) + N + 1)

#ifdef WEAK_P1
#define P1_AFTER true
#else
#define P1_AFTER (body && cleared)
#endif
#ifdef WEAK_P2
#define P2_BEFORE true
#else
#define P2_BEFORE room
#endif
#ifdef WEAK_C1
#define C1_BEFORE true
#else
#define C1_BEFORE looked
#endif
#ifdef WEAK_C2
#define C2_AFTER true
#else
#define C2_AFTER body
#endif

byte mark[N];    /* the first word of each line: a mark, or payload */
byte content[N]; /* the first line, plus one, of the record that wrote this line last */
byte size[N];    /* header: lines of the record */
byte consumed;
byte published;  /* for the assertions: the tail that the consumer may know of */
bool stopped;    /* the producer */

active proctype producer()
{
        byte tail = 0, lines, wanted;
        bool room, body, cleared;
        do
        :: tail < LAST ->
                if
                :: lines = 1; wanted = 1
                :: tail % N < N - 1 -> lines = 2; wanted = 2
                :: tail % N == N - 1 -> lines = 1; wanted = 3 /* a pad before two lines */
                fi;
                room = false; body = false; cleared = false;
                do
                :: !room && N - (tail - consumed) > wanted -> room = true /* P2 */
                :: !body && P2_BEFORE -> d_step {
                        content[tail % N] = tail + 1;
                        size[tail % N] = lines;
                        if
                        :: lines == 2 ->
                                content[(tail + 1) % N] = tail + 1;
                                mark[(tail + 1) % N] = STALE(tail + 1)
                        :: else
                        fi;
                        body = true }
                :: !cleared && P2_BEFORE -> d_step {
#ifndef WEAK_P0
                        mark[(tail + lines) % N] = 0; /* P0 */
#endif
                        cleared = true }
                :: room && P1_AFTER -> d_step {
                        mark[tail % N] = tail + 1; /* P1 */
                        published = tail + lines };
                        break
                :: goto stop
                od;
                /* WEAK_P1: what did not come before the mark comes after it. */
                do
                :: !body -> d_step {
                        content[tail % N] = tail + 1;
                        size[tail % N] = lines;
                        body = true }
                :: !cleared -> d_step {
                        mark[(tail + lines) % N] = 0;
                        cleared = true }
                :: body && cleared -> break
                od;
                tail = tail + lines
        :: else -> break
        od;
stop:   stopped = true
}

active proctype consumer()
{
        byte head = 0, lines;
        bool looked, header, body, given, good;
        do
        :: true ->
                looked = false; header = false; body = false; given = false; good = false; lines = 0;
                do
                :: !looked && mark[head % N] == head + 1 -> looked = true /* C1 */
                :: !looked && stopped && mark[head % N] != head + 1 -> goto done
                :: !header && C1_BEFORE -> d_step {
                        lines = size[head % N];
                        header = true }
                :: header && !body && C1_BEFORE -> d_step {
                        good = content[head % N] == head + 1 &&
                               (lines == 1 || (lines == 2 && content[(head + 1) % N] == head + 1 &&
                                               mark[(head + 1) % N] == STALE(head + 1)));
                        body = true }
                :: looked && header && !given && C2_AFTER -> d_step {
                        consumed = head + lines; /* C2 */
                        given = true }
                :: given && body -> break
                :: goto stop
                od;
                assert(head < published); /* not a mark of an old lap */
                assert(good);             /* not torn, not another record */
                head = head + lines
        od;
done:   assert(head == published); /* nothing lost */
stop:   skip
}
