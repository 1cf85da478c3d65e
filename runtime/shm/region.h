/*
 * Memory that one process writes and another reads: memfds, sealed so that the reader can neither write nor the owner
 * shrink them (memfd_create(2), fcntl(2) F_ADD_SEALS; F_SEAL_FUTURE_WRITE needs Linux 5.1).
 */
#ifndef SHM_REGION_H
#define SHM_REGION_H

#include <stddef.h>
#include <stdint.h>

/*
 * A new region of `size` bytes (rounded up to pages), zeroed, its pages allocated, mapped writable here and not inherited
 * by fork. at: where to map it, inside a reservation, or NULL. Returns its fd, which the caller may send and close, or
 * a negative errno (-ENOSPC: no memory left for it) with the reason set; *memory is the mapping.
 */
int region_create(size_t size, void *at, void **memory);

/*
 * Maps the peer's region read-only after checking its seals and its size; does not take over fd. at as above. 0, or a negative
 * errno with the reason set; -EPROTO where the fd is not what a peer has to send.
 */
int region_map(int fd, size_t size, void *at, const void **memory);

void region_unmap(const void *memory, size_t size);

/* Address space without memory, where regions can be mapped one behind the other. NULL with the reason set. */
void *region_reserve(size_t size);

/* A memfd with these contents that nobody, its maker included, can change any more. fd or negative errno. */
int region_constant(const void *data, size_t size);

#endif
