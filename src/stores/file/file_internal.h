/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this driver share. Errors of the file system come back as errno values from the small helpers and
 * become words where the key or path is known.
 */
#ifndef REHOME_STORES_FILE_INTERNAL_H
#define REHOME_STORES_FILE_INTERNAL_H

#include <rehome/store.h>

#include <limits.h>

#define FILE_NAME_MAX 255                         /* of one component, on the file systems we know */
#define FILE_KEY_PART_MAX (FILE_NAME_MAX - 1 - 5) /* "_" before it and ".temp" behind it */
#define FILE_DEPTH_MAX 128                        /* folders above a key */
#define FILE_TEMP_DIR ".rehome-tmp"               /* in the root folder, see file_write.c */
#define FILE_TEMP_PREFIX "t-"                     /* of the names in it */
#define FILE_BYTES_MAX ((uint64_t)1 << 30)        /* the largest file that is read */

enum file_leftovers { FILE_LEFTOVERS_REFUSE, FILE_LEFTOVERS_SKIP, FILE_LEFTOVERS_COPY };

struct file_store {
    struct rh_store base;
    char *path; /* absolute, as configured */
    enum file_leftovers leftovers;
};

/* One record of a put or remove between begin and commit. */
struct file_op {
    struct rh_record *record;
    enum rh_put_mode mode;
    bool remove;
    uint32_t temp; /* number of its temporary; 0 = none (any more) */
};

struct file_session {
    struct rh_session base;
    int root_fd; /* -1 while the folder is absent */
    bool adopt;  /* give new files the owner of the root folder */
    uid_t uid;
    gid_t gid;
    struct rh_buf read; /* the file being read */

    struct rh_buf dir_path; /* the folder that dir_fd is, relative to the root */
    int dir_fd;             /* -1: none remembered */

    /* writing */
    int temp_fd;
    uint32_t temp_run, temp_next;
    bool begun, failed;
    const struct rh_digest_key *digest;
    struct rh_buf encode;
    struct file_op *ops;
    size_t op_count, op_capacity, temp_count;
    int touched[8]; /* folders whose names changed in this commit */
    unsigned touched_count;
    bool touched_many; /* more than fit */
};

/* --- file_path.c --- */
/* Whether a key can be a path below the root: no empty, "." or ".." component, no NUL, no '/' at an end. */
bool file_key_is_path(struct rh_bytes key);
/* Opens the root folder when it isn't yet; RH_NOT_FOUND when it is absent. */
enum rh_status file_root(struct file_session *session, struct rh_error *err);
/* A folder below the root (dir relative, "" for the root itself), no link followed; 0 or errno. The descriptor stays
 * the session's and is good until the next call. */
int file_dir_open(struct file_session *session, struct rh_bytes dir, int *ret_fd);
void file_dir_forget(struct file_session *session);
/* Splits a key into its folder (without the last '/') and the file's name, "_" + last component. False when the name
 * is too long for any file. */
bool file_key_split(struct rh_bytes key, struct rh_bytes *ret_dir, char ret_name[static FILE_NAME_MAX + 1]);
/* Reads and decodes one file in an open folder and adds it to the batch as a record of that key. RH_NOT_FOUND when it
 * isn't there or is a folder; RH_END when it is empty (Vault takes it for absent). */
enum rh_status file_read_record(struct file_session *session,
                                int dir_fd,
                                const char *name,
                                struct rh_bytes key,
                                struct rh_batch *batch,
                                struct rh_error *err);
/* One key from the root: RH_OK and a record added, or RH_NOT_FOUND. */
enum rh_status
file_get_record(struct file_session *session, struct rh_bytes key, struct rh_batch *batch, struct rh_error *err);
void file_warn_skipped(struct rh_bytes path, const char *why);

/* --- file_scan.c, file_write.c, file_place.c --- */
extern const struct rh_read_ops file_read_ops;
extern const struct rh_write_ops file_write_ops;
extern const struct rh_schema_ops file_schema_ops;
extern const struct rh_guard_ops file_guard_ops;
enum rh_status file_facts(struct rh_ctx *ctx, struct rh_session *session, struct rh_facts *ret_facts);
bool file_overlaps(const struct rh_store *a, const struct rh_store *b);
/* Removes what a killed run left in the temporary folder, unless another session is at work there. */
void file_temp_sweep(struct file_session *session);
void file_temp_leave(struct file_session *session);

#endif
