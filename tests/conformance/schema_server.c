/* schema-server-VERSION LISTEN: the server of test_schema.c, built with one version of schema.proto. */
#include "program.h"
#include "schema.baton.h"
#include <stdio.h>

static void echo(baton_call *call, const Schema__Record *request, void *context)
{
        (void)context;
#if SCHEMA_VERSION == 2
        Schema__Record reply = *request;
        if (!*reply.added)
                reply.added = (char *)"by the newer server";
        store_echo_reply(call, &reply);
#else
        store_echo_reply(call, request);
#endif
}

static void look(baton_call *call, const Schema__Record *request, void *context)
{
        (void)context;
        char permissions[8];
        Schema__Seen *seen = store_look_new_reply(call);
        permissions_at(request->data.data, permissions);
        seen->permissions = baton_call_printf(call, "%s", permissions);
        for (size_t i = 0; i < request->data.len; i++)
                seen->sum += request->data.data[i];
#if SCHEMA_VERSION == 2
        seen->added = request->added;
#endif
        seen->unknown = request->base.n_unknown_fields;
        store_look_reply(call, seen);
}

static void count(baton_call *call, const Schema__Plain *request, void *context)
{
        (void)context;
        char permissions[8];
        Schema__Plain reply = SCHEMA__PLAIN__INIT;
        permissions_at(request->data.data, permissions);
        reply.data = (ProtobufCBinaryData){ 4, (uint8_t *)permissions };
        reply.n = request->data.len;
        store_count_reply(call, &reply);
}

static const store_handlers handlers = { .echo = echo, .look = look, .count = count };

int main(int argc, char **argv)
{
        program_begin();
        baton_server *server = baton_server_new(NULL);
        if (argc != 2 || store_register(server, &handlers, NULL) < 0 || baton_server_listen(server, argv[1]) < 0) {
                fprintf(stderr, "schema-server: %s\n", baton_error());
                return 1;
        }
        program_ready();
        return baton_server_run(server) < 0;
}
