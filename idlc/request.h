/* A serialized CodeGeneratorRequest, from whoever runs the plugin: not trusted. */
#ifndef IDLC_REQUEST_H
#define IDLC_REQUEST_H

#include "model.h"

/* NULL with *error set (static memory) where the bytes are malformed, or nested deeper than protoc would send:
 * protobuf-c unpacks recursively without a limit of its own. Free with request_free. */
request_proto *request_unpack(const uint8_t *data, size_t size, const char **error);
void request_free(request_proto *request);

/* Whether the bytes hold no message of this type nested more than REQUEST_MAX_DEPTH deep. */
enum { REQUEST_MAX_DEPTH = 110 }; /* protobuf's own limit is 100 */
bool request_depth_ok(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size);

#endif
