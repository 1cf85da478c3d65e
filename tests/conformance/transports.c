/* The transports that the suite runs over. A new one adds a function and an entry, and its name to CMakeLists.txt. */
#include "harness.h"
#include <stdio.h>
#include <unistd.h>

static unsigned n_addresses;

static void shm_name(const char *directory, char listen[LONGEST_ADDRESS], char channel[LONGEST_ADDRESS])
{
        (void)directory; /* $XDG_RUNTIME_DIR */
        snprintf(listen, LONGEST_ADDRESS, "shm:test-%d.%u", (int)getpid(), n_addresses++);
        snprintf(channel, LONGEST_ADDRESS, "%s", listen);
}

static void shm_path(const char *directory, char listen[LONGEST_ADDRESS], char channel[LONGEST_ADDRESS])
{
        snprintf(listen, LONGEST_ADDRESS, "shm:%s/socket%u", directory, n_addresses++);
        snprintf(channel, LONGEST_ADDRESS, "%s", listen);
}

static void inproc_name(const char *directory, char listen[LONGEST_ADDRESS], char channel[LONGEST_ADDRESS])
{
        (void)directory;
        snprintf(listen, LONGEST_ADDRESS, "inproc:test-%u", n_addresses++);
        snprintf(channel, LONGEST_ADDRESS, "%s", listen);
}

const struct transport_case transports[] = {
        { .name = "shm-name", .addresses = shm_name, .by_reference = true, .same_host = true, .shm = true },
        { .name = "shm-path", .addresses = shm_path, .by_reference = true, .same_host = true, .shm = true },
        { .name = "inproc", .addresses = inproc_name, .in_process = true, .by_reference = true, .same_host = true },
};
const size_t n_transports = sizeof transports / sizeof *transports;
