/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this driver know of each other. The layout: a KV engine of version 2, one secret per key, its name
 * the key's number in decimal, its member `data` the key in hexadecimal; the secret's version is the version of the
 * key. The plugin asks for <mount>/data/<number> and, for old pages, ?version=N. Knowledge: MariaDB 10.11,
 * plugin/hashicorp_key_management; HashiCorp Vault's API documentation, KV secrets engine version 2.
 *
 * cipher_check.c  whether the server's tables are of the one cipher that the plugin has
 * entry.c         one secret as a key
 * session.c       connections, the mount, rights, facts
 * read.c          all keys, single keys
 * write.c         the trial, and units of writing
 * driver.c        options
 */
#ifndef REHOME_STORES_MARIADB_KEY_VAULT_INTERNAL_H
#define REHOME_STORES_MARIADB_KEY_VAULT_INTERNAL_H

#include "driver.h"
#include "keyring.h"
#include "numbers.h"
#include "pages.h"
#include "vault.h"

enum { MKV_MOUNT_MOST = 256, MKV_PATH = MKV_MOUNT_MOST + 32 }; /* bytes of a mount; of a path in it, with the NUL */

struct mkv_store {
    struct rh_store base;
    enum rh_side side;
    struct rh_vault *vault;
    struct mariadb_names *names;
    char *url, *mount;              /* "https://vault:8200/v1/mdb", "mdb" */
    char *ca_file;                  /* for the server's settings; NULL: none */
    struct mariadb_samples samples; /* of the server's data folder, where that is given */
    atomic_bool told;               /* of names that are no keys */
};

struct mkv_session {
    struct rh_session base;
    struct mkv_store *store;
    struct rh_vault_client *client;
    struct rh_vault_call calls[RH_VAULT_CALLS];
    char identity[200]; /* of the mount */
    struct rh_unit unit;
    struct keyring_view *trial; /* what stands, while keys are tried */
    uint32_t *dead;             /* numbers whose secret was deleted, with it; in order */
    size_t dead_count;
};
static inline struct mkv_store *mkv_store_of(const struct rh_session *session)
{
    return (struct mkv_store *)session->store;
}

/* --- cipher_check.c --- */
#define MKV_CIPHER_OPTIONS                                                                                             \
    {.name = "encryption_algorithm",                                                                                   \
     .type = RH_OPT_CHOICE,                                                                                            \
     .choices = mkv_algorithms,                                                                                        \
     .value_name = "ALGORITHM",                                                                                        \
     .help = "with what the server encrypts, its file_key_management_encryption_algorithm; only aes_cbc can move"},    \
        {.name = "server_config",                                                                                      \
         .type = RH_OPT_PATH,                                                                                          \
         .value_name = "FILE",                                                                                         \
         .help = "the server's option file (my.cnf) to learn that from"},                                              \
        MARIADB_DATADIR_OPTION
extern const char *const mkv_algorithms[];
/* For a destination: RH_E_REFUSED unless the options show that the server's data is encrypted with AES_CBC, or name a
 * data folder, by which each key shows it; its pages go to `samples`. */
enum rh_status
mkv_cipher_check(const struct rh_options *options, struct mariadb_samples *samples, struct rh_error *err) RH_MUST_USE;

/* --- entry.c --- */
/* What a read of one secret says. */
struct mkv_entry {
    uint32_t number;
    bool there;       /* it has a content */
    bool dead;        /* it was deleted, and its versions stay */
    uint64_t version; /* of what is there */
    struct rh_bytes data;
};
/* From the call's answer, whose status is RH_OK or RH_NOT_FOUND; the bytes go to the arena. RH_E_CORRUPT by number. */
enum rh_status mkv_entry_read(const struct rh_vault_call *call,
                              uint32_t number,
                              struct rh_arena *arena,
                              struct mkv_entry *ret_entry,
                              struct rh_error *err) RH_MUST_USE;
/* Adds it as a key. One of another version than 1 is refused at a source, and of a type that no other key has
 * elsewhere, so that it is never taken for equal. */
enum rh_status mkv_entry_add(const struct mkv_store *store,
                             const struct mkv_entry *entry,
                             struct keyring_set *set,
                             struct rh_error *err) RH_MUST_USE;
/* {"data":{"data":"HEX"},"options":{"cas":0}}, in the arena. */
enum rh_status mkv_entry_body(struct rh_bytes data,
                              struct rh_arena *arena,
                              struct rh_bytes *ret_body,
                              struct rh_error *err) RH_MUST_USE;

/* --- session.c --- */
enum rh_status
mkv_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void mkv_session_close(struct rh_session *base);
void mkv_cancel(struct rh_session *base);
enum rh_status mkv_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
extern const struct rh_guard_ops mkv_guard_ops;

/* --- read.c --- */
/* All keys, sorted, to be dropped. With `session->dead` when `trial`. */
enum rh_status
mkv_load(struct rh_ctx *ctx, struct mkv_session *session, bool trial, struct keyring_view **ret_view) RH_MUST_USE;
/* Asks for up to RH_VAULT_CALLS secrets at once; their answers are in session->calls. */
enum rh_status
mkv_ask_for(struct rh_ctx *ctx, struct mkv_session *session, const uint32_t *numbers, size_t count) RH_MUST_USE;
extern const struct rh_read_ops mkv_read_ops;

/* --- write.c --- */
void mkv_trial_end(struct mkv_session *session);
void mkv_abort(struct rh_session *base);
extern const struct rh_write_ops mkv_write_ops;

#endif
