#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int process_memory_file(void)
{
        return memfd_create("idlc", 0);
}

bool process_read_file(int fd, struct text *content)
{
        char buffer[64 * 1024];
        off_t offset = 0;
        for (;;) {
                ssize_t n = pread(fd, buffer, sizeof buffer, offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n == 0;
                text_append(content, buffer, (size_t)n);
                offset += n;
        }
}

static bool write_all(int fd, const uint8_t *data, size_t size)
{
        while (size) {
                ssize_t n = write(fd, data, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                data += n;
                size -= (size_t)n;
        }
        return lseek(fd, 0, SEEK_SET) == 0;
}

/* The Debian package that has the program, for the message where it is missing. */
static const char *package_of(const char *program)
{
        const char *slash = strrchr(program, '/');
        const char *name = slash ? slash + 1 : program;
        return strcmp(name, "protoc") == 0         ? "protobuf-compiler"
               : strcmp(name, "protoc-gen-c") == 0 ? "protobuf-c-compiler"
                                                   : NULL;
}

static const char *cannot_run(struct arena *arena, const char *program, int error)
{
        const char *package = package_of(program);
        if (error != ENOENT || !package)
                return arena_printf(arena, "cannot run %s: %s", program, strerror(error));
        return arena_printf(arena, "cannot run %s: it is not installed; on Debian: apt install %s", program, package);
}

/* In the child: never returns. Tells the parent through `report` why the program did not start. */
static void become(const char *const *arguments, int input, int output, int report)
{
        if ((input < 0 || dup2(input, STDIN_FILENO) >= 0) && (output < 0 || dup2(output, STDOUT_FILENO) >= 0))
                execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        int error = errno;
        if (write(report, &error, sizeof error) < 0)
                _exit(126);
        _exit(127);
}

static const char *await(struct arena *arena, const char *program, pid_t child, int report)
{
        int error = 0;
        int status;
        ssize_t n;
        do
                n = read(report, &error, sizeof error);
        while (n < 0 && errno == EINTR);
        while (waitpid(child, &status, 0) < 0) {
                if (errno != EINTR)
                        return arena_printf(arena, "cannot wait for %s: %s", program, strerror(errno));
        }
        if (n == sizeof error)
                return cannot_run(arena, program, error);
        if (WIFSIGNALED(status))
                return arena_printf(arena, "%s was ended by signal %d", program, WTERMSIG(status));
        return WEXITSTATUS(status) ? "" : NULL;
}

const char *process_run(struct arena *arena, const char *const *arguments, int input, int output)
{
        int report[2];
        if (pipe2(report, O_CLOEXEC) < 0)
                return arena_printf(arena, "cannot run %s: %s", arguments[0], strerror(errno));
        pid_t child = fork();
        if (child == 0)
                become(arguments, input, output, report[1]);
        int error = errno;
        close(report[1]);
        const char *result = child < 0 ? arena_printf(arena, "cannot run %s: %s", arguments[0], strerror(error))
                                       : await(arena, arguments[0], child, report[0]);
        close(report[0]);
        return result;
}

const char *process_filter(struct arena *arena, const char *const *arguments, const uint8_t *data, size_t size,
                           struct text *output)
{
        /* Files, not pipes: whichever side is slow, nobody waits for the other. */
        int in = process_memory_file();
        int out = process_memory_file();
        const char *error = NULL;
        if (in < 0 || out < 0 || !write_all(in, data, size))
                error = arena_printf(arena, "cannot hand the request to %s: %s", arguments[0], strerror(errno));
        if (!error)
                error = process_run(arena, arguments, in, out);
        if (error && !*error)
                error = arena_printf(arena, "%s failed", arguments[0]);
        if (!error && !process_read_file(out, output))
                error = arena_printf(arena, "cannot read what %s answered: %s", arguments[0], strerror(errno));
        if (in >= 0)
                close(in);
        if (out >= 0)
                close(out);
        return error;
}
