#include "comment.h"

#include <string.h>

/* Bytes at `at` that are dropped: control characters (but not newline and tab), and UTF-8 of U+202A–202E, U+2066–2069,
 * which show a reader other code than the compiler sees. */
static size_t dropped(const unsigned char *at)
{
        if ((*at < ' ' && *at != '\n' && *at != '\t') || *at == 0x7f)
                return 1;
        if (at[0] != 0xe2)
                return 0;
        bool override = at[1] == 0x80 && at[2] >= 0xaa && at[2] <= 0xae;
        bool isolate = at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9;
        return override || isolate ? 3 : 0;
}

/* The length of the UTF-8 character at `at`; 0 where there is none. Overlong forms pass: nobody decodes them. */
static size_t utf8_length(const unsigned char *at)
{
        size_t n = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
        for (size_t i = 1; i < n; i++) {
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
        }
        return n;
}

/* What must not stand between the character written last and the next one. */
static const char *separator(const struct text *text, char next)
{
        char last = text->size ? text->data[text->size - 1] : '\n';
        if ((last == '*' && next == '/') || (last == '/' && next == '*') || (last == '?' && next == '?'))
                return " ";
        return last == '\\' && next == '\n' ? "." : "";
}

char *comment_clean(struct arena *arena, const char *comment)
{
        if (!comment)
                return NULL;
        struct text text = { 0 };
        for (const char *at = comment; *at;) {
                size_t skip = dropped((const unsigned char *)at);
                size_t length = utf8_length((const unsigned char *)at);
                if (!skip) {
                        text_puts(&text, separator(&text, *at));
                        text_append(&text, length ? at : "?", length ? length : 1);
                }
                at += skip ? skip : length ? length : 1;
        }
        text_puts(&text, separator(&text, '\n'));
        char *clean = arena_copy(arena, text.data ? text.data : "", text.size);
        text_free(&text);
        return clean;
}

void comment_lines(struct text *text, const char *prefix, const char *comment)
{
        size_t empty = 0;
        bool started = false;
        while (comment && *comment) {
                size_t length = strcspn(comment, "\n");
                size_t end = length;
                while (end && (comment[end - 1] == ' ' || comment[end - 1] == '\t'))
                        end--;
                if (end) {
                        for (; started && empty; empty--)
                                text_printf(text, "%s\n", prefix);
                        empty = 0;
                        started = true;
                        /* protoc keeps the space behind the comment's own mark. */
                        text_printf(text, "%s%s%.*s\n", prefix, *comment == ' ' || *comment == '\t' ? "" : " ",
                                    (int)end, comment);
                } else {
                        empty++;
                }
                comment += length + (comment[length] == '\n');
        }
}

void comment_wrap(struct text *text, const char *prefix, size_t width, const char *paragraph)
{
        size_t column = 0;
        while (*paragraph) {
                size_t length = strcspn(paragraph, " ");
                if (column && column + 1 + length > width) {
                        text_puts(text, "\n");
                        column = 0;
                }
                if (!column) {
                        text_puts(text, prefix);
                        column = strlen(prefix);
                }
                text_printf(text, " %.*s", (int)length, paragraph);
                column += 1 + length;
                paragraph += length + (paragraph[length] == ' ');
        }
        if (column)
                text_puts(text, "\n");
}
