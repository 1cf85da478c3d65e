#include "standard.h"
#include <errno.h>

void baton_standard_end(baton_call *call, int error)
{
        switch (error) {
        case -EALREADY: /* by the library: what the client sent could not be read, for example */
        case -EBADMSG:
                break;
        case -ECANCELED:
                baton_call_fail(call, BATON_CANCELLED, "the client has cancelled the call, or is gone");
                break;
        default:
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
        }
}
