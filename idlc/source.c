#include "source.h"

#include <stdlib.h>

typedef Google__Protobuf__SourceCodeInfo__Location location_proto;

struct source {
        const location_proto **sorted; /* by path */
        size_t n;
};

static int compare(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
        for (size_t i = 0; i < n_a && i < n_b; i++) {
                if (a[i] != b[i])
                        return a[i] < b[i] ? -1 : 1;
        }
        return n_a == n_b ? 0 : n_a < n_b ? -1 : 1;
}

/* Equal paths (one `extend` block in several pieces) stay in the order of the file, so that output is deterministic. */
static int compare_locations(const void *left, const void *right)
{
        const location_proto *a = *(const location_proto *const *)left;
        const location_proto *b = *(const location_proto *const *)right;
        int order = compare(a->path, a->n_path, b->path, b->n_path);
        if (order || !a->n_span || !b->n_span)
                return order;
        return a->span[0] == b->span[0] ? 0 : a->span[0] < b->span[0] ? -1 : 1;
}

struct source *source_new(struct arena *arena, const file_proto *proto)
{
        struct source *source = arena_alloc(arena, sizeof *source);
        if (!proto->source_code_info || !proto->source_code_info->n_location)
                return source;
        source->n = proto->source_code_info->n_location;
        source->sorted = arena_array(arena, source->n, sizeof *source->sorted);
        for (size_t i = 0; i < source->n; i++)
                source->sorted[i] = proto->source_code_info->location[i];
        qsort(source->sorted, source->n, sizeof *source->sorted, compare_locations);
        return source;
}

struct location source_find(const struct source *source, const int *path, size_t n)
{
        size_t low = 0;
        size_t high = source->n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const location_proto *candidate = source->sorted[middle];
                if (compare(candidate->path, candidate->n_path, path, n) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == source->n || compare(source->sorted[low]->path, source->sorted[low]->n_path, path, n) != 0)
                return (struct location){ 0 };
        const location_proto *found = source->sorted[low];
        bool has_line = found->n_span && found->span[0] >= 0 && found->span[0] < INT32_MAX;
        return (struct location){
                .line = has_line ? found->span[0] + 1 : 0,
                .leading = found->leading_comments,
                .trailing = found->trailing_comments,
        };
}
