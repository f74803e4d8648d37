/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys read and written in place. put and remove only note what is to be done; commit does it in one child, and another
 * child then looks whether all of it holds. A component stores only where no key is, so to replace one takes two steps;
 * what is killed between them has its former key in the engine's undo log (torn_replace).
 */
#include "elsewhere.h"

#include "common.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long what was read answers for single keys. A scan always reads anew. */
#define KNOWN_US (2 * 1000 * 1000LL)

struct elsewhere_session {
    struct rh_session base;
    struct rh_unit unit;
};

static struct component *component_in(const struct rh_session *session)
{
    return component_of(keyring_store_of(session));
}

/* --- reading --- */

static enum rh_status start(struct rh_ctx *ctx, const struct component *component, struct component_child **ret_child)
{
    return component_start(ctx, &component->library, component->config.folder, component->config.instance, -1, -1,
                           ret_child);
}

/* Everything, by a child of its own. Under the lock. */
static enum rh_status read_all(struct rh_ctx *ctx, struct component *component)
{
    component_auto_child struct component_child *child = NULL;
    struct keyring_view *view = keyring_view_new();
    if (!view)
        return rh_fail_memory(ctx->err);
    enum rh_status status = start(ctx, component, &child);
    if (status == RH_OK)
        status = component_read(ctx, child, &view->set);
    if (status == RH_OK)
        status = keyring_set_sort(&view->set, ctx->err);
    if (status == RH_OK)
        component->facts = *component_facts(child);
    if (status == RH_OK)
        status = component_stop(ctx, child);
    if (status != RH_OK) {
        keyring_view_drop(view);
        return status;
    }
    keyring_view_drop(component->known);
    component->known = view;
    component->known_us = rh_clock_us();
    return RH_OK;
}

/* A view of what is there, to be dropped. */
static enum rh_status
get_view(struct rh_ctx *ctx, struct component *component, bool fresh, struct keyring_view **ret_view)
{
    enum rh_status status = RH_OK;
    pthread_mutex_lock(&component->lock);
    if (fresh || !component->known || rh_clock_us() - component->known_us > KNOWN_US)
        status = read_all(ctx, component);
    if (status == RH_OK)
        *ret_view = keyring_view_share(component->known);
    pthread_mutex_unlock(&component->lock);
    return status;
}

static enum rh_status elsewhere_scan_open(struct rh_ctx *ctx,
                                          struct rh_session *session,
                                          const struct rh_dataset *dataset,
                                          struct rh_range range,
                                          struct rh_bytes after,
                                          unsigned flags,
                                          struct rh_scan **ret_scan)
{
    struct keyring_view *view = NULL;
    (void)dataset;
    enum rh_status status = get_view(ctx, component_in(session), true, &view);
    return status == RH_OK ? keyring_scan_view(session, view, range, after, flags, ret_scan, ctx->err) : status;
}

static enum rh_status elsewhere_get(struct rh_ctx *ctx,
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
        status = get_view(ctx, component_in(session), false, &view);
    return status == RH_OK ? keyring_get_view(view, keys, count, out, ctx->err) : status;
}

/* --- writing --- */

/* A commit under way. */
struct commit {
    struct rh_ctx *ctx;
    struct component *component;
    const struct rh_unit *unit;
    struct component_child *child;
    struct rh_arena arena; /* of what is looked up; secret */
    bool any;              /* something was written, or may have been */
};

/* Whether a component can hold what a record has. */
static enum rh_status record_fits(const struct rh_record *record, struct rh_error *err)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(record->key, &owner, &id) != RH_OK)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    if (record->field_count == 0)
        return component_key_fits(owner, id, NULL, NULL, err);
    if (record->field_count != RH_KEYRING_FIELDS)
        return rh_fail(err, RH_E_LIMIT, "it has other fields than a key's type and bytes");
    return component_key_fits(owner, id, &record->fields[RH_KEYRING_TYPE].value, &record->fields[RH_KEYRING_DATA].value,
                              err);
}

static enum rh_status elsewhere_fits(struct rh_store *base,
                                     const struct rh_dataset *dataset,
                                     struct rh_bytes key,
                                     uint64_t value_bytes,
                                     struct rh_buf *ret_rival,
                                     struct rh_error *err)
{
    const struct rh_record record = {.key = key};
    (void)base;
    (void)dataset;
    (void)value_bytes;
    rh_buf_clear(ret_rival);
    return record_fits(&record, err);
}

static enum rh_status elsewhere_trial(struct rh_ctx *ctx,
                                      struct rh_session *base,
                                      const struct rh_dataset *dataset,
                                      const struct rh_record *record)
{
    (void)base;
    (void)dataset;
    const enum rh_status status = rh_ctx_check(ctx);
    return status == RH_OK && record ? record_fits(record, ctx->err) : status;
}

/* A record's type and bytes as an entry. */
static struct keyring_entry entry_of(const struct rh_record *record)
{
    return (struct keyring_entry){
        .key = record->key,
        .type = record->fields[RH_KEYRING_TYPE].value,
        .data = record->fields[RH_KEYRING_DATA].value,
    };
}

/* Whether what is held has the hash that the record expects. */
static bool is_expected(const struct commit *commit, const struct rh_record *record, const struct keyring_entry *held)
{
    struct rh_field fields[RH_KEYRING_FIELDS] = {
        [RH_KEYRING_TYPE] = {.tag = RH_TAG_TEXT,  .value = held->type},
        [RH_KEYRING_DATA] = {.tag = RH_TAG_BYTES, .value = held->data},
    };
    const struct rh_record found = {.key = record->key, .fields = fields, .field_count = RH_KEYRING_FIELDS};
    return rh_hash_equal(rh_digest_record(commit->unit->digest, RH_KEYRING_DATASET, &found), record->expect);
}

static bool is_same(const struct keyring_entry *a, const struct keyring_entry *b)
{
    return rh_bytes_equal(a->type, b->type) && rh_bytes_equal_secret(a->data, b->data);
}

/* Takes a key away, if it is what is expected. */
static enum rh_status remove_one(struct commit *commit, struct rh_record *record, const struct keyring_entry *held)
{
    record->outcome = held && is_expected(commit, record, held) ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
    if (record->outcome != RH_OUTCOME_DONE)
        return RH_OK;
    commit->any = true;
    return component_remove(commit->ctx, commit->child, record->key);
}

/* Stores a key. A component takes one only where none is, so another one is removed first. */
static enum rh_status
put_one(struct commit *commit, struct rh_record *record, enum rh_put_mode mode, const struct keyring_entry *held)
{
    const struct keyring_entry entry = entry_of(record);
    if (held && mode == RH_PUT_CREATE)
        record->outcome = RH_OUTCOME_EXISTS;
    else if (mode == RH_PUT_IF_HASH &&
             (held ? record->expect_absent || !is_expected(commit, record, held) : !record->expect_absent))
        record->outcome = RH_OUTCOME_CHANGED;
    else if (held && is_same(&entry, held))
        record->outcome = RH_OUTCOME_DONE;
    else {
        commit->any = true;
        record->outcome = RH_OUTCOME_DONE;
        const enum rh_status status = held ? component_remove(commit->ctx, commit->child, record->key) : RH_OK;
        if (held)
            rh_crash_point("component-torn");
        return status == RH_OK ? component_store(commit->ctx, commit->child, &entry) : status;
    }
    return RH_OK;
}

/* Each record of the unit: a look, then the deed. */
static enum rh_status do_op(struct commit *commit, const struct rh_unit_op *op)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < op->batch->count; i++) {
        struct rh_record *record = &op->batch->records[i];
        struct keyring_entry held = {.key = record->key};
        rh_arena_clear(&commit->arena);
        status = component_fetch(commit->ctx, commit->child, record->key, &commit->arena, &held);
        const bool there = status == RH_OK;
        if (status == RH_NOT_FOUND)
            status = RH_OK;
        if (status == RH_OK)
            status = op->remove ? remove_one(commit, record, there ? &held : NULL)
                                : put_one(commit, record, op->mode, there ? &held : NULL);
        rh_crash_point("component");
    }
    return status;
}

/* Whether a new child finds what was done: a library may say that it stored a key and not do it. */
static enum rh_status check_op(struct commit *commit, const struct rh_unit_op *op)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < op->batch->count; i++) {
        const struct rh_record *record = &op->batch->records[i];
        struct keyring_entry held = {.key = record->key};
        if (record->outcome != RH_OUTCOME_DONE)
            continue;
        rh_arena_clear(&commit->arena);
        status = component_fetch(commit->ctx, commit->child, record->key, &commit->arena, &held);
        if (rh_failed(status))
            return status;
        const struct keyring_entry wanted = op->remove ? held : entry_of(record);
        if (op->remove ? status == RH_OK : status == RH_NOT_FOUND || !is_same(&wanted, &held))
            return rh_fail(commit->ctx->err, RH_E_MISMATCH, "component '%s' said that it %s key %s, and didn't",
                           RH_SHOW(rh_bytes_text(commit->component->library.name)), op->remove ? "removed" : "stored",
                           RH_SHOW_KEY(record->key));
        status = RH_OK;
    }
    return status;
}

/* One child for all operations: the deed, or the look afterwards. */
static enum rh_status with_child(struct commit *commit,
                                 enum rh_status (*each)(struct commit *commit, const struct rh_unit_op *op))
{
    enum rh_status status = start(commit->ctx, commit->component, &commit->child);
    for (size_t i = 0; status == RH_OK && i < commit->unit->op_count; i++)
        status = each(commit, &commit->unit->ops[i]);
    if (status == RH_OK)
        status = component_stop(commit->ctx, commit->child);
    component_free(rh_take(commit->child));
    return status;
}

static enum rh_status elsewhere_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct elsewhere_session *session = (struct elsewhere_session *)base;
    struct component *component = component_in(base);
    struct commit commit = {.ctx = ctx, .component = component, .unit = &session->unit, .arena = {.secret = true}};
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&component->lock);
    status = with_child(&commit, do_op);
    if (status == RH_OK && commit.any)
        status = with_child(&commit, check_op);
    keyring_view_drop(component->known);
    component->known = NULL;
    pthread_mutex_unlock(&component->lock);
    rh_arena_done(&commit.arena);
    if (status == RH_OK)
        *ret_commit = RH_COMMIT_DONE;
    else {
        rh_unit_forget(&session->unit);
        *ret_commit = commit.any ? RH_COMMIT_UNKNOWN : RH_COMMIT_NOT_DONE;
    }
    rh_unit_end(&session->unit);
    return status;
}

static enum rh_status elsewhere_begin(struct rh_ctx *ctx,
                                      struct rh_session *base,
                                      const struct rh_dataset *dataset,
                                      const struct rh_digest_key *digest)
{
    struct elsewhere_session *session = (struct elsewhere_session *)base;
    (void)dataset;
    const enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (status == RH_OK)
        rh_unit_begin(&session->unit, digest);
    return status;
}

static enum rh_status
elsewhere_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct elsewhere_session *session = (struct elsewhere_session *)base;
    for (size_t i = 0; i < batch->count; i++) {
        const enum rh_status status = batch->records[i].field_count == RH_KEYRING_FIELDS
                                          ? record_fits(&batch->records[i], ctx->err)
                                          : rh_fail(ctx->err, RH_E_INTERNAL, "a key without type and bytes");
        if (status != RH_OK)
            return rh_error_prepend(ctx->err, "the destination can't hold %s", RH_SHOW_KEY(batch->records[i].key));
    }
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .mode = mode});
}

static enum rh_status elsewhere_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct elsewhere_session *session = (struct elsewhere_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .remove = true});
}

static void elsewhere_abort(struct rh_session *base)
{
    rh_unit_end(&((struct elsewhere_session *)base)->unit); /* nothing was sent before commit */
}

/* --- store and sessions --- */

/* The folder whose configuration is read, behind symbolic links. */
static void config_folder(const struct component *component, char *out, size_t size)
{
    const struct component_config *config = &component->config;
    const char *folder = config->instance ? config->instance : config->folder;
    rh_auto_free char *real = realpath(folder, NULL);
    (void)snprintf(out, size, "%s", real ? real : folder);
}

/* What tells this keystore from others: its file, where the component names one; else what it says of itself, and where
 * its configuration is. */
static void
tell_identity(const struct component *component, const struct component_facts *known, struct rh_facts *facts)
{
    struct stat st;
    rh_auto_free char *folder = strdup(known->data_file);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash && slash > folder) {
        *slash = '\0';
        if (stat(folder, &st) == 0) {
            (void)snprintf(facts->identity, sizeof facts->identity, "keyring:%llu:%llu/%.180s",
                           (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, slash + 1);
            return;
        }
    }
    char where[160];
    config_folder(component, where, sizeof where);
    (void)snprintf(facts->identity, sizeof facts->identity, "component:%.60s:%s", component->library.name, where);
}

enum rh_status elsewhere_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place)
{
    const struct component *component = component_of((const struct keyring_store *)base);
    char where[200];
    config_folder(component, where, sizeof where);
    return rh_buf_format(ret_place, ctx->err, "%.100s:%s", component->library.name, where);
}

static enum rh_status elsewhere_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct component *component = component_in(base);
    struct keyring_view *view = NULL;
    rh_auto_buf struct rh_buf place = RH_BUF_INIT;
    struct rh_facts facts = {
        .tls = "the component's own",
        .exists = RH_YES,
        .owner_blind = "a server that has this keystore loaded can't be seen by its component",
    };
    enum rh_status status = get_view(ctx, component, false, &view);
    if (status == RH_OK)
        status = elsewhere_locate(ctx, base->store, &place);
    keyring_view_drop(view);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&component->lock);
    const struct component_facts known = component->facts;
    pthread_mutex_unlock(&component->lock);
    (void)snprintf(facts.product, sizeof facts.product, "%s", component->library.name);
    (void)snprintf(facts.version, sizeof facts.version, "%s", known.version);
    (void)snprintf(facts.place, sizeof facts.place, "%s", rh_buf_cstr(&place));
    (void)snprintf(facts.address, sizeof facts.address, "%s", facts.place);
    facts.writable = known.writes ? RH_YES : RH_NO;
    tell_identity(component, &known, &facts);
    *ret_facts = facts;
    return RH_OK;
}

static enum rh_status
elsewhere_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct elsewhere_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    *ret_session = &session->base;
    return RH_OK;
}

static void elsewhere_session_close(struct rh_session *base)
{
    if (!base)
        return;
    rh_unit_done(&((struct elsewhere_session *)base)->unit);
    free(base);
}

/* The configuration that was read: another one is another keystore. */
static enum rh_status elsewhere_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    return elsewhere_locate(ctx, base->store, ret_text);
}

static const struct rh_read_ops read_ops = {
    .datasets = keyring_datasets,
    .scan_open = elsewhere_scan_open,
    .scan_next = keyring_scan_next,
    .scan_close = keyring_scan_close,
    .get = elsewhere_get,
};

static const struct rh_write_ops write_ops = {
    .torn_replace = true,
    .fits = elsewhere_fits,
    .trial = elsewhere_trial,
    .begin = elsewhere_begin,
    .put = elsewhere_put,
    .remove = elsewhere_remove,
    .commit = elsewhere_commit,
    .abort = elsewhere_abort,
};

static const struct rh_guard_ops guard_ops = {.unmarked = true, .fingerprint = elsewhere_fingerprint};

const struct rh_driver elsewhere_driver = {
    .name = "keyring_component",
    .summary = "the keystore of a MySQL keyring component, where that isn't a file",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KEYRING,
    .record_class = RH_RECORDS_SECRET,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .close = keyring_close,
    .session_open = elsewhere_session_open,
    .session_close = elsewhere_session_close,
    .facts = elsewhere_facts,
    .overlaps = keyring_overlaps, /* it lies in no folder */
    .locate = elsewhere_locate,
    .read = &read_ops,
    .write = &write_ops,
    .guard = &guard_ops,
};
