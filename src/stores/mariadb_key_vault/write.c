/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: a key is made by check-and-set where there is nothing, so that it is of version 1, which is the version that
 * pages written under a key file ask for. A secret that stands is never given another version. What was made is
 * taken back with its metadata, so that the number is free again.
 */
#include "internal.h"

#include <rehome/base.h>

#include <inttypes.h>
#include <stdlib.h>

enum { ROUNDS_MOST = 4 }; /* of a request that nobody knows the end of */

/* --- what fits --- */

static enum rh_status mkv_fits(struct rh_store *base,
                               const struct rh_dataset *dataset,
                               struct rh_bytes key,
                               uint64_t value_bytes,
                               struct rh_buf *ret_rival,
                               struct rh_error *err)
{
    const struct mkv_store *store = (const struct mkv_store *)base;
    struct rh_bytes owner, id;
    (void)dataset;
    (void)value_bytes;
    (void)ret_rival;
    if (rh_keyring_key_split(key, &owner, &id) != RH_OK)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    return mariadb_key_fits(store->names, owner, id, NULL, NULL, err);
}

/* Number and bytes of a record. RH_E_LIMIT with the reason when it can't be held. */
static enum rh_status
take_record(const struct mkv_store *store, const struct rh_record *record, uint32_t *ret_number, struct rh_error *err)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(record->key, &owner, &id) != RH_OK || record->field_count != RH_KEYRING_FIELDS)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    enum rh_status status = mariadb_key_fits(store->names, owner, id, &record->fields[RH_KEYRING_TYPE].value,
                                             &record->fields[RH_KEYRING_DATA].value, err);
    return status == RH_OK ? mariadb_number_of(store->names, owner, id, ret_number, err) : status;
}

/* Whether what stands there is this record, type and all. */
static bool is_same(const struct keyring_entry *entry, const struct rh_record *record)
{
    return rh_bytes_equal(entry->type, record->fields[RH_KEYRING_TYPE].value) &&
           rh_bytes_equal_secret(entry->data, record->fields[RH_KEYRING_DATA].value);
}

static enum rh_status fail_dead(const struct mkv_store *store, uint32_t number, struct rh_error *err)
{
    rh_fail(err, RH_E_LIMIT,
            "a key of number %" PRIu32 " was deleted there and its versions stay, so that a new one wouldn't be of "
            "version 1",
            number);
    rh_error_hint(err, "if nobody needs it: vault kv metadata delete -mount=%s %" PRIu32,
                  RH_SHOW(rh_bytes_text(store->mount)), number);
    return RH_E_LIMIT;
}

static enum rh_status fail_other(uint32_t number, struct rh_error *err)
{
    return rh_fail(err, RH_E_LIMIT,
                   "the key of number %" PRIu32 " there is another one, or of another version than 1: it can't be "
                   "replaced, since a server would take the new one for version 2 and ask for version 1",
                   number);
}

/* --- the trial --- */

void mkv_trial_end(struct mkv_session *session)
{
    keyring_view_drop(session->trial);
    session->trial = NULL;
    free(session->dead);
    session->dead = NULL;
    session->dead_count = 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static enum rh_status
mkv_trial(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_record *record)
{
    struct mkv_session *session = (struct mkv_session *)base;
    uint32_t number = 0;
    (void)dataset;
    if (!record) {
        mkv_trial_end(session);
        return mkv_load(ctx, session, true, &session->trial);
    }
    if (!session->trial)
        return rh_fail(ctx->err, RH_E_INTERNAL, "trying a key: not begun");
    enum rh_status status = take_record(session->store, record, &number, ctx->err);
    if (status == RH_OK)
        status = mariadb_samples_try(&session->store->samples, number, record->fields[RH_KEYRING_DATA].value, true,
                                     ctx->err);
    if (status != RH_OK)
        return status;
    if (session->dead_count && bsearch(&number, session->dead, session->dead_count, sizeof number, compare_numbers))
        return fail_dead(session->store, number, ctx->err);
    const struct keyring_entry *held = keyring_set_find(&session->trial->set, record->key);
    return held && !is_same(held, record) ? fail_other(number, ctx->err) : RH_OK;
}

/* --- units --- */

static enum rh_status mkv_begin(struct rh_ctx *ctx,
                                struct rh_session *base,
                                const struct rh_dataset *dataset,
                                const struct rh_digest_key *digest)
{
    struct mkv_session *session = (struct mkv_session *)base;
    (void)dataset;
    enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (status == RH_OK)
        rh_unit_begin(&session->unit, digest);
    return status;
}

static enum rh_status
mkv_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    const struct rh_unit_op op = {.batch = batch, .mode = mode};
    return rh_unit_add(ctx, base->store, &((struct mkv_session *)base)->unit, &op);
}

static enum rh_status mkv_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    const struct rh_unit_op op = {.batch = batch, .remove = true};
    return rh_unit_add(ctx, base->store, &((struct mkv_session *)base)->unit, &op);
}

void mkv_abort(struct rh_session *base)
{
    rh_unit_end(&((struct mkv_session *)base)->unit);
}

/* --- carrying out --- */

/* A unit on its way. */
struct unit {
    struct rh_ctx *ctx;
    struct mkv_session *session;
    bool any, lost; /* something was written; something may have been */
};
/* A record on its way. */
struct item {
    struct rh_record *record;
    uint32_t number;
    bool sent; /* before, by a request that nobody knows the end of */
    bool look; /* something may be there */
    bool settled;
    struct rh_error denied; /* of the last request, if it was */
};

/* What stands under a number, as a record's fields; *ret_entry is NULL for nothing. `dead`: only its versions. */
static enum rh_status look(
    struct unit *unit, uint32_t number, struct keyring_set *set, const struct keyring_entry **ret_entry, bool *ret_dead)
{
    struct mkv_session *session = unit->session;
    struct mkv_entry entry = {0};
    enum rh_status status = mkv_ask_for(unit->ctx, session, &number, 1);
    if (status == RH_OK)
        status = mkv_entry_read(&session->calls[0], number, &set->arena, &entry, unit->ctx->err);
    if (status == RH_OK && entry.there)
        status = mkv_entry_add(session->store, &entry, set, unit->ctx->err);
    if (status == RH_OK) {
        *ret_entry = entry.there ? &set->entries[set->count - 1] : NULL;
        *ret_dead = entry.dead;
    }
    return status;
}

/* Looks at what a create has met, or may have made. RH_NOT_FOUND: there is nothing. */
static enum rh_status met(struct unit *unit, struct item *item, enum rh_put_mode mode)
{
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    const struct keyring_entry *entry = NULL;
    struct rh_record *record = item->record;
    bool dead = false;
    enum rh_status status = look(unit, item->number, &set, &entry, &dead);
    if (status != RH_OK)
        return status;
    if (dead)
        return fail_dead(unit->session->store, item->number, unit->ctx->err);
    if (!entry)
        return RH_NOT_FOUND;
    item->settled = true;
    if (is_same(entry, record) && (item->sent || mode == RH_PUT_REPLACE)) {
        record->outcome = RH_OUTCOME_DONE;
        unit->any = unit->any || item->sent;
        return RH_OK;
    }
    if (mode == RH_PUT_REPLACE)
        return fail_other(item->number, unit->ctx->err);
    record->outcome = mode == RH_PUT_IF_HASH ? RH_OUTCOME_CHANGED : RH_OUTCOME_EXISTS;
    return RH_OK;
}

/* What came of one request to create. */
static enum rh_status judge_create(struct unit *unit, struct item *item, const struct rh_vault_call *call)
{
    uint64_t version = 0;
    if (call->status == RH_OK) {
        if (!rh_vault_answer_number(&call->answer, "data.version", &version) || version != 1) {
            unit->lost = true;
            return rh_fail(unit->ctx->err, RH_E_STORE, "writing the key of number %" PRIu32 ": it isn't of version 1",
                           item->number);
        }
        item->record->outcome = RH_OUTCOME_DONE;
        item->settled = unit->any = true;
        item->look = false;
        return RH_OK;
    }
    if (call->status == RH_NOT_FOUND)
        return rh_fail(unit->ctx->err, RH_E_STORE, "writing the key of number %" PRIu32 ": there is no such engine",
                       item->number);
    item->look = true;
    item->denied = call->status == RH_E_DENIED ? call->err : (struct rh_error){0};
    if (call->unknown)
        item->sent = unit->lost = true;
    else if (call->status != RH_CHANGED && call->status != RH_E_DENIED) {
        *unit->ctx->err = call->err;
        return rh_error_prepend(unit->ctx->err, "the key of number %" PRIu32, item->number);
    }
    return RH_OK;
}

/* Looks behind a create that wasn't simply done: it met something, its end is not known, or it was denied, as it is
 * when something is there and the token may create and not update. What still has nothing there is sent again. */
static enum rh_status look_behind(struct unit *unit, struct item *item, enum rh_put_mode mode)
{
    enum rh_status status = met(unit, item, mode);
    if (status != RH_NOT_FOUND)
        return status;
    if (item->denied.status != RH_E_DENIED)
        return RH_OK;
    *unit->ctx->err = item->denied;
    return rh_error_prepend(unit->ctx->err, "the key of number %" PRIu32, item->number);
}

/* Sends a create for each item; their answers are in session->calls. */
static enum rh_status send_all(struct unit *unit, struct item *const *items, size_t count)
{
    struct mkv_session *session = unit->session;
    struct rh_arena bodies = {.secret = true};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        struct rh_vault_call *call = &session->calls[i];
        const struct rh_bytes data = items[i]->record->fields[RH_KEYRING_DATA].value;
        rh_vault_call_begin(call, "POST");
        status =
            rh_vault_call_target(call, unit->ctx->err, "%s/data/%" PRIu32, session->store->mount, items[i]->number);
        if (status == RH_OK)
            status = mkv_entry_body(data, &bodies, &call->body, unit->ctx->err);
    }
    if (status == RH_OK) {
        status = rh_vault_ask_all(unit->ctx, session->client, session->calls, count, "writing a key");
        unit->lost = unit->lost || status != RH_OK;
    }
    rh_arena_done(&bodies);
    return status;
}

/* Sends those of up to RH_VAULT_CALLS items that aren't settled. */
static enum rh_status
create_round(struct unit *unit, struct item *items, size_t count, enum rh_put_mode mode, size_t *ret_open)
{
    struct item *sent[RH_VAULT_CALLS];
    size_t calls = 0;
    for (size_t i = 0; i < count; i++)
        if (!items[i].settled)
            sent[calls++] = &items[i];
    enum rh_status status = send_all(unit, sent, calls);
    /* first all answers: what was met is looked at over the same calls */
    for (size_t i = 0; status == RH_OK && i < calls; i++)
        status = judge_create(unit, sent[i], &unit->session->calls[i]);
    *ret_open = 0;
    for (size_t i = 0; status == RH_OK && i < calls; i++) {
        if (sent[i]->look)
            status = look_behind(unit, sent[i], mode);
        *ret_open += !sent[i]->settled;
    }
    return status;
}

/* Makes up to RH_VAULT_CALLS keys where there are none. */
static enum rh_status create_some(struct unit *unit, struct item *items, size_t count, enum rh_put_mode mode)
{
    size_t open = count;
    enum rh_status status = RH_OK;
    for (unsigned round = 0; status == RH_OK && open; round++) {
        if (round == ROUNDS_MOST) {
            rh_fail(unit->ctx->err, RH_E_NET, "writing a key: the connection was cut each time before an answer");
            unit->ctx->err->retry = RH_RETRY_RECONNECT;
            return RH_E_NET;
        }
        rh_crash_point("vault-key");
        status = create_round(unit, items, count, mode, &open);
        rh_crash_point("vault-key");
    }
    return status;
}

/* The hash of what stands there. */
static struct rh_hash
hash_of(const struct unit *unit, const struct rh_record *record, const struct keyring_entry *entry)
{
    struct rh_field fields[RH_KEYRING_FIELDS] = {
        [RH_KEYRING_TYPE] = {.tag = RH_TAG_TEXT,  .value = entry->type},
        [RH_KEYRING_DATA] = {.tag = RH_TAG_BYTES, .value = entry->data},
    };
    const struct rh_record found = {.key = record->key, .fields = fields, .field_count = RH_KEYRING_FIELDS};
    return rh_digest_record(unit->session->unit.digest, RH_KEYRING_DATASET, &found);
}

/* An if-hash put over a key that stands: nothing but the same is ever written. */
static enum rh_status confirm(struct unit *unit, struct item *item)
{
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    const struct keyring_entry *entry = NULL;
    bool dead = false;
    enum rh_status status = look(unit, item->number, &set, &entry, &dead);
    if (status != RH_OK)
        return status;
    item->record->outcome = RH_OUTCOME_CHANGED;
    if (!entry || !rh_hash_equal(hash_of(unit, item->record, entry), item->record->expect))
        return RH_OK;
    if (!is_same(entry, item->record))
        return fail_other(item->number, unit->ctx->err);
    item->record->outcome = RH_OUTCOME_DONE;
    return RH_OK;
}

/* Removes a key that is still what it should be, with its metadata. */
static enum rh_status remove_one(struct unit *unit, struct item *item)
{
    struct mkv_session *session = unit->session;
    for (unsigned round = 0; round < ROUNDS_MOST; round++) {
        keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
        const struct keyring_entry *entry = NULL;
        struct rh_vault_call *call = &session->calls[0];
        bool dead = false;
        enum rh_status status = look(unit, item->number, &set, &entry, &dead);
        if (status != RH_OK)
            return status;
        if (!entry || !rh_hash_equal(hash_of(unit, item->record, entry), item->record->expect)) {
            item->record->outcome = item->sent && !entry && !dead ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
            return RH_OK;
        }
        rh_crash_point("vault-key");
        rh_vault_call_begin(call, "DELETE");
        call->plain = true;
        status =
            rh_vault_call_target(call, unit->ctx->err, "%s/metadata/%" PRIu32, session->store->mount, item->number);
        if (status == RH_OK)
            status = rh_vault_ask(unit->ctx, session->client, call, "removing a key");
        unit->lost = unit->lost || (status != RH_OK && call->unknown);
        item->sent = true;
        if (status == RH_OK) {
            item->record->outcome = RH_OUTCOME_DONE;
            unit->any = true;
            return RH_OK;
        }
        if (!call->unknown)
            return rh_error_prepend(unit->ctx->err, "the key of number %" PRIu32, item->number);
    }
    unit->ctx->err->retry = RH_RETRY_RECONNECT;
    return rh_error_prepend(unit->ctx->err, "the key of number %" PRIu32, item->number);
}

/* One put or remove. */
static enum rh_status carry_out(struct unit *unit, const struct rh_unit_op *op)
{
    struct item items[RH_VAULT_CALLS];
    size_t count = 0;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < op->batch->count; i++) {
        struct item *item = &items[count];
        struct rh_bytes owner, id;
        *item = (struct item){.record = &op->batch->records[i]};
        rh_ignore(rh_keyring_key_split(item->record->key, &owner, &id)); /* fits has seen it */
        status = op->remove ? mariadb_number_of(unit->session->store->names, owner, id, &item->number, unit->ctx->err)
                            : take_record(unit->session->store, item->record, &item->number, unit->ctx->err);
        if (status == RH_OK && op->remove)
            status = remove_one(unit, item);
        else if (status == RH_OK && op->mode == RH_PUT_IF_HASH && !item->record->expect_absent)
            status = confirm(unit, item);
        else
            count += status == RH_OK;
        if (status == RH_OK && (count == RH_VAULT_CALLS || (count && i + 1 == op->batch->count))) {
            status = create_some(unit, items, count, op->mode);
            count = 0;
        }
    }
    return status;
}

static enum rh_status mkv_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct mkv_session *session = (struct mkv_session *)base;
    struct unit unit = {.ctx = ctx, .session = session};
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status == RH_OK)
        status = rh_ctx_check(ctx);
    for (size_t i = 0; status == RH_OK && i < session->unit.op_count; i++)
        status = carry_out(&unit, &session->unit.ops[i]);
    if (status == RH_OK)
        *ret_commit = RH_COMMIT_DONE;
    else {
        rh_unit_forget(&session->unit);
        *ret_commit = unit.any || unit.lost ? RH_COMMIT_UNKNOWN : RH_COMMIT_NOT_DONE;
    }
    rh_unit_end(&session->unit);
    return status;
}

const struct rh_write_ops mkv_write_ops = {
    .fits = mkv_fits,
    .trial = mkv_trial,
    .begin = mkv_begin,
    .put = mkv_put,
    .remove = mkv_remove,
    .commit = mkv_commit,
    .abort = mkv_abort,
};
