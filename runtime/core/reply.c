#include "core/reply.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/list.h"
#include <stdlib.h>
#include <string.h>

struct reply_home {
        struct reply_box *spare;              /* the owner's, as is the next */
        uint32_t n_boxes;                     /* that were made for it */
        _Atomic(struct reply_box *) returned; /* by anybody; `nowhere` once the owner has left */
        atomic_uint n_out;                    /* then: boxes that are still out; the last frees the home */
};

static struct reply_box nowhere;

static struct reply_box *box_of(struct held *held)
{
        return container_of(held, struct reply_box, reply.held);
}

static void retain(struct held *held)
{
        atomic_fetch_add_explicit(&box_of(held)->holds, 1, memory_order_relaxed);
}

static void release(struct held *held)
{
        reply_drop(box_of(held));
}

struct reply_home *reply_home_new(void)
{
        return calloc(1, sizeof(struct reply_home));
}

static void free_box(struct reply_box *box)
{
        arena_deinit(&box->reply.arena);
        free(box);
}

/* Returns how many these were. */
static uint32_t free_boxes(struct reply_box *box)
{
        uint32_t n = 0;
        for (struct reply_box *next; box; box = next, n++) {
                next = box->next;
                free_box(box);
        }
        return n;
}

void reply_home_leave(struct reply_home *home)
{
        struct reply_box *returned = atomic_exchange_explicit(&home->returned, &nowhere, memory_order_acq_rel);
        uint32_t n_out = home->n_boxes - free_boxes(home->spare) - free_boxes(returned);
        /* Those that found nowhere to return to meanwhile have counted themselves already. */
        if (atomic_fetch_add_explicit(&home->n_out, n_out, memory_order_acq_rel) + n_out == 0)
                free(home);
}

static struct reply_box *new_box(struct reply_home *home)
{
        struct reply_box *box = aligned_alloc(64, (sizeof *box + 63) / 64 * 64);
        if (!box)
                return NULL;
        memset(box, 0, sizeof *box);
        box->home = home;
        box->reply.held = (struct held){ .retain = retain, .release = release };
        return box;
}

struct reply_box *reply_take(struct reply_home *home, size_t max_message_bytes)
{
        struct reply_box *box = NULL;
        if (home) {
                if (!home->spare) /* acquire pairs with the release in reply_drop */
                        home->spare = atomic_exchange_explicit(&home->returned, NULL, memory_order_acquire);
                box = home->spare;
        }
        if (box) {
                home->spare = box->next;
        } else {
                box = new_box(home);
                if (!box)
                        return NULL;
                if (home)
                        home->n_boxes++;
                box->budget = arena_budget(max_message_bytes);
                arena_init_inline(&box->reply.arena, box->budget, box->first_chunk, sizeof box->first_chunk);
        }
        atomic_store_explicit(&box->holds, 1, memory_order_relaxed);
        return box;
}

size_t reply_bytes(const struct reply_box *box)
{
        return sizeof *box + (box->budget - box->reply.arena.budget);
}

static void come_home(struct reply_box *box)
{
        struct reply_home *home = box->home;
        struct reply_box *first = atomic_load_explicit(&home->returned, memory_order_relaxed);
        do {
                if (first == &nowhere) {
                        free_box(box);
                        if (atomic_fetch_sub_explicit(&home->n_out, 1, memory_order_acq_rel) == 1)
                                free(home);
                        return;
                }
                box->next = first;
        } while (!atomic_compare_exchange_weak_explicit(&home->returned, &first, box, memory_order_release,
                                                        memory_order_relaxed));
}

/* Nobody holds it any more: what it borrowed goes back. */
static void clear(struct reply_box *box)
{
        struct reply *reply = &box->reply;
        if (reply->give_back)
                reply->give_back(reply->lender, reply->loan);
        reply->give_back = NULL;
        reply->text = NULL;
        reply->headers.n = reply->trailers.n = 0;
        arena_reset(&reply->arena);
}

void reply_drop(struct reply_box *box)
{
        /* A single holder needs no read-modify-write: nobody else can take a hold. */
        uint32_t holds = atomic_load_explicit(&box->holds, memory_order_acquire);
        if (!holds) {
                log_line(BATON_LOG_ERROR,
                         "baton_release: the reply is not held; released twice, or in a callback without "
                         "baton_retain?");
                return;
        }
        if (holds != 1 && atomic_fetch_sub_explicit(&box->holds, 1, memory_order_acq_rel) != 1)
                return;
        atomic_store_explicit(&box->holds, 0, memory_order_relaxed);
        clear(box);
        if (box->home)
                come_home(box);
        else
                free_box(box);
}

struct reply_box *reply_renew(struct reply_box *box)
{
        if (atomic_load_explicit(&box->holds, memory_order_acquire) != 1) {
                reply_drop(box);
                return NULL;
        }
        clear(box);
        return box;
}

void reply_keep_text(struct reply_box *box)
{
        if (!box->reply.text)
                reply_keep_error(&box->reply);
}

static const baton_metadata *unless_empty(const baton_metadata *metadata)
{
        return metadata->n ? metadata : NULL;
}

baton_status reply_status(struct reply_box *box, const struct client_call *call, const ProtobufCMessage **message)
{
        struct reply *reply = &box->reply;
        baton_status status = { .maybe_executed = true,
                                .message = "",
                                .headers = unless_empty(&reply->headers),
                                .trailers = unless_empty(&reply->trailers) };
        *message = call->message;
        if (call->message || call->code == BATON_OK) /* a stream ends without a message */
                return status;
        reply_keep_text(box);
        const ProtobufCMessageDescriptor *type = call->method->output->descriptor;
        ProtobufCMessage *empty = held_new_message(&reply->held, &reply->arena, type);
        if (empty)
                type->message_init(empty);
        *message = empty;
        status.code = call->code;
        status.maybe_executed = call->maybe_executed;
        status.message = reply->text;
        return status;
}

const void *baton_retain(const void *message)
{
        if (message)
                held_of(message)->retain(held_of(message));
        return message;
}

void baton_release(const void *message)
{
        if (message)
                held_of(message)->release(held_of(message));
}
