#include "check.h"
#include "names.h"
#include "source.h"

#include <string.h>

enum { COMPLAINTS_SHOWN = 100 };

/* Field numbers of descriptor.proto, as they stand in SourceCodeInfo paths. */
enum { FILE_OPTIONS = 8, FILE_OPTIMIZE_FOR = 9 };

void complain(struct complaints *complaints, const struct file *file, const struct location *at, const char *format,
              ...)
{
        va_list arguments;
        if (++complaints->n > COMPLAINTS_SHOWN)
                return;
        text_printf(&complaints->text, "%s:%d: ", file->name, at->line ? at->line : 1);
        va_start(arguments, format);
        text_vprintf(&complaints->text, format, arguments);
        va_end(arguments);
        text_puts(&complaints->text, "\n");
}

void complaints_end(struct complaints *complaints)
{
        if (complaints->n > COMPLAINTS_SHOWN)
                text_printf(&complaints->text, "idlc: and %zu more errors\n", complaints->n - COMPLAINTS_SHOWN);
}

/* ---- files ------------------------------------------------------------------------------------------------ */

/* Options are found as whole statements; which one a line sets, only the value tells. An extension's path is
 * (8, 1019), followed by the sub-option's number where it was set by itself. */
static struct location locate_option(const struct file *file, int option, int sub_option)
{
        int path[] = { FILE_OPTIONS, option, sub_option };
        struct location at = source_find(file->source, path, 3);
        if (!at.line)
                at = source_find(file->source, path, 2);
        return at.line ? at : source_find(file->source, path, 1);
}

static void check_file_options(const struct file *file, struct complaints *complaints)
{
        const Google__Protobuf__FileOptions *options = file->proto->options;
        if (options && options->has_optimize_for &&
            options->optimize_for == GOOGLE__PROTOBUF__FILE_OPTIONS__OPTIMIZE_MODE__CODE_SIZE) {
                struct location at = locate_option(file, FILE_OPTIMIZE_FOR, 0);
                complain(complaints, file, &at,
                         "optimize_for = CODE_SIZE makes protobuf-c leave out the names that Baton needs: remove the "
                         "option");
        }
        if (file->options.c_package && !name_is_dotted(file->options.c_package)) {
                struct location at = locate_option(file, 1019, 6);
                complain(complaints, file, &at, "c_package = \"%s\" is no package name", file->options.c_package);
        }
        if (!file->options.gen_init_helpers) {
                struct location at = locate_option(file, 1019, 3);
                complain(complaints, file, &at,
                         "gen_init_helpers = false leaves messages without the init function that Baton needs: remove "
                         "the "
                         "option");
        }
        if (file->options.use_oneof_field_name) {
                struct location at = locate_option(file, 1019, 5);
                complain(complaints, file, &at,
                         "use_oneof_field_name hides the names of the fields, so that Baton cannot tell them apart: "
                         "remove "
                         "the option");
        }
        if (file->options.no_generate) {
                struct location at = locate_option(file, 1019, 1);
                complain(complaints, file, &at,
                         "no_generate = true makes protobuf-c produce nothing: remove the option");
        }
}

/* ---- messages --------------------------------------------------------------------------------------------- */

static bool has_trigraph(const char *text)
{
        for (const char *at = strstr(text, "??"); at; at = strstr(at + 1, "??")) {
                if (at[2] && strchr("=/'()!<>-", at[2]))
                        return true;
        }
        return false;
}

static void check_default(const struct field *field, struct complaints *complaints)
{
        static const char *const infinite[] = { "inf", "-inf", "nan", "-nan" };
        bool is_float = strcmp(field->c_type, "float") == 0 || strcmp(field->c_type, "double") == 0;
        for (size_t i = 0; is_float && field->has_default && i < sizeof infinite / sizeof *infinite; i++) {
                if (strcmp(field->proto->default_value, infinite[i]) == 0)
                        complain(complaints, field->message->file, &field->at,
                                 "protobuf-c cannot express the default %s of field %s: use a finite one", infinite[i],
                                 field->proto->name);
        }
        if (field->has_default && field->kind != KIND_SCALAR && has_trigraph(field->proto->default_value))
                complain(complaints, field->message->file, &field->at,
                         "protobuf-c would write the default of field %s with a trigraph in it, which standard C reads "
                         "as "
                         "another character: use another default",
                         field->proto->name);
}

static void check_field(const struct field *field, struct complaints *complaints)
{
        const struct file *file = field->message->file;
        if (field->proto->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP) {
                complain(complaints, file, &field->at, "field %s is a group, which protobuf-c cannot do: use a message",
                         field->proto->name);
                return;
        }
        const struct file *origin = field->type          ? field->type->file
                                    : field->enumeration ? field->enumeration->file
                                                         : NULL;
        if (origin && origin != file && origin->options.no_generate)
                complain(
                        complaints, file, &field->at,
                        "the type %s of field %s is in %s, for which protobuf-c generates nothing (option no_generate)",
                        field->proto->type_name + 1, field->proto->name, origin->name);
        check_default(field, complaints);
}

static void check_message(const struct message *message, struct complaints *complaints)
{
        if (!message->options.gen_init_helpers)
                complain(complaints, message->file, &message->at,
                         "message %s: gen_init_helpers = false leaves it without the init function that Baton needs: "
                         "remove "
                         "the option",
                         message->proto->name);
        if (!name_is_identifier(message->options.base_field_name) || name_is_reserved(message->options.base_field_name))
                complain(complaints, message->file, &message->at,
                         "message %s: base_field_name \"%s\" is no name for a member in C", message->proto->name,
                         message->options.base_field_name);
        for (size_t i = 0; i < message->n_fields; i++)
                check_field(&message->fields[i], complaints);
}

static void check_method(const struct method *method, struct complaints *complaints)
{
        const struct message *const types[] = { method->input, method->output };
        for (size_t i = 0; i < 2; i++) {
                if (types[i]->file->options.no_generate && types[i]->file != method->service->file)
                        complain(complaints, method->service->file, &method->at,
                                 "the type %s of method %s is in %s, for which protobuf-c generates nothing (option "
                                 "no_generate)",
                                 types[i]->full_name, method->proto->name, types[i]->file->name);
        }
}

void check_features(const struct model *model, struct complaints *complaints)
{
        for (size_t i = 0; i < model->n_files; i++) {
                const struct file *file = &model->files[i];
                if (!file->generate)
                        continue;
                check_file_options(file, complaints);
                for (size_t j = 0; j < file->n_messages; j++)
                        check_message(&file->messages[j], complaints);
                for (size_t j = 0; j < file->n_services; j++) {
                        for (size_t k = 0; k < file->services[j].n_methods; k++)
                                check_method(&file->services[j].methods[k], complaints);
                }
        }
}
