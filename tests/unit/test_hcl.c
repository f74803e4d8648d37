/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of plan files: what each piece of syntax gives, and where each mistake is said to be. */
#include <rehome/plan.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Parses text that has to be good. */
static struct rh_document *parse(const char *text)
{
    struct rh_document *document = NULL;
    struct rh_error err = {0};
    enum rh_status status = rh_document_parse("f", rh_bytes_text(text), &document, &err);
    if (status != RH_OK)
        fail_msg("'%s': %s", text, err.text);
    return document;
}

/* Writes a tree in one line: name "title" = value. */
static void show(struct rh_buf *out, const struct rh_node *node);

static void show_members(struct rh_buf *out, const struct rh_node *object)
{
    for (size_t i = 0; i < object->member_count; i++) {
        const struct rh_member *member = &object->members[i];
        assert_int_equal(rh_buf_format(out, NULL, "%s%s", i ? " " : "", member->name), RH_OK);
        for (size_t j = 0; j < member->title_count; j++)
            assert_int_equal(rh_buf_format(out, NULL, " \"%.*s\"", (int)member->titles[j].size,
                                           (const char *)member->titles[j].data),
                             RH_OK);
        assert_int_equal(rh_buf_text(out, member->block ? " " : "=", NULL), RH_OK);
        show(out, member->value);
    }
}

static void show(struct rh_buf *out, const struct rh_node *node)
{
    if (node->kind == RH_NODE_OBJECT) {
        assert_int_equal(rh_buf_text(out, "{", NULL), RH_OK);
        show_members(out, node);
        assert_int_equal(rh_buf_text(out, "}", NULL), RH_OK);
    } else if (node->kind == RH_NODE_LIST) {
        assert_int_equal(rh_buf_text(out, "[", NULL), RH_OK);
        for (size_t i = 0; i < node->item_count; i++) {
            assert_int_equal(rh_buf_text(out, i ? "," : "", NULL), RH_OK);
            show(out, node->items[i]);
        }
        assert_int_equal(rh_buf_text(out, "]", NULL), RH_OK);
    } else {
        const char *quote = node->kind == RH_NODE_TEXT ? "'" : node->kind == RH_NODE_BOOL ? "!" : "";
        assert_int_equal(rh_buf_text(out, quote, NULL), RH_OK);
        assert_int_equal(rh_buf_add(out, node->text.data, node->text.size, NULL), RH_OK);
        assert_int_equal(rh_buf_text(out, node->kind == RH_NODE_TEXT ? "'" : "", NULL), RH_OK);
    }
}

struct good {
    const char *text, *tree;
};

static const struct good goods[] = {
    {"",                                                                "{}"                                        },
    {"  \n\t\r\n",                                                      "{}"                                        },
    {"\xef\xbb\xbf"
     "a = 1",                                                      "{a=1}"                                     },
    {"a = 1\r\nb = \"x\"\r\n",                                          "{a=1 b='x'}"                               },
    {"a=1 b=2",                                                         "{a=1 b=2}"                                 },
    {"a = 1\na = 2",                                                    "{a=1 a=2}"                                 },
    {"# one\n// two\na = /* in \n between */ 1 # end",                  "{a=1}"                                     },
    {"/**/a=1/***/",                                                    "{a=1}"                                     },
    {"a.b-c_d = true",                                                  "{a.b-c_d=!true}"                           },
    {"\"quoted key\" = false",                                          "{quoted key=!false}"                       },
    {"true = 1",                                                        "{true=1}"                                  },
    {"sch\xc3\xb6n = 1",                                                "{sch\xc3\xb6n=1}"                          },
    {"b { }",                                                           "{b {}}"                                    },
    {"b = { x = 1, y = 2, }",                                           "{b={x=1 y=2}}"                             },
    {"b { x = 1 y = 2\n z = 3 }",                                       "{b {x=1 y=2 z=3}}"                         },
    {"b \"t\" { }",                                                     "{b \"t\" {}}"                              },
    {"b t { }",                                                         "{b \"t\" {}}"                              },
    {"b \"t\" \"u\" \"v\" \"w\" { c { d = 1 } }",                       "{b \"t\" \"u\" \"v\" \"w\" {c {d=1}}}"     },
    {"\"b\" \"t\" { }",                                                 "{b \"t\" {}}"                              },
 /* numbers, as written */
    {"a = 0",                                                           "{a=0}"                                     },
    {"a = -12",                                                         "{a=-12}"                                   },
    {"a = 0x1F",                                                        "{a=0x1F}"                                  },
    {"a = 017",                                                         "{a=017}"                                   },
    {"a = 1.5e-3",                                                      "{a=1.5e-3}"                                },
    {"a = 1E+9",                                                        "{a=1E+9}"                                  },
    {"a = .5",                                                          "{a=.5}"                                    },
    {"a = 09.5",                                                        "{a=09.5}"                                  },
 /* lists */
    {"a = []",                                                          "{a=[]}"                                    },
    {"a = [1, \"x\", true, [2], { b = 3 },]",                           "{a=[1,'x',!true,[2],{b=3}]}"               },
    {"a = [ # one\n 1, // two\n 2 ]",                                   "{a=[1,2]}"                                 },
 /* texts */
    {"a = \"\"",                                                        "{a=''}"                                    },
    {"a = \"\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\"",                           "{a='\a\b\f\n\r\t\v\\\"'}"                  },
    {"a = \"\\101\\x42\\u0043\\U00000044\"",                            "{a='ABCD'}"                                },
    {"a = \"\\u00e9\\u20ac\\U0001F600\"",                               "{a='\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80'}"},
    {"a = \"\\xff\\377\"",                                              "{a='\xff\xff'}"                            },
    {"a = \"# no // comment /* here */\"",                              "{a='# no // comment /* here */'}"          },
    {"a = \"caf\xc3\xa9\"",                                             "{a='caf\xc3\xa9'}"                         },
    {"a = \"${b}\"",                                                    "{a='${b}'}"                                },
    {"a = \"x${ f(\"q\", {1}) }y\"",                                    "{a='x${ f(\"q\", {1}) }y'}"                },
    {"a = \"${\\n}\"",                                                  "{a='${\\n}'}"                              },
    {"a = \"$${b}$\"",                                                  "{a='$${b}$'}"                              },
    {"a = \"$ {\" b = 1",                                               "{a='$ {' b=1}"                             },
    {"a = \"p$w0rd}{\"",                                                "{a='p$w0rd}{'}"                            },
 /* heredocs */
    {"a = <<EOF\none\ntwo\nEOF\nb = 1",                                 "{a='one\ntwo\n' b=1}"                      },
    {"a = <<EOF\nEOF\n",                                                "{a=''}"                                    },
    {"a = <<EOF\n\\n \"${x}\" EOF\n EOFF\nEOF",                         "{a='\\n \"${x}\" EOF\n EOFF\n'}"           },
    {"a = <<EOF\none\n  EOF\n",                                         "{a='one\n  '}"                             },
    {"a = <<-EOF\n    one\n      two\n    EOF\n",                       "{a='one\n  two\n'}"                        },
    {"a = <<-EOF\n  one\n    EOF\n",                                    "{a='  one\n'}"                             },
    {"a = <<-EOF\none\nEOF\n",                                          "{a='one\n'}"                               },
    {"a = <<EOF\r\none\r\nEOF\r\nb = 1",                                "{a='one\r\n' b=1}"                         },
    {"a = [<<EOF\nx\nEOF\n, 1]",                                        "{a=['x\n',1]}"                             },
 /* JSON */
    {"{}",                                                              "{}"                                        },
    {" {\"a\": 1, \"b\": \"x\\u00e9\", \"c\": true, \"d\": [1, 2.5]}",  "{a=1 b='x\xc3\xa9' c=!true d=[1,2.5]}"     },
    {"{\"storage_source\": {\"mysql\": {\"path\": \"${x}\"}}}",         "{storage_source \"mysql\" {path='${x}'}}"  },
    {"{\"storage_source\": [{\"mysql\": {\"a\": 1}}, {\"file\": {}}]}",
     "{storage_source \"mysql\" {a=1} storage_source \"file\" {}}"                                                  },
    {"{\"source\": {\"mysql\": {\"tls\": {\"mode\": \"off\"}}}}",       "{source \"mysql\" {tls {mode='off'}}}"     },
    {"{\"plan\": {\"state_dir\": \"/s\"}}",                             "{plan {state_dir='/s'}}"                   },
    {"{\"tls\": [{\"a\": 1}]}",                                         "{tls {a=1}}"                               },
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        rh_auto_buf struct rh_buf tree = RH_BUF_INIT;
        struct rh_document *document = parse(goods[i].text);
        show(&tree, document->root);
        assert_string_equal(rh_buf_cstr(&tree), goods[i].tree);
        rh_document_free(document);
    }
}

struct bad {
    const char *text, *error;
};

static const struct bad bads[] = {
    {"a",                                  "f:1:2: expected '=' or '{' after a name, not the end of the file"                          },
    {"a =",                                "f:1:4: expected a value, not the end of the file"                                          },
    {"a = \n\n  ]",                        "f:3:3: expected a value, not ']'"                                                          },
    {"a = hunter2",                        "f:1:5: expected a value (text goes in double quotes), not a bare word"                     },
    {"a 1",                                "f:1:3: expected '=' or '{' after a name, not a number"                                     },
    {"a \"t\" = 1",                        "f:1:7: expected '{' after a block's title, not '='"                                        },
    {"a \"t\"\n",                          "f:2:1: expected '{' after a block's title, not the end of the file"                        },
    {"a \"1\" \"2\" \"3\" \"4\" \"5\" {}", "f:1:19: more titles than a block can have"                                                 },
    {"= 1",                                "f:1:1: expected a name, not '='"                                                           },
    {"12 = 1",                             "f:1:1: expected a name, not a number"                                                      },
    {"\"\" = 1",                           "f:1:1: a name is empty or holds a NUL byte"                                                },
    {"\"\\000\" = 1",                      "f:1:1: a name is empty or holds a NUL byte"                                                },
    {"a = 1, b = 2",                       "f:1:6: expected a name, not ','"                                                           },
    {"a = 1 }",                            "f:1:7: expected a name, not '}'"                                                           },
    {"a {",                                "f:1:4: expected a name or '}', not the end of the file"                                    },
    {"a { b = 1,, c = 2 }",                "f:1:11: expected a name or '}', not ','"                                                   },
    {"a { b = [ }",                        "f:1:11: expected a value, not '}'"                                                         },
    {"a = [1 2]",                          "f:1:8: expected ',' or ']' in a list, not a number"                                        },
    {"a = [,1]",                           "f:1:6: expected a value, not ','"                                                          },
    {"a = [1,",                            "f:1:8: expected a value, not the end of the file"                                          },
    {"a = \"x",                            "f:1:5: text isn't closed with '\"' on its line"                                            },
    {"a = \"x\nb = \"y\"",                 "f:1:5: text isn't closed with '\"' on its line"                                            },
    {"a = \"x\\",                          "f:1:7: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\xc3\xa9\\q\"",                "f:1:7: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\'\"",                        "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\400\"",                      "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\18\"",                       "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\x4\"",                       "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\ud800\"",                    "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\U00110000\"",                "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"\\UFFFFFFFF\"",                "f:1:6: unknown escape in a text; write '\\\\' for a backslash"                             },
    {"a = \"${b\"\nc = 1",                 "f:1:5: text has a '${' without its '}'"                                                    },
    {"a = \"${{}\"",                       "f:1:5: text has a '${' without its '}'"                                                    },
    {"\n a = 5s",                          "f:2:6: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 08",                             "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 0x",                             "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 1.",                             "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 1e",                             "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 127.0.0.1",                      "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = -",                              "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = .",                              "f:1:5: not a number; write text such as \"5s\" in double quotes"                           },
    {"a = 'x'",                            "f:1:5: expected a name or a value; text goes in double quotes"                             },
    {"a: 1",                               "f:1:2: expected a name or a value; text goes in double quotes"                             },
    {"a = 1 /* x",                         "f:1:7: comment isn't closed with '*/'"                                                     },
    {"a = 1 /",                            "f:1:7: expected a name or a value; text goes in double quotes"                             },
    {"/*/",                                "f:1:1: comment isn't closed with '*/'"                                                     },
    {"a = <EOF",                           "f:1:5: expected '<<' and an anchor"                                                        },
    {"a = <<\nx\n",                        "f:1:5: expected an anchor of letters and digits, alone on the rest of its line, after '<<'"},
    {"a = <<EOF x\nEOF\n",
     "f:1:5: expected an anchor of letters and digits, alone on the rest of its line, after '<<'"                                      },
    {"a = <<EOF",                          "f:1:5: expected an anchor of letters and digits, alone on the rest of its line, after '<<'"},
    {"a = <<EOF\nx\n",                     "f:1:5: heredoc isn't closed by a line with its anchor"                                     },
    {"a = 1\nb = \"\xff\"",                "f:2:1: line isn't valid UTF-8"                                                             },
    {"{\"a\": }",                          "f:1:7: not valid JSON"                                                                     },
    {"{\"a\": 1, \"a\": 2}",               "f:1:12: a member is given twice"                                                           },
    {"{\"a\": null}",                      "f:1:7: null isn't a value; leave the member out"                                           },
    {"{\"\": 1}",                          "f:1:2: a name is empty or holds a NUL byte"                                                },
    {"{\"a\": 1} x",                       "f:1:10: not valid JSON"                                                                    },
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct rh_document *document = NULL;
        struct rh_error err = {0};
        enum rh_status status = rh_document_parse("f", rh_bytes_text(bads[i].text), &document, &err);
        if (status != RH_E_PLAN || strcmp(err.text, bads[i].error) != 0)
            fail_msg("'%s' gives %d '%s', not '%s'", bads[i].text, status, err.text, bads[i].error);
        assert_null(document);
        assert_int_equal(rh_document_parse("f", rh_bytes_text(bads[i].text), &document, NULL), RH_E_PLAN);
    }
}

static void test_places(void **state)
{
    (void)state;
    struct rh_document *document = parse("a = 1\n  b \"t\" {\n\t\"\xc3\xa9\" = [ 7 ] }\n");
    const struct rh_member *b = &document->root->members[1], *e = &b->value->members[0];
    assert_int_equal(b->place.line, 2);
    assert_int_equal(b->place.column, 3);
    assert_int_equal(b->value->place.column, 9);
    assert_int_equal(e->place.line, 3);
    assert_int_equal(e->place.column, 2);
    assert_int_equal(e->value->items[0]->place.column, 10); /* characters, not bytes */
    rh_document_free(document);
}

/* Text, size and expected error; NULL: it is good. */
static void check_sized(const char *text, size_t size, const char *error)
{
    struct rh_document *document = NULL;
    struct rh_error err = {0};
    enum rh_status status = rh_document_parse("f", rh_bytes(text, size), &document, &err);
    if (error)
        assert_string_equal(err.text, error);
    assert_int_equal(status, error ? RH_E_PLAN : RH_OK);
    rh_document_free(document);
}

static void test_nul(void **state)
{
    (void)state;
    check_sized("a = 1\nb\0 = 2", 12, "f:2:1: line holds a NUL byte");
    check_sized("{\"a\":\0}", 7, "f:1:1: line holds a NUL byte");
    check_sized("", 0, NULL);
    check_sized(NULL, 0, NULL);
}

/* `count` times a piece of text. */
static char *repeat(const char *piece, size_t count)
{
    size_t size = strlen(piece);
    char *text = malloc(size * count + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * size, piece, size);
    text[size * count] = '\0';
    return text;
}

static void check_repeated(const char *piece, size_t count, const char *error)
{
    char *text = repeat(piece, count);
    check_sized(text, strlen(text), error);
    free(text);
}

static void test_depth(void **state)
{
    (void)state;
    check_sized("a=[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 66, NULL); /* 32 */
    check_sized("a=[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 68,
                "f:1:35: nested too deeply");
    check_repeated("a{", 300000, "f:1:66: nested too deeply");
    check_repeated("{\"a\":", 1000, "f:1:5000: not valid JSON");
    char *open = repeat("{\"a\":[", 40), *close = repeat("]}", 40), *all = NULL;
    assert_true(asprintf(&all, "%s%s", open, close) > 0);
    check_sized(all, strlen(all), "f:1:199: nested too deeply");
    free(open);
    free(close);
    free(all);
}

static void test_size(void **state)
{
    (void)state;
    check_repeated(" ", 1024 * 1024, NULL);
    check_repeated(" ", 1024 * 1024 + 1, "f: larger than 1 MiB");
    check_repeated("a=1\n", 1024 * 256, "f:16384:3: more than 16384 values");
    check_repeated("a=1 ", 1024 * 256, "f:1:65535: more than 16384 values");
    check_repeated("\"", 1024 * 1024, "f:1:1: a name is empty or holds a NUL byte");
    check_repeated("/* ", 1024 * 300, "f:1:1: comment isn't closed with '*/'");
    check_repeated("a=<<A\n", 1024 * 160, "f:1:3: heredoc isn't closed by a line with its anchor");
    check_repeated("a=\"${\n", 1024 * 160, "f:1:3: text has a '${' without its '}'");
}

/* Every prefix of a file that has everything is refused or read, and nothing is touched beyond its end. */
static void test_prefixes(void **state)
{
    (void)state;
    static const char all[] =
        "\xef\xbb\xbf# c\na \"t\" { b = [1, 0x2, \"\\u00e9\\n${x{}}\",] /* d */ e = <<-X\n  y\n  X\n}\nf = -1.5e+3";
    for (size_t size = 0; size < sizeof all; size++) {
        char *exact = malloc(size ? size : 1);
        assert_non_null(exact);
        memcpy(exact, all, size);
        struct rh_document *document = NULL;
        struct rh_error err = {0};
        enum rh_status status = rh_document_parse("f", rh_bytes(exact, size), &document, &err);
        assert_true(status == RH_OK || (status == RH_E_PLAN && strncmp(err.text, "f:", 2) == 0));
        rh_document_free(document);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),   cmocka_unit_test(test_places),
        cmocka_unit_test(test_nul),      cmocka_unit_test(test_depth), cmocka_unit_test(test_size),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
