/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof that keys are the right ones: what lies encrypted in a MySQL server's data folder, and whether a keyring
 * opens it. Nothing but the heads of files is read and nothing is written; whose keyring it is comes as functions.
 * Threads: one call by one thread; several calls at a time are fine.
 */
#ifndef REHOME_PROOF_H
#define REHOME_PROOF_H

#include <rehome/secret.h>
#include <stdatomic.h>
#include <sys/types.h>

enum rh_proof_kind {
    RH_PROOF_TABLESPACE, /* of a table, a general or an undo tablespace, mysql.ibd */
    RH_PROOF_REDO,       /* a file of InnoDB's redo log */
    RH_PROOF_BINLOG,     /* a binary or relay log */
};
enum rh_proof_result {
    RH_PROOF_PLAIN,      /* isn't encrypted */
    RH_PROOF_OPENS,      /* the key is there and opens it */
    RH_PROOF_UNPROVEN,   /* the key is there, but the file holds nothing by which to tell (a binary log cut at its
                            head); or, without a key's id, a running server hasn't written its first page yet */
    RH_PROOF_MISSING,    /* the keyring doesn't hold the key */
    RH_PROOF_WRONG,      /* the keyring holds another key of that name */
    RH_PROOF_UNREADABLE, /* the file isn't what its name says, or can't be read */
};
struct rh_proof_item {
    enum rh_proof_kind kind;
    enum rh_proof_result result;
    bool undo;          /* a tablespace of undo logs, by its name */
    const char *name;   /* below the data folder: "shop/orders" for a tablespace, "binlog.000007" for a log */
    const char *path;   /* of the file */
    const char *key_id; /* of the key that it needs, "" for none */
    const char *why;    /* UNREADABLE, and UNPROVEN without a key's id: in words; else "" */
};

struct rh_proof_args {
    const char *folder;        /* the data folder */
    const atomic_bool *cancel; /* may be NULL */
    void *user;
    /* A key of the server's own (without owner). RH_NOT_FOUND: the keyring holds none of that id. Asked once per id. */
    enum rh_status (*key)(void *user, const char *id, struct rh_secret **ret_key, struct rh_error *err);
    /* Calls `add` with each id without owner that begins with `prefix`. Only for tablespaces written by MySQL 5.7.11,
     * which don't name their server. */
    enum rh_status (*ids)(void *user,
                          const char *prefix,
                          enum rh_status (*add)(void *add_user, struct rh_bytes id, struct rh_error *err),
                          void *add_user,
                          struct rh_error *err);
    /* Called for each file that was understood, or should have been. What isn't RH_OK ends the walk. */
    enum rh_status (*found)(void *user, const struct rh_proof_item *item, struct rh_error *err);
};
struct rh_proof_counts {
    uint64_t files;     /* tablespaces and logs, encrypted or not */
    uint64_t encrypted; /* those that need a key */
    uint64_t opened;    /* those that the keyring opens */
    uint64_t failed;    /* MISSING, WRONG, UNREADABLE */
    uint64_t keys;      /* different keys that were asked for */
    pid_t server;       /* holds the folder: what it hasn't written yet isn't seen; 0 = none */
};
/* Goes through the folder and all below it. RH_OK also where files failed: see the counts. RH_E_REFUSED: nothing there
 * looks like a MySQL server's data; RH_E_IO, RH_E_DENIED: a folder can't be read. */
enum rh_status
rh_proof_run(const struct rh_proof_args *args, struct rh_proof_counts *ret_counts, struct rh_error *err) RH_MUST_USE;

/* "tablespace", "redo log", "binary log". */
const char *rh_proof_kind_name(enum rh_proof_kind kind);

#endif
