/*
 * A client's streaming call. Typed forms are generated: service_method_open, _open_async, _write, _writes_done, _read, _finish.
 *
 *   open → write … writes_done      what the client streams, if it does
 *        → read …                   what the server streams, if it does
 *        → finish → close           the outcome
 *
 * A stream opened without a loop is blocking: its functions wait. One opened on a loop is asynchronous: they never wait but return
 * -EAGAIN, and `ready` runs on the loop when it is worth trying again.
 *
 * Threads: one thread may write while another reads; two may not do the same at once. cancel is safe from any thread, at any
 * time before close. An asynchronous stream is opened and written from any thread, and read, finished and closed on its
 * loop's. Streams of one channel do not wait for each other: a reader that does not read holds up its own writer only.
 *
 * In a forked child nothing can be done with an inherited stream: -ECHILD, or FAILED_PRECONDITION; cancel and close do nothing.
 */
#ifndef BATON_STREAM_H
#define BATON_STREAM_H

#include <baton/call.h>
#include <baton/channel.h>
#include <baton/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_stream baton_stream;

/* Something changed: a message or the headers came, there is room to write, the call has ended, or has begun on a connection that had to be
 * made first. Edge-triggered: after any
 * -EAGAIN it runs once when that may succeed; read until -EAGAIN or 0. It may close the stream. */
typedef void (*baton_stream_ready)(baton_stream *stream, void *context);

/*
 * Sends a message, encoded before this returns. Blocking: waits while the server has not read enough of the earlier ones
 * (back-pressure), until the deadline. 0; -EAGAIN (asynchronous only): no room now, or not connected yet; -EPIPE: the call has ended, finish has the
 * outcome; -ESHUTDOWN: after writes_done or finish; -EINVAL: a NULL or mistyped message, or the method takes a single request;
 * -EILSEQ, -ENODATA, -ELOOP, -EMSGSIZE, -ENOBUFS, -ENOMEM: this message cannot be sent, the stream goes on. baton_error() has
 * the reason.
 */
int baton_stream_write(baton_stream *stream, const ProtobufCMessage *message);

/* Half-close: no more messages follow. 0; -ESHUTDOWN where that was said before; -EPIPE when the call has ended; -EINVAL where the
 * method takes a single request. Never waits. */
int baton_stream_writes_done(baton_stream *stream);

/*
 * The server's next message: 1, and *message is set; it lives until the next read or close; baton_retain keeps it. 0: no more
 * will come, finish has the outcome. -EAGAIN (asynchronous only): none yet. -EINVAL: a NULL argument, or the method has a single
 * reply, which finish returns. -ENOMEM: try again. A message that cannot be decoded ends the call.
 */
int baton_stream_read(baton_stream *stream, const ProtobufCMessage **message);

/*
 * The outcome. Blocking: half-closes, drops what was not read, and waits until the server ends the call; for a server that may
 * stream for ever, cancel first. Asynchronous: does not wait; a call that has not ended (see baton_stream_ended) is cancelled.
 * *reply (NULL is allowed): the reply of a client-streaming method, an empty message on failure; it and the status' texts live
 * until close; baton_retain keeps the reply. May be called again, and says the same.
 */
baton_status baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply);

/* Whether the call has ended, so that finish has its outcome at once. Messages may be left to read. Any thread. */
bool baton_stream_ended(const baton_stream *stream);

/* The server's headers (initial metadata); NULL until they have come. Blocking streams wait for them, or for the end. They live
 * until close. */
const baton_metadata *baton_stream_headers(baton_stream *stream);

/* Ends the call with CANCELLED, unless it has ended. The server is told. Returns at once; what was received before can still be
 * read. After the end, and twice, it does nothing. Any thread. */
void baton_stream_cancel(baton_stream *stream);

/* Frees the stream; cancels the call where it has not ended. `ready` does not run any more. No other thread may be using the
 * stream. NULL is allowed. */
void baton_stream_close(baton_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
