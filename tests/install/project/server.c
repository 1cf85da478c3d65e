/* Serves demo.Greeter at the given address until SIGTERM. */
#include "greeter.baton.h"
#include <baton/baton.h>
#include <signal.h>
#include <stdio.h>

static baton_server *server;

static void say_hello(baton_call *call, const Demo__HelloRequest *request, void *context)
{
        (void)context;
        Google__Protobuf__Timestamp when = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        when.seconds = 1000000000;
        Demo__HelloReply *reply = greeter_say_hello_new_reply(call);
        reply->text = baton_call_printf(call, "hello %s", request->name);
        reply->when = &when;
        greeter_say_hello_reply(call, reply);
}

static void stop(int signal_number)
{
        (void)signal_number;
        baton_server_stop(server);
}

int main(int argc, char **argv)
{
        static const greeter_handlers handlers = { .say_hello = say_hello };

        if (argc != 2)
                return 2;
        server = baton_server_new(NULL);
        if (!server || greeter_register(server, &handlers, NULL) < 0 || baton_server_listen(server, argv[1]) < 0) {
                fprintf(stderr, "server: %s\n", baton_error());
                return 1;
        }
        signal(SIGTERM, stop);
        puts("ready");
        fflush(stdout);
        int status = baton_server_run(server);
        baton_server_free(server);
        return status < 0;
}
