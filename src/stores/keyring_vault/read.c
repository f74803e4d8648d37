/* SPDX-License-Identifier: Apache-2.0 */
/* Scans and single keys: names from a listing or the caller, their secrets read several at once. */
#include "internal.h"

#include <common.h>

#include <stdlib.h>

struct kv_scan {
    struct rh_scan base;
    struct kv_listing listing;
    size_t at, end; /* names that are still to be asked for */
    size_t from;    /* the name of the first call */
    size_t asked, given;
    unsigned flags;
};

static enum rh_status datasets(struct rh_ctx *ctx,
                               struct rh_session *session,
                               enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                               void *user)
{
    const struct rh_dataset dataset = {.name = RH_KEYRING_DATASET};
    (void)session;
    enum rh_status status = rh_ctx_check(ctx);
    return status ? status : add(user, &dataset);
}

static void scan_close(struct rh_scan *base)
{
    struct kv_scan *scan = (struct kv_scan *)base;
    if (!scan)
        return;
    ((struct kv_session *)base->session)->scanning = false;
    kv_listing_done(&scan->listing);
    free(scan);
}

static enum rh_status scan_open(struct rh_ctx *ctx,
                                struct rh_session *base,
                                const struct rh_dataset *dataset,
                                struct rh_range range,
                                struct rh_bytes after,
                                unsigned flags,
                                struct rh_scan **ret_scan)
{
    (void)dataset;
    struct kv_session *session = (struct kv_session *)base;
    if (session->scanning)
        return rh_fail(ctx->err, RH_E_INTERNAL, "a second scan on one session");
    struct kv_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return rh_fail_memory(ctx->err);
    scan->base.session = base;
    scan->flags = flags;
    enum rh_status status = kv_listing_get(ctx, session, &scan->listing);
    if (status) {
        free(scan);
        return status;
    }
    const struct rh_scan_start start = rh_scan_start(range, after);
    const struct kv_listing *listing = &scan->listing;
    scan->at = kv_listing_from(listing, start.key);
    if (start.past && scan->at < listing->count && rh_bytes_equal(listing->entries[scan->at].key, start.key))
        scan->at++;
    scan->end = range.to.size ? kv_listing_from(listing, range.to) : listing->count;
    session->scanning = true;
    *ret_scan = &scan->base;
    return RH_OK;
}

/* Asks for the next names. */
static enum rh_status ask_more(struct rh_ctx *ctx, struct kv_session *session, struct kv_scan *scan)
{
    enum rh_status status = RH_OK;
    scan->from = scan->at;
    scan->asked = scan->given = 0;
    for (; !status && scan->at < scan->end && scan->asked < RH_VAULT_CALLS; scan->at++, scan->asked++)
        status = kv_item_ask(session, &session->calls[scan->asked], scan->listing.entries[scan->at].name, ctx->err);
    return status ? status : rh_vault_ask_all(ctx, session->client, session->calls, scan->asked, "reading a key");
}

static enum rh_status
scan_next(struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct kv_scan *scan = (struct kv_scan *)base;
    struct kv_session *session = (struct kv_session *)base->session;
    rh_batch_clear(batch);
    enum rh_status status = rh_ctx_check(ctx);
    while (!status && batch->count < want_records && (batch->count == 0 || batch->bytes < want_bytes)) {
        if (scan->given == scan->asked) {
            if (scan->at >= scan->end)
                return batch->count ? RH_OK : RH_END;
            status = ask_more(ctx, session, scan);
            continue;
        }
        const struct rh_bytes key = scan->listing.entries[scan->from + scan->given].key;
        struct kv_found found;
        status = kv_item_found(session, &session->calls[scan->given++], key, &found, ctx->err);
        if (!status && found.alive)
            status = kv_item_add(batch, key, &found, !(scan->flags & RH_SCAN_KEYS_ONLY), ctx->err);
    }
    return status;
}

static enum rh_status get(struct rh_ctx *ctx,
                          struct rh_session *base,
                          const struct rh_dataset *dataset,
                          const struct rh_bytes *keys,
                          size_t count,
                          struct rh_batch *out)
{
    (void)dataset;
    struct kv_session *session = (struct kv_session *)base;
    enum rh_status status = rh_ctx_check(ctx);
    for (size_t from = 0; !status && from < count && !rh_batch_has_enough(out); from += RH_VAULT_CALLS) {
        const size_t some = count - from < RH_VAULT_CALLS ? count - from : RH_VAULT_CALLS;
        for (size_t i = 0; !status && i < some; i++) {
            rh_auto_buf struct rh_buf name = RH_BUF_INIT;
            status = kv_item_name(&name, keys[from + i], ctx->err);
            if (!status)
                status = kv_item_ask(session, &session->calls[i], rh_buf_bytes(&name), ctx->err);
        }
        if (!status)
            status = rh_vault_ask_all(ctx, session->client, session->calls, some, "reading a key");
        for (size_t i = 0; !status && i < some && !rh_batch_has_enough(out); i++) {
            struct kv_found found;
            status = kv_item_found(session, &session->calls[i], keys[from + i], &found, ctx->err);
            if (!status && found.alive)
                status = kv_item_add(out, keys[from + i], &found, true, ctx->err);
        }
    }
    return status;
}

const struct rh_read_ops kv_read_ops = {
    .datasets = datasets,
    .scan_open = scan_open,
    .scan_next = scan_next,
    .scan_close = scan_close,
    .get = get,
};
