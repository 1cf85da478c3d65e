/*
 * The standard service of server reflection, grpc.reflection.v1.ServerReflection, also under its older name v1alpha: tells which
 * services a server has, and the .proto files that define them, so that programs built without them can call it. In
 * the library baton_standard (CMake: baton::standard, pkg-config: baton-standard).
 */
#ifndef BATON_REFLECTION_H
#define BATON_REFLECTION_H

#include <baton/server.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Registers both versions. They tell of all services that the server has when it listens, themselves included, and of the .proto
 * files that define these, with all that those import; not of other files in the program. There is nothing to free. Who may
 * connect may ask. Returns 0 or a negative errno, as baton_server_register.
 */
int baton_reflection_register(baton_server *server);

#ifdef __cplusplus
}
#endif
#endif
