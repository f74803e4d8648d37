/* SPDX-License-Identifier: Apache-2.0 */
/* Scans and single keys: records of a view, in the order of their names. */
#include "keyring.h"

#include <stdlib.h>

struct keyring_scan {
    struct rh_scan base;
    struct keyring_view *view;
    size_t at, end; /* places in the view's order */
    unsigned flags;
};

enum rh_status keyring_datasets(struct rh_ctx *ctx,
                                struct rh_session *session,
                                enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                                void *user)
{
    const struct rh_dataset dataset = {.name = RH_KEYRING_DATASET};
    (void)ctx;
    (void)session;
    return add(user, &dataset);
}

enum rh_status keyring_scan_view(struct rh_session *session,
                                 struct keyring_view *view,
                                 struct rh_range range,
                                 struct rh_bytes after,
                                 unsigned flags,
                                 struct rh_scan **ret_scan,
                                 struct rh_error *err)
{
    struct keyring_scan *scan = calloc(1, sizeof *scan);
    if (!scan) {
        keyring_view_drop(view);
        return rh_fail_memory(err);
    }
    scan->base.session = session;
    scan->flags = flags;
    scan->view = view;
    const struct keyring_set *set = &view->set;
    scan->at = keyring_set_from(set, range.from);
    scan->end = range.to.size ? keyring_set_from(set, range.to) : set->count;
    if (after.size) {
        size_t next = keyring_set_from(set, after);
        if (next < set->count && rh_bytes_equal(set->entries[set->order[next]].key, after))
            next++;
        scan->at = next > scan->at ? next : scan->at;
    }
    *ret_scan = &scan->base;
    return RH_OK;
}

static enum rh_status keyring_scan_open(struct rh_ctx *ctx,
                                        struct rh_session *session,
                                        const struct rh_dataset *dataset,
                                        struct rh_range range,
                                        struct rh_bytes after,
                                        unsigned flags,
                                        struct rh_scan **ret_scan)
{
    struct keyring_view *view = NULL;
    (void)dataset;
    enum rh_status status = keyring_view_get(keyring_store_of(session), false, &view, ctx->err);
    return status == RH_OK ? keyring_scan_view(session, view, range, after, flags, ret_scan, ctx->err) : status;
}

void keyring_scan_close(struct rh_scan *base)
{
    struct keyring_scan *scan = (struct keyring_scan *)base;
    if (!scan)
        return;
    keyring_view_drop(scan->view);
    free(scan);
}

enum rh_status
keyring_record_add(struct rh_batch *batch, const struct keyring_entry *entry, bool keys_only, struct rh_error *err)
{
    if (!batch->arena.head)
        batch->arena.secret = true;
    const size_t name = entry->key.size, type = keys_only ? 0 : entry->type.size,
                 data = keys_only ? 0 : entry->data.size;
    const size_t fields_size = keys_only ? 0 : RH_KEYRING_FIELDS * sizeof(struct rh_field);
    uint8_t *piece = rh_arena_get(&batch->arena, fields_size + name + type + data);
    struct rh_record *record = piece ? rh_batch_add(batch) : NULL;
    if (!record)
        return rh_fail_memory(err);
    uint8_t *at = piece + fields_size;
    memcpy(at, entry->key.data, name);
    record->key = rh_bytes(at, name);
    record->value_bytes = entry->type.size + entry->data.size;
    batch->bytes += name + record->value_bytes;
    if (keys_only)
        return RH_OK;
    if (type)
        memcpy(at + name, entry->type.data, type);
    if (data)
        memcpy(at + name + type, entry->data.data, data);
    struct rh_field *fields = (struct rh_field *)(void *)piece;
    fields[RH_KEYRING_TYPE] = (struct rh_field){.tag = RH_TAG_TEXT, .value = rh_bytes(at + name, type)};
    fields[RH_KEYRING_DATA] = (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_bytes(at + name + type, data)};
    record->fields = fields;
    record->field_count = RH_KEYRING_FIELDS;
    return RH_OK;
}

enum rh_status keyring_scan_next(
    struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct keyring_scan *scan = (struct keyring_scan *)base;
    const struct keyring_set *set = &scan->view->set;
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK && scan->at >= scan->end)
        return RH_END;
    while (status == RH_OK && scan->at < scan->end && batch->count < want_records &&
           (batch->count == 0 || batch->bytes < want_bytes)) {
        status =
            keyring_record_add(batch, &set->entries[set->order[scan->at]], scan->flags & RH_SCAN_KEYS_ONLY, ctx->err);
        scan->at++;
    }
    return status;
}

enum rh_status keyring_get_view(
    struct keyring_view *view, const struct rh_bytes *keys, size_t count, struct rh_batch *out, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count && !rh_batch_has_enough(out); i++) {
        const struct keyring_entry *entry = keyring_set_find(&view->set, keys[i]);
        if (entry)
            status = keyring_record_add(out, entry, false, err);
    }
    keyring_view_drop(view);
    return status;
}

static enum rh_status keyring_get(struct rh_ctx *ctx,
                                  struct rh_session *session,
                                  const struct rh_dataset *dataset,
                                  const struct rh_bytes *keys,
                                  size_t count,
                                  struct rh_batch *out)
{
    struct keyring_view *view = NULL;
    (void)dataset;
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK)
        status = keyring_view_get(keyring_store_of(session), false, &view, ctx->err);
    return status == RH_OK ? keyring_get_view(view, keys, count, out, ctx->err) : status;
}

const struct rh_read_ops keyring_read_ops = {
    .datasets = keyring_datasets,
    .scan_open = keyring_scan_open,
    .scan_next = keyring_scan_next,
    .scan_close = keyring_scan_close,
    .get = keyring_get,
};
