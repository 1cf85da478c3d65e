#include "streams.h"
#include <stdlib.h>
#include <string.h>

enum { HANDLER_THREADS = 8, CONTROL_MS = 5000, STILL_MS = 100, STILL_TRIES = 50 };

bool blocking;

/* ---- fixtures --------------------------------------------------------------------------------------------- */

void open_with(baton_server_options server, const baton_channel_options *client)
{
        server.handler_threads = blocking ? HANDLER_THREADS : 0;
        fixture_open(&server, client);
}

void close_both(void)
{
        if (!settles())
                fail_msg("%d handlers are left", (int)counts_now().live);
        fixture_close();
}

static int begin_with(bool on_threads)
{
        blocking = on_threads;
        open_with((baton_server_options){ 0 }, NULL);
        return 0;
}

int begin_inline(void **state)
{
        (void)state;
        return begin_with(false);
}

int begin_blocking(void **state)
{
        (void)state;
        return begin_with(true);
}

int end_settled(void **state)
{
        (void)state;
        close_both();
        return 0;
}

/* ---- counts ----------------------------------------------------------------------------------------------- */

Conformance__Counts control(Conformance__Command command)
{
        static int32_t notes[64];
        const Conformance__Counts *reply;
        baton_channel *own = peer_open(&peer, NULL);
        baton_status status = probe_control(own, &command, &reply, &(baton_call_options){ .timeout_ms = CONTROL_MS });
        expect_status(status, BATON_OK, "");
        Conformance__Counts counts = *reply;
        if (reply->n_notes)
                memcpy(notes, reply->notes, reply->n_notes * sizeof *notes);
        counts.notes = notes;
        baton_release(reply);
        baton_channel_close(own);
        return counts;
}

Conformance__Counts counts_now(void)
{
        return control((Conformance__Command)CONFORMANCE__COMMAND__INIT);
}

static uint64_t count_of(enum count count)
{
        Conformance__Counts counts = counts_now();
        const uint64_t values[] = { counts.live, counts.received,  counts.sent,
                                    counts.told, counts.cancelled, counts.stalled };
        return values[count];
}

struct target {
        enum count count;
        uint64_t value;
};

static bool is_reached(void *argument)
{
        struct target *target = argument;
        return count_of(target->count) >= target->value;
}

bool reaches(enum count count, uint64_t value)
{
        return eventually(is_reached, &(struct target){ count, value });
}

static bool nobody_lives(void *argument)
{
        (void)argument;
        return count_of(LIVE) == 0;
}

bool settles(void)
{
        return eventually(nobody_lives, NULL);
}

uint64_t stands_at(enum count count)
{
        uint64_t last = count_of(count);
        for (int i = 0; i < STILL_TRIES; i++) {
                pause_ms(STILL_MS);
                uint64_t now = count_of(count);
                if (now == last)
                        return now;
                last = now;
        }
        fail_msg("a count never stands still");
        return last;
}

/* ---- items ------------------------------------------------------------------------------------------------ */

Conformance__Item item_of(uint64_t value, const void *data, size_t size)
{
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        item.value = value;
        item.data = (ProtobufCBinaryData){ size, (uint8_t *)data };
        return item;
}

Conformance__Script script_of(void)
{
        return (Conformance__Script)CONFORMANCE__SCRIPT__INIT;
}

int write_items(baton_stream *stream, uint64_t first, uint64_t n, size_t size, Conformance__Script *script,
                int (*write)(baton_stream *, const Conformance__Item *))
{
        int error = 0;
        for (uint64_t i = 0; i < n && error == 0; i++) {
                uint8_t *data = size ? pattern(size, (uint32_t)(first + i)) : NULL;
                Conformance__Item item = item_of(first + i, data, size);
                item.script = i == 0 ? script : NULL;
                error = write(stream, &item);
                free(data);
        }
        return error;
}

uint64_t read_items(baton_stream *stream, uint64_t first, int (*read)(baton_stream *, const Conformance__Item **))
{
        const Conformance__Item *item;
        uint64_t n = 0;
        int got;
        while ((got = read(stream, &item)) > 0) {
                assert_int_equal(item->value, first + n);
                n++;
        }
        assert_int_equal(got, 0);
        return n;
}

void expect_chat_at(baton_channel *on, uint64_t n, const char *file, int line)
{
        const Conformance__Item *back = NULL;
        baton_stream *stream = probe_chat_open(on, &(baton_call_options){ .timeout_ms = CONTROL_MS });
        bool ok = stream != NULL;
        for (uint64_t i = 0; i < n && ok; i++) {
                Conformance__Item item = item_of(i, NULL, 0);
                ok = probe_chat_write(stream, &item) == 0 && probe_chat_read(stream, &back) == 1 && back->value == i;
        }
        ok = ok && probe_chat_writes_done(stream) == 0 && probe_chat_read(stream, &back) == 0;
        baton_status status = probe_chat_finish(stream);
        if (!ok || status.code != BATON_OK) {
                print_error("%s:%d: a chat went wrong: %s %s\n", file, line, baton_code_name(status.code),
                            status.message);
                baton_stream_close(stream);
                _fail(file, line);
        }
        baton_stream_close(stream);
}
