/* The core that idlc and protoc-gen-idlc share: from a CodeGeneratorRequest to files or complaints. */
#ifndef IDLC_COMPILE_H
#define IDLC_COMPILE_H

#include "model.h"

struct compile_options {
        bool package_prefix;      /* service and method names start with the package */
        bool without_structs;     /* leave out x.pb-c.h and x.pb-c.c */
        const char *protoc_gen_c; /* program, looked up in $PATH where it has no slash */
};

struct output {
        const char *name; /* relative to the output directory */
        const char *data;
        size_t size;
};

struct compilation {
        struct arena arena;
        struct output *outputs; /* first x.baton.h of the file that was asked for first: ninja wants it so */
        size_t n_outputs;
        const char **file_names; /* of all files in the request, also imported ones */
        size_t n_file_names;
        struct text errors; /* one line each; empty where all went well */
        size_t n_errors;
};

/* Compiles a request. 0, or -1 with errors set. Deinit in both cases. */
int compile(struct compilation *compilation, const request_proto *request, const struct compile_options *options);
void compile_deinit(struct compilation *compilation);

#endif
