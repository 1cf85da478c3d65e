/*
 * Details of a status: google.rpc.Status, by hand, so that the library depends on no generated code.
 * (https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto)
 */
#ifndef CORE_DETAILS_H
#define CORE_DETAILS_H

#include <baton/status.h>
#include <stddef.h>
#include <stdint.h>

static const char DETAILS_TRAILER[] = "grpc-status-details-bin";

/*
 * The serialized google.rpc.Status, to be sent as that trailer. message: UTF-8. Returns 0, and *out is to be freed with free();
 * -EINVAL a detail is NULL or was never initialised; -EBADMSG a detail cannot be encoded; -EMSGSIZE over max_bytes; -ENOMEM;
 * error_set.
 */
int details_pack(baton_code code, const char *message, const ProtobufCMessage *const *details, size_t n,
                 size_t max_bytes, uint8_t **out, size_t *size);

#endif
