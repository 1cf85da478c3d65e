/* The words of a text file. */
#ifndef KV_WORDS_H
#define KV_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { WORD_SIZE = 64 }; /* with the '\0'; longer words are cut */

/* Reads the next run of ASCII letters, in lower case. False at the end of the file. */
bool next_word(FILE *file, char word[WORD_SIZE]);

struct word_count {
        char word[WORD_SIZE];
        int64_t count;
};

/* A list of words and counts; zero-initialise it, free `list`. */
struct word_counts {
        struct word_count *list;
        size_t n;
        size_t capacity;
};

/* Appends a word, cut if it is too long; ends the program when out of memory. */
void word_counts_add(struct word_counts *counts, const char *word, int64_t count);

/* Sorts the list by word and makes entries of the same word one. */
void word_counts_merge(struct word_counts *counts);

#endif
