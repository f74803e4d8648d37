/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/proof know of each other. The formats: docs/formats/mysql-data.md. */
#ifndef REHOME_PROOF_INTERNAL_H
#define REHOME_PROOF_INTERNAL_H

#include <rehome/proof.h>

enum {
    PROOF_PAGE_HEAD = 64,   /* of page 0: as much as tells where the rest is */
    PROOF_INFO_MOST = 115,  /* encryption info: magic 3, key 4 + 4 of old slots, UUID 36, wrapped 64, sum 4 */
    PROOF_REDO_HEAD = 2048, /* of a redo log file: four blocks */
    PROOF_BINLOG_HEAD = 512,
    PROOF_BINLOG_FIRST = 19, /* of the first event: its head */
    PROOF_KEY_BYTES = 32,
    PROOF_ID_MOST = 256, /* a key's id with the NUL */
};

/* --- head.c: what the heads of files say --- */

/* Encryption info of a tablespace or of a redo log. */
struct proof_info {
    int version;         /* 1, 2, 3; 0: there is none */
    uint32_t master;     /* number of the master key; 0: the fixed one of a server that was just being made */
    char uuid[37];       /* of the server; "" in version 1 */
    uint8_t wrapped[64]; /* tablespace key and IV under the master key */
    uint32_t sum;        /* CRC-32C of these 64 bytes unwrapped */
};
/* RH_OK, also where there is none; RH_E_CORRUPT without words for one that is cut or spoilt. */
enum rh_status proof_info_parse(struct rh_bytes bytes, struct proof_info *ret_info);

/* Page 0 of a tablespace from its first PROOF_PAGE_HEAD bytes: where its encryption info stands, and whether it says
 * that there is one. RH_E_CORRUPT without words: no page 0. */
enum rh_status proof_page_parse(struct rh_bytes head, size_t *ret_info_at, bool *ret_encrypted);

/* Whether it is page 0 as a server makes it first, in a file that is new: space and flags, and the rest is to come. */
bool proof_page_is_fresh(struct rh_bytes head, bool *ret_encrypted);

/* The head of a redo log file. RH_E_CORRUPT without words when it isn't one. */
enum rh_status proof_redo_parse(struct rh_bytes head, struct proof_info *ret_info);

struct proof_binlog {
    char key_id[PROOF_ID_MOST];
    uint8_t password[32]; /* of the file, under that key */
    uint8_t iv[16];
};
/* The head of an encrypted binary log. RH_E_CORRUPT without words when it is cut or spoilt. */
enum rh_status proof_binlog_parse(struct rh_bytes head, struct proof_binlog *ret_binlog);
bool proof_is_binlog(struct rh_bytes head);       /* encrypted */
bool proof_is_plain_binlog(struct rh_bytes head); /* not encrypted */

/* --- unwrap.c: trying keys --- */
/* Whether a master key opens it. RH_OK, RH_CHANGED (it doesn't), or a failure of the library. */
enum rh_status proof_info_try(const struct proof_info *info, struct rh_bytes key, struct rh_error *err);
/* `first`: the bytes after the head, PROOF_BINLOG_FIRST of them. */
enum rh_status
proof_binlog_try(const struct proof_binlog *binlog, struct rh_bytes first, struct rh_bytes key, struct rh_error *err);
/* The key of a server that was just being made. */
struct rh_bytes proof_default_key(void);
uint32_t proof_crc32c(struct rh_bytes bytes);

/* --- keys.c: keys that were asked for once --- */
struct proof_keys {
    const struct rh_proof_args *args;
    struct proof_key *keys;
    size_t count, capacity;
};
/* Borrowed until proof_keys_done; RH_NOT_FOUND. */
enum rh_status
proof_keys_get(struct proof_keys *keys, const char *id, const struct rh_secret **ret_key, struct rh_error *err);
void proof_keys_done(struct proof_keys *keys);

/* --- judge.c: one file, as soon as it is open --- */
struct proof_file {
    const char *name, *path; /* as in rh_proof_item */
    bool undo;
    int fd;
};
/* What a file is, and whether the keyring opens it; hands it to args->found. A file that is nothing of ours is passed
 * over. */
struct proof_run {
    const struct rh_proof_args *args;
    struct proof_keys keys;
    struct rh_proof_counts counts;
};
enum rh_status proof_judge_tablespace(struct proof_run *run, const struct proof_file *file, struct rh_error *err);
enum rh_status proof_judge_redo(struct proof_run *run, const struct proof_file *file, struct rh_error *err);
/* A binary log, or nothing of ours. */
enum rh_status proof_judge_other(struct proof_run *run, const struct proof_file *file, struct rh_error *err);

#endif
