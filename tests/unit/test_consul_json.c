/* SPDX-License-Identifier: Apache-2.0 */
/* The consul driver's JSON reader and what it makes of answers: any cut of the input, nothing taken that isn't whole.
 */
#include "cm.h"

#include "../../src/stores/consul/internal.h"

#include <stdio.h>

/* --- events as text --- */

static enum rh_status show(void *user, const struct rh_json_event *event, struct rh_error *err)
{
    static const char *const words[] = {"{", "}", "[", "]", "name ", "", "number ", "true", "false", "null"};
    struct rh_buf *out = user;
    enum rh_status status = RH_OK;
    if (event->kind != RH_JSON_TEXT || event->first)
        status = rh_buf_format(out, err, "%u:%s", event->depth, event->kind == RH_JSON_TEXT ? "'" : words[event->kind]);
    if (!status && event->text.size)
        status = rh_buf_add(out, event->text.data, event->text.size, err);
    if (!status && event->kind == RH_JSON_TEXT && event->last)
        status = rh_buf_text(out, event->replaced ? "' replaced" : "'", err);
    if (!status && (event->kind != RH_JSON_TEXT || event->last))
        status = rh_buf_u8(out, ' ', err);
    return status;
}

/* Reads it in pieces of that size. */
static enum rh_status read_text(struct rh_bytes text, size_t piece, struct rh_buf *out, struct rh_error *err)
{
    struct rh_json json;
    enum rh_status status = RH_OK;
    rh_buf_clear(out);
    rh_json_init(&json, show, out);
    for (size_t at = 0; !status && at < text.size; at += piece) {
        size_t some = text.size - at < piece ? text.size - at : piece;
        status = rh_json_feed(&json, rh_bytes(text.data + at, some), err);
    }
    return status ? status : rh_json_end(&json, err);
}

static void assert_reads(const char *text, const char *events)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        rh_auto_buf struct rh_buf out = RH_BUF_INIT;
        struct rh_error err = {0};
        assert_ok(read_text(rh_bytes_text(text), piece, &out, &err), &err);
        assert_string_equal(rh_buf_cstr(&out), events);
    }
}

static void test_values(void **state)
{
    (void)state;
    assert_reads("{}", "1:{ 1:} ");
    assert_reads(" [ 1 , -2.5e3 , true,false ,null ] ", "1:[ 1:number 1 1:number -2.5e3 1:true 1:false 1:null 1:] ");
    assert_reads("{\"a\":[{\"b\":\"c\"}],\"d\":\"\"}",
                 "1:{ 1:name a 2:[ 3:{ 3:name b 3:'c' 3:} 2:] 1:name d 1:'' 1:} ");
    assert_reads("7", "0:number 7 ");
}

static void test_strings(void **state)
{
    (void)state;
    assert_reads("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"]", "1:[ 1:'\"\\/\b\f\n\r\tA' 1:] ");
    assert_reads("[\"\\u00e9\\u20ac\\ud83d\\ude00\"]", "1:[ 1:'\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80' 1:] ");
    /* a byte that isn't UTF-8 is told from a true U+FFFD */
    assert_reads("[\"\\ufffd\",\"\xef\xbf\xbd\"]", "1:[ 1:'\xef\xbf\xbd' replaced 1:'\xef\xbf\xbd' 1:] ");
    assert_reads("[\"\\ud83dx\",\"\\ude00\",\"\\ud83d\"]",
                 "1:[ 1:'\xef\xbf\xbdx' replaced 1:'\xef\xbf\xbd' replaced 1:'\xef\xbf\xbd' replaced 1:] ");
}

static void test_wrong(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "[",     "[1",     "[1,]",     "{",      "{\"a\"", "{\"a\":", "{\"a\":1",  "{\"a\":1,}",
        "{1:2}",      "[\"a",  "[\"a\\", "[\"\\u12", "[\"a\"", "]",      "[}",      "{]",        "[1 2]",
        "[01]",       "[1.]",  "[-]",    "[1e]",     "[+1]",   "[tru]",  "[nulll]", "[\"\\x\"]", "[\"\\u12g4\"]",
        "[\"a\nb\"]", "[] []", "tru"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t piece = 1; piece <= strlen(texts[i]) + 1; piece++) {
            rh_auto_buf struct rh_buf out = RH_BUF_INIT;
            struct rh_error err = {0};
            if (read_text(rh_bytes_text(texts[i]), piece, &out, &err) != RH_E_CORRUPT)
                fail_msg("'%s' in pieces of %zu was taken", texts[i], piece);
            assert_true(err.text[0] != '\0');
        }
}

/* Every cut of a whole answer is an error. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] = "[\"vault/a\",{\"x\":[1,\"\\u00e9\",null]}]";
    for (size_t size = 0; size + 1 < sizeof text; size++) {
        rh_auto_buf struct rh_buf out = RH_BUF_INIT;
        struct rh_error err = {0};
        bool whole = size == sizeof text - 1;
        assert_int_equal(read_text(rh_bytes(text, size), 5, &out, &err), whole ? RH_OK : RH_E_CORRUPT);
        if (size == 5)
            assert_non_null(strstr(err.text, "of a string"));
    }
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * RH_JSON_DEPTH_MAX + 3];
    for (size_t depth = RH_JSON_DEPTH_MAX; depth <= RH_JSON_DEPTH_MAX + 1; depth++) {
        rh_auto_buf struct rh_buf out = RH_BUF_INIT;
        struct rh_error err = {0};
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(read_text(rh_bytes(text, 2 * depth), 7, &out, &err),
                         depth > RH_JSON_DEPTH_MAX ? RH_E_CORRUPT : RH_OK);
    }
}

/* --- answers --- */

static enum rh_status feed(struct cs_answer *answer, const char *text, size_t piece)
{
    cs_answer_begin(answer, CS_ANSWER_TXN);
    answer->keep_values = true;
    size_t size = strlen(text);
    for (size_t at = 0; at < size; at += piece) {
        enum rh_status status = cs_answer_feed(answer, rh_bytes(text + at, size - at < piece ? size - at : piece));
        if (status)
            return status;
    }
    return cs_answer_end(answer, &answer->err);
}

static void test_records(void **state)
{
    (void)state;
    static const char text[] =
        "{\"Results\":[{\"KV\":{\"LockIndex\":1,\"Key\":\"vault/core/lock\",\"Flags\":7,\"Value\":\"AAECAw==\","
        "\"Session\":\"adf4238a\",\"CreateIndex\":5,\"ModifyIndex\":18446744073709551615}},"
        "{\"KV\":{\"Key\":\"vault/"
        "e\",\"Value\":null,\"ModifyIndex\":2,\"New\":{\"Key\":\"x\"}}}],\"Errors\":null,\"Index\":3}";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct cs_answer answer = {0};
        assert_ok(feed(&answer, text, piece), &answer.err);
        assert_int_equal(answer.count, 2);
        const struct cs_record *one = &answer.records[0], *two = &answer.records[1];
        assert_true(rh_bytes_equal(cs_record_key(&answer, one), rh_bytes_text("vault/core/lock")));
        assert_true(rh_bytes_equal(cs_record_value(&answer, one), rh_bytes("\0\1\2\3", 4)));
        assert_true(one->modify_index == UINT64_MAX && one->flags == 7 && one->locked);
        assert_string_equal(one->session, "adf4238a");
        assert_true(rh_bytes_equal(cs_record_key(&answer, two), rh_bytes_text("vault/e")));
        assert_int_equal(cs_record_value(&answer, two).size, 0);
        assert_true(two->modify_index == 2 && !two->locked);
        cs_answer_done(&answer);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct cs_answer answer = {0};
    /* a key that reads like another refusal */
    static const char text[] =
        "{\"Results\":null,\"Errors\":["
        "{\"OpIndex\":0,\"What\":\"failed index check for key \\\"vault/m\\\", current modify index 10 != 3\"},"
        "{\"OpIndex\":1,\"What\":\"failed to check index, key \\\"vault/m\\\" doesn't exist\"},"
        "{\"OpIndex\":2,\"What\":\"failed to set key \\\"vault/a doesn't exist\\\", index is stale\"},"
        "{\"OpIndex\":3,\"What\":\"key \\\"vault/, index is stale\\\" doesn't exist\"},"
        "{\"OpIndex\":4,\"What\":\"Permission denied\"},{\"OpIndex\":5,\"What\":\"lock is gone\"}]}";
    static const enum cs_refusal want[] = {CS_GUARD, CS_GUARD, CS_STALE, CS_ABSENT, CS_DENIED, CS_OTHER};
    assert_ok(feed(&answer, text, 3), &answer.err);
    assert_int_equal(answer.refused_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(answer.refused[i].op, i);
        assert_int_equal(answer.refused[i].why, want[i]);
    }
    assert_string_equal(answer.first_what, "Permission denied");
    cs_answer_done(&answer);
}

static void test_wrong_answers(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":\"YQ=\"}}]}",
                                        "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":\"YQ==YQ==\"}}]}",
                                        "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":\"Y Q=\"}}]}",
                                        "{\"Results\":[{\"KV\":{\"Value\":\"YQ==\"}}]}",
                                        "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"ModifyIndex\":-1}}]}",
                                        "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":\"YW"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t piece = 1; piece <= 9; piece++) {
            struct cs_answer answer = {0};
            assert_int_equal(feed(&answer, texts[i], piece), RH_E_CORRUPT);
            assert_true(answer.err.text[0] != '\0');
            cs_answer_done(&answer);
        }
}

/* Quoting is undone by reading. */
static void test_quote(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT, out = RH_BUF_INIT, want = RH_BUF_INIT;
    struct rh_error err = {0};
    static const char key[] = "a\"b\\c\n\0\x1f\x7f/%?\xc3\xa9";
    assert_ok(rh_json_quote(&text, rh_bytes(key, sizeof key - 1), &err), &err);
    assert_ok(read_text(rh_buf_bytes(&text), 2, &out, &err), &err);
    assert_ok(rh_buf_text(&want, "0:'", &err), &err);
    assert_ok(rh_buf_add(&want, key, sizeof key - 1, &err), &err);
    assert_ok(rh_buf_text(&want, "' ", &err), &err);
    assert_true(rh_bytes_equal(rh_buf_bytes(&out), rh_buf_bytes(&want)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_strings),       cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_every_cut), cmocka_unit_test(test_depth),         cmocka_unit_test(test_records),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_wrong_answers), cmocka_unit_test(test_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
