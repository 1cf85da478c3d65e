#include "check.h"
#include "names.h"
#include "stubs.h"

#include <string.h>

/* Who claimed an identifier first. */
struct owner {
        const char *what; /* "message demo.Foo" */
        const struct file *file;
        const struct location *at;
        const struct owner
                *clash; /* complained about: one complaint is enough for two owners, however many names they share */
};

struct claims {
        struct arena *arena;
        struct complaints *complaints;
        struct map owners; /* identifier -> struct owner */
};

/* Of two that map to one identifier the later is complained about, where it is in a file to generate. */
static void claim(struct claims *claims, struct owner *owner, const char *identifier)
{
        struct owner *first = map_add(&claims->owners, identifier, owner);
        if (first == owner || !(owner->file->generate || first->file->generate))
                return;
        struct owner *blamed = owner->file->generate ? owner : first;
        const struct owner *other = blamed == owner ? first : owner;
        if (blamed->clash == other)
                return;
        blamed->clash = other;
        complain(claims->complaints, blamed->file, blamed->at,
                 "%s and %s (%s:%d) both become %s in C: rename one of them", blamed->what, other->what,
                 other->file->name, other->at->line, identifier);
}

static struct owner *new_owner(struct claims *claims, const struct file *file, const struct location *at,
                               const char *kind, const char *name)
{
        struct owner *owner = arena_alloc(claims->arena, sizeof *owner);
        *owner = (struct owner){ arena_printf(claims->arena, "%s %s", kind, name), file, at, NULL };
        return owner;
}

/* ---- globals ---------------------------------------------------------------------------------------------- */

static void claim_suffixed(struct claims *claims, struct owner *owner, const char *stem, const char *const *suffixes,
                           size_t n)
{
        for (size_t i = 0; i < n; i++)
                claim(claims, owner, arena_printf(claims->arena, "%s%s", stem, suffixes[i]));
}

static void claim_member(struct claims *claims, const struct field *field)
{
        static const char *const helpers[] = { "has", "set", "clear" };
        const struct message *message = field->message;
        struct owner *owner = new_owner(claims, message->file, &field->at, "field", field->proto->name);
        claim(claims, owner, field->constant);
        for (size_t i = 0; field->oneof->synthetic && i < sizeof helpers / sizeof *helpers; i++)
                claim(claims, owner,
                      arena_printf(claims->arena, "%s__%s_%s", message->lower, helpers[i],
                                   name_lower_case(claims->arena, field->proto->name)));
}

static void claim_oneofs(struct claims *claims, const struct message *message)
{
        for (size_t i = 0; i < message->n_oneofs; i++) {
                const struct oneof *oneof = &message->oneofs[i];
                struct owner *owner =
                        new_owner(claims, message->file, &oneof->at,
                                  oneof->synthetic ? "the presence of optional field" : "oneof",
                                  oneof->proto->name + (oneof->synthetic && oneof->proto->name[0] == '_'));
                claim(claims, owner, oneof->case_type);
                claim(claims, owner, arena_printf(claims->arena, "%s__NOT_SET", oneof->constants));
        }
        for (size_t i = 0; i < message->n_fields; i++) {
                if (message->fields[i].oneof)
                        claim_member(claims, &message->fields[i]);
        }
}

static void claim_message(struct claims *claims, const struct message *message)
{
        static const char *const suffixes[] = {
                "__init", "__descriptor", "__type",           "__get_packed_size",
                "__pack", "__unpack",     "__pack_to_buffer", "__free_unpacked",
        };
        struct owner *owner = new_owner(claims, message->file, &message->at, "message", message->full_name);
        claim(claims, owner, message->c_name);
        claim(claims, owner, arena_printf(claims->arena, "%s_Closure", message->c_name));
        claim(claims, owner, arena_printf(claims->arena, "%s__INIT", message->upper));
        claim_suffixed(claims, owner, message->lower, suffixes, sizeof suffixes / sizeof *suffixes);
        if (message->file->generate)
                claim_oneofs(claims, message);
}

static void claim_enum(struct claims *claims, const struct enumeration *enumeration)
{
        struct owner *owner = new_owner(claims, enumeration->file, &enumeration->at, "enum", enumeration->full_name);
        claim(claims, owner, enumeration->c_name);
        claim(claims, owner, arena_printf(claims->arena, "%s__descriptor", enumeration->lower));
        for (size_t i = 0; enumeration->file->generate && i < enumeration->proto->n_value; i++)
                claim(claims, owner,
                      arena_printf(claims->arena, "%s__%s", enumeration->upper, enumeration->proto->value[i]->name));
}

static void claim_service(struct claims *claims, const struct service *service)
{
        static const char *const of_service[] = { "_service", "_handlers", "_register" };
        size_t n_stubs;
        const struct stub *stubs = stubs_of_methods(&n_stubs);
        struct owner *owner = new_owner(claims, service->file, &service->at, "service", service->full_name);
        claim_suffixed(claims, owner, service->stem, of_service, sizeof of_service / sizeof *of_service);
        for (size_t i = 0; i < service->n_methods; i++) {
                const struct method *method = &service->methods[i];
                owner = new_owner(claims, service->file, &method->at, "method",
                                  arena_printf(claims->arena, "%s.%s", service->proto->name, method->proto->name));
                claim(claims, owner, method->stem); /* also where it streams: tables and thunks are called so */
                for (size_t j = 0; j < n_stubs; j++) {
                        if (stubs[j].kinds & method->kind)
                                claim(claims, owner,
                                      arena_printf(claims->arena, "%s%s", method->stem, stubs[j].suffix));
                }
        }
}

/* ---- members of structs ----------------------------------------------------------------------------------- */

static void claim_members(struct claims *claims, const struct message *message)
{
        struct claims members = { .arena = claims->arena, .complaints = claims->complaints };
        struct owner *owner =
                new_owner(claims, message->file, &message->at, "protobuf-c's own member of", message->proto->name);
        claim(&members, owner, message->options.base_field_name);
        for (size_t i = 0; i < message->n_oneofs; i++)
                claim(&members,
                      new_owner(claims, message->file, &message->oneofs[i].at, "oneof", message->oneofs[i].proto->name),
                      message->oneofs[i].case_member);
        for (size_t i = 0; i < message->n_fields; i++) {
                const struct field *field = &message->fields[i];
                owner = new_owner(claims, message->file, &field->at, "field", field->proto->name);
                claim(&members, owner, field->c_name);
                if (field->label == LABEL_REPEATED)
                        claim(&members, owner, arena_printf(claims->arena, "n_%s", field->c_name));
                if (field_has_presence(field))
                        claim(&members, owner, arena_printf(claims->arena, "has_%s", field->c_name));
        }
        map_free(&members.owners);
}

/* ---- single names ----------------------------------------------------------------------------------------- */

static void check_field_names(const struct message *message, struct complaints *complaints)
{
        for (size_t i = 0; i < message->n_fields; i++) {
                const struct field *field = &message->fields[i];
                if (name_is_reserved(field->c_name))
                        complain(complaints, message->file, &field->at,
                                 "field %s: \"%s\" is a keyword or macro of C or C++ that protobuf-c leaves as it is: "
                                 "rename "
                                 "the field",
                                 field->proto->name, field->c_name);
        }
}

static void check_service_names(const struct service *service, struct complaints *complaints)
{
        if (!name_is_identifier(service->stem))
                complain(complaints, service->file, &service->at,
                         "service %s: \"%s\" cannot begin a name in C: rename the service, or use --package-prefix",
                         service->proto->name, service->stem);
        else if (name_is_system_prefix(service->stem))
                complain(complaints, service->file, &service->at,
                         "service %s: names beginning with \"%s_\" belong to the system or to Baton: rename the "
                         "service, or "
                         "give the file a package",
                         service->proto->name, service->stem);
        for (size_t i = 0; i < service->n_methods; i++) {
                const struct method *method = &service->methods[i];
                if (!name_is_identifier(method->snake))
                        complain(complaints, service->file, &method->at,
                                 "method %s: \"%s\" is no name in C: rename the method", method->proto->name,
                                 method->snake);
        }
}

static void check_file(struct claims *claims, const struct file *file)
{
        for (size_t i = 0; i < file->n_messages; i++) {
                claim_message(claims, &file->messages[i]);
                if (file->generate) {
                        claim_members(claims, &file->messages[i]);
                        check_field_names(&file->messages[i], claims->complaints);
                }
        }
        for (size_t i = 0; i < file->n_enums; i++)
                claim_enum(claims, &file->enums[i]);
        for (size_t i = 0; i < file->n_services; i++) {
                claim_service(claims, &file->services[i]);
                if (file->generate)
                        check_service_names(&file->services[i], claims->complaints);
        }
}

void check_names(const struct model *model, struct complaints *complaints)
{
        struct claims claims = { .arena = model->arena, .complaints = complaints };
        for (size_t i = 0; i < model->n_files; i++)
                check_file(&claims, &model->files[i]);
        map_free(&claims.owners);
}
