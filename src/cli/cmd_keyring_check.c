/* SPDX-License-Identifier: Apache-2.0 */
/* rehome keyring check: whether a keystore opens what lies encrypted in data folders, and which keys nothing uses. */
#include "keystore.h"

enum { NAME_MOST = 60 }; /* columns of a file's name; a longer one pushes the rest to the right */

static const struct rh_option options[] = {
    KEYSTORE_OPTION_DATADIR("a MySQL server's data folder, besides the plan's; may be repeated"),
    KEYSTORE_OPTIONS,
    RH_OPTION_END,
};

struct check {
    struct keystore keystore;
    struct keystore_files files;
    struct rh_proof_counts counts;
    uint64_t unused;
    size_t name_width, what_width;
};

/* Whether it is of a kind that files name, and none does. */
static bool is_unused(const struct rh_inventory_key *key)
{
    return keystore_provable(key) && rh_inventory_files(key) == 0;
}

/* Where the files that aren't opened begin. */
static size_t first_failed(const struct keystore_files *files)
{
    size_t at = 0;
    while (at < files->count && files->files[at].result < RH_PROOF_MISSING)
        at++;
    return at;
}

/* --- for people --- */

static void measure(struct check *check)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(check->keystore.inventory, &count);
    check->name_width = strlen("FILE");
    check->what_width = strlen("undo tablespace");
    for (size_t i = 0; i < count; i++) {
        const size_t width = is_unused(&keys[i]) ? strlen(keystore_short(&keys[i]).text) : 0;
        check->what_width = width > check->what_width ? width : check->what_width;
    }
    for (size_t i = 0; i < check->files.count; i++) {
        const size_t width = keystore_width(keystore_file_name(&check->files, &check->files.files[i]));
        if (width > check->name_width)
            check->name_width = width < NAME_MOST ? width : NAME_MOST;
    }
}

/* One line. The id stands last, since it may be of any length. */
static void
put_row(const struct check *check, const char *result, struct rh_bytes name, const char *what, struct rh_bytes id)
{
    printf("%-10s  ", result);
    keystore_pad(stdout, name, check->name_width);
    printf("  %-*s  ", (int)check->what_width, what);
    keystore_put(stdout, id);
    putchar('\n');
}

static void put_file(const struct check *check, const struct keystore_file *file)
{
    put_row(check, keystore_result(file->result), keystore_file_name(&check->files, file),
            rh_inventory_kind_name(file->kind), rh_bytes_text(file->key_id[0] ? file->key_id : file->why));
}

/* Keys that nothing uses. */
static void put_unused(const struct check *check)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(check->keystore.inventory, &count);
    for (size_t i = 0; i < count && !ferror(stdout); i++)
        if (is_unused(&keys[i]))
            put_row(check, "unused", rh_bytes_text("-"), keystore_short(&keys[i]).text, keys[i].id);
}

/* What is opened, then keys that nothing uses, then what isn't opened. */
static void put_table(struct check *check)
{
    const size_t failed = first_failed(&check->files);
    measure(check);
    if (check->files.count || check->unused)
        printf("%-10s  %-*s  %-*s  KEY\n", "RESULT", (int)check->name_width, "FILE", (int)check->what_width, "WHAT");
    for (size_t i = 0; i < failed && !ferror(stdout); i++)
        put_file(check, &check->files.files[i]);
    put_unused(check);
    for (size_t i = failed; i < check->files.count && !ferror(stdout); i++)
        put_file(check, &check->files.files[i]);
}

/* Why the first file isn't opened, as the verdict. */
static enum rh_status verdict(struct check *check)
{
    const size_t at = first_failed(&check->files);
    struct rh_error *err = &check->keystore.err;
    if (at == check->files.count)
        return RH_OK;
    const struct keystore_file *file = &check->files.files[at];
    const char *what = rh_inventory_kind_name(file->kind), *name = RH_SHOW(rh_bytes_text(file->name));
    const char *id = RH_SHOW(rh_bytes_text(file->key_id));
    if (file->result == RH_PROOF_MISSING)
        rh_fail(err, RH_E_MISMATCH, "%s '%s' needs key '%s', which the keystore doesn't hold", what, name, id);
    else if (file->result == RH_PROOF_WRONG)
        rh_fail(err, RH_E_MISMATCH, "key '%s' doesn't open %s '%s': it is another key of that name", id, what, name);
    else
        rh_fail(err, RH_E_MISMATCH, "%s '%s' can't be proven: %s", what, name, file->why);
    if (file->result == RH_PROOF_UNREADABLE)
        rh_error_hint(err, "look at that file");
    else if (check->counts.opened == 0)
        rh_error_hint(err,
                      "no file there is opened: is it another server's keystore, or another server's data folder?");
    else
        rh_error_hint(
            err, "look for the key in a copy of the keystore that this server used; without it the file can't be read");
    if (check->files.count - at > 1)
        rh_error_prepend(err, "%s aren't opened; the first", keystore_count(check->files.count - at, "file").text);
    return RH_E_MISMATCH;
}

/* "9 of 9 encrypted files opened; they need 2 keys; 2 files aren't encrypted". */
static void put_total(const struct check *check)
{
    const struct rh_proof_counts *counts = &check->counts;
    const unsigned long long plain = counts->files - counts->encrypted;
    const uint64_t unproven = counts->encrypted - counts->opened - counts->failed;
    if (counts->encrypted == 0)
        rh_talk("nothing is encrypted: %s looked at", keystore_count(counts->files, "file").text);
    else
        rh_talk("%s of %s opened; they need %s; %llu %s encrypted", rh_words_count(counts->opened).text,
                keystore_count(counts->encrypted, "encrypted file").text, keystore_count(counts->keys, "key").text,
                plain, plain == 1 ? "file isn't" : "files aren't");
    if (unproven)
        rh_talk("%s of them can't be proven, or not yet; that is no failure", rh_words_count(unproven).text);
    if (check->unused)
        rh_talk("%s %s used by nothing here; backups and replicas may still need %s",
                keystore_count(check->unused, "master key").text, check->unused == 1 ? "is" : "are",
                check->unused == 1 ? "it" : "them");
}

/* --- as JSON --- */

static void put_json(const struct check *check)
{
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(check->keystore.inventory, &count);
    const struct rh_proof_counts *counts = &check->counts;
    json_t *facts = keystore_facts_json(&check->keystore);
    fputs("{\n  \"keystore\": ", stdout);
    json_dumpf(facts, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(facts);
    fputs(",\n  \"files\": [", stdout);
    for (size_t i = 0; i < check->files.count && !ferror(stdout); i++) {
        json_t *file = keystore_file_json(&check->files.files[i]);
        fputs(i ? ",\n    " : "\n    ", stdout);
        json_dumpf(file, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(file);
    }
    fputs(check->files.count ? "\n  ],\n  \"unused\": [" : "],\n  \"unused\": [", stdout);
    const char *before = "\n    ";
    for (size_t i = 0; i < count && !ferror(stdout); i++) {
        if (!is_unused(&keys[i]))
            continue;
        json_t *key = keystore_key_json(&keys[i], false);
        fputs(before, stdout);
        json_dumpf(key, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(key);
        before = ",\n    ";
    }
    json_t *data =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "files", (json_int_t)counts->files, "encrypted",
                  (json_int_t)counts->encrypted, "opened", (json_int_t)counts->opened, "failed",
                  (json_int_t)counts->failed, "keys", (json_int_t)counts->keys, "server_at_work", counts->server != 0);
    fputs(check->unused ? "\n  ],\n  \"data\": " : "],\n  \"data\": ", stdout);
    json_dumpf(data, stdout, JSON_COMPACT);
    json_decref(data);
}

/* Reads, looks, prints, judges. */
static enum rh_status look(struct check *check)
{
    if (keystore_folder_count(&check->keystore) == 0) {
        rh_fail(&check->keystore.err, RH_E_USAGE, "no data folder is named");
        rh_error_hint(&check->keystore.err, "say --datadir=/var/lib/mysql (SELECT @@datadir)");
        return RH_E_USAGE;
    }
    check->files.paths = keystore_folder_count(&check->keystore) > 1;
    enum rh_status status = keystore_prove(&check->keystore, keystore_files_add, &check->files, &check->counts);
    size_t count;
    const struct rh_inventory_key *keys = rh_inventory_keys(check->keystore.inventory, &count);
    keystore_files_sort(&check->files);
    for (size_t i = 0; i < count; i++)
        check->unused += is_unused(&keys[i]);
    return status;
}

static enum rh_exit run(const struct rh_command *command, const struct rh_options *values)
{
    struct check check = {.unused = 0};
    enum rh_status status = keystore_open(&check.keystore, command, values);
    if (status == RH_OK)
        status = look(&check);
    const bool json = check.keystore.json && status == RH_OK;
    if (json)
        put_json(&check);
    else if (status == RH_OK)
        put_table(&check);
    fflush(stdout);
    if (status == RH_OK)
        keystore_warn(&check.keystore);
    if (status == RH_OK && !json)
        put_total(&check);
    if (status == RH_OK)
        rh_ignore(verdict(&check)); /* it stands in the keystore's error */
    const enum rh_exit code = keystore_close(&check.keystore, json);
    keystore_files_done(&check.files);
    return code;
}

const struct rh_command rh_cmd_keyring_check = {
    .name = "keyring check",
    .summary = "tell whether a keystore opens what lies encrypted in a server's data folder",
    .usage = "[OPTIONS] " KEYSTORE_USAGE,
    .detail =
        "Names each encrypted tablespace and log with its key, the master keys that nothing there uses, and what a\n"
        "killed server left beside the keystore. Nothing is changed, and a server may be running. For example:\n\n"
        "  rehome keyring check /var/lib/mysql-keyring/keys --datadir /var/lib/mysql",
    .options = options,
    .parse = keystore_parse,
    .run = run,
};
