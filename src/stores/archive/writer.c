/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an archive from its start to its end: docs/formats/archive.md, "Head", "Items", "Footer", "Tail". */
#include "format.h"

#include <rehome/base.h>

#include <stdlib.h>

static struct archive_field kv_fields[] = {
    {.tags = 1 << RH_TAG_NULL | 1 << RH_TAG_BYTES, .name = (char *)(uintptr_t) "value"},
};
const struct archive_dataset archive_kv_dataset = {.name = "kv", .fields = kv_fields, .field_count = 1};
static struct archive_field keyring_fields[] = {
    {.tags = 1 << RH_TAG_TEXT,  .name = (char *)(uintptr_t) "type"},
    {.tags = 1 << RH_TAG_BYTES, .name = (char *)(uintptr_t) "data"},
};
const struct archive_dataset archive_keyring_dataset = {.name = "keyring", .fields = keyring_fields, .field_count = 2};

struct closed { /* what the footer says of a dataset */
    uint64_t opening, root;
    struct rh_sum sum;
};

struct archive_writer {
    struct archive_out out;
    struct archive_index index;
    struct rh_digest_key digest;
    const struct archive_dataset *datasets;
    struct closed *closed;
    uint32_t dataset_count, dataset;
    uint64_t marked; /* number + 1 of the last chunk in which a record of the dataset begins; 0: none */
    struct rh_buf key, head;
};

/* Appends a dataset's schema. */
static enum rh_status put_schema(struct rh_buf *buf, const struct archive_dataset *dataset, struct rh_error *err)
{
    enum rh_status status = rh_buf_bytes32(buf, rh_bytes_text(dataset->name), err);
    if (status == RH_OK)
        status = rh_buf_u32be(buf, dataset->field_count, err);
    for (uint32_t i = 0; status == RH_OK && i < dataset->field_count; i++) {
        status = rh_buf_u8(buf, dataset->fields[i].tags, err);
        if (status == RH_OK)
            status = rh_buf_bytes32(buf, rh_bytes_text(dataset->fields[i].name), err);
    }
    return status;
}

/* The head's bytes behind its size. */
static enum rh_status
put_head_rest(struct archive_writer *writer, const char *model, struct rh_buf *buf, struct rh_error *err)
{
    enum rh_status status = rh_buf_u32be(buf, (uint32_t)writer->out.chunk_size, err);
    if (status == RH_OK)
        status = rh_buf_u64be(buf, (uint64_t)rh_utc_us(), err);
    if (status == RH_OK)
        status = rh_buf_bytes32(buf, rh_bytes_text(model), err);
    if (status == RH_OK)
        status = rh_buf_bytes32(buf, rh_bytes_text("rehome " RH_VERSION), err);
    if (status == RH_OK)
        status = rh_buf_add(buf, writer->digest.secret, sizeof writer->digest.secret, err);
    if (status == RH_OK)
        status = rh_buf_u32be(buf, writer->dataset_count, err);
    for (uint32_t i = 0; status == RH_OK && i < writer->dataset_count; i++)
        status = put_schema(buf, &writer->datasets[i], err);
    return status;
}

static enum rh_status write_head(struct archive_writer *writer, const char *model, struct rh_error *err)
{
    enum { BEFORE_REST = 16 };
    rh_auto_buf struct rh_buf rest = rh_buf_limited(ARCHIVE_HEAD_MOST - BEFORE_REST), head = RH_BUF_INIT;
    enum rh_status status = put_head_rest(writer, model, &rest, err);
    if (status == RH_OK)
        status = rh_buf_add(&head, archive_head_magic, sizeof archive_head_magic, err);
    if (status == RH_OK)
        status = rh_buf_u32be(&head, ARCHIVE_VERSION, err);
    if (status == RH_OK)
        status = rh_buf_u32be(&head, (uint32_t)(BEFORE_REST + rest.size), err);
    if (status == RH_OK)
        status = archive_out_put(&writer->out, head.data, head.size, err);
    if (status == RH_OK)
        status = archive_out_put(&writer->out, rest.data, rest.size, err);
    if (rest.data)
        rh_wipe(rest.data, rest.size);
    return status;
}

/* A dataset's opening. */
static enum rh_status write_opening(struct archive_writer *writer, struct rh_error *err)
{
    rh_buf_clear(&writer->head);
    rh_buf_clear(&writer->key);
    writer->marked = 0;
    writer->closed[writer->dataset].opening = writer->out.at;
    enum rh_status status = rh_buf_u8(&writer->head, ARCHIVE_OPENING, err);
    if (status == RH_OK)
        status = rh_buf_u32be(&writer->head, writer->dataset, err);
    return status == RH_OK ? archive_out_put(&writer->out, writer->head.data, writer->head.size, err) : status;
}

enum rh_status archive_writer_new(struct rh_key_provider *provider,
                                  int fd,
                                  size_t chunk_size,
                                  const char *model,
                                  const struct archive_dataset *datasets,
                                  uint32_t dataset_count,
                                  struct archive_writer **ret_writer,
                                  struct rh_error *err)
{
    struct archive_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return rh_fail_memory(err);
    writer->datasets = datasets;
    writer->dataset_count = dataset_count;
    writer->closed = calloc(dataset_count, sizeof *writer->closed);
    enum rh_status status = writer->closed ? rh_digest_key_new(&writer->digest, err) : rh_fail_memory(err);
    writer->digest.tidy = strcmp(model, "kv") != 0;
    if (status == RH_OK)
        status = archive_out_open(&writer->out, provider, fd, chunk_size, err);
    if (status == RH_OK)
        status = write_head(writer, model, err);
    if (status == RH_OK)
        status = write_opening(writer, err);
    if (status != RH_OK) {
        archive_writer_free(writer);
        return status;
    }
    *ret_writer = writer;
    return RH_OK;
}

void archive_writer_free(struct archive_writer *writer)
{
    if (!writer)
        return;
    archive_out_done(&writer->out);
    archive_index_done(&writer->index);
    rh_buf_done(&writer->key);
    rh_buf_done(&writer->head);
    rh_wipe(&writer->digest, sizeof writer->digest);
    free(writer->closed);
    free(writer);
}

/* Whether a record is one of its dataset's schema, within the format's bounds. */
static enum rh_status
check_record(const struct archive_writer *writer, const struct rh_record *record, struct rh_error *err)
{
    const struct archive_dataset *dataset = &writer->datasets[writer->dataset];
    uint64_t bytes = 0;
    bool fits =
        record->key.size > 0 && record->key.size <= ARCHIVE_KEY_MOST && record->field_count == dataset->field_count;
    for (uint32_t i = 0; fits && i < record->field_count; i++) {
        const struct rh_field *field = &record->fields[i];
        bytes += field->value.size;
        fits = (dataset->fields[i].tags >> field->tag & 1) && bytes <= ARCHIVE_RECORD_MOST &&
               (field->tag != RH_TAG_NULL || field->value.size == 0);
    }
    if (!fits)
        return rh_fail(err, RH_E_LIMIT, "writing the archive: %s isn't a record that it can hold",
                       RH_SHOW(record->key));
    const bool first = writer->closed[writer->dataset].sum.count == 0;
    if (!first && rh_bytes_compare(rh_buf_bytes(&writer->key), record->key) >= 0)
        return rh_fail(err, RH_E_INTERNAL, "writing the archive: %s doesn't come after the key before it",
                       RH_SHOW(record->key));
    return RH_OK;
}

/* An index entry for a record that is the first to begin in its chunk. */
static enum rh_status mark_chunk(struct archive_writer *writer, const struct rh_record *record, struct rh_error *err)
{
    struct archive_out *out = &writer->out;
    if (writer->marked == out->at / out->chunk_size + 1)
        return RH_OK;
    enum rh_status status = archive_index_make_room(&writer->index, out, err);
    if (status != RH_OK)
        return status;
    writer->marked = out->at / out->chunk_size + 1;
    return archive_index_add(&writer->index, out, 0, out->at, writer->closed[writer->dataset].sum.count, record->key,
                             err);
}

/* The record's bytes; small things go through one buffer, values straight into the chunk. */
static enum rh_status put_record(struct archive_writer *writer, const struct rh_record *record, struct rh_error *err)
{
    struct rh_buf *head = &writer->head;
    rh_buf_clear(head);
    enum rh_status status = rh_buf_u8(head, ARCHIVE_RECORD, err);
    if (status == RH_OK)
        status = rh_buf_bytes32(head, record->key, err);
    if (status == RH_OK)
        status = rh_buf_u32be(head, record->field_count, err);
    for (uint32_t i = 0; status == RH_OK && i < record->field_count; i++) {
        const struct rh_field *field = &record->fields[i];
        status = rh_buf_u8(head, (uint8_t)field->tag, err);
        if (status == RH_OK)
            status = rh_buf_u64be(head, field->value.size, err);
        if (status == RH_OK)
            status = archive_out_put(&writer->out, head->data, head->size, err);
        if (status == RH_OK)
            status = archive_out_put(&writer->out, field->value.data, field->value.size, err);
        rh_buf_clear(head);
    }
    return status == RH_OK ? archive_out_put(&writer->out, head->data, head->size, err) : status;
}

enum rh_status archive_writer_put(struct archive_writer *writer, const struct rh_record *record, struct rh_error *err)
{
    struct closed *closed = &writer->closed[writer->dataset];
    enum rh_status status = check_record(writer, record, err);
    if (status == RH_OK)
        status = mark_chunk(writer, record, err);
    if (status == RH_OK)
        status = put_record(writer, record, err);
    if (status != RH_OK)
        return status;
    rh_buf_clear(&writer->key);
    status = rh_buf_add(&writer->key, record->key.data, record->key.size, err);
    if (status != RH_OK)
        return status;
    uint64_t bytes = record->key.size;
    for (uint32_t i = 0; i < record->field_count; i++)
        bytes += record->fields[i].value.size;
    rh_sum_add(&closed->sum, rh_digest_record(&writer->digest, writer->datasets[writer->dataset].name, record), bytes);
    return RH_OK;
}

/* The dataset's index. */
static enum rh_status close_dataset(struct archive_writer *writer, struct rh_error *err)
{
    return archive_index_end(&writer->index, &writer->out, &writer->closed[writer->dataset].root, err);
}

enum rh_status archive_writer_next(struct archive_writer *writer, struct rh_error *err)
{
    enum rh_status status = close_dataset(writer, err);
    if (status == RH_OK && writer->dataset + 1 == writer->dataset_count)
        return rh_fail(err, RH_E_INTERNAL, "writing the archive: it has no more datasets");
    writer->dataset++;
    return status == RH_OK ? write_opening(writer, err) : status;
}

const struct rh_sum *archive_writer_sum(const struct archive_writer *writer)
{
    return &writer->closed[writer->dataset].sum;
}

/* The footer's bytes behind its size. */
static enum rh_status put_footer_rest(const struct archive_writer *writer, struct rh_buf *buf, struct rh_error *err)
{
    enum rh_status status = rh_buf_u64be(buf, (uint64_t)rh_utc_us(), err);
    if (status == RH_OK)
        status = rh_buf_u32be(buf, writer->dataset_count, err);
    for (uint32_t i = 0; status == RH_OK && i < writer->dataset_count; i++) {
        uint8_t sum[RH_SUM_BYTES];
        rh_sum_encode(&writer->closed[i].sum, sum);
        status = rh_buf_u64be(buf, writer->closed[i].opening, err);
        if (status == RH_OK)
            status = rh_buf_add(buf, sum, sizeof sum, err);
        if (status == RH_OK)
            status = rh_buf_u64be(buf, writer->closed[i].root, err);
    }
    return status;
}

enum rh_status archive_writer_end(struct archive_writer *writer, struct rh_error *err)
{
    rh_auto_buf struct rh_buf rest = RH_BUF_INIT, ends = RH_BUF_INIT;
    struct archive_out *out = &writer->out;
    if (writer->dataset + 1 != writer->dataset_count)
        return rh_fail(err, RH_E_INTERNAL, "writing the archive: datasets are missing");
    enum rh_status status = close_dataset(writer, err);
    const uint64_t footer_at = out->at;
    if (status == RH_OK)
        status = put_footer_rest(writer, &rest, err);
    if (status == RH_OK)
        status = rh_buf_u8(&ends, ARCHIVE_FOOTER, err);
    if (status == RH_OK)
        status = rh_buf_bytes32(&ends, rh_buf_bytes(&rest), err);
    if (status == RH_OK)
        status = rh_buf_u64be(&ends, footer_at, err);
    if (status == RH_OK)
        status = rh_buf_u64be(&ends, footer_at + 5 + rest.size + ARCHIVE_TAIL, err);
    if (status == RH_OK)
        status = rh_buf_add(&ends, archive_tail_magic, sizeof archive_tail_magic, err);
    if (status == RH_OK)
        status = archive_out_put(out, ends.data, ends.size, err);
    return status == RH_OK ? archive_out_end(out, err) : status;
}

enum rh_status archive_proof(uint64_t size,
                             const uint8_t hash[static RH_SEAL_FILE_HASH_BYTES],
                             struct rh_buf *ret_proof,
                             struct rh_error *err)
{
    rh_buf_clear(ret_proof);
    enum rh_status status = rh_buf_format(ret_proof, err, "%llu:", (unsigned long long)size);
    return status == RH_OK ? rh_hex_add(ret_proof, rh_bytes(hash, RH_SEAL_FILE_HASH_BYTES), err) : status;
}

enum rh_status archive_writer_proof(struct archive_writer *writer, struct rh_buf *ret_proof, struct rh_error *err)
{
    uint8_t hash[RH_SEAL_FILE_HASH_BYTES];
    enum rh_status status = rh_seal_writer_hashed(writer->out.seal, hash, err);
    return status == RH_OK ? archive_proof(rh_seal_writer_size(writer->out.seal), hash, ret_proof, err) : status;
}
