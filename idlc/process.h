/* Child processes: protoc and protoc-gen-c. */
#ifndef IDLC_PROCESS_H
#define IDLC_PROCESS_H

#include "memory.h"

/* An anonymous file in memory that children inherit; -1 with errno set. */
int process_memory_file(void);

/* Everything in the file, whatever its offset. False with errno set. */
bool process_read_file(int fd, struct text *content);

/* Runs the program (arguments[0], looked up in $PATH) with stdin and stdout on these fds (-1: this process' own) until
 * it ends. NULL where it exited with 0, else what went wrong, in the arena; "" where it exited with another status,
 * having said on stderr why. */
const char *process_run(struct arena *arena, const char *const *arguments, int input, int output);

/* Runs the program with these bytes as its stdin; output gets its stdout. Returns as process_run, but never "". */
const char *process_filter(struct arena *arena, const char *const *arguments, const uint8_t *data, size_t size,
                           struct text *output);

#endif
