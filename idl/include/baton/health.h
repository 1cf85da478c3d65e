/*
 * The standard service grpc.health.v1.Health: whether a server, or one service of it, can take calls now. Supervisors and load
 * balancers ask it, or watch it. In the library baton_standard (CMake: baton::standard, pkg-config: baton-standard).
 *
 *     baton_health *health = baton_health_register(server);             before baton_server_listen
 *     baton_health_set(health, "demo.Greeter", BATON_HEALTH_SERVING);   whenever it changes
 *
 * The client's side are the stubs in <grpc/health/v1/health.baton.h>.
 */
#ifndef BATON_HEALTH_H
#define BATON_HEALTH_H

#include <baton/server.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_health baton_health;

/* The numbers are those of HealthCheckResponse.ServingStatus. */
typedef enum baton_health_status {
        BATON_HEALTH_UNKNOWN = 0, /* nobody knows yet */
        BATON_HEALTH_SERVING = 1,
        BATON_HEALTH_NOT_SERVING = 2,
        BATON_HEALTH_SERVICE_UNKNOWN = 3, /* no service of this name is known */
} baton_health_status;

/*
 * Registers the service. The server as a whole, which has the name "", is SERVING; other names are unknown until they are set: Check
 * answers NOT_FOUND, and Watch tells SERVICE_UNKNOWN. List answers RESOURCE_EXHAUSTED for more than 100 names, as its contract says.
 * Returns NULL with the reason in baton_error(): as baton_server_register, or no memory. Free it after the server.
 */
baton_health *baton_health_register(baton_server *server);

/*
 * Sets the status of a service, "package.Service" or whatever its clients ask for, or of the server, "". SERVICE_UNKNOWN forgets the
 * name. Watchers are told if it changed; one that does not read holds nobody up, and gets the latest status once it does. Does not
 * wait. Returns 0; -EINVAL for a NULL argument, a name of more than 256 bytes or with other than printable ASCII characters, or a
 * status outside the list; -ESHUTDOWN after baton_health_shutdown; -ENOMEM; the reason is in baton_error(). Safe from any
 * thread, also in handlers.
 */
int baton_health_set(baton_health *health, const char *service, baton_health_status status);

/* Makes all that is known NOT_SERVING, for good: for a server that is about to drain. Watches go on. NULL is allowed. Safe as
 * baton_health_set is. */
void baton_health_shutdown(baton_health *health);

/* Frees it, after baton_server_free. NULL is allowed. */
void baton_health_free(baton_health *health);

#ifdef __cplusplus
}
#endif
#endif
