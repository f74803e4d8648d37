/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a keystore holds. Its keys are read once, a batch at a time, in secret memory that is wiped for the next one;
 * kept of them is what isn't secret: id, owner, type, length.
 */
#include "internal.h"

#include <rehome/inventory.h>

#include <stdlib.h>

enum {
    KEYS_LEAST = 64,
    TYPES_MOST = 16, /* that are remembered; keyrings know four */
};

static const struct rh_dataset keyring = {.name = RH_KEYRING_DATASET};

struct rh_inventory {
    struct rh_inventory_args args;
    struct rh_store *store;
    struct rh_session *session;
    struct rh_facts facts;
    struct rh_arena names;
    struct rh_inventory_key *keys;
    size_t count, capacity;
    struct rh_bytes types[TYPES_MOST];
    size_t type_count;
    /* while a folder is looked at */
    rh_inventory_found *found;
    void *found_user;
};

enum rh_inventory_kind rh_inventory_kind(const struct rh_proof_item *item)
{
    switch (item->kind) {
    case RH_PROOF_TABLESPACE:
        return item->undo ? RH_INVENTORY_UNDO : RH_INVENTORY_TABLESPACE;
    case RH_PROOF_REDO:
        return RH_INVENTORY_REDO;
    case RH_PROOF_BINLOG:
        break;
    }
    return RH_INVENTORY_BINLOG;
}

const char *rh_inventory_kind_name(enum rh_inventory_kind kind)
{
    static const char *const names[RH_INVENTORY_KINDS] = {
        [RH_INVENTORY_TABLESPACE] = "tablespace",
        [RH_INVENTORY_UNDO] = "undo tablespace",
        [RH_INVENTORY_REDO] = "redo log",
        [RH_INVENTORY_BINLOG] = "binary log",
    };
    return names[kind];
}

static struct rh_ctx ctx_of(const struct rh_inventory *inventory, struct rh_error *err)
{
    return (struct rh_ctx){.cancel = inventory->args.cancel, .err = err};
}

enum rh_status
keyring_get_secret(struct rh_ctx *ctx, struct rh_session *session, struct rh_bytes key, struct rh_secret **ret_secret)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    batch.arena.secret = true;
    enum rh_status status = session->store->driver->read->get(ctx, session, &keyring, &key, 1, &batch);
    if (status != RH_OK)
        return status;
    if (batch.count == 0 || batch.records[0].field_count < RH_KEYRING_FIELDS)
        return RH_NOT_FOUND;
    return rh_secret_new(batch.records[0].fields[RH_KEYRING_DATA].value, ret_secret, ctx->err);
}

/* --- reading --- */

/* A type's name, kept once. False when memory is out. */
static bool keep_type(struct rh_inventory *inventory, struct rh_bytes type, struct rh_bytes *ret_type)
{
    for (size_t i = 0; i < inventory->type_count; i++)
        if (rh_bytes_equal(inventory->types[i], type)) {
            *ret_type = inventory->types[i];
            return true;
        }
    *ret_type = rh_arena_copy(&inventory->names, type);
    if (type.size && !ret_type->data)
        return false;
    if (inventory->type_count < TYPES_MOST)
        inventory->types[inventory->type_count++] = *ret_type;
    return true;
}

/* Keeps what isn't secret of a record. */
static enum rh_status keep(struct rh_inventory *inventory, const struct rh_record *record, struct rh_error *err)
{
    if (inventory->count == inventory->capacity) {
        const size_t capacity = inventory->capacity ? inventory->capacity * 2 : KEYS_LEAST;
        struct rh_inventory_key *grown = reallocarray(inventory->keys, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        inventory->keys = grown;
        inventory->capacity = capacity;
    }
    struct rh_inventory_key key = {.bytes = record->fields[RH_KEYRING_DATA].value.size};
    const struct rh_bytes name = rh_arena_copy(&inventory->names, record->key);
    if (!name.data || !keep_type(inventory, record->fields[RH_KEYRING_TYPE].value, &key.type))
        return rh_fail_memory(err);
    if (rh_keyring_key_split(name, &key.owner, &key.id) != RH_OK)
        return rh_fail(err, RH_E_CORRUPT, "a record's key is none of a keyring");
    inventory->keys[inventory->count++] = key;
    return RH_OK;
}

/* Reads all keys, a batch at a time. */
static enum rh_status read_keys(struct rh_inventory *inventory, struct rh_error *err)
{
    const struct rh_read_ops *read = inventory->store->driver->read;
    struct rh_ctx ctx = ctx_of(inventory, err);
    struct rh_scan *scan = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    batch.arena.secret = true;
    enum rh_status status =
        read->scan_open(&ctx, inventory->session, &keyring, (struct rh_range){0}, (struct rh_bytes){0}, 0, &scan);
    while (status == RH_OK) {
        rh_batch_clear(&batch);
        status = read->scan_next(&ctx, scan, BATCH_BYTES, BATCH_RECORDS, &batch);
        for (size_t i = 0; status == RH_OK && i < batch.count; i++)
            status = batch.records[i].field_count < RH_KEYRING_FIELDS
                         ? rh_fail(err, RH_E_CORRUPT, "a record of the keystore has no type or no key")
                         : keep(inventory, &batch.records[i], err);
    }
    if (scan)
        read->scan_close(scan);
    return status == RH_END ? RH_OK : status;
}

/* --- in order --- */

static int compare_keys(const void *a, const void *b)
{
    const struct rh_inventory_key *left = a, *right = b;
    const int order = rh_bytes_compare(left->owner, right->owner);
    return order ? order : rh_keyring_id_order(left->id, right->id);
}

/* Marks the newest of each server's numbered keys. Those of one server stand behind each other, by number. */
static void mark_newest(struct rh_inventory *inventory)
{
    struct rh_inventory_key *last = NULL;
    struct rh_keyring_meaning of_last = {.number = 0};
    for (size_t i = 0; i < inventory->count; i++) {
        struct rh_inventory_key *key = &inventory->keys[i];
        const struct rh_keyring_meaning meaning = rh_keyring_meaning(key->owner, key->id);
        if (meaning.use == RH_KEYRING_USE_OTHER || meaning.use == RH_KEYRING_USE_BINLOG_STATE)
            continue;
        if (last && (meaning.use != of_last.use || !rh_bytes_equal(meaning.server, of_last.server)))
            last->newest = true;
        last = key;
        of_last = meaning;
    }
    if (last)
        last->newest = true;
}

static struct rh_inventory_key *find(const struct rh_inventory *inventory, struct rh_bytes owner, struct rh_bytes id)
{
    const struct rh_inventory_key wanted = {.owner = owner, .id = id};
    return inventory->count ? bsearch(&wanted, inventory->keys, inventory->count, sizeof wanted, compare_keys) : NULL;
}

const struct rh_inventory_key *
rh_inventory_find(const struct rh_inventory *inventory, struct rh_bytes owner, struct rh_bytes id)
{
    return find(inventory, owner, id);
}

const struct rh_inventory_key *rh_inventory_keys(const struct rh_inventory *inventory, size_t *ret_count)
{
    *ret_count = inventory->count;
    return inventory->keys;
}

const struct rh_facts *rh_inventory_facts(const struct rh_inventory *inventory)
{
    return &inventory->facts;
}

/* --- its life --- */

/* A keystore that isn't there holds no keys, but who asks for them has named the wrong place. */
static enum rh_status check_there(const struct rh_inventory *inventory, struct rh_error *err)
{
    if (inventory->facts.exists != RH_NO)
        return RH_OK;
    rh_fail(err, RH_E_IO, "there is no keystore '%s'", RH_SHOW(rh_bytes_text(inventory->facts.address)));
    rh_error_hint(err, "a server tells its own: SELECT * FROM performance_schema.keyring_component_status, or "
                       "@@keyring_file_data");
    return RH_E_IO;
}

/* Opens, looks, reads. */
static enum rh_status fill(struct rh_inventory *inventory, struct rh_error *err)
{
    struct rh_ctx ctx = ctx_of(inventory, err);
    const struct rh_store_args args = {
        .options = inventory->args.options,
        .side = RH_SIDE_NONE, /* whichever it is in a plan: it is only looked at */
        .name = inventory->args.name,
        .spool_dir = inventory->args.spool_dir,
    };
    enum rh_status status = inventory->args.driver->open(&ctx, &args, &inventory->store);
    /* from here on by the store's own driver, which may be another */
    if (status == RH_OK)
        status = inventory->store->driver->session_open(&ctx, inventory->store, RH_ROLE_READ, &inventory->session);
    if (status == RH_OK)
        status = inventory->store->driver->facts(&ctx, inventory->session, &inventory->facts);
    if (status == RH_OK)
        status = check_there(inventory, err);
    if (status == RH_OK)
        status = read_keys(inventory, err);
    return status;
}

enum rh_status
rh_inventory_open(const struct rh_inventory_args *args, struct rh_inventory **ret_inventory, struct rh_error *err)
{
    struct rh_inventory *inventory = calloc(1, sizeof *inventory);
    if (!inventory)
        return rh_fail_memory(err);
    inventory->args = *args;
    struct rh_error why = {0}; /* a driver that tries again may leave the words of its first try */
    enum rh_status status = fill(inventory, &why);
    if (status != RH_OK) {
        if (!rh_failed(status))
            status = rh_fail(&why, RH_E_INTERNAL, "reading the keystore gave no keys");
        why.side = args->side;
        if (err)
            *err = why;
        rh_inventory_close(inventory);
        return status;
    }
    if (inventory->count)
        qsort(inventory->keys, inventory->count, sizeof *inventory->keys, compare_keys);
    mark_newest(inventory);
    *ret_inventory = inventory;
    return RH_OK;
}

void rh_inventory_close(struct rh_inventory *inventory)
{
    if (!inventory)
        return;
    side_session_close(inventory->session);
    if (inventory->store)
        inventory->args.driver->close(inventory->store);
    rh_arena_done(&inventory->names);
    free(inventory->keys);
    free(inventory);
}

/* --- what uses it --- */

static enum rh_status give_key(void *user, const char *id, struct rh_secret **ret_key, struct rh_error *err)
{
    struct rh_inventory *inventory = user;
    struct rh_ctx ctx = ctx_of(inventory, err);
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    enum rh_status status = rh_keyring_key_add(&key, rh_bytes(NULL, 0), rh_bytes_text(id), err);
    if (status == RH_OK)
        status = keyring_get_secret(&ctx, inventory->session, rh_buf_bytes(&key), ret_key);
    if (rh_failed(status) && err)
        err->side = inventory->args.side;
    return status;
}

/* The server's own ids that begin with a prefix; they come first. */
static enum rh_status give_ids(void *user,
                               const char *prefix,
                               enum rh_status (*add)(void *add_user, struct rh_bytes id, struct rh_error *err),
                               void *add_user,
                               struct rh_error *err)
{
    const struct rh_inventory *inventory = user;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < inventory->count && inventory->keys[i].owner.size == 0; i++)
        if (rh_bytes_starts(inventory->keys[i].id, rh_bytes_text(prefix)))
            status = add(add_user, inventory->keys[i].id, err);
    return status;
}

/* Counts a file for its key and hands both on. */
static enum rh_status count_file(void *user, const struct rh_proof_item *item, struct rh_error *err)
{
    struct rh_inventory *inventory = user;
    struct rh_inventory_key *key =
        item->key_id[0] ? find(inventory, rh_bytes(NULL, 0), rh_bytes_text(item->key_id)) : NULL;
    if (key)
        key->files[rh_inventory_kind(item)]++;
    return inventory->found ? inventory->found(inventory->found_user, item, key, err) : RH_OK;
}

enum rh_status rh_inventory_prove(struct rh_inventory *inventory,
                                  const char *folder,
                                  rh_inventory_found *found,
                                  void *user,
                                  struct rh_proof_counts *ret_counts,
                                  struct rh_error *err)
{
    const struct rh_proof_args args = {.folder = folder,
                                       .cancel = inventory->args.cancel,
                                       .user = inventory,
                                       .key = give_key,
                                       .ids = give_ids,
                                       .found = count_file};
    struct rh_error why = {0}; /* as in rh_inventory_open */
    inventory->found = found;
    inventory->found_user = user;
    enum rh_status status = rh_proof_run(&args, ret_counts, &why);
    if (status != RH_OK && err)
        *err = why;
    return status;
}
