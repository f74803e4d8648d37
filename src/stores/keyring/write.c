/* SPDX-License-Identifier: Apache-2.0 */
/* The unit of writing: the keystore's keys and ours, in memory until the commit. And the trial of keys before it. */
#include "names.h"

#include <rehome/base.h>

#include <assert.h>
#include <stdlib.h>

/* Owner, id, type and data of a record. */
struct parts {
    struct rh_bytes owner, id, type, data;
};

static enum rh_status take_apart(const struct rh_record *record, struct parts *ret_parts, struct rh_error *err)
{
    if (rh_keyring_key_split(record->key, &ret_parts->owner, &ret_parts->id) != RH_OK)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    if (record->field_count != RH_KEYRING_FIELDS || record->fields[RH_KEYRING_TYPE].tag != RH_TAG_TEXT ||
        record->fields[RH_KEYRING_DATA].tag != RH_TAG_BYTES)
        return rh_fail(err, RH_E_LIMIT, "it has other fields than a key's type and bytes");
    ret_parts->type = record->fields[RH_KEYRING_TYPE].value;
    ret_parts->data = record->fields[RH_KEYRING_DATA].value;
    return RH_OK;
}

/* Whether the format holds this record. */
static enum rh_status record_fits(const struct keyring_store *store,
                                  const struct keyring_view *view,
                                  const struct rh_record *record,
                                  struct rh_error *err)
{
    struct parts parts;
    enum rh_status status = take_apart(record, &parts, err);
    if (status != RH_OK)
        return status;
    const struct keyring_shape *shape = view->speaks == KEYRING_NOBODY ? &store->fresh : &view->shape;
    return store->format->fits(store, shape, parts.owner, parts.id, &parts.type, &parts.data, err);
}

enum rh_status keyring_fits(struct rh_store *base,
                            const struct rh_dataset *dataset,
                            struct rh_bytes key,
                            uint64_t value_bytes,
                            struct rh_buf *ret_rival,
                            struct rh_error *err)
{
    const struct keyring_store *store = (struct keyring_store *)base;
    struct rh_bytes owner, id;
    (void)dataset;
    (void)ret_rival;
    (void)value_bytes;
    if (rh_keyring_key_split(key, &owner, &id) != RH_OK)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    return store->format->fits(store, &store->fresh, owner, id, NULL, NULL, err);
}

/* --- the trial --- */

static void trial_end(struct keyring_session *session)
{
    keyring_view_drop(session->trial);
    session->trial = NULL;
    keyring_names_free(session->trial_names);
    session->trial_names = NULL;
}

static enum rh_status keyring_trial(struct rh_ctx *ctx,
                                    struct rh_session *base,
                                    const struct rh_dataset *dataset,
                                    const struct rh_record *record)
{
    struct keyring_session *session = (struct keyring_session *)base;
    struct keyring_store *store = keyring_store_of(base);
    (void)dataset;
    if (!record) {
        trial_end(session);
        enum rh_status status = keyring_view_get(store, false, &session->trial, ctx->err);
        if (status == RH_OK)
            status = keyring_names_new(store->format, &session->trial->set, &session->trial_names, ctx->err);
        return status;
    }
    if (!session->trial)
        return rh_fail(ctx->err, RH_E_INTERNAL, "trying a key: not begun");
    enum rh_status status = record_fits(store, session->trial, record, ctx->err);
    return status == RH_OK ? keyring_names_add(session->trial_names, record->key, ctx->err) : status;
}

/* --- the unit --- */

void keyring_abort(struct rh_session *base)
{
    struct keyring_session *session = (struct keyring_session *)base;
    const struct keyring_place *place = &keyring_store_of(base)->place;
    rh_partial_drop(place->folder, place->partial, &session->partial);
    keyring_set_done(&session->next);
    keyring_view_drop(session->from);
    session->from = NULL;
    keyring_names_free(session->names);
    session->names = NULL;
    session->kept = 0;
    session->digest = NULL;
    session->begun = session->composed = false;
}

void keyring_session_close(struct rh_session *base)
{
    struct keyring_session *session = (struct keyring_session *)base;
    if (!session)
        return;
    keyring_abort(base);
    trial_end(session);
    free(session);
}

/* Under the lock that the partial file is, what stands is read anew. */
static enum rh_status keyring_begin(struct rh_ctx *ctx,
                                    struct rh_session *base,
                                    const struct rh_dataset *dataset,
                                    const struct rh_digest_key *digest)
{
    struct keyring_session *session = (struct keyring_session *)base;
    struct keyring_store *store = keyring_store_of(base);
    (void)dataset;
    if (session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the keystore: begun twice");
    session->begun = true;
    session->digest = digest;
    rh_crash_point("keystore");
    enum rh_status status = rh_partial_make(store->place.folder, store->place.partial, &session->partial, ctx->err);
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = keyring_view_get(store, true, &session->from, ctx->err);
    const struct keyring_set *set = status == RH_OK ? &session->from->set : NULL;
    for (size_t i = 0; status == RH_OK && i < set->count; i++)
        status = keyring_set_take(&session->next, &set->entries[i], ctx->err);
    if (status == RH_OK)
        status = keyring_names_new(store->format, set, &session->names, ctx->err);
    if (status == RH_OK)
        session->kept = set->count;
    else
        keyring_abort(base);
    return status;
}

/* The entry of the unit that has this key, or NULL. New ones come in the order of their names. */
static struct keyring_entry *unit_find(struct keyring_session *session, struct rh_bytes key)
{
    const struct keyring_entry *old = keyring_set_find(&session->from->set, key);
    if (old)
        return &session->next.entries[old - session->from->set.entries];
    size_t low = session->kept, high = session->next.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = rh_bytes_compare(session->next.entries[middle].key, key);
        if (order == 0)
            return &session->next.entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The record as an entry of the unit's own memory. */
static enum rh_status copy_entry(struct keyring_session *session,
                                 const struct rh_record *record,
                                 struct keyring_entry *ret,
                                 struct rh_error *err)
{
    struct rh_arena *arena = &session->next.arena;
    ret->key = rh_arena_copy(arena, record->key);
    ret->type = rh_arena_copy(arena, record->fields[RH_KEYRING_TYPE].value);
    ret->data = rh_arena_copy(arena, record->fields[RH_KEYRING_DATA].value);
    return ret->key.data && ret->type.data && ret->data.data ? RH_OK : rh_fail_memory(err);
}

/* Whether what the unit holds is what an if-hash put expects. */
static bool
is_expected(const struct keyring_session *session, const struct rh_record *record, const struct keyring_entry *held)
{
    if (!held || record->expect_absent)
        return !held && record->expect_absent;
    struct rh_field fields[RH_KEYRING_FIELDS] = {
        [RH_KEYRING_TYPE] = {.tag = RH_TAG_TEXT,  .value = held->type},
        [RH_KEYRING_DATA] = {.tag = RH_TAG_BYTES, .value = held->data},
    };
    const struct rh_record found = {.key = held->key, .fields = fields, .field_count = RH_KEYRING_FIELDS};
    return session->digest &&
           rh_hash_equal(rh_digest_record(session->digest, RH_KEYRING_DATASET, &found), record->expect);
}

/* Whether a new key comes after those before it. */
static bool in_order(const struct keyring_session *session, struct rh_bytes key)
{
    const struct keyring_set *next = &session->next;
    if (next->count == session->kept)
        return true;
    assert(next->entries);
    return rh_bytes_compare(next->entries[next->count - 1].key, key) < 0;
}

/* Puts one record. */
static enum rh_status
put_one(struct rh_ctx *ctx, struct keyring_session *session, struct rh_record *record, enum rh_put_mode mode)
{
    const struct keyring_store *store = keyring_store_of(&session->base);
    struct keyring_entry fresh, *held = unit_find(session, record->key);
    enum rh_status status = record_fits(store, session->from, record, ctx->err);
    if (status == RH_OK && !(held && mode == RH_PUT_CREATE))
        status = keyring_names_add(session->names, record->key, ctx->err);
    if (status == RH_E_LIMIT)
        rh_error_prepend(ctx->err, "the destination can't hold %s", RH_SHOW_KEY(record->key));
    if (status != RH_OK)
        return status;
    record->outcome = RH_OUTCOME_DONE;
    if (held && mode == RH_PUT_CREATE)
        record->outcome = RH_OUTCOME_EXISTS;
    else if (mode == RH_PUT_IF_HASH && !is_expected(session, record, held))
        record->outcome = RH_OUTCOME_CHANGED;
    if (record->outcome != RH_OUTCOME_DONE)
        return RH_OK;
    if (!held && !in_order(session, record->key))
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the keystore: keys out of order");
    status = copy_entry(session, record, &fresh, ctx->err);
    if (status == RH_OK && held)
        *held = fresh;
    else if (status == RH_OK)
        status = keyring_set_take(&session->next, &fresh, ctx->err);
    return status;
}

enum rh_status keyring_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct keyring_session *session = (struct keyring_session *)base;
    if (!session->begun || session->composed)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the keystore: not begun");
    enum rh_status status = rh_ctx_check(ctx);
    for (size_t i = 0; status == RH_OK && i < batch->count; i++)
        status = put_one(ctx, session, &batch->records[i], mode);
    rh_crash_point("keystore");
    return status;
}

enum rh_status keyring_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    (void)base;
    (void)batch;
    return rh_fail(ctx->err, RH_E_REFUSED, "a key can't be taken out of a keystore: it is put back as a whole");
}

const struct rh_write_ops keyring_write_ops = {
    .fits = keyring_fits,
    .trial = keyring_trial,
    .begin = keyring_begin,
    .put = keyring_put,
    .remove = keyring_remove,
    .commit = keyring_commit,
    .abort = keyring_abort,
};
