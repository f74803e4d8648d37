/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An incremental JSON reader (RFC 8259) for answers that don't fit into memory: bytes go in as they come, cut anywhere;
 * events come out. It holds no text: a string is handed on in pieces. What isn't complete JSON is RH_E_CORRUPT, and
 * so is an end inside of it.
 */
#ifndef REHOME_STORES_CONSUL_JSON_H
#define REHOME_STORES_CONSUL_JSON_H

#include <rehome/bytes.h>

enum cs_json_kind {
    CS_JSON_OBJECT,
    CS_JSON_OBJECT_END,
    CS_JSON_ARRAY,
    CS_JSON_ARRAY_END,
    CS_JSON_NAME, /* of an object's member; cut at CS_JSON_NAME_MAX bytes */
    CS_JSON_TEXT, /* a piece of a string, escapes resolved; `last` with its last piece, which may be empty */
    CS_JSON_NUMBER,
    CS_JSON_TRUE,
    CS_JSON_FALSE,
    CS_JSON_NULL,
};

enum { CS_JSON_DEPTH_MAX = 32, CS_JSON_NAME_MAX = 64 };

struct cs_json_event {
    enum cs_json_kind kind;
    unsigned depth;       /* objects and arrays around it; an object's own begin and end are inside of it */
    struct rh_bytes text; /* NAME, TEXT, NUMBER; borrowed for the call */
    bool first, last;     /* TEXT */
    bool replaced;        /* TEXT, with `last`: the string held an escaped U+FFFD or half a surrogate pair */
};
typedef enum rh_status cs_json_take(void *user, const struct cs_json_event *event, struct rh_error *err);

enum cs_json_state {
    CS_JSON_VALUE,
    CS_JSON_VALUE_OR_END,
    CS_JSON_NAME_OR_END,
    CS_JSON_NAME_NEXT,
    CS_JSON_COLON,
    CS_JSON_AFTER,
    CS_JSON_STRING,
    CS_JSON_ESCAPE,
    CS_JSON_UNICODE,
    CS_JSON_WORD, /* a number or true, false, null */
    CS_JSON_COMPLETE,
};

struct cs_json {
    cs_json_take *take;
    void *user;
    enum cs_json_state state;
    unsigned depth;
    bool in_array[CS_JSON_DEPTH_MAX];
    bool is_name, first, replaced;
    uint32_t unicode, high; /* an escape under way; the first half of a pair */
    unsigned digits;
    char word[CS_JSON_NAME_MAX];
    size_t word_size;
};

void cs_json_init(struct cs_json *json, cs_json_take *take, void *user);
/* The next bytes. RH_OK, RH_E_CORRUPT, or what `take` failed with; after a failure only init helps. */
enum rh_status cs_json_feed(struct cs_json *json, struct rh_bytes bytes, struct rh_error *err) RH_MUST_USE;
/* No more bytes: RH_OK if exactly one value was read. */
enum rh_status cs_json_end(struct cs_json *json, struct rh_error *err) RH_MUST_USE;

/* Base64 that comes in pieces. */
struct cs_base64 {
    uint8_t carry[4];
    size_t carried;
    bool padded;
};
enum rh_status
cs_base64_feed(struct cs_base64 *base64, struct rh_bytes text, struct rh_buf *out, struct rh_error *err) RH_MUST_USE;
enum rh_status cs_base64_end(const struct cs_base64 *base64, struct rh_error *err) RH_MUST_USE;

#endif
