/* greeter-server: the shortest useful server. Stop it with Ctrl-C. */
#include "greeter.baton.h"
#include <baton/baton.h>
#include <signal.h>
#include <stdio.h>

static baton_server *server;

static void stop(int signal_number)
{
        signal(signal_number, SIG_DFL); /* a second one ends the program at once */
        baton_server_stop(server);
}

static void say_hello(baton_call *call, const Demo__HelloRequest *request, void *context)
{
        (void)context;
        if (request->name[0] == '\0') {
                baton_call_fail(call, BATON_INVALID_ARGUMENT, "name is empty: say who is to be greeted");
                return;
        }
        Demo__HelloReply reply = DEMO__HELLO_REPLY__INIT;
        reply.text = baton_call_printf(call, "hello %s", request->name); /* lives as long as the call */
        greeter_say_hello_reply(call, &reply);                           /* now, or later, from any thread */
}

static const greeter_handlers handlers = { .say_hello = say_hello };

int main(void)
{
        server = baton_server_new(NULL);
        if (!server || greeter_register(server, &handlers, NULL) < 0 ||
            baton_server_listen(server, "shm:greeter") < 0) {
                fprintf(stderr, "greeter-server: %s\n", baton_error());
                return 1;
        }
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        fprintf(stderr, "greeter-server: serving shm:greeter\n");

        int error = baton_server_run(server);
        if (error < 0)
                fprintf(stderr, "greeter-server: %s\n", baton_error());
        baton_server_free(server);
        return error < 0;
}
