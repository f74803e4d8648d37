/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and Vault's columns. A key splits at its last '/': path is "/" and all up to and with that slash, parent_path is
 * path without its last component, key is the rest: "k" is ("", "/", "k"), "a/k" is ("/", "/a/", "k"), "a/b/k" is
 * ("/a/", "/a/b/", "k"). Empty components split like any other.
 */
#include "internal.h"

struct pg_split pg_split_key(struct rh_bytes key)
{
    struct pg_split split = {.top = true};
    const uint8_t *slash = key.size ? memrchr(key.data, '/', key.size) : NULL;
    if (!slash) {
        split.name = key;
        return split;
    }
    split.top = false;
    split.dir = rh_bytes(key.data, (size_t)(slash - key.data) + 1);
    split.name = rh_bytes(slash + 1, key.size - split.dir.size);
    size_t above = split.dir.size - 1;
    while (above > 0 && key.data[above - 1] != '/')
        above--;
    split.parent = rh_bytes(key.data, above);
    return split;
}

bool pg_split_matches(struct rh_bytes parent_path, struct rh_bytes path, struct rh_bytes name)
{
    if (!path.size || path.data[0] != '/' || path.data[path.size - 1] != '/' ||
        (name.size && memchr(name.data, '/', name.size)))
        return false;
    if (path.size == 1)
        return parent_path.size == 0 && name.size > 0;
    size_t above = path.size - 1;
    while (path.data[above - 1] != '/')
        above--;
    return rh_bytes_equal(parent_path, rh_bytes(path.data, above));
}

/* --- arrays --- */

enum rh_status pg_array_begin(struct rh_buf *buf, Oid type, size_t count, struct rh_error *err)
{
    rh_buf_clear(buf);
    /* one dimension, NULLs may occur, element type, then length and lower bound */
    const uint32_t head[] = {1, 1, type, (uint32_t)count, 1};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < sizeof head / sizeof *head; i++)
        status = rh_buf_u32be(buf, head[i], err);
    return status;
}

enum rh_status pg_array_add(struct rh_buf *buf, const struct rh_bytes *a, struct rh_bytes b, struct rh_error *err)
{
    enum rh_status status = rh_buf_u32be(buf, a ? (uint32_t)(a->size + b.size) : UINT32_MAX, err);
    if (!status && a)
        status = rh_buf_add(buf, a->data, a->size, err);
    return status || !a ? status : rh_buf_add(buf, b.data, b.size, err);
}
