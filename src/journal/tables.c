/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's tables: facts and decisions, steps, ranges, undo segments, notes. What each column means and who
 * writes it when: docs/formats/journal.md. */
#include "internal.h"

#include <rehome/base.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Binds one parameter after the other; what goes wrong is kept until the end. */
struct binder {
    sqlite3_stmt *statement;
    int index;
    bool failed, too_large;
};

/* Text, borrowed until release. */
static void bind_text(struct binder *to, const char *text)
{
    to->failed |= sqlite3_bind_text(to->statement, ++to->index, text, -1, SQLITE_STATIC) != SQLITE_OK;
}

/* Bytes, borrowed until release; none are an empty blob, never NULL. */
static void bind_bytes(struct binder *to, struct rh_bytes bytes)
{
    int code = bytes.size == 0 ? sqlite3_bind_zeroblob(to->statement, ++to->index, 0)
                               : sqlite3_bind_blob64(to->statement, ++to->index, bytes.data, bytes.size, SQLITE_STATIC);
    to->failed |= code != SQLITE_OK;
}

/* A signed number. */
static void bind_i64(struct binder *to, int64_t number)
{
    to->failed |= sqlite3_bind_int64(to->statement, ++to->index, number) != SQLITE_OK;
}

/* An unsigned number, which must be below 2^63. */
static void bind_u64(struct binder *to, uint64_t number)
{
    to->too_large |= number > INT64_MAX;
    bind_i64(to, (int64_t)(number & INT64_MAX));
}

/* A sum's 32 bytes; `room` must live until release. */
static void bind_sum(struct binder *to, const struct rh_sum *sum, uint8_t room[static RH_SUM_BYTES])
{
    rh_sum_encode(sum, room);
    bind_bytes(to, rh_bytes(room, RH_SUM_BYTES));
}

/* Whether all parameters are bound. What isn't spoils an open transaction as a failed write does. */
static enum rh_status
bound(struct rh_journal *journal, const struct binder *to, const char *doing, struct rh_error *err)
{
    if (!to->too_large)
        return to->failed ? rh_journal_fail(journal, doing, err) : RH_OK;
    journal->spoiled = journal->inside;
    return rh_fail(err, RH_E_INTERNAL, "%s journal '%s': a number is too large", doing, journal->name);
}

/* Writes with what was bound and gives the statement back. *ret_changes may be NULL. */
static enum rh_status
write_bound(struct rh_journal *journal, struct binder *to, const char *doing, int *ret_changes, struct rh_error *err)
{
    enum rh_status status = bound(journal, to, doing, err);
    if (status == RH_OK)
        status = rh_journal_write(journal, to->statement, doing, err);
    if (status == RH_OK && ret_changes != NULL)
        *ret_changes = sqlite3_changes(journal->db);
    rh_journal_release(journal, to->statement);
    return status;
}

/* A statement taken, ready to bind. */
static enum rh_status
take(struct rh_journal *journal, enum rh_journal_statement which, struct binder *ret_to, struct rh_error *err)
{
    *ret_to = (struct binder){0};
    return rh_journal_take(journal, which, &ret_to->statement, err);
}

/* Refuses names that don't fit the fixed room of the states, before anything is written. */
static enum rh_status fits(const char *what, const char *text, size_t room, struct rh_error *err)
{
    if (strlen(text) < room)
        return RH_OK;
    return rh_fail(err, RH_E_LIMIT, "write %s '%s' to the journal: longer than %zu bytes", what,
                   RH_SHOW(rh_bytes_text(text)), room - 1);
}

#define MOVE_ROOM sizeof(((struct rh_step_state *)0)->move)
#define STEP_ROOM sizeof(((struct rh_step_state *)0)->step)
#define NOTE_ROOM sizeof(((struct rh_step_state *)0)->note)
#define DATASET_ROOM sizeof(((struct rh_range_state *)0)->dataset)
#define FILE_ROOM sizeof(((struct rh_segment_state *)0)->file)

/* --- reading columns: damage is told, not passed on --- */

/* Reads one column after the other. */
struct columns {
    sqlite3_stmt *statement;
    int index;
    bool bad; /* a value that the format forbids, or memory out */
};

/* Bytes, good until the next step of the statement. */
static struct rh_bytes column_bytes(struct columns *from)
{
    const void *data = sqlite3_column_blob(from->statement, from->index);
    return rh_bytes(data, (size_t)sqlite3_column_bytes(from->statement, from->index++));
}

/* Text into fixed room. */
static void column_text(struct columns *from, char *out, size_t room)
{
    struct rh_bytes text = column_bytes(from);
    if (text.size >= room || (text.size > 0 && memchr(text.data, 0, text.size) != NULL)) {
        from->bad = true;
        text.size = 0;
    }
    if (text.size > 0)
        memcpy(out, text.data, text.size);
    out[text.size] = '\0';
}

/* A number from `least` to `most`. */
static int64_t column_number(struct columns *from, int64_t least, int64_t most)
{
    int64_t number = sqlite3_column_int64(from->statement, from->index++);
    if (number >= least && number <= most)
        return number;
    from->bad = true;
    return least;
}

/* An unsigned number. */
static uint64_t column_u64(struct columns *from)
{
    return (uint64_t)column_number(from, 0, INT64_MAX);
}

/* A sum. */
static void column_sum(struct columns *from, struct rh_sum *out)
{
    if (rh_sum_decode(column_bytes(from), out) != RH_OK)
        from->bad = true;
}

/* The words for a row the format forbids. */
static enum rh_status bad_row(struct rh_journal *journal, const char *table, struct rh_error *err)
{
    return rh_fail(err, RH_E_CORRUPT, "read journal '%s/%s.journal': table %s holds what its format forbids",
                   RH_SHOW(rh_bytes_text(journal->dir)), journal->name, table);
}

/* --- facts --- */

/* Both kinds of put. *ret_changes: 0 when a value stood in the way. */
static enum rh_status fact_write(struct rh_journal *journal,
                                 enum rh_journal_statement which,
                                 const char *move,
                                 const char *name,
                                 struct rh_bytes value,
                                 int *ret_changes,
                                 struct rh_error *err)
{
    struct binder to;
    enum rh_status status = fits("move", move, MOVE_ROOM, err);
    if (status == RH_OK)
        status = take(journal, which, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, name);
    bind_bytes(&to, value);
    bind_i64(&to, rh_utc_us());
    return write_bound(journal, &to, "write", ret_changes, err);
}

enum rh_status rh_journal_put(
    struct rh_journal *journal, const char *move, const char *name, struct rh_bytes value, struct rh_error *err)
{
    return fact_write(journal, RH_SQL_FACT_PUT, move, name, value, NULL, err);
}

enum rh_status rh_journal_put_once(
    struct rh_journal *journal, const char *move, const char *name, struct rh_bytes value, struct rh_error *err)
{
    int changes = 0;
    enum rh_status status = fact_write(journal, RH_SQL_FACT_PUT_ONCE, move, name, value, &changes, err);
    return status == RH_OK && changes == 0 ? RH_EXISTS : status;
}

enum rh_status rh_journal_get(
    struct rh_journal *journal, const char *move, const char *name, struct rh_buf *ret_value, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, RH_SQL_FACT_GET, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, name);
    status = bound(journal, &to, "read", err);
    if (status == RH_OK)
        status = rh_journal_row(journal, to.statement, "read", err);
    if (status == RH_OK) {
        struct columns from = {.statement = to.statement};
        struct rh_bytes value = column_bytes(&from);
        rh_buf_clear(ret_value);
        status = rh_buf_add(ret_value, value.data, value.size, err);
    }
    rh_journal_release(journal, to.statement);
    return status == RH_END ? RH_NOT_FOUND : status;
}

enum rh_status rh_journal_remove(struct rh_journal *journal, const char *move, const char *name, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, RH_SQL_FACT_REMOVE, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, name);
    return write_bound(journal, &to, "write", NULL, err);
}

enum rh_status rh_journal_decide(struct rh_journal *journal,
                                 const char *move,
                                 const char *name,
                                 const char *value,
                                 struct rh_buf *ret_value,
                                 struct rh_error *err)
{
    struct rh_bytes wanted = rh_bytes_text(value);
    /* The write alone decides; what is read after it can't change any more. */
    enum rh_status status = rh_journal_put_once(journal, move, name, wanted, err);
    if (status != RH_EXISTS && status != RH_OK)
        return status;
    status = rh_journal_get(journal, move, name, ret_value, err);
    if (status == RH_OK && !rh_bytes_equal(rh_buf_bytes(ret_value), wanted))
        return RH_EXISTS;
    return status;
}

/* --- steps --- */

/* A transaction of our own unless the caller has one open: *ret_own says which. Holds the mutex until own_end. */
static enum rh_status own_begin(struct rh_journal *journal, bool *ret_own, struct rh_error *err)
{
    pthread_mutex_lock(&journal->mutex);
    *ret_own = !journal->inside;
    enum rh_status status = *ret_own ? rh_journal_begin(journal, err) : RH_OK;
    if (status != RH_OK)
        pthread_mutex_unlock(&journal->mutex);
    return status;
}

/* Commits what own_begin began, or gives it up after a failure. */
static enum rh_status own_end(struct rh_journal *journal, bool own, enum rh_status status, struct rh_error *err)
{
    if (own && status == RH_OK)
        status = rh_journal_commit(journal, err);
    else if (own)
        rh_journal_abort(journal);
    pthread_mutex_unlock(&journal->mutex);
    return status;
}

/* One row of the history. */
static enum rh_status history_add(struct rh_journal *journal,
                                  const char *move,
                                  const char *step,
                                  enum rh_step_outcome event,
                                  int64_t at_us,
                                  const char *note,
                                  struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, RH_SQL_HISTORY_ADD, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, step);
    bind_i64(&to, (int64_t)event);
    bind_i64(&to, at_us);
    bind_text(&to, note);
    return write_bound(journal, &to, "write", NULL, err);
}

enum rh_status
rh_journal_step_intent(struct rh_journal *journal, const char *move, const char *step, struct rh_error *err)
{
    return rh_journal_step_begun(journal, move, step, rh_utc_us(), err);
}

enum rh_status rh_journal_step_begun(
    struct rh_journal *journal, const char *move, const char *step, int64_t begun_us, struct rh_error *err)
{
    struct binder to;
    bool own = false;
    enum rh_status status = fits("move", move, MOVE_ROOM, err);
    if (status == RH_OK)
        status = fits("step", step, STEP_ROOM, err);
    if (status == RH_OK)
        status = own_begin(journal, &own, err);
    if (status != RH_OK)
        return status;
    status = take(journal, RH_SQL_STEP_INTENT, &to, err);
    if (status == RH_OK) {
        bind_text(&to, move);
        bind_text(&to, step);
        bind_i64(&to, begun_us);
        status = write_bound(journal, &to, "write", NULL, err);
    }
    if (status == RH_OK)
        status = history_add(journal, move, step, RH_STEP_INTENT, begun_us, "", err);
    return own_end(journal, own, status, err);
}

/* Words cut to the room of a state, at a whole character. */
static void note_cut(const char *note, char out[static NOTE_ROOM])
{
    size_t size = strlen(note);
    if (size < NOTE_ROOM) {
        memcpy(out, note, size + 1);
        return;
    }
    size = NOTE_ROOM - 4;
    while (size > 0 && ((unsigned char)note[size] & 0xC0) == 0x80)
        size--;
    memcpy(out, note, size);
    memcpy(out + size, "...", 4);
}

/* The row of steps; it must be there. */
static enum rh_status outcome_write(struct rh_journal *journal,
                                    const char *move,
                                    const char *step,
                                    enum rh_step_outcome outcome,
                                    int64_t at_us,
                                    const char *words,
                                    struct rh_error *err)
{
    struct binder to;
    int changes = 0;
    enum rh_status status = take(journal, RH_SQL_STEP_OUTCOME, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, step);
    bind_i64(&to, (int64_t)outcome);
    bind_i64(&to, at_us);
    bind_text(&to, words);
    status = write_bound(journal, &to, "write", &changes, err);
    if (status == RH_OK && changes == 0)
        return rh_fail(err, RH_E_INTERNAL, "write step '%s' of move '%s' to the journal: it has no intent", step, move);
    return status;
}

enum rh_status rh_journal_step_outcome(struct rh_journal *journal,
                                       const char *move,
                                       const char *step,
                                       enum rh_step_outcome outcome,
                                       const char *note,
                                       struct rh_error *err)
{
    char words[NOTE_ROOM];
    bool own = false;
    const int64_t now_us = rh_utc_us();
    if (outcome != RH_STEP_DONE && outcome != RH_STEP_FAILED && outcome != RH_STEP_UNDONE)
        return rh_fail(err, RH_E_INTERNAL, "write step '%s' of move '%s' to the journal: %d is no outcome", step, move,
                       (int)outcome);
    note_cut(note ? note : "", words);
    enum rh_status status = own_begin(journal, &own, err);
    if (status != RH_OK)
        return status;
    status = outcome_write(journal, move, step, outcome, now_us, words, err);
    if (status == RH_OK)
        status = history_add(journal, move, step, outcome, now_us, words, err);
    return own_end(journal, own, status, err);
}

/* A row of steps. */
static enum rh_status
step_row(struct rh_journal *journal, sqlite3_stmt *statement, struct rh_step_state *out, struct rh_error *err)
{
    struct columns from = {.statement = statement};
    column_text(&from, out->move, sizeof(out->move));
    column_text(&from, out->step, sizeof(out->step));
    out->number = (uint32_t)column_number(&from, 1, UINT32_MAX);
    out->outcome = (enum rh_step_outcome)column_number(&from, RH_STEP_INTENT, RH_STEP_UNDONE);
    out->intent_us = column_number(&from, 0, INT64_MAX);
    out->outcome_us = column_number(&from, 0, INT64_MAX);
    column_text(&from, out->note, sizeof(out->note));
    return from.bad ? bad_row(journal, "steps", err) : RH_OK;
}

enum rh_status rh_journal_step_get(struct rh_journal *journal,
                                   const char *move,
                                   const char *step,
                                   struct rh_step_state *ret_state,
                                   struct rh_error *err)
{
    struct binder to;
    struct rh_step_state state;
    enum rh_status status = take(journal, RH_SQL_STEP_GET, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, step);
    status = bound(journal, &to, "read", err);
    if (status == RH_OK)
        status = rh_journal_row(journal, to.statement, "read", err);
    if (status == RH_OK)
        status = step_row(journal, to.statement, &state, err);
    if (status == RH_OK)
        *ret_state = state;
    rh_journal_release(journal, to.statement);
    return status == RH_END ? RH_NOT_FOUND : status;
}

enum rh_status rh_journal_steps(struct rh_journal *journal,
                                enum rh_status (*each)(void *user, const struct rh_step_state *state),
                                void *user,
                                struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    struct rh_step_state state;
    enum rh_status status = rh_journal_query(journal,
                                             "SELECT move, step, number, outcome, intent_us, outcome_us, note"
                                             " FROM steps ORDER BY number, move, step",
                                             NULL, &statement, err);
    if (status != RH_OK)
        return status;
    while (status == RH_OK && (status = rh_journal_row(journal, statement, "read", err)) == RH_OK) {
        status = step_row(journal, statement, &state, err);
        if (status == RH_OK)
            status = each(user, &state);
    }
    rh_journal_query_end(journal, statement);
    return status == RH_END ? RH_OK : status;
}

/* A row of the history: a step's state at one moment, without number. */
static enum rh_status
history_row(struct rh_journal *journal, sqlite3_stmt *statement, struct rh_step_state *out, struct rh_error *err)
{
    struct columns from = {.statement = statement};
    *out = (struct rh_step_state){.number = 0};
    column_text(&from, out->move, sizeof(out->move));
    column_text(&from, out->step, sizeof(out->step));
    out->outcome = (enum rh_step_outcome)column_number(&from, RH_STEP_INTENT, RH_STEP_UNDONE);
    const int64_t at_us = column_number(&from, 0, INT64_MAX);
    *(out->outcome == RH_STEP_INTENT ? &out->intent_us : &out->outcome_us) = at_us;
    column_text(&from, out->note, sizeof(out->note));
    return from.bad ? bad_row(journal, "history", err) : RH_OK;
}

enum rh_status rh_journal_history(struct rh_journal *journal,
                                  enum rh_status (*each)(void *user, const struct rh_step_state *event),
                                  void *user,
                                  struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    struct rh_step_state event;
    const char *sql = journal->version < 2 ? RH_SQL_HISTORY_OF_STEPS
                                           : "SELECT move, step, event, at_us, note FROM history ORDER BY id";
    enum rh_status status = rh_journal_query(journal, sql, NULL, &statement, err);
    if (status != RH_OK)
        return status;
    while (status == RH_OK && (status = rh_journal_row(journal, statement, "read", err)) == RH_OK) {
        status = history_row(journal, statement, &event, err);
        if (status == RH_OK)
            status = each(user, &event);
    }
    rh_journal_query_end(journal, statement);
    return status == RH_END ? RH_OK : status;
}

/* Deletes a move's rows of one table. */
static enum rh_status
clear(struct rh_journal *journal, enum rh_journal_statement which, const char *move, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, which, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    return write_bound(journal, &to, "write", NULL, err);
}

enum rh_status rh_journal_new_pass(struct rh_journal *journal, const char *move, struct rh_error *err)
{
    bool own = false;
    enum rh_status status = own_begin(journal, &own, err);
    if (status != RH_OK)
        return status;
    status = clear(journal, RH_SQL_STEPS_CLEAR, move, err);
    if (status == RH_OK)
        status = clear(journal, RH_SQL_RANGES_CLEAR, move, err);
    return own_end(journal, own, status, err);
}

/* --- ranges --- */

enum rh_status
rh_journal_range_add(struct rh_journal *journal, const char *move, struct rh_range_state *range, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = fits("move", move, MOVE_ROOM, err);
    if (status == RH_OK)
        status = take(journal, RH_SQL_RANGE_ADD, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, range->dataset);
    bind_bytes(&to, range->from);
    bind_bytes(&to, range->to);
    bind_u64(&to, range->expect_count);
    bind_i64(&to, range->destination_empty);
    status = bound(journal, &to, "write", err);
    if (status == RH_OK)
        status = rh_journal_write(journal, to.statement, "write", err);
    /* Read under the mutex: another thread's insert would change it. */
    if (status == RH_OK)
        range->id = (uint64_t)sqlite3_last_insert_rowid(journal->db);
    rh_journal_release(journal, to.statement);
    return status;
}

/* An update must have met its row: anything else is a range of another pass. */
static enum rh_status met_range(enum rh_status status, int changes, uint64_t id, struct rh_error *err)
{
    if (status == RH_OK && changes != 1)
        return rh_fail(err, RH_E_INTERNAL, "write range %llu to the journal: there is no such range",
                       (unsigned long long)id);
    return status;
}

enum rh_status rh_journal_range_progress(struct rh_journal *journal,
                                         const char *move,
                                         const struct rh_range_state *range,
                                         struct rh_error *err)
{
    struct binder to;
    uint8_t copied[RH_SUM_BYTES];
    int changes = 0;
    enum rh_status status = take(journal, RH_SQL_RANGE_PROGRESS, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_u64(&to, range->id);
    bind_i64(&to, range->done);
    bind_u64(&to, range->batches);
    bind_bytes(&to, range->resume);
    bind_sum(&to, &range->copied, copied);
    bind_u64(&to, range->kept);
    bind_u64(&to, range->replaced);
    bind_u64(&to, range->written);
    bind_u64(&to, range->expect_count);
    bind_i64(&to, range->destination_empty);
    status = write_bound(journal, &to, "write", &changes, err);
    return met_range(status, changes, range->id, err);
}

enum rh_status rh_journal_range_verified(struct rh_journal *journal,
                                         const char *move,
                                         const struct rh_range_state *range,
                                         struct rh_error *err)
{
    struct binder to;
    uint8_t source[RH_SUM_BYTES], destination[RH_SUM_BYTES];
    int changes = 0;
    enum rh_status status = take(journal, RH_SQL_RANGE_VERIFIED, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_u64(&to, range->id);
    bind_sum(&to, &range->source, source);
    bind_sum(&to, &range->destination, destination);
    bind_i64(&to, range->verified);
    status = write_bound(journal, &to, "write", &changes, err);
    return met_range(status, changes, range->id, err);
}

/* A row of ranges; its bytes are good until the next step. */
static enum rh_status
range_row(struct rh_journal *journal, sqlite3_stmt *statement, struct rh_range_state *out, struct rh_error *err)
{
    struct columns from = {.statement = statement};
    *out = (struct rh_range_state){.id = (uint64_t)column_number(&from, 1, INT64_MAX)};
    column_text(&from, out->dataset, sizeof(out->dataset));
    out->from = column_bytes(&from);
    out->to = column_bytes(&from);
    out->expect_count = column_u64(&from);
    out->destination_empty = column_number(&from, 0, 1) == 1;
    out->done = column_number(&from, 0, 1) == 1;
    out->batches = column_u64(&from);
    out->resume = column_bytes(&from);
    column_sum(&from, &out->copied);
    out->kept = column_u64(&from);
    out->replaced = column_u64(&from);
    out->written = column_u64(&from);
    column_sum(&from, &out->source);
    column_sum(&from, &out->destination);
    out->verified = column_number(&from, 0, 1) == 1;
    return from.bad ? bad_row(journal, "ranges", err) : RH_OK;
}

enum rh_status rh_journal_ranges(struct rh_journal *journal,
                                 const char *move,
                                 enum rh_status (*each)(void *user, const struct rh_range_state *range),
                                 void *user,
                                 struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    struct rh_range_state range;
    enum rh_status status =
        rh_journal_query(journal,
                         "SELECT id, dataset, from_key, to_key, expect_count, destination_empty, done, batches,"
                         " resume_key, copied, kept, replaced, written, source_sum, destination_sum, verified"
                         " FROM ranges WHERE move = ?1 ORDER BY id",
                         move, &statement, err);
    if (status != RH_OK)
        return status;
    while (status == RH_OK && (status = rh_journal_row(journal, statement, "read", err)) == RH_OK) {
        status = range_row(journal, statement, &range, err);
        if (status == RH_OK)
            status = each(user, &range);
    }
    rh_journal_query_end(journal, statement);
    return status == RH_END ? RH_OK : status;
}

/* --- undo segments --- */

/* The next id never used; with no file name given also one whose file isn't there (left by a journal that was
 * removed by hand). Fills id and name. Under the mutex. */
static enum rh_status segment_name(struct rh_journal *journal, struct rh_segment_state *segment, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, RH_SQL_SEGMENT_NEXT, &to, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_row(journal, to.statement, "read", err);
    if (status == RH_OK)
        segment->id = (uint64_t)sqlite3_column_int64(to.statement, 0);
    rh_journal_release(journal, to.statement);
    if (status != RH_OK || segment->file[0] != '\0')
        return status;
    for (;; segment->id++) {
        snprintf(segment->file, sizeof(segment->file), "%s.undo-%04llu", journal->name,
                 (unsigned long long)segment->id);
        if (faccessat(journal->dir_fd, segment->file, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            return RH_OK;
    }
}

enum rh_status rh_journal_segment_add(struct rh_journal *journal,
                                      const char *move,
                                      struct rh_segment_state *segment,
                                      struct rh_error *err)
{
    struct binder to;
    struct rh_segment_state row = *segment;
    enum rh_status status = fits("move", move, MOVE_ROOM, err);
    if (status != RH_OK)
        return status;
    pthread_mutex_lock(&journal->mutex);
    status = segment_name(journal, &row, err);
    if (status == RH_OK)
        status = take(journal, RH_SQL_SEGMENT_ADD, &to, err);
    if (status == RH_OK) {
        bind_u64(&to, row.id);
        bind_text(&to, move);
        bind_text(&to, row.file);
        bind_u64(&to, row.good_bytes);
        bind_u64(&to, row.good_frames);
        bind_i64(&to, rh_utc_us());
        status = write_bound(journal, &to, "write", NULL, err);
    }
    pthread_mutex_unlock(&journal->mutex);
    if (status == RH_OK)
        *segment = row;
    return status;
}

enum rh_status rh_journal_segment_good(
    struct rh_journal *journal, const char *move, uint64_t id, uint64_t bytes, uint64_t frames, struct rh_error *err)
{
    struct binder to;
    int changes = 0;
    enum rh_status status = take(journal, RH_SQL_SEGMENT_GOOD, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_u64(&to, id);
    bind_u64(&to, bytes);
    bind_u64(&to, frames);
    status = write_bound(journal, &to, "write", &changes, err);
    if (status == RH_OK && changes != 1)
        return rh_fail(err, RH_E_INTERNAL, "write undo segment %llu to the journal: there is no such segment",
                       (unsigned long long)id);
    return status;
}

/* A row of segments. */
static enum rh_status
segment_row(struct rh_journal *journal, sqlite3_stmt *statement, struct rh_segment_state *out, struct rh_error *err)
{
    struct columns from = {.statement = statement};
    out->id = (uint64_t)column_number(&from, 1, INT64_MAX);
    column_text(&from, out->file, sizeof(out->file));
    out->good_bytes = column_u64(&from);
    out->good_frames = column_u64(&from);
    /* The name is used to open and unlink: nothing may lead out of the folder. */
    if (out->file[0] == '\0' || out->file[0] == '.' || strchr(out->file, '/') != NULL)
        from.bad = true;
    return from.bad ? bad_row(journal, "segments", err) : RH_OK;
}

enum rh_status rh_journal_segments(struct rh_journal *journal,
                                   const char *move,
                                   enum rh_status (*each)(void *user, const struct rh_segment_state *segment),
                                   void *user,
                                   struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    struct rh_segment_state segment;
    enum rh_status status =
        rh_journal_query(journal, "SELECT id, file, good_bytes, good_frames FROM segments WHERE move = ?1 ORDER BY id",
                         move, &statement, err);
    if (status != RH_OK)
        return status;
    while (status == RH_OK && (status = rh_journal_row(journal, statement, "read", err)) == RH_OK) {
        status = segment_row(journal, statement, &segment, err);
        if (status == RH_OK)
            status = each(user, &segment);
    }
    rh_journal_query_end(journal, statement);
    return status == RH_END ? RH_OK : status;
}

enum rh_status rh_journal_segments_forget(struct rh_journal *journal, const char *move, struct rh_error *err)
{
    return clear(journal, RH_SQL_SEGMENTS_FORGET, move, err);
}

/* --- notes --- */

enum rh_status rh_journal_note(struct rh_journal *journal,
                               const char *move,
                               const char *kind,
                               struct rh_bytes key,
                               const char *text,
                               struct rh_error *err)
{
    struct binder to;
    enum rh_status status = fits("move", move, MOVE_ROOM, err);
    if (status == RH_OK)
        status = take(journal, RH_SQL_NOTE_ADD, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, kind);
    bind_i64(&to, rh_utc_us());
    bind_bytes(&to, key);
    bind_text(&to, text);
    return write_bound(journal, &to, "write", NULL, err);
}

enum rh_status rh_journal_notes(
    struct rh_journal *journal,
    const char *move,
    enum rh_status (*each)(void *user, int64_t utc_us, const char *kind, struct rh_bytes key, const char *text),
    void *user,
    struct rh_error *err)
{
    sqlite3_stmt *statement = NULL;
    enum rh_status status = rh_journal_query(
        journal, "SELECT at_us, key, kind, text FROM notes WHERE move = ?1 ORDER BY id", move, &statement, err);
    if (status != RH_OK)
        return status;
    while (status == RH_OK && (status = rh_journal_row(journal, statement, "read", err)) == RH_OK) {
        struct columns from = {.statement = statement};
        int64_t at_us = column_number(&from, 0, INT64_MAX);
        struct rh_bytes key = column_bytes(&from);
        const char *kind = (const char *)sqlite3_column_text(statement, 2);
        const char *text = (const char *)sqlite3_column_text(statement, 3);
        if (from.bad || kind == NULL || text == NULL)
            status = bad_row(journal, "notes", err);
        else
            status = each(user, at_us, kind, key, text);
    }
    rh_journal_query_end(journal, statement);
    return status == RH_END ? RH_OK : status;
}

enum rh_status
rh_journal_notes_clear(struct rh_journal *journal, const char *move, const char *kind, struct rh_error *err)
{
    struct binder to;
    enum rh_status status = take(journal, RH_SQL_NOTES_CLEAR, &to, err);
    if (status != RH_OK)
        return status;
    bind_text(&to, move);
    bind_text(&to, kind);
    return write_bound(journal, &to, "write", NULL, err);
}
