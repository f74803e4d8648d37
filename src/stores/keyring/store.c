/* SPDX-License-Identifier: Apache-2.0 */
/* Stores, sessions and facts of the keyring drivers. */
#include "keyring.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum rh_status keyring_path(const char *path, const char *place, char **ret_path, struct rh_error *err)
{
    const size_t size = path ? strlen(path) : 0;
    rh_auto_free char *here = NULL;
    if (size == 0 || path[size - 1] == '/')
        return rh_fail(err, RH_E_PLAN, "%s: a keystore's path names a file", place);
    if (path[0] != '/') {
        here = getcwd(NULL, 0);
        if (!here)
            return rh_fail_errno(err, errno, "finding the current folder");
    }
    char *whole = NULL;
    if (asprintf(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path) < 0)
        return rh_fail_memory(err);
    *ret_path = whole;
    return RH_OK;
}

enum rh_status keyring_store_new(const struct rh_driver *driver,
                                 const struct keyring_format *format,
                                 enum rh_side side,
                                 char *path,
                                 struct keyring_store **ret_store,
                                 struct rh_error *err)
{
    struct keyring_store *store = calloc(1, sizeof *store);
    if (!store) {
        free(path);
        return rh_fail_memory(err);
    }
    store->base.driver = driver;
    store->format = format;
    store->side = side;
    store->path = path;
    store->place.folder = -1;
    pthread_mutex_init(&store->lock, NULL);
    *ret_store = store;
    return RH_OK;
}

void keyring_close(struct rh_store *base)
{
    struct keyring_store *store = (struct keyring_store *)base;
    if (!store)
        return;
    keyring_view_drop(store->view);
    keyring_place_close(&store->place);
    rh_key_provider_free(store->provider);
    if (store->own)
        store->own_free(store->own);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
}

enum rh_status keyring_place_need(struct keyring_store *store, struct rh_error *err)
{
    pthread_mutex_lock(&store->lock);
    enum rh_status status = store->place.folder >= 0 ? RH_OK : keyring_place_open(&store->place, store->path, err);
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum rh_status
keyring_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct keyring_store *store = (struct keyring_store *)base;
    enum rh_status status = keyring_place_need(store, ctx->err);
    if (status == RH_OK && role == RH_ROLE_WRITE && store->side != RH_SIDE_SOURCE)
        status = rh_partial_sweep(store->place.folder, store->place.partial, ctx->err);
    struct keyring_session *session = status == RH_OK ? calloc(1, sizeof *session) : NULL;
    if (!session)
        return status == RH_OK ? rh_fail_memory(ctx->err) : status;
    session->base = (struct rh_session){.store = base, .role = role};
    session->partial = -1;
    session->next = (struct keyring_set)KEYRING_SET_INIT;
    *ret_session = &session->base;
    return RH_OK;
}

/* The file's name as it is, behind symbolic links; one that isn't there yet has a folder. */
static void real_path(const struct keyring_store *store, char *out, size_t size)
{
    rh_auto_free char *real = realpath(store->path, NULL);
    const char *slash = real ? NULL : strrchr(store->path, '/');
    rh_auto_free char *above = slash ? strndup(store->path, (size_t)(slash - store->path) + 1) : NULL;
    rh_auto_free char *folder = above ? realpath(above, NULL) : NULL;
    if (folder)
        snprintf(out, size, "%s%s", strcmp(folder, "/") == 0 ? "" : folder, slash);
    else
        snprintf(out, size, "%s", real ? real : store->path);
}

enum rh_status keyring_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place)
{
    char place[2 * PATH_MAX]; /* whole: a server is sent there */
    real_path((const struct keyring_store *)base, place, sizeof place);
    return rh_buf_text(ret_place, place, ctx->err);
}

/* What a server that starts now makes of a .backup (docs/formats/keyring.md). */
static void tell_leftover(const struct keyring_store *store, const struct keyring_view *view, struct rh_facts *facts)
{
    const bool forward = store->format->backup == KEYRING_BACKUP_NEW;
    const bool speaks = view->speaks == KEYRING_BACKUP;
    char name[100];
    if (!view->backup_there)
        return;
    facts->leftover_harms = view->backup_cut && forward;
    snprintf(facts->leftover, sizeof facts->leftover, "'%s' was left by a server that was killed while it wrote%s: %s",
             rh_show(rh_bytes_text(store->place.backup), name, sizeof name), view->backup_cut ? ", and is cut" : "",
             facts->leftover_harms
                 ? "one that starts now copies it over the keystore all the same and can't load its keyring"
             : !speaks ? "one that starts now removes it and keeps the keystore as it is"
             : forward ? "one that starts now goes on to its keys, which count here, too"
                       : "one that starts now goes back to its keys, which count here, too");
}

enum rh_status keyring_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct keyring_store *store = keyring_store_of(base);
    const struct keyring_session *session = (struct keyring_session *)base;
    const struct keyring_place *place = &store->place;
    struct keyring_view *view = NULL;
    struct stat folder;
    struct rh_facts facts = {
        .tls = "local",
        .encrypted_at_rest = store->format->encrypted ? RH_YES : RH_NO,
        .limits = store->format->limits,
        .by_configuration = store->by_configuration,
        .owner_blind = "a server that has this keystore loaded can't be seen from its file",
    };
    struct rh_error why = {0};
    enum rh_status status = keyring_view_get(store, false, &view, &why);
    /* one that a server writes all the while is there; what it holds is for who reads it */
    if (status != RH_OK && status != RH_E_LOCKED) {
        if (ctx->err)
            *ctx->err = why;
        return status;
    }
    snprintf(facts.product, sizeof facts.product, "%s", store->format->product);
    facts.exists = view && view->speaks == KEYRING_NOBODY ? RH_NO : RH_YES;
    if (view && view->shape.version)
        snprintf(facts.version, sizeof facts.version, "%d.0", view->shape.version);
    if (view)
        tell_leftover(store, view, &facts);
    keyring_view_drop(view);
    if (fstat(place->folder, &folder) != 0)
        return rh_fail_errno(ctx->err, errno, "looking at the folder of '%s'", KEYRING_SHOW_PATH(store));
    real_path(store, facts.address, sizeof facts.address);
    snprintf(facts.place, sizeof facts.place, "%s", facts.address);
    snprintf(facts.identity, sizeof facts.identity, "keyring:%llu:%llu/%.180s", (unsigned long long)folder.st_dev,
             (unsigned long long)folder.st_ino, place->name);
    facts.writable = faccessat(place->folder, ".", W_OK | X_OK, AT_EACCESS) == 0 ? RH_YES : RH_NO;
    if (store->side == RH_SIDE_DESTINATION && session->partial < 0 && rh_partial_busy(place->folder, place->partial))
        snprintf(facts.live_owner, sizeof facts.live_owner, "another process is writing it");
    *ret_facts = facts;
    return RH_OK;
}

bool keyring_overlaps(const struct rh_store *a, const struct rh_store *b)
{
    const struct keyring_place *one = &((const struct keyring_store *)a)->place,
                               *other = &((const struct keyring_store *)b)->place;
    struct stat one_folder, other_folder;
    if (fstat(one->folder, &one_folder) != 0 || fstat(other->folder, &other_folder) != 0 ||
        one_folder.st_dev != other_folder.st_dev || one_folder.st_ino != other_folder.st_ino)
        return false;
    return strcmp(one->name, other->backup) == 0 || strcmp(one->name, other->partial) == 0 ||
           strcmp(other->name, one->backup) == 0 || strcmp(other->name, one->partial) == 0;
}

/* Tells one folder from another, and one content of a source from another; nothing of the keys. */
static enum rh_status keyring_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct keyring_store *store = keyring_store_of(base);
    struct stat st;
    if (fstat(store->place.folder, &st) != 0)
        return rh_fail_errno(ctx->err, errno, "looking at the folder of '%s'", KEYRING_SHOW_PATH(store));
    return rh_buf_format(ret_text, ctx->err, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
}

const struct rh_guard_ops keyring_guard_ops = {.unmarked = true, .fingerprint = keyring_fingerprint};
