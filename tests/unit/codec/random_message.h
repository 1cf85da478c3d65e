/* Random messages of any type, by descriptor. */
#ifndef TESTS_RANDOM_MESSAGE_H
#define TESTS_RANDOM_MESSAGE_H

#include <baton/graph.h>

/* A small generator of our own (xorshift64*): the same seed gives the same messages everywhere. */
struct random {
        uint64_t state;
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
/* 0 … n-1 */
size_t random_below(struct random *random, size_t n);

/* A message in the arena, sub-messages at most `depth` deep. Covers what the codec must carry
 * and protobuf-c can: no -0.0 (it is not sent where a field has no presence), no oneof string that is protobuf-c's own
 * empty string (it is not sent either). */
ProtobufCMessage *random_message(struct random *random, const ProtobufCMessageDescriptor *descriptor,
                                 baton_arena *arena, unsigned depth);

#endif
