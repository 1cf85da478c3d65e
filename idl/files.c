/* Looking things up in the .proto files behind a server's services. They are few and small, and asked for by people and their tools: no
 * index is kept. */
#include "standard.h"
#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;

/* ---- sets of files ---------------------------------------------------------------------------------------- */

static int add(struct baton_standard_files *files, const baton_file *file)
{
        if (!file || baton_standard_file_named(files, file->name))
                return 0;
        const baton_file **list = realloc(files->list, (files->n + 1) * sizeof *list);
        if (!list)
                return baton_error_set(-ENOMEM, "out of memory for a list of .proto files");
        files->list = list;
        list[files->n++] = file;
        return 0;
}

/* The list grows while it is walked, by what its files import. */
static int add_imports(struct baton_standard_files *files)
{
        for (size_t i = 0; i < files->n; i++)
                for (size_t import = 0; import < files->list[i]->n_imports; import++)
                        if (add(files, files->list[i]->imports[import]) < 0)
                                return -ENOMEM;
        return 0;
}

int baton_standard_files_of_server(const baton_server *server, struct baton_standard_files *files)
{
        size_t n = baton_server_services(server, NULL, 0);
        const baton_service **services = calloc(n + 1, sizeof *services);
        int error = services ? 0 : baton_error_set(-ENOMEM, "out of memory for a list of services");
        if (services)
                n = baton_server_services(server, services, n);
        for (size_t i = 0; i < n && !error; i++)
                error = add(files, services[i]->file);
        free(services);
        return error ? error : add_imports(files);
}

int baton_standard_files_from(const baton_file *file, struct baton_standard_files *files)
{
        int error = add(files, file);
        return error ? error : add_imports(files);
}

void baton_standard_files_free(struct baton_standard_files *files)
{
        free(files->list);
        *files = (struct baton_standard_files){ 0 };
}

const baton_file *baton_standard_file_named(const struct baton_standard_files *files, const char *name)
{
        for (size_t i = 0; i < files->n; i++)
                if (strcmp(files->list[i]->name, name) == 0)
                        return files->list[i];
        return NULL;
}

/* ---- symbols ---------------------------------------------------------------------------------------------- */

/* What follows `name` in the symbol, past the dot; "" where that is all; NULL where the symbol is neither it nor below it. */
static const char *below(const char *symbol, const char *name)
{
        size_t length = strlen(name);
        if (strncmp(symbol, name, length) != 0)
                return NULL;
        if (!symbol[length])
                return symbol + length;
        return symbol[length] == '.' && symbol[length + 1] ? symbol + length + 1 : NULL;
}

static bool has_field(field_proto **fields, size_t n, const char *name)
{
        while (n && strcmp(fields[n - 1]->name, name) != 0)
                n--;
        return n;
}

/* Values are siblings of their enum, as in C++. */
static bool has_enum(enum_proto **enums, size_t n, const char *symbol)
{
        for (size_t i = 0; i < n; i++) {
                if (strcmp(enums[i]->name, symbol) == 0)
                        return true;
                for (size_t value = 0; value < enums[i]->n_value; value++)
                        if (strcmp(enums[i]->value[value]->name, symbol) == 0)
                                return true;
        }
        return false;
}

static bool has_oneof(const message_proto *message, const char *name)
{
        for (size_t i = 0; i < message->n_oneof_decl; i++)
                if (strcmp(message->oneof_decl[i]->name, name) == 0)
                        return true;
        return false;
}

static bool has_service(const file_proto *file, const char *symbol)
{
        for (size_t i = 0; i < file->n_service; i++) {
                const service_proto *service = file->service[i];
                const char *rest = below(symbol, service->name);
                if (rest && !*rest)
                        return true;
                for (size_t method = 0; rest && method < service->n_method; method++)
                        if (strcmp(service->method[method]->name, rest) == 0)
                                return true;
        }
        return false;
}

static bool has_message(message_proto **messages, size_t n, const char *symbol, bool type)
{
        for (size_t i = 0; i < n; i++) {
                const message_proto *message = messages[i];
                const char *rest = below(symbol, message->name);
                if (!rest)
                        continue;
                if (!*rest || has_message(message->nested_type, message->n_nested_type, rest, type))
                        return true;
                if (!type && (has_field(message->field, message->n_field, rest) || has_oneof(message, rest) ||
                              has_field(message->extension, message->n_extension, rest) ||
                              has_enum(message->enum_type, message->n_enum_type, rest)))
                        return true;
        }
        return false;
}

static bool declares(const file_proto *file, const char *symbol, bool type)
{
        if (file->package && *file->package)
                symbol = below(symbol, file->package);
        if (!symbol)
                return false;
        return has_message(file->message_type, file->n_message_type, symbol, type) ||
               (!type && (has_service(file, symbol) || has_enum(file->enum_type, file->n_enum_type, symbol) ||
                          has_field(file->extension, file->n_extension, symbol)));
}

/* NULL: out of memory. The descriptors are our own: they are well-formed. */
static file_proto *parse(const baton_file *file)
{
        return google__protobuf__file_descriptor_proto__unpack(NULL, file->descriptor_size, file->descriptor);
}

const baton_file *baton_standard_file_declaring(const struct baton_standard_files *files, const char *symbol, bool type)
{
        for (size_t i = 0; i < files->n; i++) {
                file_proto *file = parse(files->list[i]);
                bool found = file && declares(file, symbol, type);
                google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
                if (found)
                        return files->list[i];
        }
        return NULL;
}

/* ---- extensions ------------------------------------------------------------------------------------------- */

struct search {
        const char *message;
        bool (*found)(int32_t number, void *context);
        void *context;
};

/* False once `found` has returned it. */
static bool go_on(const struct search *search, field_proto **extensions, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(extensions[i]->extendee + 1, search->message) == 0 && /* after the dot: ".package.Message" */
                    !search->found(extensions[i]->number, search->context))
                        return false;
        return true;
}

static bool go_on_in(const struct search *search, message_proto **messages, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!go_on(search, messages[i]->extension, messages[i]->n_extension) ||
                    !go_on_in(search, messages[i]->nested_type, messages[i]->n_nested_type))
                        return false;
        return true;
}

const baton_file *baton_standard_extensions(const struct baton_standard_files *files, const char *message,
                                            bool (*found)(int32_t number, void *context), void *context)
{
        const struct search search = { message, found, context };
        for (size_t i = 0; i < files->n; i++) {
                file_proto *file = parse(files->list[i]);
                bool more = !file || (go_on(&search, file->extension, file->n_extension) &&
                                      go_on_in(&search, file->message_type, file->n_message_type));
                google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
                if (!more)
                        return files->list[i];
        }
        return NULL;
}
