/* grpc.health.v1.Health: see baton/health.h. */
#include "grpc/health/v1/health.baton.h"
#include "standard.h"
#include <baton/health.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
        MOST_LISTED = 100, /* says the contract */
        LONGEST_NAME = 256,
        NEVER_TOLD = -1,
};

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;

struct service {
        struct service *next;
        baton_health_status status;
        char name[];
};

/* In the scratch memory of its call, which it holds. */
struct watcher {
        struct watcher *next;  /* under the lock, */
        struct watcher **link; /* as is what points to it */
        baton_health *health;
        baton_call *call;
        const char *service;
        int told; /* the status that the client was sent last; tell's own */
};

struct baton_health {
        pthread_mutex_t lock; /* for all below; not held where `tell` may run */
        struct service *services;
        size_t n_services;
        struct watcher *watchers;
        bool shut_down;
};

/* ---- services, under the lock ----------------------------------------------------------------------------- */

/* What points to the service, or to the end of the list. */
static struct service **find(baton_health *health, const char *name)
{
        struct service **link = &health->services;
        while (*link && strcmp((*link)->name, name) != 0)
                link = &(*link)->next;
        return link;
}

static int add(baton_health *health, struct service **end, const char *name, baton_health_status status)
{
        size_t size = strlen(name) + 1;
        struct service *service = malloc(sizeof *service + size);
        if (!service)
                return -ENOMEM;
        service->next = NULL;
        service->status = status;
        memcpy(service->name, name, size);
        *end = service;
        health->n_services++;
        return 0;
}

static void forget(baton_health *health, struct service **link)
{
        struct service *service = *link;
        *link = service->next;
        health->n_services--;
        free(service);
}

static int change(baton_health *health, const char *name, baton_health_status status)
{
        struct service **link = find(health, name);
        if (health->shut_down)
                return baton_error_set(-ESHUTDOWN,
                                       "baton_health_set: \"%s\" stays as it is after baton_health_shutdown", name);
        if (*link && status != BATON_HEALTH_SERVICE_UNKNOWN)
                (*link)->status = status;
        else if (*link)
                forget(health, link);
        else if (status != BATON_HEALTH_SERVICE_UNKNOWN && add(health, link, name, status) < 0)
                return baton_error_set(-ENOMEM, "baton_health_set: out of memory for \"%s\"", name);
        return 0;
}

static baton_health_status status_of(baton_health *health, const char *name)
{
        pthread_mutex_lock(&health->lock);
        struct service *service = *find(health, name);
        baton_health_status status = service ? service->status : BATON_HEALTH_SERVICE_UNKNOWN;
        pthread_mutex_unlock(&health->lock);
        return status;
}

/* ---- watchers --------------------------------------------------------------------------------------------- */

static void insert(struct watcher **head, struct watcher *watcher)
{
        watcher->next = *head;
        watcher->link = head;
        if (*head)
                (*head)->link = &watcher->next;
        *head = watcher;
}

static void take_out(struct watcher *watcher)
{
        *watcher->link = watcher->next;
        if (watcher->next)
                watcher->next->link = watcher->link;
}

static void leave(struct watcher *watcher)
{
        pthread_mutex_lock(&watcher->health->lock);
        take_out(watcher);
        pthread_mutex_unlock(&watcher->health->lock);
        baton_call_release(watcher->call);
}

/* The call's ready callback: tells the client the status, if that is news; or learns that the call is over. */
static void tell(baton_call *call, void *context)
{
        struct watcher *watcher = context;
        baton_health_status status = status_of(watcher->health, watcher->service);
        check_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
        int error = baton_call_cancelled(call) ? -ECANCELED : 0;

        response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
        if (!error && watcher->told != (int)status)
                error = grpc_health_v1_health_watch_send(call, &response);
        if (!error)
                watcher->told = (int)status;
        if (error && error != -EAGAIN) {
                baton_standard_end(call, error);
                leave(watcher);
        }
}

/* Has the watchers of the service, of all services for NULL, look at the status again. They are moved to a list of their own and
 * back, so that the lock can be left for each: `tell` runs at once. */
static void wake(baton_health *health, const char *service)
{
        struct watcher *woken = NULL;
        pthread_mutex_lock(&health->lock);
        for (struct watcher *watcher = health->watchers, *next; watcher; watcher = next) {
                next = watcher->next;
                if (service && strcmp(watcher->service, service) != 0)
                        continue;
                take_out(watcher);
                insert(&woken, watcher);
        }
        while (woken) {
                struct watcher *watcher = woken;
                baton_call *call = baton_call_retain(watcher->call);
                take_out(watcher);
                insert(&health->watchers, watcher);
                pthread_mutex_unlock(&health->lock);
                baton_call_on_ready(call, tell, watcher); /* which is in the call's memory */
                baton_call_release(call);
                pthread_mutex_lock(&health->lock);
        }
        pthread_mutex_unlock(&health->lock);
}

/* ---- handlers --------------------------------------------------------------------------------------------- */

static void check(baton_call *call, const check_request *request, void *context)
{
        baton_health_status status = status_of(context, request->service);
        check_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
        response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
        if (status == BATON_HEALTH_SERVICE_UNKNOWN)
                baton_call_fail(call, BATON_NOT_FOUND, "the health of service \"%s\" is not known here",
                                request->service);
        else
                grpc_health_v1_health_check_reply(call, &response);
}

struct listed {
        Grpc__Health__V1__HealthListResponse__StatusesEntry entry;
        check_response response;
        char name[LONGEST_NAME + 1];
};

/* All of them, if they are no more than MOST_LISTED, copied; what there is is counted in any case. */
static size_t copy_services(baton_health *health, struct listed *out)
{
        pthread_mutex_lock(&health->lock);
        size_t n = health->n_services;
        for (struct service *service = health->services; n <= MOST_LISTED && service; service = service->next, out++) {
                grpc__health__v1__health_list_response__statuses_entry__init(&out->entry);
                grpc__health__v1__health_check_response__init(&out->response);
                strcpy(out->name, service->name);
                out->response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)service->status;
                out->entry.key = out->name;
                out->entry.value = &out->response;
        }
        pthread_mutex_unlock(&health->lock);
        return n;
}

static void list(baton_call *call, const Grpc__Health__V1__HealthListRequest *request, void *context)
{
        (void)request;
        Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
        Grpc__Health__V1__HealthListResponse__StatusesEntry *entries[MOST_LISTED];
        struct listed *listed = baton_call_scratch(call, MOST_LISTED * sizeof *listed);
        if (!listed) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        response.n_statuses = copy_services(context, listed);
        if (response.n_statuses > MOST_LISTED) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED,
                                "%zu services are too many to list, more than %d; Check them", response.n_statuses,
                                MOST_LISTED);
                return;
        }
        for (size_t i = 0; i < response.n_statuses; i++)
                entries[i] = &listed[i].entry;
        response.statuses = entries;
        grpc_health_v1_health_list_reply(call, &response);
}

static void watch(baton_call *call, const check_request *request, void *context)
{
        baton_health *health = context;
        struct watcher *watcher = baton_call_scratch(call, sizeof *watcher);
        if (!watcher) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        watcher->health = health;
        watcher->call = baton_call_retain(call);
        watcher->service = request->service;
        watcher->told = NEVER_TOLD;
        pthread_mutex_lock(&health->lock);
        insert(&health->watchers, watcher);
        pthread_mutex_unlock(&health->lock);
        baton_call_on_ready(call, tell, watcher);
}

/* ---- public ----------------------------------------------------------------------------------------------- */

baton_health *baton_health_register(baton_server *server)
{
        static const grpc_health_v1_health_handlers handlers = { .check = check, .list = list, .watch = watch };
        baton_health *health = calloc(1, sizeof *health);
        if (!health || add(health, &health->services, "", BATON_HEALTH_SERVING) < 0) {
                free(health);
                baton_error_set(-ENOMEM, "baton_health_register: out of memory");
                return NULL;
        }
        pthread_mutex_init(&health->lock, NULL);
        if (grpc_health_v1_health_register(server, &handlers, health) == 0)
                return health;
        baton_health_free(health);
        return NULL;
}

static bool is_name(const char *text)
{
        size_t length = 0;
        while (text[length] >= ' ' && text[length] <= '~' && length <= LONGEST_NAME)
                length++;
        return !text[length] && length <= LONGEST_NAME;
}

int baton_health_set(baton_health *health, const char *service, baton_health_status status)
{
        if (!health || !service)
                return baton_error_set(-EINVAL, "baton_health_set: the %s is NULL", health ? "name" : "health");
        if (!is_name(service))
                return baton_error_set(-EINVAL, "baton_health_set: a name has at most %d bytes of printable ASCII",
                                       LONGEST_NAME);
        if ((int)status < BATON_HEALTH_UNKNOWN || status > BATON_HEALTH_SERVICE_UNKNOWN)
                return baton_error_set(-EINVAL, "baton_health_set: %d is no status for \"%s\"; see baton_health_status",
                                       (int)status, service);
        pthread_mutex_lock(&health->lock);
        int error = change(health, service, status);
        pthread_mutex_unlock(&health->lock);
        if (error == 0)
                wake(health, service);
        return error;
}

void baton_health_shutdown(baton_health *health)
{
        if (!health)
                return;
        pthread_mutex_lock(&health->lock);
        health->shut_down = true;
        for (struct service *service = health->services; service; service = service->next)
                service->status = BATON_HEALTH_NOT_SERVING;
        pthread_mutex_unlock(&health->lock);
        wake(health, NULL);
}

void baton_health_free(baton_health *health)
{
        if (!health)
                return;
        while (health->watchers) {
                baton_standard_end(health->watchers->call, -ECANCELED);
                leave(health->watchers);
        }
        while (health->services)
                forget(health, &health->services);
        pthread_mutex_destroy(&health->lock);
        free(health);
}
