#define _GNU_SOURCE
#include "shm/takeover.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 3000, RETRY_US = 10000 };

/* ---- the old server ---------------------------------------------------------------------------------------- */

static int refuse(struct server_connection *connection, baton_code code, const char *text)
{
        server_refuse(connection->shared.socket, code, text);
        return error_set(-EPROTO, "it may not take the address over: %s", text);
}

/* What stands in the way; UNAVAILABLE: it may pass. The listener's lock is held. */
static baton_code obstacle(struct server_connection *connection, char text[SHM_TEXT])
{
        struct listener *listener = connection->listener;
        baton_code code = BATON_UNAVAILABLE;
        if (connection->peer.uid != geteuid() && connection->peer.uid != 0) {
                snprintf(text, SHM_TEXT, "only the user that runs the server, or root, may take its address over");
                code = BATON_PERMISSION_DENIED;
        } else if (listener->source.fd < 0 || listener->given) {
                snprintf(text, SHM_TEXT, "the server does not listen there any more; try again");
        } else if (listener->successor) {
                snprintf(text, SHM_TEXT, "the server with pid %d is just taking it over; wait for that, or end it",
                         (int)listener->successor->peer.pid);
        } else {
                code = BATON_OK;
        }
        return code;
}

/* The listener's lock is held: nobody closes the socket meanwhile. */
static int hand_over(struct server_connection *connection)
{
        struct listener *listener = connection->listener;
        struct shm_takeover message = { .kind = SHM_HANDOVER, .owns_file = listener->owns_file, .magic = SHM_MAGIC };
        int fds[2] = { listener->source.fd, listener->lock_fd };
        int error = control_send(connection->shared.socket, &message, sizeof message, fds, fds[1] >= 0 ? 2 : 1);
        if (error >= 0)
                listener->successor = connection;
        return error == -EPIPE ? -ECONNRESET : error;
}

int takeover_give(struct server_connection *connection, const struct control_message *message)
{
        if (message->takeover.magic != SHM_MAGIC || message->n_fds)
                return refuse(connection, BATON_INVALID_ARGUMENT, "the request is not Baton's");
        char text[SHM_TEXT];
        pthread_mutex_lock(&connection->listener->lock);
        baton_code code = obstacle(connection, text);
        int error = code == BATON_OK ? hand_over(connection) : 0;
        pthread_mutex_unlock(&connection->listener->lock);
        if (code != BATON_OK)
                return refuse(connection, code, text);
        if (error >= 0) /* it may take its time to begin */
                loop_timer_set(connection->loop, &connection->handshake, 0);
        return error;
}

int takeover_taken(struct server_connection *connection)
{
        struct listener *listener = connection->listener;
        pthread_mutex_lock(&listener->lock);
        bool asked = listener->successor == connection;
        if (asked) {
                listener->successor = NULL;
                listener->owns_file = false;
                listener->given = true;
                loop_post(listener->loop, &listener->taken);
        }
        pthread_mutex_unlock(&listener->lock);
        return asked ? -ECONNRESET : error_set(-EPROTO, "it says that it took over what it was not given");
}

void takeover_forget(struct server_connection *connection)
{
        if (connection->listener->successor == connection)
                connection->listener->successor = NULL;
}

/* ---- the new server ---------------------------------------------------------------------------------------- */

static void confirm(struct loop_task *task)
{
        struct listener *listener = container_of(task, struct listener, confirm);
        control_send_plain(listener->predecessor, SHM_TAKEN);
        fork_close(listener->predecessor);
        listener->predecessor = -1;
        control_listen_again(listener->source.fd);
}

static int cannot(const struct listener *listener, int error, const char *why)
{
        return error_set(error, "cannot take %s over: %s", listener->path.sun_path, why);
}

/* Takes the socket and the lock out of the answer. */
static int accept_handover(struct listener *listener, int socket, struct control_message *answer)
{
        if (answer->kind != SHM_HANDOVER || answer->takeover.magic != SHM_MAGIC || !answer->n_fds ||
            !control_listens_at(answer->fds[0], &listener->path))
                return cannot(listener, -EPROTO, "its server's answer is not a Baton server's");
        listener->source.fd = fork_guard(control_take(answer, 0));
        int lock_fd = control_take(answer, 1);
        listener->lock_fd = lock_fd < 0 ? -1 : fork_guard(lock_fd);
        listener->owns_file = answer->takeover.owns_file;
        listener->predecessor = fork_guard(socket);
        listener->confirm = (struct loop_task){ .run = confirm };
        loop_post(listener->loop, &listener->confirm);
        return 0;
}

static int no_answer(const struct listener *listener, int socket)
{
        int pid = (int)control_peer(socket).pid;
        return error_set(
                -ETIMEDOUT,
                "cannot take %s over: its server, with pid %d, does not answer; is it stopped, or hanging? End it "
                "(kill -9 %d) and start again",
                listener->path.sun_path, pid, pid);
}

/* 0; -EAGAIN: try again, with the reason set; or another negative errno. Leaves the socket open with 0 only. */
static int ask(struct listener *listener, int socket, uint64_t deadline_ns)
{
        struct shm_takeover message = { .kind = SHM_TAKEOVER, .magic = SHM_MAGIC };
        struct control_message answer;
        control_send(socket, &message, sizeof message, NULL, 0); /* where it fails, the answer tells why */
        int n;
        while ((n = control_receive(socket, &answer)) == 0) {
                struct pollfd ready = { .fd = socket, .events = POLLIN };
                if (poll(&ready, 1, deadline_left_ms(deadline_ns, -1)) == 0)
                        return no_answer(listener, socket);
        }
        if (n == -ECONNRESET) /* a refusal may follow that error */
                n = control_receive(socket, &answer) > 0;
        if (n == -EPROTO)
                return cannot(listener, n, "its server's answer is not a Baton server's");
        if (n <= 0)
                return cannot(listener, -EAGAIN, "its server closed the connection");
        int error;
        if (answer.kind == SHM_REFUSE) {
                answer.refusal.text[SHM_TEXT - 1] = '\0';
                bool passes = answer.refusal.code == BATON_UNAVAILABLE;
                error = cannot(listener, passes ? -EAGAIN : -EACCES, answer.refusal.text);
        } else {
                error = accept_handover(listener, socket, &answer);
        }
        control_discard(&answer);
        return error;
}

/* As ask. */
static int try_once(struct listener *listener, uint64_t deadline_ns)
{
        int socket = control_connect(&listener->path, deadline_ns);
        if (socket == -ENOENT || socket == -ECONNREFUSED) {
                listener->source.fd = control_listen(&listener->path, &listener->lock_fd);
                listener->owns_file = listener->source.fd >= 0;
                /* One that begins, or ends, just now. */
                return listener->source.fd == -EADDRINUSE ? -EAGAIN : listener->source.fd < 0 ? listener->source.fd : 0;
        }
        if (socket < 0)
                return socket == -EAGAIN ? -ETIMEDOUT : socket;
        int error = ask(listener, socket, deadline_ns);
        if (error < 0)
                close(socket);
        return error;
}

int takeover_listen(struct listener *listener)
{
        uint64_t deadline_ns = clock_now_ns() + PATIENCE_MS * UINT64_C(1000000);
        int error;
        while ((error = try_once(listener, deadline_ns)) == -EAGAIN && !deadline_passed(deadline_ns))
                usleep(RETRY_US);
        if (error < 0)
                listener->source.fd = listener->lock_fd = -1;
        return error == -EAGAIN ? -EADDRINUSE : error;
}
