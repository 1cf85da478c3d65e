#include "names.h"

#include <string.h>

/* Not <ctype.h>: names are ASCII whatever the locale. */
static bool is_upper(char c)
{
        return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
        return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static char to_upper(char c)
{
        return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static char to_lower(char c)
{
        return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

/* ---- protobuf-c's rules ----------------------------------------------------------------------------------- */

static size_t split_camel(char *out, const char *name, size_t length, char (*convert)(char))
{
        size_t n = 0;
        bool was_upper = true; /* no underscore in front */
        for (size_t i = 0; i < length; i++) {
                bool upper = is_upper(name[i]);
                if (upper && !was_upper)
                        out[n++] = '_';
                out[n++] = convert(name[i]);
                was_upper = upper;
        }
        return n;
}

static size_t piece_to_lower(char *out, const char *name, size_t length)
{
        return split_camel(out, name, length, to_lower);
}

static size_t piece_to_upper(char *out, const char *name, size_t length)
{
        return split_camel(out, name, length, to_upper);
}

static size_t piece_to_camel(char *out, const char *name, size_t length)
{
        size_t n = 0;
        bool capital = true;
        for (size_t i = 0; i < length; i++) {
                if (name[i] == '_') {
                        capital = true;
                } else {
                        out[n++] = capital ? to_upper(name[i]) : name[i];
                        capital = false;
                }
        }
        return n;
}

char *name_camel_to_lower(struct arena *arena, const char *name)
{
        char *out = arena_alloc(arena, 2 * strlen(name) + 1);
        piece_to_lower(out, name, strlen(name));
        return out;
}

char *name_camel_to_upper(struct arena *arena, const char *name)
{
        char *out = arena_alloc(arena, 2 * strlen(name) + 1);
        piece_to_upper(out, name, strlen(name));
        return out;
}

static char *convert_full(struct arena *arena, const char *full_name,
                          size_t (*convert)(char *out, const char *name, size_t length))
{
        char *out = arena_alloc(arena, 3 * strlen(full_name) + 1);
        size_t n = 0;
        for (const char *piece = full_name; *piece;) {
                size_t length = strcspn(piece, ".");
                if (length && n) {
                        out[n++] = '_';
                        out[n++] = '_';
                }
                n += convert(out + n, piece, length);
                piece += length;
                if (*piece == '.')
                        piece++;
        }
        return out;
}

char *name_full_to_c(struct arena *arena, const char *full_name)
{
        return convert_full(arena, full_name, piece_to_camel);
}

char *name_full_to_lower(struct arena *arena, const char *full_name)
{
        return convert_full(arena, full_name, piece_to_lower);
}

char *name_full_to_upper(struct arena *arena, const char *full_name)
{
        return convert_full(arena, full_name, piece_to_upper);
}

/* Whether the word stands in a list of words with single spaces between. */
static bool in_list(const char *list, const char *word)
{
        size_t length = strlen(word);
        while (*list) {
                size_t n = strcspn(list, " ");
                if (n == length && memcmp(list, word, n) == 0)
                        return true;
                list += n + (list[n] == ' ');
        }
        return false;
}

/* The keywords that protobuf-c avoids by appending an underscore. */
static const char known_keywords[] = "and and_eq asm auto bitand bitor bool break case catch char class compl const "
                                     "const_cast continue default delete do "
                                     "double dynamic_cast else enum explicit extern false float for friend goto if "
                                     "inline int long mutable namespace new "
                                     "not not_eq operator or or_eq private protected public register reinterpret_cast "
                                     "return short signed sizeof static "
                                     "static_cast struct switch template this throw true try typedef typeid typename "
                                     "union unsigned using virtual void "
                                     "volatile wchar_t while xor xor_eq";

/* Keywords of C11, GNU C and C++17 that protobuf-c does not know, and lower-case macros of the headers we include. */
static const char unknown_keywords[] = "alignas alignof char16_t char32_t constexpr decltype errno export linux "
                                       "noexcept nullptr restrict static_assert "
                                       "thread_local typeof unix";

/* What the names of functions of the C library and of Baton begin with, before an underscore. */
static const char system_prefixes[] = "aio baton clock epoll mq posix pthread sched sem shm timer timerfd";

bool name_is_reserved(const char *name)
{
        return in_list(known_keywords, name) || in_list(unknown_keywords, name);
}

char *name_lower_case(struct arena *arena, const char *name)
{
        size_t length = strlen(name);
        char *out = arena_alloc(arena, length + 1);
        for (size_t i = 0; i < length; i++)
                out[i] = to_lower(name[i]);
        return out;
}

char *name_field(struct arena *arena, const char *name)
{
        char *lower = name_lower_case(arena, name);
        return in_list(known_keywords, lower) ? arena_printf(arena, "%s_", lower) : lower;
}

/* ---- Baton's rules ---------------------------------------------------------------------------------------- */

static bool starts_word(const char *name, size_t i)
{
        if (!is_upper(name[i]) || i == 0)
                return false;
        return is_lower(name[i - 1]) || is_digit(name[i - 1]) || (is_upper(name[i - 1]) && is_lower(name[i + 1]));
}

char *name_snake(struct arena *arena, const char *name)
{
        char *out = arena_alloc(arena, 2 * strlen(name) + 1);
        size_t n = 0;
        for (size_t i = 0; name[i]; i++) {
                bool separator = name[i] == '_' || name[i] == '.';
                if ((separator || starts_word(name, i)) && n && out[n - 1] != '_')
                        out[n++] = '_';
                if (!separator)
                        out[n++] = to_lower(name[i]);
        }
        if (n && out[n - 1] == '_')
                out[n - 1] = 0;
        return out;
}

char *name_member(struct arena *arena, const char *name)
{
        return arena_printf(arena, "%s%s", name, name_is_reserved(name) ? "_" : "");
}

static size_t identifier_length(const char *name)
{
        size_t n = 0;
        if (is_digit(*name))
                return 0;
        while (is_upper(name[n]) || is_lower(name[n]) || is_digit(name[n]) || name[n] == '_')
                n++;
        return n;
}

bool name_is_identifier(const char *name)
{
        size_t length = identifier_length(name);
        return length && !name[length];
}

bool name_is_dotted(const char *name)
{
        for (;;) {
                size_t length = identifier_length(name);
                if (!length)
                        return false;
                if (!name[length])
                        return true;
                if (name[length] != '.')
                        return false;
                name += length + 1;
        }
}

bool name_is_system_prefix(const char *stem)
{
        return in_list(system_prefixes, stem) || strncmp(stem, "baton_", 6) == 0;
}

char *name_stem(struct arena *arena, const char *file_name)
{
        static const char *const suffixes[] = { ".protodevel", ".proto" };
        size_t length = strlen(file_name);
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
                size_t suffix = strlen(suffixes[i]);
                if (length >= suffix && strcmp(file_name + length - suffix, suffixes[i]) == 0)
                        return arena_copy(arena, file_name, length - suffix);
        }
        return arena_copy(arena, file_name, length);
}

char *name_identifier(struct arena *arena, const char *text)
{
        static const char digits[] = "0123456789abcdef";
        char *out = arena_alloc(arena, 3 * strlen(text) + 1);
        size_t n = 0;
        for (; *text; text++) {
                if (is_upper(*text) || is_lower(*text) || is_digit(*text)) {
                        out[n++] = *text;
                } else {
                        out[n++] = '_';
                        out[n++] = digits[(unsigned char)*text >> 4];
                        out[n++] = digits[(unsigned char)*text & 15];
                }
        }
        return out;
}
