#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool complain_about(const char *what, const char *path)
{
        fprintf(stderr, "idlc: cannot %s %s: %s\n", what, path, strerror(errno));
        return false;
}

/* Makes the directories above path, which is changed for a moment only. */
static bool make_directories(char *path)
{
        for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
                if (!made)
                        complain_about("make the directory", path);
                *slash = '/';
                if (!made)
                        return false;
        }
        return true;
}

static bool write_and_rename(const char *temporary, const char *path, const char *data, size_t size)
{
        FILE *file = fopen(temporary, "we");
        if (!file)
                return complain_about("write", path);
        bool written = fwrite(data, 1, size, file) == size;
        written = fclose(file) == 0 && written;
        if (written && rename(temporary, path) == 0)
                return true;
        complain_about("write", path);
        unlink(temporary);
        return false;
}

bool write_file(const char *path, const char *data, size_t size)
{
        struct arena arena = { 0 };
        char *copy = arena_copy(&arena, path, strlen(path));
        bool done = make_directories(copy) &&
                    write_and_rename(arena_printf(&arena, "%s.%ld.tmp", path, (long)getpid()), path, data, size);
        arena_free(&arena);
        return done;
}
