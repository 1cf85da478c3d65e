/* protobuf-c's custom options. They are extensions, so our descriptors know them as unknown fields only. */
#ifndef IDLC_OPTIONS_H
#define IDLC_OPTIONS_H

#include "model.h"

struct file_options options_of_file(struct arena *arena, const file_proto *proto);
struct message_options options_of_message(struct arena *arena, const message_proto *proto);
bool options_string_as_bytes(const field_proto *proto);

#endif
