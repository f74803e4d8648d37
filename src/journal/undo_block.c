/* SPDX-License-Identifier: Apache-2.0 */
/* The plain bytes of one undo block; layout: docs/formats/journal.md, "Undo segments". There is one encoding of a
 * block: what the decoder takes, the encoder would write the same. */
#include "internal.h"

#define BLOCK_VERSION 1
#define FIELD_LEAST 5  /* tag, length */
#define ENTRY_LEAST 21 /* key length, image, hash */
#define DATASET_MAX (sizeof(((struct rh_range_state *)0)->dataset) - 1)

/* Bytes of an entry, SIZE_MAX when that doesn't fit a number. */
static size_t entry_bytes(const struct rh_undo_entry *entry)
{
    size_t total = ENTRY_LEAST;
    bool over = entry->key.size > UINT32_MAX || __builtin_add_overflow(total, entry->key.size, &total);
    if (!entry->absent) {
        total += 4;
        for (uint32_t i = 0; i < entry->field_count; i++) {
            over |= entry->fields[i].value.size > UINT32_MAX;
            over |= __builtin_add_overflow(total, entry->fields[i].value.size + FIELD_LEAST, &total);
        }
    }
    return over ? SIZE_MAX : total;
}

/* How many entries from `first` fit `limit` bytes, and what they take. */
static size_t
count_fitting(const struct rh_undo_block *block, size_t first, size_t head, size_t limit, size_t *ret_bytes)
{
    size_t total = head, count = 0;
    for (size_t i = first; i < block->count && count < UINT32_MAX; i++, count++) {
        size_t more = entry_bytes(&block->entries[i]);
        if (more > limit || total > limit - more)
            break;
        total += more;
    }
    *ret_bytes = total;
    return count;
}

/* One entry. The room is reserved: nothing here can fail but for a bad tag. */
static enum rh_status entry_encode(const struct rh_undo_entry *entry, struct rh_buf *buf, struct rh_error *err)
{
    enum rh_status status = rh_buf_bytes32(buf, entry->key, err);
    if (status == RH_OK)
        status = rh_buf_u8(buf, entry->absent ? 0 : 1, err);
    if (status == RH_OK && !entry->absent) {
        status = rh_buf_u32be(buf, entry->field_count, err);
        for (uint32_t i = 0; i < entry->field_count && status == RH_OK; i++) {
            const struct rh_field *field = &entry->fields[i];
            if ((unsigned)field->tag > RH_TAG_INTEGER || (field->tag == RH_TAG_NULL && field->value.size > 0))
                return rh_fail(err, RH_E_INTERNAL, "write an undo block: a field of key '%s' is malformed",
                               RH_SHOW(entry->key));
            status = rh_buf_u8(buf, (uint8_t)field->tag, err);
            if (status == RH_OK)
                status = rh_buf_bytes32(buf, field->value, err);
        }
    }
    if (status == RH_OK)
        status = rh_buf_u64be(buf, entry->hash.high, err);
    if (status == RH_OK)
        status = rh_buf_u64be(buf, entry->hash.low, err);
    return status;
}

enum rh_status rh_undo_block_encode(const struct rh_undo_block *block,
                                    size_t first,
                                    size_t limit,
                                    struct rh_buf *buf,
                                    size_t *ret_taken,
                                    struct rh_error *err)
{
    struct rh_bytes dataset = rh_bytes_text(block->dataset);
    size_t head = 1 + 8 + 8 + 4 + dataset.size + 4, total = 0;
    if (dataset.size > DATASET_MAX)
        return rh_fail(err, RH_E_LIMIT, "write an undo block: the name of dataset '%s' is longer than %zu bytes",
                       RH_SHOW(dataset), DATASET_MAX);
    size_t count = count_fitting(block, first, head, limit, &total);
    if (count == 0 && first < block->count)
        return rh_fail(err, RH_E_LIMIT, "write an undo block: what key '%s' held is larger than %zu bytes",
                       RH_SHOW(block->entries[first].key), limit);
    enum rh_status status = rh_buf_reserve(buf, total, err);
    if (status == RH_OK)
        status = rh_buf_u8(buf, BLOCK_VERSION, err);
    if (status == RH_OK)
        status = rh_buf_u64be(buf, block->range, err);
    if (status == RH_OK)
        status = rh_buf_u64be(buf, block->batch, err);
    if (status == RH_OK)
        status = rh_buf_bytes32(buf, dataset, err);
    if (status == RH_OK)
        status = rh_buf_u32be(buf, (uint32_t)count, err);
    for (size_t i = 0; i < count && status == RH_OK; i++)
        status = entry_encode(&block->entries[first + i], buf, err);
    if (status == RH_OK)
        *ret_taken = count;
    return status;
}

/* The fields of an image; false when they break the format. */
static bool fields_decode(struct rh_cursor *cur, struct rh_arena *arena, struct rh_undo_entry *entry, bool *ret_memory)
{
    uint32_t count = rh_cursor_u32be(cur);
    if (cur->bad || count > rh_cursor_left(cur) / FIELD_LEAST)
        return false;
    entry->fields = rh_arena_get(arena, count * sizeof(struct rh_field));
    if (entry->fields == NULL)
        return *ret_memory = false;
    entry->field_count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t tag = rh_cursor_u8(cur);
        struct rh_bytes value = rh_cursor_bytes32(cur);
        if (cur->bad || tag > RH_TAG_INTEGER || (tag == RH_TAG_NULL && value.size > 0))
            return false;
        entry->fields[i] = (struct rh_field){.tag = (enum rh_tag)tag, .value = value};
    }
    return true;
}

/* One entry; false when it breaks the format. */
static bool entry_decode(struct rh_cursor *cur, struct rh_arena *arena, struct rh_undo_entry *entry, bool *ret_memory)
{
    *entry = (struct rh_undo_entry){.key = rh_cursor_bytes32(cur)};
    uint8_t image = rh_cursor_u8(cur);
    if (cur->bad || image > 1)
        return false;
    entry->absent = image == 0;
    if (image == 1 && !fields_decode(cur, arena, entry, ret_memory))
        return false;
    entry->hash.high = rh_cursor_u64be(cur);
    entry->hash.low = rh_cursor_u64be(cur);
    return !cur->bad;
}

enum rh_status rh_undo_block_decode(struct rh_bytes plain,
                                    struct rh_arena *arena,
                                    struct rh_undo_block *ret_block,
                                    struct rh_error *err)
{
    struct rh_cursor cur = rh_cursor(plain);
    uint8_t version = rh_cursor_u8(&cur);
    struct rh_undo_block block = {.range = rh_cursor_u64be(&cur), .batch = rh_cursor_u64be(&cur)};
    struct rh_bytes dataset = rh_cursor_bytes32(&cur);
    uint32_t count = rh_cursor_u32be(&cur);
    bool good = !cur.bad && version == BLOCK_VERSION && dataset.size <= DATASET_MAX &&
                (dataset.size == 0 || memchr(dataset.data, 0, dataset.size) == NULL) &&
                count <= rh_cursor_left(&cur) / ENTRY_LEAST;
    if (!good)
        return rh_fail(err, RH_E_CORRUPT, "read an undo block: it is malformed (version %u)", version);
    char *name = rh_arena_get(arena, dataset.size + 1);
    struct rh_undo_entry *entries = rh_arena_get(arena, count * sizeof(struct rh_undo_entry));
    if (name == NULL || entries == NULL)
        return rh_fail_memory(err);
    if (dataset.size > 0)
        memcpy(name, dataset.data, dataset.size);
    name[dataset.size] = '\0';
    bool memory = true;
    for (uint32_t i = 0; i < count && good; i++)
        good = entry_decode(&cur, arena, &entries[i], &memory);
    if (!memory)
        return rh_fail_memory(err);
    if (!good || !rh_cursor_done(&cur))
        return rh_fail(err, RH_E_CORRUPT, "read an undo block: its entries are malformed");
    block.dataset = name;
    block.entries = entries;
    block.count = count;
    *ret_block = block;
    return RH_OK;
}
