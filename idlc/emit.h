/* From the model to C. One function per output, or part of an output. */
#ifndef IDLC_EMIT_H
#define IDLC_EMIT_H

#include "model.h"

#define IDLC_GENERATED_BY "idlc " IDLC_VERSION

/* x.baton.h */
void emit_header(struct text *text, const struct model *model, const struct file *file);

/* Its part for messages: types, and helpers for proto3 `optional` fields. */
void emit_header_messages(struct text *text, const struct model *model, const struct file *file);

/* x.baton.c */
void emit_source(struct text *text, const struct model *model, const struct file *file);

/* Its parts: the walkers and type of each message; the file's descriptor; services with
 * their tables, thunks and stubs. */
void emit_walkers(struct text *text, const struct file *file);
void emit_encode(struct text *text, const struct message *message);
void emit_decode(struct text *text, const struct message *message);
void emit_descriptor(struct text *text, const struct model *model, const struct file *file);
void emit_services(struct text *text, const struct model *model, const struct file *file);

/* Marks in `needed`, by index in model->files, the files whose descriptors this one's refers to, and in `embedded` those of
 * them for which no code is generated: a copy stands in this file's code. */
void find_descriptors(const struct model *model, const struct file *file, bool *needed, bool *embedded);

/* One field by itself, or selected in a oneof. Indented by `indent`. */
void emit_encode_single(struct text *text, const char *indent, const struct field *field);
void emit_decode_single(struct text *text, const char *indent, const struct field *field);

/* A oneof's members from message->sorted[i] on, as a switch; `single` emits one. Fields come in the order of their
 * numbers, so those of one oneof may stand in several runs: the first checks the case. Returns how many fields were
 * handled. */
size_t emit_oneof_run(struct text *text, const struct message *message, size_t i, const char *wrong_case,
                      void (*single)(struct text *text, const char *indent, const struct field *field));

/* A function's head: result and name, then parameters, wrapped to the column limit. Without ";" or newline. */
void emit_prototype(struct text *text, const char *result_and_name, const char *const *parameters, size_t n);

/* A comment: the .proto's own, then `note` (one paragraph, may be NULL). Nothing where both are empty. */
void emit_comment(struct text *text, const struct model *model, const char *indent, const struct location *at,
                  const char *note);

#endif
