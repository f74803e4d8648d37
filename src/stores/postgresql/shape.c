/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is there: the table, its columns and index; making and dropping it.
 * Knowledge: Vault's documentation (the statements that the administrator runs), OpenBao's physical/postgresql (the
 * same table, made by itself, its constraint named TABLE_pkey and its index TABLE_idx), PostgreSQL's system catalogs.
 * Vault puts by position (VALUES ($1, $2, $3, $4)), so the order of the columns is part of the shape; and scans go
 * along the index of (path, key), so that has to sort by bytes.
 */
#include "internal.h"
#include <stdio.h>

enum { MISSING_TABLE = 1, MISSING_HA = 2 };

static const char *const looking = "looking at the table";

/* Its columns, in their order, and what they have to be. */
static const struct column {
    const char *name, *type, *why;
    bool sorted;
} columns[] = {
    {"parent_path", "text",  "text",  false},
    {"path",        "text",  "text",  true },
    {"key",         "text",  "text",  true },
    {"value",       "bytea", "bytea", false}
};

/* Remembers why the shape can't be used; the first reason stays. */
static void wrong(struct pg_table *table, const char *remedy, const char *fmt, ...) RH_PRINTF(3, 4);
static void wrong(struct pg_table *table, const char *remedy, const char *fmt, ...)
{
    if (*table->wrong)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(table->wrong, sizeof table->wrong, fmt, args);
    va_end(args);
    table->remedy = remedy;
}

static const char *const documented =
    "Vault's table is (parent_path TEXT COLLATE \"C\" NOT NULL, path TEXT COLLATE \"C\", key TEXT COLLATE \"C\", value "
    "BYTEA, CONSTRAINT pkey PRIMARY KEY (path, key)); Vault writes by position, so their order counts";

/* One column as the catalog has it: name, type, typmod, generated, sorts by bytes. */
static void check_column(struct pg_table *table, const PGresult *rows, int row)
{
    const struct column *want = &columns[row];
    const char *name = PQgetvalue(rows, row, 0), *type = PQgetvalue(rows, row, 1);
    if (strcmp(name, want->name) != 0)
        wrong(table, documented,
              "its columns aren't parent_path, path, key and value in this order: number %d is %.63s", row + 1, name);
    else if (strcmp(type, want->type) != 0 && !(strcmp(want->type, "text") == 0 && strcmp(type, "varchar") == 0))
        wrong(table, documented, "its column %s is %.63s and not %s", want->name, type, want->why);
    else if (strcmp(PQgetvalue(rows, row, 2), "-1") != 0)
        wrong(table, documented, "its column %s has a limited length", want->name);
    else if (*PQgetvalue(rows, row, 3))
        wrong(table, documented, "its column %s is generated", want->name);
    else if (want->sorted && strcmp(PQgetvalue(rows, row, 4), "t") != 0)
        wrong(table,
              "ALTER TABLE ... ALTER COLUMN path TYPE text COLLATE \"C\", ALTER COLUMN key TYPE text COLLATE \"C\"",
              "its column %s isn't COLLATE \"C\", so the index doesn't sort by bytes", want->name);
}

static enum rh_status load_columns(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_table *table = &session->table;
    pg_auto_result PGresult *rows = NULL;
    /* to_jsonb: newer catalogs have columns that older ones lack */
    enum rh_status status = pg_run(
        ctx, session, looking, &rows,
        "SELECT a.attname, t.typname, a.atttypmod, a.attgenerated, CASE c.collprovider WHEN 'b' THEN true WHEN 'c' "
        "THEN "
        "c.collcollate IN ('C', 'POSIX') WHEN 'd' THEN (SELECT CASE coalesce(to_jsonb(d)->>'datlocprovider', 'c') WHEN "
        "'b' THEN true WHEN 'c' THEN d.datcollate IN ('C', 'POSIX') ELSE false END FROM pg_database d WHERE d.datname "
        "= "
        "current_database()) ELSE false END FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN "
        "pg_collation c ON c.oid = a.attcollation WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER "
        "BY "
        "a.attnum",
        table->oid);
    if (status)
        return status;
    const int want = sizeof columns / sizeof *columns, have = PQntuples(rows);
    for (int i = 0; i < want && i < have; i++)
        check_column(table, rows, i);
    if (have != want)
        wrong(table, documented, "it has %d columns and not %d", have, want);
    return RH_OK;
}

/* (path, key) has a unique index of its own, in this order. */
static enum rh_status load_index(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_table *table = &session->table;
    char found[8];
    enum rh_status status = pg_text(
        ctx, session, looking, found, sizeof found,
        "SELECT 1 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam JOIN "
        "pg_attribute p ON p.attrelid = i.indrelid AND p.attname = 'path' JOIN pg_attribute k ON k.attrelid = "
        "i.indrelid AND k.attname = 'key' WHERE i.indrelid = %s AND m.amname = 'btree' AND i.indisunique AND "
        "i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 2 AND "
        "i.indkey[0] = p.attnum AND i.indkey[1] = k.attnum LIMIT 1",
        table->oid);
    if (status == RH_NOT_FOUND) {
        wrong(table, "ALTER TABLE ... ADD PRIMARY KEY (path, key)",
              "it has neither primary key nor unique index over (path, key), in this order");
        return RH_OK;
    }
    return status;
}

/* Where the table is, what kind of thing, and the limits of its index. */
static enum rh_status load_table(struct rh_ctx *ctx, struct pg_session *session, uint64_t *ret_block)
{
    struct pg_table *table = &session->table;
    struct pg_store *store = session->store;
    char literal[4 * PG_NAME_SIZE + 16], ha_literal[4 * PG_NAME_SIZE + 16];
    pg_auto_result PGresult *rows = NULL;
    enum rh_status status =
        pg_run(ctx, session, looking, &rows,
               "SELECT c.oid, n.nspname, c.relkind, c.relpersistence, current_setting('block_size'), current_schema(), "
               "to_regclass(%s) IS NOT NULL FROM (SELECT 1) one LEFT JOIN pg_class c ON c.oid = to_regclass(%s) LEFT "
               "JOIN pg_namespace n ON n.oid = c.relnamespace",
               pg_literal(store->ha_quoted, ha_literal, sizeof ha_literal),
               pg_literal(store->quoted, literal, sizeof literal));
    if (status)
        return status;
    if (PQntuples(rows) != 1 || rh_parse_u64(pg_cell(rows, 0, 4), ret_block))
        return rh_fail(ctx->err, RH_E_STORE, "%s failed: the server's answer makes no sense", looking);
    table->exists = !PQgetisnull(rows, 0, 0);
    table->ha_exists = *PQgetvalue(rows, 0, 6) == 't';
    snprintf(table->oid, sizeof table->oid, "%s", PQgetvalue(rows, 0, 0));
    snprintf(table->schema, sizeof table->schema, "%s", PQgetvalue(rows, 0, table->exists ? 1 : 5));
    table->kind = *PQgetvalue(rows, 0, 2);
    table->persistence = *PQgetvalue(rows, 0, 3);
    if (table->exists && table->kind != 'r' && table->kind != 'p')
        wrong(table, "name a table", "it isn't a table (relkind '%c')", table->kind);
    return RH_OK;
}

enum rh_status pg_table_load(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_store *store = session->store;
    struct pg_table *table = &session->table;
    uint64_t block = 8192;
    *table = (struct pg_table){0};
    /* what is there now, not what a scan has seen */
    if (session->joined)
        pg_snapshot_leave(ctx, session);
    enum rh_status status = load_table(ctx, session, &block);
    if (!status && table->exists && !*table->wrong) {
        status = load_columns(ctx, session);
        if (!status)
            status = load_index(ctx, session);
    }
    if (status)
        return status;
    table->loaded = true;
    /* A third of a page, less its headers, holds an index row: a head of 8 bytes, then path and key, each with its
     * length and padding. path is a byte longer than the part of our key that it holds. */
    uint64_t row = (block - 56) / 3 / 8 * 8 - 8;
    pthread_mutex_lock(&store->lock);
    store->limits.key_bytes = row - 8 - 2 * 8 - 1;
    pthread_mutex_unlock(&store->lock);
    return RH_OK;
}

enum rh_status pg_check_shape(const struct pg_session *session, bool for_writing, struct rh_error *err)
{
    const struct pg_table *table = &session->table;
    const char *why = *table->wrong                              ? table->wrong
                      : for_writing && table->persistence == 'u' ? "it is UNLOGGED: a crash of the server empties it"
                                                                 : NULL;
    if (!why)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "the table %s can't be used: %s", session->store->quoted, why);
    rh_error_hint(err, "%s", *table->wrong ? table->remedy : "ALTER TABLE ... SET LOGGED");
    return RH_E_REFUSED;
}

/* There is no such table; perhaps it has the other program's name. */
static enum rh_status refuse_absent(struct rh_ctx *ctx, struct pg_session *session)
{
    static const char *const names[] = {"openbao_kv_store", "vault_kv_store"};
    const struct pg_store *store = session->store;
    char found[PG_NAME_SIZE] = "";
    struct rh_error second = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &second};
    for (size_t i = 0; i < 2 && !*found && PQtransactionStatus(session->conn) == PQTRANS_IDLE; i++)
        if (pg_text(&quiet, session, looking, found, sizeof found, "SELECT '%s' WHERE to_regclass('%s') IS NOT NULL",
                    names[i], names[i]))
            *found = '\0';
    rh_fail(ctx->err, RH_E_STORE, "there is no table %s, or the account may not see it", store->quoted);
    if (*found)
        rh_error_hint(ctx->err, "there is a table %s: table = \"%s\"", found, found);
    else
        rh_error_hint(ctx->err, "check database and search_path in connection_url, table, and the account's rights");
    return RH_E_STORE;
}

enum rh_status pg_table_need(struct rh_ctx *ctx, struct pg_session *session, bool for_writing)
{
    /* It may have been made since this session looked. */
    if (!session->table.loaded || !session->table.exists) {
        enum rh_status status = pg_table_load(ctx, session);
        if (status)
            return status;
    }
    return session->table.exists ? pg_check_shape(session, for_writing, ctx->err) : refuse_absent(ctx, session);
}

/* --- the container --- */

/* What is missing; checks what isn't. */
static enum rh_status find_missing(struct rh_ctx *ctx, struct pg_session *session, uint32_t *ret_missing)
{
    const struct pg_store *store = session->store;
    enum rh_status status = pg_table_load(ctx, session);
    if (status)
        return status;
    const struct pg_table *table = &session->table;
    if (table->exists && (status = pg_check_shape(session, store->side != RH_SIDE_SOURCE, ctx->err)))
        return status;
    uint32_t missing = (table->exists ? 0U : MISSING_TABLE) | (!store->make_ha || table->ha_exists ? 0U : MISSING_HA);
    if (missing && store->skip_create) {
        rh_fail(ctx->err, RH_E_REFUSED, "there is no table %s, and skip_create_table says not to make it",
                missing & MISSING_TABLE ? store->quoted : store->ha_quoted);
        rh_error_hint(ctx->err, "make it as Vault's documentation says, or leave skip_create_table out");
        return RH_E_REFUSED;
    }
    if (missing && !*table->schema) {
        rh_fail(ctx->err, RH_E_REFUSED, "there is no schema to make the table %s in", store->quoted);
        rh_error_hint(ctx->err, "check search_path, and that its schema exists");
        return RH_E_REFUSED;
    }
    *ret_missing = missing;
    return RH_OK;
}

static enum rh_status schema_missing(struct rh_ctx *ctx, struct rh_session *base, uint32_t *ret_missing)
{
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    return status ? status : pg_leave(ctx, session, find_missing(ctx, session, ret_missing));
}

/* TABLE_pkey and the like as an identifier; "" where it wouldn't fit, and the server makes a name. */
static const char *made_name(const char *table, const char *end, char *out, size_t size)
{
    char name[2 * PG_NAME_SIZE + 16];
    *out = '\0';
    if (strlen(table) + strlen(end) < PG_NAME_SIZE) {
        snprintf(name, sizeof name, "%s%s", table, end);
        pg_identifier(name, out, size);
    }
    return out;
}

/* The kv table, as OpenBao makes it, which is as Vault documents it but for two names that can't clash. */
static enum rh_status make_table(struct rh_ctx *ctx, struct pg_session *session)
{
    const struct pg_store *store = session->store;
    char key[2 * PG_NAME_SIZE + 40], index[2 * PG_NAME_SIZE + 40];
    made_name(store->table, "_pkey", key, sizeof key);
    made_name(store->table, "_idx", index, sizeof index);
    enum rh_status status = pg_run(
        ctx, session, "making the table", NULL,
        "CREATE TABLE IF NOT EXISTS %s (parent_path TEXT COLLATE \"C\" NOT NULL, path TEXT COLLATE \"C\", key TEXT "
        "COLLATE \"C\", value BYTEA, %s%s PRIMARY KEY (path, key))",
        store->quoted, *key ? "CONSTRAINT " : "", key);
    if (status)
        return status;
    return pg_run(ctx, session, "making the table's index", NULL, "CREATE INDEX %s%s ON %s (parent_path)",
                  *index ? "IF NOT EXISTS " : "", index, store->quoted);
}

static enum rh_status make_ha_table(struct rh_ctx *ctx, struct pg_session *session)
{
    const struct pg_store *store = session->store;
    char key[2 * PG_NAME_SIZE + 40];
    made_name(store->ha_table, "_pkey", key, sizeof key);
    return pg_run(
        ctx, session, "making the lock table", NULL,
        "CREATE TABLE IF NOT EXISTS %s (ha_key TEXT COLLATE \"C\" NOT NULL, ha_identity TEXT COLLATE \"C\" NOT "
        "NULL, ha_value TEXT COLLATE \"C\", valid_until TIMESTAMP WITH TIME ZONE NOT NULL, %s%s PRIMARY KEY "
        "(ha_key))",
        store->ha_quoted, *key ? "CONSTRAINT " : "", key);
}

/* Makes what is missing, all or nothing. */
static enum rh_status make(struct rh_ctx *ctx, struct pg_session *session, uint32_t missing)
{
    enum rh_status status = pg_table_load(ctx, session);
    bool table = missing & MISSING_TABLE && !session->table.exists,
         ha = missing & MISSING_HA && !session->table.ha_exists;
    if (status || (!table && !ha))
        return status ? status : pg_table_need(ctx, session, true);
    status = pg_run(ctx, session, "making the table", NULL, "BEGIN");
    if (!status && table)
        status = make_table(ctx, session);
    if (!status && ha)
        status = make_ha_table(ctx, session);
    if (!status)
        status = pg_run(ctx, session, "making the table", NULL, "COMMIT");
    if (status) {
        pg_rollback(ctx, session);
        return status;
    }
    session->table.loaded = false;
    return pg_table_need(ctx, session, true);
}

static enum rh_status schema_before(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    return status ? status : pg_leave(ctx, session, make(ctx, session, missing));
}

/* Drops a table if it is empty, under a lock that keeps others from filling it in between. */
static enum rh_status drop_table(struct rh_ctx *ctx, struct pg_session *session, const char *quoted)
{
    const char *what = "dropping the table";
    char found[8];
    enum rh_status status = pg_run(ctx, session, what, NULL, "BEGIN");
    if (!status)
        status = pg_run(ctx, session, what, NULL, "LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", quoted);
    if (!status)
        status = pg_text(ctx, session, what, found, sizeof found, "SELECT 1 FROM %s LIMIT 1", quoted);
    if (status == RH_NOT_FOUND) {
        status = pg_run(ctx, session, what, NULL, "DROP TABLE %s", quoted);
        if (!status)
            status = pg_run(ctx, session, what, NULL, "COMMIT");
    } else if (status == RH_OK) {
        rh_fail(ctx->err, RH_E_CONFLICT, "the table %s isn't empty and stays", quoted);
        status = RH_EXISTS;
    }
    if (status)
        pg_rollback(ctx, session);
    return status;
}

/* Drops what we made and only while it is empty. */
static enum rh_status unmake(struct rh_ctx *ctx, struct pg_session *session, uint32_t missing)
{
    enum rh_status status = pg_table_load(ctx, session);
    if (!status && missing & MISSING_HA && session->table.ha_exists)
        status = drop_table(ctx, session, session->store->ha_quoted);
    if (!status && missing & MISSING_TABLE && session->table.exists)
        status = drop_table(ctx, session, session->store->quoted);
    session->table.loaded = false;
    return status;
}

static enum rh_status schema_undo(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    return status ? status : pg_leave(ctx, session, unmake(ctx, session, missing));
}

const struct rh_schema_ops pg_schema_ops = {
    .missing = schema_missing,
    .before = schema_before,
    .undo = schema_undo,
};
