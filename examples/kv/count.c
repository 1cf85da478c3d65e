/* Counting the words of a text together with other clients, and checking the result. */
#include "common/report.h"
#include "kv.baton.h"
#include "limits.h"
#include "session.h"
#include "words.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "word:";

FILE *open_text(const char *path)
{
        FILE *file = fopen(path, "re");
        if (!file)
                die("%s: %s", path, strerror(errno));
        return file;
}

void close_text(FILE *file, const char *path)
{
        if (ferror(file))
                die("%s: cannot be read: %s", path, strerror(errno));
        fclose(file);
}

void count_words(struct session *session, const char *path)
{
        FILE *file = open_text(path);
        char word[WORD_SIZE], key[sizeof prefix + WORD_SIZE];
        while (next_word(file, word)) {
                Kv__AddRequest request = KV__ADD_REQUEST__INIT;
                request.key = key;
                request.delta = 1;
                int size = snprintf(key, sizeof key, "%s%s", prefix, word);

                uint64_t start = now_ns();
                const Kv__AddReply *reply = NULL;
                baton_status status = kv_add(session->channel, &request, &reply, &session->options);
                die_unless_ok(status, key);
                session_count(session, start, (uint64_t)size, 0);
                baton_release(reply);
        }
        close_text(file, path);
}

/* Appends one page of the store's words. Returns the cursor of the next one, 0 at the end. */
static uint64_t fetch_page(struct session *session, struct word_counts *counts, uint64_t cursor)
{
        Kv__ScanRequest request = KV__SCAN_REQUEST__INIT;
        request.prefix = (char *)prefix;
        request.cursor = cursor;
        request.limit = KV_MAX_PAGE;

        uint64_t start = now_ns(), moved = sizeof prefix - 1;
        const Kv__ScanReply *reply = NULL;
        baton_status status = kv_scan(session->channel, &request, &reply, &session->options);
        die_unless_ok(status, "scan of all words");
        for (size_t i = 0; i < reply->n_entries; i++) {
                const Kv__Entry *entry = reply->entries[i];
                char number[32];
                snprintf(number, sizeof number, "%.*s", (int)entry->value.len, (const char *)entry->value.data);
                word_counts_add(counts, entry->key + sizeof prefix - 1, strtoll(number, NULL, 10));
                moved += strlen(entry->key) + entry->value.len;
        }
        session_count(session, start, moved, 0);
        cursor = reply->next_cursor;
        baton_release(reply);
        return cursor;
}

static struct word_counts count_in_store(struct session *session)
{
        struct word_counts counts = { 0 };
        uint64_t cursor = 0;
        do
                cursor = fetch_page(session, &counts, cursor);
        while (cursor);
        return counts;
}

static struct word_counts count_in_files(char *const *paths, int n_paths)
{
        struct word_counts counts = { 0 };
        for (int i = 0; i < n_paths; i++) {
                FILE *file = open_text(paths[i]);
                char word[WORD_SIZE];
                while (next_word(file, word))
                        word_counts_add(&counts, word, 1);
                close_text(file, paths[i]);
        }
        return counts;
}

/* Returns 1 when the counts differ, after naming them unless that was done for enough others. */
static unsigned differs(const char *word, int64_t in_store, int64_t in_files, unsigned others)
{
        enum { SHOWN = 10 };
        if (in_store == in_files)
                return 0;
        if (others < SHOWN)
                fprintf(stderr, "'%s': %" PRId64 " in the store, %" PRId64 " in the files\n", word, in_store, in_files);
        return 1;
}

/* Both lists are sorted by word. */
static unsigned compare(const struct word_counts *store, const struct word_counts *files)
{
        unsigned differences = 0;
        size_t s = 0, f = 0;
        while (s < store->n || f < files->n) {
                int order = s == store->n ? 1 : f == files->n ? -1 : strcmp(store->list[s].word, files->list[f].word);
                const char *word = order <= 0 ? store->list[s].word : files->list[f].word;
                int64_t in_store = order <= 0 ? store->list[s++].count : 0;
                int64_t in_files = order >= 0 ? files->list[f++].count : 0;
                differences += differs(word, in_store, in_files, differences);
        }
        return differences;
}

unsigned verify_words(struct session *session, char *const *paths, int n_paths)
{
        struct word_counts store = count_in_store(session), files = count_in_files(paths, n_paths);
        size_t n_occurrences = files.n;
        word_counts_merge(&store);
        word_counts_merge(&files);
        unsigned differences = compare(&store, &files);
        if (differences)
                fprintf(stderr, "verify: %u words have another count in the store than in the files\n", differences);
        else
                printf("verified: %zu words, %zu different ones, every count is exact\n", n_occurrences, files.n);
        free(store.list);
        free(files.list);
        return differences;
}
