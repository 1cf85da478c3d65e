/* What the parts of the model reader share. */
#ifndef IDLC_MODEL_READ_H
#define IDLC_MODEL_READ_H

#include "model.h"
#include "source.h"

/* Notes why the request is refused. Always false. */
bool model_refuse(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Second pass, when all types are known. */
bool model_read_fields(struct model *model, struct message *message);
bool model_read_services(struct model *model, struct file *file);

/* A type by the name that a field or method has for it, ".demo.Message". NULL: none. */
struct message *model_message(const struct model *model, const char *type_name);
struct enumeration *model_enum(const struct model *model, const char *type_name);

#endif
