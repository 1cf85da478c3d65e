/* UTF-8 as the standard has it: no surrogates, no overlong forms, nothing beyond U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How many bytes at the start of text are well-formed: size, or where the first ill-formed sequence begins. */
size_t utf8_span(const void *text, size_t size);

/* Whether all of text is well-formed. A NUL is. */
bool utf8_valid(const void *text, size_t size);

/* The same, and that there is no NUL: whether the bytes can be a C string without loss. */
bool utf8_valid_string(const void *text, size_t size);

#endif
