/* Cancellation from a third thread while a stream ends by itself. */
#include "streams.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct race {
        atomic_bool stop, done;
        _Atomic(baton_stream *) stream;
};

static void *cancel_whatever_is_there(void *context)
{
        struct race *race = context;
        while (!atomic_load(&race->stop)) {
                baton_stream *stream = atomic_exchange(&race->stream, NULL);
                if (!stream)
                        continue;
                baton_stream_cancel(stream);
                atomic_store(&race->done, true);
        }
        return NULL;
}

/* A stream that ends by itself is cancelled from a third thread at about that time. */
static void test_races(void **state)
{
        (void)state;
        struct race race = { 0 };
        pthread_t thread;
        Conformance__Script script = script_of();
        script.count = 20;
        pthread_create(&thread, NULL, cancel_whatever_is_there, &race);
        for (int i = 0; i < 3000 / LESS; i++) {
                const Conformance__Item *item;
                uint64_t n = 0;
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                for (int k = 0; k < i % 25 && probe_produce_read(stream, &item) > 0; k++)
                        n++;
                atomic_store(&race.stream, stream);
                while (probe_produce_read(stream, &item) > 0)
                        n++;
                baton_status status = probe_produce_finish(stream);
                assert_true(status.code == BATON_CANCELLED || (status.code == BATON_OK && n == 20));
                while (!atomic_exchange(&race.done, false))
                        sched_yield();
                baton_stream_close(stream);
        }
        atomic_store(&race.stop, true);
        pthread_join(thread, NULL);
        assert_true(settles());
        expect_chat(channel, 10);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_races, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_races, begin_blocking, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
