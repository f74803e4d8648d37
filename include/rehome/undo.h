/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The undo log of a move: before a batch is put to a store that commits by batch, one block says durably what its keys
 * held and the hash of what we are about to write. Blocks are frames of sealed segments (docs/formats/seal.md, "undo
 * segments") in the state folder; the journal holds the segments' names and how far they are known good. A resumed move
 * starts a new segment. Replayed backwards, block by block, the log gives back the first image of every key. Threads:
 * append may be called by several lanes at once.
 */
#ifndef REHOME_UNDO_H
#define REHOME_UNDO_H

#include <rehome/journal.h>
#include <rehome/seal.h>

struct rh_undo_entry {
    struct rh_bytes key;
    bool absent;             /* the key wasn't there */
    struct rh_field *fields; /* else what it held */
    uint32_t field_count;
    struct rh_hash hash; /* of what we are about to write; all zero: we are about to remove it */
};
struct rh_undo_block {
    uint64_t range, batch; /* range id (0: a repair), number of the batch within the range from 1 */
    const char *dataset;
    const struct rh_undo_entry *entries;
    size_t count;
};

struct rh_undo;
/* For writing; makes no file until the first append. journal and provider are borrowed until close. */
enum rh_status rh_undo_open(struct rh_journal *journal,
                            struct rh_key_provider *provider,
                            const char *move,
                            struct rh_undo **ret_undo,
                            struct rh_error *err) RH_MUST_USE;
/* Durable (fdatasync) when it returns. Not between begin and commit of the journal. The position goes to
 * rh_journal_segment_good together with the range's progress.
 */
struct rh_undo_position {
    uint64_t segment, bytes, frames;
};
enum rh_status rh_undo_append(struct rh_undo *undo,
                              const struct rh_undo_block *block,
                              struct rh_undo_position *ret_position,
                              struct rh_error *err) RH_MUST_USE;
void rh_undo_close(struct rh_undo *undo); /* ends the open segment with a last frame (best effort) */

/* Reads every whole block, newest first (`backwards`) or oldest first. A segment that is shorter than the journal knows
 * it, or damaged below that, is RH_E_CORRUPT; a torn frame after that point is what a crash leaves and is passed over.
 * The block's bytes are good during the callback. */
enum rh_status rh_undo_each(struct rh_journal *journal,
                            struct rh_key_provider *provider,
                            const char *move,
                            bool backwards,
                            enum rh_status (*each)(void *user, const struct rh_undo_block *block),
                            void *user,
                            struct rh_error *err) RH_MUST_USE;
/* Deletes the segments' files, then forgets them in the journal. */
enum rh_status rh_undo_forget(struct rh_journal *journal, const char *move, struct rh_error *err) RH_MUST_USE;

#endif
