/* A channel's observer and the calls it watches, from before they are sent until their outcome is known. */
#ifndef CORE_OBSERVED_CLIENT_H
#define CORE_OBSERVED_CLIENT_H

#include "core/observer.h"
#include "core/terms.h"

/*
 * The call begins. request: NULL where it is streamed. BATON_OK, and terms->metadata has what interceptors added, valid until the
 * end; or what the call was refused with: the text is in baton_error(), and client_observed is due all the same.
 */
baton_code client_observe(struct observed *observed, struct observer *observer, struct call_terms *terms,
                          const baton_method *method, const ProtobufCMessage *request);

/* It has ended: counts also what was not told with observed_message, a single request or reply. */
void client_observed(struct observed *observed, const baton_status *status, const struct client_call *call);

/*
 * The same in memory of its own, for calls that outlive the function that starts them, and streams that outlive their channel. With a
 * reference to the observer. call->metadata is set too.
 */

/* NULL: no memory, reason set. *refused: BATON_OK, or as client_observe. client_observed and observed_free are due, or abandon. */
struct observed *observed_new(struct observer *observer, struct call_terms *terms, struct client_call *call,
                              baton_code *refused);
void observed_free(struct observed *observed);
/* It was not made, for this local reason (a negative errno, the text in baton_error(), which stays). Frees. Returns error. */
int observed_abandon(struct observed *observed, int error);

#endif
