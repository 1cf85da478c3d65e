/* Handlers on threads of their own, and on a user's executor. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 5000, SHORT_MS = 30, MANY = 200, FEW = 20 };

static char listen_address[LONGEST_ADDRESS], channel_address[LONGEST_ADDRESS];

/* ---- a handler that waits --------------------------------------------------------------------------------- */

/* Handlers enter, and wait until it is opened; it notes them in the order in which they came. */
struct gate {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool open;
        int n;
        uint64_t values[MANY];
        pthread_t threads[MANY];
        uint32_t work_ms; /* beyond the gate */
};

static void gate_init(struct gate *gate)
{
        memset(gate, 0, sizeof *gate);
        pthread_mutex_init(&gate->lock, NULL);
        pthread_cond_init(&gate->changed, NULL);
}

static void gate_open(struct gate *gate)
{
        pthread_mutex_lock(&gate->lock);
        gate->open = true;
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
}

static int gate_entered(struct gate *gate)
{
        pthread_mutex_lock(&gate->lock);
        int n = gate->n;
        pthread_mutex_unlock(&gate->lock);
        return n;
}

static void pass(baton_call *call, const Conformance__Order *order, void *context)
{
        struct gate *gate = context;
        pthread_mutex_lock(&gate->lock);
        gate->threads[gate->n] = pthread_self();
        gate->values[gate->n++] = order->value;
        while (!gate->open)
                pthread_cond_wait(&gate->changed, &gate->lock);
        pthread_mutex_unlock(&gate->lock);
        pause_ms(gate->work_ms);
        if (!baton_call_scratch(call, 8192)) /* while the worker sees to the call's further life */
                abort();
        Conformance__Outcome outcome = CONFORMANCE__OUTCOME__INIT;
        outcome.value = order->value;
        probe_act_reply(call, &outcome);
}

static const probe_handlers handlers = { .act = pass };
static struct gate gate;
static baton_server *server;
static baton_channel *channel;
static baton_loop *loop;

static void begin_with(const baton_server_options *options)
{
        transport->addresses(scratch, listen_address, channel_address);
        gate_init(&gate);
        server = baton_server_new(options);
        assert_non_null(server);
        assert_int_equal(probe_register(server, &handlers, &gate), 0);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        assert_int_equal(baton_server_start(server), 0);
        channel = baton_channel_open(channel_address, NULL);
        loop = baton_loop_new();
}

static void end(void)
{
        baton_server_free(server);
        baton_channel_close(channel);
        baton_loop_free(loop);
}

/* ---- calls ------------------------------------------------------------------------------------------------ */

struct outcome {
        bool there;
        baton_code code;
        bool maybe_executed;
        uint64_t value;
};

static struct outcome outcomes[MANY + 1];
static int n_outcomes;

static void note(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        *(struct outcome *)context =
                (struct outcome){ true, status->code, status->maybe_executed, reply ? reply->value : 0 };
        n_outcomes++;
}

static void start_on(baton_channel *on, uint64_t value, uint32_t timeout_ms)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.value = value;
        outcomes[value] = (struct outcome){ 0 };
        assert_int_equal(probe_act_async(on, loop, &order, &(baton_call_options){ .timeout_ms = timeout_ms }, note,
                                         &outcomes[value]),
                         0);
}

static void start(uint64_t value)
{
        start_on(channel, value, PATIENCE_MS);
}

static void await_outcomes(int n)
{
        for (uint64_t end_ns = now_ns() + 10000000000u; n_outcomes < n && now_ns() < end_ns;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(n_outcomes, n);
        n_outcomes = 0;
}

static void expect_ok(uint64_t first, uint64_t last)
{
        for (uint64_t i = first; i <= last; i++) {
                assert_int_equal(outcomes[i].code, BATON_OK);
                assert_int_equal(outcomes[i].value, i);
        }
}

static int wanted;

static bool entered(void *unused)
{
        (void)unused;
        return gate_entered(&gate) >= wanted;
}

static void await_entered(int n)
{
        wanted = n;
        assert_true(eventually(entered, NULL));
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

/* As many handlers as threads wait at the same time, on other threads than the worker, which serves on. */
static void test_handlers_wait(void **state)
{
        (void)state;
        begin_with(&(baton_server_options){ .handler_threads = 3 });
        for (uint64_t i = 0; i < FEW; i++)
                start(i);
        await_entered(3);
        pause_ms(SHORT_MS);
        assert_int_equal(gate_entered(&gate), 3);
        for (int i = 0; i < 3; i++)
                for (int j = 0; j < i; j++)
                        assert_false(pthread_equal(gate.threads[i], gate.threads[j]));
        baton_channel *other = baton_channel_open(channel_address, NULL);
        expect_status(baton_channel_connect(other), BATON_OK, ""); /* the worker is free */
        gate_open(&gate);
        await_outcomes(FEW);
        expect_ok(0, FEW - 1);
        baton_channel_close(other);
        end();
}

struct caller {
        uint64_t first;
        int n_wrong;
};

static void *call_many(void *argument)
{
        struct caller *caller = argument;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (uint64_t i = 0; i < FEW; i++) {
                Conformance__Outcome outcome;
                order.value = caller->first + i;
                baton_status status =
                        act(channel, &order, &(baton_call_options){ .timeout_ms = PATIENCE_MS }, &outcome);
                caller->n_wrong += status.code != BATON_OK || outcome.value != order.value;
        }
        return NULL;
}

static void test_many_callers(void **state)
{
        (void)state;
        begin_with(&(baton_server_options){ .handler_threads = 2, .workers = 2 });
        gate_open(&gate);
        struct caller callers[4] = { { 0 } };
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) {
                callers[i].first = (uint64_t)i * 1000;
                assert_int_equal(pthread_create(&threads[i], NULL, call_many, &callers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(callers[i].n_wrong, 0);
        }
        end();
}

/* Connections have their turns: the one call of the second comes before most of the many of the first. */
static void test_turns(void **state)
{
        (void)state;
        begin_with(&(baton_server_options){ .handler_threads = 1 });
        baton_channel *quiet = baton_channel_open(channel_address, NULL);
        expect_status(baton_channel_connect(quiet), BATON_OK, "");
        for (uint64_t i = 0; i < FEW; i++)
                start(i);
        await_entered(1);
        start_on(quiet, FEW, PATIENCE_MS);
        pause_ms(SHORT_MS);
        gate_open(&gate);
        await_outcomes(FEW + 1);
        expect_ok(0, FEW);
        assert_int_equal(gate_entered(&gate), FEW + 1);
        int place = 0;
        while (gate.values[place] != FEW)
                place++;
        assert_in_range(place, 1, 2);
        baton_channel_close(quiet);
        end();
}

static void test_deadline_while_queued(void **state)
{
        (void)state;
        begin_with(&(baton_server_options){ .handler_threads = 1 });
        start(0);
        await_entered(1);
        start_on(channel, 1, SHORT_MS);
        start(2);
        await_outcomes(1); /* the deadline's */
        assert_int_equal(outcomes[1].code, BATON_DEADLINE_EXCEEDED);
        gate_open(&gate);
        await_outcomes(2);
        expect_ok(2, 2);
        assert_int_equal(gate_entered(&gate), 2); /* the second never ran */
        assert_int_equal(gate.values[1], 2);
        end();
}

static void test_client_gone_while_queued(void **state)
{
        (void)state;
        begin_with(&(baton_server_options){ .handler_threads = 1 });
        baton_channel *leaver = baton_channel_open(channel_address, NULL);
        start(0);
        await_entered(1);
        for (uint64_t i = 1; i < FEW; i++)
                start_on(leaver, i, PATIENCE_MS);
        pause_ms(SHORT_MS);
        baton_channel_close(leaver);
        n_outcomes = 0;
        start(FEW);
        pause_ms(SHORT_MS);
        gate_open(&gate);
        await_outcomes(2);
        assert_int_equal(outcomes[0].code, BATON_OK);
        assert_int_equal(outcomes[FEW].code, BATON_OK);
        assert_int_equal(gate_entered(&gate), 2); /* none of the leaver's ran */
        end();
}

static void *open_late(void *unused)
{
        (void)unused;
        pause_ms(SHORT_MS);
        gate_open(&gate);
        return NULL;
}

/* What had not begun is told so, and may be tried again; the handler that runs is waited for. */
static void test_stop_while_queued(void **state)
{
        (void)state;
        pthread_t thread;
        begin_with(&(baton_server_options){ .handler_threads = 1 });
        for (uint64_t i = 0; i < FEW; i++)
                start(i);
        await_entered(1);
        pause_ms(SHORT_MS);
        gate.work_ms = SHORT_MS;
        assert_int_equal(pthread_create(&thread, NULL, open_late, NULL), 0);
        baton_server_free(server);
        assert_true(gate.open);
        pthread_join(thread, NULL);
        await_outcomes(FEW);
        for (int i = 0; i < FEW; i++) {
                assert_int_equal(outcomes[i].code, BATON_UNAVAILABLE);
                assert_int_equal(outcomes[i].maybe_executed, i == 0);
        }
        assert_int_equal(gate_entered(&gate), 1);
        server = NULL;
        end();
}

/* ---- the user's executor ---------------------------------------------------------------------------------- */

/* Keeps what it is given until it is told to run it. */
struct queue {
        pthread_mutex_t lock;
        int n;
        void (*run[MANY])(void *argument);
        void *argument[MANY];
};

static struct queue queue = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void keep(void *context, void (*run)(void *argument), void *argument)
{
        struct queue *into = context;
        pthread_mutex_lock(&into->lock);
        into->run[into->n] = run;
        into->argument[into->n++] = argument;
        pthread_mutex_unlock(&into->lock);
}

static bool is_kept(void *n)
{
        pthread_mutex_lock(&queue.lock);
        bool kept = queue.n >= *(int *)n;
        pthread_mutex_unlock(&queue.lock);
        return kept;
}

static void await_kept(int n)
{
        assert_true(eventually(is_kept, &n));
}

static void *run_kept(void *unused)
{
        (void)unused;
        for (int i = 0; i < queue.n; i++)
                queue.run[i](queue.argument[i]);
        queue.n = 0;
        return NULL;
}

static const baton_server_options executing = { .execute = keep, .execute_context = &queue };

static void test_user_executor(void **state)
{
        (void)state;
        begin_with(&executing);
        gate_open(&gate);
        for (uint64_t i = 0; i < FEW; i++)
                start(i);
        await_kept(FEW);
        assert_int_equal(gate_entered(&gate), 0);
        run_kept(NULL);
        await_outcomes(FEW);
        expect_ok(0, FEW - 1);
        assert_true(pthread_equal(gate.threads[0], pthread_self()));
        end();
}

/* The server ends, is freed, while the executor still has its calls: no handler runs. */
static void test_user_executor_is_late(void **state)
{
        (void)state;
        for (int freed = 0; freed < 2; freed++) {
                begin_with(&executing);
                gate_open(&gate);
                for (uint64_t i = 0; i < FEW; i++)
                        start(i);
                await_kept(FEW);
                if (freed) {
                        baton_server_free(server);
                        server = NULL;
                } else {
                        baton_server_stop(server);
                }
                await_outcomes(FEW);
                for (int i = 0; i < FEW; i++)
                        assert_int_equal(outcomes[i].code, BATON_UNAVAILABLE);
                run_kept(NULL);
                assert_int_equal(gate_entered(&gate), 0);
                end();
        }
}

/* Calls of an earlier run do not run in the next. */
static void test_user_executor_over_two_runs(void **state)
{
        (void)state;
        begin_with(&executing);
        gate_open(&gate);
        start(0);
        await_kept(1);
        baton_server_stop(server);
        await_outcomes(1);
        for (int i = 0; i < PATIENCE_MS && baton_server_serving(server); i++)
                pause_ms(1);
        assert_int_equal(baton_server_listen(server, listen_address), 0);
        assert_int_equal(baton_server_start(server), 0);
        start(1);
        await_kept(2);
        run_kept(NULL);
        await_outcomes(1);
        expect_ok(1, 1);
        assert_int_equal(gate_entered(&gate), 1);
        end();
}

/* The server is not freed before the handler has returned that runs on the executor. */
static void test_user_executor_is_waited_for(void **state)
{
        (void)state;
        pthread_t runs, opens;
        begin_with(&executing);
        start(0);
        await_kept(1);
        assert_int_equal(pthread_create(&runs, NULL, run_kept, NULL), 0);
        await_entered(1);
        assert_int_equal(pthread_create(&opens, NULL, open_late, NULL), 0);
        baton_server_free(server);
        assert_true(gate.open);
        server = NULL;
        pthread_join(runs, NULL);
        pthread_join(opens, NULL);
        await_outcomes(1);
        assert_int_equal(outcomes[0].code, BATON_UNAVAILABLE);
        assert_true(outcomes[0].maybe_executed);
        end();
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_handlers_wait),
                cmocka_unit_test(test_many_callers),
                cmocka_unit_test(test_turns),
                cmocka_unit_test(test_deadline_while_queued),
                cmocka_unit_test(test_client_gone_while_queued),
                cmocka_unit_test(test_stop_while_queued),
                cmocka_unit_test(test_user_executor),
                cmocka_unit_test(test_user_executor_is_late),
                cmocka_unit_test(test_user_executor_over_two_runs),
                cmocka_unit_test(test_user_executor_is_waited_for),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
