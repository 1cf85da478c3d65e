/* The functions generated for a method, by its kind: one table, from which the header, the source and the check of names
 * are made. */
#ifndef IDLC_STUBS_H
#define IDLC_STUBS_H

#include "model.h"

enum { STUB_PARAMETERS_MAX = 6 };

/* In the templates, $N stands for the stub's own name, $S for the method's stem, $I and $O for its request and reply type, $M
 * for its entry in the table of methods. */
struct stub {
        unsigned kinds;                                  /* of the methods that have it: method_kind, or-ed */
        const char *suffix;                              /* behind the method's stem */
        const char *head;                                /* up to the parameters */
        const char *parameters[STUB_PARAMETERS_MAX + 1]; /* NULL behind the last */
        const char *comment;                             /* one paragraph */
        const char *body;                                /* NULL: a type, without code */
};

/* Client's before server's, in the order in which a program uses them. */
const struct stub *stubs_of_methods(size_t *n);

/* The stub's head and parameters, without ";" or newline. */
void stub_prototype(struct text *text, const struct stub *stub, const struct method *method, struct arena *arena);

/* Its comment, or body, with the placeholders filled in. */
char *stub_fill(struct arena *arena, const char *template, const struct stub *stub, const struct method *method);

#endif
