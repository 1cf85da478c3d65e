/* crash_server ADDRESS [workers N] [nofile N] [handshake MS] [heap MIB] [window BYTES] [log FILE]: the server that the crash and hostile tests misuse. */
#include "support.h"
#include <baton/baton.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HELD = 1 << 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static baton_call *held[MOST_HELD];
static size_t n_held;
static atomic_ullong begun, streams;
static baton_server *server;
static FILE *log_file;

/* Reads every byte, so that memory that is not there kills this process and not the test's meaning. */
static uint64_t sum(const ProtobufCBinaryData *data)
{
        uint64_t total = 0;
        for (size_t i = 0; i < data->len; i += 64)
                total += ((const volatile uint8_t *)data->data)[i];
        return total;
}

static void echo(baton_call *call, const Test__Blob *request, void *context)
{
        (void)context;
        begun++;
        (void)sum(&request->data);
        peer_echo_reply(call, request);
}

static void make(baton_call *call, const Test__Amount *request, void *context)
{
        (void)context;
        begun++;
        sleep_ms((unsigned)request->nap_ms);
        Test__Blob reply = TEST__BLOB__INIT;
        uint8_t *data = baton_call_alloc(call, request->n);
        if (!data) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        memset(data, 0x5a, request->n);
        reply.data = (ProtobufCBinaryData){ request->n, data };
        peer_make_reply(call, &reply);
}

static void hold(baton_call *call, const Test__Blob *request, void *context)
{
        (void)request;
        (void)context;
        begun++;
        pthread_mutex_lock(&lock);
        if (n_held < MOST_HELD)
                held[n_held++] = baton_call_retain(call);
        else
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "too many held calls");
        pthread_mutex_unlock(&lock);
}

static void release(baton_call *call, const Test__Amount *request, void *context)
{
        (void)request;
        (void)context;
        Test__Facts facts = TEST__FACTS__INIT;
        Test__Blob reply = TEST__BLOB__INIT;
        pthread_mutex_lock(&lock);
        for (; n_held; n_held--) {
                int error = peer_hold_reply(held[n_held - 1], &reply);
                facts.answered += error == 0;
                facts.gone += error == -EPIPE;
                baton_call_release(held[n_held - 1]);
        }
        pthread_mutex_unlock(&lock);
        peer_release_reply(call, &facts);
}

static void nap(baton_call *call, const Test__Amount *request, void *context)
{
        (void)context;
        begun++;
        sleep_ms((unsigned)request->n);
        Test__Blob reply = TEST__BLOB__INIT;
        peer_nap_reply(call, &reply);
}

static void tell(baton_call *call, const Test__Amount *request, void *context)
{
        (void)request;
        (void)context;
        Test__Facts facts = TEST__FACTS__INIT;
        pthread_mutex_lock(&lock);
        facts.held = n_held;
        pthread_mutex_unlock(&lock);
        facts.begun = begun;
        facts.streams = streams;
        peer_look_reply(call, &facts);
}

static void make_child(baton_call *call, const Test__Amount *request, void *context)
{
        (void)request;
        (void)context;
        Test__Amount reply = TEST__AMOUNT__INIT;
        pid_t pid = leave_child();
        if (pid < 0) {
                baton_call_fail(call, BATON_INTERNAL, "cannot fork");
                return;
        }
        reply.n = (uint64_t)pid;
        peer_fork_reply(call, &reply);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

struct stream {
        const Test__Blob *waiting; /* to be sent back */
        uint64_t n, sent;
};

static void open_stream(baton_call *call, void (*ready)(baton_call *, void *), uint64_t n)
{
        struct stream *stream = calloc(1, sizeof *stream);
        if (!stream)
                abort();
        stream->n = n;
        streams++;
        baton_call_on_ready(baton_call_retain(call), ready, stream);
}

static void close_stream(baton_call *call, struct stream *stream, int error)
{
        if (error == 0)
                baton_call_end(call);
        else if (error != -ECANCELED && error != -EBADMSG)
                baton_call_fail(call, BATON_INTERNAL, "%s", baton_error());
        free(stream);
        streams--;
        baton_call_release(call);
}

static void on_chat(baton_call *call, void *context)
{
        struct stream *stream = context;
        int n = 1;
        while (n > 0) {
                if (stream->waiting && (n = peer_chat_send(call, stream->waiting)) < 0)
                        break;
                stream->waiting = NULL;
                n = peer_chat_recv(call, &stream->waiting);
                if (n > 0)
                        (void)sum(&stream->waiting->data);
        }
        if (n != -EAGAIN)
                close_stream(call, stream, n);
}

static void chat(baton_call *call, void *context)
{
        (void)context;
        open_stream(call, on_chat, 0);
}

static void on_keep(baton_call *call, void *context)
{
        if (baton_call_cancelled(call))
                close_stream(call, context, -ECANCELED);
}

static void keep(baton_call *call, void *context)
{
        (void)context;
        open_stream(call, on_keep, 0);
}

static void on_count(baton_call *call, void *context)
{
        struct stream *stream = context;
        Test__Blob blob = TEST__BLOB__INIT;
        int error = 0;
        for (; stream->sent < stream->n && error == 0; stream->sent += error == 0) {
                blob.number = stream->sent;
                error = peer_count_send(call, &blob);
        }
        if (error != -EAGAIN)
                close_stream(call, stream, error);
}

static void count(baton_call *call, const Test__Amount *request, void *context)
{
        (void)context;
        open_stream(call, on_count, request->n);
}

static const peer_handlers handlers = { .echo = echo,
                                        .make = make,
                                        .hold = hold,
                                        .release = release,
                                        .nap = nap,
                                        .look = tell,
                                        .fork = make_child,
                                        .chat = chat,
                                        .keep = keep,
                                        .count = count };

static void on_signal(int signal_number)
{
        (void)signal_number;
        baton_server_stop(server);
}

static void log_line(baton_log_level level, const char *line, void *context)
{
        (void)level;
        (void)context;
        fprintf(log_file, "%s\n", line);
        fflush(log_file);
}

static void read_options(char **at, baton_server_options *options)
{
        for (; at[0] && at[1]; at += 2) {
                uint32_t n = (uint32_t)strtoul(at[1], NULL, 10);
                if (!strcmp(at[0], "workers"))
                        options->workers = n;
                else if (!strcmp(at[0], "handshake"))
                        options->handshake_timeout_ms = n;
                else if (!strcmp(at[0], "window"))
                        options->stream_window_bytes = n;
                else if (!strcmp(at[0], "heap"))
                        options->max_heap_bytes = (size_t)n << 20;
                else if (!strcmp(at[0], "nofile"))
                        setrlimit(RLIMIT_NOFILE, &(struct rlimit){ n, n });
                else if (!strcmp(at[0], "log"))
                        log_file = fopen(at[1], "we");
        }
        if (log_file)
                baton_log_set(log_line, NULL);
}

int main(int argc, char **argv)
{
        if (argc < 2)
                return 2;
        baton_server_options options = { 0 };
        read_options(argv + 2, &options);
        server = baton_server_new(&options);
        if (!server || peer_register(server, &handlers, NULL) < 0 || baton_server_listen(server, argv[1]) < 0) {
                printf("%s\n", baton_error());
                return 1;
        }
        signal(SIGTERM, on_signal);
        puts("ready");
        fflush(stdout);
        int error = baton_server_run(server);
        baton_server_free(server);
        /* Whoever was held outlives the server: replying finds nobody. */
        Test__Blob reply = TEST__BLOB__INIT;
        for (size_t i = 0; i < n_held; i++) {
                if (peer_hold_reply(held[i], &reply) != -EPIPE)
                        error = -EIO;
                baton_call_release(held[i]);
        }
        return error < 0 ? 1 : 0;
}
