/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an archive, at any place or from start to end: docs/formats/archive.md, "Reading". */
#include "format.h"

#include <rehome/base.h>

#include <stdlib.h>

enum { BEFORE_REST = 16, FOOTER_MOST = ARCHIVE_DATASETS_MOST * 48 + 12, BLOCK_HEAD = 10 };
/* a block's last entry may be a long one */
enum { BLOCK_MOST = ARCHIVE_BLOCK_BYTES + ARCHIVE_BLOCK_ENTRIES * (ARCHIVE_KEY_MOST + 20) };

static enum rh_status corrupt(struct rh_error *err, const char *what, uint64_t at)
{
    return rh_fail(err, RH_E_CORRUPT, "reading the archive: %s at %llu", what, (unsigned long long)at);
}

static void head_done(struct archive_head *head)
{
    for (uint32_t i = 0; head->datasets && i < head->dataset_count; i++) {
        for (uint32_t j = 0; head->datasets[i].fields && j < head->datasets[i].field_count; j++)
            free(head->datasets[i].fields[j].name);
        free(head->datasets[i].fields);
    }
    free(head->datasets);
    rh_wipe(&head->digest, sizeof head->digest);
}

void archive_reader_free(struct archive_reader *reader)
{
    if (!reader)
        return;
    archive_in_done(&reader->in);
    head_done(&reader->head);
    rh_buf_done(&reader->block);
    free(reader);
}

/* A text into an array; bounded, without NUL. */
static bool take_text(struct rh_cursor *cur, size_t least, size_t most, char *out)
{
    const struct rh_bytes text = rh_cursor_bytes32(cur);
    if (cur->bad || text.size < least || text.size > most || (text.size && memchr(text.data, 0, text.size)))
        return false;
    if (text.size)
        memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

/* One dataset's schema. */
static enum rh_status take_schema(struct rh_cursor *cur, struct archive_dataset *dataset, struct rh_error *err)
{
    if (!take_text(cur, 1, ARCHIVE_NAME_MOST, dataset->name))
        return corrupt(err, "a dataset's name isn't well-formed", 0);
    const uint32_t count = rh_cursor_u32be(cur);
    if (cur->bad || count > ARCHIVE_FIELDS_MOST || count > rh_cursor_left(cur))
        return corrupt(err, "a dataset's fields aren't well-formed", 0);
    dataset->fields = calloc(count ? count : 1, sizeof *dataset->fields);
    if (!dataset->fields)
        return rh_fail_memory(err);
    dataset->field_count = count;
    for (uint32_t i = 0; i < count; i++) {
        char name[ARCHIVE_FIELD_NAME_MOST + 1];
        dataset->fields[i].tags = rh_cursor_u8(cur);
        if (!take_text(cur, 0, ARCHIVE_FIELD_NAME_MOST, name) || dataset->fields[i].tags > 15)
            return corrupt(err, "a field isn't well-formed", 0);
        dataset->fields[i].name = strdup(name);
        if (!dataset->fields[i].name)
            return rh_fail_memory(err);
    }
    return RH_OK;
}

/* The head behind its size. */
static enum rh_status
parse_head(struct rh_cursor *cur, struct archive_head *head, uint64_t *ret_chunk, struct rh_error *err)
{
    *ret_chunk = rh_cursor_u32be(cur);
    head->begun_us = (int64_t)rh_cursor_u64be(cur);
    if (!take_text(cur, 0, ARCHIVE_MODEL_MOST, head->model) || !take_text(cur, 0, ARCHIVE_PROGRAM_MOST, head->program))
        return corrupt(err, "the head isn't well-formed", 0);
    const struct rh_bytes digest = rh_cursor_take(cur, sizeof head->digest.secret);
    const uint32_t count = rh_cursor_u32be(cur);
    if (cur->bad || count == 0 || count > ARCHIVE_DATASETS_MOST)
        return corrupt(err, "the head isn't well-formed", 0);
    memcpy(head->digest.secret, digest.data, sizeof head->digest.secret);
    head->digest.tidy = strcmp(head->model, "kv") != 0;
    head->datasets = calloc(count, sizeof *head->datasets);
    if (!head->datasets)
        return rh_fail_memory(err);
    head->dataset_count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum rh_status status = take_schema(cur, &head->datasets[i], err);
        if (status != RH_OK)
            return status;
    }
    return rh_cursor_done(cur) ? RH_OK : corrupt(err, "the head isn't well-formed", 0);
}

/* Reads and checks the head. */
static enum rh_status read_head(struct archive_reader *reader, int fd, struct rh_error *err)
{
    uint8_t start[BEFORE_REST];
    enum rh_status status = archive_in_read(&reader->in, 0, start, sizeof start, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(start, sizeof start));
    if (!rh_bytes_equal(rh_cursor_take(&cur, 8), rh_bytes(archive_head_magic, 8)))
        return corrupt(err, "the head isn't well-formed", 0);
    const uint32_t version = rh_cursor_u32be(&cur), size = rh_cursor_u32be(&cur);
    if (version != ARCHIVE_VERSION)
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: made by another version (format %u, known is %d)",
                       version, ARCHIVE_VERSION);
    if (size < BEFORE_REST + 4 || size > ARCHIVE_HEAD_MOST)
        return corrupt(err, "the head's size is out of bounds", 0);
    rh_auto_free uint8_t *rest = malloc(size - BEFORE_REST);
    if (!rest)
        return rh_fail_memory(err);
    /* the chunk size comes first in it, and what is read needs it */
    uint8_t word[4];
    status = archive_in_read(&reader->in, BEFORE_REST, word, sizeof word, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor first = rh_cursor(rh_bytes(word, sizeof word));
    status = archive_in_sized(&reader->in, fd, rh_cursor_u32be(&first), err);
    if (status == RH_OK)
        status = archive_in_read(&reader->in, BEFORE_REST, rest, size - BEFORE_REST, err);
    if (status != RH_OK)
        return status;
    uint64_t chunk;
    cur = rh_cursor(rh_bytes(rest, size - BEFORE_REST));
    status = parse_head(&cur, &reader->head, &chunk, err);
    rh_wipe(rest, size - BEFORE_REST);
    reader->items_at = size;
    return status;
}

/* The footer behind its size. */
static enum rh_status parse_footer(struct archive_reader *reader, struct rh_cursor *cur, struct rh_error *err)
{
    struct archive_head *head = &reader->head;
    uint64_t before = reader->items_at;
    head->ended_us = (int64_t)rh_cursor_u64be(cur);
    if (rh_cursor_u32be(cur) != head->dataset_count)
        return corrupt(err, "the footer doesn't match the head", reader->footer_at);
    for (uint32_t i = 0; i < head->dataset_count; i++) {
        struct archive_dataset *dataset = &head->datasets[i];
        dataset->opening = rh_cursor_u64be(cur);
        const enum rh_status status = rh_sum_decode(rh_cursor_take(cur, RH_SUM_BYTES), &dataset->sum);
        dataset->root = rh_cursor_u64be(cur);
        const bool bounded = i == 0 ? dataset->opening == before : dataset->opening > before;
        if (cur->bad || status != RH_OK || !bounded || dataset->opening >= reader->footer_at ||
            (dataset->root == 0) != (dataset->sum.count == 0) ||
            (dataset->root && (dataset->root <= dataset->opening || dataset->root >= reader->footer_at)))
            return corrupt(err, "the footer isn't well-formed", reader->footer_at);
        before = dataset->root ? dataset->root : dataset->opening;
    }
    return rh_cursor_done(cur) ? RH_OK : corrupt(err, "the footer isn't well-formed", reader->footer_at);
}

/* Footer and tail; footer_at is where the footer should be. */
static enum rh_status read_footer(struct archive_reader *reader, struct rh_error *err)
{
    uint8_t start[5], tail[ARCHIVE_TAIL];
    const uint64_t at = reader->footer_at;
    enum rh_status status = archive_in_read(&reader->in, at, start, sizeof start, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(start, sizeof start));
    const uint8_t kind = rh_cursor_u8(&cur);
    const uint32_t size = rh_cursor_u32be(&cur);
    if (kind != ARCHIVE_FOOTER || size > FOOTER_MOST)
        return corrupt(err, "the footer isn't well-formed", at);
    rh_auto_free uint8_t *rest = malloc(size + 1);
    if (!rest)
        return rh_fail_memory(err);
    status = archive_in_read(&reader->in, at + sizeof start, rest, size, err);
    if (status == RH_OK)
        status = archive_in_read(&reader->in, at + sizeof start + size, tail, sizeof tail, err);
    if (status != RH_OK)
        return status;
    const uint64_t end = at + sizeof start + size + sizeof tail;
    cur = rh_cursor(rh_bytes(tail, sizeof tail));
    const bool well = rh_cursor_u64be(&cur) == at && rh_cursor_u64be(&cur) == end &&
                      rh_bytes_equal(rh_cursor_take(&cur, 8), rh_bytes(archive_tail_magic, 8));
    bool ends = false;
    status = well ? archive_in_ends(&reader->in, end, &ends, err) : RH_OK;
    if (status == RH_OK && !ends)
        status = corrupt(err, "the tail isn't well-formed", end - sizeof tail);
    if (status != RH_OK)
        return status;
    cur = rh_cursor(rh_bytes(rest, size));
    return parse_footer(reader, &cur, err);
}

/* Where a file's tail says that the footer is. */
static enum rh_status find_footer(struct archive_reader *reader, struct rh_error *err)
{
    uint8_t word[8];
    const uint64_t size = reader->in.size;
    if (size < reader->items_at + ARCHIVE_TAIL)
        return corrupt(err, "there is no room for a tail", size);
    enum rh_status status = archive_in_read(&reader->in, size - ARCHIVE_TAIL, word, sizeof word, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(word, sizeof word));
    reader->footer_at = rh_cursor_u64be(&cur);
    if (reader->footer_at < reader->items_at || reader->footer_at > size - ARCHIVE_TAIL)
        return corrupt(err, "the tail isn't well-formed", size - ARCHIVE_TAIL);
    return read_footer(reader, err);
}

enum rh_status
archive_reader_open(struct rh_key_provider *provider, int fd, struct archive_reader **ret_reader, struct rh_error *err)
{
    struct archive_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return rh_fail_memory(err);
    enum rh_status status = archive_in_open(&reader->in, provider, fd, err);
    if (status == RH_OK)
        status = read_head(reader, fd, err);
    if (status == RH_OK && reader->in.seekable)
        status = find_footer(reader, err);
    if (status != RH_OK) {
        archive_reader_free(reader);
        return status;
    }
    *ret_reader = reader;
    return RH_OK;
}

/* --- the index --- */

struct entry {
    uint64_t offset, ordinal;
    struct rh_bytes key;
};

/* A block of the index into reader->block. */
static enum rh_status
read_block(struct archive_reader *reader, uint64_t at, unsigned *ret_level, uint32_t *ret_count, struct rh_error *err)
{
    uint8_t start[BLOCK_HEAD];
    enum rh_status status = archive_in_read(&reader->in, at, start, sizeof start, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(start, sizeof start));
    const uint8_t kind = rh_cursor_u8(&cur);
    *ret_level = rh_cursor_u8(&cur);
    *ret_count = rh_cursor_u32be(&cur);
    const uint32_t size = rh_cursor_u32be(&cur);
    if (kind != ARCHIVE_BLOCK || *ret_level >= ARCHIVE_LEVELS || *ret_count == 0 || size > BLOCK_MOST)
        return corrupt(err, "an index block isn't well-formed", at);
    rh_buf_clear(&reader->block);
    status = rh_buf_reserve(&reader->block, size, err);
    if (status == RH_OK)
        status = archive_in_read(&reader->in, at + sizeof start, reader->block.data, size, err);
    if (status == RH_OK)
        reader->block.size = size;
    return status;
}

/* The entry with the greatest key not above `key`, else the first. Its key lies in reader->block. */
static enum rh_status pick_entry(struct archive_reader *reader,
                                 uint64_t at,
                                 uint32_t count,
                                 struct rh_bytes key,
                                 struct entry *ret,
                                 struct rh_error *err)
{
    struct rh_cursor cur = rh_cursor(rh_buf_bytes(&reader->block));
    struct entry picked = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct entry entry = {
            .offset = rh_cursor_u64be(&cur), .ordinal = rh_cursor_u64be(&cur), .key = rh_cursor_bytes32(&cur)};
        if (cur.bad || entry.offset >= at || (i && rh_bytes_compare(picked.key, entry.key) >= 0))
            return corrupt(err, "an index block isn't well-formed", at);
        if (i && rh_bytes_compare(entry.key, key) > 0)
            break;
        picked = entry;
    }
    *ret = picked;
    return RH_OK;
}

/* The place of the last record that the index has at or before `key`. */
static enum rh_status seek(struct archive_walk *walk, struct rh_bytes key, struct rh_error *err)
{
    struct archive_reader *reader = walk->reader;
    uint64_t at = reader->head.datasets[walk->dataset].root;
    unsigned wanted = ARCHIVE_LEVELS;
    for (;;) {
        unsigned level = 0;
        uint32_t count = 0;
        struct entry entry = {0};
        enum rh_status status = read_block(reader, at, &level, &count, err);
        if (status == RH_OK && wanted != ARCHIVE_LEVELS && level != wanted)
            status = corrupt(err, "an index block is of another level", at);
        if (status == RH_OK)
            status = pick_entry(reader, at, count, key, &entry, err);
        if (status != RH_OK)
            return status;
        if (level == 0) {
            walk->at = entry.offset;
            walk->ordinal = entry.ordinal;
            walk->expects_key = true;
            rh_buf_clear(&walk->key);
            return rh_buf_add(&walk->key, entry.key.data, entry.key.size, err);
        }
        wanted = level - 1;
        at = entry.offset;
    }
}

/* --- walking --- */

/* Passes over a dataset's opening. */
static enum rh_status read_opening(struct archive_walk *walk, struct rh_error *err)
{
    uint8_t start[5];
    enum rh_status status = archive_in_read(&walk->reader->in, walk->at, start, sizeof start, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(start, sizeof start));
    if (rh_cursor_u8(&cur) != ARCHIVE_OPENING || rh_cursor_u32be(&cur) != walk->dataset)
        return corrupt(err, "a dataset's opening isn't well-formed", walk->at);
    walk->at += sizeof start;
    return RH_OK;
}

enum rh_status archive_walk_open(struct archive_walk *walk,
                                 struct archive_reader *reader,
                                 uint32_t dataset,
                                 struct rh_bytes key,
                                 struct rh_error *err)
{
    *walk = (struct archive_walk){.reader = reader, .dataset = dataset};
    const struct archive_dataset *of = &reader->head.datasets[dataset];
    if (reader->in.seekable && key.size && of->root)
        return seek(walk, key, err);
    walk->sums = true;
    walk->at = reader->in.seekable ? of->opening : reader->items_at;
    return read_opening(walk, err);
}

/* The dataset's end: number and sum must be the footer's. */
static enum rh_status walk_end(struct archive_walk *walk, uint8_t kind, struct rh_error *err)
{
    struct archive_reader *reader = walk->reader;
    const bool last = walk->dataset + 1 == reader->head.dataset_count;
    if (last != (kind == ARCHIVE_FOOTER) || (reader->in.seekable && last && walk->at != reader->footer_at))
        return corrupt(err, "the records end in a wrong place", walk->at);
    if (!reader->in.seekable && last) {
        reader->footer_at = walk->at;
        enum rh_status status = read_footer(reader, err);
        if (status != RH_OK)
            return status;
    }
    walk->ended = true;
    if (!reader->in.seekable && !last)
        return RH_END;
    const struct rh_sum *sum = &reader->head.datasets[walk->dataset].sum;
    if (walk->ordinal != sum->count || (walk->sums && !rh_sum_equal(&walk->sum, sum)))
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: its records aren't those that its footer counts");
    return RH_END;
}

/* A record's key and number of fields. */
static enum rh_status read_key(struct archive_walk *walk, struct archive_found *ret_found, struct rh_error *err)
{
    struct archive_in *in = &walk->reader->in;
    struct rh_buf *key = &walk->next_key;
    uint8_t word[4];
    enum rh_status status = archive_in_read(in, walk->at + 1, word, sizeof word, err);
    struct rh_cursor cur = rh_cursor(rh_bytes(word, sizeof word));
    const uint32_t size = status == RH_OK ? rh_cursor_u32be(&cur) : 0;
    if (status == RH_OK && (size == 0 || size > ARCHIVE_KEY_MOST))
        return corrupt(err, "a key's size is out of bounds", walk->at);
    rh_buf_clear(key);
    if (status == RH_OK)
        status = rh_buf_reserve(key, size, err);
    if (status == RH_OK)
        status = archive_in_read(in, walk->at + 5, key->data, size, err);
    if (status == RH_OK)
        status = archive_in_read(in, walk->at + 5 + size, word, sizeof word, err);
    if (status != RH_OK)
        return status;
    key->size = size;
    const int order = rh_bytes_compare(rh_buf_bytes(&walk->key), rh_buf_bytes(key));
    if (walk->expects_key ? order != 0 : order >= 0)
        return corrupt(err, "a key isn't where it belongs", walk->at);
    walk->expects_key = false;
    cur = rh_cursor(rh_bytes(word, sizeof word));
    ret_found->field_count = rh_cursor_u32be(&cur);
    ret_found->value_at = walk->at + 9 + size;
    if (ret_found->field_count != walk->reader->head.datasets[walk->dataset].field_count)
        return corrupt(err, "a record doesn't fit its schema", walk->at);
    const struct rh_buf last = walk->key;
    walk->key = *key;
    *key = last;
    return RH_OK;
}

enum rh_status archive_walk_next(struct archive_walk *walk, struct archive_found *ret_found, struct rh_error *err)
{
    while (!walk->ended) {
        uint8_t start[BLOCK_HEAD];
        enum rh_status status = archive_in_read(&walk->reader->in, walk->at, start, 1, err);
        if (status != RH_OK)
            return status;
        if (start[0] == ARCHIVE_RECORD)
            return read_key(walk, ret_found, err);
        if (start[0] == ARCHIVE_OPENING || start[0] == ARCHIVE_FOOTER)
            return walk_end(walk, start[0], err);
        if (start[0] == ARCHIVE_BLOCK)
            status = archive_in_read(&walk->reader->in, walk->at, start, sizeof start, err);
        else
            status = corrupt(err, "an item of unknown kind", walk->at);
        if (status != RH_OK)
            return status;
        struct rh_cursor cur = rh_cursor(rh_bytes(start + 6, 4));
        const uint32_t size = rh_cursor_u32be(&cur);
        if (size > BLOCK_MOST || walk->expects_key)
            return corrupt(err, "an index block isn't well-formed", walk->at);
        /* what lies in a pipe must be read, but chunk by chunk that happens by itself */
        walk->at += sizeof start + size;
    }
    return RH_END;
}

/* A field's tag and size. */
static enum rh_status read_field(struct archive_walk *walk,
                                 uint64_t at,
                                 uint32_t number,
                                 uint64_t before,
                                 enum rh_tag *ret_tag,
                                 uint64_t *ret_size,
                                 struct rh_error *err)
{
    uint8_t start[9];
    enum rh_status status = archive_in_read(&walk->reader->in, at, start, sizeof start, err);
    if (status != RH_OK)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(start, sizeof start));
    const uint8_t tag = rh_cursor_u8(&cur), tags = walk->reader->head.datasets[walk->dataset].fields[number].tags;
    *ret_size = rh_cursor_u64be(&cur);
    if (tag > RH_TAG_INTEGER || !(tags >> tag & 1) || *ret_size > ARCHIVE_RECORD_MOST - before ||
        (tag == RH_TAG_NULL && *ret_size))
        return corrupt(err, "a record doesn't fit its schema", at);
    *ret_tag = (enum rh_tag)tag;
    return RH_OK;
}

/* A value into the batch's arena. Of a pipe no more than what has come is believed. */
static enum rh_status take_value(struct archive_walk *walk,
                                 uint64_t at,
                                 size_t size,
                                 struct rh_arena *arena,
                                 struct rh_bytes *ret,
                                 struct rh_error *err)
{
    struct archive_in *in = &walk->reader->in;
    if (size == 0) {
        *ret = rh_bytes("", 0);
        return RH_OK;
    }
    if (at >= in->size || size > in->size - at)
        return corrupt(err, "something reaches behind the end", at);
    uint8_t *data = rh_arena_get(arena, size);
    if (!data)
        return rh_fail_memory(err);
    *ret = rh_bytes(data, size);
    return archive_in_read(in, at, data, size, err);
}

enum rh_status archive_walk_take(struct archive_walk *walk,
                                 const struct archive_found *found,
                                 struct rh_batch *batch,
                                 struct rh_error *err)
{
    const char *dataset = walk->reader->head.datasets[walk->dataset].name;
    struct rh_record *record = rh_batch_add(batch);
    struct rh_field *fields = rh_arena_get(&batch->arena, found->field_count * sizeof *fields);
    const struct rh_bytes key = rh_arena_copy(&batch->arena, rh_buf_bytes(&walk->key));
    if (!record || !fields || !key.data)
        return rh_fail_memory(err);
    uint64_t at = found->value_at, bytes = 0;
    for (uint32_t i = 0; i < found->field_count; i++) {
        uint64_t size;
        enum rh_status status = read_field(walk, at, i, bytes, &fields[i].tag, &size, err);
        if (status == RH_OK)
            status = take_value(walk, at + 9, (size_t)size, &batch->arena, &fields[i].value, err);
        if (status != RH_OK)
            return status;
        at += 9 + size;
        bytes += size;
    }
    *record = (struct rh_record){.key = key, .fields = fields, .field_count = found->field_count, .value_bytes = bytes};
    batch->bytes += key.size + bytes;
    if (walk->sums)
        rh_sum_add(&walk->sum, rh_digest_record(&walk->reader->head.digest, dataset, record), key.size + bytes);
    walk->at = at;
    walk->ordinal++;
    return RH_OK;
}

enum rh_status archive_walk_skip(struct archive_walk *walk,
                                 const struct archive_found *found,
                                 uint64_t *ret_bytes,
                                 struct rh_error *err)
{
    uint64_t at = found->value_at, bytes = 0;
    for (uint32_t i = 0; i < found->field_count; i++) {
        enum rh_tag tag;
        uint64_t size;
        enum rh_status status = read_field(walk, at, i, bytes, &tag, &size, err);
        if (status != RH_OK)
            return status;
        at += 9 + size;
        bytes += size;
    }
    walk->at = at;
    walk->ordinal++;
    walk->sums = false;
    *ret_bytes = bytes;
    return RH_OK;
}

void archive_walk_done(struct archive_walk *walk)
{
    rh_buf_done(&walk->key);
    rh_buf_done(&walk->next_key);
}
