/* Calls demo.Greeter once and prints what it says: client ADDRESS NAME */
#include "greeter.baton.h"
#include <baton/baton.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
        if (argc != 3)
                return 2;
        baton_channel *channel = baton_channel_open(argv[1], NULL);
        if (!channel) {
                fprintf(stderr, "client: %s\n", baton_error());
                return 1;
        }
        Demo__HelloRequest request = DEMO__HELLO_REQUEST__INIT;
        request.name = argv[2];
        const Demo__HelloReply *reply;
        baton_status status = greeter_say_hello(channel, &request, &reply, NULL);
        if (status.code == BATON_OK) {
                time_t seconds = reply->when ? (time_t)reply->when->seconds : 0;
                char day[16];
                strftime(day, sizeof day, "%F", gmtime(&seconds));
                printf("%s, at %s\n", reply->text, day);
        } else {
                fprintf(stderr, "client: %s: %s\n", baton_code_name((int)status.code), status.message);
        }
        baton_release(reply);
        baton_channel_close(channel);
        return status.code != BATON_OK;
}
