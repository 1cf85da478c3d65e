#include "comment.h"
#include "emit.h"

#include <string.h>

enum { COLUMN_LIMIT = 120 };

void emit_prototype(struct text *text, const char *result_and_name, const char *const *parameters, size_t n)
{
        size_t indent = strlen(result_and_name) + 1;
        size_t column = indent;
        text_printf(text, "%s(", result_and_name);
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(parameters[i]) + 1;
                if (i && column + length + 1 > COLUMN_LIMIT) {
                        text_printf(text, "\n%*s", (int)indent, "");
                        column = indent;
                } else if (i) {
                        text_puts(text, " ");
                        column++;
                }
                text_printf(text, "%s%s", parameters[i], i + 1 < n ? "," : ")");
                column += length;
        }
}

/* A comment that is only a note. */
static void emit_note(struct text *text, const char *indent, const char *prefix, const char *note)
{
        struct text lines = { 0 };
        comment_wrap(&lines, prefix, COLUMN_LIMIT - 3, note);
        text_printf(text, "%s/*%.*s */\n", indent, (int)(lines.size - strlen(prefix) - 1), lines.data + strlen(prefix));
        text_free(&lines);
}

void emit_comment(struct text *text, const struct model *model, const char *indent, const struct location *at,
                  const char *note)
{
        char *prefix = arena_printf(model->arena, "%s *", indent);
        struct text lines = { 0 };
        comment_lines(&lines, prefix, comment_clean(model->arena, at->leading));
        if (lines.size && at->trailing)
                text_printf(&lines, "%s\n", prefix);
        comment_lines(&lines, prefix, comment_clean(model->arena, at->trailing));
        if (lines.size && note) {
                text_printf(&lines, "%s\n", prefix);
                comment_wrap(&lines, prefix, COLUMN_LIMIT, note);
        }
        if (lines.size)
                text_printf(text, "%s/*\n%s%s */\n", indent, lines.data, indent);
        else if (note)
                emit_note(text, indent, prefix, note);
        text_free(&lines);
}
