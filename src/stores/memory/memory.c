/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference driver (memory.h): what the contract means, with nothing in the way. One mutex guards all tables; a
 * commit is one critical section, so a batch shows whole or not at all.
 */
#include "memory.h"

#include <common.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    uint8_t *key, *value; /* value stands behind key in one allocation */
    size_t key_size, value_size;
    bool is_null;
};

/* One named table: entries in byte order of the key. Never freed, so that pointers stay good. */
struct table {
    struct table *next;
    char *name;
    struct entry **entries;
    size_t count, capacity;
    uint64_t generation; /* random; a new one after each drop */
};

struct memory_store {
    struct rh_store base;
    struct table *table;
    uint64_t max_value_bytes; /* 0 = any */
};

/* One put or remove between begin and commit. */
struct unit_call {
    struct rh_batch *batch;
    bool remove;
    enum rh_put_mode mode;
};

struct memory_session {
    struct rh_session base;
    bool begun;
    const struct rh_digest_key *digest;
    struct unit_call calls[16];
    size_t call_count;
};

struct memory_scan {
    struct rh_scan base;
    unsigned flags;
    struct rh_buf to, last; /* last: the key after which to go on */
    bool from_open;         /* `last` itself still belongs to the range */
};

static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;
static struct table *tables;

/* --- tables; all of these under the lock --- */

static struct rh_bytes entry_key(const struct entry *entry)
{
    return rh_bytes(entry->key, entry->key_size);
}

/* A new entry with copies; NULL when memory is out. */
static struct entry *entry_new(struct rh_bytes key, struct rh_bytes value, bool is_null)
{
    struct entry *entry = malloc(sizeof(*entry));
    uint8_t *data = malloc(key.size + value.size + 1);
    if (!entry || !data) {
        free(entry);
        free(data);
        return NULL;
    }
    if (key.size)
        memcpy(data, key.data, key.size);
    if (value.size)
        memcpy(data + key.size, value.data, value.size);
    *entry = (struct entry){
        .key = data, .value = data + key.size, .key_size = key.size, .value_size = value.size, .is_null = is_null};
    return entry;
}

static void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    free(entry->key);
    free(entry);
}

/* The first place whose key isn't below `key`; *ret_found says whether it is the key itself. */
static size_t table_find(const struct table *table, struct rh_bytes key, bool *ret_found)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rh_bytes_compare(entry_key(table->entries[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < table->count && rh_bytes_equal(entry_key(table->entries[low]), key);
    return low;
}

/* Room for `more` entries. */
static bool table_reserve(struct table *table, size_t more)
{
    if (table->capacity - table->count >= more)
        return true;
    size_t capacity = table->capacity ? table->capacity : 64;
    while (capacity - table->count < more)
        capacity *= 2;
    struct entry **entries = realloc(table->entries, capacity * sizeof(struct entry *));
    if (!entries)
        return false;
    table->entries = entries;
    table->capacity = capacity;
    return true;
}

/* Puts the entry in its place; the room is there. */
static void table_set(struct table *table, struct entry *entry)
{
    bool found;
    size_t at = table_find(table, entry_key(entry), &found);
    if (found) {
        entry_free(table->entries[at]);
    } else {
        memmove(table->entries + at + 1, table->entries + at, (table->count - at) * sizeof(struct entry *));
        table->count++;
    }
    table->entries[at] = entry;
}

static void table_cut(struct table *table, size_t at)
{
    entry_free(table->entries[at]);
    table->count--;
    memmove(table->entries + at, table->entries + at + 1, (table->count - at) * sizeof(struct entry *));
}

/* The table of that name, or NULL. */
static struct table *table_named(const char *name)
{
    struct table *table = tables;
    while (table && strcmp(table->name, name) != 0)
        table = table->next;
    return table;
}

/* The table of that name, made when needed; NULL when memory or randomness is out. */
static struct table *table_made(const char *name)
{
    struct table *table = table_named(name);
    if (table)
        return table;
    table = calloc(1, sizeof(*table));
    char *copy = strdup(name);
    if (!table || !copy || rh_random(&table->generation, sizeof(table->generation), NULL) != RH_OK) {
        free(table);
        free(copy);
        return NULL;
    }
    table->name = copy;
    table->next = tables;
    tables = table;
    return table;
}

/* --- behind the engine's back --- */

enum rh_status rh_memory_peek(const char *name, struct rh_bytes key, struct rh_buf *value, bool *ret_null)
{
    enum rh_status status = RH_NOT_FOUND;
    pthread_mutex_lock(&tables_lock);
    struct table *table = table_named(name);
    bool found = false;
    size_t at = table ? table_find(table, key, &found) : 0;
    if (table && found) {
        const struct entry *entry = table->entries[at];
        status = value ? rh_buf_add(value, entry->value, entry->value_size, NULL) : RH_OK;
        if (ret_null)
            *ret_null = entry->is_null;
    }
    pthread_mutex_unlock(&tables_lock);
    return status;
}

enum rh_status rh_memory_poke(const char *name, struct rh_bytes key, struct rh_bytes value, bool is_null)
{
    enum rh_status status = RH_E_MEMORY;
    struct entry *entry = entry_new(key, value, is_null);
    pthread_mutex_lock(&tables_lock);
    struct table *table = table_made(name);
    if (entry && table && table_reserve(table, 1)) {
        table_set(table, rh_take(entry));
        status = RH_OK;
    }
    pthread_mutex_unlock(&tables_lock);
    entry_free(entry);
    return status;
}

enum rh_status rh_memory_erase(const char *name, struct rh_bytes key)
{
    bool found = false;
    pthread_mutex_lock(&tables_lock);
    struct table *table = table_named(name);
    size_t at = table ? table_find(table, key, &found) : 0;
    if (table && found)
        table_cut(table, at);
    pthread_mutex_unlock(&tables_lock);
    return found ? RH_OK : RH_NOT_FOUND;
}

size_t rh_memory_count(const char *name)
{
    pthread_mutex_lock(&tables_lock);
    const struct table *table = table_named(name);
    size_t count = table ? table->count : 0;
    pthread_mutex_unlock(&tables_lock);
    return count;
}

void rh_memory_drop(const char *name)
{
    pthread_mutex_lock(&tables_lock);
    struct table *table = table_named(name);
    if (table) {
        for (size_t i = 0; i < table->count; i++)
            entry_free(table->entries[i]);
        free(table->entries);
        table->entries = NULL;
        table->count = table->capacity = 0;
        table->generation++;
    }
    pthread_mutex_unlock(&tables_lock);
}

/* --- lifecycle and facts --- */

static const struct rh_option options[] = {
    {.name = "name",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_REQUIRED,
     .value_name = "NAME",
     .help = "the table's name within this process"},
    {.name = "max_value_size",
     .type = RH_OPT_SIZE,
     .initial = "0",
     .value_name = "SIZE",
     .help = "the largest value it takes; 0 for any"},
    {.name = "disable_transactions",    .type = RH_OPT_IGNORED, .help = "taken for Vault's sake, without effect"},
    {.name = "redirect_addr",
     .type = RH_OPT_IGNORED,
     .flags = RH_OPT_HIDDEN,
     .help = "taken for Vault's sake, without effect"},
    {.name = "advertise_addr",
     .type = RH_OPT_IGNORED,
     .flags = RH_OPT_HIDDEN,
     .help = "taken for Vault's sake, without effect"},
    {.name = "cluster_addr",
     .type = RH_OPT_IGNORED,
     .flags = RH_OPT_HIDDEN,
     .help = "taken for Vault's sake, without effect"},
    {.name = "disable_clustering",
     .type = RH_OPT_IGNORED,
     .flags = RH_OPT_HIDDEN,
     .help = "taken for Vault's sake, without effect"},
    {.name = NULL},
};

static enum rh_status memory_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct memory_store *store = calloc(1, sizeof(*store));
    if (!store)
        return rh_fail_memory(ctx->err);
    pthread_mutex_lock(&tables_lock);
    store->table = table_made(rh_options_text(args->options, "name"));
    pthread_mutex_unlock(&tables_lock);
    if (!store->table) {
        free(store);
        return rh_fail_memory(ctx->err);
    }
    store->base.driver = &rh_memory_driver;
    store->max_value_bytes = (uint64_t)rh_options_int(args->options, "max_value_size");
    *ret_store = &store->base;
    return RH_OK;
}

static void memory_close(struct rh_store *base)
{
    free((struct memory_store *)base);
}

static enum rh_status
memory_session_open(struct rh_ctx *ctx, struct rh_store *store, enum rh_role role, struct rh_session **ret_session)
{
    struct memory_session *session = calloc(1, sizeof(*session));
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = store, .role = role};
    *ret_session = &session->base;
    return RH_OK;
}

static void memory_session_close(struct rh_session *base)
{
    free((struct memory_session *)base);
}

static struct table *session_table(struct rh_session *base)
{
    return ((struct memory_store *)base->store)->table;
}

static enum rh_status memory_facts(struct rh_ctx *ctx, struct rh_session *session, struct rh_facts *ret_facts)
{
    const struct memory_store *store = (struct memory_store *)session->store;
    struct rh_facts facts = {.product = "memory",
                             .version = RH_VERSION,
                             .tls = "local",
                             .owner_blind = "lives in this process only",
                             .writable = RH_YES,
                             .exists = RH_YES,
                             .limits.value_bytes = store->max_value_bytes};
    (void)ctx;
    snprintf(facts.address, sizeof(facts.address), "memory:%s", store->table->name);
    snprintf(facts.identity, sizeof(facts.identity), "memory:%s", store->table->name);
    *ret_facts = facts;
    return RH_OK;
}

/* --- read --- */

static void memory_scan_close(struct rh_scan *base)
{
    struct memory_scan *scan = (struct memory_scan *)base;
    if (!scan)
        return;
    rh_buf_done(&scan->to);
    rh_buf_done(&scan->last);
    free(scan);
}

static enum rh_status memory_scan_open(struct rh_ctx *ctx,
                                       struct rh_session *session,
                                       const struct rh_dataset *dataset,
                                       struct rh_range range,
                                       struct rh_bytes after,
                                       unsigned flags,
                                       struct rh_scan **ret_scan)
{
    (void)dataset;
    struct memory_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return rh_fail_memory(ctx->err);
    scan->base.session = session;
    scan->flags = flags;
    const struct rh_scan_start start = rh_scan_start(range, after);
    scan->from_open = !start.past;
    if (rh_buf_add(&scan->to, range.to.data, range.to.size, ctx->err) != RH_OK ||
        rh_buf_add(&scan->last, start.key.data, start.key.size, ctx->err) != RH_OK) {
        memory_scan_close(&scan->base);
        return RH_E_MEMORY;
    }
    *ret_scan = &scan->base;
    return RH_OK;
}

/* One entry into the batch; false when memory is out. */
static bool batch_take(struct rh_batch *batch, const struct entry *entry, unsigned flags)
{
    if (!(flags & RH_SCAN_KEYS_ONLY))
        return rh_batch_add_kv(batch, entry_key(entry), rh_bytes(entry->value, entry->value_size), entry->is_null);
    struct rh_bytes key = rh_arena_copy(&batch->arena, entry_key(entry));
    struct rh_record *record = key.data || !entry->key_size ? rh_batch_add(batch) : NULL;
    if (!record)
        return false;
    record->key = key;
    record->value_bytes = flags & RH_SCAN_SIZES ? entry->value_size : 0;
    batch->bytes += key.size;
    return true;
}

static enum rh_status memory_scan_next(
    struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct memory_scan *scan = (struct memory_scan *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&tables_lock);
    const struct table *table = session_table(base->session);
    bool found;
    size_t at = table_find(table, rh_buf_bytes(&scan->last), &found);
    if (found && !scan->from_open)
        at++;
    for (; at < table->count; at++) {
        const struct entry *entry = table->entries[at];
        if (scan->to.size && rh_bytes_compare(entry_key(entry), rh_buf_bytes(&scan->to)) >= 0)
            break;
        if (!batch_take(batch, entry, scan->flags)) {
            status = rh_fail_memory(ctx->err);
            break;
        }
        if (batch->bytes >= want_bytes || batch->count >= want_records)
            break;
    }
    pthread_mutex_unlock(&tables_lock);
    if (status != RH_OK || batch->count == 0)
        return status != RH_OK ? status : RH_END;
    struct rh_bytes last = batch->records[batch->count - 1].key;
    rh_buf_clear(&scan->last);
    scan->from_open = false;
    return rh_buf_add(&scan->last, last.data, last.size, ctx->err);
}

static enum rh_status memory_get(struct rh_ctx *ctx,
                                 struct rh_session *session,
                                 const struct rh_dataset *dataset,
                                 const struct rh_bytes *keys,
                                 size_t count,
                                 struct rh_batch *out)
{
    (void)dataset;
    enum rh_status status = rh_ctx_check(ctx);
    pthread_mutex_lock(&tables_lock);
    const struct table *table = session_table(session);
    for (size_t i = 0; i < count && status == RH_OK && !rh_batch_has_enough(out); i++) {
        bool found;
        size_t at = table_find(table, keys[i], &found);
        if (found && !batch_take(out, table->entries[at], 0))
            status = rh_fail_memory(ctx->err);
    }
    pthread_mutex_unlock(&tables_lock);
    return status;
}

/* --- write --- */

static enum rh_status memory_fits(struct rh_store *base,
                                  const struct rh_dataset *dataset,
                                  struct rh_bytes key,
                                  uint64_t value_bytes,
                                  struct rh_buf *ret_rival,
                                  struct rh_error *err)
{
    const struct memory_store *store = (struct memory_store *)base;
    (void)dataset;
    (void)ret_rival;
    if (key.size == 0)
        return rh_fail(err, RH_E_LIMIT, "the key is empty");
    if (store->max_value_bytes && value_bytes > store->max_value_bytes)
        return rh_fail(err, RH_E_LIMIT, "the value has %llu bytes, the most is %llu", (unsigned long long)value_bytes,
                       (unsigned long long)store->max_value_bytes);
    return RH_OK;
}

static enum rh_status memory_begin(struct rh_ctx *ctx,
                                   struct rh_session *base,
                                   const struct rh_dataset *dataset,
                                   const struct rh_digest_key *digest)
{
    struct memory_session *session = (struct memory_session *)base;
    (void)dataset;
    if (session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "begin writing: already begun");
    session->begun = true;
    session->digest = digest;
    session->call_count = 0;
    return rh_ctx_check(ctx);
}

/* Keeps the call for commit. */
static enum rh_status keep_call(struct rh_ctx *ctx, struct rh_session *base, struct unit_call call)
{
    struct memory_session *session = (struct memory_session *)base;
    if (!session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "write: not begun");
    if (session->call_count == sizeof(session->calls) / sizeof(session->calls[0]))
        return rh_fail(ctx->err, RH_E_INTERNAL, "write: too many calls before a commit");
    session->calls[session->call_count++] = call;
    return rh_ctx_check(ctx);
}

static enum rh_status
memory_put(struct rh_ctx *ctx, struct rh_session *session, struct rh_batch *batch, enum rh_put_mode mode)
{
    const struct memory_store *store = (struct memory_store *)session->store;
    for (size_t i = 0; i < batch->count; i++) {
        const struct rh_record *record = batch->records + i;
        if (record->field_count != 1)
            return rh_fail(ctx->err, RH_E_INTERNAL, "put '%s': a record here has one field", RH_SHOW(record->key));
        if (store->max_value_bytes && record->fields[0].value.size > store->max_value_bytes)
            return rh_fail(ctx->err, RH_E_LIMIT, "put '%s': the value is too large", RH_SHOW(record->key));
    }
    return keep_call(ctx, session, (struct unit_call){.batch = batch, .mode = mode});
}

static enum rh_status memory_remove(struct rh_ctx *ctx, struct rh_session *session, struct rh_batch *batch)
{
    return keep_call(ctx, session, (struct unit_call){.batch = batch, .remove = true});
}

/* Whether the entry's hash is the one expected. */
static bool hash_is(const struct memory_session *session, const struct entry *entry, struct rh_hash expect)
{
    struct rh_field field = {.tag = entry->is_null ? RH_TAG_NULL : RH_TAG_BYTES,
                             .value = rh_bytes(entry->value, entry->value_size)};
    struct rh_record record = {
        .key = entry_key(entry), .fields = &field, .field_count = 1, .value_bytes = entry->value_size};
    return session->digest && rh_hash_equal(rh_digest_record(session->digest, RH_KV_DATASET, &record), expect);
}

/* What happens to one record of a put, without changing anything. */
static enum rh_outcome put_outcome(const struct memory_session *session,
                                   const struct table *table,
                                   const struct rh_record *record,
                                   enum rh_put_mode mode)
{
    bool found;
    size_t at = table_find(table, record->key, &found);
    switch (mode) {
    case RH_PUT_CREATE:
        return found ? RH_OUTCOME_EXISTS : RH_OUTCOME_DONE;
    case RH_PUT_REPLACE:
        return RH_OUTCOME_DONE;
    case RH_PUT_IF_HASH:
        if (record->expect_absent)
            return found ? RH_OUTCOME_CHANGED : RH_OUTCOME_DONE;
        return found && hash_is(session, table->entries[at], record->expect) ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
    }
    return RH_OUTCOME_NONE;
}

/* Carries one call out; `made` are its new entries, one a record, emptied as they are used. */
static void
apply_call(struct memory_session *session, struct table *table, const struct unit_call *call, struct entry **made)
{
    for (size_t i = 0; i < call->batch->count; i++) {
        struct rh_record *record = call->batch->records + i;
        if (call->remove) {
            bool found;
            size_t at = table_find(table, record->key, &found);
            bool ours = found && hash_is(session, table->entries[at], record->expect);
            if (ours)
                table_cut(table, at);
            record->outcome = ours ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
            continue;
        }
        record->outcome = put_outcome(session, table, record, call->mode);
        if (record->outcome == RH_OUTCOME_DONE)
            table_set(table, rh_take(made[i]));
    }
}

/* New entries for the records of all puts, in order; false when memory is out. */
static bool make_entries(const struct memory_session *session, struct entry **made)
{
    for (size_t call = 0; call < session->call_count; call++) {
        const struct rh_batch *batch = session->calls[call].batch;
        for (size_t i = 0; i < batch->count; i++, made++) {
            const struct rh_record *record = batch->records + i;
            if (session->calls[call].remove)
                continue;
            *made = entry_new(record->key, record->fields[0].value, record->fields[0].tag == RH_TAG_NULL);
            if (!*made)
                return false;
        }
    }
    return true;
}

static void memory_abort(struct rh_session *base)
{
    struct memory_session *session = (struct memory_session *)base;
    session->begun = false;
    session->call_count = 0;
}

static enum rh_status memory_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct memory_session *session = (struct memory_session *)base;
    struct table *table = session_table(base);
    size_t total = 0;
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_ctx_check(ctx);
    if (status != RH_OK) {
        memory_abort(base);
        return status;
    }
    for (size_t i = 0; i < session->call_count; i++)
        total += session->calls[i].batch->count;
    struct entry **made = calloc(total + 1, sizeof(struct entry *));
    bool good = made && make_entries(session, made);
    pthread_mutex_lock(&tables_lock);
    good = good && table_reserve(table, total);
    for (size_t i = 0, at = 0; good && i < session->call_count; at += session->calls[i].batch->count, i++)
        apply_call(session, table, session->calls + i, made + at);
    pthread_mutex_unlock(&tables_lock);
    for (size_t i = 0; made && i < total; i++)
        entry_free(made[i]);
    free(made);
    memory_abort(base);
    if (!good)
        return rh_fail_memory(ctx->err);
    *ret_commit = RH_COMMIT_DONE;
    return RH_OK;
}

/* --- guard --- */

static enum rh_status memory_fingerprint(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_text)
{
    pthread_mutex_lock(&tables_lock);
    uint64_t generation = session_table(session)->generation;
    pthread_mutex_unlock(&tables_lock);
    return rh_buf_format(ret_text, ctx->err, "%016llx", (unsigned long long)generation);
}

static const struct rh_read_ops read_ops = {.datasets = rh_kv_datasets,
                                            .scan_open = memory_scan_open,
                                            .scan_next = memory_scan_next,
                                            .scan_close = memory_scan_close,
                                            .get = memory_get};
static const struct rh_write_ops write_ops = {.fits = memory_fits,
                                              .begin = memory_begin,
                                              .put = memory_put,
                                              .remove = memory_remove,
                                              .commit = memory_commit,
                                              .abort = memory_abort};
static const struct rh_guard_ops guard_ops = {.fingerprint = memory_fingerprint};
static const char *const aliases[] = {"inmem", NULL};

const struct rh_driver rh_memory_driver = {
    .name = "memory",
    .aliases = aliases,
    .summary = "a table in this process, for tests and rehearsals",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = options,
    .open = memory_open,
    .close = memory_close,
    .session_open = memory_session_open,
    .session_close = memory_session_close,
    .facts = memory_facts,
    .read = &read_ops,
    .write = &write_ops,
    .guard = &guard_ops,
};
