/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices, growing buffers, arenas, cursors: the only ways in which rehome holds outside data.
 * Allocation rule: an rh_bytes owns nothing; an rh_buf owns its memory; an arena's memory goes all at once.
 */
#ifndef REHOME_BYTES_H
#define REHOME_BYTES_H

#include <rehome/error.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

struct rh_bytes {
    const uint8_t *data; /* may be NULL when size is 0 */
    size_t size;
};

static inline struct rh_bytes rh_bytes(const void *data, size_t size)
{
    return (struct rh_bytes){.data = (const uint8_t *)data, .size = size};
}
static inline struct rh_bytes rh_bytes_text(const char *text)
{
    return rh_bytes(text, strlen(text));
}
bool rh_bytes_equal(struct rh_bytes a, struct rh_bytes b);
/* Byte order, shorter first on a tie: <0, 0, >0. */
int rh_bytes_compare(struct rh_bytes a, struct rh_bytes b);
bool rh_bytes_starts(struct rh_bytes all, struct rh_bytes prefix);
/* Equality in constant time for equal sizes. */
bool rh_bytes_equal_secret(struct rh_bytes a, struct rh_bytes b);

/* A growing buffer. Initialise with RH_BUF_INIT or rh_buf_limited; free with rh_buf_done (wipes nothing). */
struct rh_buf {
    uint8_t *data;
    size_t size, capacity;
    size_t limit; /* most bytes it may ever hold; 0 = SIZE_MAX/2 */
};
#define RH_BUF_INIT                                                                                                    \
    {                                                                                                                  \
        0                                                                                                              \
    }
static inline struct rh_buf rh_buf_limited(size_t limit)
{
    return (struct rh_buf){.limit = limit};
}
void rh_buf_done(struct rh_buf *buf);
static inline void rh_buf_clear(struct rh_buf *buf)
{
    buf->size = 0;
}
/* All of these: RH_OK, or RH_E_MEMORY / RH_E_LIMIT (over the limit) with nothing appended. err may be NULL. */
enum rh_status rh_buf_reserve(struct rh_buf *buf, size_t more, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_buf_add(struct rh_buf *buf, const void *data, size_t size, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_buf_text(struct rh_buf *buf, const char *text, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_buf_format(struct rh_buf *buf, struct rh_error *err, const char *fmt, ...)
    RH_PRINTF(3, 4) RH_MUST_USE;
enum rh_status rh_buf_u8(struct rh_buf *buf, uint8_t value, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_buf_u32be(struct rh_buf *buf, uint32_t value, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_buf_u64be(struct rh_buf *buf, uint64_t value, struct rh_error *err) RH_MUST_USE;
/* u32be length, then the bytes. */
enum rh_status rh_buf_bytes32(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err) RH_MUST_USE;
/* NUL-terminates (not counted in size) and borrows as text; "" when memory is out. */
const char *rh_buf_cstr(struct rh_buf *buf);
static inline struct rh_bytes rh_buf_bytes(const struct rh_buf *buf)
{
    return rh_bytes(buf->data, buf->size);
}

/* A reader over bytes: each get checks the end. After a failed get `bad` stays set and gets give zeros. */
struct rh_cursor {
    const uint8_t *at, *end;
    bool bad;
};
static inline struct rh_cursor rh_cursor(struct rh_bytes bytes)
{
    return (struct rh_cursor){.at = bytes.data, .end = bytes.size ? bytes.data + bytes.size : bytes.data};
}
uint8_t rh_cursor_u8(struct rh_cursor *cur);
uint32_t rh_cursor_u32be(struct rh_cursor *cur);
uint64_t rh_cursor_u64be(struct rh_cursor *cur);
struct rh_bytes rh_cursor_take(struct rh_cursor *cur, size_t size); /* borrowed from the input */
struct rh_bytes rh_cursor_bytes32(struct rh_cursor *cur);           /* u32be length, then that many */
static inline size_t rh_cursor_left(const struct rh_cursor *cur)
{
    return cur->bad ? 0 : (size_t)(cur->end - cur->at);
}
/* True when everything was read and nothing went wrong. */
static inline bool rh_cursor_done(const struct rh_cursor *cur)
{
    return !cur->bad && cur->at == cur->end;
}

/* An arena: many small pieces, freed together. Not thread-safe; belongs to one batch or one call. */
struct rh_arena {
    struct rh_arena_block *head; /* newest first */
    size_t used_bytes;           /* handed out since the last clear */
    bool secret;                 /* set before the first get: blocks are locked, undumpable and wiped when cleared */
};
/* Memory aligned to 16, uninitialised; NULL when memory is out. size 0 gives a valid pointer. */
void *rh_arena_get(struct rh_arena *arena, size_t size);
struct rh_bytes rh_arena_copy(struct rh_arena *arena,
                              struct rh_bytes bytes);          /* data NULL and size 0 if memory is out and size > 0 */
char *rh_arena_text(struct rh_arena *arena, const char *text); /* NULL when memory is out */
char *rh_arena_format(struct rh_arena *arena, const char *fmt, ...) RH_PRINTF(2, 3);
void rh_arena_clear(struct rh_arena *arena); /* keeps its largest block for reuse */
void rh_arena_done(struct rh_arena *arena);

/* Outside bytes made safe to show: printable ASCII and valid UTF-8 stay, the rest becomes \xNN, backslash
 * becomes \\; at most `limit` bytes of input, then "...". Written to out (NUL-terminated), returns out. */
const char *rh_show(struct rh_bytes bytes, char *out, size_t out_size);
struct rh_shown {
    char text[320];
};
/* RH_SHOW(key): a temporary for printf arguments, lives to the end of the full expression's block. */
#define RH_SHOW(bytes) rh_show((bytes), (struct rh_shown){{0}}.text, sizeof(struct rh_shown))

enum rh_status rh_hex_add(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err) RH_MUST_USE;
/* Base64, standard alphabet with padding. Decode refuses anything else (RH_E_CORRUPT), appends to buf. */
enum rh_status rh_base64_add(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_base64_decode(struct rh_buf *buf, struct rh_bytes text, struct rh_error *err) RH_MUST_USE;
/* Into memory of the caller's: `out` has room for size/4*3 bytes. Fast path of the copy loop. */
enum rh_status rh_base64_decode_into(uint8_t *out, size_t *ret_size, struct rh_bytes text) RH_MUST_USE;
size_t rh_base64_encode_into(char *out,
                             struct rh_bytes bytes); /* needs (size+2)/3*4 bytes, no NUL; returns the count */

/* Strict decimal; no sign for u64, no blanks, no overflow. RH_E_USAGE without words: the caller knows the place. */
enum rh_status rh_parse_u64(struct rh_bytes text, uint64_t *ret_value) RH_MUST_USE;
enum rh_status rh_parse_i64(struct rh_bytes text, int64_t *ret_value) RH_MUST_USE;
/* "90", "90s", "500ms", "5m", "2h" -> microseconds; plain numbers are seconds. */
enum rh_status rh_parse_duration(struct rh_bytes text, int64_t *ret_us) RH_MUST_USE;
/* "65536", "64KiB", "16MiB", "1GiB" -> bytes. */
enum rh_status rh_parse_size(struct rh_bytes text, uint64_t *ret_bytes) RH_MUST_USE;

bool rh_utf8_valid(struct rh_bytes bytes);

/* Clean-up attributes. Declare initialised: `rh_auto_buf struct rh_buf b = RH_BUF_INIT;` */
void rh_auto_free_(void *pointer_to_pointer);
void rh_auto_fd_(int *fd);
#define rh_auto_free __attribute__((cleanup(rh_auto_free_)))
#define rh_auto_fd __attribute__((cleanup(rh_auto_fd_)))
#define rh_auto_buf __attribute__((cleanup(rh_buf_done)))
#define rh_auto_arena __attribute__((cleanup(rh_arena_done)))
/* Hands the pointer out and empties the local. */
#define rh_take(pointer)                                                                                               \
    __extension__({                                                                                                    \
        __typeof__(pointer) taken_ = (pointer);                                                                        \
        (pointer) = NULL;                                                                                              \
        taken_;                                                                                                        \
    })

#endif
