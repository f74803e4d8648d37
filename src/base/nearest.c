/* SPDX-License-Identifier: Apache-2.0 */
/* The known word nearest to a mistyped one: fewest letters added, dropped, changed or swapped with the next. */
#include <rehome/base.h>

enum { WORD_MOST = 64 };

/* The edit distance of Damerau and Levenshtein (neighbours swapped count once, no letter edited twice). */
static size_t distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][WORD_MOST + 1]; /* the one before the last, the last, this one */
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_size; j++)
        before[j] = last[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_size];
}

const char *rh_nearest(const char *word, const char *const *words)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX, size = strlen(word);
    for (; size <= WORD_MOST && *words; words++) {
        size_t other = strlen(*words);
        if (other > WORD_MOST)
            continue;
        size_t edits = distance(word, size, *words, other);
        if (edits * 3 <= (size > other ? size : other) && edits < least) {
            least = edits;
            nearest = *words;
        }
    }
    return nearest;
}
