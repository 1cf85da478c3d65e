/* What the standard services share. Names begin with baton_standard_, as those of a program that links the archive must not meet
 * ours. */
#ifndef STANDARD_H
#define STANDARD_H

#include <baton/service.h>

/* Ends a stream after a send or recv returned this error, unless that has ended it. */
void baton_standard_end(baton_call *call, int error);

/* ---- the .proto files behind a server's services ---------------------------------------------------------- */

struct baton_standard_files {
        size_t n;
        const baton_file **list;
};

/* Those that define the server's services, and what they import, each once. 0 or -ENOMEM. Free them in any case. */
int baton_standard_files_of_server(const baton_server *server, struct baton_standard_files *files);

/* The file, then what it imports, likewise. */
int baton_standard_files_from(const baton_file *file, struct baton_standard_files *files);

void baton_standard_files_free(struct baton_standard_files *files);

/* The file that protoc calls so; NULL: none. */
const baton_file *baton_standard_file_named(const struct baton_standard_files *files, const char *name);

/* The file that declares the symbol, "package.Message.field" for example. NULL: none, or out of memory. `type`: only a message
 * will do. */
const baton_file *baton_standard_file_declaring(const struct baton_standard_files *files, const char *symbol,
                                                bool type);

/* Calls found(number, context) for each extension of the message in the files, until that returns false: then the file it is
 * declared in is returned; else NULL. */
const baton_file *baton_standard_extensions(const struct baton_standard_files *files, const char *message,
                                            bool (*found)(int32_t number, void *context), void *context);

#endif
