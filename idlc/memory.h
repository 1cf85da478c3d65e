/* Memory that lives until the compilation ends, and growable text. Both end the program, with a message, when memory
 * is short: a compiler has nothing better to do then. */
#ifndef IDLC_MEMORY_H
#define IDLC_MEMORY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena {
        struct arena_chunk *chunks;
        size_t used; /* of the newest chunk */
};

void *xmalloc(size_t size);
void *xrealloc(void *memory, size_t size);

/* Zeroed memory, aligned for any type; freed by arena_free. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t n, size_t element_size);
char *arena_copy(struct arena *arena, const char *data, size_t size);
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *arena);

/* Zero-initialised is empty. data is NUL-terminated where it is not NULL. */
struct text {
        char *data;
        size_t size;
        size_t capacity;
};

void text_append(struct text *text, const char *data, size_t size);
void text_puts(struct text *text, const char *string);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_vprintf(struct text *text, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
void text_free(struct text *text);

/* Strings to pointers. Zero-initialised is empty; keys are not copied. */
struct map {
        struct map_entry *entries;
        size_t n;
        size_t capacity;
};

/* Adds key, unless it is there. Returns the value that stands: the caller's, or the earlier one. */
void *map_add(struct map *map, const char *key, void *value);
void *map_get(const struct map *map, const char *key);
void map_free(struct map *map);

#endif
