/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's database: opening, transactions, statements. The format is docs/formats/journal.md; the tables' own
 * functions are in tables.c. Knowledge: sqlite.org/c3ref, /wal.html, /pragma.html (SQLite 3.40). */
#include "internal.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUSY_MS 10000

#define RH_SQL_VERSION "PRAGMA user_version = 2"
#define RH_SQL_HISTORY_TABLE                                                                                           \
    "CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, move TEXT NOT NULL, step TEXT NOT NULL,"              \
    " event INTEGER NOT NULL CHECK (event BETWEEN 1 AND 4), at_us INTEGER NOT NULL, note TEXT NOT NULL) STRICT"
#define RH_SQL_HISTORY_INDEX "CREATE INDEX history_move ON history (move, id)"

static const char *const tables_sql[] = {
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE facts (move TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, at_us INTEGER NOT NULL,"
    " PRIMARY KEY (move, name)) STRICT, WITHOUT ROWID",
    "CREATE TABLE steps (move TEXT NOT NULL, step TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0),"
    " outcome INTEGER NOT NULL CHECK (outcome BETWEEN 1 AND 4), intent_us INTEGER NOT NULL,"
    " outcome_us INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', PRIMARY KEY (move, step))"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE ranges (id INTEGER PRIMARY KEY AUTOINCREMENT, move TEXT NOT NULL, dataset TEXT NOT NULL,"
    " from_key BLOB NOT NULL, to_key BLOB NOT NULL, expect_count INTEGER NOT NULL CHECK (expect_count >= 0),"
    " destination_empty INTEGER NOT NULL CHECK (destination_empty IN (0, 1)),"
    " done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),"
    " batches INTEGER NOT NULL DEFAULT 0 CHECK (batches >= 0), resume_key BLOB NOT NULL DEFAULT x'',"
    " copied BLOB NOT NULL DEFAULT (zeroblob(32)) CHECK (length(copied) = 32),"
    " kept INTEGER NOT NULL DEFAULT 0 CHECK (kept >= 0), replaced INTEGER NOT NULL DEFAULT 0 CHECK (replaced >= 0),"
    " written INTEGER NOT NULL DEFAULT 0 CHECK (written >= 0),"
    " source_sum BLOB NOT NULL DEFAULT (zeroblob(32)) CHECK (length(source_sum) = 32),"
    " destination_sum BLOB NOT NULL DEFAULT (zeroblob(32)) CHECK (length(destination_sum) = 32),"
    " verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1))) STRICT",
    "CREATE INDEX ranges_move ON ranges (move, id)",
    "CREATE TABLE segments (id INTEGER PRIMARY KEY AUTOINCREMENT, move TEXT NOT NULL, file TEXT NOT NULL UNIQUE,"
    " good_bytes INTEGER NOT NULL CHECK (good_bytes >= 0), good_frames INTEGER NOT NULL CHECK (good_frames >= 0),"
    " at_us INTEGER NOT NULL) STRICT",
    "CREATE INDEX segments_move ON segments (move, id)",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, move TEXT NOT NULL, kind TEXT NOT NULL,"
    " at_us INTEGER NOT NULL, key BLOB NOT NULL, text TEXT NOT NULL) STRICT",
    "CREATE INDEX notes_move ON notes (move, id)",
    RH_SQL_HISTORY_TABLE,
    RH_SQL_HISTORY_INDEX,
    "PRAGMA application_id = 1919445553", /* RH_JOURNAL_APPLICATION_ID */
    RH_SQL_VERSION,
};
_Static_assert(RH_JOURNAL_APPLICATION_ID == 1919445553, "the number in tables_sql");
_Static_assert(RH_JOURNAL_VERSION == 2, "the number in RH_SQL_VERSION");

/* From version 1: the history begins with what the steps' last intents and outcomes tell. */
static const char *const from_version_1_sql[] = {
    RH_SQL_HISTORY_TABLE,
    RH_SQL_HISTORY_INDEX,
    "INSERT INTO history (move, step, event, at_us, note) SELECT move, step, event, at_us, note"
    " FROM (" RH_SQL_HISTORY_OF_STEPS ")",
    RH_SQL_VERSION,
};

static const char *const statements_sql[RH_SQL_COUNT_] = {
    [RH_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [RH_SQL_COMMIT] = "COMMIT",
    [RH_SQL_ROLLBACK] = "ROLLBACK",
    [RH_SQL_FACT_PUT] = "INSERT INTO facts (move, name, value, at_us) VALUES (?1, ?2, ?3, ?4)"
                        " ON CONFLICT (move, name) DO UPDATE SET value = excluded.value, at_us = excluded.at_us",
    [RH_SQL_FACT_PUT_ONCE] = "INSERT INTO facts (move, name, value, at_us) VALUES (?1, ?2, ?3, ?4)"
                             " ON CONFLICT (move, name) DO NOTHING",
    [RH_SQL_FACT_GET] = "SELECT value FROM facts WHERE move = ?1 AND name = ?2",
    [RH_SQL_FACT_REMOVE] = "DELETE FROM facts WHERE move = ?1 AND name = ?2",
    [RH_SQL_STEP_INTENT] = "INSERT INTO steps (move, step, number, outcome, intent_us) VALUES"
                           " (?1, ?2, (SELECT coalesce(max(number), 0) + 1 FROM steps), 1, ?3)"
                           " ON CONFLICT (move, step) DO UPDATE SET"
                           " outcome = 1, intent_us = excluded.intent_us, outcome_us = 0, note = ''",
    [RH_SQL_STEP_OUTCOME] = "UPDATE steps SET outcome = ?3, outcome_us = ?4, note = ?5 WHERE move = ?1 AND step = ?2",
    [RH_SQL_HISTORY_ADD] = "INSERT INTO history (move, step, event, at_us, note) VALUES (?1, ?2, ?3, ?4, ?5)",
    [RH_SQL_STEP_GET] = "SELECT move, step, number, outcome, intent_us, outcome_us, note FROM steps"
                        " WHERE move = ?1 AND step = ?2",
    [RH_SQL_STEPS_CLEAR] = "DELETE FROM steps WHERE move = ?1",
    [RH_SQL_RANGES_CLEAR] = "DELETE FROM ranges WHERE move = ?1",
    [RH_SQL_RANGE_ADD] = "INSERT INTO ranges (move, dataset, from_key, to_key, expect_count, destination_empty)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [RH_SQL_RANGE_PROGRESS] = "UPDATE ranges SET done = ?3, batches = ?4, resume_key = ?5, copied = ?6, kept = ?7,"
                              " replaced = ?8, written = ?9, expect_count = ?10, destination_empty = ?11"
                              " WHERE id = ?2 AND move = ?1",
    [RH_SQL_RANGE_VERIFIED] = "UPDATE ranges SET source_sum = ?3, destination_sum = ?4, verified = ?5"
                              " WHERE id = ?2 AND move = ?1",
    [RH_SQL_SEGMENT_ADD] = "INSERT INTO segments (id, move, file, good_bytes, good_frames, at_us)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [RH_SQL_SEGMENT_NEXT] = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'segments'), 0) + 1",
    [RH_SQL_SEGMENT_GOOD] = "UPDATE segments SET good_bytes = max(good_bytes, ?3), good_frames = max(good_frames, ?4)"
                            " WHERE id = ?2 AND move = ?1",
    [RH_SQL_SEGMENTS_FORGET] = "DELETE FROM segments WHERE move = ?1",
    [RH_SQL_NOTE_ADD] = "INSERT INTO notes (move, kind, at_us, key, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    [RH_SQL_NOTES_CLEAR] = "DELETE FROM notes WHERE move = ?1 AND kind = ?2",
};

/* The status for an SQLite result code. */
static enum rh_status status_of(sqlite3 *db, int code)
{
    int system = db ? sqlite3_system_errno(db) : 0;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return RH_E_FULL;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (system == ENOSPC || system == EDQUOT)
            return RH_E_FULL;
        if (system == EACCES || system == EPERM || system == EROFS)
            return RH_E_DENIED;
        return code == SQLITE_IOERR_NOMEM ? RH_E_MEMORY : RH_E_IO;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_FORMAT:
    case SQLITE_SCHEMA:
        return RH_E_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return RH_E_LOCKED;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return RH_E_DENIED;
    case SQLITE_NOMEM:
        return RH_E_MEMORY;
    case SQLITE_TOOBIG:
        return RH_E_LIMIT;
    default:
        return RH_E_INTERNAL;
    }
}

/* The remedy for what can go wrong with a database file. */
static void hint_for(struct rh_journal *journal, enum rh_status status, struct rh_error *err)
{
    if (status == RH_E_FULL)
        rh_error_hint(err, "make room on the file system of '%s', then give the same command again",
                      RH_SHOW(rh_bytes_text(journal->dir)));
    else if (status == RH_E_IO)
        rh_error_hint(err, "look at the disk under '%s' (kernel log), then give the same command again",
                      RH_SHOW(rh_bytes_text(journal->dir)));
    else if (status == RH_E_LOCKED)
        rh_error_hint(err, "another program has the journal open for writing; close it");
    else if (status == RH_E_CORRUPT)
        rh_error_hint(err, "restore the journal from a copy; if it is only in the way, move it out of '%s'",
                      RH_SHOW(rh_bytes_text(journal->dir)));
}

enum rh_status rh_journal_fail(struct rh_journal *journal, const char *doing, struct rh_error *err)
{
    int code = sqlite3_extended_errcode(journal->db), system = sqlite3_system_errno(journal->db);
    enum rh_status status = status_of(journal->db, code);
    bool os = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
    const char *words = sqlite3_errmsg(journal->db);
    if ((code & 0xff) == SQLITE_NOTADB)
        rh_fail(err, status, "%s journal '%s/%s.journal': it is not a journal of rehome", doing,
                RH_SHOW(rh_bytes_text(journal->dir)), journal->name);
    else
        rh_fail(err, status, "%s journal '%s/%s.journal': %s%s%s", doing, RH_SHOW(rh_bytes_text(journal->dir)),
                journal->name, RH_SHOW(rh_bytes_text(words)), os && system ? ": " : "",
                os && system ? strerrordesc_np(system) : "");
    hint_for(journal, status, err);
    if (err != NULL)
        err->native = code;
    if (journal->inside)
        journal->spoiled = true;
    return status;
}

/* Runs words without parameters or results. */
static enum rh_status run(struct rh_journal *journal, const char *sql, const char *doing, struct rh_error *err)
{
    if (sqlite3_exec(journal->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return rh_journal_fail(journal, doing, err);
    return RH_OK;
}

/* The first column of the first row, a number. */
static enum rh_status
read_number(struct rh_journal *journal, const char *sql, int64_t *ret_number, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return rh_journal_fail(journal, "read", err);
    enum rh_status status = RH_OK;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_number = sqlite3_column_int64(statement, 0);
    else
        status = rh_journal_fail(journal, "read", err);
    sqlite3_finalize(statement);
    return status;
}

/* A value of meta into `out`, whose size it must have; RH_E_CORRUPT otherwise. */
static enum rh_status
meta_matches(struct rh_journal *journal, const char *name, void *out, struct rh_bytes expect, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    enum rh_status status = RH_OK;
    if (sqlite3_prepare_v2(journal->db, "SELECT value FROM meta WHERE name = ?1", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) != SQLITE_OK) {
        status = rh_journal_fail(journal, "read", err);
    } else if (sqlite3_step(statement) != SQLITE_ROW) {
        status = rh_fail(err, RH_E_CORRUPT, "read journal '%s/%s.journal': it doesn't say its %s",
                         RH_SHOW(rh_bytes_text(journal->dir)), journal->name, name);
    } else {
        const void *data = sqlite3_column_blob(statement, 0);
        struct rh_bytes value = rh_bytes(data, (size_t)sqlite3_column_bytes(statement, 0));
        if (out != NULL && value.size == expect.size)
            memcpy(out, value.data, value.size);
        else if (out != NULL || !rh_bytes_equal(value, expect)) {
            status =
                rh_fail(err, RH_E_CORRUPT, "open journal '%s/%s.journal': its %s is '%s' inside: renamed or copied",
                        RH_SHOW(rh_bytes_text(journal->dir)), journal->name, name, RH_SHOW(value));
            rh_error_hint(err, "give the file the name it had");
        }
    }
    sqlite3_finalize(statement);
    return status;
}

/* Writes tables, numbers and meta in one transaction. */
static enum rh_status database_make(struct rh_journal *journal, struct rh_error *err)
{
    enum rh_status status = rh_random(journal->id, sizeof(journal->id), err);
    if (status == RH_OK)
        status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; i < sizeof(tables_sql) / sizeof(tables_sql[0]) && status == RH_OK; i++)
        status = run(journal, tables_sql[i], "make", err);
    sqlite3_stmt *statement = NULL;
    if (status == RH_OK &&
        (sqlite3_prepare_v2(journal->db, "INSERT INTO meta VALUES ('id', ?1), ('name', CAST(?2 AS BLOB))", -1,
                            &statement, NULL) != SQLITE_OK ||
         sqlite3_bind_blob(statement, 1, journal->id, sizeof(journal->id), SQLITE_STATIC) != SQLITE_OK ||
         sqlite3_bind_text(statement, 2, journal->name, -1, SQLITE_STATIC) != SQLITE_OK ||
         sqlite3_step(statement) != SQLITE_DONE))
        status = rh_journal_fail(journal, "make", err);
    sqlite3_finalize(statement);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* What the file is: *ret_new when its making was cut short; a foreign or newer one is refused. */
static enum rh_status database_identify(struct rh_journal *journal, bool *ret_new, struct rh_error *err)
{
    int64_t application = 0, version = 0, tables = 0;
    enum rh_status status = read_number(journal, "PRAGMA application_id", &application, err);
    if (status == RH_OK)
        status = read_number(journal, "PRAGMA user_version", &version, err);
    if (status == RH_OK)
        status = read_number(journal, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (status != RH_OK)
        return status;
    *ret_new = application == 0 && version == 0 && tables == 0;
    journal->version = *ret_new ? RH_JOURNAL_VERSION : version;
    if (*ret_new)
        return RH_OK;
    if (application != RH_JOURNAL_APPLICATION_ID || version < 1) {
        rh_fail(err, RH_E_CORRUPT, "open journal '%s/%s.journal': it is not a journal of rehome",
                RH_SHOW(rh_bytes_text(journal->dir)), journal->name);
        rh_error_hint(err, "choose another state folder, or move that file away");
        return RH_E_CORRUPT;
    }
    if (version > RH_JOURNAL_VERSION) {
        rh_fail(err, RH_E_CORRUPT,
                "open journal '%s/%s.journal': it was written by a newer rehome (format %lld, this one knows %d)",
                RH_SHOW(rh_bytes_text(journal->dir)), journal->name, (long long)version, RH_JOURNAL_VERSION);
        rh_error_hint(err, "go on with the newer rehome");
        return RH_E_CORRUPT;
    }
    return RH_OK;
}

/* Brings an older version up to date, in one transaction. */
static enum rh_status database_upgrade(struct rh_journal *journal, struct rh_error *err)
{
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; i < sizeof(from_version_1_sql) / sizeof(from_version_1_sql[0]) && status == RH_OK; i++)
        status = run(journal, from_version_1_sql[i], "bring up to date", err);
    if (status == RH_OK)
        status = rh_journal_commit(journal, err);
    else
        rh_journal_abort(journal);
    if (status == RH_OK)
        journal->version = RH_JOURNAL_VERSION;
    return status;
}

/* Refuses a database whose pages contradict each other. */
static enum rh_status database_check(struct rh_journal *journal, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    enum rh_status status = RH_OK;
    if (sqlite3_prepare_v2(journal->db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        status = rh_journal_fail(journal, "check", err);
    } else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0) {
        status = rh_fail(err, RH_E_CORRUPT, "check journal '%s/%s.journal': %s", RH_SHOW(rh_bytes_text(journal->dir)),
                         journal->name, RH_SHOW(rh_bytes_text((const char *)sqlite3_column_text(statement, 0))));
        hint_for(journal, status, err);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Connects to the file, which is there. The path has no symbolic link left, so that NOFOLLOW speaks of the file. */
static enum rh_status connect_file(struct rh_journal *journal, struct rh_error *err)
{
    rh_auto_free char *real = realpath(journal->dir, NULL);
    if (real == NULL)
        return rh_fail_errno(err, errno, "open state folder '%s'", RH_SHOW(rh_bytes_text(journal->dir)));
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&path, err, "%s/%s.journal", real, journal->name);
    if (status != RH_OK)
        return status;
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
                (journal->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
    int code = sqlite3_open_v2(rh_buf_cstr(&path), &journal->db, flags, NULL);
    if (journal->db == NULL)
        return rh_fail_memory(err);
    if (code != SQLITE_OK)
        return rh_journal_fail(journal, "open", err);
    sqlite3_busy_timeout(journal->db, BUSY_MS);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return run(journal, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL", "open",
               err);
}

/* The database, made or checked. */
static enum rh_status database_open(struct rh_journal *journal, unsigned flags, struct rh_error *err)
{
    bool unmade = false;
    enum rh_status status = connect_file(journal, err);
    if (status == RH_OK)
        status = database_identify(journal, &unmade, err);
    if (status != RH_OK)
        return status;
    if (unmade && (journal->read_only || !(flags & RH_JOURNAL_CREATE)))
        return RH_NOT_FOUND;
    if (!journal->read_only)
        status = run(journal, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "open", err);
    if (status == RH_OK && unmade)
        return database_make(journal, err);
    if (status == RH_OK && !journal->read_only)
        status = database_check(journal, err);
    if (status == RH_OK)
        status = meta_matches(journal, "name", NULL, rh_bytes_text(journal->name), err);
    if (status == RH_OK)
        status = meta_matches(journal, "id", journal->id, rh_bytes(NULL, sizeof(journal->id)), err);
    if (status == RH_OK && !journal->read_only && journal->version < RH_JOURNAL_VERSION)
        status = database_upgrade(journal, err);
    return status;
}

/* An object without folder, lock or database. */
static struct rh_journal *journal_new(const char *dir, const char *name)
{
    struct rh_journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL)
        return NULL;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&journal->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    journal->dir_fd = journal->lock_fd = -1;
    journal->dir = strdup(dir);
    journal->name = strdup(name);
    if (journal->dir != NULL && journal->name != NULL)
        return journal;
    rh_journal_close(journal);
    return NULL;
}

enum rh_status rh_journal_open(
    const char *dir, const char *name, unsigned flags, struct rh_journal **ret_journal, struct rh_error *err)
{
    if (!rh_journal_name_valid(name)) {
        rh_fail(err, RH_E_REFUSED, "open journal '%s': the name can't be that of a journal",
                RH_SHOW(rh_bytes_text(name)));
        rh_error_hint(err, "use 1 to %d letters, digits, '.', '_' and '-', and no '.' at the beginning",
                      RH_JOURNAL_NAME_MAX);
        return RH_E_REFUSED;
    }
    struct rh_journal *journal = journal_new(dir, name);
    if (journal == NULL)
        return rh_fail_memory(err);
    journal->read_only = (flags & RH_JOURNAL_READ_ONLY) != 0;
    if (journal->read_only)
        flags &= ~(unsigned)RH_JOURNAL_CREATE;
    bool empty = false;
    enum rh_status status = rh_journal_folder_open(dir, flags, &journal->dir_fd, err);
    /* Looked for before the lock, so that a journal that is absent leaves no lock file behind. */
    if (status == RH_OK && !(flags & RH_JOURNAL_CREATE))
        status = rh_journal_file_check(journal->dir_fd, dir, name, flags, &empty, err);
    if (status == RH_OK && !journal->read_only)
        status = rh_journal_lock(journal->dir_fd, dir, name, &journal->lock_fd, err);
    if (status == RH_OK && (flags & RH_JOURNAL_CREATE))
        status = rh_journal_file_check(journal->dir_fd, dir, name, flags, &empty, err);
    if (status == RH_OK && empty && !(flags & RH_JOURNAL_CREATE))
        status = RH_NOT_FOUND;
    if (status == RH_OK)
        status = database_open(journal, flags, err);
    if (status == RH_OK)
        *ret_journal = journal;
    else
        rh_journal_close(journal);
    return status;
}

void rh_journal_close(struct rh_journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->inside)
        rh_journal_abort(journal);
    for (size_t i = 0; i < RH_SQL_COUNT_; i++)
        sqlite3_finalize(journal->statements[i]);
    sqlite3_close(journal->db);
    /* The lock goes last: until here the database was ours. */
    rh_auto_fd_(&journal->lock_fd);
    rh_auto_fd_(&journal->dir_fd);
    pthread_mutex_destroy(&journal->mutex);
    free(journal->dir);
    free(journal->name);
    free(journal);
}

const char *rh_journal_dir(const struct rh_journal *journal)
{
    return journal->dir;
}

const char *rh_journal_name(const struct rh_journal *journal)
{
    return journal->name;
}

enum rh_status rh_journal_take(struct rh_journal *journal,
                               enum rh_journal_statement which,
                               sqlite3_stmt **ret_statement,
                               struct rh_error *err)
{
    pthread_mutex_lock(&journal->mutex);
    sqlite3_stmt **kept = &journal->statements[which];
    if (*kept == NULL && sqlite3_prepare_v3(journal->db, statements_sql[which], -1, SQLITE_PREPARE_PERSISTENT, kept,
                                            NULL) != SQLITE_OK) {
        enum rh_status status = rh_journal_fail(journal, "use", err);
        pthread_mutex_unlock(&journal->mutex);
        return status;
    }
    *ret_statement = *kept;
    return RH_OK;
}

void rh_journal_release(struct rh_journal *journal, sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    /* Bound bytes are borrowed: nothing may point at them after the call. */
    sqlite3_clear_bindings(statement);
    pthread_mutex_unlock(&journal->mutex);
}

enum rh_status
rh_journal_write(struct rh_journal *journal, sqlite3_stmt *statement, const char *doing, struct rh_error *err)
{
    if (journal->read_only)
        return rh_fail(err, RH_E_INTERNAL, "%s journal '%s': it is open for reading only", doing, journal->name);
    if (journal->inside && journal->spoiled)
        return rh_fail(err, RH_E_INTERNAL, "%s journal '%s': an earlier write of this transaction failed", doing,
                       journal->name);
    if (!journal->inside)
        rh_crash_point("journal");
    int code = sqlite3_step(statement);
    if (code != SQLITE_DONE)
        return rh_journal_fail(journal, doing, err);
    if (!journal->inside)
        rh_crash_point("journal");
    return RH_OK;
}

enum rh_status
rh_journal_row(struct rh_journal *journal, sqlite3_stmt *statement, const char *doing, struct rh_error *err)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return RH_OK;
    return code == SQLITE_DONE ? RH_END : rh_journal_fail(journal, doing, err);
}

enum rh_status rh_journal_query(
    struct rh_journal *journal, const char *sql, const char *move, sqlite3_stmt **ret_statement, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&journal->mutex);
    if (sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        (move == NULL || sqlite3_bind_text(statement, 1, move, -1, SQLITE_STATIC) == SQLITE_OK)) {
        *ret_statement = statement;
        return RH_OK;
    }
    enum rh_status status = rh_journal_fail(journal, "read", err);
    rh_journal_query_end(journal, statement);
    return status;
}

void rh_journal_query_end(struct rh_journal *journal, sqlite3_stmt *statement)
{
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&journal->mutex);
}

enum rh_status rh_journal_begin(struct rh_journal *journal, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    enum rh_status status = rh_journal_take(journal, RH_SQL_BEGIN, &statement, err);
    if (status != RH_OK)
        return status;
    if (journal->inside)
        status = rh_fail(err, RH_E_INTERNAL, "begin in journal '%s': a transaction is open already", journal->name);
    else if (journal->read_only)
        status = rh_fail(err, RH_E_INTERNAL, "begin in journal '%s': it is open for reading only", journal->name);
    else if (sqlite3_step(statement) != SQLITE_DONE)
        status = rh_journal_fail(journal, "begin a write to", err);
    sqlite3_reset(statement);
    if (status == RH_OK) {
        journal->inside = true;
        atomic_store(&journal->inside_by, (unsigned long)pthread_self());
        journal->spoiled = false;
        return RH_OK; /* the mutex stays ours */
    }
    pthread_mutex_unlock(&journal->mutex);
    return status;
}

enum rh_status rh_journal_commit(struct rh_journal *journal, struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    enum rh_status status = RH_OK;
    if (!journal->inside)
        return rh_fail(err, RH_E_INTERNAL, "commit in journal '%s': no transaction is open", journal->name);
    if (journal->spoiled)
        status = rh_fail(err, RH_E_INTERNAL, "commit in journal '%s': an earlier write of this transaction failed",
                         journal->name);
    else
        status = rh_journal_take(journal, RH_SQL_COMMIT, &statement, err);
    if (status == RH_OK) {
        rh_crash_point("journal");
        if (sqlite3_step(statement) != SQLITE_DONE)
            status = rh_journal_fail(journal, "write", err);
        else
            rh_crash_point("journal");
        rh_journal_release(journal, statement);
    }
    if (status != RH_OK) {
        rh_journal_abort(journal);
        return status;
    }
    journal->inside = false;
    atomic_store(&journal->inside_by, 0);
    pthread_mutex_unlock(&journal->mutex);
    return RH_OK;
}

void rh_journal_abort(struct rh_journal *journal)
{
    sqlite3_stmt *statement = NULL;
    if (!journal->inside)
        return;
    /* After some failures SQLite has rolled back by itself. */
    if (!sqlite3_get_autocommit(journal->db) && rh_journal_take(journal, RH_SQL_ROLLBACK, &statement, NULL) == RH_OK) {
        if (sqlite3_step(statement) != SQLITE_DONE)
            rh_log(RH_LOG_WARN, "could not roll back in the journal", {"journal", journal->name});
        rh_journal_release(journal, statement);
    }
    journal->inside = journal->spoiled = false;
    atomic_store(&journal->inside_by, 0);
    pthread_mutex_unlock(&journal->mutex);
}
