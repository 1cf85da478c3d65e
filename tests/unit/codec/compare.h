/* Whether two messages say the same. */
#ifndef TESTS_COMPARE_H
#define TESTS_COMPARE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* Compares by value, unknown fields included. NULL where a default exists is the default; what has_ or the oneof's case
 * excludes does not count. Fails the cmocka test, naming the field, where they differ. */
void assert_same_message(const ProtobufCMessage *a, const ProtobufCMessage *b);

#endif
