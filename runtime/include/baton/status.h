/*
 * How a call ended, and how a local operation failed.
 *
 * Two kinds of failure never mix: a local operation (listen, open, alloc) returns a negative errno and leaves
 * its reason in baton_error(); a call's outcome is a baton_status with one of the canonical gRPC codes.
 */
#ifndef BATON_STATUS_H
#define BATON_STATUS_H

#include <baton/metadata.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The canonical codes, with gRPC's numbers (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
typedef enum baton_code {
        BATON_OK = 0,
        BATON_CANCELLED = 1,
        BATON_UNKNOWN = 2,
        BATON_INVALID_ARGUMENT = 3,
        BATON_DEADLINE_EXCEEDED = 4,
        BATON_NOT_FOUND = 5,
        BATON_ALREADY_EXISTS = 6,
        BATON_PERMISSION_DENIED = 7,
        BATON_RESOURCE_EXHAUSTED = 8,
        BATON_FAILED_PRECONDITION = 9,
        BATON_ABORTED = 10,
        BATON_OUT_OF_RANGE = 11,
        BATON_UNIMPLEMENTED = 12,
        BATON_INTERNAL = 13,
        BATON_UNAVAILABLE = 14,
        BATON_DATA_LOSS = 15,
        BATON_UNAUTHENTICATED = 16,
} baton_code;

/* The outcome of one call. */
typedef struct baton_status {
        baton_code code;
        /* On failure: whether the handler may have run. False only where it certainly did not, so that a retry
         * cannot execute the call twice; true may also be said where it did not run. */
        bool maybe_executed;
        /* Says what failed, on what, and what to do; "" when the code is BATON_OK, never NULL. Lives as long as
         * the reply it came with (see baton_release), or as the callback it is passed to. */
        const char *message;
        /* What the server sent before its first message, and with the status; NULL: nothing. Live as long as message. */
        const baton_metadata *headers;
        const baton_metadata *trailers;
} baton_status;

/*
 * A detail that the server attached to the status (google.rpc.Status; see baton_call_fail_with): the first one of this type,
 * unpacked. Free it with the type's x__free_unpacked(detail, NULL). NULL where there is none, or where it is malformed or memory
 * is short, with the reason in baton_error(). Safe from any thread.
 */
ProtobufCMessage *baton_status_detail(const baton_status *status, const ProtobufCMessageDescriptor *type);

/* The serialized google.rpc.Status itself; *size its bytes. NULL where the server attached none. Lives as long as message. */
const void *baton_status_details(const baton_status *status, size_t *size);

/* The code's name in gRPC's spelling ("NOT_FOUND"); "UNKNOWN" for a number outside the list. Static memory.
 * Safe from any thread. */
const char *baton_code_name(int code);

/* Why the last local operation of this thread that returned a negative errno (or NULL) failed: one line that
 * names what, on what, and what to do. "" when none failed. The text belongs to the thread and stays until its
 * next failure. Safe from any thread. */
const char *baton_error(void);

/* Sets the text behind baton_error() of this thread and returns code: for libraries on top of this one. Safe from any thread. */
int baton_error_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Severity of a log line. */
typedef enum baton_log_level {
        BATON_LOG_ERROR = 0,   /* something was lost or refused that should not have been */
        BATON_LOG_WARNING = 1, /* a peer misbehaved, or a fallback was taken */
        BATON_LOG_INFO = 2,    /* connections coming and going */
} baton_log_level;

/* Receives one line, without newline; the line is valid during the call only. Called from any thread, also
 * from a server's workers: it must be thread-safe, must not block for long and must not call Baton. Of more than 100
 * lines a second the rest is dropped, and their number told in the next line. */
typedef void (*baton_log_function)(baton_log_level level, const char *line, void *context);

/* Sets where log lines go; NULL, the default, drops them. The library prints nowhere else. Call it before the
 * first server or channel: it is not synchronised with running ones. */
void baton_log_set(baton_log_function function, void *context);

#ifdef __cplusplus
}
#endif
#endif
