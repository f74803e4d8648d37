/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a keystore holds, by the rule that a server which starts now would go by: its file, or the .backup beside it,
 * which a server leaves when it is killed while it writes. The rule is applied in memory only; nothing is changed here.
 * A view is shared as long as both files are the same to the nanosecond, and read long enough after their last change
 * that another one couldn't have the same time.
 */
#include "keyring.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TRIES = 5 };
#define SETTLED_NS (20 * 1000 * 1000LL) /* more than a tick of the clock that stamps files */

enum rh_status
keyring_read_all(int fd, const char *name, struct rh_arena *arena, struct rh_bytes *ret, struct rh_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "looking at the keystore '%s'", RH_SHOW(rh_bytes_text(name)));
    if (st.st_size > KEYRING_FILE_MOST)
        return rh_fail(err, RH_E_LIMIT, "the keystore '%s' has %s; %s are the most", RH_SHOW(rh_bytes_text(name)),
                       rh_words_bytes((uint64_t)st.st_size).text, rh_words_bytes(KEYRING_FILE_MOST).text);
    const size_t size = (size_t)st.st_size;
    uint8_t *content = rh_arena_get(arena, size + 1);
    size_t have = 0;
    if (!content)
        return rh_fail_memory(err);
    for (;;) {
        const ssize_t got = pread(fd, content + have, size + 1 - have, (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "reading the keystore '%s'", RH_SHOW(rh_bytes_text(name)));
        if (got == 0)
            break;
        have += (size_t)got;
        if (have > size) { /* it grew while it was read; the caller looks at the tags and tries again */
            have = size;
            break;
        }
    }
    *ret = rh_bytes(content, have);
    return RH_OK;
}

/* --- views --- */

struct keyring_view *keyring_view_share(struct keyring_view *view)
{
    atomic_fetch_add(&view->users, 1);
    return view;
}

void keyring_view_drop(struct keyring_view *view)
{
    if (!view || atomic_fetch_sub(&view->users, 1) != 1)
        return;
    keyring_set_done(&view->set);
    free(view);
}

struct keyring_view *keyring_view_new(void)
{
    struct keyring_view *view = calloc(1, sizeof *view);
    if (!view)
        return NULL;
    atomic_store(&view->users, 1);
    view->set = (struct keyring_set)KEYRING_SET_INIT;
    return view;
}

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* Which files there are now. */
static enum rh_status take_tag(const struct keyring_place *place, struct keyring_tag *ret_tag, struct rh_error *err)
{
    const char *const names[] = {place->name, place->backup};
    *ret_tag = (struct keyring_tag){0};
    for (size_t i = 0; i < 2; i++) {
        struct stat st;
        if (fstatat(place->folder, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT)
                return rh_fail_errno(err, errno, "looking at the keystore '%s'", RH_SHOW(rh_bytes_text(names[i])));
            continue;
        }
        ret_tag->files[i].there = true;
        ret_tag->files[i].device = st.st_dev;
        ret_tag->files[i].inode = st.st_ino;
        ret_tag->files[i].size = (uint64_t)st.st_size;
        ret_tag->files[i].modified_ns = nanoseconds(&st.st_mtim);
        ret_tag->files[i].changed_ns = nanoseconds(&st.st_ctim);
    }
    return RH_OK;
}

static bool same_tag(const struct keyring_tag *a, const struct keyring_tag *b)
{
    bool same = true;
    for (size_t i = 0; same && i < 2; i++)
        same = a->files[i].there == b->files[i].there && a->files[i].device == b->files[i].device &&
               a->files[i].inode == b->files[i].inode && a->files[i].size == b->files[i].size &&
               a->files[i].modified_ns == b->files[i].modified_ns && a->files[i].changed_ns == b->files[i].changed_ns;
    return same;
}

/* Whether what was read under this tag can't have changed without another one. */
static bool settled(const struct keyring_tag *tag, int64_t read_ns)
{
    for (size_t i = 0; i < 2; i++)
        if (tag->files[i].there &&
            (read_ns - tag->files[i].modified_ns < SETTLED_NS || read_ns - tag->files[i].changed_ns < SETTLED_NS))
            return false;
    return true;
}

/* Reads an open file into the view. A file without a byte is a keystore without a key. `known` (may be
 * NULL): RH_EXISTS when it is the same to the last byte. *ret_taken (may be NULL): it is
 * corrupt, and a server would take it for a .backup all the same. */
static enum rh_status fill(const struct keyring_store *store,
                           int fd,
                           const char *name,
                           struct keyring_view *view,
                           const struct keyring_view *known,
                           bool *ret_taken,
                           struct rh_error *err)
{
    struct rh_bytes content = {0};
    struct rh_arena raw = {.secret = true};
    enum rh_status status = keyring_read_all(fd, name, &raw, &content, err);
    if (status == RH_OK && !EVP_Digest(content.data, content.size, view->hash, NULL, EVP_sha256(), NULL))
        status = rh_fail(err, RH_E_INTERNAL, "hashing the keystore failed");
    view->shape = store->fresh;
    if (status == RH_OK && known && memcmp(known->hash, view->hash, sizeof view->hash) == 0) {
        rh_arena_done(&raw);
        return RH_EXISTS;
    }
    if (status == RH_OK && (content.size > 0 || store->format->reads_empty)) {
        status = store->format->parse(store, fd, content, &view->set, &view->shape, err);
        if (status == RH_OK)
            status = keyring_set_sort(&view->set, err);
        if (status != RH_OK)
            rh_error_prepend(err, "the keystore '%s'", keyring_place_show(&store->place, name).text);
    } else if (status == RH_OK)
        status = keyring_set_sort(&view->set, err);
    if (ret_taken)
        *ret_taken = status == RH_E_CORRUPT && store->format->backup_taken && store->format->backup_taken(content);
    rh_arena_done(&raw);
    return status;
}

enum rh_status keyring_view_of(
    const struct keyring_store *store, int fd, const char *name, struct keyring_view **ret_view, struct rh_error *err)
{
    struct keyring_view *view = keyring_view_new();
    if (!view)
        return rh_fail_memory(err);
    view->speaks = KEYRING_FILE;
    enum rh_status status = fill(store, fd, name, view, NULL, NULL, err);
    if (status != RH_OK) {
        keyring_view_drop(view);
        return status;
    }
    *ret_view = view;
    return RH_OK;
}

/* --- file or .backup --- */

/* Whether a .backup with these keys is what a server goes by. An empty one says nothing: the plugin leaves one when the
 * first key of all is stored. */
static bool backup_speaks(const struct keyring_store *store, const struct keyring_view *view, uint64_t size)
{
    return size > 0 && (store->format->backup == KEYRING_BACKUP_NEW || view->set.count > 0);
}

/* The .backup into the view. RH_NOT_FOUND: there is none that speaks. */
static enum rh_status read_backup(struct keyring_store *store, struct keyring_view *view, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    struct stat st;
    struct rh_error why = {0};
    bool taken = false;
    if (store->format->backup == KEYRING_BACKUP_NONE)
        return RH_NOT_FOUND;
    enum rh_status status = keyring_place_file(&store->place, store->place.backup, store->side, &fd, &st, err);
    if (status != RH_OK)
        return status;
    view->backup_there = true;
    status = fill(store, fd, store->place.backup, view, NULL, &taken, &why);
    if (status == RH_OK && backup_speaks(store, view, (uint64_t)st.st_size)) {
        view->speaks = KEYRING_BACKUP;
        return RH_OK;
    }
    keyring_set_done(&view->set);
    if (rh_failed(status) && (status != RH_E_CORRUPT || taken)) {
        if (taken)
            rh_error_hint(&why, "a server that starts now would take it all the same: restore the keystore from a copy "
                                "first");
        if (err)
            *err = why;
        return status;
    }
    view->backup_cut = rh_failed(status);
    if (view->backup_cut) /* cut while it was written: the file is what counts, whatever a server would do */
        rh_log(RH_LOG_INFO, "a .backup that was cut while it was written is passed over", {"error", why.text});
    return RH_NOT_FOUND;
}

/* The file itself into the view. RH_EXISTS: its bytes are those of the last view. */
static enum rh_status read_file(struct keyring_store *store, struct keyring_view *view, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    struct stat st;
    enum rh_status status = keyring_place_file(&store->place, store->place.name, store->side, &fd, &st, err);
    if (status == RH_NOT_FOUND) {
        view->speaks = KEYRING_NOBODY;
        view->shape = store->fresh;
        return keyring_set_sort(&view->set, err);
    }
    if (status != RH_OK)
        return status;
    view->speaks = KEYRING_FILE;
    const struct keyring_view *known = store->view;
    if (known && (known->speaks != KEYRING_FILE || known->backup_there != view->backup_there ||
                  known->backup_cut != view->backup_cut))
        known = NULL;
    return fill(store, fd, store->place.name, view, known, NULL, err);
}

/* Reads both once; RH_CHANGED when they changed meanwhile. The last view is given again where its bytes are the same.
 */
static enum rh_status read_once(struct keyring_store *store, struct keyring_view **ret_view, struct rh_error *err)
{
    struct keyring_tag after;
    struct rh_error why = {0}; /* of what counts for nothing when the files changed meanwhile */
    struct keyring_view *view = keyring_view_new();
    if (!view)
        return rh_fail_memory(err);
    view->read_ns = rh_utc_ns();
    enum rh_status status = take_tag(&store->place, &view->tag, &why);
    if (status == RH_OK)
        status = read_backup(store, view, &why);
    if (status == RH_NOT_FOUND)
        status = read_file(store, view, &why);
    if (take_tag(&store->place, &after, NULL) == RH_OK && !same_tag(&after, &view->tag))
        status = RH_CHANGED;
    if (status == RH_EXISTS) {
        store->view->tag = view->tag;
        store->view->read_ns = view->read_ns;
        *ret_view = keyring_view_share(store->view);
        keyring_view_drop(view);
        return RH_OK;
    }
    if (status != RH_OK) {
        keyring_view_drop(view);
        if (rh_failed(status) && err)
            *err = why;
        return status;
    }
    *ret_view = view;
    return RH_OK;
}

/* As keyring_view_get, under the lock. */
static enum rh_status get_locked(struct keyring_store *store, bool fresh, struct rh_error *err)
{
    struct keyring_tag now;
    enum rh_status status = take_tag(&store->place, &now, err);
    if (status != RH_OK)
        return status;
    if (!fresh && store->view && same_tag(&now, &store->view->tag) && settled(&store->view->tag, store->view->read_ns))
        return RH_OK;
    struct keyring_view *view = NULL;
    status = RH_CHANGED;
    for (int i = 0; status == RH_CHANGED && i < TRIES; i++) {
        if (i > 0)
            rh_sleep_us(20000 << i);
        status = read_once(store, &view, err);
    }
    if (status == RH_CHANGED) {
        rh_fail(err, RH_E_LOCKED, "the keystore '%s' keeps changing while it is read", KEYRING_SHOW_PATH(store));
        rh_error_hint(err, "close its server's keyring (SET GLOBAL keyring_operations = OFF), or stop the server");
        return RH_E_LOCKED;
    }
    if (status != RH_OK)
        return status;
    keyring_view_drop(store->view);
    store->view = view;
    return RH_OK;
}

enum rh_status
keyring_view_get(struct keyring_store *store, bool fresh, struct keyring_view **ret_view, struct rh_error *err)
{
    enum rh_status status = keyring_place_need(store, err);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&store->lock);
    status = get_locked(store, fresh, err);
    if (status == RH_OK)
        *ret_view = keyring_view_share(store->view);
    pthread_mutex_unlock(&store->lock);
    return status;
}
