/* SPDX-License-Identifier: Apache-2.0 */
/* The mysql driver against a real MariaDB: fidelity, limits, cut connections, unknown commits, shapes, identity. */
#include "mysql_server.h"
#include "tcp_proxy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

static struct server server;
static const struct rh_driver *driver;
static struct rh_error err;
static struct rh_ctx ctx = {.err = &err};
static const struct rh_dataset kv = {.name = RH_KV_DATASET};

static int start(void **state)
{
    (void)state;
    driver = rh_driver_find("mysql");
    return server_start(&server, "") ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    server_stop(&server);
    return 0;
}

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        enum rh_status status_ = (call);                                                                               \
        if (status_)                                                                                                   \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, rh_status_name(status_), err.text);                          \
    } while (0)

/* Vault's empty table in an empty database. */
static int fresh_table(void **state)
{
    (void)state;
    sql(&server,
        "DROP DATABASE IF EXISTS vault; CREATE DATABASE vault; CREATE TABLE vault.vault (vault_key varbinary(512), "
        "vault_value mediumblob, PRIMARY KEY (vault_key))");
    err = (struct rh_error){0};
    return 0;
}

struct place {
    struct rh_store *store;
    struct rh_session *session;
};

static struct place open_place(const char *const *pairs)
{
    struct place place = {.store = open_store(&server, false, pairs)};
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    return place;
}

static void close_place(struct place *place)
{
    driver->session_close(place->session);
    driver->close(place->store);
}

static void add(struct rh_batch *batch, const char *key, const char *value)
{
    assert_non_null(rh_batch_add_kv(batch, rh_bytes_text(key), rh_bytes_text(value ? value : ""), !value));
}

static enum rh_status
write_batch(struct place *place, struct rh_batch *batch, enum rh_put_mode mode, enum rh_commit *commit)
{
    enum rh_status status = driver->write->begin(&ctx, place->session, &kv, NULL);
    if (!status)
        status = driver->write->put(&ctx, place->session, batch, mode);
    if (status) {
        driver->write->abort(place->session);
        return status;
    }
    return driver->write->commit(&ctx, place->session, commit);
}

/* Keys that LIKE, quoting, character sets or C strings would trip over come back exactly, in byte order. */
static void hard_keys(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    static const struct {
        const char *key;
        size_t size;
    } keys[] = {
        {"%",          1},
        {"'\"\\",      3},
        {"A",          1},
        {"_",          1},
        {"a\0b",       3},
        {"a_b/c",      5},
        {"a`b",        3},
        {"axb/c",      5},
        {"b\\",        2},
        {"b\\/x",      4},
        {"sp ",        3},
        {"sp",         2},
        {"\xc3\xa9",   2},
        {"\xff\xfe\0", 3},
        {"\0",         1}
    };
    const size_t count = sizeof keys / sizeof *keys;
    struct rh_batch batch = RH_BATCH_INIT, got = RH_BATCH_INIT;
    for (size_t i = 0; i < count; i++)
        assert_non_null(
            rh_batch_add_kv(&batch, rh_bytes(keys[i].key, keys[i].size), rh_bytes(keys[i].key, keys[i].size), i == 3));
    enum rh_commit commit;
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    struct rh_scan *scan;
    OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
    OK(driver->read->scan_next(&ctx, scan, 1 << 20, 1000, &got));
    assert_int_equal(got.count, count);
    for (size_t i = 0; i < got.count; i++) {
        if (i)
            assert_true(rh_bytes_compare(got.records[i - 1].key, got.records[i].key) < 0);
        bool is_null = rh_bytes_equal(got.records[i].key, rh_bytes("_", 1));
        assert_int_equal(got.records[i].fields[0].tag, is_null ? RH_TAG_NULL : RH_TAG_BYTES);
        if (!is_null)
            assert_true(rh_bytes_equal(got.records[i].key, got.records[i].fields[0].value));
    }
    assert_int_equal(driver->read->scan_next(&ctx, scan, 1 << 20, 1000, &got), RH_END);
    driver->read->scan_close(scan);
    /* A range is a range of bytes, not a pattern. */
    OK(driver->read->scan_open(&ctx, place.session, &kv,
                               (struct rh_range){.from = rh_bytes_text("a_b/"), .to = rh_bytes_text("a_b0")},
                               rh_bytes(NULL, 0), RH_SCAN_KEYS_ONLY, &scan));
    OK(driver->read->scan_next(&ctx, scan, 1 << 20, 1000, &got));
    assert_int_equal(got.count, 1);
    driver->read->scan_close(scan);
    /* In the order of the keys asked for, absent ones left out. */
    struct rh_bytes wanted[] = {rh_bytes_text("sp "), rh_bytes_text("absent"), rh_bytes_text("%"), rh_bytes("a\0b", 3)};
    rh_batch_clear(&got);
    OK(driver->read->get(&ctx, place.session, &kv, wanted, 4, &got));
    assert_int_equal(got.count, 3);
    assert_true(rh_bytes_equal(got.records[0].key, wanted[0]));
    assert_true(rh_bytes_equal(got.records[1].key, wanted[2]));
    assert_true(rh_bytes_equal(got.records[2].key, wanted[3]));
    rh_batch_done(&batch);
    rh_batch_done(&got);
    close_place(&place);
}

/* 512 bytes of key and 16 MiB - 1 of value fit; one more of either is refused by name before anything is written. */
static void limits(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    char key[514];
    memset(key, 'k', sizeof key);
    key[513] = '\0';
    struct rh_buf rival = RH_BUF_INIT;
    const size_t most = (1U << 24) - 1;
    OK(driver->write->fits(place.store, &kv, rh_bytes(key, 512), most, &rival, &err));
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 513), 1, &rival, &err), RH_E_LIMIT);
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 1), most + 1, &rival, &err), RH_E_LIMIT);
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 0), 1, &rival, &err), RH_E_LIMIT);
    struct rh_batch batch = RH_BATCH_INIT, got = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, key, "v");
    assert_int_equal(write_batch(&place, &batch, RH_PUT_CREATE, &commit), RH_E_LIMIT);
    rh_batch_clear(&batch);
    /* Worst case for text: every byte would need escaping. */
    char *value = malloc(most);
    assert_non_null(value);
    memset(value, '\'', most);
    add(&batch, "small", "v");
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes(key, 512), rh_bytes(value, most), false));
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    struct rh_bytes wanted = rh_bytes(key, 512);
    OK(driver->read->get(&ctx, place.session, &kv, &wanted, 1, &got));
    assert_int_equal(got.count, 1);
    assert_int_equal(got.records[0].fields[0].value.size, most);
    assert_memory_equal(got.records[0].fields[0].value.data, value, most);
    free(value);
    rh_batch_done(&batch);
    rh_batch_done(&got);
    close_place(&place);
}

/* create says which keys were there and writes the others; the same key twice in a batch counts once. */
static void create_meets_others(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    sql(&server, "INSERT INTO vault.vault VALUES ('b', 'theirs')");
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "a", "1");
    add(&batch, "b", "2");
    add(&batch, "c", "3");
    add(&batch, "c", "4");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_EXISTS);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[3].outcome, RH_OUTCOME_EXISTS);
    assert_string_equal(SQL_TEXT(&server, "SELECT GROUP_CONCAT(vault_key, vault_value ORDER BY 1) FROM vault.vault"),
                        "a1,btheirs,c3");
    rh_batch_done(&batch);
    close_place(&place);
}

/* if-hash and remove touch only what is still as it was. */
static void only_what_is_ours(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_digest_key digest = {.secret_records = false};
    OK(rh_digest_key_new(&digest, &err));
    sql(&server, "INSERT INTO vault.vault VALUES ('a', 'old'), ('b', 'changed'), ('c', 'old'), ('d', 'changed')");
    struct rh_batch old = RH_BATCH_INIT, put = RH_BATCH_INIT, gone = RH_BATCH_INIT;
    static const char *const put_keys[] = {"a", "b", "new", "none"};
    for (size_t i = 0; i < 4; i++) {
        add(&old, put_keys[i], "old");
        add(&put, put_keys[i], "mine");
        put.records[i].expect = rh_digest_record(&digest, RH_KV_DATASET, &old.records[i]);
    }
    put.records[2].expect_absent = true;
    static const char *const gone_keys[] = {"c", "d", "absent"};
    for (size_t i = 0; i < 3; i++) {
        add(&gone, gone_keys[i], "old");
        gone.records[i].expect = rh_digest_record(&digest, RH_KV_DATASET, &gone.records[i]);
    }
    enum rh_commit commit;
    OK(driver->write->begin(&ctx, place.session, &kv, &digest));
    OK(driver->write->put(&ctx, place.session, &put, RH_PUT_IF_HASH));
    OK(driver->write->remove(&ctx, place.session, &gone));
    OK(driver->write->commit(&ctx, place.session, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    static const enum rh_outcome put_want[] = {RH_OUTCOME_DONE, RH_OUTCOME_CHANGED, RH_OUTCOME_DONE,
                                               RH_OUTCOME_CHANGED};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(put.records[i].outcome, put_want[i]);
    assert_int_equal(gone.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(gone.records[1].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(gone.records[2].outcome, RH_OUTCOME_CHANGED);
    assert_string_equal(SQL_TEXT(&server, "SELECT GROUP_CONCAT(vault_key, vault_value ORDER BY 1) FROM vault.vault"),
                        "amine,bchanged,dchanged,newmine");
    rh_batch_done(&old);
    rh_batch_done(&put);
    rh_batch_done(&gone);
    close_place(&place);
}

/* Reads to the end; gives the status that ended it and counts records. */
static enum rh_status drain(struct rh_scan *scan, size_t *count)
{
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status;
    while ((status = driver->read->scan_next(&ctx, scan, 1 << 16, 1000, &batch)) == RH_OK)
        *count += batch.count;
    rh_batch_done(&batch);
    return status;
}

static void fill_table(void)
{
    /* 40,000 rows, in words that both servers know */
    sql(&server, "INSERT INTO vault.vault WITH d AS (SELECT 0 n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL "
                 "SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL "
                 "SELECT 8 UNION ALL SELECT 9) SELECT CONCAT('key/0', e.n, d.n, c.n, b.n, a.n), REPEAT('x', 1000) "
                 "FROM d a, d b, d c, d, d e WHERE e.n < 4");
}

/* A connection that ends in the middle of a scan is an error, never the end. */
static void cut_scan(void **state)
{
    (void)state;
    fill_table();
    struct proxy proxy;
    proxy_start(&proxy, server.at.port);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", proxy.port);
    struct place place = open_place(PAIRS("address", address));
    for (int by_kill = 0; by_kill < 2; by_kill++) {
        struct rh_scan *scan;
        size_t count = 0;
        OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
        if (by_kill)
            sql(&server, "KILL CONNECTION %s",
                SQL_TEXT(&server, "SELECT MAX(ID) FROM information_schema.PROCESSLIST WHERE USER = 'vault'"));
        else
            atomic_store(&proxy.cut_after, atomic_load(&proxy.passed) + 3000000);
        enum rh_status status = drain(scan, &count);
        if (status != RH_E_NET)
            fail_msg("%s after %zu records: %s", rh_status_name(status), count, err.text);
        assert_int_equal(err.retry, RH_RETRY_RECONNECT);
        assert_true(count < 40000);
        driver->read->scan_close(scan);
        driver->session_close(place.session);
        OK(driver->session_open(&ctx, place.store, RH_ROLE_READ, &place.session));
    }
    struct rh_scan *scan;
    size_t count = 0;
    OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
    assert_int_equal(drain(scan, &count), RH_END);
    assert_int_equal(count, 40000);
    driver->read->scan_close(scan);
    /* A scan that is left early is closed at once, and the session goes on. */
    struct rh_batch batch = RH_BATCH_INIT;
    OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
    OK(driver->read->scan_next(&ctx, scan, 1, 1, &batch));
    driver->read->scan_close(scan);
    struct rh_bytes key = rh_bytes_text("key/000007");
    rh_batch_clear(&batch);
    OK(driver->read->get(&ctx, place.session, &kv, &key, 1, &batch));
    assert_int_equal(batch.count, 1);
    rh_batch_done(&batch);
    close_place(&place);
    proxy_stop(&proxy);
}

/* Bytes that have come from the server, when no more are on their way. */
static long long settled(struct proxy *proxy)
{
    long long passed = -1, now;
    while ((now = atomic_load(&proxy->passed)) != passed) {
        passed = now;
        usleep(50000);
    }
    return passed;
}

/* The answer to a commit is lost: unknown. And an attempt that still hangs on the server is ended before anybody can
 * look, so that it can't take effect later. */
static void unknown_commit(void **state)
{
    (void)state;
    struct proxy proxy;
    proxy_start(&proxy, server.at.port);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", proxy.port);
    struct place place = open_place(PAIRS("address", address, "io_timeout", "1s"));
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    /* how much the server says to such a batch: the last byte of that is the answer that gets lost */
    add(&batch, "0", "1");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    const long long before = settled(&proxy);
    batch.records[0].key = rh_bytes_text("1");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    const long long answer = settled(&proxy) - before;
    rh_batch_clear(&batch);
    add(&batch, "a", "1");
    OK(driver->write->begin(&ctx, place.session, &kv, NULL));
    OK(driver->write->put(&ctx, place.session, &batch, RH_PUT_CREATE));
    atomic_store(&proxy.swallow_at, before + 2 * answer - 1);
    assert_int_equal(driver->write->commit(&ctx, place.session, &commit), RH_E_NET);
    assert_int_equal(commit, RH_COMMIT_UNKNOWN);
    assert_int_equal(err.retry, RH_RETRY_RECONNECT);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_NONE);
    driver->session_close(place.session);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    assert_string_equal(SQL_TEXT(&server, "SELECT vault_value FROM vault.vault WHERE vault_key = 'a'"), "1");
    /* Now one that waits for a row lock when its client is cut off, unnoticed by the server. */
    rh_batch_clear(&batch);
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text("b"), rh_bytes("mine\xff\xaa\x0f", 7), false));
    sql(&server, "START TRANSACTION; INSERT INTO vault.vault VALUES ('b', 'theirs')");
    atomic_store(&proxy.leave_server, true);
    OK(driver->write->begin(&ctx, place.session, &kv, NULL));
    OK(driver->write->put(&ctx, place.session, &batch, RH_PUT_REPLACE));
    assert_int_equal(driver->write->commit(&ctx, place.session, &commit), RH_E_NET);
    assert_int_equal(commit, RH_COMMIT_UNKNOWN);
    driver->session_close(place.session);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    assert_string_equal(SQL_TEXT(&server, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'vault'"),
                        "1");
    sql(&server, "ROLLBACK");
    usleep(300000);
    assert_string_equal(SQL_TEXT(&server, "SELECT COUNT(*) FROM vault.vault WHERE vault_key = 'b'"), "0");
    rh_batch_done(&batch);
    close_place(&place);
    proxy_stop(&proxy);
}

/* While a connection of another process's writer lives on the server, something of it may still take effect: nobody
 * else writes before it has ended, killed or not. Readers don't wait. */
static void writer_of_a_killed_process(void **state)
{
    (void)state;
    int pipe_fds[2];
    char byte;
    assert_int_equal(pipe(pipe_fds), 0);
    struct rh_store *childs = open_store(&server, false, NO_PAIRS);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* without asserts, which would go on with the parent's tests */
        struct rh_session *writer;
        if (driver->session_open(&ctx, childs, RH_ROLE_WRITE, &writer) || write(pipe_fds[1], "w", 1) != 1)
            _exit(1);
        rh_sleep_us(1500 * 1000);
        _exit(0); /* closes nothing by itself, as a kill */
    }
    close(pipe_fds[1]);
    driver->close(childs);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    const int64_t begun = rh_clock_us();
    struct place place = {.store = open_store(&server, false, NO_PAIRS)};
    struct rh_session *reader = NULL;
    OK(driver->session_open(&ctx, place.store, RH_ROLE_READ, &reader));
    assert_true(rh_clock_us() - begun < 1000 * 1000);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    assert_true(rh_clock_us() - begun > 1000 * 1000);
    driver->session_close(reader);
    close_place(&place);
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    close(pipe_fds[0]);
}

/* A deadline ends a call that waits for a lock. */
static void deadline(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "b", "mine");
    sql(&server, "START TRANSACTION; INSERT INTO vault.vault VALUES ('b', 'theirs')");
    int64_t begun = rh_clock_us();
    ctx.deadline_us = begun + 300000;
    enum rh_status status = write_batch(&place, &batch, RH_PUT_REPLACE, &commit);
    ctx.deadline_us = 0;
    assert_int_equal(status, RH_E_TIMEOUT);
    assert_int_equal(commit, RH_COMMIT_UNKNOWN);
    assert_true(rh_clock_us() - begun < 3000000);
    driver->session_close(place.session);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    sql(&server, "ROLLBACK");
    assert_string_equal(SQL_TEXT(&server, "SELECT COUNT(*) FROM vault.vault"), "0");
    rh_batch_done(&batch);
    close_place(&place);
}

/* Tables that can't be used, each with its reason. */
static void wrong_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *make, *why;
    } cases[] = {
        {"CREATE TABLE vault.t (vault_key varchar(512) CHARACTER SET latin1 PRIMARY KEY, vault_value mediumblob)",
         "is varchar"                                                                                                                              },
        {"CREATE TABLE vault.t (vault_key varbinary(512) PRIMARY KEY, vault_value mediumblob) ENGINE=MyISAM",
         "no transactions"                                                                                                                         },
        {"CREATE TABLE vault.t (vault_key varbinary(512) PRIMARY KEY, vault_value mediumtext)",                    "not a blob"                    },
        {"CREATE TABLE vault.t (vault_key varbinary(512), vault_value mediumblob)",                                "neither primary key nor unique"},
        {"CREATE TABLE vault.t (vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key(100)))",
         "neither"                                                                                                                                 },
        {"CREATE TABLE vault.t (vault_value mediumblob, vault_key varbinary(512) PRIMARY KEY)",                    "in this order"                 },
        {"CREATE TABLE vault.t (vault_key varbinary(512) PRIMARY KEY, vault_value mediumblob, more int)",          "no others"                     },
        {"CREATE VIEW vault.t AS SELECT * FROM vault.vault",                                                       "is a VIEW"                     },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sql(&server, "%s", cases[i].make);
        struct place place = open_place(PAIRS("table", "t"));
        uint32_t missing = 99;
        enum rh_status status = driver->schema->missing(&ctx, place.session, &missing);
        if (status != RH_E_REFUSED || !strstr(err.text, cases[i].why) || !strstr(err.hint, "varbinary(512)"))
            fail_msg("%s: %s: %s", cases[i].make, rh_status_name(status), err.text);
        close_place(&place);
        sql(&server, i == 7 ? "DROP VIEW vault.t" : "DROP TABLE vault.t");
    }
}

/* Made where missing, in Vault's shape; dropped only while empty. */
static void container(void **state)
{
    (void)state;
    sql(&server, "DROP DATABASE vault");
    struct place place = open_place(NO_PAIRS);
    uint32_t missing = 0, now = 99;
    OK(driver->schema->missing(&ctx, place.session, &missing));
    assert_int_equal(missing, 3);
    OK(driver->schema->before(&ctx, place.session, missing));
    OK(driver->schema->before(&ctx, place.session, missing));
    OK(driver->schema->missing(&ctx, place.session, &now));
    assert_int_equal(now, 0);
    assert_string_equal(SQL_TEXT(&server,
                                 "SELECT GROUP_CONCAT(COLUMN_NAME, ' ', COLUMN_TYPE) FROM information_schema.COLUMNS "
                                 "WHERE TABLE_SCHEMA = 'vault'"),
                        "vault_key varbinary(512),vault_value mediumblob");
    sql(&server, "INSERT INTO vault.vault VALUES ('somebody', 'else')");
    assert_int_equal(driver->schema->undo(&ctx, place.session, missing), RH_EXISTS);
    assert_non_null(strstr(err.text, "isn't empty"));
    sql(&server, "DELETE FROM vault.vault; CREATE TABLE vault.other (a int)");
    assert_int_equal(driver->schema->undo(&ctx, place.session, missing), RH_EXISTS);
    assert_non_null(strstr(err.text, "`vault` isn't empty"));
    sql(&server, "DROP TABLE vault.other");
    OK(driver->schema->undo(&ctx, place.session, missing));
    assert_string_equal(
        SQL_TEXT(&server, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'vault'"), "0");
    close_place(&place);
}

/* One table has one identity, however it is reached; another table has another. */
static void identities(void **state)
{
    (void)state;
    char localhost[64];
    snprintf(localhost, sizeof localhost, "localhost:%u", server.at.port);
    const char *const *ways[] = {NO_PAIRS, PAIRS("address", localhost),
                                 PAIRS("socket", server.at.socket, "username", "root", "password_file", ""),
                                 PAIRS("table", "other")};
    struct rh_facts facts[4];
    for (size_t i = 0; i < 4; i++) {
        struct place place = open_place(ways[i]);
        OK(driver->facts(&ctx, place.session, &facts[i]));
        close_place(&place);
    }
    assert_string_equal(facts[0].identity, facts[1].identity);
    assert_string_equal(facts[0].identity, facts[2].identity);
    assert_string_not_equal(facts[0].identity, facts[3].identity);
    assert_int_equal(facts[0].exists, RH_YES);
    assert_int_equal(facts[3].exists, RH_NO);
    assert_int_equal(facts[0].writable, RH_YES);
    assert_string_equal(facts[0].product, server_is_mysql() ? "MySQL" : "MariaDB");
    struct server second;
    assert_true(server_start(&second, ""));
    struct rh_store *store = open_store(&second, false, NO_PAIRS);
    struct rh_session *session;
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &session));
    OK(driver->facts(&ctx, session, &facts[3]));
    driver->session_close(session);
    driver->close(store);
    server_stop(&second);
    assert_string_not_equal(facts[0].identity, facts[3].identity);
}

/* A Vault with HA is seen by the lock it holds, also when its stanza leaves the names out. */
static void live_owner(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_facts facts;
    OK(driver->facts(&ctx, place.session, &facts));
    assert_string_equal(facts.live_owner, "");
    assert_string_not_equal(facts.owner_blind, "");
    static const char *const names[] = {"core/lock/vault/vault", "core/lock//"};
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(SQL_TEXT(&server, "SELECT GET_LOCK('%s', 1)", names[i]), "1");
        OK(driver->facts(&ctx, place.session, &facts));
        assert_non_null(strstr(facts.live_owner, names[i]));
        assert_string_equal(SQL_TEXT(&server, "SELECT RELEASE_LOCK('%s')", names[i]), "1");
    }
    close_place(&place);
}

/* Rights and switches: seen in facts, refused in words. */
static void no_rights(void **state)
{
    (void)state;
    sql(&server, "CREATE USER reader@'%%' IDENTIFIED BY 'pw' REQUIRE SSL; GRANT SELECT ON vault.* TO reader@'%%'");
    struct place place = open_place(PAIRS("username", "reader", "password", "pw"));
    struct rh_facts facts;
    OK(driver->facts(&ctx, place.session, &facts));
    assert_int_equal(facts.writable, RH_NO);
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "a", "1");
    assert_int_equal(write_batch(&place, &batch, RH_PUT_CREATE, &commit), RH_E_DENIED);
    assert_int_equal(commit, RH_COMMIT_NOT_DONE);
    close_place(&place);
    sql(&server, "DROP USER reader@'%%'; SET GLOBAL read_only = 1");
    place = open_place(NO_PAIRS);
    OK(driver->facts(&ctx, place.session, &facts));
    assert_int_equal(facts.writable, RH_NO);
    assert_int_equal(write_batch(&place, &batch, RH_PUT_CREATE, &commit), RH_E_DENIED);
    assert_non_null(strstr(err.hint, "read-only"));
    sql(&server, "SET GLOBAL read_only = 0");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    rh_batch_done(&batch);
    close_place(&place);
}

/* Names that Vault refuses. */
static void bad_names(void **state)
{
    (void)state;
    static const char *const names[] = {"a`b", "a'b", "a b", "a\tb", "a\xc2\xa0_"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct rh_store *store = NULL;
        assert_int_equal(try_store(&server, false, PAIRS("table", names[i]), &store, &err), RH_E_PLAN);
        assert_non_null(strstr(err.text, "table '"));
    }
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_table)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hard_keys),
        TEST(limits),
        TEST(create_meets_others),
        TEST(only_what_is_ours),
        TEST(cut_scan),
        TEST(unknown_commit),
        TEST(writer_of_a_killed_process),
        TEST(deadline),
        TEST(wrong_shapes),
        TEST(container),
        TEST(identities),
        TEST(live_owner),
        TEST(no_rights),
        TEST(bad_names),
    };
    if (!server_had())
        return 77;
    return cmocka_run_group_tests(tests, start, stop);
}
