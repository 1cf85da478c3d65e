/* Answers, and what waits for room in the ring. */
#define _GNU_SOURCE
#include "base/error.h"
#include "shm/server.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int gone(void)
{
        return error_set(-EPIPE, "the client is gone; nobody gets this reply");
}

/* ---- parking; the lane's lock is held --------------------------------------------------------------------- */

/* Keeps a record until the client has read on. */
static void park(struct server_lane *lane, struct parked *parked, const struct shm_record *header)
{
        parked->header = *header;
        list_append(&lane->parked, &parked->link);
        lane->n_parked++;
        server_lane_attend(lane);
}

static struct parked *new_parked(const struct server_lane *lane, const baton_metadata *metadata)
{
        struct parked *parked = malloc(sizeof *parked + message_parked_room(&lane->ends, metadata));
        if (!parked)
                error_set(-ENOMEM, "no memory to keep a reply for a client that does not read");
        return parked;
}

bool server_unpark(struct server_lane *lane)
{
        while (!list_empty(&lane->parked)) {
                struct parked *parked = container_of(lane->parked.next, struct parked, link);
                int error = message_send_bytes(&lane->ends, &parked->header, parked->body);
                if (error == -EPROTO)
                        server_lane_condemn(lane, "its read position is impossible");
                if (error < 0)
                        return false;
                list_remove(&parked->link);
                lane->n_parked--;
                free(parked);
        }
        return true;
}

static int park_text(struct server_lane *lane, struct shm_record *header, const baton_metadata *metadata,
                     const char *text, size_t size)
{
        struct parked *parked = new_parked(lane, metadata);
        int error = parked ? message_park_text(&lane->ends, header, metadata, text, size, parked->body) : -ENOMEM;
        if (error < 0)
                free(parked);
        else
                park(lane, parked, header);
        return error;
}

static int park_message(struct server_lane *lane, struct shm_record *header, const struct message_form *form,
                        const ProtobufCMessage *message)
{
        struct parked *parked = new_parked(lane, form->metadata);
        int error = parked ? message_park(&lane->ends, header, form, message, parked->body) : -ENOMEM;
        if (error < 0)
                free(parked);
        else
                park(lane, parked, header);
        return error;
}

/* ---- sending; the lane's lock is held --------------------------------------------------------------------- */

static int send_text(struct server_lane *lane, struct shm_record *header, const baton_metadata *metadata,
                     const char *text)
{
        size_t length = text ? strlen(text) : 0;
        size_t size = length < SHM_TEXT_MOST ? length : SHM_TEXT_MOST;
        int error = server_unpark(lane) ? message_send_text(&lane->ends, header, metadata, text, size) : -EAGAIN;
        return error == -EAGAIN ? park_text(lane, header, metadata, text, size) : error;
}

/* A call must not stay without an outcome: the end of the connection is one. */
static int send_or_condemn(struct server_lane *lane, struct shm_record *header, const baton_metadata *metadata,
                           const char *text)
{
        int error = send_text(lane, header, metadata, text);
        if (error < 0 && error != -EPROTO && metadata) /* there was no room for the metadata */
                error = send_text(lane, header, NULL, text);
        server_lane_notify(lane);
        if (error >= 0)
                return 0;
        server_lane_condemn(lane, error == -EPROTO ? "its read position is impossible" : "no memory to answer it");
        return gone();
}

int server_send_headers(struct server_lane *lane, uint64_t number, const baton_metadata *headers)
{
        struct shm_record header = { .kind = SHM_HEADERS, .call = number };
        return headers ? send_or_condemn(lane, &header, headers, NULL) : 0;
}

int server_send_fence(struct server_lane *lane, uint64_t number)
{
        struct shm_record header = { .kind = SHM_FENCE, .call = number };
        pthread_mutex_lock(&lane->lock);
        int error = server_closed(lane->connection) ? gone() : send_or_condemn(lane, &header, NULL, NULL);
        pthread_mutex_unlock(&lane->lock);
        return error;
}

static int send_end(struct server_lane *lane, uint64_t number, const struct answer *answer)
{
        struct shm_record header = { .method = (uint16_t)answer->code,
                                     .kind = SHM_REPLY,
                                     .flags = answer->not_run ? SHM_NOT_RUN : 0,
                                     .call = number };
        return send_or_condemn(lane, &header, answer->trailers, answer->text);
}

int server_fail(struct server_lane *lane, uint64_t number, baton_code code, bool not_run, const char *text)
{
        struct answer answer = { .code = code, .text = text, .not_run = not_run };
        pthread_mutex_lock(&lane->lock);
        int error = server_closed(lane->connection) ? gone() : send_end(lane, number, &answer);
        pthread_mutex_unlock(&lane->lock);
        return error;
}

static int send_reply(struct shm_server_call *self, struct server_lane *lane, const struct answer *answer)
{
        struct shm_record header = { .method = BATON_OK, .kind = SHM_REPLY, .call = self->number };
        struct message_form form = { .type = self->call.method->output,
                                     .graph = self->graph_reply,
                                     .max_bytes = lane->connection->max_message_bytes,
                                     .metadata = answer->trailers,
                                     .traffic = &self->call.traffic };
        int error = server_unpark(lane) ? message_send(&lane->ends, &header, &form, answer->message) : -EAGAIN;
        if (error == -EBUSY) /* a reply does not wait */
                error = -ENOBUFS;
        if (error == -EAGAIN)
                error = park_message(lane, &header, &form, answer->message);
        if (error >= 0)
                server_lane_notify(lane);
        if (error != -EPROTO)
                return error;
        server_lane_condemn(lane, "its read position is impossible");
        return gone();
}

static int answer_locked(struct shm_server_call *self, struct server_lane *lane, const struct answer *answer)
{
        if (server_closed(lane->connection) || atomic_load_explicit(&self->call.cancelled, memory_order_relaxed))
                return gone();
        if (answer->headers) {
                int error = server_send_headers(lane, self->number, answer->headers);
                if (error < 0)
                        return error;
        }
        return answer->message ? send_reply(self, lane, answer) : send_end(lane, self->number, answer);
}

int server_answer(struct baton_call *call, const struct answer *answer)
{
        struct shm_server_call *self = shm_call_of(call);
        struct server_lane *lane = self->lane;
        pthread_mutex_lock(&lane->lock);
        int error = call->oneway ? 0 : answer_locked(self, lane, answer);
        /* Also when the client is gone: the holder may free the call now, and the worker must not find it any more. */
        if (error >= 0 || error == -EPIPE)
                server_call_forget(self);
        pthread_mutex_unlock(&lane->lock);
        return error;
}
