#include "core/interceptor.h"
#include "base/error.h"
#include "base/utf8.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TEXT = 1024 };

static const baton_metadata no_metadata;

int interceptors_init(struct interceptors *interceptors, const char *owner, const baton_interceptor *array, size_t n,
                      size_t max_metadata_bytes)
{
        if (n > MOST_INTERCEPTORS)
                return error_set(-EINVAL, "%s option n_interceptors is %zu; it has to be at most %d", owner, n,
                                 MOST_INTERCEPTORS);
        if (n && !array)
                return error_set(-EINVAL, "%s option interceptors is NULL, though n_interceptors is %zu", owner, n);
        interceptors->n = n;
        interceptors->max_metadata_bytes = max_metadata_bytes;
        if (n)
                memcpy(interceptors->at, array, n * sizeof *array);
        return 0;
}

/* A code that begin made up becomes UNKNOWN, as in gRPC. */
static baton_code refused(struct baton_intercept_private *frame, baton_code code, const char **text)
{
        *text = frame->refusal ? frame->refusal : "refused by an interceptor";
        return (unsigned)code <= BATON_UNAUTHENTICATED ? code : BATON_UNKNOWN;
}

baton_code interceptors_begin(struct baton_intercept_private *frame, const struct interceptors *interceptors,
                              const char **text)
{
        frame->interceptors = interceptors;
        frame->view.inner = frame;
        if (!frame->view.metadata)
                frame->view.metadata = &no_metadata;
        frame->n_begun = 0;
        frame->ended = false;
        frame->refusal = NULL;
        frame->added = (struct metadata_list){ 0 };
        baton_code code = BATON_OK;
        for (size_t i = 0; i < interceptors->n && code == BATON_OK && !frame->ended; i++) {
                const baton_interceptor *interceptor = &interceptors->at[i];
                frame->n_begun = i + 1;
                frame->view.state = NULL;
                frame->beginning = true;
                if (interceptor->begin)
                        code = interceptor->begin(&frame->view, interceptor->context);
                frame->beginning = false;
                frame->states[i] = frame->view.state;
        }
        return code == BATON_OK ? code : refused(frame, code, text);
}

void interceptors_end(struct baton_intercept_private *frame, const baton_status *status)
{
        frame->ended = true;
        if (frame->view.client) {
                frame->view.request = NULL;
                frame->view.metadata = &no_metadata;
        }
        if (frame->beginning) /* the one that answered the call in its begin */
                frame->states[frame->n_begun - 1] = frame->view.state;
        for (size_t i = frame->n_begun; i-- > 0;) {
                const baton_interceptor *interceptor = &frame->interceptors->at[i];
                frame->view.state = frame->states[i];
                if (interceptor->end)
                        interceptor->end(&frame->view, status, interceptor->context);
        }
        free(frame->refusal);
        metadata_list_deinit(&frame->added);
}

/* ---- what begin may call ---------------------------------------------------------------------------------- */

int baton_intercept_add(baton_intercept *intercept, const char *key, const void *value, size_t size)
{
        if (!intercept || !key || (!value && size))
                return error_set(-EINVAL, "baton_intercept_add: the %s is NULL",
                                 !intercept ? "intercept"
                                 : !key     ? "key"
                                            : "value");
        struct baton_intercept_private *frame = intercept->inner;
        if (!intercept->client || !frame->beginning)
                return error_set(-EINVAL, "baton_intercept_add: metadata is added in a client's begin; on a server use "
                                          "baton_call_add_header or baton_call_add_trailer");
        size_t most = frame->interceptors->max_metadata_bytes;
        struct metadata_list *list = &frame->added;
        if (intercept->metadata != &list->metadata) {
                int error = metadata_list_add_all(list, intercept->metadata, most, true);
                if (error < 0) {
                        metadata_list_deinit(list);
                        return error;
                }
                intercept->metadata = &list->metadata;
        }
        return metadata_list_add(list, key, value, size, most, false);
}

baton_code baton_intercept_refuse(baton_intercept *intercept, baton_code code, const char *format, ...)
{
        if (!intercept || !format || !intercept->inner->beginning)
                return code;
        struct baton_intercept_private *frame = intercept->inner;
        if (!frame->refusal)
                frame->refusal = malloc(LONGEST_TEXT);
        if (!frame->refusal)
                return code;
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(frame->refusal, LONGEST_TEXT, format, arguments);
        va_end(arguments);
        /* One that was shortened ends with a whole character: peers take nothing but UTF-8. */
        if (length >= LONGEST_TEXT)
                frame->refusal[utf8_span(frame->refusal, LONGEST_TEXT - 1)] = '\0';
        return code;
}
