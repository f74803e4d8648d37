/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit of a keystore, and what stood before it. In this order, so that a crash at any point leaves the old keys
 * or the new ones, also to a server that starts then:
 *   1. the new keystore in a partial file, read back, with owner, mode and labels of the old one, synced
 *   2. a .backup that speaks takes the file's place by one rename, one that doesn't is removed; folder synced: from
 *      here on the file alone speaks, and says what it said before
 *   3. what stands is read again, and is still what the unit began with
 *   4. the partial file is renamed over it, folder synced
 */
#include "keyring.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMAGE_VERSION = 1 };

static enum rh_status add_stamp(const struct keyring_view *view, struct rh_buf *ret_stamp, struct rh_error *err)
{
    rh_buf_clear(ret_stamp);
    return rh_hex_add(ret_stamp, rh_bytes(view->hash, sizeof view->hash), err);
}

/* Whether two views are of the same content. */
static bool same_content(const struct keyring_view *a, const struct keyring_view *b)
{
    return (a->speaks == KEYRING_NOBODY) == (b->speaks == KEYRING_NOBODY) &&
           (a->speaks == KEYRING_NOBODY || memcmp(a->hash, b->hash, sizeof a->hash) == 0);
}

/* Refuses when what stands isn't what the unit began with. */
static enum rh_status changed(const struct keyring_store *store, struct rh_error *err)
{
    rh_fail(err, RH_E_CONFLICT, "the keystore '%s' isn't what it was when writing began: somebody else wrote it",
            KEYRING_SHOW_PATH(store));
    rh_error_hint(err, "find out which server uses it, and stop it or close its keyring");
    return RH_E_CONFLICT;
}

/* --- the partial file --- */

/* Whether what the partial file holds, read back, is what was to be written. */
static enum rh_status
read_back(const struct keyring_session *session, const struct keyring_view *view, struct rh_error *err)
{
    const struct keyring_set *wanted = &session->next, *found = &view->set;
    bool equal = wanted->count == found->count;
    for (size_t i = 0; equal && i < wanted->count; i++) {
        const struct keyring_entry *one = &wanted->entries[i], *other = keyring_set_find(found, one->key);
        equal = other && rh_bytes_equal(one->type, other->type) && rh_bytes_equal_secret(one->data, other->data);
    }
    return equal ? RH_OK : rh_fail(err, RH_E_INTERNAL, "the new keystore, read back, isn't what was written");
}

/* Says of a failed write which keystore it was for, and what to do about a full disk. */
static enum rh_status fail_write(const struct keyring_store *store, struct rh_error *err)
{
    if (err && err->status == RH_E_FULL)
        rh_error_hint(err, "make room beside the keystore: while it is replaced the old one and the new one both need "
                           "it; then give the same command again");
    return rh_error_prepend(err, "writing the keystore '%s'", RH_SHOW(rh_bytes_text(store->path)));
}

/* Writes the partial file. *ret_view is what it holds, to be dropped. */
static enum rh_status compose(struct keyring_session *session, struct keyring_view **ret_view, struct rh_error *err)
{
    struct keyring_store *store = keyring_store_of(&session->base);
    const struct keyring_shape *shape = session->from->speaks == KEYRING_NOBODY ? NULL : &session->from->shape;
    struct keyring_view *view = NULL;
    enum rh_status status = RH_OK;
    rh_crash_point("keystore");
    if (!session->composed)
        status =
            store->format->compose(store, session->partial, session->next.entries, session->next.count, shape, err);
    if (rh_failed(status))
        return fail_write(store, err);
    session->composed = true;
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = keyring_view_of(store, session->partial, store->place.partial, &view, err);
    if (status == RH_OK)
        status = read_back(session, view, err);
    if (status != RH_OK) {
        keyring_view_drop(view);
        return status;
    }
    *ret_view = view;
    return RH_OK;
}

static enum rh_status
whole_promise(struct rh_ctx *ctx, struct rh_session *base, struct rh_bytes replaces, struct rh_buf *ret_stamp)
{
    struct keyring_session *session = (struct keyring_session *)base;
    struct keyring_view *view = NULL;
    rh_auto_buf struct rh_buf began = RH_BUF_INIT;
    enum rh_status status = RH_OK;
    if (!session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the keystore: not begun");
    if (session->from->speaks != KEYRING_NOBODY)
        status = add_stamp(session->from, &began, ctx->err);
    if (status == RH_OK && !rh_bytes_equal(rh_buf_bytes(&began), replaces))
        return changed(keyring_store_of(base), ctx->err);
    if (status == RH_OK)
        status = compose(session, &view, ctx->err);
    if (status == RH_OK)
        status = add_stamp(view, ret_stamp, ctx->err);
    keyring_view_drop(view);
    return status;
}

/* --- the commit --- */

/* Which of the two files speaks, as a name. */
static const char *speaker(const struct keyring_store *store, const struct keyring_view *view)
{
    return view->speaks == KEYRING_BACKUP ? store->place.backup : store->place.name;
}

/* The looks that the new file gets: those of the file, or of the .backup where only that is there. */
static enum rh_status looks_to_keep(const struct keyring_store *store,
                                    const struct keyring_view *view,
                                    struct keyring_looks *looks,
                                    struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    struct stat st;
    enum rh_status status = keyring_place_file(&store->place, store->place.name, RH_SIDE_DESTINATION, &fd, &st, err);
    if (status == RH_NOT_FOUND && view->speaks != KEYRING_BACKUP)
        return keyring_looks_new(&store->place, looks, err);
    if (status == RH_NOT_FOUND)
        status = keyring_place_file(&store->place, store->place.backup, RH_SIDE_DESTINATION, &fd, &st, err);
    return status == RH_OK ? keyring_looks_read(fd, looks, err) : status;
}

/* Step 2: from here on the file alone speaks. */
static enum rh_status resolve_backup(const struct keyring_store *store,
                                     const struct keyring_view *view,
                                     const struct keyring_looks *looks,
                                     struct rh_error *err)
{
    const struct keyring_place *place = &store->place;
    enum rh_status status = RH_OK;
    if (!view->backup_there)
        return RH_OK;
    rh_crash_point("keystore");
    if (view->speaks == KEYRING_BACKUP) {
        rh_auto_fd int fd = -1;
        struct stat st;
        status = keyring_place_file(place, place->backup, RH_SIDE_DESTINATION, &fd, &st, err);
        if (status == RH_OK)
            status = keyring_looks_give(fd, looks, err);
        /* its server never synced it */
        if (status == RH_OK && fsync(fd) != 0)
            status = rh_fail_errno(err, errno, "making '%s' durable", RH_SHOW(rh_bytes_text(place->backup)));
        if (status == RH_OK && renameat(place->folder, place->backup, place->folder, place->name) != 0)
            status = rh_fail_errno(err, errno, "putting '%s' in the place of its file",
                                   RH_SHOW(rh_bytes_text(place->backup)));
    } else if (unlinkat(place->folder, place->backup, 0) != 0 && errno != ENOENT)
        status = rh_fail_errno(err, errno, "removing '%s'", RH_SHOW(rh_bytes_text(place->backup)));
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = keyring_place_sync(place, err);
    rh_crash_point("keystore");
    return status == RH_NOT_FOUND ? changed(store, err) : status;
}

/* Gives the partial file its name: over what was there, or where nothing may be. */
static enum rh_status give_name(const struct keyring_store *store, bool over, struct rh_error *err)
{
    const struct keyring_place *place = &store->place;
    const int folder = place->folder;
    if (over && renameat(folder, place->partial, folder, place->name) == 0)
        return RH_OK;
    if (!over && renameat2(folder, place->partial, folder, place->name, RENAME_NOREPLACE) == 0)
        return RH_OK;
    if (!over && (errno == EINVAL || errno == ENOSYS) && /* a file system that can't */
        linkat(folder, place->partial, folder, place->name, 0) == 0) {
        if (unlinkat(folder, place->partial, 0) == 0)
            return RH_OK;
    }
    return !over && errno == EEXIST
               ? changed(store, err)
               : rh_fail_errno(err, errno, "naming the new keystore '%s'", KEYRING_SHOW_PATH(store));
}

/* What stands now; refused when it isn't what the unit began with. */
static enum rh_status still_there(struct keyring_store *store,
                                  const struct keyring_view *from,
                                  struct keyring_view **ret_now,
                                  struct rh_error *err)
{
    struct keyring_view *now = NULL;
    enum rh_status status = keyring_view_get(store, true, &now, err);
    if (status == RH_OK && !same_content(now, from))
        status = changed(store, err);
    if (status != RH_OK) {
        keyring_view_drop(now);
        return status;
    }
    *ret_now = now;
    return RH_OK;
}

/* Steps 2 to 4; the partial file is whole. */
static enum rh_status replace(struct keyring_store *store,
                              const struct keyring_view *from,
                              int partial,
                              enum rh_commit *ret_commit,
                              struct rh_error *err)
{
    keyring_auto_looks struct keyring_looks looks = {0};
    struct keyring_view *now = NULL;
    enum rh_status status = still_there(store, from, &now, err);
    if (status == RH_OK)
        status = looks_to_keep(store, now, &looks, err);
    if (status == RH_OK)
        status = keyring_looks_give(partial, &looks, err);
    rh_crash_point("keystore");
    if (status == RH_OK && fsync(partial) != 0)
        status = rh_fail_errno(err, errno, "making the new keystore durable");
    if (status == RH_OK)
        status = resolve_backup(store, now, &looks, err);
    keyring_view_drop(now);
    now = NULL;
    if (status == RH_OK)
        status = still_there(store, from, &now, err);
    if (status == RH_OK && now->backup_there)
        status = changed(store, err);
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = give_name(store, now->speaks != KEYRING_NOBODY, err);
    keyring_view_drop(now);
    if (status != RH_OK)
        return status;
    *ret_commit = RH_COMMIT_UNKNOWN;
    rh_crash_point("keystore");
    status = keyring_place_sync(&store->place, err);
    rh_crash_point("keystore");
    if (status == RH_OK)
        *ret_commit = RH_COMMIT_DONE;
    return status;
}

enum rh_status keyring_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct keyring_session *session = (struct keyring_session *)base;
    struct keyring_store *store = keyring_store_of(base);
    struct keyring_view *view = NULL;
    *ret_commit = RH_COMMIT_NOT_DONE;
    if (!session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the keystore: not begun");
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK && !session->composed)
        status = compose(session, &view, ctx->err);
    keyring_view_drop(view);
    if (status == RH_OK)
        status = replace(store, session->from, session->partial, ret_commit, ctx->err);
    keyring_abort(base); /* what there is of a partial file has its name by now, or goes */
    return status;
}

/* --- what stood before --- */

static enum rh_status whole_stamp(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_stamp)
{
    struct keyring_store *store = keyring_store_of(base);
    struct keyring_view *view = NULL;
    /* what stands is durable once it was seen: a crash may have come between a rename and its fsync */
    enum rh_status status = keyring_place_need(store, ctx->err);
    if (status == RH_OK)
        status = keyring_place_sync(&store->place, ctx->err);
    if (status == RH_OK)
        status = keyring_view_get(store, true, &view, ctx->err);
    if (status == RH_OK)
        status = view->speaks == KEYRING_NOBODY ? RH_NOT_FOUND : add_stamp(view, ret_stamp, ctx->err);
    keyring_view_drop(view);
    return status;
}

/* Version, looks, then the bytes of the file that speaks. */
enum rh_status
keyring_image(struct rh_ctx *ctx, struct rh_session *base, struct rh_arena *arena, struct rh_bytes *ret_image)
{
    struct keyring_store *store = keyring_store_of(base);
    struct keyring_view *view = NULL;
    keyring_auto_looks struct keyring_looks looks = {0};
    rh_auto_buf struct rh_buf head = RH_BUF_INIT;
    rh_auto_fd int fd = -1;
    struct stat st;
    struct rh_bytes content = {0};
    enum rh_status status = keyring_view_get(store, false, &view, ctx->err);
    if (status == RH_OK && view->speaks == KEYRING_NOBODY)
        status = changed(store, ctx->err);
    if (status == RH_OK)
        status = looks_to_keep(store, view, &looks, ctx->err);
    if (status == RH_OK)
        status = keyring_place_file(&store->place, speaker(store, view), RH_SIDE_DESTINATION, &fd, &st, ctx->err);
    if (status == RH_OK)
        status = keyring_read_all(fd, speaker(store, view), arena, &content, ctx->err);
    keyring_view_drop(view);
    if (status == RH_OK)
        status = rh_buf_u32be(&head, IMAGE_VERSION, ctx->err);
    const uint32_t numbers[] = {looks.mode, looks.uid, looks.gid};
    for (size_t i = 0; status == RH_OK && i < 3; i++)
        status = rh_buf_u32be(&head, numbers[i], ctx->err);
    if (status == RH_OK)
        status = rh_buf_bytes32(&head, rh_buf_bytes(&looks.attributes), ctx->err);
    if (status != RH_OK)
        return status == RH_NOT_FOUND ? changed(store, ctx->err) : status;
    uint8_t *image = rh_arena_get(arena, head.size + content.size);
    if (!image)
        return rh_fail_memory(ctx->err);
    memcpy(image, head.data, head.size);
    if (content.size)
        memcpy(image + head.size, content.data, content.size);
    *ret_image = rh_bytes(image, head.size + content.size);
    return RH_OK;
}

/* The image's looks; the cursor stands at its content then. */
static enum rh_status read_image(struct rh_cursor *cur, struct keyring_looks *looks, struct rh_error *err)
{
    const uint32_t version = rh_cursor_u32be(cur);
    looks->mode = rh_cursor_u32be(cur);
    looks->uid = rh_cursor_u32be(cur);
    looks->gid = rh_cursor_u32be(cur);
    const struct rh_bytes attributes = rh_cursor_bytes32(cur);
    if (cur->bad || version != IMAGE_VERSION)
        return rh_fail(err, RH_E_CORRUPT, "what was kept of the keystore can't be read");
    return rh_buf_add(&looks->attributes, attributes.data, attributes.size, err);
}

/* Writes the image to a partial file and puts it in the place of what stands. */
static enum rh_status put_back(struct keyring_store *store, struct rh_bytes image, struct rh_error *err)
{
    const struct keyring_place *place = &store->place;
    keyring_auto_looks struct keyring_looks looks = {0};
    struct rh_cursor cur = rh_cursor(image);
    int partial = -1;
    enum rh_status status = read_image(&cur, &looks, err);
    if (status == RH_OK)
        status = rh_partial_make(place->folder, place->partial, &partial, err);
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = rh_write_all(partial, rh_cursor_take(&cur, rh_cursor_left(&cur)), err);
    if (status == RH_OK)
        status = keyring_looks_give(partial, &looks, err);
    if (status == RH_OK && fsync(partial) != 0)
        status = rh_fail_errno(err, errno, "making the former keystore durable");
    rh_crash_point("keystore");
    if (status == RH_OK)
        status = give_name(store, true, err);
    rh_partial_drop(place->folder, place->partial, &partial);
    return status;
}

enum rh_status keyring_put_back(struct rh_ctx *ctx, struct rh_session *base, const struct rh_bytes *image)
{
    struct keyring_store *store = keyring_store_of(base);
    struct keyring_view *now = NULL;
    keyring_auto_looks struct keyring_looks looks = {0};
    enum rh_status status = keyring_view_get(store, true, &now, ctx->err);
    if (status == RH_OK && now->backup_there && now->speaks != KEYRING_NOBODY)
        status = looks_to_keep(store, now, &looks, ctx->err);
    if (status == RH_OK)
        status = resolve_backup(store, now, &looks, ctx->err);
    keyring_view_drop(now);
    rh_crash_point("keystore");
    if (status == RH_OK && image)
        status = put_back(store, *image, ctx->err);
    else if (status == RH_OK && unlinkat(store->place.folder, store->place.name, 0) != 0 && errno != ENOENT)
        status = rh_fail_errno(ctx->err, errno, "removing '%s'", KEYRING_SHOW_PATH(store));
    rh_crash_point("keystore");
    return status == RH_OK ? keyring_place_sync(&store->place, ctx->err) : status;
}

const struct rh_whole_ops keyring_whole_ops = {
    .replaces_all = false,
    .promise = whole_promise,
    .stamp = whole_stamp,
    .image = keyring_image,
    .put_back = keyring_put_back,
};
