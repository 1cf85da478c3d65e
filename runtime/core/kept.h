/* The request and metadata of a call that is sent later, or again: copies, as the user's own live only while the call is started. */
#ifndef CORE_KEPT_H
#define CORE_KEPT_H

#include "transport/metadata.h"
#include "transport/transport.h"

/* Zero-initialised: nothing is kept. */
struct kept {
        bool there;
        ProtobufCMessage *request; /* NULL also where the client streams */
        struct metadata_list metadata;
};

/* Keeps what `call` has. 0; or -EINVAL and such where the request cannot be sent, -EMSGSIZE, -ENOMEM; reason set. */
int kept_take(struct kept *kept, const struct client_call *call, size_t max_metadata_bytes);

/* Gives it to `call`, until kept_drop. */
void kept_lend(const struct kept *kept, struct client_call *call);

/* Harmless where nothing is kept. */
void kept_drop(struct kept *kept);

/* What a call ends with that could not be sent, for this local reason. */
baton_code kept_code(int error);

#endif
