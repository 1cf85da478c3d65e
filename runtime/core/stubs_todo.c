/* Temporary: what generated code calls and core does not have yet. Weak, so that each goes unused once the real one comes;
 * to be deleted with the last of them. */
#include "base/error.h"
#include <baton/service.h>
#include <errno.h>

#define TODO __attribute__((weak))

TODO int baton_oneway(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                      const baton_call_options *options)
{
        (void)channel, (void)method, (void)request, (void)options;
        return error_set(-ENOSYS, "one-way calls are not there yet");
}
