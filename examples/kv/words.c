#include "words.h"
#include "common/report.h"
#include <stdlib.h>
#include <string.h>

static bool is_letter(int c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool next_word(FILE *file, char word[WORD_SIZE])
{
        int c;
        do
                c = getc(file);
        while (c != EOF && !is_letter(c));

        size_t n = 0;
        for (; is_letter(c); c = getc(file))
                if (n < WORD_SIZE - 1)
                        word[n++] = (char)(c | 0x20);
        word[n] = '\0';
        return n > 0;
}

void word_counts_add(struct word_counts *counts, const char *word, int64_t count)
{
        if (counts->n == counts->capacity) {
                counts->capacity = counts->capacity ? 2 * counts->capacity : 1024;
                counts->list = realloc(counts->list, counts->capacity * sizeof *counts->list);
                if (!counts->list)
                        die("out of memory for %zu words", counts->capacity);
        }
        struct word_count *entry = &counts->list[counts->n++];
        snprintf(entry->word, sizeof entry->word, "%s", word);
        entry->count = count;
}

static int compare_words(const void *left, const void *right)
{
        return strcmp(((const struct word_count *)left)->word, ((const struct word_count *)right)->word);
}

void word_counts_merge(struct word_counts *counts)
{
        if (counts->n == 0)
                return;
        qsort(counts->list, counts->n, sizeof *counts->list, compare_words);
        size_t last = 0;
        for (size_t i = 1; i < counts->n; i++) {
                if (strcmp(counts->list[last].word, counts->list[i].word) == 0)
                        counts->list[last].count += counts->list[i].count;
                else
                        counts->list[++last] = counts->list[i];
        }
        counts->n = last + 1;
}
