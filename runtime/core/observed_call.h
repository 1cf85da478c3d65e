/* A server's observer and the calls it watches: call->observed, from before the handler until the answer was sent. */
#ifndef CORE_OBSERVED_CALL_H
#define CORE_OBSERVED_CALL_H

#include "core/observer.h"
#include <errno.h>

struct observed_call;

/* The call is about to be served, and its offer has an observer. False: it was refused, and answered. */
bool call_observe(struct baton_call *call);

/* Its handler has returned: from here on it may outlive its server. The thread that called call_observe. */
void call_observed_left(struct baton_call *call);

/* It was answered. answer NULL: it will not be, for nobody waits. Harmless the second time. */
void call_observed_answered(struct baton_call *call, const struct answer *answer);

/* A message of a stream was sent or received. One thread at a time for each. */
void call_observed_message(struct baton_call *call, bool sent);

/* Answers the call. All of core answers through this. */
static inline int call_answer(struct baton_call *call, const struct answer *answer)
{
        int error = call->ops->answer(call, answer);
        /* After a reply that could not be sent comes a failure. */
        if (__builtin_expect(call->observed != NULL, 0) && (error >= 0 || error == -EPIPE || answer->code))
                call_observed_answered(call, answer);
        return error;
}

#endif
