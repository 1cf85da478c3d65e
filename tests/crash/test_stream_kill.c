/* kill -9 of either end with streams of all kinds open: the other hears of it, and gets everything back. */
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KINDS = 3, EACH = 20, STREAMS = KINDS * EACH, ROUNDS = 20, SOON_MS = 5000, PAYLOAD = 300000 };

static baton_stream *open_one(baton_channel *channel, int kind)
{
        Test__Amount amount = TEST__AMOUNT__INIT;
        amount.n = UINT64_MAX; /* for ever */
        return kind == 0   ? peer_chat_open(channel, NULL)
               : kind == 1 ? peer_keep_open(channel, NULL)
                           : peer_count_open(channel, &amount, NULL);
}

/* Small messages, large ones, and ones that are read by nobody. */
static bool use(baton_stream *stream, int kind)
{
        static uint8_t data[PAYLOAD];
        const Test__Blob *blob;
        Test__Blob mine = TEST__BLOB__INIT;
        mine.data = (ProtobufCBinaryData){ rand() % 2 ? 10 : PAYLOAD, data };
        if (kind == 0)
                return peer_chat_write(stream, &mine) == 0 && peer_chat_read(stream, &blob) == 1 &&
                       blob->data.len == mine.data.len && peer_chat_write(stream, &mine) == 0;
        if (kind == 1)
                return peer_keep_write(stream, &mine) == 0;
        return peer_count_read(stream, &blob) == 1;
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

static void be_killed(void)
{
        baton_channel *channel = open_channel(NULL);
        for (int i = 0; i < STREAMS; i++) {
                baton_stream *stream = open_one(channel, i % KINDS);
                if (!stream || !use(stream, i % KINDS))
                        _exit(1);
        }
        for (;;)
                pause();
}

static void await_streams(baton_channel *channel, uint64_t n, const char *what)
{
        uint64_t there = n + 1;
        for (int i = 0; i < SOON_MS && (there = look(channel).streams) != n; i++)
                sleep_ms(1);
        check(there == n, "%s: the server has %llu streams, not %llu", what, (unsigned long long)there,
              (unsigned long long)n);
}

/* Before this process has threads: the children are forks of it. */
static void clients_die(void)
{
        pid_t children[ROUNDS];
        struct process server = start_server();
        for (int i = 0; i < ROUNDS; i++) {
                children[i] = fork();
                check(children[i] >= 0, "fork");
                if (children[i] == 0)
                        be_killed();
        }
        baton_channel *channel = open_channel(NULL);
        await_streams(channel, (uint64_t)ROUNDS * STREAMS, "all clients have begun");
        struct holding most = holding(server.pid);
        for (int i = 0; i < ROUNDS; i++) {
                check(kill(children[i], SIGKILL) == 0, "kill");
                waitpid(children[i], NULL, 0);
                await_streams(channel, (uint64_t)(ROUNDS - 1 - i) * STREAMS, "a client was killed");
        }
        struct holding none = holding(server.pid);
        check(none.fds < most.fds - ROUNDS, "the server keeps descriptors: %d, then %d", most.fds, none.fds);
        check(none.maps < most.maps, "the server keeps mappings: %d, then %d", most.maps, none.maps);
        check(call_echo(channel, 1, 100, SOON_MS).code == BATON_OK, "the server does not serve any more");
        baton_channel_close(channel);
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        say("%d clients were killed with %d streams each: every handler heard of it", ROUNDS, STREAMS);
}

/* ---- the server --------------------------------------------------------------------------------------------- */

static void *use_till_it_ends(void *context)
{
        baton_stream *stream = context;
        const Test__Blob *blob;
        while (peer_count_read(stream, &blob) > 0) {
        }
        return (void *)(uintptr_t)peer_count_finish(stream).code;
}

static void kill_one_server(struct process *server, baton_channel *channel)
{
        baton_stream *streams[STREAMS];
        pthread_t reader;
        void *code;
        for (int i = 0; i < STREAMS; i++) {
                streams[i] = open_one(channel, i % KINDS);
                check(streams[i] && use(streams[i], i % KINDS), "stream %d: %s", i, baton_error());
        }
        pthread_create(&reader, NULL, use_till_it_ends, streams[2]);
        sleep_ms(5);
        uint64_t start = now_ns();
        end(server, SIGKILL);
        pthread_join(reader, &code);
        check((uintptr_t)code == BATON_UNAVAILABLE, "a waiting reader was told %s",
              baton_code_name((int)(uintptr_t)code));
        for (int i = 0; i < STREAMS; i++) {
                const Test__Blob *reply;
                baton_status status = i % KINDS == 0   ? peer_chat_finish(streams[i])
                                      : i % KINDS == 1 ? peer_keep_finish(streams[i], &reply)
                                                       : peer_count_finish(streams[i]);
                check(status.code == BATON_UNAVAILABLE && status.maybe_executed, "stream %d ended %s", i,
                      baton_code_name(status.code));
                baton_stream_close(streams[i]);
        }
        check(now_ns() - start < SOON_MS * UINT64_C(1000000), "the streams ended after %llu ms",
              (unsigned long long)((now_ns() - start) / 1000000));
}

static void servers_die(void)
{
        baton_channel *channel = open_channel(NULL);
        struct holding before = { 0 };
        for (int i = 0; i < ROUNDS; i++) {
                struct process server = start_server();
                kill_one_server(&server, channel);
                if (i == 2)
                        before = holding(0);
        }
        check_back(0, before, 10, 8192, "the client after all of it");
        baton_channel_close(channel);
        say("%d servers were killed with %d streams each: every stream ended", ROUNDS, STREAMS);
}

int main(void)
{
        clients_die();
        servers_die();
        return 0;
}
