/* SPDX-License-Identifier: Apache-2.0 */
/* The file driver on real folders: Vault's layout byte by byte, and each trap of it. */
#include "../../src/stores/file/file.h"
#include "../../src/stores/file/file_entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct rh_driver *const driver = &rh_file_driver;
static const struct rh_dataset kv = {.name = RH_KV_DATASET};
static struct rh_digest_key digest_key;

struct place {
    char path[256]; /* the folder of this test */
    char root[300]; /* the store's */
    struct rh_error err;
    struct rh_ctx ctx;
    struct rh_options *options;
    struct rh_store *store;
    struct rh_session *session;
};

#define assert_ok(place, expression)                                                                                   \
    do {                                                                                                               \
        enum rh_status status_ = (expression);                                                                         \
        if (status_ != RH_OK)                                                                                          \
            fail_msg("%s: %s: %s", #expression, rh_status_name(status_), (place)->err.text);                           \
    } while (0)

/* --- folders --- */

static char *in_place(const struct place *place, const char *name, char out[static 4200])
{
    snprintf(out, 4200, "%s/%s", place->root, name);
    return out;
}

static void make_file(const struct place *place, const char *name, const char *content)
{
    char path[4200];
    int fd = open(in_place(place, name, path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(close(fd), 0);
}

static void make_folder(const struct place *place, const char *name)
{
    char path[4200];
    assert_int_equal(mkdir(in_place(place, name, path), 0700), 0);
}

static bool is_there(const struct place *place, const char *name)
{
    char path[4200];
    struct stat st;
    return lstat(in_place(place, name, path), &st) == 0;
}

static void assert_content(const struct place *place, const char *name, const char *content)
{
    rh_auto_buf struct rh_buf buf = rh_buf_limited(1 << 20);
    char path[4200];
    assert_int_equal(rh_file_read(AT_FDCWD, in_place(place, name, path), 1 << 20, &buf, NULL), RH_OK);
    assert_string_equal(rh_buf_cstr(&buf), content);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* --- stores --- */

static void open_place(struct place *place, const char *leftovers)
{
    place->ctx = (struct rh_ctx){.err = &place->err};
    assert_ok(place, rh_options_new(driver->options, "", &place->options, &place->err));
    assert_ok(place, rh_options_set(place->options, "path", rh_bytes_text(place->root), "", &place->err));
    assert_ok(place, rh_options_set(place->options, "leftovers", rh_bytes_text(leftovers), "", &place->err));
    assert_ok(place, rh_options_end(place->options, &place->err));
    struct rh_store_args args = {.options = place->options, .name = "test"};
    assert_ok(place, driver->open(&place->ctx, &args, &place->store));
    assert_ok(place, driver->session_open(&place->ctx, place->store, RH_ROLE_WRITE, &place->session));
}

static void close_place(struct place *place)
{
    if (place->session)
        driver->session_close(place->session);
    if (place->store)
        driver->close(place->store);
    rh_options_free(place->options);
    place->session = NULL;
    place->store = NULL;
    place->options = NULL;
}

static void reopen(struct place *place, const char *leftovers)
{
    close_place(place);
    open_place(place, leftovers);
}

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    snprintf(place->path, sizeof(place->path), "/tmp/rehome-file-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    snprintf(place->root, sizeof(place->root), "%s/root", place->path);
    assert_int_equal(mkdir(place->root, 0700), 0);
    open_place(place, "refuse");
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    close_place(place);
    nftw(place->path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

/* Scans everything into `all`; the status that ended it (RH_END for a whole scan). */
static enum rh_status scan(struct place *place, unsigned flags, struct rh_batch *all)
{
    struct rh_scan *cursor = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = driver->read->scan_open(&place->ctx, place->session, &kv, (struct rh_range){0},
                                                    rh_bytes("", 0), flags, &cursor);
    while (status == RH_OK) {
        rh_batch_clear(&batch);
        status = driver->read->scan_next(&place->ctx, cursor, 1 << 20, 1000, &batch);
        for (size_t i = 0; status == RH_OK && all && i < batch.count; i++)
            assert_non_null(
                rh_batch_add_kv(all, batch.records[i].key,
                                batch.records[i].fields ? batch.records[i].fields[0].value : rh_bytes("", 0), false));
    }
    if (cursor)
        driver->read->scan_close(cursor);
    return status;
}

/* Both kinds of scan refuse, naming the path, with a remedy. */
static void assert_refused(struct place *place, const char *name)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        place->err = (struct rh_error){0};
        assert_int_equal(scan(place, flags, NULL), RH_E_REFUSED);
        if (!strstr(place->err.text, name))
            fail_msg("'%s' is not named in: %s", name, place->err.text);
        assert_true(place->err.hint[0] != '\0');
    }
}

static void assert_keys(struct place *place, const char *const *keys)
{
    for (unsigned flags = 0; flags < 2; flags++) {
        rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
        enum rh_status status = scan(place, flags, &all);
        if (status != RH_END)
            fail_msg("scan: %s", place->err.text);
        size_t count = 0;
        for (; keys[count]; count++) {
            assert_in_range(count + 1, 1, all.count);
            assert_true(rh_bytes_equal(all.records[count].key, rh_bytes_text(keys[count])));
        }
        assert_int_equal(all.count, count);
    }
}

/* Puts one record; the commit's status. */
static enum rh_status put(struct place *place, const char *key, const char *value, enum rh_put_mode mode)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text(key), rh_bytes_text(value), false));
    assert_ok(place, driver->write->begin(&place->ctx, place->session, &kv, &digest_key));
    enum rh_status status = driver->write->put(&place->ctx, place->session, &batch, mode);
    if (status != RH_OK) {
        driver->write->abort(place->session);
        return status;
    }
    status = driver->write->commit(&place->ctx, place->session, &commit);
    assert_int_equal(commit, status == RH_OK ? RH_COMMIT_DONE : RH_COMMIT_NOT_DONE);
    return status != RH_OK ? status : batch.records[0].outcome == RH_OUTCOME_DONE ? RH_OK : RH_EXISTS;
}

#define VALUE "{\"Value\":\"dg==\"}\n" /* "v" */

/* --- content --- */

/* What the text parses to, or the failure. */
static enum rh_status parse(const char *text, struct rh_buf *value)
{
    struct rh_bytes base64;
    const char *reason = NULL;
    char *exact = malloc(strlen(text) ? strlen(text) : 1); /* so that a sanitizer sees each byte too far */
    assert_non_null(exact);
    memcpy(exact, text, strlen(text));
    enum rh_status status = rh_file_entry_parse((uint8_t *)exact, strlen(text), &base64, &reason);
    if (status == RH_OK) {
        assert_int_equal(base64.data == NULL, strstr(text, "\"Value\":null") != NULL); /* NULL isn't empty */
        status = rh_base64_decode(value, base64, NULL);
    } else
        assert_non_null(reason);
    free(exact);
    return status;
}

static void test_entry_accepts(void **state)
{
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"{\"Value\":\"aGVsbG8=\"}\n",                                                "hello"},
        {"{\"Value\":\"\"}\n",                                                        ""     },
        {"{\"Value\":null}\n",                                                        ""     },
        {"{\"Key\":\"a/b\",\"Value\":\"aGVsbG8=\"}\n",                                "hello"},
        {"{\"Value\":\"aGVsbG8=\",\"SealWrap\":false,\"ValueHash\":null}",            "hello"},
        {" \t\r\n{ \"Value\" : \"aGVsbG8=\" } \n\n",                                  "hello"},
        {"{\"a\":[1,-2.5e+3,{\"b\":[]},\"x\\\"y\"],\"Value\":\"aGVsbG8=\",\"c\":{}}", "hello"},
        {"{\"Value\":\"Pz8\\/\"}",                                                    "???"  },
        {"{\"Value\":\"Pz8\\u002f\"}",                                                "???"  },
        {"{\"\\u0056alue\":\"aGVsbG8=\"}",                                            "hello"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rh_auto_buf struct rh_buf value = RH_BUF_INIT;
        if (parse(cases[i].text, &value) != RH_OK)
            fail_msg("refused: %s", cases[i].text);
        assert_string_equal(rh_buf_cstr(&value), cases[i].value);
    }
}

static void test_entry_refuses(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "null",
        "[]",
        "{}",
        "{",
        "{\"Value\"",
        "{\"Value\":",
        "{\"Value\":\"",
        "{\"Value\":\"aGVsbG8=",
        "{\"Value\":\"aGVsbG8=\"",
        "{\"Value\":\"aGVsbG8=\"}x",
        "{\"Value\":\"aGVsbG8=\"}{\"Value\":\"\"}\n",
        "{\"Value\":\"aGVsbG8=\",\"Value\":\"\"}\n",
        "{\"value\":\"aGVsbG8=\"}",
        "{\"Key\":\"x\"}",
        "{\"Value\":1}",
        "{\"Value\":[]}",
        "{\"Value\":\"aGVsbG8\"}\n",
        "{\"Value\":\"aGVs!G8=\"}\n",
        "{\"Value\":\"aGVs\\nbG8=\"}\n",
        "{\"Value\":\"aG\nVsbG8=\"}",
        "{\"Value\":\"aGVsbG8=\\u00e9\"}",
        "{\"Value\":\"\\x41\"}",
        "{\"Value\":\"\\u12\"}",
        "{\"Value\":\"\\",
        "{\"Value\":\"aGVsbG8=\",}",
        "{\"a\" \"Value\":\"\"}",
        "{\"a\":tru,\"Value\":\"\"}",
        "{\"a\":-,\"Value\":\"\"}",
        "{\"a\":1.,\"Value\":\"\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rh_auto_buf struct rh_buf value = RH_BUF_INIT;
        if (parse(cases[i], &value) != RH_E_CORRUPT)
            fail_msg("taken: %s", cases[i]);
    }
}

static void test_entry_depth_is_bounded(void **state)
{
    char text[4000] = "{\"a\":";
    rh_auto_buf struct rh_buf value = RH_BUF_INIT;
    (void)state;
    memset(text + 5, '[', sizeof(text) - 6);
    assert_int_equal(parse(text, &value), RH_E_CORRUPT);
}

static void test_layout(void **state)
{
    struct place *place = *state;
    char path[4200];
    struct stat st;
    assert_ok(place, put(place, "a/b/c", "hello", RH_PUT_CREATE));
    assert_ok(place, put(place, "top", "", RH_PUT_CREATE));
    assert_content(place, "a/b/_c", "{\"Value\":\"aGVsbG8=\"}\n");
    assert_content(place, "_top", "{\"Value\":\"\"}\n");
    assert_int_equal(stat(in_place(place, "a/b/_c", path), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(in_place(place, "a/b", path), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    close_place(place);
    assert_false(is_there(place, ".rehome-tmp"));
}

static void test_owner_follows_root(void **state)
{
    struct place *place = *state;
    char path[4200];
    struct stat st;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(place->root, 1234, 2345), 0);
    reopen(place, "refuse");
    assert_ok(place, put(place, "a/b", "v", RH_PUT_CREATE));
    for (const char *const *name = (const char *const[]){"a", "a/_b", ".rehome-tmp", NULL}; *name; name++) {
        assert_int_equal(stat(in_place(place, *name, path), &st), 0);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 2345);
    }
}

/* --- traps of reading --- */

static void test_left_over_temp(void **state)
{
    struct place *place = *state;
    make_file(place, "_k", VALUE);
    make_file(place, "_k.temp", VALUE);
    assert_refused(place, "_k.temp");
    reopen(place, "skip");
    assert_keys(place, (const char *const[]){"k", NULL});
    reopen(place, "copy");
    assert_keys(place, (const char *const[]){"k", "k.temp", NULL});
}

static void test_empty_file(void **state)
{
    struct place *place = *state;
    struct rh_bytes key = rh_bytes_text("d/empty");
    rh_auto_batch struct rh_batch out = RH_BATCH_INIT;
    make_folder(place, "d");
    make_file(place, "d/_empty", "");
    make_file(place, "d/_full", VALUE);
    assert_refused(place, "d/empty");
    assert_int_equal(driver->read->get(&place->ctx, place->session, &kv, &key, 1, &out), RH_E_REFUSED);
    reopen(place, "skip");
    assert_keys(place, (const char *const[]){"d/full", NULL});
    reopen(place, "copy");
    assert_keys(place, (const char *const[]){"d/full", NULL});
    assert_true(is_there(place, "d/_empty")); /* Vault would have deleted it; we only read */
}

static void test_foreign_things(void **state)
{
    struct place *place = *state;
    static const char *const foreign[] = {"README", "_", ".hidden", "lost"};
    char path[4200];
    make_file(place, "_k", VALUE);
    for (size_t i = 0; i < 4; i++) {
        make_file(place, foreign[i], VALUE);
        assert_refused(place, foreign[i]);
        assert_int_equal(unlink(in_place(place, foreign[i], path)), 0);
    }
    assert_int_equal(mkfifo(in_place(place, "_pipe", path), 0600), 0);
    assert_refused(place, "_pipe");
    reopen(place, "skip");
    assert_keys(place, (const char *const[]){"k", NULL});
}

static void test_links_are_not_followed(void **state)
{
    struct place *place = *state;
    struct rh_bytes keys[] = {rh_bytes_text("link"), rh_bytes_text("away/k")};
    char path[4200], outside[300];
    rh_auto_batch struct rh_batch out = RH_BATCH_INIT;
    snprintf(outside, sizeof(outside), "%s/outside", place->path);
    assert_int_equal(mkdir(outside, 0700), 0);
    make_file(place, "../outside/_k", VALUE);
    assert_int_equal(symlink("../outside/_k", in_place(place, "_link", path)), 0);
    assert_refused(place, "_link");
    assert_int_equal(driver->read->get(&place->ctx, place->session, &kv, keys, 1, &out), RH_E_REFUSED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("../outside", in_place(place, "away", path)), 0);
    assert_refused(place, "away");
    assert_int_equal(driver->read->get(&place->ctx, place->session, &kv, keys + 1, 1, &out), RH_E_REFUSED);
    assert_int_equal(put(place, "away/new", "v", RH_PUT_CREATE), RH_E_CONFLICT);
    assert_false(is_there(place, "../outside/_new"));
    assert_int_equal(out.count, 0);
}

static void test_root_may_be_a_link(void **state)
{
    struct place *place = *state;
    static struct rh_facts direct, linked;
    char target[300];
    assert_ok(place, put(place, "k", "v", RH_PUT_CREATE));
    assert_ok(place, driver->facts(&place->ctx, place->session, &direct));
    close_place(place);
    snprintf(target, sizeof(target), "%s", place->root);
    snprintf(place->root, sizeof(place->root), "%s/link", place->path);
    assert_int_equal(symlink(target, place->root), 0);
    open_place(place, "refuse");
    assert_keys(place, (const char *const[]){"k", NULL});
    assert_ok(place, driver->facts(&place->ctx, place->session, &linked));
    assert_string_equal(direct.identity, linked.identity);
    assert_string_equal(direct.address, linked.address);
}

static void test_broken_file_is_named(void **state)
{
    struct place *place = *state;
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
    make_folder(place, "d");
    make_file(place, "_a", VALUE);
    make_file(place, "d/_broken", "{\"Value\":\"c2VjcmV0");
    assert_int_equal(scan(place, 0, &all), RH_E_CORRUPT);
    assert_non_null(strstr(place->err.text, "d/broken"));
    assert_null(strstr(place->err.text, "c2Vj")); /* never a piece of the value */
}

static void test_vanished_folder_is_an_error(void **state)
{
    struct place *place = *state;
    struct rh_scan *cursor = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    char path[4200];
    make_file(place, "_a", VALUE);
    make_folder(place, "d");
    assert_ok(place, driver->read->scan_open(&place->ctx, place->session, &kv, (struct rh_range){0}, rh_bytes("", 0), 0,
                                             &cursor));
    assert_int_equal(rmdir(in_place(place, "d", path)), 0);
    assert_ok(place, driver->read->scan_next(&place->ctx, cursor, 1, 1, &batch));
    rh_batch_clear(&batch);
    assert_int_equal(driver->read->scan_next(&place->ctx, cursor, 1, 1, &batch), RH_E_IO);
    assert_non_null(strstr(place->err.text, "changed while it was read"));
    driver->read->scan_close(cursor);
}

static void test_vanished_file_is_an_error(void **state)
{
    struct place *place = *state;
    char path[4200];
    for (unsigned flags = 0; flags < 2; flags++) {
        struct rh_scan *cursor = NULL;
        rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
        make_file(place, "_a", VALUE);
        make_file(place, "_b", VALUE);
        assert_ok(place, driver->read->scan_open(&place->ctx, place->session, &kv, (struct rh_range){0},
                                                 rh_bytes("", 0), flags, &cursor));
        assert_int_equal(unlink(in_place(place, "_b", path)), 0);
        assert_int_equal(driver->read->scan_next(&place->ctx, cursor, 1 << 20, 10, &batch), RH_E_IO);
        assert_non_null(strstr(place->err.text, "'b'"));
        driver->read->scan_close(cursor);
    }
}

static void test_absent_root(void **state)
{
    struct place *place = *state;
    static struct rh_facts facts;
    struct rh_bytes key = rh_bytes_text("k");
    rh_auto_batch struct rh_batch out = RH_BATCH_INIT;
    close_place(place);
    snprintf(place->root, sizeof(place->root), "%s/not/there", place->path);
    open_place(place, "refuse");
    assert_int_equal(scan(place, 0, NULL), RH_E_IO); /* never an empty store */
    assert_non_null(strstr(place->err.text, "does not exist"));
    assert_ok(place, driver->read->get(&place->ctx, place->session, &kv, &key, 1, &out));
    assert_int_equal(out.count, 0);
    assert_ok(place, driver->facts(&place->ctx, place->session, &facts));
    assert_int_equal(facts.exists, RH_NO);
    assert_non_null(strstr(facts.identity, "/not/there"));
    assert_non_null(strstr(facts.address, "/not/there"));
}

/* --- traps of writing --- */

static enum rh_status fits(struct place *place, const char *key, char rival[static 300])
{
    rh_auto_buf struct rh_buf buf = RH_BUF_INIT;
    enum rh_status status = driver->write->fits(place->store, &kv, rh_bytes_text(key), 10, &buf, &place->err);
    snprintf(rival, 300, "%s", rh_buf_cstr(&buf));
    return status;
}

static void test_fits(void **state)
{
    struct place *place = *state;
    static const char *const no[] = {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "x..y", "k.temp", "d/.temp"};
    static const char *const yes[] = {"a", "a/b", ".a", "a.", "tempo", "k.temp/x", "_", "a/_", "\xff\xfe", "a b", "%"};
    char rival[300], key[600];
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        if (fits(place, no[i], rival) != RH_E_LIMIT)
            fail_msg("fits: '%s'", no[i]);
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (fits(place, yes[i], rival) != RH_OK)
            fail_msg("doesn't fit: '%s'", yes[i]);
        assert_string_equal(rival, "");
        assert_ok(place, put(place, yes[i], "v", RH_PUT_CREATE));
    }
    snprintf(key, sizeof(key), "%0249d", 1);
    assert_int_equal(fits(place, key, rival), RH_OK);
    assert_ok(place, put(place, key, "v", RH_PUT_CREATE));
    snprintf(key, sizeof(key), "%0250d", 1);
    assert_int_equal(fits(place, key, rival), RH_E_LIMIT);
    snprintf(key, sizeof(key), "%0255d/x", 1);
    assert_int_equal(fits(place, key, rival), RH_OK);
    assert_ok(place, put(place, key, "v", RH_PUT_CREATE));
    snprintf(key, sizeof(key), "%0256d/x", 1);
    assert_int_equal(fits(place, key, rival), RH_E_LIMIT);
}

static void test_underscore_rival(void **state)
{
    struct place *place = *state;
    char rival[300];
    assert_int_equal(fits(place, "x/_b/c", rival), RH_OK);
    assert_string_equal(rival, "x/b");
    assert_int_equal(fits(place, "_b/c", rival), RH_OK);
    assert_string_equal(rival, "b");
    assert_ok(place, put(place, "x/b", "v", RH_PUT_CREATE));
    assert_int_equal(put(place, "x/_b/c", "v", RH_PUT_REPLACE), RH_E_CONFLICT);
    assert_non_null(strstr(place->err.text, "x/_b"));
    assert_ok(place, put(place, "y/_b/c", "v", RH_PUT_CREATE));
    assert_int_equal(put(place, "y/b", "v", RH_PUT_CREATE), RH_E_CONFLICT);
    assert_int_equal(put(place, "y/b", "v", RH_PUT_REPLACE), RH_E_CONFLICT);
    assert_keys(place, (const char *const[]){"x/b", "y/_b/c", NULL});
}

static void test_null_value_stays_null(void **state)
{
    struct place *place = *state;
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    const struct rh_bytes keys[] = {rh_bytes_text("k"), rh_bytes_text("l")};
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, found = RH_BATCH_INIT;
    assert_non_null(rh_batch_add_kv(&batch, keys[0], rh_bytes("", 0), true));
    assert_non_null(rh_batch_add_kv(&batch, keys[1], rh_bytes("", 0), false));
    assert_ok(place, driver->write->begin(&place->ctx, place->session, &kv, &digest_key));
    assert_ok(place, driver->write->put(&place->ctx, place->session, &batch, RH_PUT_CREATE));
    assert_ok(place, driver->write->commit(&place->ctx, place->session, &commit));
    assert_ok(place, driver->read->get(&place->ctx, place->session, &kv, keys, 2, &found));
    assert_int_equal(found.count, 2);
    assert_int_equal(found.records[0].fields[0].tag, RH_TAG_NULL);
    assert_int_equal(found.records[1].fields[0].tag, RH_TAG_BYTES);
}

static void test_remove_prunes_folders(void **state)
{
    struct place *place = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    struct rh_field field = {.tag = RH_TAG_BYTES, .value = rh_bytes_text("v")};
    assert_ok(place, put(place, "a/b/c/d", "v", RH_PUT_CREATE));
    assert_ok(place, put(place, "a/x", "v", RH_PUT_CREATE));
    struct rh_record *record = rh_batch_add_kv(&batch, rh_bytes_text("a/b/c/d"), rh_bytes("", 0), false);
    assert_non_null(record);
    struct rh_record held = {.key = record->key, .fields = &field, .field_count = 1, .value_bytes = 1};
    record->expect = rh_digest_record(&digest_key, RH_KV_DATASET, &held);
    assert_ok(place, driver->write->begin(&place->ctx, place->session, &kv, &digest_key));
    assert_ok(place, driver->write->remove(&place->ctx, place->session, &batch));
    assert_ok(place, driver->write->commit(&place->ctx, place->session, &commit));
    assert_int_equal(record->outcome, RH_OUTCOME_DONE);
    assert_false(is_there(place, "a/b"));
    assert_true(is_there(place, "a/_x"));
}

/* What a killed run leaves is neither data nor a find, and the next writer takes it away, unless one is at work. */
static void test_leftovers_of_our_own(void **state)
{
    struct place *place = *state;
    char path[4200];
    assert_ok(place, put(place, "k", "v", RH_PUT_CREATE));
    close_place(place);
    make_folder(place, ".rehome-tmp");
    make_file(place, ".rehome-tmp/t-0badcafe-1", VALUE);
    int fd = open(in_place(place, ".rehome-tmp", path), O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_SH), 0); /* another writer */
    open_place(place, "refuse");
    assert_keys(place, (const char *const[]){"k", NULL});
    assert_true(is_there(place, ".rehome-tmp/t-0badcafe-1"));
    assert_ok(place, put(place, "k2", "v", RH_PUT_CREATE));
    assert_true(is_there(place, ".rehome-tmp/t-0badcafe-1"));
    close(fd);
    reopen(place, "refuse");
    assert_false(is_there(place, ".rehome-tmp"));
    assert_keys(place, (const char *const[]){"k", "k2", NULL});
}

/* A record that somebody keeps in a folder of that name is a record. */
static void test_temp_folder_hides_no_data(void **state)
{
    struct place *place = *state;
    make_folder(place, ".rehome-tmp");
    make_file(place, ".rehome-tmp/_k", VALUE);
    assert_keys(place, (const char *const[]){".rehome-tmp/k", NULL});
    assert_ok(place, put(place, "x", "v", RH_PUT_CREATE));
    reopen(place, "refuse");
    assert_keys(place, (const char *const[]){".rehome-tmp/k", "x", NULL});
}

/* What the killed child does: 20 records in one unit. */
static int write_as_child(const char *root, int point)
{
    struct place place = {.options = NULL};
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_commit commit;
    char key[32];
    snprintf(place.root, sizeof(place.root), "%s", root);
    open_place(&place, "refuse");
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "p%d/%02d", point, i);
        if (!rh_batch_add_kv(&batch, rh_bytes_text(key), rh_bytes_text("v"), false))
            return 1;
    }
    bool good = driver->write->begin(&place.ctx, place.session, &kv, &digest_key) == RH_OK &&
                driver->write->put(&place.ctx, place.session, &batch, RH_PUT_CREATE) == RH_OK &&
                driver->write->commit(&place.ctx, place.session, &commit) == RH_OK;
    close_place(&place);
    return good ? 2 : 3;
}

/* A kill at any crash point leaves each key old or new and whole, and the next session cleans up. */
static void test_killed_in_commit(void **state)
{
    struct place *place = *state;
#ifndef RH_TEST_HOOKS
    (void)place;
    skip();
#else
    for (int point = 1; point <= 5; point++) {
        char at[32];
        int status = 0;
        snprintf(at, sizeof(at), "file:%d", point);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char number[8];
            snprintf(number, sizeof(number), "%d", point);
            setenv("RH_CRASH_AT", at, 1);
            execl("/proc/self/exe", "test_file_store", "write", place->root, number, (char *)NULL);
            _exit(4);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
        assert_true(is_there(place, ".rehome-tmp"));
        assert_int_equal(scan(place, 0, &all), RH_END);
        size_t count = 0;
        for (size_t i = 0; i < all.count; i++) {
            char prefix[8];
            snprintf(prefix, sizeof(prefix), "p%d/", point);
            count += rh_bytes_starts(all.records[i].key, rh_bytes_text(prefix));
            assert_true(rh_bytes_equal(all.records[i].fields[0].value, rh_bytes_text("v")));
        }
        assert_int_equal(count, point <= 2 ? 0 : point == 3 ? 1 : 20);
        reopen(place, "refuse");
        assert_false(is_there(place, ".rehome-tmp"));
    }
#endif
}

/* A full file system: nothing of the batch shows, its temporaries are gone, and a smaller batch still goes in. */
static void test_full_disk(void **state)
{
    struct place *place = *state;
    static uint8_t value[64 << 10];
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    char key[16];
    close_place(place);
    if (geteuid() != 0 || mount("tmpfs", place->root, "tmpfs", 0, "size=512k") != 0) {
        fprintf(stderr, "test_full_disk: SKIPPED, no right to mount\n");
        open_place(place, "refuse");
        return;
    }
    open_place(place, "refuse");
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "d/%02d", i);
        assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text(key), rh_bytes(value, sizeof(value)), false));
    }
    assert_ok(place, driver->write->begin(&place->ctx, place->session, &kv, &digest_key));
    enum rh_status status = driver->write->put(&place->ctx, place->session, &batch, RH_PUT_CREATE);
    driver->write->abort(place->session);
    bool clean = !is_there(place, "d"), small = put(place, "small", "v", RH_PUT_CREATE) == RH_OK;
    struct statfs fs;
    int looked = statfs(place->root, &fs);
    close_place(place);
    assert_int_equal(umount(place->root), 0);
    open_place(place, "refuse");
    assert_int_equal(status, RH_E_FULL);
    assert_true(clean && small);
    assert_int_equal(looked, 0);
    assert_in_range(fs.f_bfree, fs.f_blocks - 8, fs.f_blocks); /* temporaries gave their room back */
}

/* --- schema, facts --- */

static void test_schema(void **state)
{
    struct place *place = *state;
    uint32_t missing = 0, again = 1;
    assert_ok(place, driver->schema->missing(&place->ctx, place->session, &missing));
    assert_int_equal(missing, 0);
    close_place(place);
    snprintf(place->root, sizeof(place->root), "%s/x/y/z", place->path);
    open_place(place, "refuse");
    assert_ok(place, driver->schema->missing(&place->ctx, place->session, &missing));
    assert_int_equal(missing & 1, 1);
    assert_ok(place, driver->schema->before(&place->ctx, place->session, missing));
    assert_ok(place, driver->schema->before(&place->ctx, place->session, missing));
    assert_ok(place, driver->schema->missing(&place->ctx, place->session, &again));
    assert_int_equal(again, 0);
    assert_ok(place, put(place, "k", "v", RH_PUT_CREATE));
    assert_int_equal(driver->schema->undo(&place->ctx, place->session, missing), RH_EXISTS);
    assert_true(is_there(place, "_k"));
    char path[4200];
    assert_int_equal(unlink(in_place(place, "_k", path)), 0);
    assert_ok(place, driver->schema->undo(&place->ctx, place->session, missing));
    assert_false(is_there(place, ""));
    assert_false(is_there(place, "../../../x"));
    assert_ok(place, driver->schema->undo(&place->ctx, place->session, missing));
}

static void test_overlaps(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *path;
        bool overlaps;
    } cases[] = {
        {"root",          true },
        {"root/",         true },
        {"root/a",        true },
        {"root/absent/x", true },
        {"root/../root",  true },
        {"root2",         false},
        {"absent",        false},
        {"absent/x",      false},
        {".",             true },
        {"link/a",        true },
        {"rootx/y",       false}
    };
    char path[4200];
    make_folder(place, "a");
    assert_int_equal(mkdir(in_place(place, "../root2", path), 0700), 0);
    assert_int_equal(symlink("root", in_place(place, "../link", path)), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct place other = {.ctx.err = &place->err};
        snprintf(other.root, sizeof(other.root), "%s/%s", place->path, cases[i].path);
        open_place(&other, "refuse");
        if (driver->overlaps(place->store, other.store) != cases[i].overlaps ||
            driver->overlaps(other.store, place->store) != cases[i].overlaps)
            fail_msg("overlaps: '%s'", cases[i].path);
        close_place(&other);
    }
}

static void test_fingerprint_sees_a_new_folder(void **state)
{
    struct place *place = *state;
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, after = RH_BUF_INIT;
    char aside[300];
    assert_ok(place, driver->guard->fingerprint(&place->ctx, place->session, &before));
    snprintf(aside, sizeof(aside), "%s/aside", place->path);
    assert_int_equal(rename(place->root, aside), 0);
    assert_int_equal(mkdir(place->root, 0700), 0);
    reopen(place, "refuse");
    assert_ok(place, driver->guard->fingerprint(&place->ctx, place->session, &after));
    assert_string_not_equal(rh_buf_cstr(&before), rh_buf_cstr(&after));
}

/* --- flat memory --- */

/* VmHWM in KiB. */
static long peak_kib(void)
{
    char line[256];
    long peak = -1;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            peak = strtol(line + 6, NULL, 10);
    fclose(file);
    return peak;
}

/* 200,000 names in one folder, far more than the window holds; every one comes once and in order. */
static void test_large_folder_in_flat_memory(void **state)
{
    struct place *place = *state;
    enum { COUNT = 200000 };
    struct rh_scan *cursor = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    char name[64], path[4200];
    size_t seen = 0;
    make_folder(place, "big");
    make_file(place, "big/_0", VALUE);
    in_place(place, "big/_0", path);
    for (uint32_t i = 1; i < COUNT; i++) { /* hard links: fast to make; names in no order */
        char to[4200];
        snprintf(name, sizeof(name), "big/_%08x-%08x-%u", i * 2654435761u, i * 40503u, i);
        if (link(path, in_place(place, name, to)) != 0) {
            assert_int_equal(errno, EMLINK);
            make_file(place, name, VALUE);
            snprintf(path, sizeof(path), "%s", to);
        }
    }
    long before = peak_kib();
    char previous[256] = "";
    assert_ok(place, driver->read->scan_open(&place->ctx, place->session, &kv, (struct rh_range){0}, rh_bytes("", 0),
                                             RH_SCAN_KEYS_ONLY, &cursor));
    for (;;) {
        rh_batch_clear(&batch);
        enum rh_status status = driver->read->scan_next(&place->ctx, cursor, 1 << 20, 1000, &batch);
        if (status == RH_END)
            break;
        assert_ok(place, status);
        for (size_t i = 0; i < batch.count; i++) {
            struct rh_bytes key = batch.records[i].key;
            assert_true(rh_bytes_compare(rh_bytes_text(previous), key) < 0);
            snprintf(previous, sizeof(previous), "%.*s", (int)key.size, (const char *)key.data);
            seen++;
        }
    }
    driver->read->scan_close(cursor);
    assert_int_equal(seen, COUNT);
    assert_in_range(peak_kib() - before, 0, 32 * 1024);
}

int main(int argc, char **argv)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_accepts),
        cmocka_unit_test(test_entry_refuses),
        cmocka_unit_test(test_entry_depth_is_bounded),
        CASE(test_layout),
        CASE(test_owner_follows_root),
        CASE(test_left_over_temp),
        CASE(test_empty_file),
        CASE(test_foreign_things),
        CASE(test_links_are_not_followed),
        CASE(test_root_may_be_a_link),
        CASE(test_broken_file_is_named),
        CASE(test_vanished_folder_is_an_error),
        CASE(test_vanished_file_is_an_error),
        CASE(test_absent_root),
        CASE(test_fits),
        CASE(test_underscore_rival),
        CASE(test_null_value_stays_null),
        CASE(test_remove_prunes_folders),
        CASE(test_leftovers_of_our_own),
        CASE(test_temp_folder_hides_no_data),
        CASE(test_killed_in_commit),
        CASE(test_full_disk),
        CASE(test_schema),
        CASE(test_overlaps),
        CASE(test_fingerprint_sees_a_new_folder),
        CASE(test_large_folder_in_flat_memory),
    };
    if (rh_digest_key_new(&digest_key, NULL) != RH_OK)
        return 1;
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        return write_as_child(argv[2], (int)strtol(argv[3], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
