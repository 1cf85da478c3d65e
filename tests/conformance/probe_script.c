#include "probe_script.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUSY_MS = 5000, MOST_DETAILS = 16, FURTHER_MS = 60000 };

void talks_note(struct talks *talks, int result)
{
        pthread_mutex_lock(&talks->lock);
        if (talks->n_notes < MOST_NOTES)
                talks->notes[talks->n_notes++] = result;
        pthread_mutex_unlock(&talks->lock);
}

/* ---- at the beginning ------------------------------------------------------------------------------------- */

static void add_metadata(baton_call *call, const Conformance__Script *script, struct talks *talks)
{
        for (size_t i = 0; i < script->n_headers; i++) {
                const Conformance__Pair *pair = script->headers[i];
                int n = baton_call_add_header(call, pair->key, pair->value.data, pair->value.len);
                if (n < 0)
                        talks_note(talks, n);
        }
        for (size_t i = 0; i < script->n_trailers; i++) {
                const Conformance__Pair *pair = script->trailers[i];
                int n = baton_call_add_trailer(call, pair->key, pair->value.data, pair->value.len);
                if (n < 0)
                        talks_note(talks, n);
        }
        const baton_metadata *sent = baton_call_metadata(call);
        for (size_t i = 0; script->echo_metadata && i < sent->n; i++)
                baton_call_add_trailer(call, sent->entries[i].key, sent->entries[i].value, sent->entries[i].size);
        if (script->send_headers)
                talks_note(talks, baton_call_send_headers(call));
}

static void poll_cancelled(baton_call *call, struct talks *talks)
{
        bool cancelled = false;
        for (int i = 0; i < BUSY_MS && !(cancelled = baton_call_cancelled(call)); i++)
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        if (cancelled)
                atomic_fetch_add(&talks->cancelled, 1);
}

/* In the order that test_stream_end.c expects. */
static void misuse(baton_call *call, struct talks *talks)
{
        const Conformance__Item item = CONFORMANCE__ITEM__INIT;
        const Conformance__Blob blob = CONFORMANCE__BLOB__INIT;
        const Conformance__Sum sum = CONFORMANCE__SUM__INIT;
        const ProtobufCMessage *message;
        const char *method = strrchr(baton_call_method(call), '/') + 1;
        bool sends = strcmp(method, "Produce") == 0 || strcmp(method, "Chat") == 0;
        bool receives = strcmp(method, "Collect") == 0 || strcmp(method, "Chat") == 0;
        talks_note(talks, baton_call_recv(call, NULL));
        talks_note(talks, baton_call_recv(NULL, &message));
        talks_note(talks, baton_call_send(call, NULL));
        talks_note(talks, baton_call_send(NULL, &item.base));
        talks_note(talks, baton_call_send(call, &blob.base));
        talks_note(talks, baton_call_end(NULL));
        talks_note(talks, baton_call_on_ready(NULL, NULL, NULL));
        talks_note(talks, baton_call_on_cancel(NULL, NULL, NULL));
        talks_note(talks, baton_call_add_header(call, NULL, "", 0));
        talks_note(talks, baton_call_add_trailer(NULL, "key", "", 0));
        talks_note(talks, baton_call_send_headers(NULL));
        talks_note(talks, baton_call_fail_with(call, BATON_ABORTED, NULL, NULL, 0));
        talks_note(talks, receives ? -EINVAL : baton_call_recv(call, &message));
        talks_note(talks, sends ? baton_call_reply(call, &item.base) : baton_call_end(call));
        talks_note(talks, sends ? -EINVAL : baton_call_send(call, &sum.base));
        /* and after the answer */
        talks_note(talks, baton_call_fail(call, BATON_ABORTED, "after mistakes"));
        talks_note(talks, sends ? baton_call_end(call) : baton_call_reply(call, &sum.base));
        talks_note(talks, sends ? baton_call_send(call, &item.base) : -EALREADY);
        talks_note(talks, receives ? baton_call_recv(call, &message) : -EALREADY);
        talks_note(talks, baton_call_add_header(call, "key", "", 0));
        talks_note(talks, baton_call_add_trailer(call, "key", "", 0));
        talks_note(talks, baton_call_send_headers(call));
}

/* What a call made by this one inherits. */
static bool call_further(baton_call *call, const Conformance__Script *script)
{
        Conformance__Script request = CONFORMANCE__SCRIPT__INIT;
        const Conformance__Sum *sum = NULL;
        baton_channel *channel = baton_channel_open(script->address, NULL);
        baton_status status = probe_wait(channel, &request, &sum, NULL);
        bool same = status.code == BATON_OK && sum->deadline_ns == baton_call_deadline_ns(call);
        if (!same)
                baton_call_fail(call, BATON_DATA_LOSS, "the further call did not inherit the deadline: %s",
                                status.message);
        baton_release(sum);
        baton_channel_close(channel);
        return same;
}

bool script_begin(baton_call *call, const Conformance__Script *script, struct talks *talks)
{
        add_metadata(call, script, talks);
        if (script->busy)
                poll_cancelled(call, talks);
        if (script->mistakes) {
                misuse(call, talks);
                return false;
        }
        return !script->call_further || call_further(call, script);
}

ProtobufCBinaryData script_payload(baton_call *call, const Conformance__Script *script)
{
        size_t n = script->size;
        uint8_t *data = script->lend ? baton_call_alloc(call, n + 1) : malloc(n + 1);
        if (!data)
                abort();
        for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t)(i * 7);
        return (ProtobufCBinaryData){ n, data };
}

char *script_text(const Conformance__Script *script)
{
        char *text = malloc(script->text_size + 1);
        if (!text)
                abort();
        memset(text, 'x', script->text_size);
        text[script->text_size] = '\0';
        return text;
}

/* ---- at the end ------------------------------------------------------------------------------------------- */

int script_fail(baton_call *call, const Conformance__Script *script)
{
        Conformance__Item items[MOST_DETAILS];
        Conformance__Blob last = CONFORMANCE__BLOB__INIT;
        const ProtobufCMessage *details[MOST_DETAILS + 1];
        size_t n = script->details < MOST_DETAILS ? script->details : MOST_DETAILS;
        if (!n)
                return baton_call_fail(call, (baton_code)script->code, "%s", script->message);
        ProtobufCBinaryData payload = { script->size, calloc(1, script->size + 1) };
        for (size_t i = 0; i < n; i++) {
                conformance__item__init(&items[i]);
                items[i].value = i + 1;
                items[i].data = payload;
                details[i] = &items[i].base;
        }
        last.text = (char *)"the last";
        details[n] = &last.base;
        int error = baton_call_fail_with(call, (baton_code)script->code, script->message, details, n + 1);
        free(payload.data);
        return error;
}

static void *scratch_or_abort(baton_call *call, size_t size)
{
        void *memory = baton_call_scratch(call, size);
        if (!memory)
                abort();
        return memory;
}

void script_reply(baton_call *call, const Conformance__Script *script)
{
        Conformance__Sum *sum = probe_wait_new_reply(call);
        const baton_metadata *sent = baton_call_metadata(call);
        sum->deadline_ns = baton_call_deadline_ns(call);
        sum->cancelled = baton_call_cancelled(call);
        sum->n_metadata = script->echo_metadata ? sent->n : 0;
        sum->metadata = scratch_or_abort(call, (sent->n + 1) * sizeof *sum->metadata);
        for (size_t i = 0; i < sum->n_metadata; i++) {
                Conformance__Pair *pair = scratch_or_abort(call, sizeof *pair);
                conformance__pair__init(pair);
                pair->key = (char *)sent->entries[i].key;
                pair->value = (ProtobufCBinaryData){ sent->entries[i].size, (uint8_t *)sent->entries[i].value };
                sum->metadata[i] = pair;
        }
        probe_wait_reply(call, sum);
}

/* ---- reports ---------------------------------------------------------------------------------------------- */

static bool spoilt(const Conformance__Item *item)
{
        for (size_t i = 0; i < item->data.len; i++)
                if (item->data.data[i] != (uint8_t)(i * 7 + item->value))
                        return true;
        return false;
}

/* Takes what is kept out; the lock is held. */
static uint32_t take_kept(struct talks *talks, const Conformance__Item **kept)
{
        uint32_t n = talks->n_kept;
        memcpy(kept, talks->kept, n * sizeof *kept);
        talks->n_kept = 0;
        return n;
}

static void forget(struct talks *talks)
{
        talks->received = talks->sent = talks->told = talks->cancelled = talks->deadline_ns = 0;
        talks->n_notes = 0;
}

static void count(struct talks *talks, baton_call *call, Conformance__Counts *counts)
{
        counts->live = talks->live;
        counts->received = talks->received;
        counts->sent = talks->sent;
        counts->told = talks->told;
        counts->cancelled = talks->cancelled;
        counts->deadline_ns = talks->deadline_ns;
        counts->kept = talks->n_kept;
        counts->stalled = talks->n_waiting;
        for (uint32_t i = 0; i < talks->n_kept; i++)
                counts->spoilt += spoilt(talks->kept[i]);
        counts->n_notes = talks->n_notes;
        counts->notes = scratch_or_abort(call, sizeof talks->notes);
        for (uint32_t i = 0; i < talks->n_notes; i++)
                counts->notes[i] = talks->notes[i];
        counts->resident = resident_bytes();
        counts->files = open_files();
}

void talks_report(struct talks *talks, const Conformance__Command *command, baton_call *call,
                  Conformance__Counts *counts)
{
        static const Conformance__Item *none;
        const Conformance__Item **kept = &none;
        uint32_t n = 0;
        pthread_mutex_lock(&talks->lock);
        count(talks, call, counts);
        if (command->release) {
                kept = calloc(talks->n_kept + 1, sizeof *kept);
                if (!kept)
                        abort();
                n = take_kept(talks, kept);
        }
        if (command->forget)
                forget(talks);
        pthread_mutex_unlock(&talks->lock);
        for (uint32_t i = 0; i < n; i++)
                baton_release(kept[i]);
        if (kept != &none)
                free(kept);
}
