#include "base/arena.h"
#include <stdbool.h>
#include <stdlib.h>

enum {
        CHUNK_MIN = 4096,
        CHUNK_MAX = 1024 * 1024,
#ifndef __SANITIZE_ADDRESS__
        EXACT = false,
        CHUNK_KEEP = 256 * 1024, /* what one idle arena may hold on to */
#else
        EXACT = true, /* every allocation is one of malloc's, so that the sanitizer sees each step beyond it */
        CHUNK_KEEP = 0,
#endif
};

/* Stands at the start of its own memory; what it hands out follows. 16-byte aligned, and so a multiple of 16 long. */
struct baton_arena_chunk {
        struct baton_arena_chunk *next;
        size_t size; /* header included */
        bool borrowed;
        _Alignas(16) uint8_t data[];
};

static void use_chunk(baton_arena *arena, struct baton_arena_chunk *chunk)
{
        arena->at = chunk->data;
        arena->end = (uint8_t *)chunk + chunk->size;
}

void arena_init(baton_arena *arena, size_t budget)
{
        *arena = (baton_arena){ .budget = budget };
}

void arena_init_inline(baton_arena *arena, size_t budget, void *memory, size_t size)
{
        arena_init(arena, budget);
        if (size < 2 * sizeof(struct baton_arena_chunk))
                return;
        struct baton_arena_chunk *chunk = memory;
        *chunk = (struct baton_arena_chunk){ .size = size & ~(size_t)7, .borrowed = true };
        arena->chunks = chunk;
        use_chunk(arena, chunk);
}

/* What a chunk of this size takes from the budget. The many heads of exact chunks would use up what the load fits in. */
static size_t cost(size_t chunk_size)
{
        return EXACT ? chunk_size - sizeof(struct baton_arena_chunk) : chunk_size;
}

/* Frees a chunk of the arena's own. */
static void drop_chunk(baton_arena *arena, struct baton_arena_chunk *chunk)
{
        arena->budget += cost(chunk->size);
        free(chunk);
}

/* Unlinks all chunks. Returns the borrowed one, and in *kept the largest owned one of at most `keep` bytes. */
static struct baton_arena_chunk *sift(baton_arena *arena, size_t keep, struct baton_arena_chunk **kept)
{
        struct baton_arena_chunk *borrowed = NULL;
        struct baton_arena_chunk *best = NULL;
        struct baton_arena_chunk *next;
        for (struct baton_arena_chunk *chunk = arena->chunks; chunk; chunk = next) {
                next = chunk->next;
                if (chunk->borrowed) {
                        borrowed = chunk;
                } else if (chunk->size <= keep && (!best || chunk->size > best->size)) {
                        if (best)
                                drop_chunk(arena, best);
                        best = chunk;
                } else {
                        drop_chunk(arena, chunk);
                }
        }
        arena->chunks = NULL;
        *kept = best;
        return borrowed;
}

void arena_reset(baton_arena *arena)
{
        struct baton_arena_chunk *only = arena->chunks;
        if (!only)
                return;
        if (!only->next && (only->borrowed || only->size <= CHUNK_KEEP)) {
                use_chunk(arena, only);
                return;
        }
        struct baton_arena_chunk *kept;
        struct baton_arena_chunk *borrowed = sift(arena, CHUNK_KEEP, &kept);
        arena->at = arena->end = NULL;
        if (borrowed) {
                borrowed->next = NULL;
                arena->chunks = borrowed;
                use_chunk(arena, borrowed);
        }
        if (!kept)
                return;
        kept->next = borrowed;
        arena->chunks = kept;
        if (!borrowed || kept->size > borrowed->size)
                use_chunk(arena, kept);
}

void arena_deinit(baton_arena *arena)
{
        struct baton_arena_chunk *kept;
        sift(arena, 0, &kept);
        arena->at = arena->end = NULL;
}

/* The size of the next chunk for `need` bytes: doubling, as long as the budget allows, never less than needed. */
static size_t next_size(const baton_arena *arena, size_t need)
{
        size_t size = CHUNK_MIN;
        if (arena->chunks)
                size = arena->chunks->size > CHUNK_MAX / 2 ? CHUNK_MAX : arena->chunks->size * 2;
        if (size < need || size > arena->budget)
                return need;
        return size;
}

void *baton_arena_grow(baton_arena *arena, size_t size)
{
        if (size > SIZE_MAX / 2)
                return NULL;
        if (!EXACT)
                size = (size + 7) & ~(size_t)7;
        size_t need = sizeof(struct baton_arena_chunk) + size;
        if (cost(need) > arena->budget)
                return NULL;
        /* What is big gets a chunk of its own, and the rest of the current one stays in use. */
        bool apart = EXACT || (arena->chunks && size >= CHUNK_MIN && size >= arena->chunks->size / 2);
        size_t chunk_size = apart ? need : next_size(arena, need);
        struct baton_arena_chunk *chunk = malloc(chunk_size);
        if (!chunk)
                return NULL;
        *chunk = (struct baton_arena_chunk){ .size = chunk_size };
        arena->budget -= cost(chunk_size);
        if (apart && arena->chunks) {
                chunk->next = arena->chunks->next;
                arena->chunks->next = chunk;
                return chunk->data;
        }
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        if (apart)
                return chunk->data;
        use_chunk(arena, chunk);
        return baton_arena_alloc(arena, size);
}
