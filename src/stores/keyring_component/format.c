/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keystore's file read and written by its component's library, as a format of the keyring drivers' common part.
 *
 * Reading: the library's path is the descriptor of the file that was opened and looked at before, so it can't take
 * another file, and not the .backup beside it either. Writing: its path is the partial file, empty at first; each key
 * is stored, and the result is read back by another child before it counts.
 */
#include "component.h"

#include "json.h"

#include <rehome/base.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHOWN_FILE "/proc/self/fd/4" /* WIRE_FILE */
_Static_assert(WIRE_FILE == 4, "the path above names the descriptor");
#define FOLDER_FILE "keys" /* in our own folder */
#define SHOWN_FOLDER_FILE "/proc/self/fd/5/" FOLDER_FILE
_Static_assert(WIRE_FOLDER == 5, "the path above names the descriptor");

static _Thread_local const struct rh_ctx *calling;

struct rh_ctx component_calling(struct rh_error *err)
{
    struct rh_ctx ctx = calling ? *calling : (struct rh_ctx){0};
    ctx.err = err;
    return ctx;
}

const struct rh_ctx *component_call(const struct rh_ctx *ctx)
{
    const struct rh_ctx *before = calling;
    calling = ctx;
    return before;
}

/* --- loading --- */

/* Refuses a library that works on another file than its configuration names. */
static enum rh_status check_file(const struct component_child *child, const char *path, struct rh_error *err)
{
    const struct component_facts *facts = component_facts(child);
    if (!facts->data_file[0] || strcmp(facts->data_file, path) == 0)
        return RH_OK;
    return rh_fail(err, RH_E_REFUSED,
                   "the component says that its keys are in '%s', where its configuration named '%s'",
                   RH_SHOW(rh_bytes_text(facts->data_file)), path);
}

/* Loads the library on `path`, which it reaches by descriptor `file` or in our own folder. */
static enum rh_status load(const struct rh_ctx *ctx,
                           const struct keyring_store *store,
                           struct component_private *own,
                           const char *path,
                           int file,
                           struct component_child **ret_child)
{
    struct component *component = component_of(store);
    component_auto_child struct component_child *child = NULL;
    enum rh_status status = component_private_config(own, &component->config, path, ctx->err);
    if (status == RH_OK)
        status = component_start(ctx, &component->library, own->shown, NULL, file, own->fd, &child);
    component_private_forget(own, &component->config); /* it was read, or won't be */
    if (status == RH_OK)
        status = check_file(child, path, ctx->err);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&component->lock);
    component->facts = *component_facts(child);
    pthread_mutex_unlock(&component->lock);
    *ret_child = rh_take(child);
    return RH_OK;
}

/* All keys of the file at `path`. */
static enum rh_status read_file(const struct rh_ctx *ctx,
                                const struct keyring_store *store,
                                struct component_private *own,
                                const char *path,
                                int file,
                                struct keyring_set *set)
{
    component_auto_child struct component_child *child = NULL;
    enum rh_status status = load(ctx, store, own, path, file, &child);
    if (status == RH_OK)
        status = component_read(ctx, child, set);
    return status == RH_OK ? component_stop(ctx, child) : status;
}

/* --- reading --- */

/* Whether a file looks like component_keyring_file's. */
static bool looks_like_json(struct rh_bytes content)
{
    size_t at = 0;
    while (at < content.size && isspace(content.data[at]))
        at++;
    return at < content.size && content.data[at] == '{';
}

/* Both sets hold the same keys. `mine` is sorted. */
static bool same_keys(const struct keyring_set *mine, const struct keyring_set *theirs, struct rh_bytes *ret_key)
{
    for (size_t i = 0; i < theirs->count; i++) {
        const struct keyring_entry *one = &theirs->entries[i], *other = keyring_set_find(mine, one->key);
        *ret_key = one->key;
        if (!other || !rh_bytes_equal(one->type, other->type) || !rh_bytes_equal_secret(one->data, other->data))
            return false;
    }
    return mine->count == theirs->count;
}

/* The self-test: where our own reader knows the file, both must have read the same. */
static enum rh_status compare(const struct keyring_store *store,
                              int fd,
                              struct rh_bytes content,
                              const struct keyring_set *theirs,
                              struct rh_error *err)
{
    keyring_auto_set struct keyring_set mine = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    struct rh_error why = {0};
    struct rh_bytes key = {0};
    const char *name = component_of(store)->library.name;
    const bool known = strcmp(name, "component_keyring_file") == 0;
    if (!known && !looks_like_json(content))
        return RH_OK;
    enum rh_status status = component_keyring_format.parse(store, fd, content, &mine, &shape, &why);
    if (status == RH_OK)
        status = keyring_set_sort(&mine, &why);
    if (status == RH_E_CORRUPT && !known)
        return RH_OK; /* another component's JSON */
    if (status != RH_OK) {
        if (err)
            *err = why;
        return status;
    }
    if (same_keys(&mine, theirs, &key))
        return RH_OK;
    rh_fail(err, RH_E_MISMATCH, "component '%s' and rehome's own reader find different keys in the same file%s%s",
            RH_SHOW(rh_bytes_text(name)), key.size ? ", first " : "", key.size ? RH_SHOW_KEY(key) : "");
    rh_error_hint(err, "use the driver component_keyring_file, which needs no library");
    return RH_E_MISMATCH;
}

/* After a library failed: where our own reader knows the file and finds it damaged, that says more. */
static enum rh_status
look_for_damage(const struct keyring_store *store, int fd, struct rh_bytes content, struct rh_error *err)
{
    keyring_auto_set struct keyring_set mine = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    struct rh_error why = {0};
    if (!looks_like_json(content))
        return RH_E_STORE;
    enum rh_status status = component_keyring_format.parse(store, fd, content, &mine, &shape, &why);
    if (status == RH_OK)
        status = keyring_set_sort(&mine, &why);
    if (status != RH_E_CORRUPT)
        return RH_E_STORE;
    if (err)
        *err = why;
    return RH_E_CORRUPT;
}

static enum rh_status component_parse(const struct keyring_store *store,
                                      int fd,
                                      struct rh_bytes content,
                                      struct keyring_set *set,
                                      struct keyring_shape *ret_shape,
                                      struct rh_error *err)
{
    const struct rh_ctx ctx = component_calling(err);
    component_auto_private struct component_private own = {.fd = -1};
    (void)ret_shape;
    component_private_make(&own);
    enum rh_status status = read_file(&ctx, store, &own, SHOWN_FILE, fd, set);
    if (status == RH_E_STORE)
        return look_for_damage(store, fd, content, err);
    return status == RH_OK ? compare(store, fd, content, set, err) : status;
}

enum rh_status component_self_test(const struct rh_ctx *ctx, const struct keyring_store *store)
{
    component_auto_private struct component_private own = {.fd = -1};
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    rh_auto_fd int fd = memfd_create("keystore", MFD_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(ctx->err, errno, "making a keystore to try a component with");
    component_private_make(&own);
    enum rh_status status = read_file(ctx, store, &own, SHOWN_FILE, fd, &set);
    if (status == RH_OK && set.count)
        status = rh_fail(ctx->err, RH_E_STORE, "component '%s' finds %zu keys in an empty file",
                         RH_SHOW(rh_bytes_text(component_of(store)->library.name)), set.count);
    return status;
}

/* --- writing --- */

void component_leftover_name(const struct keyring_store *store, char out[static NAME_MAX + 1])
{
    if (snprintf(out, NAME_MAX + 1, "%s.backup", store->place.partial) > NAME_MAX)
        out[0] = '\0';
}

/* Where the library writes: in our own folder, if that is nameless; else beside the keystore, in the partial file. */
struct desk {
    struct component_private own;
    int file;                                           /* WIRE_FILE */
    char path[sizeof SHOWN_FOLDER_FILE + NAME_MAX + 2]; /* in the child */
    char leftover[NAME_MAX + 1];                        /* beside the keystore: what a killed library leaves */
};

/* Whether another child finds every key in the file: a library may say that it stored one and not do it. */
static enum rh_status check_stored(const struct rh_ctx *ctx,
                                   const struct keyring_store *store,
                                   struct desk *desk,
                                   const struct keyring_entry *entries,
                                   size_t count)
{
    keyring_auto_set struct keyring_set found = KEYRING_SET_INIT;
    const char *name = component_of(store)->library.name;
    enum rh_status status = read_file(ctx, store, &desk->own, desk->path, desk->file, &found);
    if (status == RH_OK)
        status = keyring_set_sort(&found, ctx->err);
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        const struct keyring_entry *one = keyring_set_find(&found, entries[i].key);
        if (!one || !rh_bytes_equal(one->type, entries[i].type) || !rh_bytes_equal_secret(one->data, entries[i].data))
            status = rh_fail(ctx->err, RH_E_MISMATCH, "component '%s' said that it stored key %s, and %s",
                             RH_SHOW(rh_bytes_text(name)), RH_SHOW_KEY(entries[i].key),
                             one ? "has another one of that name" : "doesn't have it");
    }
    if (status == RH_OK && found.count != count)
        status = rh_fail(ctx->err, RH_E_MISMATCH, "component '%s' has %zu keys after %zu were stored",
                         RH_SHOW(rh_bytes_text(name)), found.count, count);
    return status;
}

/* Makes the place where the library is to write: an empty file. */
static enum rh_status lay_desk(struct desk *desk, const struct keyring_store *store, struct rh_error *err)
{
    const struct keyring_place *place = &store->place;
    component_leftover_name(store, desk->leftover);
    if (!desk->leftover[0])
        return rh_fail_errno(err, ENAMETOOLONG, "writing beside '%s'", RH_SHOW(rh_bytes_text(place->name)));
    component_private_make(&desk->own);
    desk->file = -1;
    (void)snprintf(desk->path, sizeof desk->path, SHOWN_FOLDER_FILE);
    if (desk->own.nameless) {
        rh_auto_fd int fd = openat(desk->own.fd, FOLDER_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return fd >= 0 ? RH_OK : rh_fail_errno(err, errno, "making a file for a component");
    }
    (void)unlinkat(place->folder, desk->leftover, 0); /* a library would take it for the truth */
    desk->file = place->folder;
    (void)snprintf(desk->path, sizeof desk->path, "%s/%s", SHOWN_FILE, place->partial);
    return RH_OK;
}

/* Brings what the library wrote into the partial file, if it isn't that file. */
static enum rh_status
clear_desk(struct desk *desk, const struct keyring_store *store, int partial, struct rh_error *err)
{
    const struct keyring_place *place = &store->place;
    struct rh_arena arena = {.secret = true};
    struct rh_bytes content = {0};
    enum rh_status status = RH_OK;
    if (!desk->own.nameless && !rh_file_is(place->folder, place->partial, partial))
        status = rh_fail(err, RH_E_STORE, "component '%s' puts another file in its file's place",
                         RH_SHOW(rh_bytes_text(component_of(store)->library.name)));
    if (desk->own.nameless) {
        rh_auto_fd int fd = openat(desk->own.fd, FOLDER_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        status = fd >= 0 ? keyring_read_all(fd, place->name, &arena, &content, err)
                         : rh_fail_errno(err, errno, "opening what component '%s' wrote",
                                         RH_SHOW(rh_bytes_text(component_of(store)->library.name)));
    }
    if (status == RH_OK && desk->own.nameless)
        status = rh_write_all(partial, content, err);
    rh_arena_done(&arena);
    return status;
}

/* Stores each of the entries. */
static enum rh_status store_all(const struct rh_ctx *ctx,
                                const struct keyring_store *store,
                                struct desk *desk,
                                const struct keyring_entry *entries,
                                size_t count)
{
    component_auto_child struct component_child *child = NULL;
    enum rh_status status = load(ctx, store, &desk->own, desk->path, desk->file, &child);
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        status = component_store(ctx, child, &entries[i]);
        rh_crash_point("component");
    }
    return status == RH_OK ? component_stop(ctx, child) : status;
}

static enum rh_status component_compose(const struct keyring_store *store,
                                        int fd,
                                        const struct keyring_entry *entries,
                                        size_t count,
                                        const struct keyring_shape *shape,
                                        struct rh_error *err)
{
    const struct rh_ctx ctx = component_calling(err);
    struct desk desk = {.own = {.fd = -1}};
    (void)shape;
    if (count == 0)
        return RH_OK; /* an empty file is a keystore without a key */
    enum rh_status status = lay_desk(&desk, store, err);
    if (status == RH_OK)
        status = store_all(&ctx, store, &desk, entries, count);
    if (status == RH_OK)
        status = check_stored(&ctx, store, &desk, entries, count);
    if (desk.leftover[0])
        (void)unlinkat(store->place.folder, desk.leftover, 0);
    if (status == RH_OK)
        status = clear_desk(&desk, store, fd, err);
    component_private_drop(&desk.own);
    return status;
}

enum rh_status component_key_fits(struct rh_bytes owner,
                                  struct rh_bytes id,
                                  const struct rh_bytes *type,
                                  const struct rh_bytes *data,
                                  struct rh_error *err)
{
    if (id.size == 0)
        return rh_fail(err, RH_E_LIMIT, "its id is empty, which a component doesn't take");
    if (memchr(id.data, 0, id.size) || (owner.size && memchr(owner.data, 0, owner.size)))
        return rh_fail(err, RH_E_LIMIT, "its id or owner holds a zero byte, at which a component ends it");
    if (type && (type->size == 0 || memchr(type->data, 0, type->size)))
        return rh_fail(err, RH_E_LIMIT, "its type is empty or holds a zero byte");
    if (type && type->size > WIRE_TYPE_MOST)
        return rh_fail(err, RH_E_LIMIT, "its type has %zu bytes; %d are the most", type->size, WIRE_TYPE_MOST);
    if (data && data->size > KEYRING_DATA_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and a component takes at most %d", data->size,
                       KEYRING_DATA_MOST);
    return RH_OK;
}

static enum rh_status component_fits(const struct keyring_store *store,
                                     const struct keyring_shape *shape,
                                     struct rh_bytes owner,
                                     struct rh_bytes id,
                                     const struct rh_bytes *type,
                                     const struct rh_bytes *data,
                                     struct rh_error *err)
{
    (void)store;
    (void)shape;
    return component_key_fits(owner, id, type, data, err);
}

const struct keyring_format keyring_component_format = {
    .product = "keyring component",
    .backup = KEYRING_BACKUP_NEW,
    .parse = component_parse,
    .compose = component_compose,
    .fits = component_fits,
};
