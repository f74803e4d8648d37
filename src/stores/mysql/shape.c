/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is there: database, table and their shape, facts about the server; making and dropping the container.
 * Knowledge: Vault's physical/mysql (CREATE statements, lock names "core/lock/DATABASE/TABLE" with the members as
 * written, "core/lock" in older releases), both servers' information_schema.
 */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>

enum { MISSING_DATABASE = 1, MISSING_TABLE = 2 };

/* --- the table --- */

/* One table of one database in information_schema, compared as the server compares names. A comparison with a
 * binary literal is exact; a server that folds names stores them or compares them in lower case. */
static const char *
where_name(const struct my_session *session, const char *column, const char *name, char *out, size_t size)
{
    if (session->lower_case)
        snprintf(out, size, "LOWER(%s) = LOWER(CONVERT('%s' USING utf8mb4))", column, name);
    else
        snprintf(out, size, "%s = '%s'", column, name);
    return out;
}
#define WHERE_NAME(session, column, name) where_name((session), (column), (name), (char[400]){0}, 400)

/* What the columns have to be; fills limits and `wrong`. */
static enum rh_status load_columns(struct my_session *session, struct rh_error *err)
{
    struct my_table *table = &session->table;
    const struct my_store *store = session->store;
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status =
        my_rows(session, err, "looking at the table's columns", &rows,
                "SELECT COLUMN_NAME, LOWER(DATA_TYPE), CHARACTER_MAXIMUM_LENGTH, EXTRA FROM "
                "information_schema.COLUMNS WHERE %s AND %s ORDER BY ORDINAL_POSITION",
                WHERE_NAME(session, "TABLE_SCHEMA", store->database), WHERE_NAME(session, "TABLE_NAME", store->table));
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (mysql_num_rows(rows) != 2 || !row || strcasecmp(row[0], "vault_key") != 0)
        goto columns;
    if (strcmp(row[1], "varbinary") != 0) {
        snprintf(table->wrong, sizeof table->wrong,
                 "its column vault_key is %.40s and not varbinary, so keys may be folded or reordered", row[1]);
        return RH_OK;
    }
    rh_ignore(rh_parse_u64(rh_bytes_text(row[2] ? row[2] : ""), &table->key_bytes));
    row = mysql_fetch_row(rows);
    if (!row || strcasecmp(row[0], "vault_value") != 0)
        goto columns;
    if (!strstr(row[1], "blob") && strcmp(row[1], "varbinary") != 0) {
        snprintf(table->wrong, sizeof table->wrong, "its column vault_value is %.40s and not a blob", row[1]);
        return RH_OK;
    }
    if (row[3] && strstr(row[3], "GENERATED")) {
        snprintf(table->wrong, sizeof table->wrong, "its column vault_value is generated");
        return RH_OK;
    }
    rh_ignore(rh_parse_u64(rh_bytes_text(row[2] ? row[2] : ""), &table->value_bytes));
    return RH_OK;
columns:
    snprintf(table->wrong, sizeof table->wrong,
             "its columns aren't vault_key and vault_value, in this order and no others");
    return RH_OK;
}

/* vault_key has a unique index of its own, over all its bytes. */
static enum rh_status load_index(struct my_session *session, struct rh_error *err)
{
    struct my_table *table = &session->table;
    const struct my_store *store = session->store;
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status =
        my_rows(session, err, "looking at the table's indexes", &rows,
                "SELECT INDEX_NAME, COUNT(*), MAX(LOWER(COLUMN_NAME)), MAX(SUB_PART), MAX(NON_UNIQUE) FROM "
                "information_schema.STATISTICS WHERE %s AND %s GROUP BY INDEX_NAME",
                WHERE_NAME(session, "TABLE_SCHEMA", store->database), WHERE_NAME(session, "TABLE_NAME", store->table));
    if (status)
        return status;
    bool unique = false;
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows));)
        if (strcmp(row[1], "1") == 0 && strcmp(row[2], "vault_key") == 0 && !row[3] && strcmp(row[4], "0") == 0) {
            unique = true;
            table->primary = table->primary || strcmp(row[0], "PRIMARY") == 0;
        }
    if (!unique && !*table->wrong)
        snprintf(table->wrong, sizeof table->wrong, "its column vault_key is neither primary key nor unique");
    return RH_OK;
}

/* Engine, kind, creation time. RH_NOT_FOUND without a table. */
static enum rh_status load_table(struct my_session *session, struct rh_error *err)
{
    struct my_table *table = &session->table;
    const struct my_store *store = session->store;
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = my_rows(
        session, err, "looking for the table", &rows,
        "SELECT t.ENGINE, t.TABLE_TYPE, t.CREATE_TIME, e.TRANSACTIONS FROM information_schema.TABLES t LEFT "
        "JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE WHERE %s AND %s",
        WHERE_NAME(session, "t.TABLE_SCHEMA", store->database), WHERE_NAME(session, "t.TABLE_NAME", store->table));
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (!row)
        return RH_NOT_FOUND;
    snprintf(table->engine, sizeof table->engine, "%s", row[0] ? row[0] : "");
    snprintf(table->kind, sizeof table->kind, "%s", row[1] ? row[1] : "");
    snprintf(table->created, sizeof table->created, "%s", row[2] ? row[2] : "");
    table->transactional = row[3] && strcmp(row[3], "YES") == 0;
    if (strcmp(table->kind, "BASE TABLE") != 0 && strcmp(table->kind, "SYSTEM VERSIONED") != 0)
        snprintf(table->wrong, sizeof table->wrong, "it is a %.40s and not a table", table->kind);
    return RH_OK;
}

enum rh_status my_table_load(struct my_session *session, struct rh_error *err)
{
    struct my_store *store = session->store;
    session->table = (struct my_table){0};
    struct my_table *table = &session->table;
    char name[MY_NAME_SIZE];
    enum rh_status status = my_text(session, err, "looking for the database", name, sizeof name,
                                    "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE %s",
                                    WHERE_NAME(session, "SCHEMA_NAME", store->database));
    if (rh_failed(status))
        return status;
    table->database_exists = status == RH_OK;
    status = load_table(session, err);
    if (rh_failed(status))
        return status;
    table->table_exists = status == RH_OK;
    table->key_bytes = 512;
    table->value_bytes = (1U << 24) - 1;
    if (table->table_exists && !*table->wrong &&
        ((status = load_columns(session, err)) || (status = load_index(session, err))))
        return status;
    /* Rights that go between these looks hide rows and refuse nothing: what then seems of another shape isn't seen. */
    if (*table->wrong) {
        status = load_table(session, err);
        if (rh_failed(status))
            return status;
        table->table_exists = status == RH_OK;
    }
    /* A value longer than a packet can neither be sent at once nor in pieces. */
    if (table->value_bytes > session->max_packet)
        table->value_bytes = session->max_packet;
    table->loaded = true;
    pthread_mutex_lock(&store->lock);
    store->limits.key_bytes = table->key_bytes;
    store->limits.value_bytes = table->value_bytes;
    store->limits.batch_bytes = session->max_packet > 65536 ? (session->max_packet - 32768) / 2 : 16384;
    pthread_mutex_unlock(&store->lock);
    return RH_OK;
}

/* Words for a table that can't be used. */
static enum rh_status refuse_shape(const struct my_session *session, const char *why, struct rh_error *err)
{
    rh_fail(err, RH_E_REFUSED, "the table %s can't be used: %s", session->store->qualified, why);
    rh_error_hint(err, "Vault's table is (vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key)) "
                       "ENGINE=InnoDB");
    return RH_E_REFUSED;
}

/* Whether an existing table has the shape it needs. */
static enum rh_status check_shape(const struct my_session *session, bool for_writing, struct rh_error *err)
{
    const struct my_table *table = &session->table;
    if (*table->wrong)
        return refuse_shape(session, table->wrong, err);
    if (for_writing && !table->transactional) {
        char why[160];
        snprintf(why, sizeof why, "its engine %.60s has no transactions", table->engine);
        return refuse_shape(session, why, err);
    }
    return RH_OK;
}

enum rh_status my_table_need(struct my_session *session, bool for_writing, struct rh_error *err)
{
    /* It may have been made since this session looked. */
    if (!session->table.loaded || !session->table.table_exists) {
        enum rh_status status = my_table_load(session, err);
        if (status)
            return status;
    }
    if (!session->table.table_exists) {
        rh_fail(err, RH_E_STORE, "there is no table %s, or the account may not see it", session->store->qualified);
        rh_error_hint(err, "check database, table and the account's grants");
        return RH_E_STORE;
    }
    return check_shape(session, for_writing, err);
}

/* --- facts --- */

/* A server variable, or "" where it doesn't exist. */
static enum rh_status
variable(struct my_session *session, struct rh_error *err, const char *name, char *out, size_t size)
{
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status =
        my_rows(session, err, "reading a server variable", &rows, "SHOW GLOBAL VARIABLES LIKE '%s'", name);
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    snprintf(out, size, "%s", row && row[1] ? row[1] : "");
    return RH_OK;
}

/* The first of these server variables (NULL ends them) whose value is wanted; RH_NOT_FOUND when none is. */
static enum rh_status find_variable(struct my_session *session,
                                    struct rh_error *err,
                                    const char *const *names,
                                    bool (*wanted)(const char *value),
                                    char *out,
                                    size_t size)
{
    for (; *names; names++) {
        enum rh_status status = variable(session, err, *names, out, size);
        if (status || wanted(out))
            return status;
    }
    return RH_NOT_FOUND;
}

/* Whether a variable's value tells servers apart. */
static bool is_identity(const char *value)
{
    return *value && strcmp(value, "0") != 0;
}

static bool is_on(const char *value)
{
    return strcasecmp(value, "ON") == 0 || strcmp(value, "1") == 0;
}

/* Who the server is: a cluster's id where its members share the data, else its own. */
static enum rh_status server_identity(struct my_session *session, struct rh_error *err, char *out, size_t size)
{
    char id[128] = "";
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = my_rows(session, err, "reading the server's identity", &rows,
                                    "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'");
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (row && row[1] && strlen(row[1]) == 36 && strncmp(row[1], "00000000-0000", 13) != 0) {
        snprintf(out, size, "galera %s", row[1]);
        return RH_OK;
    }
    static const char *const names[] = {"group_replication_group_name", "server_uid", "server_uuid", NULL};
    status = find_variable(session, err, names, is_identity, id, sizeof id);
    if (!status)
        snprintf(out, size, "%s", id);
    if (status != RH_NOT_FOUND)
        return status;
    return my_text(session, err, "reading the server's identity", out, size,
                   "SELECT CONCAT(@@hostname, ':', @@port, ':', @@datadir)");
}

/* server/database/table, the names as the server tells them apart. */
static enum rh_status identity(struct my_session *session, struct rh_facts *facts, struct rh_error *err)
{
    const struct my_store *store = session->store;
    char server[140], names[2 * MY_NAME_SIZE];
    enum rh_status status = server_identity(session, err, server, sizeof server);
    if (status)
        return rh_failed(status) ? status
                                 : rh_fail(err, RH_E_STORE, "reading the server's identity failed: it has none");
    if (session->lower_case)
        status = my_text(session, err, "folding names", names, sizeof names,
                         "SELECT LOWER(CONVERT('%s/%s' USING utf8mb4))", store->database, store->table);
    else
        snprintf(names, sizeof names, "%.198s/%.198s", store->database, store->table);
    if (status)
        return rh_failed(status) ? status : rh_fail(err, RH_E_STORE, "folding names failed");
    /* Names are at most 64 characters; longer than the field only with wide ones, then a digest-like cut is refused. */
    if ((size_t)snprintf(facts->identity, sizeof facts->identity, "mysql %s/%s", server, names) >=
        sizeof facts->identity)
        return rh_fail(err, RH_E_LIMIT, "the names of database and table are too long to tell stores apart");
    return RH_OK;
}

/* Names in InnoDB's own views: all but letters, digits and '_' as @00xx. False for non-ASCII ones. */
static bool innodb_name(const char *name, char *out, size_t size)
{
    size_t used = 0;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (c >= 0x80 || used + 6 >= size)
            return false;
        used += (size_t)snprintf(out + used, size - used, plain ? "%c" : "@%04x", c);
    }
    return true;
}

/* MariaDB: by the tablespace's own header, where we may look. */
static enum rh_yes mariadb_encrypted(struct my_session *session)
{
    const struct my_store *store = session->store;
    char database[8 * MY_NAME_SIZE], table[8 * MY_NAME_SIZE], answer[64];
    if (!innodb_name(store->database, database, sizeof database) || !innodb_name(store->table, table, sizeof table))
        return RH_UNKNOWN;
    struct rh_error err = {0};
    /* Scheme 1, no page left that was written without a key; one that never was encrypted isn't in the second view. */
    enum rh_status status = my_text(session, &err, "looking for encryption", answer, sizeof answer,
                                    "SELECT IF(e.ENCRYPTION_SCHEME <> 0 AND e.MIN_KEY_VERSION > 0, 'YES', 'NO') FROM "
                                    "information_schema.INNODB_SYS_TABLESPACES t LEFT JOIN "
                                    "information_schema.INNODB_TABLESPACES_ENCRYPTION e ON e.SPACE = t.SPACE "
                                    "WHERE %s('%s/%s')",
                                    session->lower_case ? "LOWER(t.NAME) = LOWER" : "t.NAME = ", database, table);
    if (status == RH_OK)
        return strcmp(answer, "YES") == 0 ? RH_YES : RH_NO;
    return RH_UNKNOWN;
}

/* By the table's own options: YES when they say so. */
static enum rh_yes options_encrypted(struct my_session *session)
{
    const struct my_store *store = session->store;
    char options[512];
    struct rh_error err = {0};
    enum rh_status status =
        my_text(session, &err, "looking for encryption", options, sizeof options,
                "SELECT UPPER(CREATE_OPTIONS) FROM information_schema.TABLES WHERE %s AND %s",
                WHERE_NAME(session, "TABLE_SCHEMA", store->database), WHERE_NAME(session, "TABLE_NAME", store->table));
    if (status)
        return RH_UNKNOWN;
    if (session->mariadb)
        return strstr(options, "ENCRYPTED`=YES") || strstr(options, "ENCRYPTED=YES") ||
                       strstr(options, "ENCRYPTED`='YES'") || strstr(options, "ENCRYPTED='YES'")
                   ? RH_YES
                   : RH_UNKNOWN;
    return strstr(options, "ENCRYPTION='Y'") || strstr(options, "ENCRYPTION=\"Y\"") ? RH_YES : RH_NO;
}

enum rh_yes my_table_encrypted(struct my_session *session)
{
    enum rh_yes answer = session->mariadb ? mariadb_encrypted(session) : RH_UNKNOWN;
    return answer != RH_UNKNOWN ? answer : options_encrypted(session);
}

/* Whether we could write: the server's switches, then the account's rights as PREPARE checks them. */
static enum rh_status writable(struct my_session *session, enum rh_yes *ret_writable, struct rh_error *err)
{
    static const char *const switches[] = {"read_only", "super_read_only", "innodb_read_only", NULL};
    char value[32];
    enum rh_status found = find_variable(session, err, switches, is_on, value, sizeof value);
    if (!found)
        *ret_writable = RH_NO;
    if (found != RH_NOT_FOUND)
        return found;
    if (!session->table.table_exists) {
        *ret_writable = RH_UNKNOWN;
        return RH_OK;
    }
    const char *table = session->store->qualified;
    static const char *const tries[] = {"INSERT INTO %s (vault_key, vault_value) VALUES (0x00, NULL)",
                                        "UPDATE %s SET vault_value = NULL WHERE 0", "DELETE FROM %s WHERE 0"};
    *ret_writable = RH_YES;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct rh_error local = {0};
        char statement[600];
        const char *mark = strstr(tries[i], "%s");
        snprintf(statement, sizeof statement, "%.*s%s%s", (int)(mark - tries[i]), tries[i], table, mark + 2);
        enum rh_status status = my_run(session, &local, "checking rights", "PREPARE rehome_try FROM '%s'", statement);
        if (status == RH_E_DENIED)
            *ret_writable = RH_NO;
        else if (status == RH_E_NET) {
            if (err)
                *err = local;
            return status;
        } else if (status)
            *ret_writable = *ret_writable == RH_YES ? RH_UNKNOWN : *ret_writable;
        else
            rh_ignore(my_run(session, &local, "checking rights", "DEALLOCATE PREPARE rehome_try"));
    }
    return RH_OK;
}

/* The connection that holds a named lock; RH_NOT_FOUND when it is free, unknown or not askable. */
static enum rh_status lock_holder(struct my_session *session, const char *name, char *out, size_t size)
{
    struct rh_error err = {0};
    /* MySQL takes 64 characters, MariaDB 192 bytes: a Vault couldn't hold a longer one. */
    if (strlen(name) > (session->mariadb ? 192U : 64U))
        return RH_NOT_FOUND;
    enum rh_status status =
        my_text(session, &err, "looking for Vault's lock", out, size, "SELECT IS_USED_LOCK('%s')", name);
    return status ? RH_NOT_FOUND : RH_OK;
}

/* A Vault with HA that is active: it holds a lock named after its stanza's members as they are written, so left-out
 * ones are empty. Releases before 1.2 or so used "core/lock" alone, which any Vault on this server may hold. */
static void live_owner(struct my_session *session, struct rh_facts *facts)
{
    const struct my_store *store = session->store;
    const char *databases[2] = {store->database, ""}, *tables[2] = {store->table, ""};
    size_t database_count = strcmp(store->database, "vault") == 0 ? 2 : 1,
           table_count = strcmp(store->table, "vault") == 0 ? 2 : 1;
    char name[2 * MY_NAME_SIZE + 16], holder[32];
    for (size_t d = 0; d < database_count; d++)
        for (size_t t = 0; t < table_count; t++) {
            snprintf(name, sizeof name, "core/lock/%.198s/%.198s", databases[d], tables[t]);
            if (lock_holder(session, name, holder, sizeof holder) == RH_OK) {
                snprintf(facts->live_owner, sizeof facts->live_owner,
                         "a Vault is active: connection %s holds the lock '%.150s'", holder, name);
                return;
            }
        }
    struct rh_error err = {0};
    char leader[8];
    if (lock_holder(session, RH_KV_LOCK, holder, sizeof holder) == RH_OK &&
        my_text(session, &err, "looking at Vault's lock table", leader, sizeof leader,
                "SELECT 1 FROM `%s`.`%s` LIMIT 1", store->database, store->lock_table) == RH_OK)
        snprintf(facts->live_owner, sizeof facts->live_owner,
                 "a Vault is active: connection %s holds the lock 'core/lock', and `%.100s` names a leader", holder,
                 store->lock_table);
}

/* All but the context's part of facts. */
static enum rh_status gather(struct my_session *session, struct rh_facts *facts, struct rh_error *err)
{
    const struct my_store *store = session->store;
    enum rh_status status = my_table_load(session, err);
    if (status)
        return status;
    snprintf(facts->product, sizeof facts->product, "%s", session->mariadb ? "MariaDB" : "MySQL");
    snprintf(facts->version, sizeof facts->version, "%s", mysql_get_server_info(session->mysql));
    snprintf(facts->address, sizeof facts->address, "%s", store->address);
    snprintf(facts->tls, sizeof facts->tls, "%s", session->tls);
    facts->exists = session->table.table_exists ? RH_YES : RH_NO;
    facts->limits = store->limits;
    if ((status = identity(session, facts, err)) || (status = writable(session, &facts->writable, err)))
        return status;
    facts->encrypted_at_rest = session->table.table_exists ? my_table_encrypted(session) : RH_UNKNOWN;
    live_owner(session, facts);
    if (!*facts->live_owner)
        snprintf(facts->owner_blind, sizeof facts->owner_blind,
                 "a Vault without ha_enabled holds no lock that could be seen");
    return RH_OK;
}

enum rh_status my_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct my_session *session = (struct my_session *)base;
    struct rh_facts facts = {0};
    enum rh_status status = my_enter(ctx, session);
    if (status)
        return status;
    status = my_leave(ctx, session, gather(session, &facts, ctx->err));
    if (!status)
        *ret_facts = facts;
    return status;
}

/* --- the container --- */

/* Refuses a table that isn't encrypted where the options ask for it. */
static enum rh_status check_encryption(struct my_session *session, struct rh_error *err)
{
    if (!session->store->need_encryption)
        return RH_OK;
    enum rh_yes answer = my_table_encrypted(session);
    if (answer == RH_YES)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED,
            answer == RH_NO ? "the table %s isn't encrypted at rest"
                            : "the server doesn't tell whether the table %s is encrypted at rest",
            session->store->qualified);
    rh_error_hint(err,
                  session->mariadb ? "ALTER TABLE %s ENCRYPTED=YES (and GRANT PROCESS, to look)"
                                   : "ALTER TABLE %s ENCRYPTION='Y'",
                  session->store->qualified);
    return RH_E_REFUSED;
}

/* What is missing; checks what isn't. */
static enum rh_status find_missing(struct my_session *session, uint32_t *ret_missing, struct rh_error *err)
{
    enum rh_status status = my_table_load(session, err);
    if (status)
        return status;
    const struct my_table *table = &session->table;
    if (table->table_exists) {
        status = check_shape(session, session->store->side != RH_SIDE_SOURCE, err);
        if (!status)
            status = check_encryption(session, err);
        if (status)
            return status;
    }
    *ret_missing = (table->database_exists || table->table_exists ? 0U : MISSING_DATABASE) |
                   (table->table_exists ? 0U : MISSING_TABLE);
    return RH_OK;
}

static enum rh_status schema_missing(struct rh_ctx *ctx, struct rh_session *base, uint32_t *ret_missing)
{
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    return status ? status : my_leave(ctx, session, find_missing(session, ret_missing, ctx->err));
}

/* Makes database and table in Vault's shape. */
static enum rh_status make(struct my_session *session, uint32_t missing, struct rh_error *err)
{
    const struct my_store *store = session->store;
    enum rh_status status = RH_OK;
    if (missing & MISSING_DATABASE)
        status = my_run(session, err, "making the database", "CREATE DATABASE IF NOT EXISTS `%s`", store->database);
    if (!status && missing & MISSING_TABLE)
        status = my_run(session, err, "making the table",
                        "CREATE TABLE IF NOT EXISTS %s (vault_key varbinary(512), vault_value mediumblob, "
                        "PRIMARY KEY (vault_key)) ENGINE=InnoDB%s",
                        store->qualified,
                        !store->need_encryption ? ""
                        : session->mariadb      ? " ENCRYPTED=YES"
                                                : " ENCRYPTION='Y'");
    if (status && store->need_encryption && err && !*err->hint)
        rh_error_hint(err, "the server needs keys to encrypt a table with: %s",
                      session->mariadb ? "a key management plugin (file_key_management)"
                                       : "a keyring component (component_keyring_file)");
    if (!status)
        status = my_table_load(session, err);
    if (!status)
        status = my_table_need(session, true, err);
    return status ? status : check_encryption(session, err);
}

static enum rh_status schema_before(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    return status ? status : my_leave(ctx, session, make(session, missing, ctx->err));
}

/* Drops the table if it is empty, under a lock that keeps others from filling it in between. */
static enum rh_status drop_table(struct my_session *session, struct rh_error *err)
{
    const char *table = session->store->qualified, *what = "dropping the table";
    char found[8];
    enum rh_status status = my_run(session, err, what, "LOCK TABLES %s WRITE", table);
    bool locked = status == RH_OK;
    /* Without the right to lock: looked at and dropped in two steps. */
    if (status && status != RH_E_DENIED)
        return status;
    status = my_text(session, err, what, found, sizeof found, "SELECT 1 FROM %s LIMIT 1", table);
    if (status == RH_NOT_FOUND)
        status = my_run(session, err, what, "DROP TABLE %s", table);
    else if (status == RH_OK) {
        rh_fail(err, RH_E_CONFLICT, "the table %s isn't empty and stays", table);
        status = RH_EXISTS;
    }
    if (locked) {
        struct rh_error ignored = {0};
        rh_ignore(my_run(session, &ignored, what, "UNLOCK TABLES")); /* the connection's end would do it, too */
    }
    return status;
}

/* Drops the database if it holds nothing. */
static enum rh_status drop_database(struct my_session *session, struct rh_error *err)
{
    const struct my_store *store = session->store;
    const char *what = "dropping the database";
    char found[MY_NAME_SIZE];
    static const char *const places[][2] = {
        {"TABLES WHERE ",   "TABLE_SCHEMA"  },
        {"ROUTINES WHERE ", "ROUTINE_SCHEMA"},
        {"EVENTS WHERE ",   "EVENT_SCHEMA"  }
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        enum rh_status status =
            my_text(session, err, what, found, sizeof found, "SELECT 1 FROM information_schema.%s%s LIMIT 1",
                    places[i][0], WHERE_NAME(session, places[i][1], store->database));
        if (status == RH_OK) {
            rh_fail(err, RH_E_CONFLICT, "the database `%s` isn't empty and stays", store->database);
            return RH_EXISTS;
        }
        if (rh_failed(status))
            return status;
    }
    return my_run(session, err, what, "DROP DATABASE IF EXISTS `%s`", store->database);
}

/* Drops what we made and only while it is empty. */
static enum rh_status unmake(struct my_session *session, uint32_t missing, struct rh_error *err)
{
    enum rh_status status = my_table_load(session, err);
    if (!status && missing & MISSING_TABLE && session->table.table_exists)
        status = drop_table(session, err);
    if (!status && missing & MISSING_DATABASE && session->table.database_exists)
        status = drop_database(session, err);
    session->table.loaded = false;
    return status;
}

static enum rh_status schema_undo(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    return status ? status : my_leave(ctx, session, unmake(session, missing, ctx->err));
}

const struct rh_schema_ops my_schema_ops = {
    .missing = schema_missing,
    .before = schema_before,
    .undo = schema_undo,
};

/* --- fingerprint --- */

/* Server, creation time, engine, limits. */
static enum rh_status fingerprint(struct my_session *session, struct rh_buf *ret_text, struct rh_error *err)
{
    char server[140];
    enum rh_status status = my_table_load(session, err);
    if (!status)
        status = server_identity(session, err, server, sizeof server);
    if (status)
        return status;
    const struct my_table *table = &session->table;
    if (!table->table_exists)
        return rh_buf_format(ret_text, err, "%s absent", server);
    return rh_buf_format(ret_text, err, "%s %s %s %s key %llu%s", server, table->engine, table->created, table->kind,
                         (unsigned long long)table->key_bytes, *table->wrong ? " wrong shape" : "");
}

static enum rh_status guard_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    return status ? status : my_leave(ctx, session, fingerprint(session, ret_text, ctx->err));
}

const struct rh_guard_ops my_guard_ops = {.fingerprint = guard_fingerprint};
