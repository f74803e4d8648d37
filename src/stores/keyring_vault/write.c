/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. put and remove only note what is to be done; commit does it, some keys at a time, each by requests of its
 * own. On version 2 every write names the version that it goes over, so that it never overwrites what wasn't looked at.
 * Version 1 has nothing of the kind: there a key is looked for, then written. A request whose answer is lost means
 * unknown.
 */
#include "internal.h"

#include <rehome/base.h>

enum item_state { ITEM_LOOK, ITEM_WRITE, ITEM_REMOVE, ITEM_SETTLED };

/* A record on its way. */
struct kv_item {
    struct rh_record *record;
    enum item_state state;
    uint64_t version; /* that it is written over */
};

/* Some records of a put or remove being carried out. */
struct unit {
    struct rh_ctx *ctx;
    struct kv_session *session;
    const struct rh_unit_op *op;
    struct kv_item items[RH_VAULT_CALLS];
    size_t count;
    bool any_done, lost; /* something was written; something may have been */
};

/* --- limits --- */

/* Whether the name can be held. */
static enum rh_status name_fits(struct kv_store *store, struct rh_bytes key, struct rh_error *err)
{
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(key, &owner, &id))
        return rh_fail(err, RH_E_INTERNAL, "a key's name is broken");
    if (!id.size)
        return rh_fail(err, RH_E_LIMIT, "its id is empty, which a server can't ask for");
    if (memchr(id.data, 0, id.size) || (owner.size && memchr(owner.data, 0, owner.size)))
        return rh_fail(err, RH_E_LIMIT, "its id or owner holds a zero byte, which a server takes for the end");
    enum rh_status status = kv_name_add(&name, owner, id, err);
    if (status)
        return status;
    if (name.size > KV_NAME_MOST)
        return rh_fail(err, RH_E_LIMIT, "its name has %zu bytes in base64, at most %d are taken", name.size,
                       KV_NAME_MOST);
    if (rh_bytes_equal(rh_buf_bytes(&name), rh_buf_bytes(&store->marker_name)))
        return rh_fail(err, RH_E_LIMIT, "its name is that of rehome's own mark");
    if (memchr(name.data, '/', name.size)) {
        rh_fail(err, RH_E_LIMIT,
                "a '/' is in its name there, '%s', which makes a folder of it: Percona's servers couldn't list it",
                RH_SHOW(rh_buf_bytes(&name)));
        rh_error_hint(err, "make a key of another id, re-encrypt with it and remove this one; a '?' or a letter "
                           "outside of ASCII in the id brings this about");
        return RH_E_LIMIT;
    }
    return RH_OK;
}

/* Whether type and bytes can be held. */
static enum rh_status fields_fit(const struct rh_record *record, struct rh_error *err)
{
    const struct rh_bytes type = record->fields[RH_KEYRING_TYPE].value, data = record->fields[RH_KEYRING_DATA].value;
    if (!type.size || memchr(type.data, 0, type.size) || !rh_utf8_valid(type))
        return rh_fail(err, RH_E_LIMIT, "its type is empty, holds a zero byte or isn't UTF-8");
    if (!data.size)
        return rh_fail(err, RH_E_LIMIT, "it has no bytes");
    if (data.size > KV_DATA_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has more than %d bytes, the most that a server takes", KV_DATA_MOST);
    return RH_OK;
}

static enum rh_status fits(struct rh_store *store,
                           const struct rh_dataset *dataset,
                           struct rh_bytes key,
                           uint64_t value_bytes,
                           struct rh_buf *ret_rival,
                           struct rh_error *err)
{
    (void)dataset;
    (void)value_bytes;
    rh_buf_clear(ret_rival);
    return name_fits((struct kv_store *)store, key, err);
}

static enum rh_status
trial(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_record *record)
{
    (void)dataset;
    enum rh_status status = rh_ctx_check(ctx);
    if (!status && record)
        status = name_fits(kv_store_of(base), record->key, ctx->err);
    return !status && record ? fields_fit(record, ctx->err) : status;
}

/* --- looking --- */

/* Whether what is there is what the caller expects. */
static enum rh_status is_expected(const struct unit *unit,
                                  const struct rh_record *record,
                                  const struct kv_found *found,
                                  bool *ret_equal,
                                  struct rh_error *err)
{
    rh_auto_batch struct rh_batch held = {.arena = {.secret = true}};
    *ret_equal = false;
    if (!found->alive || record->expect_absent) {
        *ret_equal = !found->alive && record->expect_absent && !unit->op->remove;
        return RH_OK;
    }
    enum rh_status status = kv_item_add(&held, record->key, found, true, err);
    if (!status)
        *ret_equal = rh_hash_equal(rh_digest_record(unit->session->unit.digest, RH_KEYRING_DATASET, &held.records[0]),
                                   record->expect);
    return status;
}

/* What becomes of an item after a look. */
static enum rh_status decide(struct unit *unit, struct kv_item *item, const struct kv_found *found)
{
    bool equal = true;
    enum rh_status status = RH_OK;
    item->version = found->version;
    item->state = unit->op->remove ? ITEM_REMOVE : ITEM_WRITE;
    if (unit->op->remove || unit->op->mode == RH_PUT_IF_HASH)
        status = is_expected(unit, item->record, found, &equal, unit->ctx->err);
    if (!equal)
        item->record->outcome = RH_OUTCOME_CHANGED;
    else if (!unit->op->remove && unit->op->mode == RH_PUT_CREATE && found->alive)
        item->record->outcome = RH_OUTCOME_EXISTS;
    if (item->record->outcome != RH_OUTCOME_NONE)
        item->state = ITEM_SETTLED;
    return status;
}

/* --- rounds --- */

/* Prepares the calls of all items in a state; how many they are. */
static enum rh_status prepare(struct unit *unit, enum item_state state, struct kv_item **items, size_t *ret_count)
{
    struct kv_session *session = unit->session;
    struct rh_error *err = unit->ctx->err;
    *ret_count = 0;
    rh_arena_clear(&session->bodies);
    for (size_t i = 0; i < unit->count; i++) {
        struct kv_item *item = &unit->items[i];
        rh_auto_buf struct rh_buf name = RH_BUF_INIT;
        if (item->state != state)
            continue;
        struct rh_vault_call *call = &session->calls[*ret_count];
        enum rh_status status = kv_item_name(&name, item->record->key, err);
        if (!status)
            status =
                state == ITEM_LOOK
                    ? kv_item_ask(session, call, rh_buf_bytes(&name), err)
                    : kv_item_write(session, call, rh_buf_bytes(&name), item->record->fields[RH_KEYRING_TYPE].value,
                                    item->record->fields[RH_KEYRING_DATA].value, item->version, err);
        if (status)
            return status;
        items[(*ret_count)++] = item;
    }
    return RH_OK;
}

/* Looks at what has to be looked at. */
static enum rh_status look(struct unit *unit)
{
    struct kv_item *items[RH_VAULT_CALLS];
    struct kv_session *session = unit->session;
    size_t count = 0;
    enum rh_status status = prepare(unit, ITEM_LOOK, items, &count);
    if (!status && count)
        status = rh_vault_ask_all(unit->ctx, session->client, session->calls, count, "reading a key");
    for (size_t i = 0; !status && i < count; i++) {
        struct kv_found found;
        status = kv_item_found(session, &session->calls[i], items[i]->record->key, &found, unit->ctx->err);
        if (!status)
            status = decide(unit, items[i], &found);
    }
    return status;
}

/* What came of one write. The first failure's words stay. */
static enum rh_status
land(struct unit *unit, struct kv_item *item, const struct rh_vault_call *call, enum rh_status so_far)
{
    struct rh_error *err = unit->ctx->err;
    if (call->status == RH_OK) {
        unit->any_done = true;
        item->record->outcome = RH_OUTCOME_DONE;
        item->state = ITEM_SETTLED;
        return so_far;
    }
    if (call->status == RH_CHANGED) {
        item->state = ITEM_LOOK;
        return so_far;
    }
    unit->lost = unit->lost || call->unknown;
    if (so_far)
        return so_far;
    if (call->status == RH_NOT_FOUND)
        return kv_mount_wrong(unit->session, call, err);
    *err = call->err;
    if (call->status == RH_E_DENIED)
        rh_error_hint(err, "give the token create and update on %s%s%s%s*", unit->session->store->mount.path,
                      unit->session->store->mount.version == 2 ? "/data/" : "/", unit->session->store->mount.folder,
                      *unit->session->store->mount.folder ? "/" : "");
    return rh_error_prepend(err, "writing %s", RH_SHOW_KEY(item->record->key));
}

/* Writes what is ready. */
static enum rh_status write_ready(struct unit *unit)
{
    struct kv_item *items[RH_VAULT_CALLS];
    struct kv_session *session = unit->session;
    size_t count = 0;
    enum rh_status status = prepare(unit, ITEM_WRITE, items, &count);
    if (status || !count)
        return status;
    rh_crash_point("keyring-vault-commit");
    status = rh_vault_ask_all(unit->ctx, session->client, session->calls, count, "writing a key");
    if (status) {
        unit->lost = true;
        return status;
    }
    for (size_t i = 0; i < count; i++)
        status = land(unit, items[i], &session->calls[i], status);
    rh_arena_clear(&session->bodies);
    rh_crash_point("keyring-vault-commit");
    return status;
}

/* --- taking away --- */

/* What became of an item that was to be taken away. */
static void removed(struct unit *unit, struct kv_item *item)
{
    unit->any_done = true;
    item->record->outcome = RH_OUTCOME_DONE;
    item->state = ITEM_SETTLED;
}

/* The slow way, where a name stays or the fast one isn't allowed. */
static enum rh_status remove_version(struct unit *unit, struct kv_item *item, bool ours)
{
    struct kv_session *session = unit->session;
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = kv_item_name(&name, item->record->key, unit->ctx->err);
    if (ours)
        rh_log(RH_LOG_WARN, "a removed key's name stays listed: the token may not delete metadata",
               {"address", session->store->address});
    if (!status)
        status = kv_item_remove_version(unit->ctx, session, rh_buf_bytes(&name), item->version);
    if (rh_failed(status)) {
        unit->lost = unit->lost || session->other.unknown;
        return rh_error_prepend(unit->ctx->err, "removing %s", RH_SHOW_KEY(item->record->key));
    }
    removed(unit, item);
    return RH_OK;
}

/* On version 2: which of them go with their names; *ret_count is left with these. */
static enum rh_status look_at_versions(struct unit *unit, struct kv_item **items, size_t *ret_count)
{
    struct kv_session *session = unit->session;
    const size_t count = *ret_count;
    *ret_count = 0;
    enum rh_status status =
        rh_vault_ask_all(unit->ctx, session->client, session->calls, count, "asking for the versions of a key");
    for (size_t i = 0; !status && i < count; i++) {
        enum kv_end end = KV_END_CHANGED;
        status = kv_item_versions(&session->calls[i], items[i]->version, &end, unit->ctx->err);
        if (status)
            rh_error_prepend(unit->ctx->err, "removing %s", RH_SHOW_KEY(items[i]->record->key));
        else if (end == KV_END_CHANGED)
            items[i]->state = ITEM_LOOK;
        else if (end == KV_END_VERSION)
            status = remove_version(unit, items[i], false);
        else
            items[(*ret_count)++] = items[i];
    }
    return status;
}

/* Prepares a call for each of some items. */
static enum rh_status prepare_items(struct unit *unit,
                                    struct kv_item *const *items,
                                    size_t count,
                                    enum rh_status (*make)(struct kv_session *session,
                                                           struct rh_vault_call *call,
                                                           struct rh_bytes name,
                                                           struct rh_error *err))
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < count; i++) {
        rh_auto_buf struct rh_buf name = RH_BUF_INIT;
        status = kv_item_name(&name, items[i]->record->key, unit->ctx->err);
        if (!status)
            status = make(unit->session, &unit->session->calls[i], rh_buf_bytes(&name), unit->ctx->err);
    }
    return status;
}

/* Takes away what was found as expected. */
static enum rh_status remove_ready(struct unit *unit)
{
    struct kv_item *items[RH_VAULT_CALLS];
    struct kv_session *session = unit->session;
    size_t count = 0;
    for (size_t i = 0; i < unit->count; i++)
        if (unit->items[i].state == ITEM_REMOVE)
            items[count++] = &unit->items[i];
    if (!count)
        return RH_OK;
    rh_crash_point("keyring-vault-commit");
    enum rh_status status = RH_OK;
    if (session->store->mount.version == 2) {
        status = prepare_items(unit, items, count, kv_item_ask_versions);
        if (!status)
            status = look_at_versions(unit, items, &count);
    }
    if (!status)
        status = prepare_items(unit, items, count, kv_item_remove);
    if (status || !count)
        return status;
    status = rh_vault_ask_all(unit->ctx, session->client, session->calls, count, "removing a key");
    unit->lost = unit->lost || status;
    for (size_t i = 0; !status && i < count; i++) {
        const struct rh_vault_call *call = &session->calls[i];
        if (call->status == RH_E_DENIED && session->store->mount.version == 2)
            status = remove_version(unit, items[i], true);
        else if (!rh_failed(call->status))
            removed(unit, items[i]);
        else {
            *unit->ctx->err = call->err;
            unit->lost = unit->lost || call->unknown;
            status = rh_error_prepend(unit->ctx->err, "removing %s", RH_SHOW_KEY(items[i]->record->key));
        }
    }
    rh_crash_point("keyring-vault-commit");
    return status;
}

enum rh_status
kv_remove_one(struct rh_ctx *ctx, struct kv_session *session, struct rh_bytes name, uint64_t version, bool *ret_changed)
{
    struct rh_vault_call *call = &session->other;
    enum kv_end end = KV_END_NAME;
    enum rh_status status = RH_OK;
    *ret_changed = false;
    if (session->store->mount.version == 2) {
        status = kv_item_ask_versions(session, call, name, ctx->err);
        if (!status && (status = rh_vault_ask(ctx, session->client, call, "asking for the versions of a key")) != RH_OK)
            status = call->status == status ? RH_OK : status; /* looked at next */
        if (!status)
            status = kv_item_versions(call, version, &end, ctx->err);
    }
    *ret_changed = end == KV_END_CHANGED;
    if (status || *ret_changed)
        return status;
    status = end == KV_END_NAME ? kv_item_remove(session, call, name, ctx->err) : RH_E_DENIED;
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "removing a key");
    if (status == RH_E_DENIED && session->store->mount.version == 2)
        status = kv_item_remove_version(ctx, session, name, version);
    return status == RH_NOT_FOUND ? RH_OK : status;
}

/* --- from look to outcome --- */

static bool all_settled(const struct unit *unit)
{
    for (size_t i = 0; i < unit->count; i++)
        if (unit->items[i].state != ITEM_SETTLED)
            return false;
    return true;
}

/* Some records, from look to outcome. */
static enum rh_status do_some(struct unit *unit)
{
    enum rh_status status = RH_OK;
    for (int round = 0; !status && !all_settled(unit); round++) {
        if (round == KV_ROUNDS_MOST) {
            rh_fail(unit->ctx->err, RH_E_STORE, "writing failed: somebody else keeps writing the same keys");
            unit->ctx->err->retry = RH_RETRY_LATER;
            return RH_E_STORE;
        }
        status = look(unit);
        if (!status)
            status = unit->op->remove ? remove_ready(unit) : write_ready(unit);
    }
    return status;
}

/* One put or remove, some records at a time. */
static enum rh_status do_op(struct unit *unit)
{
    struct rh_batch *batch = unit->op->batch;
    enum rh_status status = RH_OK;
    /* version 2 refuses a new key where there is one: no need to look first */
    const bool blind = !unit->op->remove && unit->op->mode == RH_PUT_CREATE && unit->session->store->mount.version == 2;
    for (size_t from = 0; !status && from < batch->count; from += RH_VAULT_CALLS) {
        unit->count = batch->count - from < RH_VAULT_CALLS ? batch->count - from : RH_VAULT_CALLS;
        for (size_t i = 0; i < unit->count; i++) {
            unit->items[i] =
                (struct kv_item){.record = &batch->records[from + i], .state = blind ? ITEM_WRITE : ITEM_LOOK};
            batch->records[from + i].outcome = RH_OUTCOME_NONE;
        }
        status = rh_ctx_check(unit->ctx);
        if (!status && blind)
            status = write_ready(unit);
        if (!status)
            status = do_some(unit);
    }
    return status;
}

/* --- the unit --- */

static enum rh_status
begin(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_digest_key *digest)
{
    (void)dataset;
    struct kv_session *session = (struct kv_session *)base;
    enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (!status)
        rh_unit_begin(&session->unit, digest);
    return status;
}

static enum rh_status put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct kv_session *session = (struct kv_session *)base;
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < batch->count; i++) {
        const struct rh_record *record = &batch->records[i];
        status = record->field_count == RH_KEYRING_FIELDS
                     ? fields_fit(record, ctx->err)
                     : rh_fail(ctx->err, RH_E_INTERNAL, "a key without type and bytes");
        if (status == RH_E_LIMIT)
            rh_error_prepend(ctx->err, "the destination can't hold %s", RH_SHOW_KEY(record->key));
    }
    return status ? status
                  : rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .mode = mode});
}

static enum rh_status remove_batch(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct kv_session *session = (struct kv_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .remove = true});
}

static enum rh_status commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct kv_session *session = (struct kv_session *)base;
    struct unit unit = {.ctx = ctx, .session = session};
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status)
        return status;
    for (size_t i = 0; !status && i < session->unit.op_count; i++) {
        unit.op = &session->unit.ops[i];
        status = do_op(&unit);
    }
    if (status) {
        rh_unit_forget(&session->unit);
        if (unit.any_done || unit.lost)
            *ret_commit = RH_COMMIT_UNKNOWN;
        if (unit.lost && ctx->err->retry == RH_RETRY_LATER)
            ctx->err->retry = RH_RETRY_RECONNECT;
    } else
        *ret_commit = RH_COMMIT_DONE;
    rh_unit_end(&session->unit);
    return status;
}

static void abort_unit(struct rh_session *base)
{
    rh_unit_end(&((struct kv_session *)base)->unit); /* nothing was sent before commit */
}

const struct rh_write_ops kv_write_ops = {
    .fits = fits,
    .trial = trial,
    .begin = begin,
    .put = put,
    .remove = remove_batch,
    .commit = commit,
    .abort = abort_unit,
};
