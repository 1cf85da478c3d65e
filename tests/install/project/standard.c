/* A server with the standard services, called from the same process; prints what it says of itself. */
#include "outcome.pb-c.h"
#include <baton/baton.h>
#include <baton/health.h>
#include <baton/reflection.h>
#include <grpc/health/v1/health.baton.h>
#include <stdio.h>

static int say(baton_channel *channel)
{
        Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
        const Grpc__Health__V1__HealthCheckResponse *reply;
        request.service = (char *)"demo.Greeter";
        baton_status status = grpc_health_v1_health_check(channel, &request, &reply, NULL);
        if (status.code == BATON_OK)
                printf("%s\n",
                       protobuf_c_enum_descriptor_get_value(
                               &grpc__health__v1__health_check_response__serving_status__descriptor, (int)reply->status)
                               ->name);
        else
                fprintf(stderr, "%s\n", status.message);
        baton_release(reply);
        return status.code != BATON_OK;
}

int main(void)
{
        Demo__Outcome outcome = DEMO__OUTCOME__INIT; /* links with google.rpc */
        Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
        outcome.retry = &retry;
        baton_server *server = baton_server_new(NULL);
        baton_health *health = baton_health_register(server);
        int failed = !health || demo__outcome__get_packed_size(&outcome) != 2 ||
                     baton_reflection_register(server) < 0 ||
                     baton_health_set(health, "demo.Greeter", BATON_HEALTH_SERVING) < 0 ||
                     baton_server_listen(server, "inproc:standard") < 0 || baton_server_start(server) < 0;
        baton_channel *channel = failed ? NULL : baton_channel_open("inproc:standard", NULL);
        if (channel)
                failed = say(channel);
        else
                fprintf(stderr, "%s\n", baton_error());
        baton_channel_close(channel);
        baton_server_free(server);
        baton_health_free(health);
        return failed || !channel;
}
