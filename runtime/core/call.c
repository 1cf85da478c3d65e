#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/list.h"
#include "base/utf8.h"
#include "codec/type.h"
#include "core/call.h"
#include "core/observed_call.h"
#include "core/details.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TEXT = 1024 };

_Thread_local baton_call *call_current;

baton_call *baton_call_current(void)
{
        return call_current;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static void retain_request(struct held *held)
{
        call_ref(container_of(held, struct baton_call, held));
}

static void release_request(struct held *held)
{
        call_unref(container_of(held, struct baton_call, held));
}

void call_init(struct baton_call *call, uint32_t memory)
{
        call->held = (struct held){ .retain = retain_request, .release = release_request };
        call->metadata.n = 0;
        call->oneway = false;
        atomic_store_explicit(&call->memory, memory, memory_order_relaxed);
        atomic_store_explicit(&call->holds, 1, memory_order_relaxed);
        atomic_store_explicit(&call->answered, false, memory_order_relaxed);
        atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
        atomic_store_explicit(&call->extra, NULL, memory_order_relaxed);
        call->observed = NULL;
        call->traffic = (struct traffic){ 0 };
}

void call_unref(struct baton_call *call)
{
        /* The last reference needs no read-modify-write: nobody else can take one. */
        if (atomic_load_explicit(&call->memory, memory_order_acquire) == 1 ||
            atomic_fetch_sub_explicit(&call->memory, 1, memory_order_acq_rel) == 1) {
                struct call_extra *extra = atomic_load_explicit(&call->extra, memory_order_relaxed);
                if (extra) {
                        call_keep_current(call, extra);
                        call_extra_free(extra);
                }
                call->ops->free(call);
        }
}

baton_call *baton_call_retain(baton_call *call)
{
        if (call)
                atomic_fetch_add_explicit(&call->holds, 1, memory_order_relaxed);
        return call;
}

static void dropped(baton_call *call)
{
        if (baton_call_cancelled(call)) { /* nobody waits for an answer, but the transport has to forget the call */
                bool late = deadline_passed(call->deadline_ns);
                atomic_store_explicit(&call->answered, true,
                                      memory_order_release); /* the callbacks' context may be gone */
                call->ops->answer(call, &(struct answer){ .code = late ? BATON_DEADLINE_EXCEEDED : BATON_CANCELLED,
                                                          .text = "the call was let go without an answer" });
                return;
        }
        log_line(BATON_LOG_ERROR, "%s: the handler ended without a reply; reply, fail, or retain the call",
                 call->method->path);
        baton_call_fail(call, BATON_INTERNAL, "%s: the server's handler ended without a reply", call->method->path);
}

void baton_call_release(baton_call *call)
{
        if (!call)
                return;
        /* The last holder needs no read-modify-write: nobody else can take a hold. */
        uint32_t holds = atomic_load_explicit(&call->holds, memory_order_acquire);
        if (!holds) {
                log_line(BATON_LOG_ERROR, "baton_call_release: the call was released more often than it was retained");
                return;
        }
        if (holds != 1 && atomic_fetch_sub_explicit(&call->holds, 1, memory_order_acq_rel) != 1)
                return;
        if (!atomic_load_explicit(&call->answered, memory_order_relaxed))
                dropped(call);
        if (__builtin_expect(call->observed != NULL, 0))
                call_observed_answered(call, NULL);
        atomic_store_explicit(&call->holds, 0, memory_order_relaxed);
        call_unref(call);
}

/* The right to answer is given once. */
static int claim(baton_call *call)
{
        if (!atomic_exchange_explicit(&call->answered, true, memory_order_acq_rel))
                return 0;
        log_line(BATON_LOG_ERROR, "%s: answered twice; the second answer is dropped", call->method->path);
        return error_set(-EALREADY, "%s: the call was answered before", call->method->path);
}

/* Sends the answer, which was claimed, with the metadata that the call has. */
static int answer(baton_call *call, struct answer *answer)
{
        struct call_extra *extra = call_extra_if(call);
        if (answer->code && call->oneway) /* nobody else hears of it */
                log_line(BATON_LOG_INFO, "%s: a one-way call failed: %s: %s", call->method->path,
                         baton_code_name(answer->code), answer->text);
        if (!extra)
                return call_answer(call, answer);
        pthread_mutex_lock(&extra->lock);
        extra->sealed = true;
        pthread_mutex_unlock(&extra->lock);
        answer->headers = call_take_headers(extra);
        answer->trailers = extra->trailers.metadata.n ? &extra->trailers.metadata : NULL;
        int error = call_answer(call, answer);
        call_happened(extra); /* threads that wait in a stream learn that it is over */
        return error;
}

/* A text that was shortened to LONGEST_TEXT ends with a whole character: the client takes nothing but UTF-8. */
static void end_with_a_character(char *text, int length)
{
        if (length >= LONGEST_TEXT)
                text[utf8_span(text, LONGEST_TEXT - 1)] = '\0';
}

/* The reply could not be sent: the client is told why instead. */
static int reply_failed(baton_call *call, int error)
{
        bool room = error == -EMSGSIZE || error == -ENOBUFS || error == -ENOMEM;
        char text[LONGEST_TEXT];
        int length = snprintf(text, sizeof text, "%s: the reply cannot be sent: %s", call->method->path, baton_error());
        end_with_a_character(text, length);
        log_line(BATON_LOG_ERROR, "%s", text);
        answer(call, &(struct answer){ .code = room ? BATON_RESOURCE_EXHAUSTED : BATON_INTERNAL, .text = text });
        return error_set(error == -ENOMEM ? -ENOBUFS : room ? error : -EBADMSG, "%s", text);
}

int baton_call_reply(baton_call *call, const ProtobufCMessage *message)
{
        if (!call || !message)
                return error_set(-EINVAL, "baton_call_reply: the %s is NULL", call ? "message" : "call");
        const ProtobufCMessageDescriptor *type = call->method->output->descriptor;
        if (!type_matches(message, type)) {
                log_line(BATON_LOG_ERROR, "%s: the handler replies with something that is no %s", call->method->path,
                         type->name);
                return error_set(-EINVAL, "%s: the reply has to be of type %s; is it initialised with its __INIT?",
                                 call->method->path, type->name);
        }
        if (call->method->flags & BATON_SERVER_STREAMING)
                return error_set(-EINVAL, "%s: the method streams its replies: use baton_call_send and baton_call_end",
                                 call->method->path);
        return call_answer_ok(call, message);
}

int call_answer_ok(baton_call *call, const ProtobufCMessage *message)
{
        int error = claim(call);
        if (error < 0)
                return error;
        error = answer(call, &(struct answer){ .message = message });
        return error < 0 && error != -EPIPE ? reply_failed(call, error) : error;
}

int baton_call_fail(baton_call *call, baton_code code, const char *format, ...)
{
        if (!call || !format || code <= BATON_OK || code > BATON_UNAUTHENTICATED)
                return error_set(-EINVAL, "baton_call_fail: %s",
                                 !call     ? "the call is NULL"
                                 : !format ? "the format is NULL"
                                           : "the code is no failure; success is told by a reply");
        char text[LONGEST_TEXT];
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        end_with_a_character(text, length);
        int error = claim(call);
        return error < 0 ? error : answer(call, &(struct answer){ .code = code, .text = text });
}

void call_fail_with_error(baton_call *call, baton_code code)
{
        char text[LONGEST_TEXT];
        snprintf(text, sizeof text, "%s", baton_error());
        baton_call_fail(call, code, "%s", text);
        error_set(-EBADMSG, "%s", text);
}

int baton_call_fail_with(baton_call *call, baton_code code, const char *message, const ProtobufCMessage *const *details,
                         size_t n_details)
{
        if (!call || !message || (!details && n_details))
                return error_set(-EINVAL, "baton_call_fail_with: the %s",
                                 !call      ? "call is NULL"
                                 : !message ? "message is NULL"
                                            : "array of details is NULL");
        struct call_extra *extra = call_extra(call);
        uint8_t *packed = NULL;
        size_t size = 0;
        int error = extra ? details_pack(code, utf8_valid(message, strlen(message)) ? message : "", details, n_details,
                                         call->max_metadata_bytes, &packed, &size)
                          : -ENOMEM;
        if (error == -EINVAL)
                return error;
        if (error >= 0) {
                pthread_mutex_lock(&extra->lock);
                error = extra->sealed ? 0
                                      : metadata_list_add(&extra->trailers, DETAILS_TRAILER, packed, size,
                                                          call->max_metadata_bytes, true);
                pthread_mutex_unlock(&extra->lock);
        }
        free(packed);
        int failed = baton_call_fail(call, code, "%s", message); /* without the details, where they are too large */
        return failed < 0 ? failed : error;
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

void *baton_call_scratch(baton_call *call, size_t size)
{
        void *memory = call ? baton_arena_alloc(&call->arena, size) : NULL;
        if (memory)
                memset(memory, 0, size);
        else
                error_set(-ENOMEM, "no scratch memory of %zu bytes for the call", size);
        return memory;
}

char *baton_call_printf(baton_call *call, const char *format, ...)
{
        va_list arguments, again;
        va_start(arguments, format);
        va_copy(again, arguments);
        int length = vsnprintf(NULL, 0, format, arguments);
        char *text = length < 0 ? NULL : baton_call_scratch(call, (size_t)length + 1);
        if (text)
                vsnprintf(text, (size_t)length + 1, format, again);
        va_end(again);
        va_end(arguments);
        return text;
}

void *baton_call_alloc(baton_call *call, size_t size)
{
        if (call)
                return call->ops->alloc(call, size);
        error_set(-EINVAL, "baton_call_alloc: the call is NULL");
        return NULL;
}

ProtobufCMessage *baton_call_new_reply(baton_call *call)
{
        if (!call)
                return NULL;
        const ProtobufCMessageDescriptor *type = call->method->output->descriptor;
        ProtobufCMessage *message = baton_arena_alloc(&call->arena, type->sizeof_message);
        if (message)
                type->message_init(message);
        return message;
}

/* ---- facts ------------------------------------------------------------------------------------------------ */

uint64_t baton_call_deadline_ns(const baton_call *call)
{
        return call ? call->deadline_ns : 0;
}

const char *baton_call_method(const baton_call *call)
{
        return call ? call->method->path : "";
}

baton_peer baton_call_peer(const baton_call *call)
{
        return call ? call->peer : (baton_peer){ .uid = (uid_t)-1, .gid = (gid_t)-1 };
}
