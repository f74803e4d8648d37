/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a keystore holds, and what uses it: names, types and lengths of its keys, and the files in MySQL servers' data
 * folders that need them. Nothing is written and there is no journal. The bytes of keys stay in secret memory, and
 * nothing that is made of them comes out. Threads: one at a time.
 */
#ifndef REHOME_INVENTORY_H
#define REHOME_INVENTORY_H

#include <rehome/keyring.h>
#include <rehome/proof.h>
#include <rehome/store.h>

struct rh_inventory_args {
    const struct rh_driver *driver;   /* of model keyring */
    const struct rh_options *options; /* its own; borrowed until close */
    enum rh_side side;                /* which side of a plan it is, for errors */
    const char *name;                 /* as in rh_store_args */
    const char *spool_dir;            /* as in rh_store_args; may be NULL */
    const atomic_bool *cancel;        /* may be NULL */
};

/* Kinds of files that need keys, for counting. */
enum rh_inventory_kind {
    RH_INVENTORY_TABLESPACE, /* but undo tablespaces */
    RH_INVENTORY_UNDO,
    RH_INVENTORY_REDO,
    RH_INVENTORY_BINLOG,
    RH_INVENTORY_KINDS
};
enum rh_inventory_kind rh_inventory_kind(const struct rh_proof_item *item);
/* "tablespace", "undo tablespace", "redo log", "binary log". */
const char *rh_inventory_kind_name(enum rh_inventory_kind kind);

struct rh_inventory_key {
    struct rh_bytes owner, id, type;
    uint64_t bytes;                     /* of the key itself */
    uint32_t files[RH_INVENTORY_KINDS]; /* that name it, in the folders looked at so far */
    bool newest;                        /* a numbered key of a server, none of which has a higher number */
};
/* How many files name it. */
static inline uint64_t rh_inventory_files(const struct rh_inventory_key *key)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < RH_INVENTORY_KINDS; i++)
        sum += key->files[i];
    return sum;
}

struct rh_inventory;
/* Opens the keystore and reads the names of all its keys. RH_E_IO where there is none; what the driver says else. */
enum rh_status rh_inventory_open(const struct rh_inventory_args *args,
                                 struct rh_inventory **ret_inventory,
                                 struct rh_error *err) RH_MUST_USE;
void rh_inventory_close(struct rh_inventory *inventory); /* NULL is fine */
const struct rh_facts *rh_inventory_facts(const struct rh_inventory *inventory);
/* In the order for people: the servers' own first, then by owner; ids by rh_keyring_id_order. Borrowed until close. */
const struct rh_inventory_key *rh_inventory_keys(const struct rh_inventory *inventory, size_t *ret_count);
/* The key of that owner and id; NULL when there is none. */
const struct rh_inventory_key *
rh_inventory_find(const struct rh_inventory *inventory, struct rh_bytes owner, struct rh_bytes id);

/* Called for each file; `key` is NULL for one that isn't there. */
typedef enum rh_status rh_inventory_found(void *user,
                                          const struct rh_proof_item *item,
                                          const struct rh_inventory_key *key,
                                          struct rh_error *err);
/* Which files of a server's data folder need which key, and whether the keystore opens them: as rh_proof_run. */
enum rh_status rh_inventory_prove(struct rh_inventory *inventory,
                                  const char *folder,
                                  rh_inventory_found *found,
                                  void *user,
                                  struct rh_proof_counts *ret_counts,
                                  struct rh_error *err) RH_MUST_USE;

#endif
