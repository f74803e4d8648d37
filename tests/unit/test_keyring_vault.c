/* SPDX-License-Identifier: Apache-2.0 */
/* What keys are called in a Vault, the server's own configuration files, and the JSON of answers. */
#include "cm.h"

#include "../../src/stores/keyring_vault/config.h"
#include "../../src/stores/keyring_vault/names.h"

#include <vault.h>

#include <stdio.h>
#include <stdlib.h>

static struct rh_error err;

/* --- names --- */

/* The name of a key. */
static const char *name_of(struct rh_buf *name, const char *owner, const char *id)
{
    rh_buf_clear(name);
    assert_ok(kv_name_add(name, rh_bytes_text(owner), rh_bytes_text(id), &err), &err);
    return rh_buf_cstr(name);
}

static void test_names(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    assert_string_equal(name_of(&name, "rob", "key1"), "NF9rZXkxM19yb2I="); /* 4_key13_rob */
    assert_string_equal(name_of(&name, "", "key1"), "NF9rZXkxMF8=");        /* 4_key10_ */
    assert_string_equal(name_of(&name, "", "x?"), "Ml94PzBf");              /* the '?' isn't where it makes a slash */
    assert_string_equal(name_of(&name, "", "?"), "MV8/MF8=");               /* here it is */
}

/* Reads a name back. */
static enum rh_status read_name(const char *text, struct rh_buf *key)
{
    rh_buf_clear(key);
    return kv_name_read(key, rh_bytes_text(text), &err);
}

static void test_names_are_read_back(void **state)
{
    (void)state;
    static const char *const parts[] = {"", "a", "key1", "12_", "_", "0_0_", "\xff\x01", "o'brien@%", "INNODBKey-x-1"};
    rh_auto_buf struct rh_buf name = RH_BUF_INIT, key = RH_BUF_INIT, wanted = RH_BUF_INIT;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (size_t j = 0; j < sizeof parts / sizeof *parts; j++) {
            const char *text = name_of(&name, parts[i], parts[j]);
            assert_ok(read_name(text, &key), &err);
            rh_buf_clear(&wanted);
            assert_ok(rh_keyring_key_add(&wanted, rh_bytes_text(parts[i]), rh_bytes_text(parts[j]), &err), &err);
            assert_true(rh_bytes_equal(rh_buf_bytes(&key), rh_buf_bytes(&wanted)));
        }
}

static void test_what_is_no_name(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "key1",
        "NF9rZXkxM19yb2I",                  /* no padding */
        "NF9rZXkxM19yb2I= ",                /* something behind */
        "NF9rZXkxM19yb2J=",                 /* the same bytes, bits left over */
        "NF9rZXkxM19yb2I=\n",               /* as a tool with lines writes it */
        "MDRfa2V5MTBf",                     /* 04_key10_ */
        "NF9rZXkxMF9tb3Jl",                 /* 4_key10_more */
        "NV9rZXkxMF8=",                     /* 5_key10_: one byte of what follows is taken, and no length is left */
        "OTk5OTk5OTk5OTk5OTk5OTk5OTk5X2s=", /* a length beyond all numbers */
        "LTFfazBf",                         /* -1_k0_ */
        "NF9rZXkx",                         /* no owner */
        "NF9rZXkxMF",                       /* cut */
    };
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (struct rh_error){0};
        assert_int_equal(read_name(wrong[i], &key), RH_E_CORRUPT);
        assert_int_equal(key.size, 0);
    }
    /* any other byte gives another key or none */
    char text[] = "NF9rZXkxM19yb2I=";
    rh_auto_buf struct rh_buf right = RH_BUF_INIT;
    assert_ok(read_name(text, &right), &err);
    for (size_t at = 0; at + 1 < sizeof text; at++)
        for (int byte = 1; byte < 256; byte++) {
            const char before = text[at];
            text[at] = (char)byte;
            if (text[at] != before && read_name(text, &key) == RH_OK)
                assert_false(rh_bytes_equal(rh_buf_bytes(&key), rh_buf_bytes(&right)));
            text[at] = before;
        }
}

/* --- configuration --- */

static const char lines[] = "# Percona's\nvault_url = https://v:8200\n\n  secret_mount_point=secret/a \r\n"
                            "token\t= s.abc=def\nvault_ca = /ca.pem";
static const char json[] =
    "\n{\"timeout\": 15, \"vault_url\": \"https://v:8200\", \"secret_mount_point\": "
    "\"secret\\/a\", \"token\": \"s.abc=def\", \"vault_ca\": \"/ca.pem\", \"x\": {\"token\": \"no\"}, "
    "\"secret_mount_point_version\": \"2\", \"vault_namespace\": \"team\"}";

static void assert_common(const struct kv_config *config)
{
    assert_string_equal(config->url, "https://v:8200");
    assert_string_equal(config->mount, "secret/a");
    assert_string_equal(config->ca_file, "/ca.pem");
    assert_non_null(config->token);
    assert_true(rh_bytes_equal(rh_secret_bytes(config->token), rh_bytes_text("s.abc=def")));
    assert_false(config->elsewhere);
}

static void test_configurations(void **state)
{
    (void)state;
    struct kv_config config = {0};
    assert_ok(kv_config_parse(rh_bytes_text(lines), "f", &config, &err), &err);
    assert_common(&config);
    assert_null(config.version);
    kv_config_done(&config);
    assert_ok(kv_config_parse(rh_bytes_text(json), "f", &config, &err), &err);
    assert_common(&config);
    assert_string_equal(config.version, "2");
    assert_string_equal(config.name_space, "team");
    kv_config_done(&config);
    assert_ok(kv_config_parse(rh_bytes_text("{\"read_local_config\": true}"), "f", &config, &err), &err);
    assert_true(config.elsewhere);
    kv_config_done(&config);
}

static void test_wrong_configurations(void **state)
{
    (void)state;
    static const char *const wrong[] = {"{", "{\"token\": \"a\"", "tokn = secret\n", "just words", "= x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct kv_config config = {0};
        err = (struct rh_error){0};
        assert_int_equal(kv_config_parse(rh_bytes_text(wrong[i]), "f", &config, &err), RH_E_PLAN);
        assert_null(strstr(err.text, "secret"));
        kv_config_done(&config);
    }
}

/* --- answers --- */

static void test_answers(void **state)
{
    (void)state;
    struct rh_vault_answer answer = {0};
    uint64_t number = 0;
    const char *text =
        "{\"data\":{\"data\":{\"type\":\"A\\u0045S\",\"value\":\"AA==\"},\"metadata\":{\"version\":7,"
        "\"destroyed\":false,\"deletion_time\":\"\"}},\"warnings\":null,\"keys\":[\"a\",[\"b\"],{\"c\":true}]}";
    assert_ok(rh_vault_answer_read(&answer, rh_bytes_text(text), false, &err), &err);
    assert_true(answer.arena.secret);
    assert_true(rh_bytes_equal(rh_vault_answer_text(&answer, "data.data.type"), rh_bytes_text("AES")));
    assert_true(rh_vault_answer_number(&answer, "data.metadata.version", &number) && number == 7);
    assert_false(rh_vault_answer_true(&answer, "data.metadata.destroyed"));
    const struct rh_bytes none = rh_vault_answer_text(&answer, "data.metadata.deletion_time");
    assert_true(none.data && none.size == 0);
    assert_null(rh_vault_answer_text(&answer, "data.value").data);
    assert_int_equal(rh_vault_answer_find(&answer, "warnings")->kind, RH_JSON_NULL);
    assert_true(rh_bytes_equal(rh_vault_answer_text(&answer, "keys[]"), rh_bytes_text("a")));
    assert_true(rh_bytes_equal(rh_vault_answer_text(&answer, "keys[][]"), rh_bytes_text("b")));
    assert_true(rh_vault_answer_true(&answer, "keys[].c"));
    assert_false(rh_vault_answer_is_empty(&answer));
    rh_vault_answer_done(&answer);
}

static void test_what_is_empty(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool empty;
    } cases[] = {
        {"{\"errors\":[]}",                         true },
        {" { \"errors\" : [ ] } \n",                true },
        {"{}",                                      false},
        {"[]",                                      false},
        {"{\"errors\":{}}",                         false},
        {"{\"errors\":[\"no handler for route\"]}", false},
        {"{\"errors\":[],\"warnings\":[\"a\"]}",    false},
        {"{\"data\":{\"errors\":[]}}",              false},
        {"{\"data\":[]}",                           false},
    };
    struct rh_vault_answer answer = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(rh_vault_answer_read(&answer, rh_bytes_text(cases[i].text), true, &err), &err);
        assert_int_equal(rh_vault_answer_is_empty(&answer), cases[i].empty);
    }
    rh_vault_answer_done(&answer);
}

/* Whatever the length at which an answer is cut, it is no answer. */
static void test_cut_answers(void **state)
{
    (void)state;
    const char *text = "{\"data\":{\"keys\":[\"NF9rZXkxMF8=\",\"x/\"],\"n\":12.5e3}}";
    struct rh_vault_answer answer = {0};
    for (size_t size = 0; size < strlen(text); size++)
        assert_int_equal(rh_vault_answer_read(&answer, rh_bytes(text, size), false, NULL), RH_E_CORRUPT);
    assert_ok(rh_vault_answer_read(&answer, rh_bytes_text(text), false, &err), &err);
    rh_vault_answer_done(&answer);
}

/* Deep and long names are refused before they do harm. */
static void test_hostile_answers(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct rh_vault_answer answer = {0};
    for (int i = 0; i < 40; i++)
        assert_ok(rh_buf_text(&text, "{\"a\":", &err), &err);
    assert_int_equal(rh_vault_answer_read(&answer, rh_buf_bytes(&text), false, NULL), RH_E_CORRUPT);
    rh_buf_clear(&text);
    for (int i = 0; i < 12; i++)
        assert_ok(rh_buf_format(&text, &err, "{\"%060d\":", i), &err);
    assert_int_equal(rh_vault_answer_read(&answer, rh_buf_bytes(&text), false, NULL), RH_E_CORRUPT);
    rh_vault_answer_done(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_are_read_back),
        cmocka_unit_test(test_what_is_no_name),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_wrong_configurations),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_what_is_empty),
        cmocka_unit_test(test_cut_answers),
        cmocka_unit_test(test_hostile_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
