/* Second pass over the request: services, and the C names that Baton gives them. */
#include "model_read.h"
#include "names.h"

#include <string.h>

/* Field numbers of descriptor.proto, as they stand in SourceCodeInfo paths. */
enum { FILE_SERVICE = 6, SERVICE_METHOD = 2 };

static enum method_kind kind_of(const method_proto *proto)
{
        bool in = proto->has_client_streaming && proto->client_streaming;
        bool out = proto->has_server_streaming && proto->server_streaming;
        if (in)
                return out ? METHOD_BIDIRECTIONAL : METHOD_CLIENT_STREAMING;
        return out ? METHOD_SERVER_STREAMING : METHOD_UNARY;
}

bool method_streams_in(const struct method *method)
{
        return method->kind == METHOD_CLIENT_STREAMING || method->kind == METHOD_BIDIRECTIONAL;
}

static bool read_method(struct model *model, struct service *service, size_t service_index, size_t i)
{
        struct method *method = &service->methods[i];
        const method_proto *proto = service->proto->method[i];
        const char *file_name = service->file->name;
        if (!proto->name || !name_is_identifier(proto->name))
                return model_refuse(model, "%s: service %s has a method without a proper name", file_name,
                                    service->full_name);
        int path[] = { FILE_SERVICE, (int)service_index, SERVICE_METHOD, (int)i };
        *method = (struct method){
                .proto = proto,
                .service = service,
                .input = model_message(model, proto->input_type),
                .output = model_message(model, proto->output_type),
                .kind = kind_of(proto),
                .at = source_find(service->file->source, path, sizeof path / sizeof *path),
        };
        if (!method->input || !method->output)
                return model_refuse(model, "%s: method %s.%s has an unknown request or reply type", file_name,
                                    service->full_name, proto->name);
        return true;
}

bool model_read_services(struct model *model, struct file *file)
{
        file->n_services = file->proto->n_service;
        file->services = arena_array(model->arena, file->n_services, sizeof *file->services);
        for (size_t i = 0; i < file->n_services; i++) {
                struct service *service = &file->services[i];
                const service_proto *proto = file->proto->service[i];
                if (!proto->name || !name_is_identifier(proto->name))
                        return model_refuse(model, "%s: a service without a proper name", file->name);
                int path[] = { FILE_SERVICE, (int)i };
                *service = (struct service){
                        .proto = proto,
                        .file = file,
                        .full_name = arena_printf(model->arena, "%s%s%s", file->package, *file->package ? "." : "",
                                                  proto->name),
                        .n_methods = proto->n_method,
                        .at = source_find(file->source, path, sizeof path / sizeof *path),
                };
                service->methods = arena_array(model->arena, service->n_methods, sizeof *service->methods);
                for (size_t j = 0; j < service->n_methods; j++) {
                        if (!read_method(model, service, i, j))
                                return false;
                }
        }
        return true;
}

/* ---- names ------------------------------------------------------------------------------------------------ */

/* Marks a stem that services of different packages share. */
static const char shared[] = "";

static void count_stems(struct model *model, struct map *stems)
{
        for (size_t i = 0; i < model->n_files; i++) {
                const struct file *file = &model->files[i];
                for (size_t j = 0; j < file->n_services; j++) {
                        const char *stem = name_snake(model->arena, file->services[j].proto->name);
                        const char *package = map_add(stems, stem, (void *)file->package);
                        /* Within one package a prefix would not help: that is a collision, reported elsewhere. */
                        if (strcmp(package, file->package) != 0)
                                map_add(stems, arena_printf(model->arena, "%s ", stem), (void *)shared);
                }
        }
}

static void name_methods(struct model *model, struct service *service)
{
        for (size_t i = 0; i < service->n_methods; i++) {
                struct method *method = &service->methods[i];
                const char *snake = name_snake(model->arena, method->proto->name);
                /* STEM_register, STEM_service and STEM_handlers are the service's own. */
                bool taken = strcmp(snake, "register") == 0 || strcmp(snake, "service") == 0 ||
                             strcmp(snake, "handlers") == 0;
                method->snake = snake;
                method->slot = name_member(model->arena, snake);
                method->stem = arena_printf(model->arena, "%s_%s%s", service->stem, snake, taken ? "_method" : "");
        }
}

void model_name_services(struct model *model, bool package_prefix)
{
        struct map stems = { 0 };
        count_stems(model, &stems);
        for (size_t i = 0; i < model->n_files; i++) {
                struct file *file = &model->files[i];
                const char *package = name_snake(model->arena, file->package);
                for (size_t j = 0; j < file->n_services; j++) {
                        struct service *service = &file->services[j];
                        const char *stem = name_snake(model->arena, service->proto->name);
                        bool ambiguous =
                                map_get(&stems, arena_printf(model->arena, "%s ", stem)) || name_is_system_prefix(stem);
                        service->stem = *package && (package_prefix || ambiguous)
                                                ? arena_printf(model->arena, "%s_%s", package, stem)
                                                : stem;
                        name_methods(model, service);
                }
        }
        map_free(&stems);
}
