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

TODO baton_stream *baton_stream_open(baton_channel *channel, baton_loop *loop, const baton_method *method,
                                     const ProtobufCMessage *request, const baton_call_options *options,
                                     baton_stream_ready ready, void *context)
{
        (void)channel, (void)loop, (void)method, (void)request, (void)options, (void)ready, (void)context;
        error_set(-ENOSYS, "streams are not there yet");
        return NULL;
}

TODO int baton_stream_write(baton_stream *stream, const ProtobufCMessage *message)
{
        (void)stream, (void)message;
        return -ENOSYS;
}

TODO int baton_stream_writes_done(baton_stream *stream)
{
        (void)stream;
        return -ENOSYS;
}

TODO int baton_stream_read(baton_stream *stream, const ProtobufCMessage **message)
{
        (void)stream, (void)message;
        return -ENOSYS;
}

TODO baton_status baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply)
{
        (void)stream, (void)reply;
        return (baton_status){ .code = BATON_UNIMPLEMENTED, .message = "streams are not there yet" };
}

TODO int baton_call_recv(baton_call *call, const ProtobufCMessage **message)
{
        (void)call, (void)message;
        return -ENOSYS;
}

TODO int baton_call_send(baton_call *call, const ProtobufCMessage *message)
{
        (void)call, (void)message;
        return -ENOSYS;
}

TODO int baton_call_end(baton_call *call)
{
        (void)call;
        return -ENOSYS;
}
