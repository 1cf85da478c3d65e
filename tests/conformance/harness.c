#include "harness.h"
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_BYTES = 1 << 16, PATIENCE_MS = 5000 };

const struct transport_case *transport;
bool processes;
char scratch[64];

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[LOG_BYTES];
static size_t log_size;

/* ---- time ------------------------------------------------------------------------------------------------- */

uint64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pause_ms(uint32_t ms)
{
        struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
        nanosleep(&pause, NULL);
}

bool eventually(bool (*condition)(void *argument), void *argument)
{
        for (int i = 0; i < PATIENCE_MS; i++) {
                if (condition(argument))
                        return true;
                pause_ms(1);
        }
        return false;
}

/* ---- text ------------------------------------------------------------------------------------------------- */

/* The first of the words, separated by '|', that text lacks, in `missing`; false where it has all. */
static bool lacks(const char *text, const char *words, char missing[128])
{
        while (*words) {
                size_t length = strcspn(words, "|");
                snprintf(missing, 128, "%.*s", (int)length, words);
                if (!strstr(text, missing))
                        return true;
                words += length + (words[length] == '|');
        }
        return false;
}

void expect_status_at(baton_status status, baton_code code, const char *words, const char *file, int line)
{
        char missing[128];
        if (status.code != code) {
                print_error("%s:%d: the status is %s (%s), not %s\n", file, line, baton_code_name(status.code),
                            status.message, baton_code_name(code));
                _fail(file, line);
        }
        if (lacks(status.message, words, missing)) {
                print_error("%s:%d: the message \"%s\" lacks \"%s\"\n", file, line, status.message, missing);
                _fail(file, line);
        }
}

void expect_error_at(const char *words, const char *file, int line)
{
        char missing[128];
        if (!lacks(baton_error(), words, missing))
                return;
        print_error("%s:%d: the error \"%s\" lacks \"%s\"\n", file, line, baton_error(), missing);
        _fail(file, line);
}

static void keep_log(baton_log_level level, const char *line, void *context)
{
        (void)level;
        (void)context;
        pthread_mutex_lock(&log_lock);
        size_t room = sizeof log_text - log_size;
        int n = snprintf(log_text + log_size, room, "%s\n", line);
        if (n > 0 && (size_t)n < room)
                log_size += (size_t)n;
        pthread_mutex_unlock(&log_lock);
}

void log_clear(void)
{
        pthread_mutex_lock(&log_lock);
        log_size = 0;
        log_text[0] = '\0';
        pthread_mutex_unlock(&log_lock);
}

static bool line_is_there(void *words)
{
        bool found = false;
        char missing[128];
        pthread_mutex_lock(&log_lock);
        for (char *line = log_text; *line && !found;) {
                char *end = strchr(line, '\n');
                *end = '\0';
                found = !lacks(line, words, missing);
                *end = '\n';
                line = end + 1;
        }
        pthread_mutex_unlock(&log_lock);
        return found;
}

bool log_has(const char *words)
{
        return eventually(line_is_there, (void *)words);
}

/* ---- servers ---------------------------------------------------------------------------------------------- */

static void serve_here(struct peer *peer, const baton_server_options *options)
{
        peer->pid = 0;
        peer->probe = probe_new();
        peer->server = baton_server_new(options);
        assert_non_null(peer->server);
        if (options && options->handler_threads)
                probe_set_blocking(peer->probe);
        assert_int_equal(probe_serve(peer->probe, peer->server), 0);
        if (baton_server_listen(peer->server, peer->listen) < 0 || baton_server_start(peer->server) < 0)
                fail_msg("cannot serve: %s", baton_error());
}

pid_t start_program(char *const argv[])
{
        int ready[2];
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t parent = getpid(), pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(127);
                dup2(ready[1], STDOUT_FILENO);
                close(ready[0]);
                close(ready[1]);
                execv(argv[0], argv);
                _exit(127);
        }
        close(ready[1]);
        ssize_t n = read(ready[0], &byte, 1);
        close(ready[0]);
        if (n != 1) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                fail_msg("%s did not start", argv[0]);
        }
        return pid;
}

static void serve_in_process(struct peer *peer, const baton_server_options *options)
{
        baton_server_options o = options ? *options : (baton_server_options){ 0 };
        char numbers[10][24];
        unsigned long long values[10] = {
                o.workers, o.max_connections, o.max_calls,      o.max_message_bytes,  o.max_heap_bytes,
                o.no_spin, o.handler_threads, o.max_held_bytes, o.max_metadata_bytes, o.stream_window_bytes
        };
        char *argv[13] = { (char *)CONFORMANCE_SERVER, peer->listen };
        for (int i = 0; i < 10; i++) {
                snprintf(numbers[i], sizeof numbers[i], "%llu", values[i]);
                argv[i + 2] = numbers[i];
        }
        peer->probe = NULL;
        peer->server = NULL;
        peer->pid = start_program(argv);
}

void peer_start_here(struct peer *peer, const baton_server_options *options)
{
        transport->addresses(scratch, peer->listen, peer->address);
        serve_here(peer, options);
}

void peer_start_process(struct peer *peer, const baton_server_options *options)
{
        if (transport->in_process)
                skip();
        transport->addresses(scratch, peer->listen, peer->address);
        serve_in_process(peer, options);
}

void peer_start(struct peer *peer, const baton_server_options *options)
{
        if (processes)
                peer_start_process(peer, options);
        else
                peer_start_here(peer, options);
}

void peer_restart(struct peer *peer, const baton_server_options *options)
{
        if (processes)
                serve_in_process(peer, options);
        else
                serve_here(peer, options);
}

static void reap(struct peer *peer, int signal_number)
{
        int status = 0;
        assert_true(peer->pid > 0); /* kill() takes the rest for groups */
        kill(peer->pid, signal_number);
        assert_int_equal(waitpid(peer->pid, &status, 0), peer->pid);
        if (signal_number == SIGTERM && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
                fail_msg("the server ended with status 0x%x", (unsigned)status);
        peer->pid = 0;
}

void peer_kill(struct peer *peer)
{
        if (peer->pid)
                reap(peer, SIGKILL);
        else
                peer_end(peer);
}

void peer_end(struct peer *peer)
{
        if (peer->pid) {
                reap(peer, SIGTERM);
                return;
        }
        baton_server_free(peer->server);
        if (peer->probe)
                probe_free(peer->probe);
        peer->server = NULL;
        peer->probe = NULL;
}

baton_channel *peer_open(const struct peer *peer, const baton_channel_options *options)
{
        baton_channel *channel = baton_channel_open(peer->address, options);
        if (!channel)
                fail_msg("%s", baton_error());
        return channel;
}

/* ---- calls ------------------------------------------------------------------------------------------------ */

void expect_alive_at(baton_channel *channel, const char *file, int line)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        request.text = (char *)"are you there?";
        baton_status status = probe_echo(channel, &request, &reply, &(baton_call_options){ .timeout_ms = PATIENCE_MS });
        expect_status_at(status, BATON_OK, "", file, line);
        if (strcmp(reply->text, request.text) != 0)
                _fail(file, line);
        baton_release(reply);
}

baton_status act(baton_channel *channel, const Conformance__Order *order, const baton_call_options *options,
                 Conformance__Outcome *outcome)
{
        static _Thread_local char text[4096];
        const Conformance__Outcome *reply = NULL;
        baton_status status = probe_act(channel, order, &reply, options);
        snprintf(text, sizeof text, "%s", status.message);
        status.message = text;
        if (outcome) {
                conformance__outcome__init(outcome);
                outcome->value = reply->value;
                outcome->deadline_ns = reply->deadline_ns;
                outcome->runs = reply->runs;
                outcome->error = reply->error;
                outcome->pid = reply->pid;
                outcome->uid = reply->uid;
        }
        baton_release(reply);
        return status;
}

uint8_t *pattern(size_t n, uint32_t seed)
{
        uint8_t *data = malloc(n + 1);
        if (!data)
                abort();
        for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t)(i * 7 + seed);
        return data;
}

bool is_pattern(const uint8_t *data, size_t n, uint32_t seed)
{
        for (size_t i = 0; i < n; i++)
                if (data[i] != (uint8_t)(i * 7 + seed))
                        return false;
        return true;
}

/* Where client and server are one process, ThreadSanitizer cannot see that a block comes back: the order goes through memory
 * that each maps at an address of its own. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
        return "race:^heap_lend$\n";
}

/* ---- main ------------------------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
        (void)status;
        (void)type;
        (void)walk;
        return remove(path);
}

int run_suite(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
        for (size_t i = 0; argc == 3 && i < n_transports; i++)
                if (strcmp(transports[i].name, argv[1]) == 0)
                        transport = &transports[i];
        if (!transport) {
                fprintf(stderr, "usage: %s TRANSPORT threads|processes\n", argv[0]);
                return 2;
        }
        processes = strcmp(argv[2], "processes") == 0;
        snprintf(scratch, sizeof scratch, "/tmp/baton-conformance.XXXXXX");
        if (!mkdtemp(scratch)) {
                perror("mkdtemp");
                return 2;
        }
        setenv("XDG_RUNTIME_DIR", scratch, 1);
        baton_log_set(keep_log, NULL);
        cmocka_set_test_filter(getenv("TEST")); /* a pattern, to look at one */
        int failures = _cmocka_run_group_tests(argv[0], tests, n, NULL, NULL);
        nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        return failures;
}
