/* Who may connect, how many, and to which worker they go. */
#define _GNU_SOURCE
#include "core/server.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST_ROOM = 16 };

void admission_init(struct admission *admission, const baton_server_options *options)
{
        snprintf(admission->full, sizeof admission->full,
                 "the server is full: it takes %u connections (max_connections); try again later or raise the limit",
                 options->max_connections);
        snprintf(admission->greedy, sizeof admission->greedy,
                 "this process has all the %u connections it may have (max_connections_per_process); share channels, "
                 "or raise the limit of the server",
                 options->max_connections_per_process);
}

void admission_deinit(struct admission *admission)
{
        free(admission->holders);
}

bool server_authorize(struct server_sink *sink, const baton_peer *peer)
{
        const baton_server *server = container_of(sink, baton_server, sink);
        const baton_server_options *options = &server->config.options;
        if (options->authorize)
                return options->authorize(peer, options->authorize_context);
        return peer->uid == geteuid() || peer->uid == 0;
}

/* ---- by process ------------------------------------------------------------------------------------------- */

static struct holder *find(const struct admission *admission, pid_t pid)
{
        for (size_t i = 0; i < admission->n_holders; i++)
                if (admission->holders[i].pid == pid)
                        return &admission->holders[i];
        return NULL;
}

/* A new one; NULL: no memory. */
static struct holder *add(struct admission *admission, pid_t pid)
{
        if (admission->n_holders == admission->room) {
                size_t room = admission->room ? 2 * admission->room : FIRST_ROOM;
                struct holder *holders = realloc(admission->holders, room * sizeof *holders);
                if (!holders)
                        return NULL;
                admission->holders = holders;
                admission->room = room;
        }
        struct holder *holder = &admission->holders[admission->n_holders++];
        *holder = (struct holder){ .pid = pid };
        return holder;
}

/* Counts one more of this process; false where that is too many. */
static bool enter(struct admission *admission, pid_t pid, uint32_t most, const char **why)
{
        struct holder *holder = find(admission, pid);
        *why = admission->greedy;
        if (holder && holder->n >= most)
                return false;
        *why = "the server is out of memory";
        if (!holder)
                holder = add(admission, pid);
        if (holder)
                holder->n++;
        return holder;
}

static void forget(struct admission *admission, pid_t pid)
{
        struct holder *holder = find(admission, pid);
        if (--holder->n == 0)
                *holder = admission->holders[--admission->n_holders];
}

/* ---- all -------------------------------------------------------------------------------------------------- */

/* The lock is held. */
static bool admit(baton_server *server, const baton_peer *peer, const char **why)
{
        struct admission *admission = &server->admission;
        const baton_server_options *options = &server->config.options;
        *why = admission->full;
        if (admission->n_connections >= options->max_connections)
                return false;
        uint32_t most = options->max_connections_per_process;
        if (most && !enter(admission, peer->pid, most, why))
                return false;
        admission->n_connections++;
        return true;
}

static struct worker *least_busy(const baton_server *server)
{
        struct worker *least = &server->workers[0];
        for (uint32_t i = 1; i < server->config.options.workers; i++)
                if (server->workers[i].n_connections < least->n_connections)
                        least = &server->workers[i];
        return least;
}

baton_loop *server_place(struct server_sink *sink, const baton_peer *peer, const char **why)
{
        baton_server *server = container_of(sink, baton_server, sink);
        struct worker *worker = NULL;
        pthread_mutex_lock(&server->lock);
        if (admit(server, peer, why)) {
                worker = least_busy(server);
                worker->n_connections++;
        }
        pthread_mutex_unlock(&server->lock);
        return worker ? worker->loop : NULL;
}

void server_leave(struct server_sink *sink, baton_loop *loop, const baton_peer *peer)
{
        baton_server *server = container_of(sink, baton_server, sink);
        pthread_mutex_lock(&server->lock);
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                if (server->workers[i].loop == loop)
                        server->workers[i].n_connections--;
        server->admission.n_connections--;
        if (server->config.options.max_connections_per_process)
                forget(&server->admission, peer->pid);
        bool done = drain_done(server);
        pthread_mutex_unlock(&server->lock);
        if (done)
                baton_server_stop(server);
}
