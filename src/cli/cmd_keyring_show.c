/* SPDX-License-Identifier: Apache-2.0 */
/* rehome keyring show: one key's facts, and which files use it. */
#include "keystore.h"

static const struct rh_option options[] = {
    {.name = "id",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_REQUIRED | RH_OPT_POSITIONAL,
     .value_name = "ID",
     .help = "the key's id, as it is or as 'rehome keyring list' prints it"},
    {.name = "owner",
     .type = RH_OPT_TEXT,
     .value_name = "OWNER",
     .help = "its owner, USER@HOST, where several have an id; '' for a server's own"},
    KEYSTORE_OPTION_DATADIR("a MySQL server's data folder: names its files that use the key; may be repeated"),
    KEYSTORE_OPTIONS,
    RH_OPTION_END,
};

struct show {
    struct keystore keystore;
    struct keystore_files files;
    struct rh_proof_counts counts;
    struct rh_bytes id;
    const char *owner; /* NULL: any */
    bool folders;
};

/* What rh_show made of bytes, back into them: \xNN and \\. */
static enum rh_status unshow(const char *text, struct rh_buf *out, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (const char *at = text; status == RH_OK && *at; at++) {
        unsigned byte = (uint8_t)*at;
        if (at[0] == '\\' && at[1] == '\\')
            at++;
        else if (at[0] == '\\' && at[1] == 'x' && strspn(at + 2, "0123456789abcdef") >= 2) {
            byte = 0;
            for (int i = 2; i < 4; i++)
                byte = byte << 4 | (unsigned)(at[i] <= '9' ? at[i] - '0' : at[i] - 'a' + 10);
            at += 3;
        }
        status = rh_buf_u8(out, (uint8_t)byte, err);
    }
    return status;
}

static bool is_wanted(const struct show *show, const struct rh_inventory_key *key)
{
    return rh_bytes_equal(key->id, show->id) &&
           (!show->owner || rh_bytes_equal(key->owner, rh_bytes_text(show->owner)));
}

/* The first key from a place on that is wanted; NULL when there is none. */
static const struct rh_inventory_key *next_key(const struct show *show, const struct rh_inventory_key *after)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(show->keystore.inventory, &count);
    for (size_t i = after ? (size_t)(after - keys) + 1 : 0; i < count; i++)
        if (is_wanted(show, &keys[i]))
            return &keys[i];
    return NULL;
}

/* The id as it was given, or else as it was printed. */
static enum rh_status find_id(struct show *show, const char *text, struct rh_buf *unshown)
{
    struct rh_error *err = &show->keystore.err;
    show->id = rh_bytes_text(text);
    if (next_key(show, NULL))
        return RH_OK;
    enum rh_status status = unshow(text, unshown, err);
    if (status != RH_OK)
        return status;
    show->id = rh_buf_bytes(unshown);
    if (next_key(show, NULL))
        return RH_OK;
    rh_fail(err, RH_E_MISMATCH, "the keystore '%s' holds no key '%s'%s%s%s",
            RH_SHOW(rh_bytes_text(rh_inventory_facts(show->keystore.inventory)->address)), RH_SHOW(rh_bytes_text(text)),
            show->owner ? " of '" : "", show->owner ? RH_SHOW(rh_bytes_text(show->owner)) : "", show->owner ? "'" : "");
    rh_error_hint(err, "'rehome keyring list' prints the ids and owners that there are");
    return RH_E_MISMATCH;
}

/* --- words --- */

/* Its server's keys of this kind: how many there are, and the newest. */
static uint64_t siblings(const struct show *show, const struct rh_inventory_key *key, uint64_t *ret_newest)
{
    const struct rh_keyring_meaning meaning = rh_keyring_meaning(key->owner, key->id);
    size_t count;
    uint64_t found = 0;
    const struct rh_inventory_key *keys = rh_inventory_keys(show->keystore.inventory, &count);
    for (size_t i = 0; i < count && keys[i].owner.size == 0; i++) {
        const struct rh_keyring_meaning other = rh_keyring_meaning(keys[i].owner, keys[i].id);
        if (other.use != meaning.use || !rh_bytes_equal(other.server, meaning.server))
            continue;
        found++;
        if (keys[i].newest)
            *ret_newest = other.number;
    }
    return found;
}

/* Whether it is the newest of its server's. */
static void put_newest(const struct show *show, const struct rh_inventory_key *key)
{
    const enum rh_keyring_use use = rh_keyring_meaning(key->owner, key->id).use;
    uint64_t newest = 0;
    if (use == RH_KEYRING_USE_OTHER || use == RH_KEYRING_USE_BINLOG_STATE)
        return;
    const uint64_t count = siblings(show, key, &newest);
    if (key->newest && count == 1)
        puts("  newest   yes, and the only one here");
    else if (key->newest)
        printf("  newest   yes, of the %s of its server here\n", rh_words_count(count).text);
    else
        printf("  newest   no, number %llu is\n", (unsigned long long)newest);
}

/* "in '/var/lib/mysql'" or "in 2 folders". */
static struct rh_shown where(const struct keystore *keystore)
{
    struct rh_shown text;
    if (keystore_folder_count(keystore) == 1)
        snprintf(text.text, sizeof text.text, "'%.300s'", RH_SHOW(rh_bytes_text(keystore_folder(keystore, 0))));
    else
        snprintf(text.text, sizeof text.text, "%zu data folders", keystore_folder_count(keystore));
    return text;
}

/* The files that need it. */
static void put_files(const struct show *show, const struct rh_inventory_key *key)
{
    if (!show->folders)
        return;
    const struct rh_shown folders = where(&show->keystore);
    if (!keystore_provable(key)) {
        puts("  used by  no file names such keys");
        return;
    }
    if (rh_inventory_files(key) == 0) {
        printf("  used by  nothing in %s\n", folders.text);
        return;
    }
    printf("  used by  %s in %s\n", keystore_uses(key->files).text, folders.text);
    for (size_t i = 0; i < show->files.count; i++) {
        const struct keystore_file *file = &show->files.files[i];
        printf("             %-8s  %-15s  ", keystore_result(file->result), rh_inventory_kind_name(file->kind));
        keystore_put(stdout, keystore_file_name(&show->files, file));
        putchar('\n');
    }
}

/* One key for people. */
static void put_key(const struct show *show, const struct rh_inventory_key *key)
{
    fputs("key '", stdout);
    keystore_put(stdout, key->id);
    fputs("'\n  owner    ", stdout);
    if (key->owner.size)
        keystore_put(stdout, key->owner);
    else
        fputs("none: a server's own", stdout);
    fputs("\n  type     ", stdout);
    keystore_put(stdout, key->type);
    printf("\n  length   %s", keystore_count(key->bytes, "byte").text);
    printf("\n  what     %s\n", keystore_long(key).text);
    put_newest(show, key);
    put_files(show, key);
}

static void put_text(const struct show *show)
{
    const struct rh_inventory_key *key = NULL;
    for (size_t i = 0; (key = next_key(show, key)); i++) {
        if (i)
            putchar('\n');
        put_key(show, key);
    }
}

/* All as JSON. */
static void put_json(const struct show *show)
{
    const struct rh_inventory_key *key = NULL;
    json_t *keys = json_array(), *facts = keystore_facts_json(&show->keystore);
    while ((key = next_key(show, key))) {
        json_t *object = keystore_key_json(key, show->folders), *files = json_array();
        for (size_t i = 0; i < show->files.count && show->files.files[i].key == key; i++)
            json_array_append_new(files, keystore_file_json(&show->files.files[i]));
        if (show->folders)
            json_object_set(object, "files", files);
        json_decref(files);
        json_array_append_new(keys, object);
    }
    fputs("{\n  \"keystore\": ", stdout);
    json_dumpf(facts, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    fputs(",\n  \"keys\": ", stdout);
    json_dumpf(keys, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(facts);
    json_decref(keys);
}

/* The folders, for the server's own key of that id: no other is named by files. */
static enum rh_status look_at_folders(struct show *show)
{
    show->files.only = rh_inventory_find(show->keystore.inventory, rh_bytes(NULL, 0), show->id);
    show->files.paths = keystore_folder_count(&show->keystore) > 1;
    enum rh_status status =
        keystore_prove(&show->keystore, show->files.only ? keystore_files_add : NULL, &show->files, &show->counts);
    keystore_files_sort(&show->files);
    return status;
}

static enum rh_exit run(const struct rh_command *command, const struct rh_options *values)
{
    struct show show = {.owner = rh_options_text(values, "owner")};
    rh_auto_buf struct rh_buf unshown = RH_BUF_INIT;
    enum rh_status status = keystore_open(&show.keystore, command, values);
    if (status == RH_OK)
        status = find_id(&show, rh_options_text(values, "id"), &unshown);
    show.folders = status == RH_OK && keystore_folder_count(&show.keystore) > 0;
    if (show.folders)
        status = look_at_folders(&show);
    const bool json = show.keystore.json && status == RH_OK;
    if (json)
        put_json(&show);
    else if (status == RH_OK)
        put_text(&show);
    fflush(stdout);
    if (status == RH_OK)
        keystore_warn(&show.keystore);
    keystore_files_done(&show.files);
    return keystore_close(&show.keystore, json);
}

const struct rh_command rh_cmd_keyring_show = {
    .name = "keyring show",
    .summary = "show one key: whose it is, whether it is the newest, what uses it",
    .usage = "[OPTIONS] ID " KEYSTORE_USAGE,
    .detail =
        "With --datadir it names the tablespaces and logs that need the key. Nothing is changed, and a server may be\n"
        "running. For example:\n\n"
        "  rehome keyring show INNODBKey-6e28e07a-5b2e-4067-8642-a79c001903d9-3 \\\n"
        "      /var/lib/mysql-keyring/keys --datadir /var/lib/mysql",
    .options = options,
    .parse = keystore_parse,
    .run = run,
};
