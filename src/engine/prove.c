/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof that the keys are the right ones: whether the keyring opens what lies encrypted in the data folders that
 * the move names. Keys are read through the store interface and stay in secret memory. Before the copy a key may come
 * from either side, since both will be at the destination; after it only the destination counts.
 */
#include "internal.h"

#include <rehome/keyring.h>
#include <rehome/proof.h>

#include <stdlib.h>

struct prove {
    struct move_run *move;
    struct side *sides[2]; /* asked for keys, in this order */
    struct rh_session *sessions[2];
    size_t side_count;
    const char *folder;
    bool each;             /* every file is said, not only those that fail */
    bool problems;         /* what fails stands in the way, instead of being a difference */
    uint64_t failed;       /* in all folders */
    struct rh_error first; /* the first that failed */
};

size_t prove_folder_count(const struct move_run *move)
{
    const struct rh_options *options = move->plan->options;
    return move->engine->args.datadir_count + (options ? rh_options_count(options, "datadir") : 0);
}

/* The plan's folders first, then the command line's. */
static const char *folder_at(const struct move_run *move, size_t index)
{
    const struct rh_options *options = move->plan->options;
    const size_t planned = options ? rh_options_count(options, "datadir") : 0;
    return index < planned ? rh_options_text_at(options, "datadir", index)
                           : move->engine->args.datadirs[index - planned];
}

/* One key of one side. RH_NOT_FOUND. */
static enum rh_status
key_of(struct prove *prove, size_t index, struct rh_bytes key, struct rh_secret **ret_key, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(prove->move->engine, err);
    return side_status(prove->sides[index], err, keyring_get_secret(&ctx, prove->sessions[index], key, ret_key));
}

static enum rh_status give_key(void *user, const char *id, struct rh_secret **ret_key, struct rh_error *err)
{
    struct prove *prove = user;
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    enum rh_status status = rh_keyring_key_add(&key, rh_bytes(NULL, 0), rh_bytes_text(id), err);
    if (status != RH_OK)
        return status;
    status = RH_NOT_FOUND;
    for (size_t i = 0; status == RH_NOT_FOUND && i < prove->side_count; i++)
        status = key_of(prove, i, rh_buf_bytes(&key), ret_key, err);
    return status;
}

/* The server's own ids of one side that begin with a prefix. */
static enum rh_status ids_of(struct prove *prove,
                             size_t index,
                             const char *prefix,
                             enum rh_status (*add)(void *add_user, struct rh_bytes id, struct rh_error *err),
                             void *add_user,
                             struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(prove->move->engine, err);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    struct rh_scan *scan = NULL;
    batch.arena.secret = true;
    enum rh_status status = side_scan_open(prove->sides[index], &ctx, prove->sessions[index], &prove->move->dataset,
                                           (struct rh_range){0}, (struct rh_bytes){0}, RH_SCAN_KEYS_ONLY, &scan);
    while (status == RH_OK) {
        status = side_scan_next(prove->sides[index], &ctx, scan, BATCH_BYTES, KEYS_BATCH_RECORDS, &batch);
        for (size_t i = 0; status == RH_OK && i < batch.count; i++) {
            struct rh_bytes owner, id;
            status = rh_keyring_key_split(batch.records[i].key, &owner, &id);
            if (status == RH_OK && owner.size == 0 && rh_bytes_starts(id, rh_bytes_text(prefix)))
                status = add(add_user, id, err);
        }
    }
    side_scan_close(scan);
    return status == RH_END ? RH_OK : status;
}

/* Calls `add` with the ids of both sides; keys themselves are asked for one at a time, on sessions without a scan. */
static enum rh_status give_ids(void *user,
                               const char *prefix,
                               enum rh_status (*add)(void *add_user, struct rh_bytes id, struct rh_error *err),
                               void *add_user,
                               struct rh_error *err)
{
    struct prove *prove = user;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < prove->side_count; i++)
        status = ids_of(prove, i, prefix, add, add_user, err);
    return status;
}

/* Who doesn't hold a key, in words. */
static const char *holder(const struct prove *prove)
{
    return prove->side_count > 1                      ? "neither side holds"
           : prove->sides[0]->which == RH_SIDE_SOURCE ? "the source doesn't hold"
                                                      : "the destination doesn't hold";
}

/* A file that the keyring doesn't open: what it is, in one line. */
static void words_of(const struct prove *prove, const struct rh_proof_item *item, char *out, size_t size)
{
    const char *what = rh_proof_kind_name(item->kind);
    if (item->result == RH_PROOF_MISSING)
        snprintf(out, size, "%s '%s' needs key '%s', which %s", what, RH_SHOW(rh_bytes_text(item->name)),
                 RH_SHOW(rh_bytes_text(item->key_id)), holder(prove));
    else if (item->result == RH_PROOF_WRONG)
        snprintf(out, size, "key '%s' doesn't open %s '%s': it is another key of that name",
                 RH_SHOW(rh_bytes_text(item->key_id)), what, RH_SHOW(rh_bytes_text(item->name)));
    else
        snprintf(out, size, "%s '%s' can't be proven: %s", what, RH_SHOW(rh_bytes_text(item->name)), item->why);
}

/* What fails is named, up to a number; the first is kept for the verdict. */
static void fail_item(struct prove *prove, const struct rh_proof_item *item)
{
    struct move_run *move = prove->move;
    const struct side *side = &move->destination;
    char text[1000];
    static const char *const whats[] = {
        [RH_PROOF_MISSING] = "key-missing", [RH_PROOF_WRONG] = "key-wrong", [RH_PROOF_UNREADABLE] = "unproven"};
    static const char hint[] = "move from the keyring that this server uses; keys that its files name must come along";
    words_of(prove, item, text, sizeof text);
    if (prove->problems) {
        check_problem(move, side, RH_E_REFUSED, whats[item->result], (struct rh_bytes){0},
                      item->result == RH_PROOF_UNREADABLE ? "look at the file; without it in the data folder there is "
                                                            "nothing to prove"
                                                          : hint,
                      "%s (%s)", text, RH_SHOW(rh_bytes_text(item->path)));
        return;
    }
    if (prove->failed++ == 0) {
        rh_ignore(rh_fail(&prove->first, RH_E_MISMATCH, "%s", text)); /* for the verdict */
        rh_error_hint(&prove->first, "%s", hint);
        prove->first.side = RH_SIDE_DESTINATION;
    }
    if (prove->failed > NAMED_MOST)
        return;
    check_say(move, side, RH_FINDING_RECORD, whats[item->result], (struct rh_bytes){0}, "%s (%s)", text,
              RH_SHOW(rh_bytes_text(item->path)));
    rh_ignore(rh_journal_note(move->engine->journal, move->plan->name, whats[item->result], (struct rh_bytes){0}, text,
                              NULL)); /* it stands in the step's outcome, too */
}

static enum rh_status found(void *user, const struct rh_proof_item *item, struct rh_error *err)
{
    struct prove *prove = user;
    struct move_run *move = prove->move;
    const char *what = rh_proof_kind_name(item->kind), *name = RH_SHOW(rh_bytes_text(item->name));
    if (!fences_tick(move->engine)) /* a large folder takes its time */
        return fences_hold(move->engine, err);
    switch (item->result) {
    case RH_PROOF_PLAIN:
        break;
    case RH_PROOF_OPENS:
        if (prove->each)
            check_say(move, &move->destination, RH_FINDING_RECORD, "opens", (struct rh_bytes){0}, "%s '%s' by '%s'",
                      what, name, RH_SHOW(rh_bytes_text(item->key_id)));
        break;
    case RH_PROOF_UNPROVEN:
        if (!item->key_id[0])
            check_say(move, &move->destination, RH_FINDING_WARNING, "unproven", (struct rh_bytes){0},
                      "%s '%s' can't be proven yet: %s; the server that is at work there has still to write it", what,
                      name, item->why);
        else
            check_say(move, &move->destination, RH_FINDING_WARNING, "unproven", (struct rh_bytes){0},
                      "%s '%s' holds nothing by which its key '%s' could be proven; the key is there", what, name,
                      RH_SHOW(rh_bytes_text(item->key_id)));
        break;
    case RH_PROOF_MISSING:
    case RH_PROOF_WRONG:
    case RH_PROOF_UNREADABLE:
        fail_item(prove, item);
        break;
    }
    return RH_OK;
}

/* What one folder came to, for people and for the report. */
static void say_counts(struct prove *prove, const struct rh_proof_counts *counts, json_t *array)
{
    struct move_run *move = prove->move;
    const size_t used = strlen(move->note);
    if (counts->server)
        check_say(move, NULL, RH_FINDING_WARNING, "server-at-work", (struct rh_bytes){0},
                  "a server (process %ld) is at work in '%s': what it hasn't written to its files yet isn't seen%s",
                  (long)counts->server, RH_SHOW(rh_bytes_text(prove->folder)),
                  prove->problems && move->plan->fence_count == 0
                      ? "; stop it before an offline move, or have it paused (keyring-migrate: "
                        "--keyring-migration-socket or its like)"
                      : "");
    snprintf(move->note + used, sizeof move->note - used, "%s%llu of %llu encrypted files opened, by %llu keys",
             used ? "; " : "", (unsigned long long)counts->opened, (unsigned long long)counts->encrypted,
             (unsigned long long)counts->keys);
    check_say(move, NULL, RH_FINDING_FACT, "proof", (struct rh_bytes){0},
              "%s in '%s', %llu files that aren't encrypted", move->note + used + (used ? 2 : 0),
              RH_SHOW(rh_bytes_text(prove->folder)), (unsigned long long)(counts->files - counts->encrypted));
    json_array_append_new(array, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "folder",
                                           RH_SHOW(rh_bytes_text(prove->folder)), "files", (json_int_t)counts->files,
                                           "encrypted", (json_int_t)counts->encrypted, "opened",
                                           (json_int_t)counts->opened, "failed", (json_int_t)counts->failed, "keys",
                                           (json_int_t)counts->keys, "server_at_work", counts->server != 0));
}

/* Goes through all folders; `array` gets an object for each. */
static enum rh_status prove_folders(struct prove *prove, json_t *array, struct rh_error *err)
{
    struct move_run *move = prove->move;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < prove->side_count; i++) {
        struct rh_ctx ctx = engine_ctx(move->engine, err);
        status = side_session(prove->sides[i], &ctx, RH_ROLE_READ, &prove->sessions[i]);
    }
    for (size_t i = 0; status == RH_OK && i < prove_folder_count(move); i++) {
        struct rh_proof_counts counts;
        prove->folder = folder_at(move, i);
        const struct rh_proof_args args = {.folder = prove->folder,
                                           .cancel = move->engine->args.cancel,
                                           .user = prove,
                                           .key = give_key,
                                           .ids = give_ids,
                                           .found = found};
        status = rh_proof_run(&args, &counts, err);
        if (status == RH_OK)
            say_counts(prove, &counts, array);
    }
    for (size_t i = 0; i < prove->side_count; i++)
        side_session_close(prove->sessions[i]);
    return status;
}

enum rh_status prove_check(struct move_run *move, bool destination_only, bool each, struct rh_error *err)
{
    if (prove_folder_count(move) == 0)
        return RH_OK;
    struct prove prove = {.move = move, .each = each, .problems = true};
    if (!destination_only)
        prove.sides[prove.side_count++] = &move->source;
    if (move->destination.facts.exists != RH_NO && !move->destination.facts.one_pass)
        prove.sides[prove.side_count++] = &move->destination;
    json_t *unused = json_array();
    struct rh_error why = {0};
    char note[sizeof move->note];
    memcpy(note, move->note, sizeof note); /* the step under way has a note of its own */
    move->note[0] = '\0';
    enum rh_status status = prove_folders(&prove, unused, &why);
    memcpy(move->note, note, sizeof note);
    json_decref(unused);
    /* a folder that can't be gone through is one problem among others */
    if (status == RH_E_REFUSED || status == RH_E_IO || status == RH_E_DENIED) {
        check_problem(move, NULL, RH_E_REFUSED, "datadir", (struct rh_bytes){0},
                      why.hint[0] ? why.hint : "name the server's data folder, readable by the user rehome runs as",
                      "%s", why.text);
        return RH_OK;
    }
    if (rh_failed(status) && err)
        *err = why;
    return status;
}

enum rh_status prove_run(struct move_run *move, struct rh_error *err)
{
    struct prove prove = {.move = move, .sides = {&move->destination}, .side_count = 1};
    json_t *array = json_array();
    move->note[0] = '\0';
    enum rh_status status = rh_journal_notes_clear(move->engine->journal, move->plan->name, "key-missing", err);
    if (status == RH_OK)
        status = rh_journal_notes_clear(move->engine->journal, move->plan->name, "key-wrong", err);
    if (status == RH_OK)
        status = rh_journal_notes_clear(move->engine->journal, move->plan->name, "unproven", err);
    if (status == RH_OK)
        status = prove_folders(&prove, array, err);
    if (status == RH_OK)
        status = fact_put_json(move->engine->journal, move->plan->name, "proof", array, "the proof", err);
    else
        json_decref(array);
    if (status != RH_OK || prove.failed == 0)
        return status;
    if (err)
        *err = prove.first;
    if (prove.failed > 1)
        rh_error_prepend(err, "the destination doesn't open %llu files; the first", (unsigned long long)prove.failed);
    return RH_E_MISMATCH;
}
