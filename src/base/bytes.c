/* SPDX-License-Identifier: Apache-2.0 */
/* Slices and growing buffers. */
#include <rehome/bytes.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BUF_LEAST = 64 };

bool rh_bytes_equal(struct rh_bytes a, struct rh_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int rh_bytes_compare(struct rh_bytes a, struct rh_bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

bool rh_bytes_starts(struct rh_bytes all, struct rh_bytes prefix)
{
    return all.size >= prefix.size && rh_bytes_equal(rh_bytes(all.data, prefix.size), prefix);
}

bool rh_bytes_equal_secret(struct rh_bytes a, struct rh_bytes b)
{
    if (a.size != b.size)
        return false;
    volatile uint8_t different = 0; /* volatile: no early way out for the compiler */
    for (size_t i = 0; i < a.size; i++)
        different = (uint8_t)(different | (a.data[i] ^ b.data[i]));
    return different == 0;
}

void rh_buf_done(struct rh_buf *buf)
{
    free(buf->data);
    *buf = (struct rh_buf){.limit = buf->limit};
}

enum rh_status rh_buf_reserve(struct rh_buf *buf, size_t more, struct rh_error *err)
{
    size_t limit = buf->limit ? buf->limit : SIZE_MAX / 2;
    size_t need;
    if (__builtin_add_overflow(buf->size, more, &need) || need > limit)
        return rh_fail(err, RH_E_LIMIT, "growing a buffer: %zu bytes and %zu more are over its limit of %zu", buf->size,
                       more, limit);
    if (need <= buf->capacity)
        return RH_OK;
    size_t capacity = buf->capacity < BUF_LEAST ? BUF_LEAST : buf->capacity * 2;
    if (capacity < need)
        capacity = need;
    if (capacity > limit)
        capacity = limit;
    uint8_t *data = realloc(buf->data, capacity);
    if (!data)
        return rh_fail_memory(err);
    buf->data = data;
    buf->capacity = capacity;
    return RH_OK;
}

enum rh_status rh_buf_add(struct rh_buf *buf, const void *data, size_t size, struct rh_error *err)
{
    if (size == 0)
        return RH_OK;
    enum rh_status status = rh_buf_reserve(buf, size, err);
    if (status)
        return status;
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return RH_OK;
}

enum rh_status rh_buf_text(struct rh_buf *buf, const char *text, struct rh_error *err)
{
    return rh_buf_add(buf, text, strlen(text), err);
}

enum rh_status rh_buf_format(struct rh_buf *buf, struct rh_error *err, const char *fmt, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    enum rh_status status;
    if (length < 0) {
        status = rh_fail(err, RH_E_INTERNAL, "formatting text failed");
    } else if ((size_t)length < sizeof small) {
        status = rh_buf_add(buf, small, (size_t)length, err);
    } else {
        char *text = malloc((size_t)length + 1); /* apart from buf, whose limit leaves no room for the NUL */
        status = text ? RH_OK : rh_fail_memory(err);
        if (text && vsnprintf(text, (size_t)length + 1, fmt, again) == length)
            status = rh_buf_add(buf, text, (size_t)length, err);
        free(text);
    }
    va_end(again);
    return status;
}

enum rh_status rh_buf_u8(struct rh_buf *buf, uint8_t value, struct rh_error *err)
{
    return rh_buf_add(buf, &value, 1, err);
}

enum rh_status rh_buf_u32be(struct rh_buf *buf, uint32_t value, struct rh_error *err)
{
    uint32_t big = __builtin_bswap32(value);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        big = value;
    return rh_buf_add(buf, &big, sizeof big, err);
}

enum rh_status rh_buf_u64be(struct rh_buf *buf, uint64_t value, struct rh_error *err)
{
    uint64_t big = __builtin_bswap64(value);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        big = value;
    return rh_buf_add(buf, &big, sizeof big, err);
}

enum rh_status rh_buf_bytes32(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err)
{
    if (bytes.size > UINT32_MAX)
        return rh_fail(err, RH_E_LIMIT, "encoding %zu bytes: more than a 32-bit length can say", bytes.size);
    enum rh_status status = rh_buf_reserve(buf, 4 + bytes.size, err);
    if (!status)
        status = rh_buf_u32be(buf, (uint32_t)bytes.size, err);
    if (!status)
        status = rh_buf_add(buf, bytes.data, bytes.size, err);
    return status;
}

const char *rh_buf_cstr(struct rh_buf *buf)
{
    if (buf->size == buf->capacity) {
        uint8_t *data = realloc(buf->data, buf->size + 1); /* the NUL isn't content: the limit doesn't count it */
        if (!data)
            return "";
        buf->data = data;
        buf->capacity = buf->size + 1;
    }
    buf->data[buf->size] = '\0';
    return (const char *)buf->data;
}

void rh_auto_free_(void *pointer_to_pointer)
{
    void *pointer;
    memcpy(&pointer, pointer_to_pointer, sizeof pointer);
    free(pointer);
}

void rh_auto_fd_(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* nothing was promised about this descriptor: barriers sync before */
}
