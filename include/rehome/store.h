/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver interface: what the engine asks of a store, and nothing of how.
 *
 * A driver is a const record: names, data about its kind, its option table, and groups of functions. A group it
 * can't offer is NULL, and so may be the functions marked "optional". The engine calls them through the wrappers
 * in src/engine/store_call.c, which check arguments and turn NULL into RH_UNSUPPORTED.
 *
 * Threads. A store may be used by many threads; a session, and the cursors on it, by one thread at a time. Only
 * cancel() may be called from another thread.
 * Ownership. What a driver returns through ret_ belongs to the caller, to be given back by the matching close. Bytes in
 * a batch live in the batch's arena. Bytes passed in are borrowed for the call. Retry. A failed call leaves the session
 * usable unless err->retry says RH_RETRY_RECONNECT; then the caller closes the session and opens another. A driver
 * never retries by itself over a point where something may have been written.
 */
#ifndef REHOME_STORE_H
#define REHOME_STORE_H

#include <rehome/base.h>
#include <rehome/digest.h>
#include <rehome/option.h>
#include <stdatomic.h>

#define RH_STORE_INTERFACE 1

/* The context of every call. */
struct rh_ctx {
    int64_t deadline_us;       /* rh_clock_us() after which the call must give up with RH_E_TIMEOUT; 0 = none */
    const atomic_bool *cancel; /* true: give up with RH_E_CANCELLED at the next good place; NULL = never */
    struct rh_error *err;      /* never NULL */
};
/* RH_OK, RH_E_CANCELLED or RH_E_TIMEOUT. */
static inline enum rh_status rh_ctx_check(const struct rh_ctx *ctx)
{
    if (ctx->cancel && atomic_load_explicit(ctx->cancel, memory_order_relaxed))
        return rh_fail(ctx->err, RH_E_CANCELLED, "interrupted");
    if (ctx->deadline_us && rh_clock_us() > ctx->deadline_us)
        return rh_fail(ctx->err, RH_E_TIMEOUT, "took too long");
    return RH_OK;
}

enum rh_model { RH_MODEL_KV, RH_MODEL_KEYRING, RH_MODEL_MYSQL, RH_MODEL_POSTGRESQL, RH_MODEL_REDIS, RH_MODEL_TREE };
enum rh_record_class { RH_RECORDS_PLAIN, RH_RECORDS_SECRET };
enum rh_commit_scope {
    RH_COMMIT_BATCH, /* each put + commit is durable by itself */
    RH_COMMIT_WHOLE, /* nothing shows until the one commit at the end: a file that is replaced */
};
enum rh_split { RH_SPLIT_NONE, RH_SPLIT_PREFIX, RH_SPLIT_KEY };
enum rh_role { RH_ROLE_READ, RH_ROLE_WRITE, RH_ROLE_CONTROL };

#define RH_ORDER_BYTES "bytes" /* order_id of stores that scan in byte order of the key */

struct rh_limits {                       /* 0 = none known */
    uint64_t key_bytes, value_bytes;     /* most of one record */
    uint64_t batch_bytes, batch_records; /* most of one put */
};

enum rh_yes { RH_UNKNOWN = 0, RH_NO, RH_YES };

/* What this server really is, as seen on one session. Text is for people and the report, never secret. */
struct rh_facts {
    char product[64];   /* "MariaDB", "files" */
    char version[128];  /* "10.11.19-MariaDB-0+deb12u1" */
    char address[320];  /* where, without secrets: "db1:3306/vault/vault", "/var/lib/vault/data" */
    char identity[256]; /* equal for the same data however it is spelled, different for different data */
    /* The name under which the same store is found again, also before it exists and after a reboot; empty: its identity
     * is that. Journals without a plan are named after it. */
    char place[320];
    char tls[160];        /* "TLSv1.3 TLS_AES_256_GCM_SHA384, peer verified"; "none"; "local" */
    char live_owner[256]; /* who else is at work on it, in words; empty: nobody can be seen */
    /* What was left beside it by a writer that was killed, and what whoever uses the store makes of that; or empty. */
    char leftover[400];
    bool leftover_harms;   /* that would destroy what the store holds */
    char owner_blind[160]; /* why an owner might not be seen ("a Vault without HA holds no lock"), or empty */
    enum rh_yes encrypted_at_rest, writable, exists; /* exists: the container (folder, table) is there */
    bool one_pass;         /* a pipe: read or written once, from start to end; a destination can't be read back */
    bool by_configuration; /* it was found by a server's configuration, which a cutover changes */
    struct rh_limits limits;
};

#define RH_DATASET_NAME_MAX 400 /* bytes with the NUL: two MySQL identifiers and a dot fit */
struct rh_dataset {
    char name[RH_DATASET_NAME_MAX]; /* kv: "kv" */
};

/* A part of a dataset in terms that only the driver understands; for RH_SPLIT_KEY drivers keys: from <= key < to. */
struct rh_range {
    struct rh_bytes from; /* empty: from the start */
    struct rh_bytes to;   /* empty: to the end */
};

struct rh_store { /* first member of every driver's own store */
    const struct rh_driver *driver;
};
struct rh_session { /* first member of every driver's own session */
    struct rh_store *store;
    enum rh_role role;
};
struct rh_scan { /* first member of every driver's own scan */
    struct rh_session *session;
};

enum {
    RH_SCAN_KEYS_ONLY = 1 << 0, /* no fields */
    RH_SCAN_SIZES = 1 << 1
}; /* with KEYS_ONLY: value_bytes is filled, exactly or (never too small) from above */

enum rh_put_mode {
    RH_PUT_CREATE,  /* only where the key is absent; else RH_OUTCOME_EXISTS for that record */
    RH_PUT_REPLACE, /* whatever is there */
    RH_PUT_IF_HASH, /* only where the store holds a value of hash `expect` (or nothing, if expect_absent); atomic where
                       the store can; RH_OUTCOME_CHANGED else */
};
enum rh_commit { RH_COMMIT_DONE, RH_COMMIT_NOT_DONE, RH_COMMIT_UNKNOWN };

struct rh_read_ops {
    /* Calls `add` with each of the store's datasets. A kv store has exactly one, "kv". */
    enum rh_status (*datasets)(struct rh_ctx *ctx,
                               struct rh_session *session,
                               enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                               void *user);
    /* Optional: up to `want` ranges that cover the dataset; without it the engine cuts by a sorted key scan. `add` is
     * called in order. */
    enum rh_status (*split)(struct rh_ctx *ctx,
                            struct rh_session *session,
                            const struct rh_dataset *dataset,
                            size_t want,
                            enum rh_status (*add)(void *user, struct rh_range range),
                            void *user);
    /* Starts a scan of a range, in the driver's order, after the key `after` (empty: from the range's start). One scan
     * a session at a time. */
    enum rh_status (*scan_open)(struct rh_ctx *ctx,
                                struct rh_session *session,
                                const struct rh_dataset *dataset,
                                struct rh_range range,
                                struct rh_bytes after,
                                unsigned flags,
                                struct rh_scan **ret_scan);
    /* The next records into the (cleared) batch: at least one, stopping after the record that reaches want_bytes or
     * want_records. RH_OK, RH_END (only when the store itself said that there is no more; batch empty), or an error
     * (batch content void). */
    enum rh_status (*scan_next)(
        struct rh_ctx *ctx, struct rh_scan *scan, size_t want_bytes, size_t want_records, struct rh_batch *batch);
    void (*scan_close)(struct rh_scan *scan);
    /* The records of these keys that exist, in the order of the keys, appended to `out`; absent ones are left out.
     * Where it stops because `out` has enough, keys behind the last record given may not have been looked at. Not
     * during a scan on the same session. */
    enum rh_status (*get)(struct rh_ctx *ctx,
                          struct rh_session *session,
                          const struct rh_dataset *dataset,
                          const struct rh_bytes *keys,
                          size_t count,
                          struct rh_batch *out);
};

struct rh_write_ops {
    /* A replace is a removal and a creation: what is killed between the two leaves the key absent. Going back then puts
     * a former value back where nothing is, too. */
    bool torn_replace;
    /* Whether this key (and a value of that size) can be held exactly. RH_OK, or RH_E_LIMIT with the reason in words
     * (the engine adds the key's name). Where holding it depends on another key being absent, that one is appended to
     * ret_rival (cleared before; else stays empty). No I/O. */
    enum rh_status (*fits)(struct rh_store *store,
                           const struct rh_dataset *dataset,
                           struct rh_bytes key,
                           uint64_t value_bytes,
                           struct rh_buf *ret_rival,
                           struct rh_error *err);
    /* Optional, where whether a record can be held depends on its fields, or on all the others: a trial, which comes in
     * the place of fits for a survey. With record NULL it begins anew, with what the store holds; then each of the
     * source's records in key order, with its fields: RH_OK, or RH_E_LIMIT with the reason in words. Writes nothing. */
    enum rh_status (*trial)(struct rh_ctx *ctx,
                            struct rh_session *session,
                            const struct rh_dataset *dataset,
                            const struct rh_record *record);
    /* Starts a unit of writing. `digest` is for if-hash; borrowed until commit or abort. */
    enum rh_status (*begin)(struct rh_ctx *ctx,
                            struct rh_session *session,
                            const struct rh_dataset *dataset,
                            const struct rh_digest_key *digest);
    /* Both borrow the batch until commit or abort and set its records' outcomes by then. remove: only records whose
     * hash is `expect`. */
    enum rh_status (*put)(struct rh_ctx *ctx,
                          struct rh_session *session,
                          struct rh_batch *batch,
                          enum rh_put_mode mode);
    enum rh_status (*remove)(struct rh_ctx *ctx, struct rh_session *session, struct rh_batch *batch);
    /* The one durability barrier. RH_OK: *ret_commit says DONE (outcomes are final). Failure: NOT_DONE (nothing of it
     * happened) or UNKNOWN (all, some or nothing; after a reconnect the caller looks, and the driver sees to it that
     * the cut attempt can't take effect later). */
    enum rh_status (*commit)(struct rh_ctx *ctx, struct rh_session *session, enum rh_commit *ret_commit);
    void (*abort)(struct rh_session *session);
};

/* The container itself: database and table, folder. */
struct rh_schema_ops {
    /* What is missing, as a bit set of the driver's own meaning; 0 = all there. Journaled before `before`. Refuses a
     * container of a wrong shape. */
    enum rh_status (*missing)(struct rh_ctx *ctx, struct rh_session *session, uint32_t *ret_missing);
    /* Makes what is missing; may be repeated. */
    enum rh_status (*before)(struct rh_ctx *ctx, struct rh_session *session, uint32_t missing);
    /* Drops what `missing` says we made, and only while it is empty; what isn't empty stays and is named in ctx->err
     * with RH_EXISTS returned. */
    enum rh_status (*undo)(struct rh_ctx *ctx, struct rh_session *session, uint32_t missing);
};

/* Marker and fingerprint. NULL functions: the model's own rule (kv: the record core/migration, put create-only). */
struct rh_guard_ops {
    /* Holds no marker and needs none: nobody works on a file that is replaced as a whole, or only read. */
    bool unmarked;
    enum rh_status (*marker_get)(struct rh_ctx *ctx,
                                 struct rh_session *session,
                                 struct rh_buf *ret_marker); /* RH_NOT_FOUND */
    enum rh_status (*marker_set)(struct rh_ctx *ctx,
                                 struct rh_session *session,
                                 struct rh_bytes marker); /* RH_EXISTS */
    enum rh_status (*marker_clear)(struct rh_ctx *ctx,
                                   struct rh_session *session,
                                   struct rh_bytes marker); /* only if equal, else RH_CHANGED; RH_NOT_FOUND */
    /* A short text that changes when this container was replaced, restored or recreated (folder inode and birth, table
     * creation time). */
    enum rh_status (*fingerprint)(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_text);
};

/* Stores of RH_COMMIT_WHOLE: nothing shows until the one commit, so there is no undo log, but what was there before is
 * kept. All records come in key order on one session, between begin and commit. A *stamp* is a short text that tells
 * one content from another for good. Sessions are control or write ones. */
struct rh_whole_ops {
    bool replaces_all; /* the commit leaves nothing of what was there: keys there are neither conflicts nor extras */
    /* Between begin and commit: the stamp that the commit will leave. The commit itself must refuse (RH_E_CONFLICT)
     * when what stands then isn't `replaces` (empty: nothing may stand). */
    enum rh_status (*promise)(struct rh_ctx *ctx,
                              struct rh_session *session,
                              struct rh_bytes replaces,
                              struct rh_buf *ret_stamp);
    /* What stands now, durably. RH_NOT_FOUND: nothing. RH_E_REFUSED: something that must not be replaced. */
    enum rh_status (*stamp)(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_stamp);
    /* A text over every byte, so that a content of ours that was changed in place isn't ours any more: of what the
     * commit will leave (promised; after promise), or of what stands now, which is read as a whole. RH_NOT_FOUND:
     * nothing stands. Empty: there is nothing to prove (a pipe). NULL: the stamp is over every byte already. */
    enum rh_status (*prove)(struct rh_ctx *ctx, struct rh_session *session, bool promised, struct rh_buf *ret_proof);
    /* Keeps what stands now for restore; durable when it returns; may be repeated as long as the same stands. */
    enum rh_status (*save)(struct rh_ctx *ctx, struct rh_session *session);
    /* Takes away what stands and puts back what was saved, or nothing. May be repeated. */
    enum rh_status (*restore)(struct rh_ctx *ctx, struct rh_session *session, bool saved);
    /* Gives up what was saved. May be repeated. */
    enum rh_status (*forget)(struct rh_ctx *ctx, struct rh_session *session);
    /* In the place of save, restore and forget: what stands now as bytes in the (secret) arena, which the engine keeps
     * sealed; */
    enum rh_status (*image)(struct rh_ctx *ctx,
                            struct rh_session *session,
                            struct rh_arena *arena,
                            struct rh_bytes *ret_image);
    /* and what takes away what stands and puts such an image back, or, with NULL, nothing. May be repeated. */
    enum rh_status (*put_back)(struct rh_ctx *ctx, struct rh_session *session, const struct rh_bytes *image);
};

struct rh_store_args {
    const struct rh_options *options;
    enum rh_side side; /* none: its names are only looked at */
    bool vault_config; /* the options come from Vault's stanza and keep Vault's meaning (TLS!) */
    const char *name;  /* the move's name, for messages */
    /* where large temporary files may go, sealed; NULL, or not there: the system's temporary folder */
    const char *spool_dir;
};

enum { RH_HEAD_BYTES = 32 }; /* too few to hold a key */

/* One thing that a server has to be told so as to use a store, for people. */
struct rh_setting {
    const char *where; /* "my.cnf, group [mysqld]" */
    const char *text;  /* exactly as it has to stand there */
};
typedef enum rh_status rh_setting_add(void *user, const struct rh_setting *setting, struct rh_error *err);

struct rh_driver {
    const char *name;
    const char *const *aliases; /* NULL-terminated, or NULL */
    const char *summary;        /* one line for help and man page */
    uint32_t interface_version; /* RH_STORE_INTERFACE */
    enum rh_model model;
    enum rh_record_class record_class;
    enum rh_commit_scope commit_scope;
    const char *order_id;
    enum rh_split split;
    bool rescannable;
    const struct rh_option *options;
    /* No connection is needed to open a store; reading secrets and certificates happens here. */
    enum rh_status (*open)(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store);
    void (*close)(struct rh_store *store);
    enum rh_status (*session_open)(struct rh_ctx *ctx,
                                   struct rh_store *store,
                                   enum rh_role role,
                                   struct rh_session **ret_session);
    void (*session_close)(struct rh_session *session);
    void (*cancel)(struct rh_session *session); /* from another thread: makes a call under way fail soon; optional */
    enum rh_status (*facts)(struct rh_ctx *ctx, struct rh_session *session, struct rh_facts *ret_facts);
    /* What facts.place says, without a look at what is in the store; NULL: only facts knows. */
    enum rh_status (*locate)(struct rh_ctx *ctx, struct rh_store *store, struct rh_buf *ret_place);
    /* Whether two stores of this driver share data in part (one folder inside the other). NULL: only equal identities
     * clash. */
    bool (*overlaps)(const struct rh_store *a, const struct rh_store *b);
    const struct rh_read_ops *read;
    const struct rh_write_ops *write;
    const struct rh_schema_ops *schema;
    const struct rh_guard_ops *guard;
    const struct rh_whole_ops *whole; /* RH_COMMIT_WHOLE, else NULL */
    /* Calls `add` with what makes a server use this store, without a look at any. Optional. */
    enum rh_status (*settings)(const struct rh_store *store, rh_setting_add *add, void *user, struct rh_error *err);
    /* Whether a file whose first bytes are these (RH_HEAD_BYTES, or all there are) is such a store, for who names a
     * file and no driver. Optional. */
    bool (*recognises)(struct rh_bytes head);
};

/* --- src/stores/registry.c --- */
/* By name or alias; NULL when unknown. */
const struct rh_driver *rh_driver_find(const char *name);
/* NULL-terminated, in the order of `rehome version`. */
const struct rh_driver *const *rh_drivers(void);

/* --- kv model, shared by its drivers and the engine --- */
#define RH_KV_DATASET "kv"
#define RH_KV_MARKER "core/migration"
#define RH_KV_LOCK "core/lock"
#define RH_KV_SEAL "core/seal-config"
#define RH_KV_KEYRING "core/keyring"

#endif
