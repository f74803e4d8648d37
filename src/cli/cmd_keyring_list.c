/* SPDX-License-Identifier: Apache-2.0 */
/* rehome keyring list: which keys a keystore holds, and with data folders, how many files use each. */
#include "keystore.h"

#include <strings.h>

enum { OWNER_MOST = 32 }; /* columns of an owner; a longer one pushes the rest to the right */

static const struct rh_option options[] = {
    {.name = "id",    .type = RH_OPT_TEXT, .value_name = "PREFIX", .help = "only keys whose id begins so"},
    {.name = "owner",
     .type = RH_OPT_TEXT,
     .value_name = "OWNER",
     .help = "only keys of this account, USER@HOST; '' for the servers' own"                             },
    {.name = "type",
     .type = RH_OPT_TEXT,
     .value_name = "TYPE",
     .help = "only keys of this type: AES, RSA, DSA, SECRET"                                             },
    KEYSTORE_OPTION_DATADIR("a MySQL server's data folder: counts its files that use each key; may be repeated"),
    KEYSTORE_OPTIONS,
    RH_OPTION_END,
};

struct list {
    struct keystore keystore;
    struct rh_proof_counts counts;
    const char *id, *owner, *type; /* NULL: any */
    size_t type_width, owner_width, what_width;
    uint64_t shown, own, others;
    bool folders;
};

/* Whether the filters let a key through. */
static bool is_wanted(const struct list *list, const struct rh_inventory_key *key)
{
    const bool type = !list->type || (strlen(list->type) == key->type.size &&
                                      strncasecmp(list->type, (const char *)key->type.data, key->type.size) == 0);
    return type && (!list->id || rh_bytes_starts(key->id, rh_bytes_text(list->id))) &&
           (!list->owner || rh_bytes_equal(key->owner, rh_bytes_text(list->owner)));
}

static void widen(size_t *width, size_t to, size_t most)
{
    to = to < most ? to : most;
    *width = to > *width ? to : *width;
}

/* Counts what will be shown, and how wide its columns are. */
static void measure(struct list *list)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(list->keystore.inventory, &count);
    list->type_width = strlen("TYPE");
    list->owner_width = strlen("OWNER");
    list->what_width = strlen("WHAT");
    for (size_t i = 0; i < count; i++) {
        if (!is_wanted(list, &keys[i]))
            continue;
        widen(&list->type_width, keystore_width(keys[i].type), OWNER_MOST);
        widen(&list->owner_width, keystore_width(keys[i].owner), OWNER_MOST);
        widen(&list->what_width, strlen(keystore_short(&keys[i]).text), SIZE_MAX);
        list->shown++;
        list->own += keys[i].owner.size == 0;
        list->others += keys[i].owner.size != 0;
    }
}

/* One line of the table. The id stands last, since it may be of any length. */
static void put_row(const struct list *list, const struct rh_inventory_key *key)
{
    const struct keystore_words what = keystore_short(key);
    const struct rh_bytes none = rh_bytes_text("-");
    keystore_pad(stdout, key->type, list->type_width);
    printf("  %5llu  ", (unsigned long long)key->bytes);
    keystore_pad(stdout, key->owner.size ? key->owner : none, list->owner_width);
    printf("  ");
    keystore_pad(stdout, what.text[0] ? rh_bytes_text(what.text) : none, list->what_width);
    if (list->folders && keystore_provable(key))
        printf("  %6lu  %4lu  %4lu  %4lu", (unsigned long)key->files[RH_INVENTORY_TABLESPACE],
               (unsigned long)key->files[RH_INVENTORY_UNDO], (unsigned long)key->files[RH_INVENTORY_REDO],
               (unsigned long)key->files[RH_INVENTORY_BINLOG]);
    else if (list->folders)
        printf("  %6s  %4s  %4s  %4s", "-", "-", "-", "-");
    printf("  ");
    keystore_put(stdout, key->id);
    putchar('\n');
}

/* The table. */
static void put_table(const struct list *list)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(list->keystore.inventory, &count);
    if (list->shown == 0)
        return;
    printf("%-*s  BYTES  %-*s  %-*s  %sID\n", (int)list->type_width, "TYPE", (int)list->owner_width, "OWNER",
           (int)list->what_width, "WHAT", list->folders ? "SPACES  UNDO  REDO  LOGS  " : "");
    for (size_t i = 0; i < count && !ferror(stdout); i++)
        if (is_wanted(list, &keys[i]))
            put_row(list, &keys[i]);
}

/* What the folders came to. */
static json_t *counts_json(const struct rh_proof_counts *counts)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:b}", "files", (json_int_t)counts->files, "encrypted",
                     (json_int_t)counts->encrypted, "opened", (json_int_t)counts->opened, "failed",
                     (json_int_t)counts->failed, "server_at_work", counts->server != 0);
}

/* The same as JSON, a key a line. */
static void put_json(const struct list *list)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(list->keystore.inventory, &count);
    json_t *facts = keystore_facts_json(&list->keystore);
    fputs("{\n  \"keystore\": ", stdout);
    json_dumpf(facts, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(facts);
    fputs(",\n  \"keys\": [", stdout);
    const char *before = "\n    ";
    for (size_t i = 0; i < count && !ferror(stdout); i++) {
        if (!is_wanted(list, &keys[i]))
            continue;
        json_t *key = keystore_key_json(&keys[i], list->folders);
        fputs(before, stdout);
        json_dumpf(key, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(key);
        before = ",\n    ";
    }
    json_t *counts = list->folders ? counts_json(&list->counts) : json_null();
    printf("%s],\n  \"shown\": %llu,\n  \"count\": %zu,\n  \"data\": ", list->shown ? "\n  " : "",
           (unsigned long long)list->shown, count);
    json_dumpf(counts, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(counts);
}

/* "7 keys in component_keyring_file '/path': 5 of servers, 2 of accounts". */
static void put_total(const struct list *list)
{
    size_t count;
    const char *address = rh_inventory_facts(list->keystore.inventory)->address;
    rh_inventory_keys(list->keystore.inventory, &count);
    const struct keystore_words all = keystore_count(count, "key");
    char head[256], tail[256] = "";
    if (list->shown < count)
        snprintf(head, sizeof head, "%s of %s", rh_words_count(list->shown).text, all.text);
    else
        snprintf(head, sizeof head, "%s", all.text);
    if (list->shown)
        snprintf(tail, sizeof tail, "%s of servers, %s of accounts", rh_words_count(list->own).text,
                 rh_words_count(list->others).text);
    rh_talk("%s in %s '%s'%s%s", head, list->keystore.driver->name, RH_SHOW(rh_bytes_text(address)),
            tail[0] ? ": " : "", tail);
    if (list->folders && list->counts.failed)
        rh_talk("%s %s opened by them: 'rehome keyring check' names what",
                keystore_count(list->counts.failed, "encrypted file").text,
                list->counts.failed == 1 ? "isn't" : "aren't");
}

/* Reads, counts, prints. */
static enum rh_exit run(const struct rh_command *command, const struct rh_options *values)
{
    struct list list = {.id = rh_options_text(values, "id"),
                        .owner = rh_options_text(values, "owner"),
                        .type = rh_options_text(values, "type")};
    enum rh_status status = keystore_open(&list.keystore, command, values);
    list.folders = status == RH_OK && keystore_folder_count(&list.keystore) > 0;
    if (list.folders)
        status = keystore_prove(&list.keystore, NULL, NULL, &list.counts);
    if (status != RH_OK)
        return keystore_close(&list.keystore, false);
    measure(&list);
    if (list.keystore.json)
        put_json(&list);
    else
        put_table(&list);
    fflush(stdout);
    keystore_warn(&list.keystore);
    if (!list.keystore.json)
        put_total(&list);
    return keystore_close(&list.keystore, true);
}

const struct rh_command rh_cmd_keyring_list = {
    .name = "keyring list",
    .summary = "list a keystore's keys: ids, owners, types, lengths; never a key",
    .usage = "[OPTIONS] " KEYSTORE_USAGE,
    .detail =
        "With --datadir it counts the tablespaces and logs that need each key. Nothing is changed, and a server may "
        "be\n"
        "running. For example:\n\n"
        "  rehome keyring list /var/lib/mysql-keyring/keys\n"
        "  rehome keyring list component_keyring_file component_dir=/usr/lib/mysql/plugin --datadir /var/lib/mysql\n"
        "  rehome keyring list plan.hcl --side destination",
    .options = options,
    .parse = keystore_parse,
    .run = run,
};
