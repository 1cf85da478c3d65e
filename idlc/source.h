/* SourceCodeInfo: from a descriptor's path in its file to line and comments. */
#ifndef IDLC_SOURCE_H
#define IDLC_SOURCE_H

#include "model.h"

/* The deepest path that is looked up: a field of a message nested as deep as protobuf allows. */
enum { SOURCE_PATH_MAX = 256 };

struct source;

struct source *source_new(struct arena *arena, const file_proto *proto);

/* Field numbers and indices alternating, as in SourceCodeInfo.Location.path. */
struct location source_find(const struct source *source, const int *path, size_t n);

#endif
