/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB's keys: which name a number has, the grammar of key files, what a rewrite keeps, OpenSSL's encryption. */
#include "cm.h"

#include "../../src/stores/mariadb_key_file/driver.h"
#include "../../src/stores/mariadb_key_file/text.h"

#include <rehome/base.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define K16 "000102030405060708090a0b0c0d0e0f"
#define K24 K16 "1011121314151617"
#define K32 K24 "18191a1b1c1d1e1f"
#define OTHER "ffeeddccbbaa99887766554433221100"

static struct rh_error err;

/* --- names --- */

/* Names from a pattern (NULL: the default) and pairs, ended by NULL. */
static enum rh_status make_names(const char *pattern, const char *const *pairs, struct mariadb_names **ret_names)
{
    struct rh_options *options = NULL;
    assert_ok(rh_options_new(rh_driver_mariadb_key_file.options, "", &options, &err), &err);
    assert_ok(rh_options_set(options, "path", rh_bytes_text("/k"), "", &err), &err);
    if (pattern)
        assert_ok(rh_options_set(options, "names", rh_bytes_text(pattern), "", &err), &err);
    for (; pairs && *pairs; pairs++)
        assert_ok(rh_options_set(options, "map", rh_bytes_text(*pairs), "", &err), &err);
    assert_ok(rh_options_end(options, &err), &err);
    err = (struct rh_error){0};
    const enum rh_status status = mariadb_names_new(options, ret_names, &err);
    rh_options_free(options);
    return status;
}
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void has_name(const struct mariadb_names *names, uint32_t number, const char *name)
{
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    uint32_t back = 0;
    assert_ok(mariadb_name_of(names, number, &id, &err), &err);
    assert_string_equal(rh_buf_cstr(&id), name);
    assert_ok(mariadb_number_of(names, (struct rh_bytes){0}, rh_bytes_text(name), &back, &err), &err);
    assert_int_equal(back, number);
}

static void has_no_number(const struct mariadb_names *names, const char *name, const char *words)
{
    uint32_t number = 0;
    assert_int_equal(mariadb_number_of(names, (struct rh_bytes){0}, rh_bytes_text(name), &number, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, words));
}

static void test_names_by_pattern(void **state)
{
    struct mariadb_names *names = NULL;
    (void)state;
    assert_ok(make_names(NULL, NULL, &names), &err);
    has_name(names, 1, "mariadb-1");
    has_name(names, 4294967295, "mariadb-4294967295");
    const char *const wrong[] = {"mariadb-",   "mariadb-0",   "mariadb-01", "mariadb-4294967296", "mariadb--1",
                                 "mariadb-1x", "INNODBKey-1", "",           "mariadb-+1",         "mariadb- 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        has_no_number(names, wrong[i], "neither 'names' nor 'map'");
    assert_non_null(strstr(err.hint, "map = "));
    uint32_t number = 0;
    assert_int_equal(mariadb_number_of(names, rh_bytes_text("a@h"), rh_bytes_text("mariadb-1"), &number, &err),
                     RH_E_LIMIT);
    assert_non_null(strstr(err.text, "owner"));
    mariadb_names_free(names);
    names = NULL;
    assert_ok(make_names("db1/%u/key", NULL, &names), &err);
    has_name(names, 12, "db1/12/key");
    has_no_number(names, "db1/12", "neither");
    mariadb_names_free(names);
}

static void test_names_by_map(void **state)
{
    struct mariadb_names *names = NULL;
    (void)state;
    assert_ok(make_names(NULL, PAIRS("7=payroll", "9=a=b", "1=mariadb-2", "2=mariadb-1"), &names), &err);
    has_name(names, 7, "payroll");
    has_name(names, 9, "a=b");
    has_name(names, 1, "mariadb-2");
    has_name(names, 2, "mariadb-1");
    has_name(names, 3, "mariadb-3");
    has_no_number(names, "mariadb-7", "given to 'payroll'");
    mariadb_names_free(names);
    names = NULL;
    assert_ok(make_names("", PAIRS("1=system"), &names), &err);
    has_name(names, 1, "system");
    has_no_number(names, "mariadb-2", "neither");
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    assert_int_equal(mariadb_name_of(names, 2, &id, &err), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "number 2 has no name"));
    mariadb_names_free(names);
}

static void test_names_that_are_not_one_to_one(void **state)
{
    static const struct {
        const char *pattern, *pairs[3], *words;
    } cases[] = {
        {"mariadb",    {NULL},           "exactly one %u"   },
        {"%u-%u",      {NULL},           "exactly one %u"   },
        {"100%-%u",    {NULL},           "exactly one %u"   },
        {"%d",         {NULL},           "exactly one %u"   },
        {"mariadb-%u", {"7"},            "isn't NUMBER=NAME"},
        {"mariadb-%u", {"7="},           "isn't NUMBER=NAME"},
        {"mariadb-%u", {"0=x"},          "isn't NUMBER=NAME"},
        {"mariadb-%u", {"07=x"},         "isn't NUMBER=NAME"},
        {"mariadb-%u", {"4294967296=x"}, "isn't NUMBER=NAME"},
        {"mariadb-%u", {"7=x", "7=y"},   "number 7 stands"  },
        {"mariadb-%u", {"7=x", "8=x"},   "name 'x' stands"  },
        {"mariadb-%u", {"7=mariadb-8"},  "number 8, too"    },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mariadb_names *names = NULL;
        assert_int_equal(make_names(cases[i].pattern, cases[i].pairs, &names), RH_E_PLAN);
        assert_null(names);
        if (!strstr(err.text, cases[i].words))
            fail_msg("case %zu: %s", i, err.text);
    }
}

static void test_what_fits(void **state)
{
    struct mariadb_names *names = NULL;
    const uint8_t data[33] = {0};
    const struct rh_bytes none = {0}, id = rh_bytes_text("mariadb-5"), aes = rh_bytes_text("AES"),
                          rsa = rh_bytes_text("RSA");
    (void)state;
    assert_ok(make_names(NULL, NULL, &names), &err);
    for (size_t size = 0; size <= sizeof data; size++) {
        const struct rh_bytes key = rh_bytes(data, size);
        assert_int_equal(mariadb_key_fits(names, none, id, &aes, &key, &err),
                         size == 16 || size == 24 || size == 32 ? RH_OK : RH_E_LIMIT);
    }
    const struct rh_bytes key = rh_bytes(data, 16);
    assert_int_equal(mariadb_key_fits(names, none, id, &rsa, &key, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "'RSA'"));
    assert_int_equal(mariadb_key_fits(names, none, id, NULL, NULL, &err), RH_OK);
    mariadb_names_free(names);
}

/* --- the file --- */

struct fixture {
    struct mariadb_file own;
    struct keyring_store store;
};

static void fixture_open(struct fixture *fixture, const char *filekey)
{
    *fixture = (struct fixture){.own.cipher = {.digest = "sha1"}};
    assert_ok(make_names(NULL, NULL, &fixture->own.names), &err);
    if (filekey)
        assert_ok(rh_secret_new(rh_bytes_text(filekey), &fixture->own.cipher.filekey, &err), &err);
    fixture->store = (struct keyring_store){
        .format = filekey ? &mariadb_file_encrypted : &mariadb_file_clear,
        .side = RH_SIDE_SOURCE,
        .path = (char[]){"/keys"},
        .own = &fixture->own,
    };
}

static void fixture_close(struct fixture *fixture)
{
    mariadb_names_free(fixture->own.names);
    rh_secret_free(fixture->own.cipher.filekey);
}

static enum rh_status
read_file(const struct fixture *fixture, struct rh_bytes content, struct keyring_set *set, struct keyring_shape *shape)
{
    err = (struct rh_error){0};
    enum rh_status status = fixture->store.format->parse(&fixture->store, -1, content, set, shape, &err);
    return status == RH_OK ? keyring_set_sort(set, &err) : status;
}

/* What a file of these entries looks like. */
static enum rh_status write_file(const struct fixture *fixture,
                                 const struct keyring_set *set,
                                 const struct keyring_shape *shape,
                                 struct rh_buf *ret)
{
    rh_auto_fd int fd = memfd_create("test", MFD_CLOEXEC);
    err = (struct rh_error){0};
    assert_true(fd >= 0);
    rh_buf_clear(ret);
    enum rh_status status = fixture->store.format->compose(&fixture->store, fd, set->entries, set->count, shape, &err);
    if (status != RH_OK)
        return status;
    const off_t size = lseek(fd, 0, SEEK_END);
    assert_ok(rh_buf_reserve(ret, (size_t)size + 1, &err), &err);
    assert_int_equal(pread(fd, ret->data, (size_t)size, 0), size);
    ret->size = (size_t)size;
    return RH_OK;
}

/* The hexadecimal digits of a key, or "". */
static const char *digits_of(const struct keyring_set *set, const char *id, char out[static 80])
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT, hex = RH_BUF_INIT;
    assert_ok(rh_keyring_key_add(&key, (struct rh_bytes){0}, rh_bytes_text(id), &err), &err);
    const struct keyring_entry *entry = keyring_set_find(set, rh_buf_bytes(&key));
    out[0] = '\0';
    if (entry) {
        assert_true(rh_bytes_equal(entry->type, rh_bytes_text("AES")));
        assert_ok(rh_hex_add(&hex, entry->data, &err), &err);
        snprintf(out, 80, "%s", rh_buf_cstr(&hex));
    }
    return out;
}
#define DIGITS(set, id) digits_of((set), (id), (char[80]){0})

static void test_the_grammar(void **state)
{
    /* words NULL: a server takes it */
    static const struct {
        const char *text, *words;
        size_t count;
    } cases[] = {
        {"1;" K16 "\n",                                 NULL,                 1},
        {"1;" K16,                                      NULL,                 1},
        {"# a comment\n\n \t\n  1;" K32 "\r\n",         NULL,                 1},
        {"1;" K16 "\n2;" K24 "\n3;" K32 "\n",           NULL,                 3},
        {"001;" K16 "\n4294967295;" K16 "\n",           NULL,                 2},
        {"1;" K16 " what stands here is passed over\n", NULL,                 1},
        {"1;" K16 ";2;" K16 "\n",                       NULL,                 1},
        {"1;" K16 "\n#",                                NULL,                 1},
        {"1;FFEEDDCCBBAA99887766554433221100\n",        NULL,                 1},
        {"1;" K16 "\n1;" OTHER "\n",                    NULL,                 1},
        {"",                                            "key 1 is missing",   0},
        {"# nothing\n",                                 "key 1 is missing",   0},
        {"2;" K16 "\n",                                 "key 1 is missing",   0},
        {"1;" K16 "\n  ",                               "line 2, column 3",   0},
        {"1 ;" K16 "\n",                                "line 1, column 2",   0},
        {"1;" K16 "\nx;" K16 "\n",                      "line 2, column 1",   0},
        {"0;" K16 "\n",                                 "1 to 4294967295",    0},
        {"4294967296;" K16 "\n",                        "1 to 4294967295",    0},
        {"99999999999999999999999999;" K16 "\n",        "1 to 4294967295",    0},
        {"-1;" K16 "\n",                                "line 1, column 1",   0},
        {"1\n",                                         "no ';'",             0},
        {"1",                                           "no ';'",             0},
        {"1;\n",                                        "hexadecimal digits", 0},
        {"1;" K16 "0\n",                                "hexadecimal digits", 0},
        {"1;" K16 "00\n",                               "hexadecimal digits", 0},
        {"1;" K32 "00\n",                               "hexadecimal digits", 0},
        {"1; " K16 "\n",                                "hexadecimal digits", 0},
        {"\xc2\xa0"
         "1;" K16 "\n",
         "line 1, column 1",                                                  0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture fixture;
        keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
        struct keyring_shape shape = {0};
        fixture_open(&fixture, NULL);
        const enum rh_status status = read_file(&fixture, rh_bytes_text(cases[i].text), &set, &shape);
        if (status != (cases[i].words ? RH_E_CORRUPT : RH_OK))
            fail_msg("case %zu: %s", i, err.text);
        if (cases[i].words && !strstr(err.text, cases[i].words))
            fail_msg("case %zu: %s", i, err.text);
        assert_null(strstr(err.text, "0001"));
        if (!cases[i].words)
            assert_int_equal(set.count, cases[i].count);
        fixture_close(&fixture);
    }
}

static void test_a_zero_byte_and_too_much(void **state)
{
    struct fixture fixture;
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT, other = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    static const char zero[] = "1;" K16 "\n\0"
                               "2;" K16 "\n";
    (void)state;
    fixture_open(&fixture, NULL);
    assert_int_equal(read_file(&fixture, rh_bytes(zero, sizeof zero - 1), &set, &shape), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "zero byte"));
    char *much = malloc(MARIADB_FILE_MOST + 1);
    assert_non_null(much);
    memset(much, '\n', MARIADB_FILE_MOST + 1);
    memcpy(much, "1;" K16, 34);
    assert_int_equal(read_file(&fixture, rh_bytes(much, MARIADB_FILE_MOST + 1), &set, &shape), RH_E_LIMIT);
    assert_ok(read_file(&fixture, rh_bytes(much, MARIADB_FILE_MOST), &other, &shape), &err);
    assert_int_equal(other.count, 1);
    free(much);
    fixture_close(&fixture);
}

static void test_a_destination_may_be_empty(void **state)
{
    struct fixture fixture;
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    rh_auto_buf struct rh_buf written = RH_BUF_INIT;
    (void)state;
    fixture_open(&fixture, NULL);
    fixture.store.side = RH_SIDE_DESTINATION;
    assert_ok(read_file(&fixture, (struct rh_bytes){0}, &set, &shape), &err);
    assert_int_equal(set.count, 0);
    assert_int_equal(write_file(&fixture, &set, &shape, &written), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "no key 1"));
    fixture_close(&fixture);
}

static void test_a_rewrite_keeps_comments(void **state)
{
    static const char old[] =
        "# keys of db1\n\n1;" K16 " # the system's\n2;" K16 "\n\t# two\n2;" K24 "\n09;" K16 " nine";
    static const char wanted[] =
        "# keys of db1\n\n1;" K16 " # the system's\n\t# two\n2;" K24 "\n9;" OTHER " nine\n3;" K32 "\n";
    struct fixture fixture;
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT, more = KEYRING_SET_INIT, again = KEYRING_SET_INIT;
    struct keyring_shape shape = {0}, other = {0};
    rh_auto_buf struct rh_buf written = RH_BUF_INIT;
    (void)state;
    fixture_open(&fixture, NULL);
    assert_ok(read_file(&fixture, rh_bytes_text(old), &set, &shape), &err);
    assert_int_equal(set.count, 3);
    assert_string_equal(DIGITS(&set, "mariadb-2"), K24);
    /* as it was: void lines go, nothing else does */
    assert_ok(write_file(&fixture, &set, &shape, &written), &err);
    assert_string_equal(rh_buf_cstr(&written),
                        "# keys of db1\n\n1;" K16 " # the system's\n\t# two\n2;" K24 "\n09;" K16 " nine");
    /* a key that changes, and one that comes */
    assert_ok(read_file(&fixture, rh_bytes_text("1;" K16 "\n3;" K32 "\n9;" OTHER "\n"), &more, &other), &err);
    assert_true(rh_bytes_equal(set.entries[2].key, more.entries[2].key));
    set.entries[2].data = more.entries[2].data;
    assert_ok(keyring_set_take(&set, &more.entries[1], &err), &err);
    assert_ok(write_file(&fixture, &set, &shape, &written), &err);
    assert_string_equal(rh_buf_cstr(&written), wanted);
    assert_ok(read_file(&fixture, rh_buf_bytes(&written), &again, &other), &err);
    assert_int_equal(again.count, 4);
    assert_string_equal(DIGITS(&again, "mariadb-9"), OTHER);
    fixture_close(&fixture);
}

static void test_a_file_that_would_be_too_long(void **state)
{
    struct fixture fixture;
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    rh_auto_buf struct rh_buf written = RH_BUF_INIT, id = RH_BUF_INIT;
    const uint8_t data[32] = {0};
    (void)state;
    fixture_open(&fixture, NULL);
    for (uint32_t number = 1; number <= 16000; number++) {
        rh_buf_clear(&id);
        assert_ok(rh_buf_format(&id, &err, "mariadb-%u", number), &err);
        assert_ok(keyring_set_add(&set, (struct rh_bytes){0}, rh_buf_bytes(&id), rh_bytes_text("AES"),
                                  rh_bytes(data, sizeof data), &err),
                  &err);
    }
    assert_int_equal(write_file(&fixture, &set, NULL, &written), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "first 1048576"));
    set.count = 14000;
    assert_ok(write_file(&fixture, &set, NULL, &written), &err);
    assert_true(written.size < MARIADB_FILE_MOST && written.size > 900000);
    fixture_close(&fixture);
}

static void test_how_a_file_begins(void **state)
{
    static const char *const yes[] = {"Salted__12345678901234567890", "1;" K16, "# c\n\n 12;00", "4294967295;ab"};
    static const char *const no[] = {"",
                                     "#",
                                     "# only a comment that is too long",
                                     "1;",
                                     "12",
                                     "x;00",
                                     ";00",
                                     "1;0x00",
                                     "{\"version\"",
                                     "Keyring file version:2.0",
                                     "plan \"x\" {",
                                     "Salted__"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(mariadb_file_begins(rh_bytes(yes[i], strlen(yes[i]) < 32 ? strlen(yes[i]) : 32)));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(mariadb_file_begins(rh_bytes(no[i], strlen(no[i]) < 32 ? strlen(no[i]) : 32)));
}

/* --- encrypted --- */

/* `openssl enc -aes-256-cbc ... -k filekey` of "1;" K16 "\n". */
static const struct {
    const char *digest;
    int64_t iterations;
    const char *hex;
} vectors[] = {
    {"sha1",   0,
     "53616c7465645f5f7c79a453445ac84112bcfce5bdc2224547cce9cdaff14f8e031dcc53a302a321b802f8c3e816b001f985d2a7a3abac"
     "de6468b3e1ca4236ff"},
    {"sha256", 0,
     "53616c7465645f5f9fab70b474025e28439221792c4c35a78db94c865ae7a95a33cb018fba43429f8a8411a33918cd4f5c945803589fa4"
     "b81c302ee7b4b3e161"},
    {"sha512", 1000,
     "53616c7465645f5f69c9ecb4b9fdc951c247f6fe63dc2d8557ff04a8dce3f09a6e95c165af10c3cc2335e58b1b1f675d486f2eecf3ccd2"
     "828d08f4d41425e25c"},
};

static struct rh_bytes from_hex(const char *hex, uint8_t *out)
{
    const size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned value = 0;
        for (size_t j = 0; j < 2; j++)
            value = value * 16 + (unsigned)(strchr("0123456789abcdef", hex[2 * i + j]) - "0123456789abcdef");
        out[i] = (uint8_t)value;
    }
    return rh_bytes(out, size);
}

static void test_encrypted_by_openssl(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct fixture fixture;
        keyring_auto_set struct keyring_set set = KEYRING_SET_INIT, again = KEYRING_SET_INIT;
        struct keyring_shape shape = {0}, other = {0};
        rh_auto_buf struct rh_buf written = RH_BUF_INIT;
        uint8_t content[128];
        const struct rh_bytes file = from_hex(vectors[i].hex, content);
        fixture_open(&fixture, "filekey");
        fixture.own.cipher.digest = vectors[i].digest;
        fixture.own.cipher.iterations = vectors[i].iterations;
        assert_ok(read_file(&fixture, file, &set, &shape), &err);
        assert_string_equal(DIGITS(&set, "mariadb-1"), K16);
        /* written with a new salt, and nothing of the key shows */
        assert_ok(write_file(&fixture, &set, &shape, &written), &err);
        assert_int_equal(written.size, file.size);
        assert_true(memcmp(written.data, file.data, 8) == 0 && memcmp(written.data, file.data, 16) != 0);
        assert_null(memmem(written.data, written.size, "0001", 4));
        assert_ok(read_file(&fixture, rh_buf_bytes(&written), &again, &other), &err);
        assert_string_equal(DIGITS(&again, "mariadb-1"), K16);
        fixture_close(&fixture);
    }
}

static void test_encrypted_and_wrong(void **state)
{
    uint8_t content[128];
    const struct rh_bytes file = from_hex(vectors[0].hex, content);
    struct fixture fixture;
    (void)state;
    /* cut anywhere; every bit of what is encrypted: refused, or, since nothing proves it whole, nonsense or the comment
     */
    fixture_open(&fixture, "filekey");
    for (size_t size = 9; size < file.size; size++) {
        keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
        struct keyring_shape shape = {0};
        assert_int_not_equal(read_file(&fixture, rh_bytes(content, size), &set, &shape), RH_OK);
        assert_true(err.text[0]);
    }
    fixture_close(&fixture);
    /* another filekey; the second one decrypts to something that ends in padding */
    fixture_open(&fixture, "file key");
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    assert_int_equal(read_file(&fixture, file, &set, &shape), RH_E_DENIED);
    assert_non_null(strstr(err.text, "another filekey"));
    fixture_close(&fixture);
    /* none at all, and one for a clear file */
    fixture_open(&fixture, NULL);
    assert_int_equal(read_file(&fixture, file, &set, &shape), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "no filekey"));
    fixture_close(&fixture);
    fixture_open(&fixture, "filekey");
    assert_int_equal(read_file(&fixture, rh_bytes_text("1;" K16 "\n"), &set, &shape), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "isn't encrypted"));
    fixture_close(&fixture);
}

/* --- pages --- */

/* Of a table that MariaDB 10.11 has encrypted under key 2 with the bytes 0, 1, 2, ... 15: head of the tablespace, its
 * words of encryption, the beginning of page 3. */
static const struct {
    enum mariadb_cipher cipher;
    const char *head, *words, *page;
} tablespaces[] = {
    {MARIADB_CBC,
     "0000000000000000ffffffffffffffff000000000000e20300080000000000000000000000060000000600000000000000040000004000000"
     "015000000040000", "730e0c5245740110ea209ebe37a153ac949d51c6633afc4c000000010000000201",
     "0000000100000003ffffffffffffffff000000000000f9d145bf7ae1420ea360ba41cb29081def74c399"},
    {MARIADB_CTR,
     "0000000000000000ffffffffffffffff000000000000e20300080000000000000000000000060000000600000000000000040000004000000"
     "015000000040000", "730e0c524574011095de9d6bd68e0c765598f8b7ddaf25cc000000010000000201",
     "0000000100000003ffffffffffffffff000000000000fceb45bf39729bebbcec0b7d77f5075e83df46da"},
};
enum { WORDS_AT = 10428, PAGE_SIZE = 16384 };

/* A data folder with one such tablespace, shop/orders.ibd; `spoil` is XORed to the first byte of its flags. */
static void make_datadir(char path[static 64], size_t which, uint8_t spoil, bool encrypted)
{
    char file[128];
    uint8_t bytes[64];
    snprintf(path, 64, "/tmp/rehome-datadir-XXXXXX");
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/shop", path);
    assert_int_equal(mkdir(file, 0700), 0);
    snprintf(file, sizeof file, "%s/shop/orders.ibd", path);
    rh_auto_fd int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 4 * PAGE_SIZE) == 0);
    struct rh_bytes part = from_hex(tablespaces[which].head, bytes);
    bytes[57] ^= spoil;
    assert_int_equal(pwrite(fd, part.data, part.size, 0), part.size);
    part = from_hex(tablespaces[which].words, bytes);
    if (encrypted)
        assert_int_equal(pwrite(fd, part.data, part.size, WORDS_AT), part.size);
    part = from_hex(tablespaces[which].page, bytes);
    assert_int_equal(pwrite(fd, part.data, part.size, (off_t)3 * PAGE_SIZE), part.size);
}

static void remove_datadir(const char *path)
{
    char part[128];
    snprintf(part, sizeof part, "%s/shop/orders.ibd", path);
    unlink(part);
    snprintf(part, sizeof part, "%s/shop", path);
    rmdir(part);
    rmdir(path);
}

static void test_pages_of_a_server(void **state)
{
    uint8_t key[32];
    (void)state;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof tablespaces / sizeof *tablespaces; i++) {
        struct mariadb_samples samples = {0};
        enum mariadb_cipher cipher = MARIADB_OPENS_NOT;
        char path[64];
        make_datadir(path, i, 0, true);
        assert_ok(mariadb_samples_take(&samples, path, &err), &err);
        remove_datadir(path);
        assert_int_equal(samples.count, 1);
        assert_string_equal(samples.samples[0].name, "shop/orders");
        assert_int_equal(samples.samples[0].number, 2);
        assert_int_equal(samples.samples[0].version, 1);
        assert_int_equal(samples.samples[0].page, 3);
        assert_ok(mariadb_sample_try(&samples.samples[0], rh_bytes(key, 16), &cipher, &err), &err);
        assert_int_equal(cipher, tablespaces[i].cipher);
        /* the right key; one that nobody needs; another one; another length; another version */
        const bool ctr = cipher == MARIADB_CTR;
        assert_ok(mariadb_samples_try(&samples, 2, rh_bytes(key, 16), false, &err), &err);
        assert_int_equal(mariadb_samples_try(&samples, 2, rh_bytes(key, 16), true, &err), ctr ? RH_E_LIMIT : RH_OK);
        assert_ok(mariadb_samples_try(&samples, 3, rh_bytes(key, 32), true, &err), &err);
        assert_int_equal(mariadb_samples_try(&samples, 2, rh_bytes(key + 1, 16), false, &err), RH_E_LIMIT);
        assert_non_null(strstr(err.text, "'shop/orders'"));
        assert_int_equal(mariadb_samples_try(&samples, 2, rh_bytes(key, 32), false, &err), RH_E_LIMIT);
        samples.samples[0].version = 2;
        assert_int_equal(mariadb_samples_try(&samples, 2, rh_bytes(key, 16), false, &err), RH_E_LIMIT);
        assert_non_null(strstr(err.text, "version 2"));
        mariadb_samples_done(&samples);
    }
}

static void test_a_folder_that_shows_nothing(void **state)
{
    struct mariadb_samples samples = {0};
    char path[64];
    (void)state;
    make_datadir(path, 0, 0x10, true); /* not full_crc32 */
    assert_int_equal(mariadb_samples_take(&samples, path, &err), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "1 of a format that can't be read"));
    remove_datadir(path);
    mariadb_samples_done(&samples);
    make_datadir(path, 0, 0, false);
    assert_int_equal(mariadb_samples_take(&samples, path, &err), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "1 aren't encrypted"));
    remove_datadir(path);
    mariadb_samples_done(&samples);
    assert_int_equal(mariadb_samples_take(&samples, path, &err), RH_E_IO);
}

/* --- the filekey --- */

static enum rh_status take_filekey(const char *value, struct rh_secret **ret)
{
    struct rh_options *options = NULL;
    assert_ok(rh_options_new(rh_driver_mariadb_key_file.options, "", &options, &err), &err);
    assert_ok(rh_options_set(options, "filekey", rh_bytes_text(value), "", &err), &err);
    err = (struct rh_error){0};
    const enum rh_status status = cipher_filekey(options, ret, &err);
    rh_options_free(options);
    return status;
}

/* As take_filekey, by a file of that content and mode. */
static enum rh_status filekey_by_file(struct rh_bytes content, unsigned mode, struct rh_secret **ret)
{
    char path[] = "/tmp/rehome-filekey-XXXXXX", value[64];
    rh_auto_fd int fd = mkstemp(path);
    assert_true(fd >= 0 && fchmod(fd, mode) == 0);
    assert_ok(rh_write_all(fd, content, &err), &err);
    snprintf(value, sizeof value, "FILE:%s", path);
    const enum rh_status status = take_filekey(value, ret);
    unlink(path);
    return status;
}

static void test_the_filekey(void **state)
{
    rh_auto_secret struct rh_secret *literal = NULL, *file = NULL, *group = NULL, *none = NULL;
    char longest[FILEKEY_MOST + 4];
    (void)state;
    assert_ok(take_filekey("secret", &literal), &err);
    assert_true(rh_bytes_equal(rh_secret_bytes(literal), rh_bytes_text("secret")));
    assert_ok(filekey_by_file(rh_bytes_text("sec\nret\r\n\n\r\n"), 0600, &file), &err);
    assert_true(rh_bytes_equal(rh_secret_bytes(file), rh_bytes_text("sec\nret")));
    memset(longest, 'x', sizeof longest);
    longest[FILEKEY_MOST] = '\n';
    assert_ok(filekey_by_file(rh_bytes(longest, FILEKEY_MOST + 1), 0640, &group), &err);
    assert_int_equal(rh_secret_bytes(group).size, FILEKEY_MOST);
    assert_int_equal(filekey_by_file(rh_bytes(longest + FILEKEY_MOST + 1, 3), 0644, &none), RH_E_REFUSED);
    assert_non_null(strstr(err.hint, "chmod"));
    assert_int_equal(filekey_by_file(rh_bytes_text("secret"), 0660, &none), RH_E_REFUSED);
    longest[FILEKEY_MOST] = 'x';
    assert_int_equal(filekey_by_file(rh_bytes(longest, FILEKEY_MOST + 1), 0600, &none), RH_E_REFUSED);
    assert_int_equal(filekey_by_file(rh_bytes_text("\r\n\n"), 0600, &none), RH_E_REFUSED);
    assert_int_equal(filekey_by_file(rh_bytes("a\0b", 3), 0600, &none), RH_E_REFUSED);
    assert_int_equal(take_filekey("FILE:/nowhere/at/all", &none), RH_E_IO);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_by_pattern),
        cmocka_unit_test(test_names_by_map),
        cmocka_unit_test(test_names_that_are_not_one_to_one),
        cmocka_unit_test(test_what_fits),
        cmocka_unit_test(test_the_grammar),
        cmocka_unit_test(test_a_zero_byte_and_too_much),
        cmocka_unit_test(test_a_destination_may_be_empty),
        cmocka_unit_test(test_a_rewrite_keeps_comments),
        cmocka_unit_test(test_a_file_that_would_be_too_long),
        cmocka_unit_test(test_how_a_file_begins),
        cmocka_unit_test(test_encrypted_by_openssl),
        cmocka_unit_test(test_encrypted_and_wrong),
        cmocka_unit_test(test_pages_of_a_server),
        cmocka_unit_test(test_a_folder_that_shows_nothing),
        cmocka_unit_test(test_the_filekey),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
