/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about the server, and the fingerprint.
 * Knowledge: a cluster's system identifier is made by initdb and shared by its copies; an active Vault with HA renews
 * its row in the lock table every 5 s and lets it be valid for 15 s by the server's clock.
 */
#include "internal.h"
#include <stdio.h>

/* The cluster's identifier and the database's number. */
static enum rh_status server_identity(struct rh_ctx *ctx, struct pg_session *session, char *out, size_t size)
{
    enum rh_status status =
        pg_text(ctx, session, "reading the server's identity", out, size,
                "SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d "
                "WHERE d.datname = current_database()");
    return status == RH_NOT_FOUND ? rh_fail(ctx->err, RH_E_STORE, "the server has no identity") : status;
}

/* Whether we could write: a standby can't, nor a session that is read-only; then the account's rights. */
static enum rh_status writable(struct rh_ctx *ctx, struct pg_session *session, enum rh_yes *ret_writable)
{
    const struct pg_table *table = &session->table;
    char answer[8] = "", rights[600], literal[4 * PG_NAME_SIZE + 16];
    if (table->exists)
        snprintf(rights, sizeof rights, "has_table_privilege(%s::oid, p)", table->oid);
    else if (*table->schema)
        snprintf(rights, sizeof rights, "has_schema_privilege(%s, 'CREATE')",
                 pg_literal(table->schema, literal, sizeof literal));
    else
        snprintf(rights, sizeof rights, "false");
    enum rh_status status = pg_text(
        ctx, session, "checking rights", answer, sizeof answer,
        "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AND bool_and(%s) FROM "
        "(VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) v(p)",
        rights);
    if (!status)
        *ret_writable = *answer == 't' ? RH_YES : RH_NO;
    return status == RH_NOT_FOUND ? RH_OK : status;
}

/* A Vault with HA that is active: its row in the lock table is valid. */
static enum rh_status live_owner(struct rh_ctx *ctx, struct pg_session *session, struct rh_facts *facts)
{
    const struct pg_store *store = session->store;
    pg_auto_result PGresult *rows = NULL;
    snprintf(facts->owner_blind, sizeof facts->owner_blind,
             "a Vault without ha_enabled holds no lock that could be seen");
    if (!session->table.ha_exists)
        return RH_OK;
    enum rh_status status =
        pg_run(ctx, session, "looking at Vault's lock table", &rows,
               "SELECT ha_key, ha_identity, to_char(valid_until AT TIME ZONE 'UTC', 'HH24:MI:SS') FROM %s WHERE "
               "valid_until > now() ORDER BY ha_key LIMIT 1",
               store->ha_quoted);
    /* no right to look, or another table of that name */
    if (status == RH_E_DENIED || (status == RH_E_STORE && ctx->err->native == PG_STATE('4', '2', '7', '0', '3'))) {
        *ctx->err = (struct rh_error){0};
        snprintf(facts->owner_blind, sizeof facts->owner_blind,
                 "Vault's lock table %.80s can't be read, so an active Vault can't be seen", store->ha_quoted);
        return RH_OK;
    }
    if (status || PQntuples(rows) == 0)
        return status;
    snprintf(facts->live_owner, sizeof facts->live_owner,
             "a Vault is active: '%.60s' holds the lock '%.60s' until %s UTC", RH_SHOW(pg_cell(rows, 0, 1)),
             RH_SHOW(pg_cell(rows, 0, 0)), PQgetvalue(rows, 0, 2));
    facts->owner_blind[0] = '\0';
    return RH_OK;
}

/* What the server risks, once a store: a cut of the power may take what it said is committed. */
static void warn_of_fsync(struct rh_ctx *ctx, struct pg_session *session)
{
    char value[8] = "";
    struct rh_error err = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &err};
    if (session->store->side != RH_SIDE_SOURCE &&
        pg_text(&quiet, session, "reading a setting", value, sizeof value, "SELECT current_setting('fsync')") ==
            RH_OK &&
        strcmp(value, "off") == 0)
        rh_log(RH_LOG_WARN, "the server runs with fsync = off: a power failure there may undo what it has committed",
               {"address", session->store->address});
}

/* All but the context's part of facts. */
static enum rh_status gather(struct rh_ctx *ctx, struct pg_session *session, struct rh_facts *facts)
{
    struct pg_store *store = session->store;
    char server[100];
    enum rh_status status = pg_table_load(ctx, session);
    if (!status)
        status = server_identity(ctx, session, server, sizeof server);
    if (status)
        return status;
    const char *version = PQparameterStatus(session->conn, "server_version");
    snprintf(facts->product, sizeof facts->product, "PostgreSQL");
    snprintf(facts->version, sizeof facts->version, "%s", version ? version : "");
    snprintf(facts->address, sizeof facts->address, "%s", store->address);
    snprintf(facts->tls, sizeof facts->tls, "%s", session->tls);
    snprintf(facts->identity, sizeof facts->identity, "postgresql %s/%s/%s", server, session->table.schema,
             store->table);
    facts->exists = session->table.exists ? RH_YES : RH_NO;
    pthread_mutex_lock(&store->lock);
    facts->limits = store->limits;
    pthread_mutex_unlock(&store->lock);
    /* the server can't know what the file system or the disk below it does */
    facts->encrypted_at_rest = RH_UNKNOWN;
    warn_of_fsync(ctx, session);
    status = writable(ctx, session, &facts->writable);
    return status ? status : live_owner(ctx, session, facts);
}

enum rh_status pg_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct pg_session *session = (struct pg_session *)base;
    struct rh_facts facts = {0};
    enum rh_status status = pg_enter(ctx, session);
    if (status)
        return status;
    status = pg_leave(ctx, session, gather(ctx, session, &facts));
    if (!status)
        *ret_facts = facts;
    return status;
}

/* Server, time line (restored to a point in time: another one), the table's number. */
static enum rh_status fingerprint(struct rh_ctx *ctx, struct pg_session *session, struct rh_buf *ret_text)
{
    char server[100], line[32];
    enum rh_status status = pg_table_load(ctx, session);
    if (!status)
        status = server_identity(ctx, session, server, sizeof server);
    if (!status)
        status = pg_text(ctx, session, "reading the server's time line", line, sizeof line,
                         "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE "
                         "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END");
    if (status)
        return rh_failed(status) ? status : rh_fail(ctx->err, RH_E_STORE, "the server has no time line");
    const struct pg_table *table = &session->table;
    if (!table->exists)
        return rh_buf_format(ret_text, ctx->err, "%s %s absent", server, line);
    return rh_buf_format(ret_text, ctx->err, "%s %s table %s%s", server, line, table->oid,
                         *table->wrong ? " wrong shape" : "");
}

static enum rh_status guard_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    return status ? status : pg_leave(ctx, session, fingerprint(ctx, session, ret_text));
}

const struct rh_guard_ops pg_guard_ops = {.fingerprint = guard_fingerprint};
