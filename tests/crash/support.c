#include "support.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 16, START_MS = 10000, BACK_MS = 5000, ANSWER_MS = 5000 };

/* ---- checks ------------------------------------------------------------------------------------------------ */

void say(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
        fflush(stdout);
}

void check(bool ok, const char *format, ...)
{
        if (ok)
                return;
        va_list arguments;
        va_start(arguments, format);
        fputs("FAILED: ", stdout);
        vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
        exit(1);
}

bool memory_counts(void)
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
        return false;
#else
        return true;
#endif
}

/* ---- place and time ---------------------------------------------------------------------------------------- */

static char directory[64];
static pid_t owner;

static void remove_place(void)
{
        if (getpid() != owner)
                return;
        DIR *entries = opendir(directory);
        for (struct dirent *entry; entries && (entry = readdir(entries));)
                if (entry->d_name[0] != '.')
                        unlinkat(dirfd(entries), entry->d_name, 0);
        if (entries)
                closedir(entries);
        rmdir(directory);
}

const char *place(void)
{
        if (directory[0])
                return directory;
        strcpy(directory, "/tmp/baton-crash-XXXXXX");
        check(mkdtemp(directory), "mkdtemp: %s", strerror(errno));
        owner = getpid();
        atexit(remove_place);
        return directory;
}

const char *address(void)
{
        static _Thread_local char text[128];
        snprintf(text, sizeof text, "shm:%s/socket", place());
        return text;
}

const char *socket_path(void)
{
        return address() + strlen("shm:");
}

uint64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_ms(unsigned ms)
{
        struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
        while (nanosleep(&left, &left) < 0 && errno == EINTR) {
        }
}

/* ---- processes --------------------------------------------------------------------------------------------- */

static void become(const char *program, const char *const *arguments, int out)
{
        const char *all[MOST_ARGUMENTS + 2] = { program };
        for (int i = 0; arguments[i] && i < MOST_ARGUMENTS; i++)
                all[i + 1] = arguments[i];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out, STDOUT_FILENO);
        /* Nothing else is inherited: a stray copy of a socket would hide a death. */
        for (int fd = 3; fd < 1024; fd++)
                close(fd);
        execv(program, (char **)all);
        fprintf(stderr, "cannot run %s: %s\n", program, strerror(errno));
        _exit(127);
}

struct process spawn(const char *program, const char *const *arguments)
{
        char path[512];
        int out[2];
        snprintf(path, sizeof path, "%s/%s", HELPERS, program);
        check(pipe2(out, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
        fflush(stdout);
        pid_t pid = fork();
        check(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0)
                become(path, arguments, out[1]);
        close(out[1]);
        return (struct process){ .pid = pid, .out = out[0] };
}

void first_line(const struct process *process, char line[256])
{
        size_t used = 0;
        while (used < 255 && read(process->out, line + used, 1) == 1 && line[used] != '\n')
                used++;
        line[used] = '\0';
}

struct process start(const char *program, const char *const *arguments)
{
        char line[256];
        struct process process = spawn(program, arguments);
        first_line(&process, line);
        check(strcmp(line, "ready") == 0, "%s did not start: \"%s\"", program, line);
        return process;
}

struct process start_server(void)
{
        return start("crash_server", (const char *const[]){ address(), NULL });
}

pid_t leave_child(void)
{
        int there[2];
        char byte = 0;
        if (pipe2(there, O_CLOEXEC) < 0)
                return -1;
        pid_t pid = fork();
        if (pid == 0) {
                if (write(there[1], &byte, 1) == 1)
                        poll(&(struct pollfd){ .fd = STDOUT_FILENO }, 1, -1);
                _exit(0);
        }
        close(there[1]);
        bool settled = pid > 0 && read(there[0], &byte, 1) == 1;
        close(there[0]);
        return settled ? pid : -1;
}

int end(struct process *process, int signal_number)
{
        int status = 0;
        kill(process->pid, signal_number);
        while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) {
        }
        close(process->out);
        process->pid = -1;
        return status;
}

void stop(const struct process *process)
{
        int status = 0;
        kill(process->pid, SIGSTOP);
        waitpid(process->pid, &status, WUNTRACED);
        check(WIFSTOPPED(status), "pid %d did not stop", (int)process->pid);
}

void go_on(const struct process *process)
{
        kill(process->pid, SIGCONT);
}

bool running(const struct process *process)
{
        return waitpid(process->pid, NULL, WNOHANG) == 0;
}

static int count_entries(const char *path)
{
        int n = 0;
        DIR *entries = opendir(path);
        while (entries && readdir(entries))
                n++;
        if (entries)
                closedir(entries);
        return n;
}

struct holding holding(pid_t pid)
{
        char path[64], line[512];
        struct holding held = { 0 };
        pid = pid ? pid : getpid();
        snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        held.fds = count_entries(path);
        snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
                held.maps++;
        if (file)
                fclose(file);
        snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
        file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
                sscanf(line, "RssAnon: %ld", &held.anonymous_kb);
                sscanf(line, "RssShmem: %ld", &held.shared_kb);
        }
        if (file)
                fclose(file);
        return held;
}

void check_back(pid_t pid, struct holding before, int slack_maps, long slack_kb, const char *what)
{
        struct holding now = { 0 };
        for (uint64_t until = now_ns() + BACK_MS * UINT64_C(1000000); now_ns() < until; sleep_ms(10)) {
                now = holding(pid);
                bool memory = !memory_counts() || (now.anonymous_kb <= before.anonymous_kb + slack_kb &&
                                                   now.shared_kb <= before.shared_kb + slack_kb);
                if (now.fds <= before.fds && (!memory_counts() || now.maps <= before.maps + slack_maps) && memory) {
                        say("%s: fds %d -> %d, mappings %d -> %d, private %ld -> %ld KiB, shared %ld -> %ld KiB", what,
                            before.fds, now.fds, before.maps, now.maps, before.anonymous_kb, now.anonymous_kb,
                            before.shared_kb, now.shared_kb);
                        return;
                }
        }
        check(false, "%s: left behind: fds %d -> %d, mappings %d -> %d, private %ld -> %ld KiB, shared %ld -> %ld KiB",
              what, before.fds, now.fds, before.maps, now.maps, before.anonymous_kb, now.anonymous_kb, before.shared_kb,
              now.shared_kb);
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

baton_channel *open_channel(const baton_channel_options *options)
{
        baton_channel *channel = baton_channel_open(address(), options);
        check(channel, "baton_channel_open: %s", baton_error());
        return channel;
}

static struct outcome outcome_of(baton_status status, const Test__Blob *reply)
{
        check(reply, "a call set no reply");
        struct outcome outcome = { .code = status.code, .maybe_executed = status.maybe_executed };
        check((status.code == BATON_OK) == !status.message[0], "%s came with the text \"%s\"",
              baton_code_name(status.code), status.message);
        outcome.number = reply->number;
        outcome.size = reply->data.len;
        baton_release(reply);
        return outcome;
}

struct outcome call_echo(baton_channel *channel, uint64_t number, size_t size, uint32_t timeout_ms)
{
        Test__Blob request = TEST__BLOB__INIT;
        const Test__Blob *reply = NULL;
        uint8_t *data = size ? malloc(size) : NULL;
        if (size)
                memset(data, (int)number & 0xff, size);
        request.number = number;
        request.data = (ProtobufCBinaryData){ size, data };
        baton_status status = peer_echo(channel, &request, &reply, &(baton_call_options){ .timeout_ms = timeout_ms });
        if (status.code == BATON_OK)
                check(reply->number == number && reply->data.len == size &&
                              (!size || !memcmp(reply->data.data, data, size)),
                      "echo %llu came back changed", (unsigned long long)number);
        free(data);
        return outcome_of(status, reply);
}

struct outcome call_make(baton_channel *channel, size_t size, uint64_t nap_ms, uint32_t timeout_ms)
{
        Test__Amount request = TEST__AMOUNT__INIT;
        const Test__Blob *reply = NULL;
        request.n = size;
        request.nap_ms = nap_ms;
        baton_status status = peer_make(channel, &request, &reply, &(baton_call_options){ .timeout_ms = timeout_ms });
        return outcome_of(status, reply);
}

struct outcome call_hold(baton_channel *channel, uint32_t timeout_ms)
{
        Test__Blob request = TEST__BLOB__INIT;
        const Test__Blob *reply = NULL;
        baton_status status = peer_hold(channel, &request, &reply, &(baton_call_options){ .timeout_ms = timeout_ms });
        return outcome_of(status, reply);
}

struct outcome call_nap(baton_channel *channel, uint64_t ms, uint32_t timeout_ms)
{
        Test__Amount request = TEST__AMOUNT__INIT;
        const Test__Blob *reply = NULL;
        request.n = ms;
        baton_status status = peer_nap(channel, &request, &reply, &(baton_call_options){ .timeout_ms = timeout_ms });
        return outcome_of(status, reply);
}

static Test__Facts facts_of(baton_status status, const Test__Facts *reply)
{
        check(status.code == BATON_OK, "the server does not answer: %s: %s", baton_code_name(status.code),
              status.message);
        Test__Facts facts = *reply;
        baton_release(reply);
        return facts;
}

Test__Facts look(baton_channel *channel)
{
        Test__Amount request = TEST__AMOUNT__INIT;
        const Test__Facts *reply = NULL;
        baton_status status = peer_look(channel, &request, &reply, &(baton_call_options){ .timeout_ms = ANSWER_MS });
        return facts_of(status, reply);
}

Test__Facts release_held(baton_channel *channel)
{
        Test__Amount request = TEST__AMOUNT__INIT;
        const Test__Facts *reply = NULL;
        baton_status status = peer_release(channel, &request, &reply, &(baton_call_options){ .timeout_ms = ANSWER_MS });
        return facts_of(status, reply);
}

void await_held(baton_channel *channel, uint64_t n)
{
        uint64_t until = now_ns() + ANSWER_MS * UINT64_C(1000000);
        uint64_t held;
        while ((held = look(channel).held) != n && now_ns() < until)
                sleep_ms(1);
        check(held == n, "%llu calls are held, %llu should be", (unsigned long long)held, (unsigned long long)n);
}

static int ascending(const void *a, const void *b)
{
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
        return left < right ? -1 : left > right;
}

uint64_t percentile(uint64_t *values, size_t n, unsigned p)
{
        qsort(values, n, sizeof *values, ascending);
        return values[(n - 1) * p / 100];
}
