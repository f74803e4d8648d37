/* SPDX-License-Identifier: Apache-2.0 */
/* The report's words in those of somebody who doesn't know ours. */
#include "page.h"

struct pair {
    const char *word, *words;
};

/* The words for a word; itself when there are none. */
static const char *find(const struct pair *pairs, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].word, word) == 0)
            return pairs[i].words;
    return word;
}

const char *step_words(const char *step)
{
    static const struct pair steps[] = {
        {"survey",           "Count the keys of both sides"     },
        {"prepare",          "Make what the destination lacks"  },
        {"mark-destination", "Mark the destination as under way"},
        {"mark-source",      "Mark the source as under way"     },
        {"copy",             "Copy the records"                 },
        {"verify",           "Read both sides again and compare"},
        {"unmark",           "Take the marks away"              },
        {"rollback",         "Put the destination back"         },
    };
    return find(steps, sizeof steps / sizeof *steps, step);
}

const char *outcome_words(const char *outcome)
{
    static const struct pair outcomes[] = {
        {"done",        "done"                  },
        {"failed",      "failed"                },
        {"interrupted", "cut off before its end"},
        {"running",     "at work"               },
        {"undone",      "taken back"            },
    };
    return find(outcomes, sizeof outcomes / sizeof *outcomes, outcome);
}
