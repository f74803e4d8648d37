/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index while it is written: one block under way for each level, whatever the number of records
 * (docs/formats/archive.md, "Items").
 */
#include "format.h"

static bool is_full(const struct archive_level *level)
{
    return level->entries.size >= ARCHIVE_BLOCK_BYTES && level->count >= ARCHIVE_BLOCK_ENTRIES;
}

/* Writes a level's block and empties it; *ret_offset is where it lies. */
static enum rh_status write_block(
    struct archive_level *level, unsigned number, struct archive_out *out, uint64_t *ret_offset, struct rh_error *err)
{
    rh_auto_buf struct rh_buf head = RH_BUF_INIT;
    *ret_offset = out->at;
    enum rh_status status = rh_buf_u8(&head, ARCHIVE_BLOCK, err);
    if (status == RH_OK)
        status = rh_buf_u8(&head, (uint8_t)number, err);
    if (status == RH_OK)
        status = rh_buf_u32be(&head, level->count, err);
    if (status == RH_OK)
        status = rh_buf_u32be(&head, (uint32_t)level->entries.size, err);
    if (status == RH_OK)
        status = archive_out_put(out, head.data, head.size, err);
    if (status == RH_OK)
        status = archive_out_put(out, level->entries.data, level->entries.size, err);
    rh_buf_clear(&level->entries);
    level->count = 0;
    return status;
}

/* Writes a block and names it one level up. */
static enum rh_status
push_block(struct archive_index *index, unsigned number, struct archive_out *out, struct rh_error *err)
{
    struct archive_level *level = &index->levels[number];
    uint64_t offset = 0;
    enum rh_status status = write_block(level, number, out, &offset, err);
    if (status != RH_OK)
        return status;
    return archive_index_add(index, out, number + 1, offset, level->first_ordinal, rh_buf_bytes(&level->first_key),
                             err);
}

enum rh_status archive_index_make_room(struct archive_index *index, struct archive_out *out, struct rh_error *err)
{
    return is_full(&index->levels[0]) ? push_block(index, 0, out, err) : RH_OK;
}

enum rh_status archive_index_add(struct archive_index *index,
                                 struct archive_out *out,
                                 unsigned number,
                                 uint64_t offset,
                                 uint64_t ordinal,
                                 struct rh_bytes key,
                                 struct rh_error *err)
{
    if (number >= ARCHIVE_LEVELS)
        return rh_fail(err, RH_E_LIMIT, "writing the archive: its index has too many levels");
    struct archive_level *level = &index->levels[number];
    /* an upper level writes its full block here; level 0 did so before the record's place was known */
    enum rh_status status = number > 0 && is_full(level) ? push_block(index, number, out, err) : RH_OK;
    if (status == RH_OK && level->count == 0) {
        level->first_ordinal = ordinal;
        rh_buf_clear(&level->first_key);
        status = rh_buf_add(&level->first_key, key.data, key.size, err);
    }
    if (status == RH_OK)
        status = rh_buf_u64be(&level->entries, offset, err);
    if (status == RH_OK)
        status = rh_buf_u64be(&level->entries, ordinal, err);
    if (status == RH_OK)
        status = rh_buf_bytes32(&level->entries, key, err);
    if (status != RH_OK)
        return status;
    level->count++;
    if (index->height <= number)
        index->height = number + 1;
    return RH_OK;
}

enum rh_status
archive_index_end(struct archive_index *index, struct archive_out *out, uint64_t *ret_root, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    *ret_root = 0;
    for (unsigned i = 0; status == RH_OK && i < index->height; i++) {
        if (i + 1 < index->height)
            status = push_block(index, i, out, err);
        else
            status = write_block(&index->levels[i], i, out, ret_root, err);
    }
    index->height = 0;
    return status;
}

void archive_index_done(struct archive_index *index)
{
    for (size_t i = 0; i < ARCHIVE_LEVELS; i++) {
        rh_buf_done(&index->levels[i].entries);
        rh_buf_done(&index->levels[i].first_key);
    }
}
