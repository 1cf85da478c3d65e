/* One run of idlc: protoc parses, the core compiles, the driver writes the files. */
#ifndef IDLC_DRIVER_H
#define IDLC_DRIVER_H

#include "compile.h"

struct driver_options {
        const char **import_dirs; /* as given to -I */
        size_t n_import_dirs;
        const char **protos;
        size_t n_protos;
        const char *out;
        const char *dependency_file; /* NULL: none */
        const char *protoc;
        struct compile_options compile;
};

/* Returns the program's exit status; says on stderr what failed. */
int driver_run(const struct driver_options *options);

/* Writes the rule by which make or ninja know what the outputs depend on. False, having complained, where it cannot. */
bool depfile_write(const struct driver_options *options, const struct compilation *compilation);

/* Writes a whole file, or leaves the earlier one; makes the directories above it. False, having complained. */
bool write_file(const char *path, const char *data, size_t size);

#endif
