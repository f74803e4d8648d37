/* SPDX-License-Identifier: Apache-2.0 */
/* docs/formats/mysql-data.md: on heads of a real server's files, and on synthetic ones of every version. */
#include <rehome/base.h>

#include "../../src/proof/internal.h"
#include "cm.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "6e28e07a-5b2e-4067-8642-a79c001903d9"
#define KEY3 "INNODBKey-" UUID "-3"

static struct rh_error err;
static struct rh_buf all_keys;
static const uint8_t tablespace_key[64] = "a tablespace's key and IV, 64 bytes of anything";
static const uint8_t master[32] = "a master key of thirty-two bytes";

/* --- a keyring and what a run finds --- */

struct seen {
    const char *hidden, *changed, *cut; /* ids that the keyring lacks, holds otherwise, holds too short */
    const char *synthetic;              /* the id under which `master` is held */
    char lines[4096];                   /* "NAME RESULT KEY\n" of each file that isn't plain and isn't opened */
    unsigned opened, plain, tablespaces, undo, redo, binlogs, asked;
};

static int hex_of(char c)
{
    return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* The bytes of a key in keys.json. */
static size_t find_key(const char *id, uint8_t out[static 64])
{
    char want[PROOF_ID_MOST + 16];
    snprintf(want, sizeof want, "\"data_id\":\"%s\"", id);
    const char *at = strstr(rh_buf_cstr(&all_keys), want);
    if (!at)
        return 0;
    at = strstr(at, "\"data\":\"") + 8;
    size_t size = 0;
    for (; *at != '"'; at += 2)
        out[size++] = (uint8_t)(hex_of(at[0]) << 4 | hex_of(at[1]));
    return size;
}

static bool is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static enum rh_status give_key(void *user, const char *id, struct rh_secret **ret_key, struct rh_error *error)
{
    struct seen *seen = user;
    uint8_t key[64];
    seen->asked++;
    if (is(seen->synthetic, id))
        return rh_secret_new(rh_bytes(master, sizeof master), ret_key, error);
    size_t size = find_key(id, key);
    if (size == 0 || is(seen->hidden, id))
        return RH_NOT_FOUND;
    key[31] ^= is(seen->changed, id);
    size -= is(seen->cut, id);
    return rh_secret_new(rh_bytes(key, size), ret_key, error);
}

static enum rh_status give_ids(void *user,
                               const char *prefix,
                               enum rh_status (*add)(void *add_user, struct rh_bytes id, struct rh_error *error),
                               void *add_user,
                               struct rh_error *error)
{
    const struct seen *seen = user;
    static const char *const ids[] = {"INNODBKey-7-1", KEY3, "INNODBKey-2-3", "INNODBKey-x-13"};
    assert_string_equal(prefix, "INNODBKey-");
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < sizeof ids / sizeof *ids; i++)
        if (is(seen->synthetic, ids[i]) || !seen->synthetic)
            status = add(add_user, rh_bytes_text(ids[i]), error);
    return status;
}

static enum rh_status note(void *user, const struct rh_proof_item *item, struct rh_error *error)
{
    static const char *const results[] = {"plain", "opens", "unproven", "missing", "wrong", "unreadable"};
    struct seen *seen = user;
    (void)error;
    seen->opened += item->result == RH_PROOF_OPENS;
    seen->plain += item->result == RH_PROOF_PLAIN;
    seen->tablespaces += item->kind == RH_PROOF_TABLESPACE;
    seen->undo += item->undo;
    seen->redo += item->kind == RH_PROOF_REDO;
    seen->binlogs += item->kind == RH_PROOF_BINLOG;
    assert_true(strstr(item->path, item->name));
    const bool yet = item->result == RH_PROOF_UNPROVEN && !item->key_id[0];
    assert_int_equal(item->result == RH_PROOF_UNREADABLE || yet, item->why[0] != '\0');
    const size_t used = strlen(seen->lines);
    if (item->result != RH_PROOF_OPENS && item->result != RH_PROOF_PLAIN)
        snprintf(seen->lines + used, sizeof seen->lines - used, "%s %s %s\n", item->name, results[item->result],
                 item->key_id);
    return RH_OK;
}

static enum rh_status run(const char *folder, struct seen *seen, struct rh_proof_counts *counts)
{
    const struct rh_proof_args args = {.folder = folder, .user = seen, .key = give_key, .ids = give_ids, .found = note};
    err = (struct rh_error){0};
    return rh_proof_run(&args, counts, &err);
}

/* Whether what failed includes this line. */
static void assert_line(const struct seen *seen, const char *line)
{
    if (!strstr(seen->lines, line))
        fail_msg("'%s' isn't in:\n%s", line, seen->lines);
}

/* --- a real server's files --- */

static void real_files_open(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct rh_proof_counts counts;
    assert_ok(run(RH_TEST_DATA "/mysql-data/data//", &seen, &counts), &err);
    assert_string_equal(seen.lines, "");
    assert_int_equal(seen.tablespaces, 8);
    assert_int_equal(seen.undo, 2);
    assert_int_equal(seen.redo, 1); /* the spare one isn't looked at */
    assert_int_equal(seen.binlogs, 2);
    assert_int_equal(seen.plain, 2);
    assert_int_equal(counts.files, 11);
    assert_int_equal(counts.encrypted, 9);
    assert_int_equal(counts.opened, 9);
    assert_int_equal(counts.failed, 0);
    assert_int_equal(counts.keys, 2);
    assert_int_equal(seen.asked, 2);
    assert_int_equal(counts.server, 0);
}

static void all_page_sizes_open(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct rh_proof_counts counts;
    assert_ok(run(RH_TEST_DATA "/mysql-data/sizes", &seen, &counts), &err);
    assert_string_equal(seen.lines, "");
    assert_int_equal(seen.opened, 8);
    assert_int_equal(counts.files, 8);
}

static void missing_and_wrong_keys_are_named(void **state)
{
    (void)state;
    struct rh_proof_counts counts;
    struct seen hidden = {.hidden = KEY3}, changed = {.changed = KEY3}, cut = {.cut = KEY3};
    assert_ok(run(RH_TEST_DATA "/mysql-data/data", &hidden, &counts), &err);
    assert_int_equal(counts.failed, 8);
    assert_int_equal(counts.opened, 1);
    assert_line(&hidden, "enc/one missing " KEY3 "\n");
    assert_line(&hidden, "enc/packed missing " KEY3 "\n");
    assert_line(&hidden, "undo_001 missing " KEY3 "\n");
    assert_line(&hidden, "more_undo.ibu missing " KEY3 "\n");
    assert_line(&hidden, "#innodb_redo/#ib_redo10 missing " KEY3 "\n");
    assert_ok(run(RH_TEST_DATA "/mysql-data/data", &changed, &counts), &err);
    assert_int_equal(counts.failed, 8);
    assert_line(&changed, "enc/one wrong " KEY3 "\n");
    assert_line(&changed, "mysql wrong " KEY3 "\n");
    assert_ok(run(RH_TEST_DATA "/mysql-data/data", &cut, &counts), &err);
    assert_line(&cut, "shared wrong " KEY3 "\n");

    struct seen no_log = {.hidden = "MySQLReplicationKey_" UUID "_3"}, other_log = {.changed = no_log.hidden};
    assert_ok(run(RH_TEST_DATA "/mysql-data/data", &no_log, &counts), &err);
    assert_string_equal(no_log.lines, "binlog.000005 missing MySQLReplicationKey_" UUID "_3\n");
    assert_ok(run(RH_TEST_DATA "/mysql-data/data", &other_log, &counts), &err);
    assert_string_equal(other_log.lines, "binlog.000005 wrong MySQLReplicationKey_" UUID "_3\n");
}

/* --- synthetic info --- */

static void crc32c_is_castagnolis(void **state)
{
    (void)state;
    assert_int_equal(proof_crc32c(rh_bytes_text("123456789")), 0xe3069283u);
}

/* Encryption info as a server of that version writes it. */
static struct rh_buf make_info(int version, uint32_t number, bool wide, const char *uuid, struct rh_bytes key)
{
    struct rh_buf info = RH_BUF_INIT;
    uint8_t wrapped[64];
    int size = 0;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    assert_true(EVP_EncryptInit_ex(context, EVP_aes_256_ecb(), NULL, key.data, NULL) == 1 &&
                EVP_CIPHER_CTX_set_padding(context, 0) == 1 &&
                EVP_EncryptUpdate(context, wrapped, &size, tablespace_key, 64) == 1 && size == 64);
    EVP_CIPHER_CTX_free(context);
    assert_ok(rh_buf_format(&info, &err, "lC%c", 'A' + version - 1), &err);
    assert_ok(rh_buf_u32be(&info, number, &err), &err);
    if (wide)
        assert_ok(rh_buf_u32be(&info, 0, &err), &err);
    if (version > 1)
        assert_ok(rh_buf_add(&info, uuid, 36, &err), &err);
    assert_ok(rh_buf_add(&info, wrapped, sizeof wrapped, &err), &err);
    assert_ok(rh_buf_u32be(&info, proof_crc32c(rh_bytes(tablespace_key, 64)), &err), &err);
    return info;
}

static void info_of_every_version(void **state)
{
    (void)state;
    static const struct {
        int version;
        bool wide;
        size_t size;
    } cases[] = {
        {1, false, 75 },
        {1, true,  79 },
        {2, false, 111},
        {2, true,  115},
        {3, false, 111}
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_auto_buf struct rh_buf bytes =
            make_info(cases[i].version, 7, cases[i].wide, UUID, rh_bytes(master, sizeof master));
        struct proof_info info;
        assert_int_equal(bytes.size, cases[i].size);
        for (size_t size = 0; size < bytes.size; size++) /* every cut is seen */
            assert_int_equal(proof_info_parse(rh_bytes(bytes.data, size), &info), RH_E_CORRUPT);
        assert_int_equal(proof_info_parse(rh_buf_bytes(&bytes), &info), RH_OK);
        assert_int_equal(info.version, cases[i].version);
        assert_int_equal(info.master, 7);
        assert_string_equal(info.uuid, info.version == 1 ? "" : UUID);
        assert_ok(proof_info_try(&info, rh_bytes(master, sizeof master), &err), &err);
        uint8_t other[32];
        memcpy(other, master, sizeof other);
        other[0] ^= 1;
        assert_int_equal(proof_info_try(&info, rh_bytes(other, sizeof other), &err), RH_CHANGED);
        assert_int_equal(proof_info_try(&info, rh_bytes(master, 16), &err), RH_CHANGED);
        info.wrapped[63] ^= 1;
        assert_int_equal(proof_info_try(&info, rh_bytes(master, sizeof master), &err), RH_CHANGED);
    }
}

static void info_that_is_none(void **state)
{
    (void)state;
    struct proof_info info = {.version = 9};
    const uint8_t zeros[PROOF_INFO_MOST] = {0};
    assert_int_equal(proof_info_parse(rh_bytes(zeros, sizeof zeros), &info), RH_OK);
    assert_int_equal(info.version, 0);
    assert_int_equal(proof_info_parse(rh_bytes_text("lCD, which no server writes"), &info), RH_OK);
    assert_int_equal(info.version, 0);
    /* a UUID that isn't one */
    rh_auto_buf struct rh_buf bytes =
        make_info(3, 7, false, "6e28e07a-5b2e-4067-8642-a79c001903d\x1b", rh_bytes(master, sizeof master));
    assert_int_equal(proof_info_parse(rh_buf_bytes(&bytes), &info), RH_E_CORRUPT);
}

/* --- page 0 --- */

/* The head of page 0 with these flags. */
static void make_head(uint8_t head[static PROOF_PAGE_HEAD], uint32_t flags)
{
    memset(head, 0, PROOF_PAGE_HEAD);
    head[25] = 8;
    head[37] = head[41] = 5;
    for (int i = 0; i < 4; i++)
        head[54 + i] = (uint8_t)(flags >> (24 - 8 * i));
}

static void info_stands_where_servers_put_it(void **state)
{
    (void)state;
    /* as seen in files of a real server, but for 16 KiB with other key blocks than 4 */
    static const struct {
        uint32_t page, packed; /* page size and size on disk, as shifts of 512; 0 = default, none */
        size_t at;
    } cases[] = {
        {0, 0, 10390},
        {5, 0, 10390},
        {3, 0, 1558 },
        {4, 0, 3734 },
        {6, 0, 20630},
        {7, 0, 41110},
        {0, 3, 2710 },
        {3, 2, 854  },
        {3, 1, 502  },
        {4, 2, 1046 },
        {4, 1, 598  },
        {0, 5, 10390}
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t head[PROOF_PAGE_HEAD];
        size_t at = 0;
        bool encrypted = false;
        make_head(head, 1u << 13 | cases[i].page << 6 | cases[i].packed << 1);
        assert_int_equal(proof_page_parse(rh_bytes(head, sizeof head), &at, &encrypted), RH_OK);
        assert_int_equal(at, cases[i].at);
        assert_true(encrypted);
    }
}

static void pages_that_are_none(void **state)
{
    (void)state;
    uint8_t head[PROOF_PAGE_HEAD];
    size_t at;
    bool encrypted = true;
    make_head(head, 0);
    assert_int_equal(proof_page_parse(rh_bytes(head, sizeof head), &at, &encrypted), RH_OK);
    assert_false(encrypted);
    for (size_t size = 0; size < sizeof head; size++)
        assert_int_equal(proof_page_parse(rh_bytes(head, size), &at, &encrypted), RH_E_CORRUPT);
    static const size_t telling[] = {4, 7, 24, 25, 34, 37, 38, 41}; /* page number, its type, the space twice */
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++) {
        make_head(head, 0);
        head[telling[i]] ^= 1;
        assert_int_equal(proof_page_parse(rh_bytes(head, sizeof head), &at, &encrypted), RH_E_CORRUPT);
    }
    static const uint32_t odd[] = {1 << 6, 2 << 6, 8 << 6, 15 << 6, 6 << 1, 15 << 1, 3 << 6 | 4 << 1};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        make_head(head, odd[i]);
        assert_int_equal(proof_page_parse(rh_bytes(head, sizeof head), &at, &encrypted), RH_E_CORRUPT);
    }
}

/* --- binary logs --- */

static struct rh_buf make_binlog(const char *id)
{
    struct rh_buf head = RH_BUF_INIT;
    const uint8_t zeros[PROOF_BINLOG_HEAD] = {0};
    assert_ok(rh_buf_add(&head,
                         "\xfd"
                         "bin\x01\x03",
                         6, &err),
              &err);
    assert_ok(rh_buf_add(&head, "sixteen bytes IV", 16, &err), &err);
    assert_ok(rh_buf_u8(&head, 1, &err), &err);
    assert_ok(rh_buf_u8(&head, (uint8_t)strlen(id), &err), &err);
    assert_ok(rh_buf_text(&head, id, &err), &err);
    assert_ok(rh_buf_u8(&head, 2, &err), &err);
    assert_ok(rh_buf_add(&head, "a file's password of 32 bytes, ok", 32, &err), &err);
    assert_ok(rh_buf_add(&head, zeros, sizeof zeros - head.size, &err), &err);
    return head;
}

static void binlog_heads(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf head = make_binlog("MySQLReplicationKey_u_1"), unnamed = make_binlog("");
    struct proof_binlog binlog;
    assert_int_equal(proof_binlog_parse(rh_buf_bytes(&head), &binlog), RH_OK); /* in another order than servers write */
    assert_string_equal(binlog.key_id, "MySQLReplicationKey_u_1");
    assert_memory_equal(binlog.iv, "sixteen bytes IV", 16);
    assert_memory_equal(binlog.password, "a file's password of 32 bytes, ok", 32);
    for (size_t size = 0; size < head.size; size++)
        assert_int_equal(proof_binlog_parse(rh_bytes(head.data, size), &binlog), RH_E_CORRUPT);
    assert_int_equal(proof_binlog_parse(rh_buf_bytes(&unnamed), &binlog), RH_E_CORRUPT);
    static const struct {
        size_t at;
        uint8_t value;
    } spoilt[] = {
        {0,  0xfe},
        {4,  2   },
        {5,  4   },
        {5,  0   },
        {22, 3   },
        {24, 0   },
        {47, 1   },
        {80, 9   }
    };
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        rh_auto_buf struct rh_buf bad = make_binlog("MySQLReplicationKey_u_1");
        bad.data[spoilt[i].at] = spoilt[i].value;
        assert_int_equal(proof_binlog_parse(rh_buf_bytes(&bad), &binlog), RH_E_CORRUPT);
    }
}

/* --- folders --- */

static void put_file(const char *folder, const char *name, struct rh_bytes head, size_t info_at, struct rh_bytes info)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, head.data, head.size, 0), head.size);
    assert_int_equal(pwrite(fd, info.data, info.size, (off_t)info_at), info.size);
    close(fd);
}

/* A tablespace of a synthetic server. */
static void put_table(const char *folder, const char *name, int version, uint32_t number, struct rh_bytes key)
{
    uint8_t head[PROOF_PAGE_HEAD];
    rh_auto_buf struct rh_buf info = make_info(version, number, version < 3, UUID, key);
    make_head(head, 1u << 13);
    put_file(folder, name, rh_bytes(head, sizeof head), 10390, rh_buf_bytes(&info));
}

static int make_folder(void **state)
{
    char *folder = strdup("/tmp/rehome-proof-XXXXXX");
    assert_non_null(mkdtemp(folder));
    *state = folder;
    return 0;
}

static int drop_folder(void **state)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    free(*state);
    return system(command); /* NOLINT(cert-env33-c): a name of our own */
}

static void versions_in_a_folder(void **state)
{
    const char *folder = *state;
    struct rh_proof_counts counts;
    const struct rh_bytes key = rh_bytes(master, sizeof master);
    struct seen found = {.synthetic = "INNODBKey-2-3"}, none = {.synthetic = "INNODBKey-2-13"}, wrong = {0};
    put_table(folder, "old.ibd", 1, 3, key);
    assert_ok(run(folder, &found, &counts), &err); /* by its number alone */
    assert_int_equal(counts.opened, 1);
    assert_ok(run(folder, &none, &counts), &err);
    assert_string_equal(none.lines, "old missing INNODBKey-?-3\n");
    assert_ok(run(folder, &wrong, &counts), &err); /* KEY3 has the number and doesn't open it */
    assert_string_equal(wrong.lines, "old wrong " KEY3 "\n");
    put_table(folder, "old.ibd", 2, 3, key);
    struct seen second = {.synthetic = KEY3}, made = {0};
    assert_ok(run(folder, &second, &counts), &err);
    assert_int_equal(counts.opened, 1);
    put_table(folder, "old.ibd", 3, 0, proof_default_key());
    assert_ok(run(folder, &made, &counts), &err);
    assert_int_equal(counts.opened, 1);
    assert_int_equal(made.asked, 0);
}

static void what_is_spoilt_is_named(void **state)
{
    const char *folder = *state;
    struct rh_proof_counts counts;
    struct seen seen = {0};
    uint8_t head[PROOF_PAGE_HEAD];
    char path[300];
    make_head(head, 1u << 13);
    put_file(folder, "cut.ibd", rh_bytes(head, sizeof head), 9000, rh_bytes("x", 1));
    put_file(folder, "keyless.ibd", rh_bytes(head, sizeof head), 16383, rh_bytes("x", 1));
    put_file(folder, "not.ibd", rh_bytes_text("not a tablespace"), 100, rh_bytes("x", 1));
    put_file(folder, "blank.ibd", rh_bytes("", 0), 16383, rh_bytes("", 1));
    put_file(folder, "relay.000001",
             rh_bytes("\xfd"
                      "bin\x01",
                      5),
             100, rh_bytes("x", 1));
    put_file(folder, "ib_logfile0", rh_bytes_text("anything"), 100, rh_bytes("x", 1));
    put_file(folder, "notes.txt", rh_bytes_text("not looked at"), 100, rh_bytes("x", 1));
    rh_auto_buf struct rh_buf binlog = make_binlog("MySQLReplicationKey_" UUID "_3");
    put_file(folder, "bare.000001", rh_buf_bytes(&binlog), 512, rh_bytes("", 0));
    snprintf(path, sizeof path, "%s/loop", folder);
    assert_int_equal(symlink(".", path), 0);
    snprintf(path, sizeof path, "%s/away.ibd", folder);
    assert_int_equal(symlink("/nonexistent/disk/away.ibd", path), 0);
    snprintf(path, sizeof path, "%s/away.sock", folder);
    assert_int_equal(symlink("/nonexistent/socket", path), 0);
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_ok(run(folder, &seen, &counts), &err);
    assert_line(&seen, "cut unreadable \n");
    assert_line(&seen, "keyless unreadable \n");
    assert_line(&seen, "not unreadable \n");
    assert_line(&seen, "blank unreadable \n");
    assert_line(&seen, "away unreadable \n");
    assert_line(&seen, "relay.000001 unreadable \n");
    assert_line(&seen, "ib_logfile0 unreadable \n");
    assert_line(&seen, "bare.000001 unproven MySQLReplicationKey_" UUID "_3\n");
    assert_int_equal(counts.files, 8);
    assert_int_equal(counts.failed, 7);
}

static void folders_that_are_none(void **state)
{
    struct rh_proof_counts counts;
    struct seen seen = {0};
    assert_int_equal(run(*state, &seen, &counts), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "holds no data of a MySQL server"));
    assert_int_equal(run("/nonexistent/data", &seen, &counts), RH_E_IO);
    const atomic_bool stop = true;
    const struct rh_proof_args args = {.folder = RH_TEST_DATA "/mysql-data/data",
                                       .cancel = &stop,
                                       .user = &seen,
                                       .key = give_key,
                                       .ids = give_ids,
                                       .found = note};
    assert_int_equal(rh_proof_run(&args, &counts, &err), RH_E_CANCELLED);
}

static void server_at_work_is_seen(void **state)
{
    const char *folder = *state;
    struct rh_proof_counts counts;
    struct seen seen = {0};
    uint8_t head[PROOF_PAGE_HEAD];
    /* of a table that a 9.7.4 server had just made */
    uint8_t fresh[PROOF_PAGE_HEAD] = {0x13,        0x01,        0xbc,        0x0c,        [9] = 0x01,  [10] = 0x62,
                                      [11] = 0x50, [15] = 0x01, [37] = 0x08, [41] = 0x08, [56] = 0x20, [57] = 0x21};
    char path[300];
    int ready[2];
    make_head(head, 0);
    put_file(folder, "ibdata1", rh_bytes(head, sizeof head), 16383, rh_bytes("x", 1));
    snprintf(path, sizeof path, "%s/ibdata1", folder);
    /* what a server that is at work may still have to write */
    put_file(folder, "blank.ibd", rh_bytes("", 0), 16383, rh_bytes("", 1));
    put_file(folder, "zzz.ibd", rh_bytes("", 0), 0, rh_bytes("", 0));
    put_file(folder, "new.ibd", rh_bytes(fresh, sizeof fresh), 114687, rh_bytes("", 1));
    fresh[56] = 0; /* flags: isn't encrypted */
    put_file(folder, "new_plain.ibd", rh_bytes(fresh, sizeof fresh), 114687, rh_bytes("", 1));
    put_file(folder, "not.ibd", rh_bytes_text("not a tablespace"), 100, rh_bytes("x", 1));
    make_head(head, 1u << 13);
    put_file(folder, "keyless.ibd", rh_bytes(head, sizeof head), 16383, rh_bytes("x", 1));
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) { /* as a server holds it */
        const int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _exit(fd < 0 || fcntl(fd, F_SETLK, &lock) != 0 || write(ready[1], "x", 1) != 1 || pause());
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_ok(run(folder, &seen, &counts), &err);
    assert_int_equal(counts.server, child);
    assert_line(&seen, "blank unproven \n");
    assert_line(&seen, "zzz unproven \n");
    assert_line(&seen, "new unproven \n");
    assert_int_equal(seen.plain, 2); /* and ibdata1 */
    assert_line(&seen, "keyless unproven \n");
    assert_line(&seen, "not unreadable \n");
    assert_int_equal(counts.failed, 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_ok(run(folder, &seen, &counts), &err);
    assert_int_equal(counts.server, 0);
    assert_int_equal(counts.failed, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_files_open),
        cmocka_unit_test(all_page_sizes_open),
        cmocka_unit_test(missing_and_wrong_keys_are_named),
        cmocka_unit_test(crc32c_is_castagnolis),
        cmocka_unit_test(info_of_every_version),
        cmocka_unit_test(info_that_is_none),
        cmocka_unit_test(info_stands_where_servers_put_it),
        cmocka_unit_test(pages_that_are_none),
        cmocka_unit_test(binlog_heads),
        cmocka_unit_test_setup_teardown(versions_in_a_folder, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(what_is_spoilt_is_named, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(folders_that_are_none, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(server_at_work_is_seen, make_folder, drop_folder),
    };
    if (rh_file_read(AT_FDCWD, RH_TEST_DATA "/mysql-data/keys.json", 1 << 20, &all_keys, &err) != RH_OK)
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rh_buf_done(&all_keys);
    return failed;
}
