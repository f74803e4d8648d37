/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing and opening. A state is "server=UUID thread=N before=ON|OFF"; thread is the connection that holds the lock.
 */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>

struct state {
    char uuid[64];
    unsigned long thread;
    bool before_on;
};

/* A state's text back into its parts; false when it isn't one. */
static bool state_read(const char *text, struct state *ret_state)
{
    char uuid[64] = "", before[8] = "";
    uint64_t thread = 0;
    const char *at = strstr(text, "server="), *number = strstr(text, " thread="), *was = strstr(text, " before=");
    if (at != text || !number || !was)
        return false;
    snprintf(uuid, sizeof uuid, "%.*s", (int)strcspn(at + 7, " "), at + 7);
    snprintf(before, sizeof before, "%.*s", (int)strcspn(was + 8, " "), was + 8);
    if (rh_parse_u64(rh_bytes(number + 8, strcspn(number + 8, " ")), &thread))
        return false;
    *ret_state = (struct state){.thread = (unsigned long)thread, .before_on = strcmp(before, "ON") == 0};
    memcpy(ret_state->uuid, uuid, sizeof uuid);
    return true;
}

/* Reads a state, and refuses one of another server. */
static enum rh_status state_check(struct ko_fence *fence, const char *text, struct state *state, struct rh_error *err)
{
    if (!state_read(text, state))
        return rh_fail(err, RH_E_INTERNAL, "what is remembered of the fence '%s' makes no sense: '%s'", fence->address,
                       RH_SHOW(rh_bytes_text(text)));
    if (strcmp(state->uuid, fence->uuid) == 0)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "the server '%s' isn't the one that was closed, whose server_uuid is '%s'",
            fence->address, RH_SHOW(rh_bytes_text(state->uuid)));
    rh_error_hint(err, "run SET GLOBAL keyring_operations = ON on that server if it is OFF there");
    return RH_E_REFUSED;
}

/* Whether an OFF that is seen is the one of that closing. */
static bool is_ours(const struct ko_fence *fence, const struct ko_view *view, const char *epoch)
{
    if (view->on || !view->set_at[0])
        return false;
    /* a closing whose epoch nobody had time to note is known by its account */
    return epoch[0] ? strcmp(view->set_at, epoch) == 0 : strcmp(view->set_by, fence->server.user) == 0;
}

enum rh_status ko_snapshot(
    struct rh_ctx *ctx, struct rh_fence *base, const char *state_text, const char *epoch, struct rh_buf *ret_state)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct state state = {0};
    struct ko_view view;
    bool got = false;
    enum rh_status status = ko_lock(fence, 5, &got, ctx->err);
    if (!status && !got) {
        rh_fail(ctx->err, RH_E_LOCKED, "another rehome holds keyring_operations of '%s'", fence->address);
        rh_error_hint(ctx->err, "wait for it to end");
        return RH_E_LOCKED;
    }
    if (!status)
        status = ko_look(fence, &view, ctx->err);
    if (status)
        return status;
    const bool known = state_read(state_text, &state) && strcmp(state.uuid, fence->uuid) == 0;
    fence->before_on = view.on || (known && state.before_on && is_ours(fence, &view, epoch));
    /* what takes time is done before the pause begins; a timer that finds nothing to open goes by itself */
    status = ko_run(fence, ctx->err, "setting the lease", "SET SESSION wait_timeout = %lld",
                    (long long)((fence->lease_us + 999999) / 1000000));
    if (!status && fence->before_on && !fence->no_timer)
        status = ko_timer_make(fence, ctx->err);
    if (status)
        return status;
    rh_buf_clear(ret_state);
    return rh_buf_format(ret_state, ctx->err, "server=%s thread=%lu before=%s", fence->uuid, fence->thread,
                         fence->before_on ? "ON" : "OFF");
}

enum rh_status ko_close(struct rh_ctx *ctx, struct rh_fence *base, struct rh_buf *ret_epoch)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct rh_error *err = ctx->err;
    struct ko_view view;
    enum rh_status status = RH_OK;
    base->closed_us = rh_clock_us();
    if (fence->before_on)
        status = ko_run(fence, err, "closing", "SET GLOBAL keyring_operations = OFF");
    if (!status)
        status = ko_look(fence, &view, err);
    if (status)
        return status;
    if (view.on || !view.lock_is_ours) {
        rh_fail(err, RH_E_CONFLICT, "keyring_operations of '%s' was set ON by somebody just after it was set OFF",
                fence->address);
        return RH_E_CONFLICT;
    }
    snprintf(fence->epoch, sizeof fence->epoch, "%s", view.set_at[0] ? view.set_at : "start");
    rh_buf_clear(ret_epoch);
    return rh_buf_text(ret_epoch, fence->epoch, err);
}

enum rh_status ko_renew(struct rh_ctx *ctx, struct rh_fence *base)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct ko_view view;
    enum rh_status status = ko_look(fence, &view, ctx->err);
    if (status)
        return status;
    if (!view.on && view.lock_is_ours && strcmp(view.set_at[0] ? view.set_at : "start", fence->epoch) == 0)
        return RH_OK;
    rh_fail(ctx->err, RH_E_CONFLICT, "keyring_operations of '%s' was set by '%s' meanwhile", fence->address,
            RH_SHOW(rh_bytes_text(view.set_by)));
    rh_error_hint(ctx->err, "leave that variable alone while rehome runs; the same command begins anew");
    return RH_E_CONFLICT;
}

/* What an opened or foreign variable means for a state. */
static enum rh_fence_outcome outcome_of(const struct ko_view *view)
{
    if (!view->on)
        return RH_FENCE_LEFT;
    return view->set_at[0] ? RH_FENCE_WAS_OPEN : RH_FENCE_RESTARTED;
}

enum rh_status ko_probe(struct rh_ctx *ctx,
                        struct rh_fence *base,
                        const char *state_text,
                        const char *epoch,
                        enum rh_fence_outcome *ret_outcome)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct state state = {0};
    struct ko_view view;
    enum rh_status status = state_check(fence, state_text, &state, ctx->err);
    if (!status)
        status = ko_look(fence, &view, ctx->err);
    if (status)
        return status;
    *ret_outcome = state.before_on && is_ours(fence, &view, epoch) ? RH_FENCE_TAKEN : outcome_of(&view);
    return RH_OK;
}

/* With the lock held: puts the variable back if the OFF is ours. */
static enum rh_status put_back(struct ko_fence *fence,
                               const struct state *state,
                               const char *epoch,
                               enum rh_fence_outcome *ret_outcome,
                               struct rh_error *err)
{
    struct ko_view view;
    enum rh_status status = ko_look(fence, &view, err);
    if (status)
        return status;
    *ret_outcome = outcome_of(&view);
    if (!state->before_on || !is_ours(fence, &view, epoch))
        return RH_OK;
    status = ko_run(fence, err, "opening", "SET GLOBAL keyring_operations = ON");
    fence->base.opened_us = rh_clock_us();
    if (!status)
        *ret_outcome = RH_FENCE_OPENED;
    return status;
}

enum rh_status ko_open(struct rh_ctx *ctx,
                       struct rh_fence *base,
                       const char *state_text,
                       const char *epoch,
                       enum rh_fence_outcome *ret_outcome)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct state state = {0};
    bool got = false;
    enum rh_status status = fence->mysql ? RH_OK : ko_connect(ctx, base);
    if (!status)
        status = state_check(fence, state_text, &state, ctx->err);
    if (!status && !fence->holds && state.thread != fence->thread)
        status = ko_end_session(fence, state.thread, ctx->err);
    if (!status)
        status = ko_lock(fence, 1, &got, ctx->err);
    if (status)
        return status;
    if (!got) {
        *ret_outcome = RH_FENCE_TAKEN;
        return RH_OK;
    }
    status = put_back(fence, &state, epoch, ret_outcome, ctx->err);
    if (!status)
        status = ko_timer_drop(fence, ctx->err);
    if (!status)
        status = ko_run(fence, ctx->err, "giving the fence's lock back", "DO RELEASE_LOCK('" KO_LOCK "')");
    if (!status) {
        fence->holds = false;
        fence->epoch[0] = '\0';
    }
    return status;
}
