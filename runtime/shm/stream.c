#include "shm/stream.h"
#include "base/error.h"
#include <errno.h>

enum { CREDIT_SHIFT = 1 }; /* credit is given back by halves of the window */

void stream_init(struct stream *stream, const struct stream_terms *terms, uint64_t number)
{
        *stream = (struct stream){ .side = terms->side,
                                   .link = terms->link,
                                   .ends = terms->ends,
                                   .lock = terms->lock,
                                   .number = number,
                                   .credit = (int64_t)terms->credit,
                                   .allowance = terms->window,
                                   .hungry = true,
                                   .window = terms->window };
        inbox_init(&stream->inbox, terms->budget);
        list_init(&stream->waiting);
}

void stream_deinit(struct stream *stream)
{
        inbox_deinit(&stream->inbox, stream->link);
}

/* ---- sending; the lock is held ---------------------------------------------------------------------------- */

static bool send_bare(struct stream *stream, uint8_t kind, uint64_t lines)
{
        struct shm_record header = { .kind = kind, .call = stream->number, .deadline_ns = lines };
        return message_send_bytes(stream->ends, &header, "") >= 0;
}

bool stream_send_due(struct stream *stream)
{
        if (!stream->due && !stream->half_close_due && !stream->cancel_due)
                return true;
        if (!stream->side->turn(stream))
                return false;
        if (stream->due && send_bare(stream, SHM_CREDIT, stream->due))
                stream->due = 0;
        if (stream->half_close_due && send_bare(stream, SHM_HALF_CLOSE, 0))
                stream->half_close_due = false;
        if (stream->cancel_due && send_bare(stream, SHM_CANCEL, 0))
                stream->cancel_due = false;
        stream->side->notify(stream);
        return !stream->due && !stream->half_close_due && !stream->cancel_due;
}

static void send_due_or_wait(struct stream *stream)
{
        if (!stream_send_due(stream))
                stream->side->wait(stream);
}

static int send_message(struct stream *stream, const struct message_form *form, const ProtobufCMessage *message)
{
        struct shm_record header = { .kind = SHM_MESSAGE, .call = stream->number };
        if (stream->gone)
                return -EPIPE;
        if (stream->out_done)
                return -ESHUTDOWN;
        if (stream->credit <= 0) {
                stream->starved = true;
                return -EAGAIN;
        }
        int error = stream->side->turn(stream) ? message_send(stream->ends, &header, form, message) : -EAGAIN;
        if (error == -EBUSY) {
                if (!stream->needs_heap) /* which is something else to wait for */
                        list_remove(&stream->waiting);
                stream->needs_heap = true;
                error = -EAGAIN;
        }
        if (error == -EAGAIN) {
                stream->starved = true;
                stream->side->wait(stream);
        }
        if (error < 0)
                return error;
        stream->credit -= inbox_lines(ring_lines(header.size), header.flags, header.deadline_ns);
        stream->side->notify(stream);
        return 0;
}

int stream_write(struct stream *stream, const struct message_form *form, const ProtobufCMessage *message)
{
        pthread_mutex_lock(stream->lock);
        int error = send_message(stream, form, message);
        pthread_mutex_unlock(stream->lock);
        return error;
}

int stream_half_close(struct stream *stream)
{
        pthread_mutex_lock(stream->lock);
        int error = stream->gone ? -EPIPE : stream->out_done ? -ESHUTDOWN : 0;
        if (!error) {
                stream->out_done = stream->half_close_due = true;
                send_due_or_wait(stream);
        }
        pthread_mutex_unlock(stream->lock);
        return error;
}

void stream_finish(struct stream *stream)
{
        stream->gone = stream->in_done = true;
        stream->due = 0;
        stream->half_close_due = false;
}

void stream_abort(struct stream *stream)
{
        stream_finish(stream);
        stream->cancel_due = true;
        send_due_or_wait(stream);
}

int stream_room(struct stream *stream, bool heap)
{
        if (!stream_send_due(stream) || (stream->needs_heap && !heap))
                return -EAGAIN;
        stream->needs_heap = false;
        if (!stream->starved)
                return 0;
        if (stream->credit > 0 && ring_has_room(&stream->ends->out, ring_largest(&stream->ends->out)) == -EAGAIN)
                return -EAGAIN;
        stream->starved = stream->credit <= 0;
        return !stream->starved;
}

/* ---- arriving; the lock is held --------------------------------------------------------------------------- */

static bool tell(bool *wish)
{
        bool told = *wish;
        *wish = false;
        return told;
}

int stream_deliver(struct stream *stream, const struct ring_record *record)
{
        struct message_body body;
        int error = message_locate(stream->link, record, &body);
        if (error < 0)
                return error;
        if (stream->in_done || stream->allowance <= 0 || record->deadline_ns > SHM_CREDIT_MOST)
                error = error_set(-EPROTO, "the peer sent a message %s",
                                  stream->in_done          ? "after the last"
                                  : stream->allowance <= 0 ? "beyond its credit"
                                                           : "that counts for more than there can be");
        else
                error = inbox_push(&stream->inbox, record, &body);
        message_return(stream->link, &body);
        if (error < 0)
                return error;
        stream->allowance -= inbox_lines(record->next - record->line, record->flags, record->deadline_ns);
        return tell(&stream->hungry);
}

int stream_add_credit(struct stream *stream, uint64_t lines)
{
        if (lines > SHM_CREDIT_MOST || stream->credit + (int64_t)lines > (int64_t)SHM_CREDIT_MOST)
                return error_set(-EPROTO, "the peer gave more credit than there can be");
        stream->credit += (int64_t)lines;
        return stream->credit > 0 && tell(&stream->starved);
}

bool stream_end_input(struct stream *stream)
{
        stream->in_done = true;
        return tell(&stream->hungry);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* The reader got on: gives credit back once there is enough of it. */
static void give_credit(struct stream *stream, uint32_t lines)
{
        stream->unreturned += lines;
        if (stream->unreturned < stream->window >> CREDIT_SHIFT)
                return;
        pthread_mutex_lock(stream->lock);
        if (!stream->gone && !stream->in_done) {
                stream->due += stream->unreturned;
                stream->allowance += stream->unreturned;
                send_due_or_wait(stream);
        }
        pthread_mutex_unlock(stream->lock);
        stream->unreturned = 0;
}

/* 1: there is one after all. */
static int await(struct stream *stream, struct inbox_message *next)
{
        pthread_mutex_lock(stream->lock);
        int found = inbox_peek(&stream->inbox, next);
        if (!found && !stream->in_done) {
                stream->hungry = true;
                found = -EAGAIN;
        }
        pthread_mutex_unlock(stream->lock);
        return found;
}

int stream_read(struct stream *stream, const struct message_form *form, struct reply *reply,
                const ProtobufCMessage **message, int64_t *loan)
{
        struct inbox_message next;
        if (!inbox_peek(&stream->inbox, &next)) {
                int found = await(stream, &next);
                if (found <= 0)
                        return found;
        }
        struct message_form received = *form;
        received.graph = next.graph;
        ProtobufCMessage *made = held_new_message(&reply->held, &reply->arena, form->type->descriptor);
        int error = made ? message_decode(stream->link, &next.body, &received, &reply->arena, made) : -ENOMEM;
        if (!made) {
                message_return(stream->link, &next.body);
                error_set(error, "no memory to receive a %s", form->type->descriptor->name);
        }
        inbox_drop(&stream->inbox);
        give_credit(stream, next.lines);
        *loan = next.body.loan;
        *message = made;
        return error < 0 ? error : 1;
}
