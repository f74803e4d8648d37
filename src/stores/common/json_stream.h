/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An incremental JSON reader (RFC 8259) for answers that don't fit into memory: bytes go in as they come, cut anywhere;
 * events come out. It holds no text: a string is handed on in pieces. What isn't complete JSON is RH_E_CORRUPT, and
 * so is an end inside of it. Base64 that comes in pieces, too, and how a string is written.
 */
#ifndef REHOME_STORES_JSON_STREAM_H
#define REHOME_STORES_JSON_STREAM_H

#include <rehome/bytes.h>

enum rh_json_kind {
    RH_JSON_OBJECT,
    RH_JSON_OBJECT_END,
    RH_JSON_ARRAY,
    RH_JSON_ARRAY_END,
    RH_JSON_NAME, /* of an object's member; cut at RH_JSON_NAME_MAX bytes */
    RH_JSON_TEXT, /* a piece of a string, escapes resolved; `last` with its last piece, which may be empty */
    RH_JSON_NUMBER,
    RH_JSON_TRUE,
    RH_JSON_FALSE,
    RH_JSON_NULL,
};

enum { RH_JSON_DEPTH_MAX = 32, RH_JSON_NAME_MAX = 64 };

struct rh_json_event {
    enum rh_json_kind kind;
    unsigned depth;       /* objects and arrays around it; an object's own begin and end are inside of it */
    struct rh_bytes text; /* NAME, TEXT, NUMBER; borrowed for the call */
    bool first, last;     /* TEXT */
    bool replaced;        /* TEXT, with `last`: the string held an escaped U+FFFD or half a surrogate pair */
};
typedef enum rh_status rh_json_take(void *user, const struct rh_json_event *event, struct rh_error *err);

enum rh_json_state {
    RH_JSON_VALUE,
    RH_JSON_VALUE_OR_END,
    RH_JSON_NAME_OR_END,
    RH_JSON_NAME_NEXT,
    RH_JSON_COLON,
    RH_JSON_AFTER,
    RH_JSON_STRING,
    RH_JSON_ESCAPE,
    RH_JSON_UNICODE,
    RH_JSON_WORD, /* a number or true, false, null */
    RH_JSON_COMPLETE,
};

struct rh_json {
    rh_json_take *take;
    void *user;
    enum rh_json_state state;
    unsigned depth;
    bool in_array[RH_JSON_DEPTH_MAX];
    bool is_name, first, replaced;
    uint32_t unicode, high; /* an escape under way; the first half of a pair */
    unsigned digits;
    char word[RH_JSON_NAME_MAX];
    size_t word_size;
};

void rh_json_init(struct rh_json *json, rh_json_take *take, void *user);
/* The next bytes. RH_OK, RH_E_CORRUPT, or what `take` failed with; after a failure only init helps. */
enum rh_status rh_json_feed(struct rh_json *json, struct rh_bytes bytes, struct rh_error *err) RH_MUST_USE;
/* No more bytes: RH_OK if exactly one value was read. */
enum rh_status rh_json_end(struct rh_json *json, struct rh_error *err) RH_MUST_USE;

/* Base64 that comes in pieces. */
struct rh_base64_in {
    uint8_t carry[4];
    size_t carried;
    bool padded;
};
enum rh_status rh_base64_in_feed(struct rh_base64_in *base64,
                                 struct rh_bytes text,
                                 struct rh_buf *out,
                                 struct rh_error *err) RH_MUST_USE;
enum rh_status rh_base64_in_end(const struct rh_base64_in *base64, struct rh_error *err) RH_MUST_USE;

/* A quoted JSON string; the text must be valid UTF-8. */
enum rh_status rh_json_quote(struct rh_buf *out, struct rh_bytes text, struct rh_error *err) RH_MUST_USE;

#endif
