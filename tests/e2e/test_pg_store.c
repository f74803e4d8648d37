/* SPDX-License-Identifier: Apache-2.0 */
/* The postgresql driver against a real PostgreSQL: fidelity, order, limits, cut connections, unknown commits, locks,
 * snapshots, shapes, identity. */
#include "pg_server.h"
#include "tcp_proxy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

static struct pg_server server;
static const struct rh_driver *driver;
static struct rh_error err;
static struct rh_ctx ctx = {.err = &err};
static const struct rh_dataset kv = {.name = RH_KV_DATASET};

/* As Vault's documentation has it. */
static const char *const documented =
    "CREATE TABLE vault_kv_store (parent_path TEXT COLLATE \"C\" NOT NULL, path TEXT COLLATE \"C\", key TEXT COLLATE "
    "\"C\", value BYTEA, CONSTRAINT pkey PRIMARY KEY (path, key)); CREATE INDEX parent_path_idx ON vault_kv_store "
    "(parent_path)";

static int start(void **state)
{
    (void)state;
    driver = rh_driver_find("postgresql");
    return pg_server_start(&server, "--option=deadlock_timeout=200ms") ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    pg_server_stop(&server);
    return 0;
}

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        enum rh_status status_ = (call);                                                                               \
        if (status_)                                                                                                   \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, rh_status_name(status_), err.text);                          \
    } while (0)

/* The documented table, empty. */
static int fresh_table(void **state)
{
    (void)state;
    pg_sql(&server, "ROLLBACK; RESET ROLE; DROP SCHEMA public CASCADE; CREATE SCHEMA "
                    "public AUTHORIZATION vault; SET ROLE vault");
    pg_sql(&server, "%s", documented);
    pg_sql(&server, "RESET ROLE");
    /* what a test that failed has left open would be waited for */
    pg_sql(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('vault', 'reader')");
    err = (struct rh_error){0};
    return 0;
}

struct place {
    struct rh_store *store;
    struct rh_session *session;
};

static struct place open_place(const char *const *pairs)
{
    struct place place = {.store = pg_open_store(&server, pairs)};
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

static enum rh_status write_with(struct rh_session *session,
                                 struct rh_batch *batch,
                                 enum rh_put_mode mode,
                                 const struct rh_digest_key *digest,
                                 enum rh_commit *commit)
{
    enum rh_status status = driver->write->begin(&ctx, session, &kv, digest);
    if (!status)
        status = driver->write->put(&ctx, session, batch, mode);
    if (status) {
        driver->write->abort(session);
        return status;
    }
    return driver->write->commit(&ctx, session, commit);
}

static enum rh_status
write_batch(struct place *place, struct rh_batch *batch, enum rh_put_mode mode, enum rh_commit *commit)
{
    return write_with(place->session, batch, mode, NULL, commit);
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

/* All keys of a scan, into `all`. */
static void
scan_keys(struct rh_session *session, struct rh_range range, unsigned flags, size_t want_bytes, struct rh_batch *all)
{
    struct rh_scan *scan;
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status;
    rh_batch_clear(all);
    OK(driver->read->scan_open(&ctx, session, &kv, range, rh_bytes(NULL, 0), flags, &scan));
    while ((status = driver->read->scan_next(&ctx, scan, want_bytes, 1000, &batch)) == RH_OK)
        for (size_t i = 0; i < batch.count; i++) {
            struct rh_bytes value = batch.records[i].fields ? batch.records[i].fields[0].value : rh_bytes(NULL, 0);
            bool is_null = batch.records[i].fields && batch.records[i].fields[0].tag == RH_TAG_NULL;
            assert_non_null(rh_batch_add_kv(all, batch.records[i].key, value, is_null));
        }
    if (status != RH_END)
        fail_msg("the scan ended with %s: %s", rh_status_name(status), err.text);
    driver->read->scan_close(scan);
    rh_batch_done(&batch);
}

/* Keys that LIKE, quoting or folders would trip over come back exactly, in byte order, in Vault's three columns. */
static void hard_keys(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    static const char *const keys[] = {"%",
                                       "'\"\\",
                                       "/",
                                       "/a",
                                       "//b",
                                       "A",
                                       "_",
                                       "a",
                                       "a/",
                                       "a/b",
                                       "a//b",
                                       "a-b",
                                       "a-b/c",
                                       "a_b/c",
                                       "a_b/d/e",
                                       "axb/c",
                                       "axb/d/e",
                                       "b\\",
                                       "b\\/x",
                                       "sp ",
                                       "sp",
                                       "\xc3\xa9",
                                       "\xc3\xa9/\xf0\x9f\x94\x91",
                                       "\n",
                                       "$1",
                                       "NULL",
                                       "{a,b}"};
    const size_t count = sizeof keys / sizeof *keys;
    struct rh_batch batch = RH_BATCH_INIT, got = RH_BATCH_INIT;
    for (size_t i = 0; i < count; i++)
        add(&batch, keys[i], strcmp(keys[i], "_") == 0 ? NULL : keys[i]);
    enum rh_commit commit;
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    scan_keys(place.session, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, count);
    for (size_t i = 0; i < got.count; i++) {
        if (i)
            assert_true(rh_bytes_compare(got.records[i - 1].key, got.records[i].key) < 0);
        bool is_null = rh_bytes_equal(got.records[i].key, rh_bytes("_", 1));
        assert_int_equal(got.records[i].fields[0].tag, is_null ? RH_TAG_NULL : RH_TAG_BYTES);
        if (!is_null)
            assert_true(rh_bytes_equal(got.records[i].key, got.records[i].fields[0].value));
    }
    /* A range is a range of bytes, not a pattern. */
    scan_keys(place.session, (struct rh_range){.from = rh_bytes_text("a_b/"), .to = rh_bytes_text("a_b0")}, 0, 1 << 20,
              &got);
    assert_int_equal(got.count, 2);
    /* Vault's own way to a record, and to a folder's children: the columns are as it makes them. */
    static const char *const split[][4] = {
        {"a_b/d/e", "/a_b/", "/a_b/d/", "e"},
        {"a/",      "/",     "/a/",     "" },
        {"%",       "",      "/",       "%"},
        {"//b",     "//",    "///",     "b"},
        {"/a",      "/",     "//",      "a"}
    };
    for (size_t i = 0; i < sizeof split / sizeof *split; i++)
        assert_string_equal(
            PG_SQL_TEXT(&server,
                        "SELECT convert_from(value, 'UTF8') FROM vault_kv_store WHERE parent_path = '%s' "
                        "AND path = '%s' AND key = '%s'",
                        split[i][1], split[i][2], split[i][3]),
            split[i][0]);
    rh_batch_done(&batch);
    rh_batch_done(&got);
    close_place(&place);
}

/* Byte order through every way that pages can fall: many rows in a folder, many folders, folders inside each other
 * between the rows of the outer one, small pages and large ones. */
static void order(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '', '/', 'k' || to_char(n, 'FM00000'), repeat('r', n %% 700)::bytea "
           "FROM generate_series(1, 3000) n");
    pg_sql(&server, "INSERT INTO vault_kv_store SELECT '/', '/k' || to_char(n, 'FM00000') || '/', 'x', 'v' FROM "
                    "generate_series(1, 3000) n");
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '/k00007/', '/k00007/deep/', 'y' || n, repeat('d', 3000)::bytea FROM "
           "generate_series(1, 2000) n");
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '/' || repeat('p/', n - 1), '/' || repeat('p/', n), 'o' || m, 'v' FROM "
           "generate_series(1, 60) n, generate_series(1, 30) m");
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '/' || repeat('p/', n - 1), '/' || repeat('p/', n), 'q' || m, 'v' FROM "
           "generate_series(1, 60) n, generate_series(1, 30) m");
    const size_t total = 3000 + 3000 + 2000 + 2 * 60 * 30;
    struct rh_batch all = RH_BATCH_INIT, part = RH_BATCH_INIT;
    static const size_t sizes[] = {1, 100000, 1 << 20};
    for (size_t s = 0; s < 3; s++)
        for (unsigned flags = 0; flags < 2; flags++) {
            scan_keys(place.session, (struct rh_range){0}, flags, sizes[s], &all);
            assert_int_equal(all.count, total);
            for (size_t i = 1; i < all.count; i++)
                assert_true(rh_bytes_compare(all.records[i - 1].key, all.records[i].key) < 0);
        }
    /* the same through cuts at keys all over the table, also right behind a folder's rows */
    size_t seen = 0;
    for (size_t at = 0; at < total; at += 617) {
        size_t to = at + 617 < total ? at + 617 : total;
        struct rh_range range = {.from = at ? all.records[at].key : rh_bytes(NULL, 0),
                                 .to = to < total ? all.records[to].key : rh_bytes(NULL, 0)};
        scan_keys(place.session, range, RH_SCAN_KEYS_ONLY, 1 << 20, &part);
        assert_int_equal(part.count, to - at);
        for (size_t i = 0; i < part.count; i++)
            assert_true(rh_bytes_equal(part.records[i].key, all.records[at + i].key));
        seen += part.count;
    }
    assert_int_equal(seen, total);
    /* and between bounds that no row here can have */
    scan_keys(place.session,
              (struct rh_range){.from = rh_bytes_text("k00007/deep/y1\xff"), .to = rh_bytes_text("k00007/e\xff")},
              RH_SCAN_KEYS_ONLY, 1 << 20, &part);
    assert_int_equal(part.count, 2000 - 1111); /* without those that begin with y1 */
    rh_batch_done(&all);
    rh_batch_done(&part);
    close_place(&place);
}

/* All sessions that read for a pass see one state, whatever is written meanwhile; the next pass sees what is new. */
static void one_snapshot(void **state)
{
    (void)state;
    pg_sql(&server, "INSERT INTO vault_kv_store SELECT '', '/', 'k' || n, 'old' FROM generate_series(1, 100) n");
    struct rh_store *store = pg_open_store(&server, NO_PAIRS);
    struct rh_session *first, *second;
    struct rh_batch got = RH_BATCH_INIT;
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &first));
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &second));
    scan_keys(first, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, 100);
    pg_sql(&server, "UPDATE vault_kv_store SET value = 'new'; DELETE FROM vault_kv_store WHERE key = 'k1'; INSERT INTO "
                    "vault_kv_store VALUES ('', '/', 'more', 'new')");
    scan_keys(second, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, 100);
    for (size_t i = 0; i < got.count; i++)
        assert_true(rh_bytes_equal(got.records[i].fields[0].value, rh_bytes_text("old")));
    /* a get is about now */
    struct rh_bytes key = rh_bytes_text("more");
    rh_batch_clear(&got);
    OK(driver->read->get(&ctx, second, &kv, &key, 1, &got));
    assert_int_equal(got.count, 1);
    driver->session_close(first);
    driver->session_close(second);
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &first));
    scan_keys(first, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, 100);
    assert_true(rh_bytes_equal(got.records[0].fields[0].value, rh_bytes_text("new")));
    /* the connection that holds it is cut: the next session makes another */
    pg_sql(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault' AND query LIKE "
                    "'%%pg_export_snapshot%%' AND pid <> pg_backend_pid()");
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &second));
    scan_keys(second, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, 100);
    driver->session_close(first);
    driver->session_close(second);
    driver->close(store);
    /* nobody holds VACUUM back any more */
    usleep(100000);
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault'"), "0");
    rh_batch_done(&got);
}

/* The longest key that is taken fits the index even if nothing of it can be compressed; one more byte is refused by
 * name. Bytes that text can't hold are refused. A large value comes back. */
static void limits(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    static char key[2700];
    uint32_t random = 12345;
    for (size_t i = 0; i < sizeof key; i++) {
        random = random * 1664525u + 1013904223u;
        key[i] = (char)(33 + (random >> 16) % 90);
        if (key[i] == '/')
            key[i] = '0';
    }
    struct rh_buf rival = RH_BUF_INIT;
    OK(driver->write->fits(place.store, &kv, rh_bytes(key, 2679), 5, &rival, &err));
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 2680), 5, &rival, &err), RH_E_LIMIT);
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes("a\0b", 3), 5, &rival, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "NUL"));
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes_text("a\xff"), 5, &rival, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "UTF-8"));
    /* a surrogate, an overlong form, beyond Unicode: the server refuses these, too */
    static const char *const bad[] = {"\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes_text(bad[i]), 5, &rival, &err), RH_E_LIMIT);
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 1), 1ULL << 30, &rival, &err), RH_E_LIMIT);
    assert_int_equal(driver->write->fits(place.store, &kv, rh_bytes(key, 0), 1, &rival, &err), RH_E_LIMIT);
    struct rh_batch batch = RH_BATCH_INIT, got = RH_BATCH_INIT;
    enum rh_commit commit;
    const size_t most = 48U << 20;
    char *value = malloc(most);
    assert_non_null(value);
    for (size_t i = 0; i < most; i++)
        value[i] = (char)(i * 2654435761u >> 13);
    /* as a name in the root, as a folder with a name, in folders only: each has its own place in the index */
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes(key, 2679), rh_bytes_text("v"), false));
    key[1300] = '/';
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes(key, 2679), rh_bytes_text("v"), false));
    key[2678] = '/';
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes(key, 2679), rh_bytes_text("v"), false));
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text("large"), rh_bytes(value, most), false));
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    struct rh_bytes wanted = rh_bytes_text("large");
    OK(driver->read->get(&ctx, place.session, &kv, &wanted, 1, &got));
    assert_int_equal(got.count, 1);
    assert_int_equal(got.records[0].fields[0].value.size, most);
    assert_memory_equal(got.records[0].fields[0].value.data, value, most);
    scan_keys(place.session, (struct rh_range){0}, 0, 1 << 20, &got);
    assert_int_equal(got.count, 4);
    /* replaced: by parameters instead of COPY */
    value[0] ^= 1;
    rh_batch_clear(&batch);
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text("large"), rh_bytes(value, most), false));
    OK(write_batch(&place, &batch, RH_PUT_REPLACE, &commit));
    assert_string_equal(PG_SQL_TEXT(&server,
                                    "SELECT octet_length(value) || ' ' || get_byte(value, 0) FROM vault_kv_store WHERE "
                                    "key = 'large'"),
                        "50331648 1");
    free(value);
    rh_batch_done(&batch);
    rh_batch_done(&got);
    close_place(&place);
}

static const char *all_rows(char out[static 256])
{
    return pg_sql_text(
        &server, out,
        "SELECT string_agg(substr(path, 2) || key || ':' || convert_from(value, 'UTF8'), ',' ORDER BY path, "
        "key) FROM vault_kv_store");
}
#define ALL_ROWS() all_rows((char[256]){0})

/* create says which keys were there and writes the others; the same key twice in a batch counts once. replace: the last
 * one counts. */
static void create_meets_others(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    pg_sql(&server, "INSERT INTO vault_kv_store VALUES ('', '/', 'b', 'theirs')");
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "c", "3");
    add(&batch, "b", "2");
    add(&batch, "a", "1");
    add(&batch, "c", "4");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_EXISTS);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[3].outcome, RH_OUTCOME_EXISTS);
    assert_string_equal(ALL_ROWS(), "a:1,b:theirs,c:3");
    OK(write_batch(&place, &batch, RH_PUT_REPLACE, &commit));
    assert_string_equal(ALL_ROWS(), "a:1,b:2,c:4");
    rh_batch_done(&batch);
    close_place(&place);
}

/* if-hash and remove touch only what is still as it was; also a value that is NULL. */
static void only_what_is_ours(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_digest_key digest = {.secret_records = false};
    OK(rh_digest_key_new(&digest, &err));
    pg_sql(&server,
           "INSERT INTO vault_kv_store VALUES ('', '/', 'a', 'old'), ('', '/', 'b', 'changed'), ('', '/', 'c', "
           "'old'), ('', '/', 'd', 'changed'), ('', '/', 'n', NULL)");
    struct rh_batch old = RH_BATCH_INIT, put = RH_BATCH_INIT, gone = RH_BATCH_INIT;
    static const char *const put_keys[] = {"a", "b", "new", "none", "n"};
    for (size_t i = 0; i < 5; i++) {
        add(&old, put_keys[i], i == 4 ? NULL : "old");
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
    static const enum rh_outcome put_want[] = {RH_OUTCOME_DONE, RH_OUTCOME_CHANGED, RH_OUTCOME_DONE, RH_OUTCOME_CHANGED,
                                               RH_OUTCOME_DONE};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(put.records[i].outcome, put_want[i]);
    assert_int_equal(gone.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(gone.records[1].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(gone.records[2].outcome, RH_OUTCOME_CHANGED);
    assert_string_equal(ALL_ROWS(), "a:mine,b:changed,d:changed,n:mine,new:mine");
    rh_batch_done(&old);
    rh_batch_done(&put);
    rh_batch_done(&gone);
    close_place(&place);
}

static void fill_table(void)
{
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '/', '/key/', to_char(n, 'FM000000'), repeat('x', 1000)::bytea FROM "
           "generate_series(0, 39999) n");
}

static const char *port_of(const struct proxy *proxy, char out[static 16])
{
    snprintf(out, 16, "%u", proxy->port);
    return out;
}

/* A connection that ends in the middle of a scan is an error, never the end. */
static void cut_scan(void **state)
{
    (void)state;
    fill_table();
    struct proxy proxy;
    proxy_start(&proxy, server.at.port);
    char port[16];
    struct place place = {.store = pg_open_store(&server, PAIRS("port", port_of(&proxy, port)))};
    for (int by_kill = 0; by_kill < 2; by_kill++) {
        struct rh_scan *scan;
        size_t count = 0;
        OK(driver->session_open(&ctx, place.store, RH_ROLE_READ, &place.session));
        OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
        if (by_kill)
            pg_sql(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault'");
        else
            atomic_store(&proxy.cut_after, atomic_load(&proxy.passed) + 3000000);
        enum rh_status status = drain(scan, &count);
        if (status != RH_E_NET)
            fail_msg("%s after %zu records: %s", rh_status_name(status), count, err.text);
        assert_int_equal(err.retry, RH_RETRY_RECONNECT);
        assert_true(count < 40000);
        driver->read->scan_close(scan);
        driver->session_close(place.session);
    }
    struct rh_scan *scan;
    size_t count = 0;
    OK(driver->session_open(&ctx, place.store, RH_ROLE_READ, &place.session));
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
    char port[16];
    struct place place = open_place(PAIRS("port", port_of(&proxy, port), "io_timeout", "1s"));
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
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT convert_from(value, 'UTF8') FROM vault_kv_store WHERE key = 'a'"),
                        "1");
    /* Now one that waits for a row lock when its client is cut off, unnoticed by the server. */
    rh_batch_clear(&batch);
    add(&batch, "b", "mine");
    pg_sql(&server, "BEGIN; INSERT INTO vault_kv_store VALUES ('', '/', 'b', 'theirs')");
    atomic_store(&proxy.leave_server, true);
    atomic_store(&proxy.cut_after, settled(&proxy) + 1);
    OK(driver->write->begin(&ctx, place.session, &kv, NULL));
    OK(driver->write->put(&ctx, place.session, &batch, RH_PUT_REPLACE));
    assert_int_equal(driver->write->commit(&ctx, place.session, &commit), RH_E_NET);
    assert_int_equal(commit, RH_COMMIT_UNKNOWN);
    driver->session_close(place.session);
    atomic_store(&proxy.cut_after, -1);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault'"), "1");
    pg_sql(&server, "ROLLBACK");
    usleep(300000);
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT count(*) FROM vault_kv_store WHERE key = 'b'"), "0");
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
    struct rh_store *childs = pg_open_store(&server, NO_PAIRS);
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
    struct place place = {.store = pg_open_store(&server, NO_PAIRS)};
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

/* A deadline, and a cancel from another thread, end a call that waits for a lock; nothing of it comes later. */
static void *cancel_soon(void *user)
{
    usleep(300000);
    driver->cancel(user);
    return NULL;
}

static void deadline_and_cancel(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "b", "mine");
    pg_sql(&server, "BEGIN; INSERT INTO vault_kv_store VALUES ('', '/', 'b', 'theirs')");
    int64_t begun = rh_clock_us();
    ctx.deadline_us = begun + 300000;
    enum rh_status status = write_batch(&place, &batch, RH_PUT_REPLACE, &commit);
    ctx.deadline_us = 0;
    assert_int_equal(status, RH_E_TIMEOUT);
    assert_int_not_equal(commit, RH_COMMIT_DONE);
    assert_true(rh_clock_us() - begun < 3000000);
    driver->session_close(place.session);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    pthread_t thread;
    begun = rh_clock_us();
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, place.session), 0);
    assert_int_equal(write_batch(&place, &batch, RH_PUT_REPLACE, &commit), RH_E_CANCELLED);
    assert_int_equal(commit, RH_COMMIT_UNKNOWN);
    assert_true(rh_clock_us() - begun < 3000000);
    pthread_join(thread, NULL);
    driver->session_close(place.session);
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    pg_sql(&server, "ROLLBACK");
    usleep(200000);
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT count(*) FROM vault_kv_store"), "0");
    rh_batch_done(&batch);
    close_place(&place);
}

/* A deadlock with somebody else's transaction: undone, worth another try, and the try succeeds. */
static void *lock_crosswise(void *user)
{
    struct pg_server *other = user;
    usleep(100000);
    /* waits for a, which the writer holds by then; one of the two is chosen to give up */
    PQclear(PQexec(other->root, "UPDATE vault_kv_store SET value = 'theirs' WHERE key = 'a'"));
    PQclear(PQexec(other->root, "ROLLBACK"));
    return NULL;
}

static void deadlock(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct pg_server other = server;
    other.root = NULL;
    pg_server_admin(&other);
    pg_sql(&server, "INSERT INTO vault_kv_store VALUES ('', '/', 'a', 'old'), ('', '/', 'z', 'old')");
    struct rh_digest_key digest = {.secret_records = false};
    OK(rh_digest_key_new(&digest, &err));
    struct rh_batch old = RH_BATCH_INIT, put = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&old, "a", "old");
    add(&old, "z", "old");
    add(&put, "a", "mine");
    add(&put, "z", "mine");
    for (size_t i = 0; i < 2; i++)
        put.records[i].expect = rh_digest_record(&digest, RH_KV_DATASET, &old.records[i]);
    bool met = false;
    for (int i = 0; i < 5 && !met; i++) {
        pthread_t thread;
        /* who has waited for deadlock_timeout looks for one: let that be us, after 200 ms */
        pg_sql(&other,
               "SET deadlock_timeout = '20s'; BEGIN; UPDATE vault_kv_store SET value = 'theirs' WHERE key = 'z'");
        assert_int_equal(pthread_create(&thread, NULL, lock_crosswise, &other), 0);
        enum rh_status status = write_with(place.session, &put, RH_PUT_IF_HASH, &digest, &commit);
        pthread_join(thread, NULL);
        if (status) {
            assert_int_equal(err.native, (((4L * 36 + 0) * 36 + 25) * 36 + 0) * 36 + 1); /* 40P01 */
            assert_int_equal(commit, RH_COMMIT_NOT_DONE);
            assert_int_equal(err.retry, RH_RETRY_LATER);
            met = true;
        }
    }
    assert_true(met);
    assert_string_equal(ALL_ROWS(), "a:old,z:old");
    OK(write_with(place.session, &put, RH_PUT_IF_HASH, &digest, &commit));
    assert_string_equal(ALL_ROWS(), "a:mine,z:mine");
    PQfinish(other.root);
    rh_batch_done(&old);
    rh_batch_done(&put);
    close_place(&place);
}

/* A serialization failure, made by a trigger of the table's owner that waits for a write of ours to come second. */
static void serialization_failure(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "a", "1");
    pg_sql(&server,
           "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '40001'; END $$; "
           "CREATE CONSTRAINT TRIGGER f AFTER INSERT ON vault_kv_store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
           "EXECUTE FUNCTION fail()");
    static const enum rh_put_mode modes[] = {RH_PUT_CREATE, RH_PUT_REPLACE};
    for (size_t i = 0; i < 2; i++) {
        /* the server says no while it commits: surely undone */
        assert_int_equal(write_batch(&place, &batch, modes[i], &commit), RH_E_STORE);
        assert_int_equal(commit, RH_COMMIT_NOT_DONE);
        assert_int_equal(err.retry, RH_RETRY_LATER);
        assert_non_null(strstr(err.text, "40001"));
        assert_int_equal(batch.records[0].outcome, RH_OUTCOME_NONE);
    }
    pg_sql(&server, "DROP TRIGGER f ON vault_kv_store");
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    assert_string_equal(ALL_ROWS(), "a:1");
    rh_batch_done(&batch);
    close_place(&place);
}

/* Tables that can't be used, each with its reason and a remedy. */
static void wrong_shapes(void **state)
{
    (void)state;
#define C "TEXT COLLATE \"C\""
    static const struct {
        const char *make, *why, *remedy;
    } cases[] = {
        {"CREATE TABLE t (path " C ", parent_path " C ", key " C ", value BYTEA, PRIMARY KEY (path, key))",
         "in this order",                                                                                                                               "by position"                },
        {"CREATE TABLE t (parent_path " C ", path " C ", key " C ", PRIMARY KEY (path, key))",                        "it has 3 columns",
         "by position"                                                                                                                                                               },
        {"CREATE TABLE t (parent_path " C ", path " C ", key " C ", value BYTEA, more int, PRIMARY KEY (path, key))",
         "it has 5 columns",                                                                                                                            "by position"                },
        {"CREATE TABLE t (parent_path " C ", path " C ", key " C ", value TEXT, PRIMARY KEY (path, key))",
         "value is text",                                                                                                                               "BYTEA"                      },
        {"CREATE TABLE t (parent_path " C ", path varchar(100) COLLATE \"C\", key " C
         ", value BYTEA, PRIMARY KEY (path, key))",                                                          "limited length",                 "TEXT"                       },
        {"CREATE TABLE t (parent_path " C ", path TEXT COLLATE \"und-x-icu\", key " C
         ", value BYTEA, PRIMARY KEY (path, key))",                                                          "isn't COLLATE",                  "ALTER COLUMN path"          },
        {"CREATE TABLE t (parent_path " C ", path " C ", key " C ", value BYTEA)",                                    "neither primary key nor unique",
         "ADD PRIMARY KEY (path, key)"                                                                                                                                               },
        {"CREATE TABLE t (parent_path " C ", path " C ", key " C ", value BYTEA, PRIMARY KEY (key, path))",
         "neither primary key nor unique",                                                                                                              "ADD PRIMARY KEY (path, key)"},
        {"CREATE UNLOGGED TABLE t (parent_path " C ", path " C ", key " C ", value BYTEA, PRIMARY KEY (path, key))",
         "UNLOGGED",                                                                                                                                    "SET LOGGED"                 },
        {"CREATE VIEW t AS SELECT * FROM vault_kv_store",                                                             "isn't a table",                  "name a table"               },
    };
#undef C
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pg_sql(&server, "SET ROLE vault; %s", cases[i].make);
        struct place place = open_place(PAIRS("table", "t"));
        uint32_t missing = 99;
        enum rh_status status = driver->schema->missing(&ctx, place.session, &missing);
        if (status != RH_E_REFUSED || !strstr(err.text, cases[i].why) || !strstr(err.hint, cases[i].remedy))
            fail_msg("%s: %s: %s / %s", cases[i].make, rh_status_name(status), err.text, err.hint);
        close_place(&place);
        pg_sql(&server, "DROP %s t; RESET ROLE", strncmp(cases[i].make, "CREATE VIEW", 11) == 0 ? "VIEW" : "TABLE");
    }
    /* columns that were dropped leave no gap */
    pg_sql(&server, "ALTER TABLE vault_kv_store ADD extra int; ALTER TABLE vault_kv_store DROP extra");
    struct place place = open_place(NO_PAIRS);
    uint32_t missing = 99;
    OK(driver->schema->missing(&ctx, place.session, &missing));
    assert_int_equal(missing, 0);
    close_place(&place);
}

/* Rows that Vault wouldn't find stop a scan, with their columns. */
static void rows_of_nobody(void **state)
{
    (void)state;
    static const char *const rows[] = {"'', '/a/', 'k'", "'/', '/', 'k'", "'', 'a', 'k'",
                                       "'', '/', 'a/b'", "'', '', 'k'",   "'', '/', ''"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pg_sql(&server, "DELETE FROM vault_kv_store; INSERT INTO vault_kv_store VALUES (%s, 'v')", rows[i]);
        struct place place = open_place(NO_PAIRS);
        struct rh_scan *scan;
        size_t count = 0;
        OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), RH_SCAN_KEYS_ONLY,
                                   &scan));
        enum rh_status status = drain(scan, &count);
        if (status != RH_E_CORRUPT && !(i == 4 || i == 2))
            fail_msg("(%s): %s", rows[i], rh_status_name(status));
        driver->read->scan_close(scan);
        close_place(&place);
    }
}

/* Made where missing, as OpenBao makes it; dropped only while empty; not made where that is forbidden. */
static void container(void **state)
{
    (void)state;
    pg_sql(&server, "DROP TABLE vault_kv_store");
    struct place place =
        open_place(PAIRS("table", "openbao_kv_store", "ha_table", "openbao_ha_locks", "ha_enabled", "true"));
    uint32_t missing = 0, now = 99;
    OK(driver->schema->missing(&ctx, place.session, &missing));
    assert_int_equal(missing, 3);
    OK(driver->schema->before(&ctx, place.session, missing));
    OK(driver->schema->before(&ctx, place.session, missing));
    OK(driver->schema->missing(&ctx, place.session, &now));
    assert_int_equal(now, 0);
    assert_string_equal(
        PG_SQL_TEXT(&server,
                    "SELECT string_agg(indexname || ' ' || tablename, ', ' ORDER BY indexname) FROM pg_indexes "
                    "WHERE schemaname = 'public'"),
        "openbao_ha_locks_pkey openbao_ha_locks, openbao_kv_store_idx openbao_kv_store, "
        "openbao_kv_store_pkey openbao_kv_store");
    /* Vault's own statements work on it */
    pg_sql(
        &server,
        "INSERT INTO openbao_kv_store VALUES ('', '/', 'k', 'v') ON CONFLICT (path, key) DO UPDATE SET (parent_path, "
        "path, key, value) = ('', '/', 'k', 'v')");
    assert_int_equal(driver->schema->undo(&ctx, place.session, missing), RH_EXISTS);
    assert_non_null(strstr(err.text, "isn't empty"));
    pg_sql(&server, "DELETE FROM openbao_kv_store");
    OK(driver->schema->undo(&ctx, place.session, missing));
    assert_string_equal(PG_SQL_TEXT(&server, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    close_place(&place);
    place = open_place(PAIRS("skip_create_table", "true"));
    assert_int_equal(driver->schema->missing(&ctx, place.session, &missing), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "skip_create_table"));
    close_place(&place);
    /* a name that leaves no room for its index's */
    place = open_place(PAIRS("table", "Odd \"name\" of sixty three bytes, as long as one may be, and odd"));
    OK(driver->schema->missing(&ctx, place.session, &missing));
    OK(driver->schema->before(&ctx, place.session, missing));
    OK(driver->schema->undo(&ctx, place.session, missing));
    close_place(&place);
    struct rh_store *store = NULL;
    assert_int_equal(pg_try_store(&server, false,
                                  PAIRS("table", "a name of sixty four bytes, which the server would cut silently!!!"),
                                  &store, &err),
                     RH_E_PLAN);
}

/* One table has one identity, however it is reached; another table, database or server has another. */
static void identities(void **state)
{
    (void)state;
    char url[300], socket[300];
    snprintf(url, sizeof url, "postgres://vault@localhost:%u/vault?search_path=public%%2Cother&pool_max_conns=7",
             server.at.port);
    snprintf(socket, sizeof socket, "host=%s port=%u user=postgres dbname=vault", server.at.socket, server.at.port);
    pg_sql(&server, "CREATE SCHEMA other AUTHORIZATION vault; SET ROLE vault; SET search_path = other; %s", documented);
    pg_sql(&server, "RESET ROLE; RESET search_path");
    const char *const *ways[] = {NO_PAIRS, PAIRS("connection_url", url),
                                 PAIRS("connection_url", socket, "password_file", "", "tls.ca_file", ""),
                                 PAIRS("table", "other"), PAIRS("url+", "options='-c search_path=other'")};
    struct rh_facts facts[5];
    for (size_t i = 0; i < 5; i++) {
        struct place place = open_place(ways[i]);
        OK(driver->facts(&ctx, place.session, &facts[i]));
        close_place(&place);
    }
    assert_string_equal(facts[0].identity, facts[1].identity);
    assert_string_equal(facts[0].identity, facts[2].identity);
    assert_string_not_equal(facts[0].identity, facts[3].identity);
    assert_string_not_equal(facts[0].identity, facts[4].identity);
    assert_int_equal(facts[0].exists, RH_YES);
    assert_int_equal(facts[3].exists, RH_NO);
    assert_int_equal(facts[0].writable, RH_YES);
    assert_int_equal(facts[0].encrypted_at_rest, RH_UNKNOWN);
    assert_string_equal(facts[0].product, "PostgreSQL");
    assert_string_equal(facts[2].tls, "local");
    pg_sql(&server, "DROP SCHEMA other CASCADE");
    struct pg_server second;
    assert_true(pg_server_start(&second, ""));
    struct rh_store *store = pg_open_store(&second, NO_PAIRS);
    struct rh_session *session;
    OK(driver->session_open(&ctx, store, RH_ROLE_READ, &session));
    OK(driver->facts(&ctx, session, &facts[3]));
    driver->session_close(session);
    driver->close(store);
    pg_server_stop(&second);
    assert_string_not_equal(facts[0].identity, facts[3].identity);
}

/* A Vault with HA is seen by its row in the lock table for as long as that is valid. */
static void live_owner(void **state)
{
    (void)state;
    struct place place = open_place(NO_PAIRS);
    struct rh_facts facts;
    OK(driver->facts(&ctx, place.session, &facts));
    assert_string_equal(facts.live_owner, "");
    assert_string_not_equal(facts.owner_blind, "");
    pg_sql(&server,
           "SET ROLE vault; CREATE TABLE vault_ha_locks (ha_key TEXT COLLATE \"C\" NOT NULL, ha_identity TEXT COLLATE "
           "\"C\" "
           "NOT NULL, ha_value TEXT COLLATE \"C\", valid_until TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT ha_key "
           "PRIMARY KEY (ha_key)); INSERT INTO vault_ha_locks VALUES ('core/lock', 'node-1', 'x', now() + interval '15 "
           "s')");
    OK(driver->facts(&ctx, place.session, &facts));
    assert_non_null(strstr(facts.live_owner, "node-1"));
    assert_non_null(strstr(facts.live_owner, "core/lock"));
    pg_sql(&server, "UPDATE vault_ha_locks SET valid_until = now() - interval '1 s'");
    OK(driver->facts(&ctx, place.session, &facts));
    assert_string_equal(facts.live_owner, "");
    /* one that we may not look at is no proof of nobody */
    pg_sql(&server,
           "RESET ROLE; ALTER TABLE vault_ha_locks OWNER TO postgres; REVOKE ALL ON vault_ha_locks FROM vault");
    OK(driver->facts(&ctx, place.session, &facts));
    assert_non_null(strstr(facts.owner_blind, "can't be read"));
    close_place(&place);
}

/* Rights and switches: seen in facts, refused in words. */
static void no_rights(void **state)
{
    (void)state;
    pg_sql(&server, "CREATE ROLE reader LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON "
                    "vault_kv_store TO reader");
    struct place place = open_place(PAIRS("url+", "user=reader", "password", "pw"));
    struct rh_facts facts;
    OK(driver->facts(&ctx, place.session, &facts));
    assert_int_equal(facts.writable, RH_NO);
    struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    add(&batch, "a", "1");
    assert_int_equal(write_batch(&place, &batch, RH_PUT_CREATE, &commit), RH_E_DENIED);
    assert_int_equal(commit, RH_COMMIT_NOT_DONE);
    close_place(&place);
    pg_sql(&server, "DROP OWNED BY reader; DROP ROLE reader; ALTER ROLE vault SET default_transaction_read_only = on");
    place = open_place(NO_PAIRS);
    OK(driver->facts(&ctx, place.session, &facts));
    assert_int_equal(facts.writable, RH_NO);
    assert_int_equal(write_batch(&place, &batch, RH_PUT_CREATE, &commit), RH_E_DENIED);
    assert_non_null(strstr(err.hint, "read-only"));
    close_place(&place);
    pg_sql(&server, "ALTER ROLE vault RESET default_transaction_read_only");
    place = open_place(NO_PAIRS);
    OK(write_batch(&place, &batch, RH_PUT_CREATE, &commit));
    rh_batch_done(&batch);
    close_place(&place);
}

/* Row security never makes a store look emptier than it is. */
static void row_security(void **state)
{
    (void)state;
    pg_sql(&server,
           "INSERT INTO vault_kv_store SELECT '', '/', 'k' || n, 'v' FROM generate_series(1, 10) n; CREATE POLICY p ON "
           "vault_kv_store USING (key < 'k5'); ALTER TABLE vault_kv_store ENABLE ROW LEVEL SECURITY; ALTER TABLE "
           "vault_kv_store FORCE ROW LEVEL SECURITY");
    struct place place = open_place(NO_PAIRS);
    struct rh_scan *scan;
    size_t count = 0;
    OK(driver->read->scan_open(&ctx, place.session, &kv, (struct rh_range){0}, rh_bytes(NULL, 0), 0, &scan));
    assert_int_equal(drain(scan, &count), RH_E_DENIED);
    assert_int_equal(count, 0);
    driver->read->scan_close(scan);
    close_place(&place);
}

/* A database of another encoding is refused before anything is read. */
static void wrong_encoding(void **state)
{
    (void)state;
    pg_sql(&server, "DROP DATABASE IF EXISTS latin");
    pg_sql(&server, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 OWNER vault");
    struct rh_store *store = pg_open_store(&server, PAIRS("url+", "dbname=latin"));
    struct rh_session *session;
    assert_int_equal(driver->session_open(&ctx, store, RH_ROLE_READ, &session), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "LATIN1"));
    assert_non_null(strstr(err.hint, "UTF8"));
    driver->close(store);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_table)
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(hard_keys),
        TEST(order),
        TEST(one_snapshot),
        TEST(limits),
        TEST(create_meets_others),
        TEST(only_what_is_ours),
        TEST(cut_scan),
        TEST(unknown_commit),
        TEST(writer_of_a_killed_process),
        TEST(deadline_and_cancel),
        TEST(deadlock),
        TEST(serialization_failure),
        TEST(wrong_shapes),
        TEST(rows_of_nobody),
        TEST(container),
        TEST(identities),
        TEST(live_owner),
        TEST(no_rights),
        TEST(row_security),
        TEST(wrong_encoding),
    };
    if (!pg_server_had())
        return 77;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, start, stop);
}
