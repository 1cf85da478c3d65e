/*
 * Ending a server in good order: the listening loop has the listeners stop, and the clients told; the last connection to
 * leave, or a timer, stops the server.
 */
#include "base/clock.h"
#include "base/error.h"
#include "core/server.h"
#include <errno.h>

bool drain_done(const baton_server *server)
{
        return server->drain.begun && !server->admission.n_connections;
}

static void on_time(struct loop_timer *timer)
{
        baton_server_stop(container_of(timer, baton_server, drain.timer));
}

static void attend(struct loop_task *task)
{
        baton_server *server = container_of(task, baton_server, drain.task);
        for (struct listening *at = server->listening; at; at = at->next) {
                if (!at->drains && at->transport->drain)
                        at->transport->drain(at->listener);
                at->drains = true;
        }
        pthread_mutex_lock(&server->lock);
        bool begins = !server->drain.begun;
        server->drain.posted = false;
        server->drain.begun = true;
        uint64_t end_ns = server->drain.end_ns;
        bool done = drain_done(server);
        pthread_mutex_unlock(&server->lock);
        loop_timer_set(server_listening_loop(server), &server->drain.timer, end_ns);
        const baton_server_options *options = &server->config.options;
        if (begins && options->draining)
                options->draining(server, options->draining_context);
        if (done)
                baton_server_stop(server);
}

void drain_init(baton_server *server)
{
        server->drain = (struct drain){ .task.run = attend, .timer.fire = on_time };
}

void drain_allow(baton_server *server)
{
        pthread_mutex_lock(&server->lock);
        server->drain.possible = true;
        pthread_mutex_unlock(&server->lock);
}

void drain_reset(baton_server *server)
{
        baton_loop *loop = server_listening_loop(server);
        pthread_mutex_lock(&server->lock);
        server->drain.possible = server->drain.begun = false;
        server->drain.end_ns = 0;
        if (server->drain.posted)
                loop_unpost(loop, &server->drain.task);
        server->drain.posted = false;
        pthread_mutex_unlock(&server->lock);
        loop_timer_set(loop, &server->drain.timer, 0);
}

/* The earliest end that was asked for counts. The lock is held. */
static void ask(baton_server *server, uint64_t end_ns)
{
        struct drain *drain = &server->drain;
        if (drain->end_ns && drain->end_ns <= end_ns)
                return;
        drain->end_ns = end_ns;
        if (!drain->posted)
                loop_post(server_listening_loop(server), &drain->task);
        drain->posted = true;
}

int baton_server_drain(baton_server *server, uint32_t timeout_ms)
{
        if (!server)
                return error_set(-EINVAL, "baton_server_drain: the server is NULL");
        if (server_check_process(server) < 0)
                return -ECHILD;
        uint64_t end_ns = clock_now_ns() + timeout_ms * UINT64_C(1000000);
        pthread_mutex_lock(&server->lock);
        bool possible = server->drain.possible;
        if (possible)
                ask(server, end_ns);
        pthread_mutex_unlock(&server->lock);
        return possible ? 0 : error_set(-EINVAL, "cannot drain: the server does not listen, or has ended already");
}

void server_taken_over(struct server_sink *sink)
{
        baton_server *server = container_of(sink, baton_server, sink);
        baton_server_drain(server, server->config.options.drain_timeout_ms);
}
