#include "standard_server.h"
#include "standard.baton.h"
#include <baton/reflection.h>

static const library_handlers library;
static const library_of_babel_handlers babel;

baton_health *standard_start(struct peer *peer, const baton_server_options *options)
{
        transport->addresses(scratch, peer->listen, peer->address);
        peer->pid = 0;
        peer->probe = probe_new();
        peer->server = baton_server_new(options);
        baton_health *health = baton_health_register(peer->server);
        assert_non_null(health);
        assert_int_equal(probe_serve(peer->probe, peer->server), 0);
        assert_int_equal(baton_reflection_register(peer->server), 0);
        assert_int_equal(library_register(peer->server, &library, NULL), 0);
        assert_int_equal(library_of_babel_register(peer->server, &babel, NULL), 0);
        if (baton_server_listen(peer->server, peer->listen) < 0 || baton_server_start(peer->server) < 0)
                fail_msg("cannot serve: %s", baton_error());
        return health;
}

void standard_end(struct peer *peer, baton_health *health)
{
        peer_end(peer);
        baton_health_free(health);
}
