/* greeter-client [NAME]: the shortest useful client. */
#include "greeter.baton.h"
#include <baton/baton.h>
#include <stdio.h>

int main(int argc, char **argv)
{
        baton_channel *channel = baton_channel_open("shm:greeter", NULL);
        if (!channel) {
                fprintf(stderr, "greeter-client: %s\n", baton_error());
                return 1;
        }

        Demo__HelloRequest request = DEMO__HELLO_REQUEST__INIT;
        request.name = argc > 1 ? argv[1] : (char *)"world";

        const Demo__HelloReply *reply = NULL;
        baton_status status = greeter_say_hello(channel, &request, &reply, &(baton_call_options){ .timeout_ms = 1000 });
        if (status.code == BATON_OK)
                printf("%s\n", reply->text);
        else
                fprintf(stderr, "greeter-client: %s: %s\n", baton_code_name(status.code), status.message);

        baton_release(reply); /* the status' message lives as long as the reply */
        baton_channel_close(channel);
        return status.code != BATON_OK;
}
