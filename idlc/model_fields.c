/* Second pass over the request: fields and oneofs. */
#include "model_read.h"
#include "names.h"
#include "options.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers of descriptor.proto, as they stand in SourceCodeInfo paths. */
enum { MESSAGE_FIELD = 2, MESSAGE_ONEOF = 8 };

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

static const char *scalar_type(const field_proto *proto)
{
        switch (proto->type) {
        case TYPE(INT32):
        case TYPE(SINT32):
        case TYPE(SFIXED32):
                return "int32_t";
        case TYPE(UINT32):
        case TYPE(FIXED32):
                return "uint32_t";
        case TYPE(INT64):
        case TYPE(SINT64):
        case TYPE(SFIXED64):
                return "int64_t";
        case TYPE(UINT64):
        case TYPE(FIXED64):
                return "uint64_t";
        case TYPE(FLOAT):
                return "float";
        case TYPE(DOUBLE):
                return "double";
        case TYPE(BOOL):
                return "protobuf_c_boolean";
        default:
                return NULL;
        }
}

static struct location locate(const struct message *message, int number, size_t index)
{
        int path[SOURCE_PATH_MAX];
        memcpy(path, message->path, message->path_length * sizeof *path);
        path[message->path_length] = number;
        path[message->path_length + 1] = (int)index;
        return source_find(message->file->source, path, message->path_length + 2);
}

/* kind and c_type. */
static bool read_type(struct model *model, struct field *field)
{
        const field_proto *proto = field->proto;
        const struct file *file = field->message->file;
        bool as_bytes = proto->type == TYPE(BYTES) || (proto->type == TYPE(STRING) && options_string_as_bytes(proto));
        if (as_bytes) {
                field->kind = KIND_BYTES;
                field->c_type = "ProtobufCBinaryData";
        } else if (proto->type == TYPE(STRING)) {
                field->kind = KIND_STRING;
                field->c_type = file->options.const_strings ? "const char *" : "char *";
        } else if (proto->type == TYPE(MESSAGE) || proto->type == TYPE(GROUP)) {
                field->kind = KIND_MESSAGE;
                field->type = model_message(model, proto->type_name);
                if (field->type)
                        field->c_type = arena_printf(model->arena, "%s *", field->type->c_name);
        } else if (proto->type == TYPE(ENUM)) {
                field->enumeration = model_enum(model, proto->type_name);
                if (field->enumeration)
                        field->c_type = field->enumeration->c_name;
        } else {
                field->c_type = scalar_type(proto);
        }
        if (!field->c_type)
                return model_refuse(model, "%s: field %s.%s is of the unknown type %s", file->name,
                                    field->message->full_name, proto->name, proto->type_name ? proto->type_name : "");
        return true;
}

static bool read_label(struct model *model, struct field *field)
{
        const field_proto *proto = field->proto;
        struct message *message = field->message;
        if (proto->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED)
                field->label = LABEL_REPEATED;
        else if (proto->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED)
                field->label = LABEL_REQUIRED;
        else
                field->label = message->file->proto3 ? LABEL_PLAIN : LABEL_OPTIONAL;
        if (!proto->has_oneof_index)
                return true;
        if (proto->oneof_index < 0 || (size_t)proto->oneof_index >= message->n_oneofs ||
            field->label == LABEL_REPEATED || field->label == LABEL_REQUIRED)
                return model_refuse(model, "%s: field %s.%s is in no proper oneof", message->file->name,
                                    message->full_name, proto->name);
        field->oneof = &message->oneofs[proto->oneof_index];
        field->constant = arena_printf(model->arena, "%s_%s", field->oneof->constants,
                                       name_camel_to_upper(model->arena, proto->name));
        if (proto->has_proto3_optional && proto->proto3_optional) {
                field->oneof->synthetic = true;
                field->oneof->at = field->at; /* it stands nowhere itself */
        }
        field->label = LABEL_MEMBER;
        return true;
}

/* What a string or bytes field holds when unset, by graph.h's rules. */
static const char *unset_value(struct model *model, const struct field *field)
{
        if (field->label == LABEL_MEMBER || field->label == LABEL_REPEATED)
                return "NULL";
        if (field->kind == KIND_STRING && field->has_default)
                return arena_printf(model->arena, "%s__%s__default_value", field->message->lower,
                                    name_camel_to_lower(model->arena, field->proto->name));
        if (field->kind == KIND_BYTES && field->has_default)
                return arena_printf(model->arena, "%s__descriptor.fields[%d].default_value", field->message->lower,
                                    field->index);
        return field->kind == KIND_STRING && field->message->file->proto3 ? "protobuf_c_empty_string" : "NULL";
}

static bool read_field(struct model *model, struct message *message, size_t i)
{
        struct field *field = &message->fields[i];
        const field_proto *proto = message->proto->field[i];
        if (!proto->name || !name_is_identifier(proto->name))
                return model_refuse(model, "%s: message %s has a field without a proper name", message->file->name,
                                    message->full_name);
        if (!proto->has_number || proto->number <= 0 || !proto->has_type)
                return model_refuse(model, "%s: field %s.%s has no number or no type", message->file->name,
                                    message->full_name, proto->name);
        field->proto = proto;
        field->message = message;
        field->c_name = name_field(model->arena, proto->name);
        field->has_default = proto->default_value != NULL;
        field->at = locate(message, MESSAGE_FIELD, i);
        return read_type(model, field) && read_label(model, field);
}

static bool read_oneof(struct model *model, struct message *message, size_t i)
{
        struct oneof *oneof = &message->oneofs[i];
        const char *name = message->proto->oneof_decl[i]->name;
        if (!name || !name_is_identifier(name))
                return model_refuse(model, "%s: message %s has a oneof without a proper name", message->file->name,
                                    message->full_name);
        oneof->proto = message->proto->oneof_decl[i];
        oneof->case_member = arena_printf(model->arena, "%s_case", name_camel_to_lower(model->arena, name));
        /* The scope comes from the message's C name, where option c_package is already taken into account. */
        oneof->case_type =
                arena_printf(model->arena, "%s__%sCase", message->c_name, name_full_to_c(model->arena, name));
        oneof->constants =
                arena_printf(model->arena, "%s__%s", message->upper, name_camel_to_upper(model->arena, name));
        oneof->at = locate(message, MESSAGE_ONEOF, i);
        return true;
}

static int compare_by_number(const void *left, const void *right)
{
        const struct field *a = *(struct field *const *)left;
        const struct field *b = *(struct field *const *)right;
        return a->proto->number == b->proto->number ? 0 : a->proto->number < b->proto->number ? -1 : 1;
}

static void append_member(struct oneof *oneof, struct field *field)
{
        if (oneof->last)
                oneof->last->next_member = field;
        else
                oneof->first = field;
        oneof->last = field;
}

/* The order of protobuf-c's descriptor, which is the order of the stream. */
static bool sort_fields(struct model *model, struct message *message)
{
        for (size_t i = 0; i < message->n_fields; i++)
                message->sorted[i] = &message->fields[i];
        qsort(message->sorted, message->n_fields, sizeof *message->sorted, compare_by_number);
        for (size_t i = 0; i < message->n_fields; i++) {
                struct field *field = message->sorted[i];
                field->index = (int)i;
                field->default_value = unset_value(model, field);
                if (field->oneof)
                        append_member(field->oneof, field);
                if (i && message->sorted[i]->proto->number == message->sorted[i - 1]->proto->number)
                        return model_refuse(model, "%s: message %s uses the number %d twice", message->file->name,
                                            message->full_name, message->sorted[i]->proto->number);
        }
        return true;
}

bool model_read_fields(struct model *model, struct message *message)
{
        message->n_fields = message->proto->n_field;
        message->n_oneofs = message->proto->n_oneof_decl;
        message->fields = arena_array(model->arena, message->n_fields, sizeof *message->fields);
        message->sorted = arena_array(model->arena, message->n_fields, sizeof(struct field *));
        message->oneofs = arena_array(model->arena, message->n_oneofs, sizeof *message->oneofs);
        for (size_t i = 0; i < message->n_oneofs; i++) {
                if (!read_oneof(model, message, i))
                        return false;
        }
        for (size_t i = 0; i < message->n_fields; i++) {
                if (!read_field(model, message, i))
                        return false;
        }
        return sort_fields(model, message);
}

bool field_has_presence(const struct field *field)
{
        return field->label == LABEL_OPTIONAL && (field->kind == KIND_SCALAR || field->kind == KIND_BYTES);
}

bool field_needs_pointer(const struct field *field)
{
        return (field->label == LABEL_REQUIRED || field->label == LABEL_MEMBER) &&
               (field->kind == KIND_STRING || field->kind == KIND_MESSAGE);
}
