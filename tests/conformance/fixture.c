#include "fixture.h"

struct peer peer;
baton_channel *channel;
baton_loop *loop;

void fixture_open(const baton_server_options *server, const baton_channel_options *client)
{
        peer_start(&peer, server);
        channel = peer_open(&peer, client);
        loop = baton_loop_new();
        assert_non_null(loop);
        log_clear();
}

void fixture_close(void)
{
        baton_channel_close(channel);
        channel = NULL;
        baton_loop_free(loop);
        loop = NULL;
        peer_end(&peer);
}

int begin(void **state)
{
        (void)state;
        fixture_open(NULL, NULL);
        return 0;
}

int end(void **state)
{
        (void)state;
        fixture_close();
        return 0;
}
