/* The streaming calls of kv-client: a client stream (load), a server stream (watch), and a bidirectional one (transact). */
#include "common/report.h"
#include "kv.baton.h"
#include "session.h"
#include "words.h"
#include <baton/baton.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static baton_stream *opened(baton_stream *stream)
{
        if (!stream)
                die("%s", baton_error());
        return stream;
}

/* ---- client stream ---------------------------------------------------------------------------------------- */

void load_words(struct session *session, const char *path)
{
        FILE *file = open_text(path);
        char word[WORD_SIZE], key[WORD_SIZE + 8];
        Kv__AddRequest request = KV__ADD_REQUEST__INIT;
        request.key = key;
        request.delta = 1;
        uint64_t start = now_ns();
        baton_stream *stream = opened(kv_load_open(session->channel, &session->stream_options));
        while (next_word(file, word)) {
                snprintf(key, sizeof key, "word:%s", word);
                if (kv_load_write(stream, &request) < 0)
                        break; /* the call has ended: finish says how */
        }
        const Kv__LoadReply *reply;
        die_unless_ok(kv_load_finish(stream, &reply), "load");
        double seconds = (double)(now_ns() - start) / 1e9;
        fprintf(stderr, "%" PRIu64 " words in one stream, %" PRIu64 " of them new; %.2f million/s\n", reply->loaded,
                reply->new_keys, (double)reply->loaded / seconds / 1e6);
        baton_stream_close(stream);
        close_text(file, path);
}

/* ---- server stream ---------------------------------------------------------------------------------------- */

static void print_event(const Kv__Event *event)
{
        static const char *const kinds[] = { "is", "ready", "put", "delete" };
        printf("%s %s %.*s\n", kinds[event->kind & 3], event->key, (int)event->value.len,
               event->value.len ? (const char *)event->value.data : "");
        fflush(stdout);
}

void watch_keys(struct session *session, char *prefix, bool current, unsigned most)
{
        Kv__WatchRequest request = KV__WATCH_REQUEST__INIT;
        request.prefix = prefix;
        request.current = current;
        baton_stream *stream = opened(kv_watch_open(session->channel, &request, &session->stream_options));
        const Kv__Event *event;
        for (unsigned changes = 0; kv_watch_read(stream, &event) > 0;) {
                print_event(event);
                changes += event->kind == KV__EVENT__KIND__PUT || event->kind == KV__EVENT__KIND__DELETE;
                if (most && changes == most) {
                        baton_stream_close(stream); /* the server is told */
                        return;
                }
        }
        die_unless_ok(kv_watch_finish(stream), "watch");
        baton_stream_close(stream);
}

/* ---- bidirectional stream --------------------------------------------------------------------------------- */

/* Sends a step and waits for its reply. NULL: the call has ended. */
static const Kv__StepReply *step(baton_stream *stream, const Kv__Step *request)
{
        const Kv__StepReply *reply;
        return kv_transact_write(stream, request) == 0 && kv_transact_read(stream, &reply) > 0 ? reply : NULL;
}

static const Kv__StepReply *get_step(baton_stream *stream, char *key)
{
        Kv__Step request = KV__STEP__INIT;
        request.step_case = KV__STEP__STEP_GET;
        request.get = key;
        return step(stream, &request);
}

static const Kv__StepReply *put_step(baton_stream *stream, char *key, const char *value)
{
        Kv__PutRequest put = KV__PUT_REQUEST__INIT;
        put.key = key;
        put.value = (ProtobufCBinaryData){ strlen(value), (uint8_t *)value };
        Kv__Step request = KV__STEP__INIT;
        request.step_case = KV__STEP__STEP_PUT;
        request.put = &put;
        return step(stream, &request);
}

static const Kv__StepReply *delete_step(baton_stream *stream, char *key)
{
        Kv__Step request = KV__STEP__INIT;
        request.step_case = KV__STEP__STEP_DELETE;
        request.delete_ = key;
        return step(stream, &request);
}

/* The stream's status says what became of it. */
static void commit_step(baton_stream *stream)
{
        Kv__Commit commit = KV__COMMIT__INIT;
        Kv__Step request = KV__STEP__INIT;
        request.step_case = KV__STEP__STEP_COMMIT;
        request.commit = &commit;
        step(stream, &request);
}

/* False when the call has ended. */
static bool run_line(baton_stream *stream, char *line)
{
        static const char blanks[] = " \n";
        char *rest, *verb = strtok_r(line, blanks, &rest), *key = strtok_r(NULL, blanks, &rest);
        const Kv__StepReply *reply = NULL;
        if (!verb)
                return true;
        if (strcmp(verb, "commit") == 0) {
                commit_step(stream);
        } else if (key && strcmp(verb, "get") == 0) {
                reply = get_step(stream, key);
                if (reply && reply->found)
                        printf("%.*s\n", (int)reply->value.len, (const char *)reply->value.data);
                else if (reply)
                        printf("there is no key '%s'\n", key);
        } else if (key && strcmp(verb, "put") == 0) {
                const char *value = strtok_r(NULL, "\n", &rest);
                reply = put_step(stream, key, value ? value : "");
        } else if (key && strcmp(verb, "delete") == 0) {
                reply = delete_step(stream, key);
        } else {
                fprintf(stderr, "'%s' is none of: get KEY, put KEY VALUE, delete KEY, commit\n", verb);
                return true;
        }
        fflush(stdout);
        return reply != NULL;
}

int run_transaction(struct session *session)
{
        baton_stream *stream = opened(kv_transact_open(session->channel, &session->stream_options));
        char *line = NULL;
        size_t size = 0;
        while (getline(&line, &size, stdin) > 0 && run_line(stream, line)) {
        }
        free(line);
        baton_status status = kv_transact_finish(stream);
        fprintf(stderr, "%s%s%s\n", status.code ? baton_code_name(status.code) : "committed", status.code ? ": " : "",
                status.message);
        baton_stream_close(stream);
        return status.code != BATON_OK;
}

/* Adds to the number under the key, within the transaction. */
static bool add_step(baton_stream *stream, char *key, int64_t delta)
{
        const Kv__StepReply *reply = get_step(stream, key);
        if (!reply)
                return false;
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)reply->value.len,
                 reply->value.len ? (const char *)reply->value.data : "");
        snprintf(text, sizeof text, "%lld", strtoll(text, NULL, 10) + delta);
        return put_step(stream, key, text);
}

/* True when committed, false when others interfered. */
static bool try_transfer(struct session *session, char *from, char *to, int64_t amount)
{
        uint64_t start = now_ns();
        baton_stream *stream = opened(kv_transact_open(session->channel, &session->stream_options));
        if (add_step(stream, from, -amount) && add_step(stream, to, amount))
                commit_step(stream);
        baton_status status = kv_transact_finish(stream);
        if (status.code != BATON_ABORTED)
                die_unless_ok(status, "transfer");
        bool committed = status.code == BATON_OK;
        if (committed)
                session_count(session, start, 0, 0);
        baton_stream_close(stream);
        return committed;
}

void transfer(struct session *session, char *from, char *to, int64_t amount, unsigned repeat)
{
        unsigned conflicts = 0;
        for (unsigned done = 0; done < repeat;) {
                if (try_transfer(session, from, to, amount))
                        done++;
                else
                        conflicts++;
        }
        printf("%u transactions committed, %u begun again after a conflict\n", repeat, conflicts);
}
