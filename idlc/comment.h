/* Comments of a .proto as comments of C. */
#ifndef IDLC_COMMENT_H
#define IDLC_COMMENT_H

#include "memory.h"

/* A copy that cannot end a C comment, start one in it, or upset a compiler: comment delimiters and trigraphs are
 * broken up by a space, backslashes at a line's end get a full stop, control and bidirectional-override characters are
 * dropped, and what is not UTF-8 becomes a question mark. NULL stays NULL. */
char *comment_clean(struct arena *arena, const char *comment);

/* The lines of a cleaned comment, each behind `prefix`; nothing for NULL. Empty lines at both ends are left out. */
void comment_lines(struct text *text, const char *prefix, const char *comment);

/* The words of a paragraph in lines of at most `width` columns, each behind `prefix` and a space. */
void comment_wrap(struct text *text, const char *prefix, size_t width, const char *paragraph);

#endif
