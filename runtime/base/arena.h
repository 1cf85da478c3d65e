/* The slow half of struct baton_arena; its fast half, baton_arena_alloc, is in baton/graph.h. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <baton/graph.h>

/* An empty arena, whose chunks may take `budget` bytes altogether. Takes no memory yet. */
void arena_init(baton_arena *arena, size_t budget);

/* The same, with a first chunk given by the caller, so that little needs no malloc at all. `memory` must be 16-byte
 * aligned, outlive the arena, and does not count against the budget. Ignored where too small to be of use. */
void arena_init_inline(baton_arena *arena, size_t budget, void *memory, size_t size);

/* Forgets everything allocated. Keeps the caller's chunk and one modest chunk of its own, the larger of which serves the
 * next round: a steady load settles on chunks that are there already. */
void arena_reset(baton_arena *arena);

/* Frees all. The arena may be initialised again, or deinitialised again. */
void arena_deinit(baton_arena *arena);

#endif
