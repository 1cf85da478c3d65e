/* restart-client ADDRESS: calls without end, blocking on some threads and asynchronously on another, until SIGTERM. Ends with
 * status 0 where no call failed. Writes a line when calls succeed. Dies with its parent. */
#include "program.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 2, IN_FLIGHT = 8, PATIENCE_MS = 20000 };

static baton_channel *channel;
static baton_loop *loop;
static atomic_bool stopped, closing;
static atomic_uint n_calls, n_failed;

static void note(const char *how, const baton_status *status)
{
        atomic_fetch_add(&n_calls, 1);
        if (status->code == BATON_OK || atomic_load(&closing))
                return;
        if (atomic_fetch_add(&n_failed, 1) < 5)
                fprintf(stderr, "restart-client: a %s call failed: %s: %s\n", how, baton_code_name(status->code),
                        status->message);
}

static void *call_blocking(void *text)
{
        while (!atomic_load(&stopped)) {
                Conformance__Blob request = CONFORMANCE__BLOB__INIT;
                const Conformance__Blob *reply = NULL;
                request.text = text;
                baton_status status =
                        probe_echo(channel, &request, &reply, &(baton_call_options){ .timeout_ms = PATIENCE_MS });
                note("blocking", &status);
                baton_release(reply);
                usleep(200); /* the test is of restarts, on two CPUs */
        }
        return NULL;
}

static void start_async(void);

static void on_reply(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)reply;
        (void)context;
        note("asynchronous", status);
        if (!atomic_load(&stopped))
                start_async();
}

static void start_async(void)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        request.text = (char *)"async";
        int error = probe_echo_async(channel, loop, &request, &(baton_call_options){ .timeout_ms = PATIENCE_MS },
                                     on_reply, NULL);
        if (error < 0 && atomic_fetch_add(&n_failed, 1) < 5)
                fprintf(stderr, "restart-client: cannot start a call: %s\n", baton_error());
}

/* Starts calls of the loop's from outside, one after the other. */
static void on_outside(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)reply;
        note("asynchronous, started elsewhere,", status);
        sem_post(context);
}

static void *call_from_outside(void *unused)
{
        (void)unused;
        sem_t done;
        sem_init(&done, 0, 0);
        while (!atomic_load(&stopped)) {
                Conformance__Blob request = CONFORMANCE__BLOB__INIT;
                request.text = (char *)"from outside";
                int error = probe_echo_async(channel, loop, &request,
                                             &(baton_call_options){ .timeout_ms = PATIENCE_MS }, on_outside, &done);
                if (error < 0 && atomic_fetch_add(&n_failed, 1) < 5)
                        fprintf(stderr, "restart-client: cannot start a call: %s\n", baton_error());
                if (error >= 0)
                        while (sem_wait(&done) < 0)
                                ;
                usleep(200);
        }
        sem_destroy(&done);
        return NULL;
}

/* A blocking stream each time, which may span a restart. */
static void *stream(void *unused)
{
        (void)unused;
        while (!atomic_load(&stopped)) {
                Conformance__Item item = CONFORMANCE__ITEM__INIT;
                const Conformance__Sum *sum = NULL;
                baton_stream *stream = probe_collect_open(channel, &(baton_call_options){ .timeout_ms = PATIENCE_MS });
                if (!stream) {
                        if (atomic_fetch_add(&n_failed, 1) < 5)
                                fprintf(stderr, "restart-client: cannot open a stream: %s\n", baton_error());
                        continue;
                }
                for (item.value = 1; item.value <= 4; item.value++) {
                        probe_collect_write(stream, &item);
                        usleep(500);
                }
                baton_status status = probe_collect_finish(stream, &sum);
                note("streaming", &status);
                if (status.code == BATON_OK && sum->sum != 10 && atomic_fetch_add(&n_failed, 1) < 5)
                        fprintf(stderr, "restart-client: a stream lost items\n");
                baton_stream_close(stream);
        }
        return NULL;
}

static void *call_async(void *unused)
{
        (void)unused;
        for (int i = 0; i < IN_FLIGHT; i++)
                start_async();
        baton_loop_run(loop);
        return NULL;
}

int main(int argc, char **argv)
{
        if (argc != 2)
                return 2;
        program_begin();
        sigset_t signals = program_block_sigterm();
        channel = baton_channel_open(argv[1], NULL);
        loop = baton_loop_new();
        if (!channel || !loop)
                return 2;
        pthread_t threads[THREADS + 1], outside, streaming;
        for (int i = 0; i < THREADS; i++)
                pthread_create(&threads[i], NULL, call_blocking, (void *)"blocking");
        pthread_create(&threads[THREADS], NULL, call_async, NULL);
        pthread_create(&outside, NULL, call_from_outside, NULL);
        pthread_create(&streaming, NULL, stream, NULL);
        while (atomic_load(&n_calls) < 100)
                usleep(1000);
        program_ready();
        int number;
        sigwait(&signals, &number);
        atomic_store(&stopped, true);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        pthread_join(outside, NULL);
        pthread_join(streaming, NULL);
        baton_loop_stop(loop);
        pthread_join(threads[THREADS], NULL);
        atomic_store(&closing, true); /* ends what is in flight */
        baton_channel_close(channel);
        baton_loop_free(loop);
        return atomic_load(&n_failed) ? 1 : 0;
}
