/* Running a channel's or server's interceptors around one call. */
#ifndef CORE_INTERCEPTOR_H
#define CORE_INTERCEPTOR_H

#include "transport/metadata.h"
#include <baton/interceptor.h>
#include <stdbool.h>

enum { MOST_INTERCEPTORS = 16 };

/* The user's array, copied. */
struct interceptors {
        size_t n;
        size_t max_metadata_bytes;
        baton_interceptor at[MOST_INTERCEPTORS];
};

/* What is kept of one call from begin to end. Before interceptors_begin only view is set, to what is known of the call. */
struct baton_intercept_private {
        const struct interceptors *interceptors;
        baton_intercept view;
        size_t n_begun;
        bool beginning;
        bool ended;
        char *refusal;              /* the text; NULL: none */
        struct metadata_list added; /* on the client: the user's metadata and what was added, once something was */
        void *states[MOST_INTERCEPTORS];
};

/* 0, or -EINVAL with the reason set. owner: "channel" or "server". */
int interceptors_init(struct interceptors *interceptors, const char *owner, const baton_interceptor *array, size_t n,
                      size_t max_metadata_bytes);

/*
 * Runs begin of each. BATON_OK, and then what is sent is frame->view.metadata; or what the call
 * was refused with, and *text, valid until interceptors_end. Where interceptors_end ran meanwhile (begin answered the call
 * itself), frame->ended is set and the rest is not asked.
 */
baton_code interceptors_begin(struct baton_intercept_private *frame, const struct interceptors *interceptors,
                              const char **text);

/* Runs the ends of those that began, and frees what they left. Once. */
void interceptors_end(struct baton_intercept_private *frame, const baton_status *status);

#endif
