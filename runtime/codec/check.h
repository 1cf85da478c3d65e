/* Checks a message before the wire format packs it, and finds the place of what is wrong with one that did not encode. */
#ifndef CODEC_CHECK_H
#define CODEC_CHECK_H

#include <baton/graph.h>

enum check_reason {
        CHECK_NOT_UTF8,   /* -EILSEQ; `byte` is where */
        CHECK_REQUIRED,   /* -ENODATA, like the five after it */
        CHECK_SELECTED,   /* selected by its oneof, but NULL */
        CHECK_CASE,       /* the oneof's case names no member; `number` is the case */
        CHECK_NULL_ARRAY, /* `number` elements announced */
        CHECK_NULL_ELEMENT,
        CHECK_NULL_BYTES,    /* `number` bytes announced */
        CHECK_DEPTH,         /* -ELOOP */
        CHECK_TYPE,          /* -EINVAL; of the wrong type, or not initialised */
        CHECK_UNKNOWN_FIELD, /* -EBADMSG; `number` is its tag */
        CHECK_SIZE,          /* -EMSGSIZE; unfolds to more messages than the wire format can carry */
};

enum {
        CHECK_NO_INDEX = -1,
};

/* One step from a message to a field, or to an element of it. */
struct check_step {
        const ProtobufCFieldDescriptor *field;
        int64_t index; /* CHECK_NO_INDEX: the field as a whole */
};

struct check {
        uint32_t depth;    /* how many steps of path are taken */
        uint32_t messages; /* seen so far */
        enum check_reason reason;
        uint64_t number;
        size_t byte;
        struct check_step path[BATON_MAX_DEPTH];
};

/* 0, or the error that encoding ends with; then `check` holds the place and the reason. Initialises check. */
int message_check(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, struct check *check);

#endif
