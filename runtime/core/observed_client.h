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

/* A unary call has ended: counts its messages too. */
void client_observed(struct observed *observed, const baton_status *status, const struct client_call *call);

/* It was not made, for this local reason (a negative errno, the text in baton_error(), which stays). Returns error. */
int client_observed_not(struct observed *observed, int error);

#endif
