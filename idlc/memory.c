#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE = 256 * 1024 };

struct arena_chunk {
        struct arena_chunk *next;
        size_t size;
        max_align_t memory[];
};

static void *checked(void *memory)
{
        if (!memory) {
                fputs("idlc: out of memory\n", stderr);
                exit(1);
        }
        return memory;
}

void *xmalloc(size_t size)
{
        return checked(malloc(size ? size : 1));
}

void *xrealloc(void *memory, size_t size)
{
        return checked(realloc(memory, size ? size : 1));
}

void *arena_alloc(struct arena *arena, size_t size)
{
        size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
        if (!arena->chunks || size > arena->chunks->size - arena->used) {
                size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
                struct arena_chunk *chunk = checked(calloc(1, sizeof *chunk + room));
                chunk->size = room;
                chunk->next = arena->chunks;
                arena->chunks = chunk;
                arena->used = 0;
        }
        void *memory = (char *)arena->chunks->memory + arena->used;
        arena->used += size;
        return memory;
}

void *arena_array(struct arena *arena, size_t n, size_t element_size)
{
        if (n > SIZE_MAX / 2 / element_size)
                checked(NULL);
        return arena_alloc(arena, n * element_size);
}

char *arena_copy(struct arena *arena, const char *data, size_t size)
{
        char *copy = arena_alloc(arena, size + 1);
        memcpy(copy, data, size);
        return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
        va_list arguments;
        struct text text = { 0 };
        va_start(arguments, format);
        text_vprintf(&text, format, arguments);
        va_end(arguments);
        char *copy = arena_copy(arena, text.data, text.size);
        text_free(&text);
        return copy;
}

void arena_free(struct arena *arena)
{
        while (arena->chunks) {
                struct arena_chunk *next = arena->chunks->next;
                free(arena->chunks);
                arena->chunks = next;
        }
}

/* ---- text ------------------------------------------------------------------------------------------------- */

static void text_reserve(struct text *text, size_t size)
{
        size_t needed = text->size + size + 1;
        if (needed <= text->capacity)
                return;
        text->capacity = needed < 2 * text->capacity ? 2 * text->capacity : needed;
        text->data = xrealloc(text->data, text->capacity);
}

void text_append(struct text *text, const char *data, size_t size)
{
        text_reserve(text, size);
        memcpy(text->data + text->size, data, size);
        text->size += size;
        text->data[text->size] = 0;
}

void text_puts(struct text *text, const char *string)
{
        text_append(text, string, strlen(string));
}

void text_vprintf(struct text *text, const char *format, va_list arguments)
{
        va_list again;
        va_copy(again, arguments);
        int size = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (size < 0)
                checked(NULL); /* only where the result would exceed INT_MAX */
        text_reserve(text, (size_t)size);
        vsnprintf(text->data + text->size, (size_t)size + 1, format, arguments);
        text->size += (size_t)size;
}

void text_printf(struct text *text, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        text_vprintf(text, format, arguments);
        va_end(arguments);
}

void text_free(struct text *text)
{
        free(text->data);
        *text = (struct text){ 0 };
}

/* ---- map -------------------------------------------------------------------------------------------------- */

struct map_entry {
        const char *key;
        void *value;
};

static size_t hash(const char *key)
{
        uint64_t h = 14695981039346656037u; /* FNV-1a */
        for (; *key; key++)
                h = (h ^ (unsigned char)*key) * 1099511628211u;
        return (size_t)(h ^ h >> 32);
}

/* The entry of key, or the empty one where it belongs. capacity is a power of two and never full. */
static struct map_entry *find(const struct map *map, const char *key)
{
        size_t i = hash(key) & (map->capacity - 1);
        while (map->entries[i].key && strcmp(map->entries[i].key, key) != 0)
                i = (i + 1) & (map->capacity - 1);
        return &map->entries[i];
}

static void grow(struct map *map)
{
        struct map old = *map;
        map->capacity = old.capacity ? 2 * old.capacity : 64;
        map->entries = checked(calloc(map->capacity, sizeof *map->entries));
        for (size_t i = 0; i < old.capacity; i++) {
                if (old.entries[i].key)
                        *find(map, old.entries[i].key) = old.entries[i];
        }
        free(old.entries);
}

void *map_add(struct map *map, const char *key, void *value)
{
        if (2 * (map->n + 1) > map->capacity)
                grow(map);
        struct map_entry *entry = find(map, key);
        if (!entry->key) {
                *entry = (struct map_entry){ key, value };
                map->n++;
        }
        return entry->value;
}

void *map_get(const struct map *map, const char *key)
{
        return map->n ? find(map, key)->value : NULL;
}

void map_free(struct map *map)
{
        free(map->entries);
        *map = (struct map){ 0 };
}
