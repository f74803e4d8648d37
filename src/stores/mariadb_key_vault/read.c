/* SPDX-License-Identifier: Apache-2.0 */
/* All keys of the mount, listed and then asked for several at a time; and single ones. */
#include "internal.h"

#include <rehome/base.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Numbers, each once by what they come from. */
struct numbers {
    uint32_t *values;
    size_t count, capacity;
};

static void numbers_done(struct numbers *numbers)
{
    free(numbers->values);
}
#define auto_numbers __attribute__((cleanup(numbers_done)))

static enum rh_status numbers_add(struct numbers *numbers, uint32_t number, struct rh_error *err)
{
    if (numbers->count == numbers->capacity) {
        const size_t capacity = numbers->capacity ? numbers->capacity * 2 : 32;
        uint32_t *grown = reallocarray(numbers->values, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        numbers->values = grown;
        numbers->capacity = capacity;
    }
    numbers->values[numbers->count++] = number;
    return RH_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* Says once that the mount has more than keys. */
static void tell_strange(struct mkv_store *store, struct rh_bytes name)
{
    if (!atomic_exchange(&store->told, true))
        rh_log(RH_LOG_WARN, "the mount holds what is no key of MariaDB's; it is passed over", {"mount", store->mount},
               {"name", RH_SHOW(name)});
}

/* The numbers of all secrets. A name that no server asks for is passed over. */
static enum rh_status list(struct rh_ctx *ctx, struct mkv_session *session, struct numbers *numbers)
{
    struct rh_vault_call *call = &session->calls[0];
    rh_vault_call_begin(call, "GET");
    call->plain = true;
    enum rh_status status = rh_vault_call_target(call, ctx->err, "%s/metadata?list=true", session->store->mount);
    if (status == RH_OK)
        status = rh_vault_ask(ctx, session->client, call, "listing the keys");
    if (status == RH_NOT_FOUND)
        return rh_vault_answer_is_empty(&call->answer)
                   ? RH_OK
                   : rh_fail(ctx->err, RH_E_STORE, "listing the keys: '%s' isn't mounted any more",
                             RH_SHOW(rh_bytes_text(session->store->mount)));
    for (size_t i = 0; status == RH_OK && i < call->answer.count; i++) {
        const struct rh_vault_value *value = &call->answer.values[i];
        uint32_t number;
        if (value->kind != RH_JSON_TEXT || strcmp(value->path, "data.keys[]") != 0)
            continue;
        if (mariadb_number_parse(value->text, &number))
            status = numbers_add(numbers, number, ctx->err);
        else
            tell_strange(session->store, value->text);
    }
    if (status == RH_OK && numbers->count)
        qsort(numbers->values, numbers->count, sizeof *numbers->values, compare_numbers);
    return status;
}

enum rh_status mkv_ask_for(struct rh_ctx *ctx, struct mkv_session *session, const uint32_t *numbers, size_t count)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        rh_vault_call_begin(&session->calls[i], "GET");
        status =
            rh_vault_call_target(&session->calls[i], ctx->err, "%s/data/%" PRIu32, session->store->mount, numbers[i]);
    }
    if (status == RH_OK)
        status = rh_vault_ask_all(ctx, session->client, session->calls, count, "reading a key");
    for (size_t i = 0; status == RH_OK && i < count; i++)
        if (rh_failed(session->calls[i].status)) {
            *ctx->err = session->calls[i].err;
            status = rh_error_prepend(ctx->err, "the key of number %" PRIu32, numbers[i]);
        }
    return status;
}

/* Notes a number whose secret was deleted. */
static enum rh_status
add_dead(struct mkv_session *session, const struct numbers *all, uint32_t number, struct rh_error *err)
{
    if (!session->dead)
        session->dead = calloc(all->count, sizeof *session->dead);
    if (!session->dead)
        return rh_fail_memory(err);
    session->dead[session->dead_count++] = number;
    return RH_OK;
}

enum rh_status mkv_load(struct rh_ctx *ctx, struct mkv_session *session, bool trial, struct keyring_view **ret_view)
{
    auto_numbers struct numbers numbers = {0};
    struct keyring_view *view = keyring_view_new();
    enum rh_status status = view ? list(ctx, session, &numbers) : rh_fail_memory(ctx->err);
    for (size_t from = 0; status == RH_OK && from < numbers.count; from += RH_VAULT_CALLS) {
        const size_t left = numbers.count - from, count = left < RH_VAULT_CALLS ? left : RH_VAULT_CALLS;
        status = mkv_ask_for(ctx, session, numbers.values + from, count);
        for (size_t i = 0; status == RH_OK && i < count; i++) {
            struct mkv_entry entry = {0};
            status = mkv_entry_read(&session->calls[i], numbers.values[from + i], &view->set.arena, &entry, ctx->err);
            if (status == RH_OK && entry.there)
                status = mkv_entry_add(session->store, &entry, &view->set, ctx->err);
            else if (status == RH_OK && entry.dead && trial)
                status = add_dead(session, &numbers, entry.number, ctx->err);
        }
    }
    if (status == RH_OK)
        status = keyring_set_sort(&view->set, ctx->err);
    if (status == RH_OK)
        *ret_view = view;
    else
        keyring_view_drop(view);
    return status;
}

static enum rh_status mkv_scan_open(struct rh_ctx *ctx,
                                    struct rh_session *base,
                                    const struct rh_dataset *dataset,
                                    struct rh_range range,
                                    struct rh_bytes after,
                                    unsigned flags,
                                    struct rh_scan **ret_scan)
{
    struct keyring_view *view = NULL;
    (void)dataset;
    enum rh_status status = mkv_load(ctx, (struct mkv_session *)base, false, &view);
    return status == RH_OK ? keyring_scan_view(base, view, range, after, flags, ret_scan, ctx->err) : status;
}

/* The numbers of keys; those that can have none there aren't there. `places` are theirs among the keys. */
static enum rh_status numbers_of(const struct mkv_store *store,
                                 const struct rh_bytes *keys,
                                 size_t count,
                                 struct numbers *numbers,
                                 struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        struct rh_bytes owner, id;
        uint32_t number;
        if (rh_keyring_key_split(keys[i], &owner, &id) == RH_OK &&
            mariadb_number_of(store->names, owner, id, &number, NULL) == RH_OK)
            status = numbers_add(numbers, number, err);
    }
    return status;
}

/* The answers of session->calls as records, in their order. */
static enum rh_status take_answers(
    struct mkv_session *session, const uint32_t *numbers, size_t count, struct rh_batch *out, struct rh_error *err)
{
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count && !rh_batch_has_enough(out); i++) {
        struct mkv_entry entry = {0};
        status = mkv_entry_read(&session->calls[i], numbers[i], &set.arena, &entry, err);
        if (status != RH_OK || !entry.there)
            continue;
        status = mkv_entry_add(session->store, &entry, &set, err);
        if (status == RH_OK)
            status = keyring_record_add(out, &set.entries[set.count - 1], false, err);
    }
    return status;
}

static enum rh_status mkv_get(struct rh_ctx *ctx,
                              struct rh_session *base,
                              const struct rh_dataset *dataset,
                              const struct rh_bytes *keys,
                              size_t count,
                              struct rh_batch *out)
{
    struct mkv_session *session = (struct mkv_session *)base;
    auto_numbers struct numbers numbers = {0};
    (void)dataset;
    enum rh_status status = numbers_of(session->store, keys, count, &numbers, ctx->err);
    for (size_t from = 0; status == RH_OK && from < numbers.count && !rh_batch_has_enough(out);
         from += RH_VAULT_CALLS) {
        const size_t left = numbers.count - from, some = left < RH_VAULT_CALLS ? left : RH_VAULT_CALLS;
        status = mkv_ask_for(ctx, session, numbers.values + from, some);
        if (status == RH_OK)
            status = take_answers(session, numbers.values + from, some, out, ctx->err);
    }
    return status;
}

const struct rh_read_ops mkv_read_ops = {
    .datasets = keyring_datasets,
    .scan_open = mkv_scan_open,
    .scan_next = keyring_scan_next,
    .scan_close = keyring_scan_close,
    .get = mkv_get,
};
