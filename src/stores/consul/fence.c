/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeps a cut attempt from taking effect later. While a migration is on, its marker stands in the store; every
 * transaction of ours asks for the marker's ModifyIndex as it was when we began (check-index). Whoever must be sure
 * that nothing older can still happen, after a cut connection or in a new process, writes the marker anew with the same
 * bytes: from then on all transactions that ask for the former index are refused, however late they arrive, and also
 * when the marker is gone. The servers decide that in the order of their own log.
 */
#include "internal.h"

#include <stdio.h>

void cs_fence_lost(struct cs_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->fence = (struct cs_fence){.state = CS_FENCE_UNKNOWN};
    pthread_mutex_unlock(&store->lock);
}

void cs_fence_forget(struct cs_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->fence.state = CS_FENCE_UNKNOWN;
    pthread_mutex_unlock(&store->lock);
}

static struct cs_fence fence_now(struct cs_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct cs_fence fence = store->fence;
    pthread_mutex_unlock(&store->lock);
    return fence;
}

static void fence_set(struct cs_store *store, struct cs_fence fence)
{
    pthread_mutex_lock(&store->lock);
    store->fence = fence;
    pthread_mutex_unlock(&store->lock);
}

/* Writes the marker again as it is. RH_CHANGED: it isn't any more what we read. */
static enum rh_status rewrite(struct rh_ctx *ctx,
                              struct cs_session *session,
                              struct rh_bytes value,
                              const struct cs_record *record,
                              uint64_t *ret_index)
{
    struct cs_call *call = &session->plain;
    /* an entry that doesn't change keeps its index, so its flags do: they mean nothing to Vault */
    uint64_t index = record->modify_index, flags = record->flags + 1;
    rh_buf_clear(&call->target);
    rh_buf_clear(&call->body);
    enum rh_status status = rh_buf_text(&call->target, "/v1/txn", ctx->err);
    if (!status)
        status = cs_txn_begin(&call->body, ctx->err);
    if (!status)
        status = cs_txn_op(&call->body, session->store, "cas", rh_bytes_text(RH_KV_MARKER), &index, ctx->err);
    if (!status)
        status = cs_txn_value(&call->body, value, flags, ctx->err);
    if (!status)
        status = cs_txn_op_end(&call->body, ctx->err);
    if (!status)
        status = cs_txn_end(&call->body, ctx->err);
    call->answer.kind = CS_ANSWER_TXN;
    call->answer.keep_values = false;
    if (!status)
        status = cs_start(session, call, "PUT", ctx->err);
    if (!status)
        status = cs_finish(ctx, session, call, "renewing the marker");
    if (status)
        return status;
    const struct cs_answer *answer = &call->answer;
    if (call->http.status == 409 && answer->refused_count == 1 && answer->refused[0].why == CS_STALE)
        return RH_CHANGED;
    if (call->http.status != 200 || answer->count != 1)
        return rh_fail(ctx->err,
                       answer->refused_count && answer->refused[0].why == CS_DENIED ? RH_E_DENIED : RH_E_STORE,
                       "renewing the marker failed: %s",
                       answer->first_what[0] ? answer->first_what : "the server's answer makes no sense");
    *ret_index = answer->records[0].modify_index;
    return RH_OK;
}

/* Looks at the marker; renews it unless what came before is settled. */
static enum rh_status settle(struct rh_ctx *ctx, struct cs_session *session, bool settled)
{
    struct cs_store *store = session->store;
    for (unsigned tries = 0;; tries++) {
        const struct cs_answer *answer = NULL;
        const struct cs_record *record = NULL;
        enum rh_status status = cs_get_one(ctx, session, rh_bytes_text(RH_KV_MARKER), &answer, &record);
        if (status == RH_NOT_FOUND) {
            fence_set(store, (struct cs_fence){.state = CS_FENCE_NONE, .settled = true});
            return RH_OK;
        }
        if (status)
            return status;
        uint64_t index = record->modify_index;
        if (!settled)
            status = rewrite(ctx, session, cs_record_value(answer, record), record, &index);
        if (!status) {
            fence_set(store, (struct cs_fence){.state = CS_FENCE_AT, .index = index, .settled = true});
            return RH_OK;
        }
        /* A lost renewal is looked at like anything else: whichever of the two comes first, the other is refused. */
        if (status != RH_CHANGED && !cs_again(ctx, &session->plain, tries))
            return status;
        if (tries == 2 * CS_TRIES)
            return rh_fail(ctx->err, RH_E_LOCKED, "somebody else keeps writing the marker of '%s'", store->address);
    }
}

enum rh_status cs_fence_need(struct rh_ctx *ctx, struct cs_session *session, struct cs_fence *ret_fence)
{
    struct cs_store *store = session->store;
    enum rh_status status = RH_OK;
    *ret_fence = fence_now(store);
    if (ret_fence->state != CS_FENCE_UNKNOWN && ret_fence->settled)
        return RH_OK;
    pthread_mutex_lock(&store->fencing);
    *ret_fence = fence_now(store);
    if (ret_fence->state == CS_FENCE_UNKNOWN || !ret_fence->settled)
        status = settle(ctx, session, ret_fence->settled);
    *ret_fence = fence_now(store);
    pthread_mutex_unlock(&store->fencing);
    return status;
}

enum rh_status
cs_fence_refused(struct rh_ctx *ctx, struct cs_session *session, uint64_t index, struct cs_fence *ret_fence)
{
    struct cs_store *store = session->store;
    enum rh_status status = cs_fence_need(ctx, session, ret_fence);
    if (status)
        return status;
    if (ret_fence->state == CS_FENCE_AT && ret_fence->index != index)
        return RH_OK; /* another session of ours renewed it */
    rh_fail(ctx->err, RH_E_CONFLICT,
            "writing failed: the marker '%s%s' isn't ours any more: somebody removed or rewrote it", store->path,
            RH_KV_MARKER);
    rh_error_hint(ctx->err, "see to it that nobody else writes below '%s', then run again", store->path);
    return RH_E_CONFLICT;
}
