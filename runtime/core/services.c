/* What a server offers. */
#include "base/error.h"
#include "base/hash.h"
#include "codec/layout.h"
#include "core/server.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_METHODS = 65536 };

static int check_registration(const baton_server *server, const baton_service *service, const void *handlers)
{
        if (!server || !service || !handlers)
                return error_set(-EINVAL, "baton_server_register: the %s is NULL",
                                 !server    ? "server"
                                 : !service ? "service"
                                            : "table of handlers");
        if (server_check_process(server) < 0)
                return -ECHILD;
        if (server->config.offers)
                return error_set(-EBUSY,
                                 "cannot register %s: the server listens already; register before baton_server_listen",
                                 service->name);
        for (size_t i = 0; i < server->n_services; i++)
                if (strcmp(server->services[i].service->name, service->name) == 0)
                        return error_set(-EALREADY, "cannot register %s: it is registered already", service->name);
        return 0;
}

int baton_server_register(baton_server *server, const baton_service *service, const void *handlers, void *context)
{
        int error = check_registration(server, service, handlers);
        if (error < 0)
                return error;
        struct registration *services = realloc(server->services, (server->n_services + 1) * sizeof *services);
        if (!services)
                return error_set(-ENOMEM, "cannot register %s: out of memory", service->name);
        server->services = services;
        services[server->n_services++] = (struct registration){ service, handlers, context };
        return 0;
}

size_t baton_server_services(const baton_server *server, const baton_service **out, size_t n)
{
        if (!server)
                return 0;
        for (size_t i = 0; out && i < n && i < server->n_services; i++)
                out[i] = server->services[i].service;
        return server->n_services;
}

/* ---- offers ----------------------------------------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
        uint64_t left = ((const struct offer *)a)->path_hash, right = ((const struct offer *)b)->path_hash;
        return left < right ? -1 : left > right;
}

static uint32_t add_offers(struct offer *offers, uint32_t n, const struct registration *registration,
                           struct observer *observer)
{
        for (size_t i = 0; i < registration->service->n_methods; i++) {
                const baton_method *method = &registration->service->methods[i];
                offers[n++] = (struct offer){ .method = method,
                                              .handlers = registration->handlers,
                                              .context = registration->context,
                                              .observer = observer,
                                              .path_hash = hash_string(method->path),
                                              .input_layout = layout_hash(method->input->descriptor),
                                              .output_layout = layout_hash(method->output->descriptor) };
        }
        return n;
}

/* Sorts them; methods are known by their hashes alone. */
static int sort_offers(struct offer *offers, uint32_t n)
{
        qsort(offers, n, sizeof *offers, by_hash);
        for (uint32_t i = 1; i < n; i++)
                if (offers[i].path_hash == offers[i - 1].path_hash)
                        return error_set(-EEXIST, "cannot listen: %s and %s have the same hash; rename one",
                                         offers[i].method->path, offers[i - 1].method->path);
        return 0;
}

/* What nobody calls is listed as well. */
static int list_counters(const baton_server *server, const struct offer *offers, uint32_t n)
{
        struct counters *counters = server->observer ? server->observer->counters : NULL;
        for (uint32_t i = 0; counters && i < n; i++)
                if (counters_list(counters, offers[i].method) < 0)
                        return -ENOMEM;
        return 0;
}

int server_make_offers(baton_server *server)
{
        size_t n = 0;
        if (server->config.offers)
                return 0;
        for (size_t i = 0; i < server->n_services; i++)
                n += server->services[i].service->n_methods;
        if (n > MOST_METHODS)
                return error_set(-E2BIG, "cannot listen: %zu methods are registered, at most %d can be", n,
                                 MOST_METHODS);
        struct offer *offers = calloc(n + 1, sizeof *offers);
        if (!offers)
                return error_set(-ENOMEM, "cannot listen: out of memory");
        uint32_t count = 0;
        for (size_t i = 0; i < server->n_services; i++)
                count = add_offers(offers, count, &server->services[i], server->observer);
        int error = sort_offers(offers, count);
        if (error >= 0)
                error = list_counters(server, offers, count);
        if (error < 0) {
                free(offers);
                return error;
        }
        server->config.offers = offers;
        server->config.n_offers = count;
        return 0;
}
