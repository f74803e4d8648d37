/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `sealed_keyring` driver: a keystore in a sealed archive of model "keyring". It is read whole and replaced whole
 * as MySQL's keystores are, and merges as they do; no server reads it.
 */
#include "driver.h"

#include "format.h"
#include "keyring.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MODEL "keyring"

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "FILE",
     .help = "the sealed keystore"},
    ARCHIVE_SEAL_OPTIONS,
    {.name = NULL},
};

/* --- reading --- */

/* A key-value store's archive is none of keys. */
static enum rh_status check_model(const struct archive_reader *reader, struct rh_error *err)
{
    const struct archive_head *head = &reader->head;
    const struct archive_dataset *only = &head->datasets[0], *ours = &archive_keyring_dataset;
    if (strcmp(head->model, MODEL) != 0) {
        rh_fail(err, RH_E_REFUSED, "it is of model '%s', and a keyring is of model '" MODEL "'",
                RH_SHOW(rh_bytes_text(head->model)));
        rh_error_hint(err, "move it to a store of the kind that it came from");
        return RH_E_REFUSED;
    }
    if (head->dataset_count == 1 && strcmp(only->name, ours->name) == 0 && only->field_count == ours->field_count &&
        only->fields[RH_KEYRING_TYPE].tags == ours->fields[RH_KEYRING_TYPE].tags &&
        only->fields[RH_KEYRING_DATA].tags == ours->fields[RH_KEYRING_DATA].tags)
        return RH_OK;
    return rh_fail(err, RH_E_REFUSED, "it has other datasets or fields than a keyring");
}

/* One record as a key of the set. */
static enum rh_status take_record(const struct rh_record *record, struct keyring_set *set, struct rh_error *err)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(record->key, &owner, &id) != RH_OK)
        return rh_fail(err, RH_E_CORRUPT, "a record's key is none of a keyring");
    const struct rh_bytes type = rh_arena_copy(&set->arena, record->fields[RH_KEYRING_TYPE].value);
    const struct rh_bytes data = rh_arena_copy(&set->arena, record->fields[RH_KEYRING_DATA].value);
    return type.data && data.data ? keyring_set_add(set, owner, id, type, data, err) : rh_fail_memory(err);
}

/* All records; the walk compares their number and sum at its end. */
static enum rh_status read_all(struct archive_reader *reader, struct keyring_set *set, struct rh_error *err)
{
    enum { BATCH_BYTES = 1024 * 1024 };
    struct rh_batch batch = {.arena = {.secret = true}};
    struct archive_walk walk = {0};
    struct archive_found found;
    enum rh_status status = archive_walk_open(&walk, reader, 0, (struct rh_bytes){0}, err);
    while (status == RH_OK && (status = archive_walk_next(&walk, &found, err)) == RH_OK) {
        if (batch.bytes > BATCH_BYTES)
            rh_batch_clear(&batch);
        status = archive_walk_take(&walk, &found, &batch, err);
        if (status == RH_OK)
            status = take_record(&batch.records[batch.count - 1], set, err);
    }
    archive_walk_done(&walk);
    rh_batch_done(&batch);
    return status == RH_END ? RH_OK : status;
}

static enum rh_status sealed_parse(const struct keyring_store *store,
                                   int fd,
                                   struct rh_bytes content,
                                   struct keyring_set *set,
                                   struct keyring_shape *ret_shape,
                                   struct rh_error *err)
{
    struct archive_reader *reader = NULL;
    (void)content;
    (void)ret_shape;
    if (lseek(fd, 0, SEEK_SET) != 0)
        return rh_fail_errno(err, errno, "reading the archive");
    enum rh_status status = archive_reader_open(store->provider, fd, &reader, err);
    if (status == RH_E_DENIED)
        rh_error_hint(err,
                      "give the key or passphrase that it was sealed with; 'rehome seal inspect FILE' tells the kind");
    if (status == RH_OK)
        status = check_model(reader, err);
    if (status == RH_OK)
        status = read_all(reader, set, err);
    archive_reader_free(reader);
    return status;
}

/* --- writing --- */

static int compare_entries(const void *a, const void *b)
{
    const struct keyring_entry *const *left = a, *const *right = b;
    return rh_bytes_compare((*left)->key, (*right)->key);
}

/* All keys, in the order of their names. */
static enum rh_status write_all(const struct keyring_store *store,
                                int fd,
                                const struct keyring_entry *const *sorted,
                                size_t count,
                                struct rh_error *err)
{
    struct archive_writer *writer = NULL;
    enum rh_status status =
        archive_writer_new(store->provider, fd, ARCHIVE_CHUNK, MODEL, &archive_keyring_dataset, 1, &writer, err);
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        struct rh_field fields[RH_KEYRING_FIELDS] = {
            [RH_KEYRING_TYPE] = {.tag = RH_TAG_TEXT,  .value = sorted[i]->type},
            [RH_KEYRING_DATA] = {.tag = RH_TAG_BYTES, .value = sorted[i]->data},
        };
        const struct rh_record record = {
            .key = sorted[i]->key,
            .fields = fields,
            .field_count = RH_KEYRING_FIELDS,
            .value_bytes = sorted[i]->type.size + sorted[i]->data.size,
        };
        status = archive_writer_put(writer, &record, err);
    }
    if (status == RH_OK)
        status = archive_writer_end(writer, err);
    archive_writer_free(writer);
    return status;
}

static enum rh_status sealed_compose(const struct keyring_store *store,
                                     int fd,
                                     const struct keyring_entry *entries,
                                     size_t count,
                                     const struct keyring_shape *shape,
                                     struct rh_error *err)
{
    (void)shape;
    rh_auto_free const struct keyring_entry **sorted = calloc(count ? count : 1, sizeof *sorted);
    if (!sorted)
        return rh_fail_memory(err);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &entries[i];
    qsort(sorted, count, sizeof *sorted, compare_entries);
    return write_all(store, fd, sorted, count, err);
}

static enum rh_status sealed_fits(const struct keyring_store *store,
                                  const struct keyring_shape *shape,
                                  struct rh_bytes owner,
                                  struct rh_bytes id,
                                  const struct rh_bytes *type,
                                  const struct rh_bytes *data,
                                  struct rh_error *err)
{
    (void)store;
    (void)shape;
    if (2 + owner.size + id.size > ARCHIVE_KEY_MOST)
        return rh_fail(err, RH_E_LIMIT, "its id and owner have %zu bytes, and an archive holds at most %d",
                       owner.size + id.size, ARCHIVE_KEY_MOST - 2);
    if (type && data && type->size + data->size > ARCHIVE_RECORD_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and an archive holds at most %d", data->size,
                       ARCHIVE_RECORD_MOST);
    return RH_OK;
}

static const struct keyring_format format = {
    .product = "sealed_keyring",
    .backup = KEYRING_BACKUP_NONE,
    .encrypted = true,
    .parse = sealed_parse,
    .compose = sealed_compose,
    .fits = sealed_fits,
};

static enum rh_status sealed_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct keyring_store *store = NULL;
    char *path = NULL;
    const char *given = rh_options_text(args->options, "path"), *place = rh_options_place(args->options, "path");
    if (given && strcmp(given, "-") == 0)
        return rh_fail(ctx->err, RH_E_PLAN, "%s: a sealed keystore is a file, not a pipe", place);
    enum rh_status status = keyring_path(given, place, &path, ctx->err);
    if (status == RH_OK)
        status = keyring_store_new(&rh_driver_sealed_keyring, &format, args->side, path, &store, ctx->err);
    if (status != RH_OK)
        return status;
    status = archive_provider(args->options, &store->provider, ctx->err);
    if (status != RH_OK) {
        keyring_close(&store->base);
        return status;
    }
    *ret_store = &store->base;
    return RH_OK;
}

const struct rh_driver rh_driver_sealed_keyring = {
    .name = "sealed_keyring",
    .summary = "a keyring in a sealed archive",
    .options = options,
    .open = sealed_open,
    .recognises = rh_seal_begins,
    KEYRING_DRIVER,
};
