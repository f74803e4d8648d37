/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyring model: what a record is, for its drivers, the engine and whoever reads keys through the store interface.
 * A keyring has one dataset. A record's key is made of owner and id, its fields are the key's type and its bytes.
 * Threads: any.
 */
#ifndef REHOME_KEYRING_H
#define REHOME_KEYRING_H

#include <rehome/record.h>

#define RH_KEYRING_DATASET "keyring"
#define RH_KEYRING_PART_MOST 65535u /* most bytes of an owner or an id */

/* Fields of a record. */
enum {
    RH_KEYRING_TYPE, /* RH_TAG_TEXT: "AES", "RSA", "DSA", "SECRET" */
    RH_KEYRING_DATA, /* RH_TAG_BYTES */
    RH_KEYRING_FIELDS
};

/* Appends a record's key: the owner's length (2 bytes, big-endian), owner, id. The server's own keys have an empty
 * owner. RH_E_LIMIT for an owner or id above RH_KEYRING_PART_MOST. */
enum rh_status
rh_keyring_key_add(struct rh_buf *buf, struct rh_bytes owner, struct rh_bytes id, struct rh_error *err) RH_MUST_USE;
/* Owner and id of a record's key, borrowed from it; RH_E_CORRUPT without words when it isn't one. */
enum rh_status
rh_keyring_key_split(struct rh_bytes key, struct rh_bytes *ret_owner, struct rh_bytes *ret_id) RH_MUST_USE;

/* What a key is for, as far as its id says. Ids are MySQL's and Percona Server's; only the server's own keys, which
 * have no owner, mean anything. */
enum rh_keyring_use {
    RH_KEYRING_USE_OTHER,        /* an account's, or the server's own for a purpose that isn't known */
    RH_KEYRING_USE_INNODB,       /* INNODBKey-SERVER-N: master key of tablespaces, redo and undo logs */
    RH_KEYRING_USE_BINLOG,       /* MySQLReplicationKey_UUID_N: master key of binary and relay logs */
    RH_KEYRING_USE_BINLOG_STATE, /* MySQLReplicationKey_UUID, and with _new, _old, _last_purged: a number, no key */
    RH_KEYRING_USE_PERCONA,      /* percona_NAME:N: Percona Server's binary log, redo log, tablespaces */
};
struct rh_keyring_meaning {
    enum rh_keyring_use use;
    struct rh_bytes server; /* borrowed from the id. A UUID; INNODB of 5.7.11: a server's number; PERCONA: NAME */
    uint64_t number;        /* N */
};
struct rh_keyring_meaning rh_keyring_meaning(struct rh_bytes owner, struct rh_bytes id);
/* Whether that is a server's UUID as MySQL writes it. */
bool rh_keyring_is_uuid(struct rh_bytes text);
/* Order of ids for people: as their bytes, but a number at the end counts by its value. 0 only for equal ones. */
int rh_keyring_id_order(struct rh_bytes a, struct rh_bytes b);

/* A record's key for people: 'ID' of 'OWNER', or 'ID' for the server's own; made safe as rh_show does. */
struct rh_key_shown {
    char text[700];
};
const char *rh_keyring_key_show(struct rh_bytes key, char *out, size_t out_size);
/* RH_SHOW_KEY(key): a temporary for printf arguments, as RH_SHOW. */
#define RH_SHOW_KEY(key) rh_keyring_key_show((key), (struct rh_key_shown){{0}}.text, sizeof(struct rh_key_shown))

#endif
