/* crash_client ADDRESS MODE: a client that gets itself into a state, says "ready" and stays there until it is killed. */
#include "support.h"
#include <baton/baton.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IN_FLIGHT = 1000, PAYLOADS = 8, PAYLOAD_BYTES = 1 << 20, FLOOD = 1024 };

static baton_channel *channel;

static void give_up(const char *what)
{
        printf("%s: %s\n", what, baton_error());
        exit(1);
}

static void ready(void)
{
        puts("ready");
        fflush(stdout);
}

static void be_idle(void)
{
        Test__Blob request = TEST__BLOB__INIT;
        const Test__Blob *reply = NULL;
        if (peer_echo(channel, &request, &reply, NULL).code != BATON_OK)
                give_up("echo");
        baton_release(reply);
}

static void *call_once(void *unused)
{
        Test__Blob request = TEST__BLOB__INIT;
        const Test__Blob *reply = NULL;
        peer_hold(channel, &request, &reply, NULL);
        return unused;
}

static void be_in_a_call(void)
{
        pthread_t thread;
        if (pthread_create(&thread, NULL, call_once, NULL))
                give_up("pthread_create");
        pthread_detach(thread);
}

static void done(const baton_status *status, const Test__Blob *reply, void *context)
{
        (void)status;
        (void)reply;
        (void)context;
}

/* Requests by reference that the server holds, and replies by reference that this process holds. */
static void hold_payloads(void)
{
        baton_loop *loop = baton_loop_new();
        for (int i = 0; i < PAYLOADS; i++) {
                Test__Amount amount = TEST__AMOUNT__INIT;
                Test__Blob request = TEST__BLOB__INIT;
                const Test__Blob *reply = NULL;
                amount.n = PAYLOAD_BYTES;
                if (peer_make(channel, &amount, &reply, NULL).code != BATON_OK)
                        give_up("make");
                request.data = (ProtobufCBinaryData){ PAYLOAD_BYTES, baton_channel_alloc(channel, PAYLOAD_BYTES) };
                if (!request.data.data)
                        give_up("alloc");
                memset(request.data.data, i, PAYLOAD_BYTES);
                if (peer_hold_async(channel, loop, &request, NULL, done, NULL) < 0)
                        give_up("hold");
        }
}

static void have_many_calls(void)
{
        baton_loop *loop = baton_loop_new();
        Test__Blob request = TEST__BLOB__INIT;
        for (int i = 0; i < IN_FLIGHT;) {
                int error = peer_hold_async(channel, loop, &request, NULL, done, NULL);
                if (error == -EAGAIN)
                        baton_loop_dispatch(loop);
                else if (error < 0)
                        give_up("hold");
                else
                        i++;
        }
        for (int i = 0; i < 10; i++) /* those that waited for the connection, and then for room, are sent by the loop */
                baton_loop_wait(loop, 20);
}

/* Never looks at its replies: they fill its ring and pile up at the server. */
static void read_nothing(void)
{
        baton_loop *loop = baton_loop_new();
        Test__Blob request = TEST__BLOB__INIT;
        uint8_t data[256] = { 0 };
        request.data = (ProtobufCBinaryData){ sizeof data, data };
        for (int i = 0, pauses = 0; i < FLOOD && pauses < 50;) {
                int error = peer_echo_async(channel, loop, &request, NULL, done, NULL);
                if (error == -EAGAIN) {
                        usleep(1000);
                        pauses++;
                } else if (error < 0) {
                        give_up("echo");
                } else {
                        i++;
                }
        }
}

/* With a connection and calls on it, forks a child that lives on until nobody reads this program's output. */
static void have_a_child(void)
{
        be_idle();
        be_in_a_call();
        have_many_calls();
        if (leave_child() < 0)
                give_up("fork");
}

int main(int argc, char **argv)
{
        static const struct {
                const char *name;
                void (*run)(void);
        } modes[] = { { "idle", be_idle },          { "call", be_in_a_call }, { "payload", hold_payloads },
                      { "async", have_many_calls }, { "deaf", read_nothing }, { "fork", have_a_child } };
        if (argc != 3)
                return 2;
        channel = baton_channel_open(argv[1], NULL);
        if (!channel)
                give_up("open");
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
                if (!strcmp(argv[2], modes[i].name))
                        modes[i].run();
        ready();
        for (;;)
                pause();
}
