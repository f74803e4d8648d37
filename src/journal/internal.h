/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/journal share; nobody else includes it but their tests. */
#ifndef REHOME_JOURNAL_INTERNAL_H
#define REHOME_JOURNAL_INTERNAL_H

#include <rehome/journal.h>
#include <rehome/undo.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define RH_JOURNAL_APPLICATION_ID 0x72686A31 /* "rhj1" */
#define RH_JOURNAL_VERSION 2
#define RH_JOURNAL_ID_BYTES 16
#define RH_JOURNAL_NAME_MAX 128
#define RH_SEGMENT_BYTES (256u * 1024u * 1024u) /* a segment that has passed this is followed by another */

/* --- folder.c: the state folder, names, the lock file --- */
bool rh_journal_name_valid(const char *name);
/* The network file system's name for a statfs magic, NULL for others; FUSE (by its type, "fuse.sshfs") is told apart.
 */
const char *rh_journal_network_fs(long magic, const char *fuse_type);
/* Opens and checks the folder; makes it with `create`. RH_NOT_FOUND when absent and not `create`. */
enum rh_status rh_journal_folder_open(const char *dir, unsigned flags, int *ret_fd, struct rh_error *err) RH_MUST_USE;
/* NAME.journal in the open folder: checked, with CREATE made. RH_NOT_FOUND as above. *ret_empty: it has no bytes. */
enum rh_status rh_journal_file_check(
    int dir_fd, const char *dir, const char *name, unsigned flags, bool *ret_empty, struct rh_error *err) RH_MUST_USE;
enum rh_status
rh_journal_lock(int dir_fd, const char *dir, const char *name, int *ret_fd, struct rh_error *err) RH_MUST_USE;

/* --- journal.c: the database --- */
enum rh_journal_statement {
    RH_SQL_BEGIN,
    RH_SQL_COMMIT,
    RH_SQL_ROLLBACK,
    RH_SQL_FACT_PUT,
    RH_SQL_FACT_PUT_ONCE,
    RH_SQL_FACT_GET,
    RH_SQL_FACT_REMOVE,
    RH_SQL_STEP_INTENT,
    RH_SQL_STEP_OUTCOME,
    RH_SQL_STEP_GET,
    RH_SQL_HISTORY_ADD,
    RH_SQL_STEPS_CLEAR,
    RH_SQL_RANGES_CLEAR,
    RH_SQL_RANGE_ADD,
    RH_SQL_RANGE_PROGRESS,
    RH_SQL_RANGE_VERIFIED,
    RH_SQL_SEGMENT_ADD,
    RH_SQL_SEGMENT_NEXT,
    RH_SQL_SEGMENT_GOOD,
    RH_SQL_SEGMENTS_FORGET,
    RH_SQL_NOTE_ADD,
    RH_SQL_NOTES_CLEAR,
    RH_SQL_COUNT_
};

/* The history as far as the table steps tells it: each step's last intent and outcome. */
#define RH_SQL_HISTORY_OF_STEPS                                                                                        \
    "SELECT move, step, 1 AS event, intent_us AS at_us, '' AS note, number, 0 AS place FROM steps"                     \
    " UNION ALL SELECT move, step, outcome, outcome_us, note, number, 1 FROM steps WHERE outcome > 1"                  \
    " ORDER BY at_us, number, place"

struct rh_journal {
    pthread_mutex_t mutex; /* recursive: held from begin to commit or abort */
    char *dir, *name;
    int dir_fd, lock_fd;
    bool read_only;
    sqlite3 *db;
    int64_t version;                         /* of the format, as the file has it */
    sqlite3_stmt *statements[RH_SQL_COUNT_]; /* prepared when first needed */
    bool inside;                             /* between begin and commit */
    bool spoiled;                            /* a write failed in there: only a rollback is possible */
    atomic_ulong inside_by; /* the thread that is between begin and commit, 0: none; read without the mutex */
    uint8_t id[RH_JOURNAL_ID_BYTES];
};

/* Locks, prepares (once) and resets; the caller binds, then calls write or step, then release. */
enum rh_status rh_journal_take(struct rh_journal *journal,
                               enum rh_journal_statement which,
                               sqlite3_stmt **ret_statement,
                               struct rh_error *err) RH_MUST_USE;
void rh_journal_release(struct rh_journal *journal, sqlite3_stmt *statement);
/* Runs a writing statement: outside begin/commit it is a commit of its own, with its crash points. */
enum rh_status rh_journal_write(struct rh_journal *journal,
                                sqlite3_stmt *statement,
                                const char *doing,
                                struct rh_error *err) RH_MUST_USE;
/* One row of a reading statement: RH_OK, RH_END. */
enum rh_status rh_journal_row(struct rh_journal *journal,
                              sqlite3_stmt *statement,
                              const char *doing,
                              struct rh_error *err) RH_MUST_USE;
/* A statement of its own for a listing, whose callback may call the journal again. Locks; end with query_end. */
enum rh_status rh_journal_query(struct rh_journal *journal,
                                const char *sql,
                                const char *move,
                                sqlite3_stmt **ret_statement,
                                struct rh_error *err) RH_MUST_USE;
void rh_journal_query_end(struct rh_journal *journal, sqlite3_stmt *statement);
/* The words and status for SQLite's present error. */
enum rh_status rh_journal_fail(struct rh_journal *journal, const char *doing, struct rh_error *err);

/* --- undo_block.c --- */
/* Appends the block of entries [first, first + *ret_taken) to buf; takes as many as fit `limit` bytes. RH_E_LIMIT when
 * not even one fits. */
enum rh_status rh_undo_block_encode(const struct rh_undo_block *block,
                                    size_t first,
                                    size_t limit,
                                    struct rh_buf *buf,
                                    size_t *ret_taken,
                                    struct rh_error *err) RH_MUST_USE;
/* The block points into `plain` and `arena`. RH_E_CORRUPT for anything an encoder wouldn't write. */
enum rh_status rh_undo_block_decode(struct rh_bytes plain,
                                    struct rh_arena *arena,
                                    struct rh_undo_block *ret_block,
                                    struct rh_error *err) RH_MUST_USE;

/* --- undo.c: for tests, smaller segments --- */
void rh_undo_segment_bytes(struct rh_undo *undo, uint64_t bytes);

#endif
