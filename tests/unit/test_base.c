/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, slices, buffers, cursors, arenas, records, text, numbers, clock, log, files, near words, crash points. */
#include <rehome/base.h>
#include <rehome/record.h>

#include "cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHOWN(literal) RH_SHOW(rh_bytes((literal), sizeof(literal) - 1))
#define TEXT(literal) rh_bytes((literal), sizeof(literal) - 1)

static struct rh_error err;

static void test_errors(void **state)
{
    (void)state;
    err.native = 7;
    assert_int_equal(rh_fail(&err, RH_E_LIMIT, "copying '%s': %d", "a\nb\x1b", 5), RH_E_LIMIT);
    assert_int_equal(err.status, RH_E_LIMIT);
    assert_int_equal(err.native, 0);
    assert_string_equal(err.text, "copying 'a\\x0ab\\x1b': 5");
    rh_error_hint(&err, "try %d", 1);
    assert_string_equal(err.hint, "try 1");
    assert_int_equal(rh_error_prepend(&err, "move '%s'", "m"), RH_E_LIMIT);
    assert_string_equal(err.text, "move 'm': copying 'a\\x0ab\\x1b': 5");
    assert_int_equal(rh_fail(&err, RH_E_IO, "again: %s", err.text), RH_E_IO); /* its own text as an argument */
    assert_string_equal(err.text, "again: move 'm': copying 'a\\x0ab\\x1b': 5");
    assert_string_equal(err.hint, "");
    assert_int_equal(rh_fail_errno(&err, ENOSPC, "writing"), RH_E_FULL);
    assert_string_equal(err.text, "writing: No space left on device");
    assert_int_equal(err.native, ENOSPC);
    assert_int_equal(rh_fail_errno(NULL, EDQUOT, "x"), RH_E_FULL);
    assert_int_equal(rh_fail_errno(NULL, EACCES, "x"), RH_E_DENIED);
    assert_int_equal(rh_fail_errno(NULL, EROFS, "x"), RH_E_DENIED);
    assert_int_equal(rh_fail_errno(NULL, ENOMEM, "x"), RH_E_MEMORY);
    assert_int_equal(rh_fail_errno(NULL, EIO, "x"), RH_E_IO);
    assert_int_equal(rh_fail_memory(NULL), RH_E_MEMORY);
    assert_int_equal(rh_error_prepend(NULL, "x"), RH_E_INTERNAL);
    char longer[3000];
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    rh_ignore(rh_fail(&err, RH_E_IO, "%s", longer));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 5, "y...");
    assert_int_equal(rh_error_prepend(&err, "first"), RH_E_IO);
    assert_memory_equal(err.text, "first: yyy", 10);
    assert_string_equal(rh_status_name(RH_E_DENIED), "denied");
    assert_string_equal(rh_status_name(RH_E_CONFLICT), "conflict");
    for (int i = 0; i <= RH_E_INTERNAL; i++)
        assert_string_not_equal(rh_status_name((enum rh_status)i), "unknown");
}

static void test_bytes(void **state)
{
    (void)state;
    assert_true(rh_bytes_equal(rh_bytes(NULL, 0), TEXT("")));
    assert_false(rh_bytes_equal(TEXT("a"), TEXT("b")));
    assert_true(rh_bytes_compare(TEXT("a"), TEXT("ab")) < 0);
    assert_true(rh_bytes_compare(TEXT("b"), TEXT("ab")) > 0);
    assert_true(rh_bytes_compare(TEXT("\x80"), TEXT("\x7f")) > 0);
    assert_int_equal(rh_bytes_compare(rh_bytes(NULL, 0), rh_bytes(NULL, 0)), 0);
    assert_true(rh_bytes_starts(TEXT("abc"), TEXT("ab")));
    assert_true(rh_bytes_starts(TEXT("abc"), rh_bytes(NULL, 0)));
    assert_false(rh_bytes_starts(TEXT("ab"), TEXT("abc")));
    assert_true(rh_bytes_equal_secret(TEXT("same"), TEXT("same")));
    assert_false(rh_bytes_equal_secret(TEXT("same"), TEXT("sama")));
    assert_false(rh_bytes_equal_secret(TEXT("same"), TEXT("sam")));
}

static void test_buf(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf buf = rh_buf_limited(600);
    assert_ok(rh_buf_u8(&buf, 1, &err), &err);
    assert_ok(rh_buf_u32be(&buf, 0x02030405, &err), &err);
    assert_ok(rh_buf_u64be(&buf, 0x060708090a0b0c0d, &err), &err);
    assert_ok(rh_buf_bytes32(&buf, TEXT("xy"), &err), &err);
    assert_int_equal(buf.size, 19);
    assert_memory_equal(buf.data, "\1\2\3\4\5\6\7\x8\x9\xa\xb\xc\xd\0\0\0\2xy", 19);
    rh_buf_clear(&buf);
    assert_ok(rh_buf_format(&buf, &err, "%0500d", 7), &err);
    assert_int_equal(buf.size, 500);
    assert_int_equal(rh_buf_format(&buf, &err, "%0300d", 7), RH_E_LIMIT);
    assert_int_equal(rh_buf_bytes32(&buf, rh_bytes(buf.data, 100), &err), RH_E_LIMIT);
    assert_int_equal(rh_buf_reserve(&buf, SIZE_MAX, &err), RH_E_LIMIT);
    assert_int_equal(buf.size, 500); /* nothing appended */
    assert_ok(rh_buf_format(&buf, &err, "%0100d", 7), &err);
    assert_int_equal(strlen(rh_buf_cstr(&buf)), 600); /* full to its limit, and still a text */
    assert_int_equal(rh_buf_u8(&buf, 0, NULL), RH_E_LIMIT);
    rh_auto_buf struct rh_buf empty = RH_BUF_INIT;
    assert_string_equal(rh_buf_cstr(&empty), "");
    assert_ok(rh_buf_add(&empty, NULL, 0, &err), &err);
    assert_ok(rh_buf_text(&empty, "text", &err), &err);
    assert_string_equal(rh_buf_cstr(&empty), "text");
}

static void test_cursor(void **state)
{
    (void)state;
    struct rh_cursor cur = rh_cursor(TEXT("\1\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\2xyz"));
    assert_int_equal(rh_cursor_u8(&cur), 1);
    assert_int_equal(rh_cursor_u32be(&cur), 2);
    assert_int_equal(rh_cursor_u64be(&cur), 3);
    assert_true(rh_bytes_equal(rh_cursor_bytes32(&cur), TEXT("xy")));
    assert_false(rh_cursor_done(&cur));
    assert_true(rh_bytes_equal(rh_cursor_take(&cur, 1), TEXT("z")));
    assert_true(rh_cursor_done(&cur));
    assert_int_equal(rh_cursor_take(&cur, 0).size, 0);
    assert_true(rh_cursor_done(&cur));
    assert_int_equal(rh_cursor_u8(&cur), 0);
    assert_true(cur.bad);
    struct rh_cursor lying = rh_cursor(TEXT("\xff\xff\xff\xffxyz"));
    assert_int_equal(rh_cursor_bytes32(&lying).size, 0);
    assert_true(lying.bad);
    assert_int_equal(rh_cursor_u8(&lying), 0); /* bad stays */
    assert_int_equal(rh_cursor_left(&lying), 0);
    assert_false(rh_cursor_done(&lying));
    struct rh_cursor empty = rh_cursor(rh_bytes(NULL, 0));
    assert_true(rh_cursor_done(&empty));
    assert_int_equal(rh_cursor_u32be(&empty), 0);
    assert_true(empty.bad);
}

static void use_arena(struct rh_arena *arena)
{
    uint8_t *pieces[2000];
    for (size_t i = 0; i < 2000; i++) {
        pieces[i] = rh_arena_get(arena, i);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 255), i);
    }
    for (size_t i = 0; i < 2000; i++)
        for (size_t j = 0; j < i; j += 97)
            assert_int_equal(pieces[i][j], i & 255);
    uint8_t *huge = rh_arena_get(arena, 5 << 20);
    assert_non_null(huge);
    memset(huge, 1, 5 << 20);
    assert_true(arena->used_bytes >= 1999u * 1000 + (5 << 20));
    rh_arena_clear(arena);
    assert_int_equal(arena->used_bytes, 0);
    huge = rh_arena_get(arena, 5 << 20);
    assert_ptr_equal(rh_arena_get(arena, 1 << 20), huge + (5 << 20)); /* one block for all that was in use */
    memset(huge, 1, 5 << 20);
    rh_arena_clear(arena);
    assert_ptr_equal(rh_arena_get(arena, 5 << 20), huge); /* and it stays */
    if (arena->secret)
        for (size_t i = 0; i < 5 << 20; i += 511)
            assert_int_equal(huge[i], 0); /* wiped */
}

static void test_arena(void **state)
{
    (void)state;
    rh_auto_arena struct rh_arena plain = {0}, secret = {.secret = true};
    use_arena(&plain);
    use_arena(&secret);
    rh_arena_done(&secret);
    assert_true(secret.secret);
    assert_null(rh_arena_get(&plain, SIZE_MAX));
    assert_null(rh_arena_get(&plain, SIZE_MAX / 2 - 8));
    assert_string_equal(rh_arena_text(&plain, "text"), "text");
    assert_string_equal(rh_arena_format(&plain, "%s-%d", "x", 5), "x-5");
    assert_true(rh_bytes_equal(rh_arena_copy(&plain, TEXT("a\0b")), TEXT("a\0b")));
    assert_int_equal(rh_arena_copy(&plain, rh_bytes(NULL, 0)).size, 0);
}

static void test_batch(void **state)
{
    (void)state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            int length = snprintf(key, sizeof key, "k%d", i);
            struct rh_record *record = rh_batch_add_kv(&batch, rh_bytes(key, (size_t)length), TEXT("value"), i == 500);
            assert_non_null(record);
        }
        assert_int_equal(batch.count, 1000);
        assert_int_equal(batch.bytes, 10 * 2 + 90 * 3 + 900 * 4 + 999 * 5);
        assert_true(rh_bytes_equal(batch.records[999].key, TEXT("k999")));
        assert_true(rh_bytes_equal(batch.records[0].fields[0].value, TEXT("value")));
        assert_int_equal(batch.records[0].fields[0].tag, RH_TAG_BYTES);
        assert_int_equal(batch.records[0].value_bytes, 5);
        assert_int_equal(batch.records[500].fields[0].tag, RH_TAG_NULL);
        assert_int_equal(batch.records[500].fields[0].value.size, 0);
        rh_batch_clear(&batch);
        assert_int_equal(batch.count, 0);
        assert_int_equal(batch.bytes, 0);
    }
    struct rh_record *empty = rh_batch_add_kv(&batch, rh_bytes(NULL, 0), rh_bytes(NULL, 0), false);
    assert_int_equal(empty->fields[0].tag, RH_TAG_BYTES); /* empty isn't NULL */
    struct rh_record *bare = rh_batch_add(&batch);
    assert_true(bare && !bare->fields && bare->outcome == RH_OUTCOME_NONE);
}

static void test_show(void **state)
{
    (void)state;
    char small[8];
    assert_string_equal(SHOWN("plain text"), "plain text");
    assert_string_equal(SHOWN("a\\b"), "a\\\\b");
    assert_string_equal(SHOWN("\x1b[2J\0\x7f"), "\\x1b[2J\\x00\\x7f");
    assert_string_equal(SHOWN("Gr\xc3\xbc\xc3\x9f"
                              "e \xe2\x82\xac"),
                        "Gr\xc3\xbc\xc3\x9f"
                        "e \xe2\x82\xac");
    assert_string_equal(SHOWN("\xc3"), "\\xc3");
    assert_string_equal(SHOWN("\xc2\x9b"), "\\xc2\\x9b");          /* the eight-bit escape */
    assert_string_equal(SHOWN("\xe2\x80\xae"), "\\xe2\\x80\\xae"); /* right to left */
    assert_string_equal(SHOWN("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* a surrogate */
    assert_string_equal(rh_show(TEXT("1234567"), small, sizeof small), "1234567");
    assert_string_equal(rh_show(TEXT("12345678"), small, sizeof small), "1234...");
    assert_string_equal(rh_show(TEXT("123\xe2\x82\xac\xe2\x82\xac"), small, sizeof small), "123...");
    assert_string_equal(rh_show(TEXT("12\x01\x02"), small, sizeof small), "12...");
    assert_string_equal(rh_show(TEXT("12345678"), small, 3), "..");
    assert_string_equal(rh_show(TEXT("1"), small, 1), "");
    assert_string_equal(rh_show(rh_bytes(NULL, 0), small, sizeof small), "");
    uint8_t noise[4000];
    memset(noise, 0xff, sizeof noise);
    const char *shown = RH_SHOW(rh_bytes(noise, sizeof noise));
    assert_int_equal(strlen(shown), 79 * 4 + 3);
    assert_true(rh_utf8_valid(TEXT("0123456789\xf0\x9f\x98\x80 0123456789")));
    assert_true(rh_utf8_valid(rh_bytes(NULL, 0)));
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "12345678\xe2\x82",
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(rh_utf8_valid(rh_bytes_text(bad[i])));
}

static void test_base64_vectors(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"",       ""        },
        {"f",      "Zg=="    },
        {"fo",     "Zm8="    },
        {"foo",    "Zm9v"    },
        {"foob",   "Zm9vYg=="},
        {"fooba",  "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"}
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        rh_auto_buf struct rh_buf text = RH_BUF_INIT, plain = RH_BUF_INIT;
        assert_ok(rh_base64_add(&text, rh_bytes_text(pairs[i][0]), &err), &err);
        assert_string_equal(rh_buf_cstr(&text), pairs[i][1]);
        assert_ok(rh_base64_decode(&plain, rh_bytes_text(pairs[i][1]), &err), &err);
        assert_string_equal(rh_buf_cstr(&plain), pairs[i][0]);
    }
    static const char *const bad[] = {
        "Z",     "Zg",     "Zg=",  "Zg===", "Zh==",      "Zm9=",    "====", "Z===",        "Zg==Zg==", "Zm=v",
        "Zm 9v", "Zm9v\n", "Zm9-", "Zm9_",  "Zm9v\n===", "Z\x80==", "=m9v", "Zm9vZ\xff==", "Z\x00=="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rh_auto_buf struct rh_buf plain = RH_BUF_INIT;
        assert_int_equal(rh_base64_decode(&plain, rh_bytes_text(bad[i]), &err), RH_E_CORRUPT);
        assert_int_equal(plain.size, 0);
    }
    rh_auto_buf struct rh_buf hex = RH_BUF_INIT;
    assert_ok(rh_hex_add(&hex, TEXT("\x00\x9f\xff"), &err), &err);
    assert_string_equal(rh_buf_cstr(&hex), "009fff");
}

/* All lengths round trip, and every byte that isn't in the alphabet is refused at every place. */
static void test_base64_all(void **state)
{
    (void)state;
    uint8_t plain[64], back[64];
    char text[88];
    assert_ok(rh_random(plain, sizeof plain, &err), &err);
    for (size_t size = 0; size <= sizeof plain; size++) {
        size_t length = rh_base64_encode_into(text, rh_bytes(plain, size)), got = 99;
        assert_int_equal(length, (size + 2) / 3 * 4);
        assert_int_equal(rh_base64_decode_into(back, &got, rh_bytes(text, length)), RH_OK);
        assert_true(rh_bytes_equal(rh_bytes(back, got), rh_bytes(plain, size)));
    }
    size_t length = rh_base64_encode_into(text, rh_bytes(plain, 9)), got;
    for (size_t at = 0; at < length; at++) {
        char saved = text[at];
        for (int c = 0; c < 256; c++) {
            bool letter =
                (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
            text[at] = (char)c;
            if (c == '=' && at == length - 1)
                continue; /* padding: right or wrong by the bits before it */
            assert_int_equal(rh_base64_decode_into(back, &got, rh_bytes(text, length)), letter ? RH_OK : RH_E_CORRUPT);
        }
        text[at] = saved;
    }
}

static void test_parse(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;
    assert_int_equal(rh_parse_u64(TEXT("18446744073709551615"), &u), RH_OK);
    assert_true(u == UINT64_MAX);
    static const char *const bad[] = {"",    "18446744073709551616", "-1", "+1", " 1", "1 ", "0x1",
                                      "1_0", "99999999999999999999"};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_int_equal(rh_parse_u64(rh_bytes_text(bad[n]), &u), RH_E_USAGE);
    assert_int_equal(rh_parse_i64(TEXT("-9223372036854775808"), &i), RH_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(rh_parse_i64(TEXT("9223372036854775807"), &i), RH_OK);
    assert_true(i == INT64_MAX);
    assert_int_equal(rh_parse_i64(TEXT("9223372036854775808"), &i), RH_E_USAGE);
    assert_int_equal(rh_parse_i64(TEXT("-9223372036854775809"), &i), RH_E_USAGE);
    assert_int_equal(rh_parse_i64(TEXT("-"), &i), RH_E_USAGE);
    static const struct {
        const char *text;
        int64_t us;
    } times[] = {
        {"90",    90000000  },
        {"90s",   90000000  },
        {"500ms", 500000    },
        {"5m",    300000000 },
        {"2h",    7200000000},
        {"0",     0         }
    };
    for (size_t n = 0; n < sizeof times / sizeof times[0]; n++) {
        assert_int_equal(rh_parse_duration(rh_bytes_text(times[n].text), &i), RH_OK);
        assert_int_equal(i, times[n].us);
    }
    static const char *const bad_times[] = {
        "", "s", "1 s", "-1s", "1.5s", "1d", "9223372036855s", "18446744073709551615h"};
    for (size_t n = 0; n < sizeof bad_times / sizeof bad_times[0]; n++)
        assert_int_equal(rh_parse_duration(rh_bytes_text(bad_times[n]), &i), RH_E_USAGE);
    assert_int_equal(rh_parse_size(TEXT("64KiB"), &u), RH_OK);
    assert_int_equal(u, 65536);
    assert_int_equal(rh_parse_size(TEXT("16MiB"), &u), RH_OK);
    assert_int_equal(u, 16777216);
    assert_int_equal(rh_parse_size(TEXT("1GiB"), &u), RH_OK);
    assert_int_equal(u, 1073741824);
    assert_int_equal(rh_parse_size(TEXT("7"), &u), RH_OK);
    assert_int_equal(u, 7);
    assert_int_equal(rh_parse_size(TEXT("1kb"), &u), RH_E_USAGE);
    assert_int_equal(rh_parse_size(TEXT("18446744073709551615KiB"), &u), RH_E_USAGE);
}

static void test_clock(void **state)
{
    (void)state;
    assert_string_equal(rh_stamp_us(1795314551123456).text, "2026-11-22T02:29:11.123456Z");
    assert_string_equal(rh_stamp_us(0).text, "1970-01-01T00:00:00.000000Z");
    assert_string_equal(rh_stamp_us(-1).text, "1969-12-31T23:59:59.999999Z");
    assert_string_equal(rh_stamp_ns(1795314551123456789).text, "2026-11-22T02:29:11.123456789Z");
    assert_string_equal(rh_stamp_ns(1795314551120000000).text, "2026-11-22T02:29:11.12Z");
    assert_string_equal(rh_stamp_ns(1795314551000000050).text, "2026-11-22T02:29:11.00000005Z");
    assert_string_equal(rh_stamp_ns(1795314551000000000).text, "2026-11-22T02:29:11Z");
    int64_t before = rh_clock_us();
    rh_sleep_us(20000);
    rh_sleep_us(-5);
    assert_true(rh_clock_us() - before >= 20000);
    assert_true(llabs(rh_utc_ns() / 1000 - rh_utc_us()) < 1000000);
    uint8_t one[32] = {0}, two[32] = {0};
    assert_ok(rh_random(one, sizeof one, &err), &err);
    assert_ok(rh_random(two, sizeof two, &err), &err);
    assert_memory_not_equal(one, two, sizeof one);
}

struct logged {
    int events, fields;
    char text[200];
};

static void keep_event(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    struct logged *logged = user;
    logged->events++;
    int length = snprintf(logged->text, sizeof logged->text, "%d %s", (int)level, message);
    for (; fields->name; fields++) {
        logged->fields++;
        length += snprintf(logged->text + length, sizeof logged->text - (size_t)length, " %s=%s", fields->name,
                           fields->value);
    }
}

static void test_log(void **state)
{
    (void)state;
    struct logged logged = {0};
    rh_log(RH_LOG_ERROR, "to nobody");
    rh_log_set(keep_event, &logged, RH_LOG_INFO);
    rh_log(RH_LOG_DEBUG, "too small", {"x", "y"});
    assert_int_equal(logged.events, 0);
    rh_log(RH_LOG_INFO, "copied key", {"path", "a/b"}, {"move", "m"});
    assert_string_equal(logged.text, "2 copied key path=a/b move=m");
    rh_log(RH_LOG_WARN, "alone");
    assert_string_equal(logged.text, "3 alone");
    rh_log_set(NULL, NULL, RH_LOG_TRACE);
    rh_log(RH_LOG_ERROR, "to nobody");
    assert_int_equal(logged.events, 2);
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/rehome-base-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    rh_auto_fd int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rh_auto_buf struct rh_buf buf = RH_BUF_INIT;
    struct stat st;
    mode_t mask = umask(077);
    assert_true(snprintf(path, sizeof path, "%s/a//b/c", folder) > 0);
    assert_ok(rh_make_dirs(path, 0700, &err), &err);
    assert_ok(rh_make_dirs(path, 0700, &err), &err);
    assert_int_equal(rh_file_read(dir, "a/f", 10, &buf, &err), RH_NOT_FOUND);
    assert_ok(rh_file_replace(dir, "a/f", TEXT("12345"), 0, &err), &err);
    assert_int_equal(fstatat(dir, "a/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_ok(rh_file_replace(dir, "a/f", TEXT("1234567890"), 0644, &err), &err);
    assert_int_equal(fstatat(dir, "a/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
    umask(mask);
    assert_ok(rh_file_read(dir, "a/f", 10, &buf, &err), &err);
    assert_string_equal(rh_buf_cstr(&buf), "1234567890");
    assert_ok(rh_file_read(dir, "a/f", 11, &buf, &err), &err);
    assert_int_equal(buf.size, 10); /* cleared first */
    assert_int_equal(rh_file_read(dir, "a/f", 9, &buf, &err), RH_E_LIMIT);
    assert_int_equal(rh_file_read(dir, "a", 9, &buf, &err), RH_E_IO);              /* a folder */
    assert_int_equal(rh_file_replace(dir, "a/b", TEXT("x"), 0600, &err), RH_E_IO); /* over a folder */
    assert_int_equal(rh_file_replace(dir, "none/f", TEXT("x"), 0600, &err), RH_E_IO);
    assert_true(snprintf(path, sizeof path, "%s/a/f/g", folder) > 0);
    assert_int_equal(rh_make_dirs(path, 0700, &err), RH_E_IO);
    assert_int_equal(rh_make_dirs("", 0700, &err), RH_E_IO);
    rh_auto_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(rh_write_all(full, TEXT("x"), &err), RH_E_FULL);
    /* the folders can be removed: no temporary was left */
    assert_int_equal(unlinkat(dir, "a/f", 0), 0);
    assert_int_equal(unlinkat(dir, "a/b/c", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dir, "a/b", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dir, "a", AT_REMOVEDIR), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"path", "password_file", "host", "user", "tls", NULL};
    assert_string_equal(rh_nearest("pth", words), "path");
    assert_string_equal(rh_nearest("paht", words), "path"); /* a swap is one edit */
    assert_string_equal(rh_nearest("pasword_fiel", words), "password_file");
    assert_string_equal(rh_nearest("hots", words), "host");
    assert_string_equal(rh_nearest("tsl", words), "tls");
    assert_null(rh_nearest("bucket", words));
    assert_null(rh_nearest("", words));
    char longer[100];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(rh_nearest(longer, words));
}

#ifdef RH_TEST_HOOKS
/* How a child ends (or stops) that passes "one", "two", "one", "two", ... six points with RH_..._AT set; *ret_passed
 * is how many it left behind. */
static int child_status(const char *variable, const char *value, int *ret_passed)
{
    int ends[2], status = 0;
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv(variable, value, 1);
        for (int i = 0; i < 6; i++) {
            rh_crash_point(i % 2 ? "two" : "one");
            if (write(ends[1], "x", 1) != 1)
                _exit(9);
        }
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    if (WIFSTOPPED(status)) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    for (*ret_passed = 0; read(ends[0], &byte, 1) == 1;)
        ++*ret_passed;
    close(ends[0]);
    return status;
}

static void test_crash_point(void **state)
{
    (void)state;
    int passed, status;
    status = child_status("RH_CRASH_AT", "two:2", &passed);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(passed, 3);
    status = child_status("RH_CRASH_AT", "*:2", &passed);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(passed, 1);
    status = child_status("RH_STOP_AT", "one:3", &passed);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(passed, 4);
    status = child_status("RH_CRASH_AT", "two:9", &passed);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(passed, 6);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef RH_TEST_HOOKS
        cmocka_unit_test(test_crash_point), /* first: the variables are read at the first point that is passed */
#endif
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_bytes),          cmocka_unit_test(test_buf),
        cmocka_unit_test(test_cursor),      cmocka_unit_test(test_arena),          cmocka_unit_test(test_batch),
        cmocka_unit_test(test_show),        cmocka_unit_test(test_base64_vectors), cmocka_unit_test(test_base64_all),
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_clock),          cmocka_unit_test(test_log),
        cmocka_unit_test(test_files),       cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
