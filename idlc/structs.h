/* x.pb-c.h and x.pb-c.c: the message structs, which protoc-gen-c makes. */
#ifndef IDLC_STRUCTS_H
#define IDLC_STRUCTS_H

#include "model.h"

struct structs_file {
        const char *name;
        const char *data;
        size_t size;
};

struct structs {
        struct structs_file *files; /* two per file to generate, in the arena */
        size_t n_files;
        const char *error; /* in the arena, where generating failed */
};

/* Runs protoc-gen-c with our request: protoc itself would not let it see proto3 `optional`. Left out are services
 * (their code, for protobuf-c-rpc, would make method names such as Delete useless in C++, and nobody calls it) and
 * what in comments would upset a compiler. Returns 0, or -1 with error set. */
int structs_generate(struct structs *structs, struct arena *arena, const request_proto *request, const char *program);

#endif
