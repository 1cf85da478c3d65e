#include "core/executor.h"
#include "base/error.h"
#include "base/list.h"
#include "core/server.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct executor {
        void (*execute)(void *context, void (*run)(void *argument), void *argument); /* the user's; NULL: threads */
        void *context;
        pthread_mutex_t lock; /* the rest */
        pthread_cond_t work;  /* something waits, or it was closed */
        pthread_cond_t quiet; /* n_running is 0 */
        bool open;
        uint32_t references; /* the server's, and one of each call that the user's executor has */
        uint32_t n_running;  /* handlers, on the user's executor */
        struct list turns;   /* connections with calls that wait: each has its turn, however many another sends */
        struct turn common;  /* of transports that know no turns */
        uint32_t n_idle;
        uint32_t n_threads, n_started;
        pthread_t threads[];
};

/* One call on its way to its handler; in the call's arena. */
struct job {
        struct list link; /* of its turn */
        struct executor *executor;
        struct baton_call *call;
};

static const char stopped[] = "the server stopped before the call began";

/* ---- the queue; the lock is held -------------------------------------------------------------------------- */

static void enqueue(struct executor *executor, struct job *job)
{
        struct turn *turn = job->call->turn ? job->call->turn : &executor->common;
        if (!turn->jobs.next)
                list_init(&turn->jobs);
        if (list_empty(&turn->jobs))
                list_append(&executor->turns, &turn->link);
        list_append(&turn->jobs, &job->link);
}

static struct job *dequeue(struct executor *executor)
{
        if (list_empty(&executor->turns))
                return NULL;
        struct turn *turn = container_of(executor->turns.next, struct turn, link);
        struct job *job = container_of(turn->jobs.next, struct job, link);
        list_remove(&job->link);
        list_remove(&turn->link);
        if (!list_empty(&turn->jobs))
                list_append(&executor->turns, &turn->link);
        return job;
}

/* ---- own threads ------------------------------------------------------------------------------------------ */

/* The next call; NULL once the executor is closed. */
static struct baton_call *await(struct executor *executor)
{
        struct job *job;
        pthread_mutex_lock(&executor->lock);
        executor->n_idle++;
        while (!(job = dequeue(executor)) && executor->open)
                pthread_cond_wait(&executor->work, &executor->lock);
        executor->n_idle--;
        pthread_mutex_unlock(&executor->lock);
        return job ? job->call : NULL;
}

static void *serve_on_thread(void *argument)
{
        struct executor *executor = argument;
        for (struct baton_call *call; (call = await(executor));)
                serve_late(call);
        return NULL;
}

static void queue(struct executor *executor, struct job *job)
{
        pthread_mutex_lock(&executor->lock);
        enqueue(executor, job);
        bool idle = executor->n_idle;
        pthread_mutex_unlock(&executor->lock);
        if (idle)
                pthread_cond_signal(&executor->work);
}

/* ---- the user's ------------------------------------------------------------------------------------------- */

static void destroy(struct executor *executor)
{
        pthread_cond_destroy(&executor->quiet);
        pthread_cond_destroy(&executor->work);
        pthread_mutex_destroy(&executor->lock);
        free(executor);
}

/* Handlers may run, one more does now; false once closed: then server and handlers may be gone. */
static bool enter(struct executor *executor)
{
        pthread_mutex_lock(&executor->lock);
        bool open = executor->open;
        executor->n_running += open;
        pthread_mutex_unlock(&executor->lock);
        return open;
}

static void leave(struct executor *executor, bool ran)
{
        pthread_mutex_lock(&executor->lock);
        executor->n_running -= ran;
        if (!executor->n_running)
                pthread_cond_broadcast(&executor->quiet);
        bool last = --executor->references == 0;
        pthread_mutex_unlock(&executor->lock);
        if (last)
                destroy(executor);
}

static void run(void *argument)
{
        const struct job *job = argument;
        struct executor *executor = job->executor; /* the job goes with its call */
        bool open = enter(executor);
        if (open)
                serve_late(job->call);
        else
                serve_not(job->call, BATON_UNAVAILABLE, stopped);
        leave(executor, open);
}

static void hand_over(struct executor *executor, struct job *job)
{
        pthread_mutex_lock(&executor->lock);
        executor->references++;
        pthread_mutex_unlock(&executor->lock);
        executor->execute(executor->context, run, job);
}

/* ---- both ------------------------------------------------------------------------------------------------- */

void executor_submit(struct executor *executor, struct baton_call *call)
{
        struct job *job = baton_arena_alloc(&call->arena, sizeof *job);
        if (!job) {
                serve_not(call, BATON_RESOURCE_EXHAUSTED, "the server is out of memory");
                return;
        }
        *job = (struct job){ .executor = executor, .call = call };
        if (executor->execute)
                hand_over(executor, job);
        else
                queue(executor, job);
}

int executor_open(struct executor *executor)
{
        pthread_mutex_lock(&executor->lock); /* late jobs of an earlier run may come */
        executor->open = true;
        pthread_mutex_unlock(&executor->lock);
        for (; executor->n_started < executor->n_threads; executor->n_started++) {
                int error = pthread_create(&executor->threads[executor->n_started], NULL, serve_on_thread, executor);
                if (error)
                        return error_set(-error, "cannot start a thread for handlers: %s", strerror(error));
        }
        return 0;
}

void executor_close(struct executor *executor)
{
        struct job *job;
        do {
                pthread_mutex_lock(&executor->lock);
                executor->open = false;
                job = dequeue(executor);
                pthread_cond_broadcast(&executor->work);
                pthread_mutex_unlock(&executor->lock);
                if (job)
                        serve_not(job->call, BATON_UNAVAILABLE, stopped);
        } while (job);
}

void executor_join(struct executor *executor)
{
        while (executor->n_started)
                pthread_join(executor->threads[--executor->n_started], NULL);
        pthread_mutex_lock(&executor->lock);
        while (executor->n_running)
                pthread_cond_wait(&executor->quiet, &executor->lock);
        pthread_mutex_unlock(&executor->lock);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

struct executor *executor_new(const baton_server_options *options)
{
        struct executor *executor = calloc(1, sizeof *executor + options->handler_threads * sizeof(pthread_t));
        if (!executor) {
                error_set(-ENOMEM, "cannot make a server: out of memory");
                return NULL;
        }
        executor->execute = options->execute;
        executor->context = options->execute_context;
        executor->references = 1;
        executor->n_threads = options->handler_threads;
        list_init(&executor->turns);
        pthread_mutex_init(&executor->lock, NULL);
        pthread_cond_init(&executor->work, NULL);
        pthread_cond_init(&executor->quiet, NULL);
        return executor;
}

void executor_free(struct executor *executor)
{
        if (executor)
                leave(executor, false);
}
