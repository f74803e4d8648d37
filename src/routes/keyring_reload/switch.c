/* SPDX-License-Identifier: Apache-2.0 */
/* Switching and going back; internal.h says why in this order. */
#include "internal.h"
#include "keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the server goes now, by what it has loaded. */
static enum rh_status
stand_of(struct kr_route *route, const char *from, const char *to, enum rh_route_stand *ret_stand, struct rh_error *err)
{
    char loaded[4096] = "";
    enum rh_status status = kr_loaded(route, loaded, sizeof loaded, err);
    if (status)
        return status;
    const bool old = kr_same_file(loaded, from), new = kr_same_file(loaded, to);
    *ret_stand = new ? RH_ROUTE_AT_NEW : RH_ROUTE_AT_OLD;
    if (old || new)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "the server '%s' has the keystore '%s' loaded, which is neither '%s' nor '%s'",
            route->address, RH_SHOW(rh_bytes_text(loaded)), RH_SHOW(rh_bytes_text(from)), RH_SHOW(rh_bytes_text(to)));
    rh_error_hint(err, "is it the right server? rehome has to run where its files are");
    return RH_E_REFUSED;
}

/* The configuration has to say what the server does, or a restart would bring something else than what is there now. */
static enum rh_status
check_configuration(struct kr_route *route, const char *path, const char *loaded, struct rh_error *err)
{
    rh_auto_free char *target = NULL;
    enum rh_status status = kr_config_target(path, &target, err);
    if (status || kr_same_file(target, loaded))
        return status;
    rh_fail(err, RH_E_REFUSED, "the configuration '%s' names the keystore '%s', but the server '%s' has '%s' loaded",
            RH_SHOW(rh_bytes_text(path)), RH_SHOW(rh_bytes_text(target)), route->address,
            RH_SHOW(rh_bytes_text(loaded)));
    rh_error_hint(err, "ALTER INSTANCE RELOAD KEYRING or a restart brings them together; where the server reads "
                       "another file, name that by configuration = \"...\" in the route");
    return RH_E_REFUSED;
}

/* The folder of the configuration, in which it is replaced. */
static enum rh_status check_writable(const char *path, struct rh_error *err)
{
    rh_auto_free char *folder = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    if (!folder)
        return rh_fail_memory(err);
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0)
        return RH_OK;
    rh_fail(err, RH_E_DENIED, "the configuration '%s' can't be replaced: its folder can't be written",
            RH_SHOW(rh_bytes_text(path)));
    rh_error_hint(err, "run rehome as root, or as the owner of that folder");
    return RH_E_DENIED;
}

/* All that a look can tell; the configuration's real path. */
static enum rh_status look(struct kr_route *route,
                           const struct rh_route_ends *ends,
                           enum rh_route_stand *ret_stand,
                           char **ret_configuration,
                           struct rh_error *err)
{
    rh_auto_free char *found = NULL;
    struct stat st;
    enum rh_status status = stand_of(route, ends->from, ends->to, ret_stand, err);
    if (!status)
        status = kr_config_find(route, &found, err);
    if (!status)
        status = check_configuration(route, found, *ret_stand == RH_ROUTE_AT_NEW ? ends->to : ends->from, err);
    char *real = status ? NULL : realpath(found, NULL);
    if (!status && !real)
        status = rh_fail_errno(err, errno, "following '%s'", RH_SHOW(rh_bytes_text(found)));
    if (!status)
        status = check_writable(real, err);
    if (!status && *ret_stand == RH_ROUTE_AT_OLD)
        status = kr_hold_check(ends->from, err);
    if (!status)
        status = kr_account_check(route, ends->to, stat(ends->to, &st) == 0, err);
    if (status) {
        free(real);
        return status;
    }
    *ret_configuration = real;
    return RH_OK;
}

enum rh_status
kr_check(struct rh_ctx *ctx, struct rh_route *base, const struct rh_route_ends *ends, enum rh_route_stand *ret_stand)
{
    rh_auto_free char *configuration = NULL;
    return look((struct kr_route *)base, ends, ret_stand, &configuration, ctx->err);
}

enum rh_status
kr_snapshot(struct rh_ctx *ctx, struct rh_route *base, const struct rh_route_ends *ends, struct rh_buf *ret_state)
{
    struct kr_route *route = (struct kr_route *)base;
    kr_auto_state struct kr_state state = {.thread = route->thread};
    enum rh_route_stand stand;
    bool got = false;
    enum rh_status status = kr_lock(route, 5, &got, ctx->err);
    if (!status && !got) {
        rh_fail(ctx->err, RH_E_LOCKED, "another rehome is switching the keyring of '%s'", route->address);
        rh_error_hint(ctx->err, "wait for it to end");
        return RH_E_LOCKED;
    }
    if (!status)
        status = look(route, ends, &stand, &state.configuration, ctx->err);
    if (!status)
        status = rh_dup_text(ends->from, &state.from, ctx->err);
    if (!status)
        status = rh_dup_text(ends->to, &state.to, ctx->err);
    if (status)
        return status;
    snprintf(state.uuid, sizeof state.uuid, "%s", route->uuid);
    return kr_state_write(&state, ret_state, ctx->err);
}

enum rh_status kr_prepare(struct rh_ctx *ctx, struct rh_route *base, const char *text)
{
    struct kr_route *route = (struct kr_route *)base;
    kr_auto_state struct kr_state state = {0};
    enum rh_status status = kr_state_read(text, &state, ctx->err);
    if (!status)
        status = kr_account_check(route, state.to, true, ctx->err);
    if (!status)
        status = kr_config_make(state.configuration, state.to, ctx->err);
    return status ? status : kr_timer_make(route, ctx->err);
}

enum rh_status kr_apply(struct rh_ctx *ctx, struct rh_route *base, const char *text)
{
    (void)base;
    kr_auto_state struct kr_state state = {0};
    enum rh_status status = kr_state_read(text, &state, ctx->err);
    if (!status)
        status = kr_hold_set(state.from, ctx->err);
    rh_crash_point("route");
    return status ? status : kr_config_turn(state.configuration, ctx->err);
}

/* The state speaks of one server; another one may have come to its address meanwhile. */
static enum rh_status same_server(const struct kr_route *route, const struct kr_state *state, struct rh_error *err)
{
    if (strcmp(state->uuid, route->uuid) == 0)
        return RH_OK;
    return rh_fail(err, RH_E_REFUSED, "the server '%s' isn't the one that was switched, whose server_uuid is '%s'",
                   route->address, RH_SHOW(rh_bytes_text(state->uuid)));
}

enum rh_status kr_settle(struct rh_ctx *ctx, struct rh_route *base, const char *text)
{
    struct kr_route *route = (struct kr_route *)base;
    kr_auto_state struct kr_state state = {0};
    enum rh_route_stand stand = RH_ROUTE_AT_OLD;
    bool held = false;
    enum rh_status status = kr_state_read(text, &state, ctx->err);
    if (!status)
        status = same_server(route, &state, ctx->err);
    /* lost with the connection: who puts things right when we are gone waits for what we have sent. The server's own
     * timer, which has it for a moment, does what we do */
    if (!status)
        status = kr_lock(route, 3, &held, ctx->err);
    if (!status)
        status = kr_run(route, ctx->err, "reloading the keyring", "ALTER INSTANCE RELOAD KEYRING");
    if (status && ctx->err && rh_mysql_is_refusal(ctx->err))
        rh_error_hint(ctx->err, "the server's error log says why; it goes on with the keystore that it had");
    if (!status)
        status = stand_of(route, state.from, state.to, &stand, ctx->err);
    if (!status && stand == RH_ROUTE_AT_OLD)
        return rh_fail(ctx->err, RH_E_STORE, "the server '%s' reloaded its keyring, and has '%s' loaded still",
                       route->address, RH_SHOW(rh_bytes_text(state.from)));
    return status;
}

enum rh_status kr_release(struct rh_ctx *ctx, struct rh_route *base, const char *text)
{
    struct kr_route *route = (struct kr_route *)base;
    kr_auto_state struct kr_state state = {0};
    struct rh_error unheard = {0};
    enum rh_status status = kr_state_read(text, &state, ctx->err);
    if (!status)
        status = kr_hold_drop(state.from, ctx->err);
    if (!status)
        status = kr_config_clean(state.configuration, ctx->err);
    if (status || !route->mysql)
        return status;
    /* the timer finds nothing to do and goes by itself, the lock goes with the session */
    if (kr_timer_drop(route, &unheard) == RH_OK && route->holds)
        rh_ignore(kr_run(route, &unheard, "giving the switch's lock back", "DO RELEASE_LOCK('" KR_LOCK "')"));
    route->holds = false;
    return RH_OK;
}

/* The lock, from whoever was switching. */
static enum rh_status take_over(struct kr_route *route, const struct kr_state *state, struct rh_error *err)
{
    bool got = false;
    enum rh_status status = RH_OK;
    if (!route->holds && state->thread != route->thread)
        status = kr_end_session(route, state->thread, err);
    if (!status)
        status = kr_lock(route, 3, &got, err);
    if (status || got)
        return status;
    rh_fail(err, RH_E_LOCKED, "another rehome is switching the keyring of '%s'", route->address);
    if (err)
        err->retry = RH_RETRY_LATER;
    return RH_E_LOCKED;
}

enum rh_status kr_undo(struct rh_ctx *ctx, struct rh_route *base, const char *text, enum rh_route_stand *ret_stand)
{
    struct kr_route *route = (struct kr_route *)base;
    kr_auto_state struct kr_state state = {0};
    enum rh_status status = kr_state_read(text, &state, ctx->err);
    if (!status && !route->mysql)
        status = kr_connect(ctx, base);
    if (!status)
        status = same_server(route, &state, ctx->err);
    if (!status)
        status = take_over(route, &state, ctx->err);
    if (!status)
        status = stand_of(route, state.from, state.to, ret_stand, ctx->err);
    rh_crash_point("route");
    if (!status)
        status = kr_config_set(state.configuration, *ret_stand == RH_ROUTE_AT_NEW ? state.to : state.from, ctx->err);
    /* one that was restarted since the first look goes by what was configured then: this connection ended with it, and
     * who asks again finds the other side loaded */
    return status ? status : stand_of(route, state.from, state.to, ret_stand, ctx->err);
}
