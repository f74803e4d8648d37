/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heads of MySQL's encrypted files, from bytes that may be anything. Layouts as in docs/formats/mysql-data.md,
 * which says where they are from and on what they were checked. All numbers are big-endian.
 */
#include "internal.h"

#include <rehome/keyring.h>

#include <stdio.h>

enum {
    FIL_PAGE_NUMBER = 4,
    FIL_PAGE_LSN = 16,
    FIL_PAGE_TYPE = 24,
    FIL_SPACE_ID = 34,
    FSP_SPACE_ID = 38, /* again: the space's own head begins here */
    FSP_FLAGS = 54,
    FSP_END = 38 + 112, /* where the descriptors of extents begin */
    PAGE_TYPE_SPACE_HEAD = 8,

    FLAG_ENCRYPTED = 1 << 13,
    PAGE_LEAST = 4096,
    PAGE_DEFAULT = 16384,
    PAGE_MOST = 65536,

    REDO_INFO_AT = 2 * 512 + 48,
    REDO_FORMATS_MOST = 63, /* 6 in MySQL 9.7; a number that no file of another kind begins with */

    UUID_BYTES = 36,
};

static uint32_t u16_at(struct rh_bytes bytes, size_t at)
{
    return (uint32_t)bytes.data[at] << 8 | bytes.data[at + 1];
}

static uint32_t u32_at(struct rh_bytes bytes, size_t at)
{
    return u16_at(bytes, at) << 16 | u16_at(bytes, at + 2);
}

/* The version that the first three bytes name, 0 for none. */
static int info_version(struct rh_bytes magic)
{
    if (magic.size != 3 || magic.data[0] != 'l' || magic.data[1] != 'C' || magic.data[2] < 'A' || magic.data[2] > 'C')
        return 0;
    return magic.data[2] - 'A' + 1;
}

enum rh_status proof_info_parse(struct rh_bytes bytes, struct proof_info *ret_info)
{
    struct rh_cursor cur = rh_cursor(bytes);
    struct proof_info info = {.version = info_version(rh_cursor_take(&cur, 3))};
    if (cur.bad)
        return RH_E_CORRUPT;
    if (info.version) {
        info.master = rh_cursor_u32be(&cur);
        /* the older versions may have the number in eight bytes, its lower half first */
        struct rh_cursor ahead = cur;
        if (info.version < 3 && rh_cursor_u32be(&ahead) == 0)
            cur = ahead;
        if (info.version > 1) {
            const struct rh_bytes uuid = rh_cursor_take(&cur, UUID_BYTES);
            /* a server without a UUID yet writes the fixed key's number and any text */
            if (cur.bad || (info.master && !rh_keyring_is_uuid(uuid)))
                return RH_E_CORRUPT;
            memcpy(info.uuid, uuid.data, UUID_BYTES);
        }
        const struct rh_bytes wrapped = rh_cursor_take(&cur, sizeof info.wrapped);
        info.sum = rh_cursor_u32be(&cur);
        if (cur.bad)
            return RH_E_CORRUPT;
        memcpy(info.wrapped, wrapped.data, sizeof info.wrapped);
    }
    *ret_info = info;
    return RH_OK;
}

/* Size of a page in memory (`ret_logical`) and on disk, from a space's flags. */
static bool page_sizes(uint32_t flags, uint32_t *ret_logical, uint32_t *ret_physical)
{
    const uint32_t packed = flags >> 1 & 15, whole = flags >> 6 & 15;
    *ret_logical = whole ? 512u << whole : PAGE_DEFAULT;
    *ret_physical = packed ? 512u << packed : *ret_logical;
    return *ret_logical >= PAGE_LEAST && *ret_logical <= PAGE_MOST && *ret_physical <= *ret_logical &&
           *ret_physical >= 1024 && whole <= 7 && packed <= 5;
}

/* Encryption info stands behind the descriptors of extents, of which there are as many as a page has room to describe:
 * an extent has 1 MiB or, with large pages, 64 of them; a descriptor 24 bytes and two bits a page. */
static size_t info_at(uint32_t logical, uint32_t physical)
{
    const uint32_t extent_pages = logical <= PAGE_DEFAULT ? (1024 * 1024) / logical : 64;
    const uint32_t descriptor = 24 + (2 * extent_pages + 7) / 8;
    return FSP_END + (size_t)descriptor * (physical / extent_pages);
}

enum rh_status proof_page_parse(struct rh_bytes head, size_t *ret_info_at, bool *ret_encrypted)
{
    uint32_t logical, physical;
    if (head.size < PROOF_PAGE_HEAD || u32_at(head, FIL_PAGE_NUMBER) != 0 ||
        u16_at(head, FIL_PAGE_TYPE) != PAGE_TYPE_SPACE_HEAD || u32_at(head, FIL_SPACE_ID) != u32_at(head, FSP_SPACE_ID))
        return RH_E_CORRUPT;
    const uint32_t flags = u32_at(head, FSP_FLAGS);
    if (!page_sizes(flags, &logical, &physical))
        return RH_E_CORRUPT;
    *ret_info_at = info_at(logical, physical);
    *ret_encrypted = flags & FLAG_ENCRYPTED;
    return RH_OK;
}

bool proof_page_is_fresh(struct rh_bytes head, bool *ret_encrypted)
{
    if (head.size < PROOF_PAGE_HEAD || u32_at(head, FIL_PAGE_NUMBER) != 0 || u16_at(head, FIL_PAGE_TYPE) != 0 ||
        u32_at(head, FIL_PAGE_LSN) != 0 || u32_at(head, FIL_PAGE_LSN + 4) != 0 || u32_at(head, FIL_SPACE_ID) == 0 ||
        u32_at(head, FIL_SPACE_ID) != u32_at(head, FSP_SPACE_ID))
        return false;
    *ret_encrypted = u32_at(head, FSP_FLAGS) & FLAG_ENCRYPTED;
    return true;
}

enum rh_status proof_redo_parse(struct rh_bytes head, struct proof_info *ret_info)
{
    if (head.size < PROOF_REDO_HEAD || u32_at(head, 0) > REDO_FORMATS_MOST)
        return RH_E_CORRUPT;
    return proof_info_parse(rh_bytes(head.data + REDO_INFO_AT, PROOF_INFO_MOST), ret_info);
}

bool proof_is_binlog(struct rh_bytes head)
{
    return rh_bytes_starts(head, rh_bytes("\xfd"
                                          "bin",
                                          4));
}

bool proof_is_plain_binlog(struct rh_bytes head)
{
    return rh_bytes_starts(head, rh_bytes("\xfe"
                                          "bin",
                                          4));
}

/* The id of a key: text that may be printed. */
static bool take_id(struct rh_bytes id, char out[static PROOF_ID_MOST])
{
    if (id.size == 0 || id.size >= PROOF_ID_MOST || memchr(id.data, 0, id.size))
        return false;
    memcpy(out, id.data, id.size);
    out[id.size] = '\0';
    return true;
}

enum rh_status proof_binlog_parse(struct rh_bytes head, struct proof_binlog *ret_binlog)
{
    enum { KEY_ID = 1, PASSWORD = 2, IV = 3 };
    struct proof_binlog found = {0};
    struct rh_cursor cur = rh_cursor(head);
    unsigned seen = 0;
    rh_cursor_take(&cur, 4);
    if (!proof_is_binlog(head) || head.size < PROOF_BINLOG_HEAD || rh_cursor_u8(&cur) != 1)
        return RH_E_CORRUPT;
    for (uint8_t type = rh_cursor_u8(&cur); type && !cur.bad; type = rh_cursor_u8(&cur)) {
        struct rh_bytes value = {0};
        if (type > IV || seen & 1u << type)
            return RH_E_CORRUPT;
        seen |= 1u << type;
        value = rh_cursor_take(&cur, type == KEY_ID     ? rh_cursor_u8(&cur)
                                     : type == PASSWORD ? sizeof found.password
                                                        : sizeof found.iv);
        if (cur.bad || (type == KEY_ID && !take_id(value, found.key_id)))
            return RH_E_CORRUPT;
        if (type == PASSWORD)
            memcpy(found.password, value.data, sizeof found.password);
        else if (type == IV)
            memcpy(found.iv, value.data, sizeof found.iv);
    }
    if (cur.bad || seen != (1u << KEY_ID | 1u << PASSWORD | 1u << IV))
        return RH_E_CORRUPT;
    *ret_binlog = found;
    return RH_OK;
}
