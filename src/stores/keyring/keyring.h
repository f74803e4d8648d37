/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keyring drivers share: a keystore is one file that is read whole and replaced whole, and beside it the
 * .backup of a server that was killed while it wrote (docs/formats/keyring.md). A driver brings a format: how the bytes
 * are read and written, what its .backup means, which keys it can hold.
 *
 * set.c     keys in secret memory
 * place.c   where the file lies: its folder, what must not be replaced, owner and mode that are kept
 * view.c    what the keystore holds, by its file or .backup, read once and shared
 * read.c    scans and single keys
 * write.c   the unit of writing, and the trial before it
 * whole.c   commit, stamps, what stood before
 * store.c   stores and sessions; facts
 */
#ifndef REHOME_STORES_KEYRING_H
#define REHOME_STORES_KEYRING_H

#include <limits.h>
#include <pthread.h>
#include <rehome/keyring.h>
#include <rehome/seal.h>
#include <rehome/store.h>
#include <sys/stat.h>

enum {
    KEYRING_FILE_MOST = 256 * 1024 * 1024, /* a keystore above this is refused before it is read */
    KEYRING_DATA_MOST = 16384,             /* bytes of a key that MySQL's keystores hold */
    KEYRING_HASH = 32,
};

/* --- set.c --- */

struct keyring_entry {
    struct rh_bytes key; /* as rh_keyring_key_add makes it */
    struct rh_bytes type, data;
};
/* Keys in the order of their file, with an index in the order of their names. What they point to is in the arena. */
struct keyring_set {
    struct rh_arena arena; /* secret */
    struct keyring_entry *entries;
    size_t *order; /* after keyring_set_sort */
    size_t count, capacity;
};
#define KEYRING_SET_INIT                                                                                               \
    {                                                                                                                  \
        .arena = {.secret = true }                                                                                     \
    }
/* Appends; type and data must already be in the set's arena or outlive it, owner and id are copied. */
enum rh_status keyring_set_add(struct keyring_set *set,
                               struct rh_bytes owner,
                               struct rh_bytes id,
                               struct rh_bytes type,
                               struct rh_bytes data,
                               struct rh_error *err) RH_MUST_USE;
/* Appends an entry as it is. */
enum rh_status
keyring_set_take(struct keyring_set *set, const struct keyring_entry *entry, struct rh_error *err) RH_MUST_USE;
/* Makes the index. RH_E_CORRUPT, naming the key, when one is there twice. */
enum rh_status keyring_set_sort(struct keyring_set *set, struct rh_error *err) RH_MUST_USE;
/* In the index: the place of the first key that isn't less. */
size_t keyring_set_from(const struct keyring_set *set, struct rh_bytes key);
/* NULL when it isn't there. */
struct keyring_entry *keyring_set_find(const struct keyring_set *set, struct rh_bytes key);
void keyring_set_done(struct keyring_set *set);
#define keyring_auto_set __attribute__((cleanup(keyring_set_done)))

/* --- formats --- */

struct keyring_store;

/* What of a file's making is kept when it is replaced. */
struct keyring_shape {
    int version;      /* keyring_file: 1 or 2 */
    int architecture; /* keyring_file: which of the four */
    /* mariadb_key_file: the clear text with its comments, in the memory of the set that came with it */
    struct rh_bytes text;
};

enum keyring_backup {
    KEYRING_BACKUP_NONE,
    KEYRING_BACKUP_OLD, /* holds what was there before the write that was cut: the server goes back to it */
    KEYRING_BACKUP_NEW, /* holds what was being written: the server goes on to it */
};

struct keyring_format {
    const char *product;
    enum keyring_backup backup;
    bool encrypted;
    bool reads_empty; /* parse is asked about a file of no bytes, too, which else is a keystore without keys */
    struct rh_limits limits;
    /* Reads all of a keystore; `content` is the whole file, fd the same file from its start. The set is sorted by the
     * caller. RH_E_CORRUPT with words. */
    enum rh_status (*parse)(const struct keyring_store *store,
                            int fd,
                            struct rh_bytes content,
                            struct keyring_set *set,
                            struct keyring_shape *ret_shape,
                            struct rh_error *err);
    /* Optional, of a .backup that couldn't be parsed: whether a server would take it all the same. */
    bool (*backup_taken)(struct rh_bytes content);
    /* Writes a keystore of these entries, in this order, to an empty file. shape NULL: a new one. */
    enum rh_status (*compose)(const struct keyring_store *store,
                              int fd,
                              const struct keyring_entry *entries,
                              size_t count,
                              const struct keyring_shape *shape,
                              struct rh_error *err);
    /* Whether a key can be held. RH_E_LIMIT with the reason; type and data are NULL where only the name is known. */
    enum rh_status (*fits)(const struct keyring_store *store,
                           const struct keyring_shape *shape,
                           struct rh_bytes owner,
                           struct rh_bytes id,
                           const struct rh_bytes *type,
                           const struct rh_bytes *data,
                           struct rh_error *err);
    /* Optional: the bytes by which the server tells two keys apart, where that isn't owner and id themselves. */
    enum rh_status (*identity)(struct rh_bytes owner, struct rh_bytes id, struct rh_buf *ret, struct rh_error *err);
};

/* --- place.c --- */

struct keyring_place {
    int folder; /* -1: not opened yet */
    char *dir;  /* its path, with '/' at the end */
    char name[NAME_MAX + 1], backup[NAME_MAX + 1], partial[NAME_MAX + 1];
};
/* A file of the folder with its whole path, for people; `text` lives as long as the struct. */
struct keyring_shown {
    char text[1024];
};
struct keyring_shown keyring_place_show(const struct keyring_place *place, const char *name);
/* Where a .backup leads that holds a keystore while servers are switched: nowhere, so that nobody can write it. */
#define KEYRING_HOLD_TARGET "rehome-holds-this-keystore/run-rehome-recover"
/* Whether the .backup of an opened place is that link. */
bool keyring_place_is_held(const struct keyring_place *place);
/* Opens the folder of `path` (absolute), following a symbolic link to the file where nobody else could have made it. */
enum rh_status keyring_place_open(struct keyring_place *place, const char *path, struct rh_error *err) RH_MUST_USE;
void keyring_place_close(struct keyring_place *place);
/* Opens a file of the folder and refuses (RH_E_REFUSED) what isn't a keystore's file or could be swapped by somebody
 * else. RH_NOT_FOUND. `side`: a destination's will be replaced by us; that of no side is only looked at. */
enum rh_status keyring_place_file(const struct keyring_place *place,
                                  const char *name,
                                  enum rh_side side,
                                  int *ret_fd,
                                  struct stat *ret_stat,
                                  struct rh_error *err) RH_MUST_USE;
enum rh_status keyring_place_sync(const struct keyring_place *place, struct rh_error *err) RH_MUST_USE;

/* Owner, mode, access lists and security labels of a file. */
struct keyring_looks {
    uint32_t mode, uid, gid;
    struct rh_buf attributes; /* name and value in turn, each as bytes32 */
};
enum rh_status keyring_looks_read(int fd, struct keyring_looks *ret_looks, struct rh_error *err) RH_MUST_USE;
/* The looks that a new file of this folder gets. */
enum rh_status
keyring_looks_new(const struct keyring_place *place, struct keyring_looks *ret_looks, struct rh_error *err) RH_MUST_USE;
enum rh_status keyring_looks_give(int fd, const struct keyring_looks *looks, struct rh_error *err) RH_MUST_USE;
static inline void keyring_looks_done(struct keyring_looks *looks)
{
    rh_buf_done(&looks->attributes);
}
#define keyring_auto_looks __attribute__((cleanup(keyring_looks_done)))

/* --- view.c --- */

/* Which files a view was read from: changed by every write to them. */
struct keyring_tag {
    struct {
        bool there;
        uint64_t device, inode, size;
        int64_t modified_ns, changed_ns;
    } files[2]; /* the file, its .backup */
};
enum keyring_speaks { KEYRING_NOBODY, KEYRING_FILE, KEYRING_BACKUP };
/* What a keystore holds. Shared by counting; read-only once made. */
struct keyring_view {
    atomic_uint users;
    struct keyring_set set;
    struct keyring_shape shape;
    uint8_t hash[KEYRING_HASH]; /* SHA-256 of the bytes that speak; never leaves the process but under a key */
    enum keyring_speaks speaks; /* which file these keys come from; nobody: there is no keystore */
    bool backup_there;          /* a .backup, whether it speaks or not */
    bool backup_cut;            /* it is no keystore */
    struct keyring_tag tag;
    int64_t read_ns; /* UTC, before it was read */
};
/* The keystore as a server that starts now would have it. `fresh`: read anew whatever is known. */
enum rh_status
keyring_view_get(struct keyring_store *store, bool fresh, struct keyring_view **ret_view, struct rh_error *err);
/* Reads one open file as a view of its own: the partial file. */
enum rh_status keyring_view_of(
    const struct keyring_store *store, int fd, const char *name, struct keyring_view **ret_view, struct rh_error *err);
/* All bytes of a file into the arena. */
enum rh_status
keyring_read_all(int fd, const char *name, struct rh_arena *arena, struct rh_bytes *ret, struct rh_error *err);
struct keyring_view *keyring_view_new(void); /* without a key, to be filled; NULL when memory is out */
struct keyring_view *keyring_view_share(struct keyring_view *view);
void keyring_view_drop(struct keyring_view *view); /* NULL is fine */

/* --- read.c: also for stores that are no file --- */

enum rh_status keyring_datasets(struct rh_ctx *ctx,
                                struct rh_session *session,
                                enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                                void *user);
/* A scan over a view, whose set is sorted; takes it over, also when it fails. */
enum rh_status keyring_scan_view(struct rh_session *session,
                                 struct keyring_view *view,
                                 struct rh_range range,
                                 struct rh_bytes after,
                                 unsigned flags,
                                 struct rh_scan **ret_scan,
                                 struct rh_error *err) RH_MUST_USE;
/* The records of those keys that a view has, as rh_read_ops.get gives them; takes the view over, also when it fails. */
enum rh_status keyring_get_view(struct keyring_view *view,
                                const struct rh_bytes *keys,
                                size_t count,
                                struct rh_batch *out,
                                struct rh_error *err) RH_MUST_USE;
enum rh_status keyring_scan_next(
    struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch);
void keyring_scan_close(struct rh_scan *base);
/* Copies a key into the batch, whose memory is secret from then on. */
enum rh_status keyring_record_add(struct rh_batch *batch,
                                  const struct keyring_entry *entry,
                                  bool keys_only,
                                  struct rh_error *err) RH_MUST_USE;

/* --- store.c --- */

struct keyring_store {
    struct rh_store base;
    const struct keyring_format *format;
    enum rh_side side;
    char *path;            /* absolute */
    bool by_configuration; /* as in rh_facts */
    pthread_mutex_t lock;
    struct keyring_place place;       /* under the lock until it is open */
    struct keyring_view *view;        /* the last one, under the lock */
    struct keyring_shape fresh;       /* of a file made new */
    struct rh_key_provider *provider; /* sealed_keyring */
    void *own;                        /* of the driver, which knows what it is */
    void (*own_free)(void *own);      /* called at close when own is there */
};

/* Names of keys as the server compares them, where that isn't by their bytes. */
struct keyring_names;

struct keyring_session {
    struct rh_session base;
    /* the unit of writing */
    struct keyring_view *from; /* what it began with */
    struct keyring_set next;   /* in file order, those of `from` first; its arena holds what is new */
    size_t kept;               /* how many are of `from` */
    struct keyring_names *names;
    const struct rh_digest_key *digest; /* borrowed */
    int partial;
    bool begun, composed;
    /* the trial */
    struct keyring_view *trial;
    struct keyring_names *trial_names;
};

static inline struct keyring_store *keyring_store_of(const struct rh_session *session)
{
    return (struct keyring_store *)session->store;
}
#define KEYRING_SHOW_PATH(store) RH_SHOW(rh_bytes_text((store)->path))

/* For a driver's open: takes path over (malloc'd, absolute), also when it fails. */
enum rh_status keyring_store_new(const struct rh_driver *driver,
                                 const struct keyring_format *format,
                                 enum rh_side side,
                                 char *path,
                                 struct keyring_store **ret_store,
                                 struct rh_error *err) RH_MUST_USE;
/* `path` as an absolute one, malloc'd. RH_E_PLAN for one that names no file. */
enum rh_status keyring_path(const char *path, const char *place, char **ret_path, struct rh_error *err) RH_MUST_USE;
void keyring_close(struct rh_store *base);
enum rh_status
keyring_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void keyring_session_close(struct rh_session *base);
enum rh_status keyring_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place);
enum rh_status keyring_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
/* Whether one of two keystores lies where the other has its .backup or its partial file. Both are open. */
bool keyring_overlaps(const struct rh_store *a, const struct rh_store *b);
enum rh_status keyring_place_need(struct keyring_store *store, struct rh_error *err);

/* The methods of the tables below, for a driver that has some of its own. */
/* --- write.c --- */
enum rh_status keyring_fits(struct rh_store *base,
                            const struct rh_dataset *dataset,
                            struct rh_bytes key,
                            uint64_t value_bytes,
                            struct rh_buf *ret_rival,
                            struct rh_error *err);
enum rh_status keyring_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode);
enum rh_status keyring_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch);
void keyring_abort(struct rh_session *base);
/* --- whole.c --- */
enum rh_status keyring_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit);
enum rh_status
keyring_image(struct rh_ctx *ctx, struct rh_session *base, struct rh_arena *arena, struct rh_bytes *ret_image);
enum rh_status keyring_put_back(struct rh_ctx *ctx, struct rh_session *base, const struct rh_bytes *image);

extern const struct rh_read_ops keyring_read_ops;
extern const struct rh_write_ops keyring_write_ops;
extern const struct rh_guard_ops keyring_guard_ops;
extern const struct rh_whole_ops keyring_whole_ops;

/* What a driver's record has beside name, summary, options, open. */
#define KEYRING_DRIVER                                                                                                 \
    .interface_version = RH_STORE_INTERFACE, .model = RH_MODEL_KEYRING, .record_class = RH_RECORDS_SECRET,             \
    .commit_scope = RH_COMMIT_WHOLE, .order_id = RH_ORDER_BYTES, .split = RH_SPLIT_KEY, .rescannable = true,           \
    .close = keyring_close, .session_open = keyring_session_open, .session_close = keyring_session_close,              \
    .facts = keyring_facts, .overlaps = keyring_overlaps, .locate = keyring_locate, .read = &keyring_read_ops,         \
    .write = &keyring_write_ops, .guard = &keyring_guard_ops, .whole = &keyring_whole_ops

#endif
