/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of keyring records: made, taken apart, shown; and what an id says of its key.
 * Knowledge of ids: MySQL 5.7 to 9.7, os0enc and rpl_log_encryption; Percona Server's system keys.
 */
#include <rehome/keyring.h>

#include <stdio.h>

enum { LENGTH_BYTES = 2 };

enum rh_status rh_keyring_key_add(struct rh_buf *buf, struct rh_bytes owner, struct rh_bytes id, struct rh_error *err)
{
    if (owner.size > RH_KEYRING_PART_MOST || id.size > RH_KEYRING_PART_MOST)
        return rh_fail(err, RH_E_LIMIT, "a key's %s has %zu bytes; %u are the most",
                       owner.size > RH_KEYRING_PART_MOST ? "owner" : "id",
                       owner.size > RH_KEYRING_PART_MOST ? owner.size : id.size, RH_KEYRING_PART_MOST);
    const uint8_t length[LENGTH_BYTES] = {(uint8_t)(owner.size >> 8), (uint8_t)owner.size};
    enum rh_status status = rh_buf_reserve(buf, sizeof length + owner.size + id.size, err);
    if (status == RH_OK)
        status = rh_buf_add(buf, length, sizeof length, err);
    if (status == RH_OK)
        status = rh_buf_add(buf, owner.data, owner.size, err);
    return status == RH_OK ? rh_buf_add(buf, id.data, id.size, err) : status;
}

enum rh_status rh_keyring_key_split(struct rh_bytes key, struct rh_bytes *ret_owner, struct rh_bytes *ret_id)
{
    struct rh_cursor cur = rh_cursor(key);
    const size_t high = rh_cursor_u8(&cur);
    const size_t size = high << 8 | rh_cursor_u8(&cur);
    const struct rh_bytes owner = rh_cursor_take(&cur, size);
    const struct rh_bytes id = rh_cursor_take(&cur, rh_cursor_left(&cur));
    if (cur.bad || id.size > RH_KEYRING_PART_MOST)
        return RH_E_CORRUPT;
    *ret_owner = owner;
    *ret_id = id;
    return RH_OK;
}

/* --- what an id says --- */

bool rh_keyring_is_uuid(struct rh_bytes text)
{
    enum { UUID_BYTES = 36 };
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t c = text.data[i];
        const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !hex)
            return false;
    }
    return text.size == UUID_BYTES;
}

/* What follows a prefix; false where the text doesn't begin with it. */
static bool cut_prefix(struct rh_bytes *text, const char *prefix)
{
    const struct rh_bytes start = rh_bytes_text(prefix);
    if (!rh_bytes_starts(*text, start))
        return false;
    *text = rh_bytes(text->data + start.size, text->size - start.size);
    return true;
}

/* Takes "<divider>N" off the end; N as a server writes it. */
static bool cut_number(struct rh_bytes *text, char divider, uint64_t *ret_number)
{
    size_t at = text->size;
    while (at > 0 && text->data[at - 1] != (uint8_t)divider)
        at--;
    if (at == 0)
        return false;
    const struct rh_bytes digits = rh_bytes(text->data + at, text->size - at);
    if ((digits.size > 1 && digits.data[0] == '0') || rh_parse_u64(digits, ret_number) != RH_OK)
        return false;
    text->size = at - 1;
    return true;
}

/* INNODBKey-SERVER-N, behind the prefix. */
static bool is_innodb(struct rh_bytes rest, struct rh_keyring_meaning *meaning)
{
    uint64_t server;
    meaning->use = RH_KEYRING_USE_INNODB;
    if (!cut_number(&rest, '-', &meaning->number) || meaning->number == 0)
        return false;
    meaning->server = rest;
    return rh_keyring_is_uuid(rest) || rh_parse_u64(rest, &server) == RH_OK;
}

/* MySQLReplicationKey_UUID and what may follow, behind the prefix. */
static bool is_binlog(struct rh_bytes rest, struct rh_keyring_meaning *meaning)
{
    static const char *const states[] = {"", "_new", "_old", "_last_purged"};
    enum { UUID_BYTES = 36 };
    if (rest.size < UUID_BYTES || !rh_keyring_is_uuid(rh_bytes(rest.data, UUID_BYTES)))
        return false;
    const struct rh_bytes tail = rh_bytes(rest.data + UUID_BYTES, rest.size - UUID_BYTES);
    meaning->server = rh_bytes(rest.data, UUID_BYTES);
    meaning->use = RH_KEYRING_USE_BINLOG_STATE;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (rh_bytes_equal(tail, rh_bytes_text(states[i])))
            return true;
    meaning->use = RH_KEYRING_USE_BINLOG;
    struct rh_bytes number = tail;
    return cut_number(&number, '_', &meaning->number) && number.size == 0 && meaning->number > 0;
}

/* percona_NAME:N, behind the prefix. */
static bool is_percona(struct rh_bytes rest, struct rh_keyring_meaning *meaning)
{
    meaning->use = RH_KEYRING_USE_PERCONA;
    if (!cut_number(&rest, ':', &meaning->number))
        return false;
    meaning->server = rest;
    return rest.size > 0;
}

struct rh_keyring_meaning rh_keyring_meaning(struct rh_bytes owner, struct rh_bytes id)
{
    struct rh_keyring_meaning meaning = {.number = 0};
    const bool known = owner.size == 0 && (cut_prefix(&id, "INNODBKey-")             ? is_innodb(id, &meaning)
                                           : cut_prefix(&id, "MySQLReplicationKey_") ? is_binlog(id, &meaning)
                                           : cut_prefix(&id, "percona_")             ? is_percona(id, &meaning)
                                                                                     : false);
    return known ? meaning : (struct rh_keyring_meaning){.use = RH_KEYRING_USE_OTHER};
}

/* An id without the digits at its end; these without leading zeros. */
static struct rh_bytes cut_digits(struct rh_bytes id, struct rh_bytes *ret_digits)
{
    size_t at = id.size;
    while (at > 0 && id.data[at - 1] >= '0' && id.data[at - 1] <= '9')
        at--;
    size_t from = at;
    while (from < id.size && id.data[from] == '0')
        from++;
    *ret_digits = rh_bytes(id.data + from, id.size - from);
    return rh_bytes(id.data, at);
}

int rh_keyring_id_order(struct rh_bytes a, struct rh_bytes b)
{
    struct rh_bytes left, right;
    const struct rh_bytes word_a = cut_digits(a, &left), word_b = cut_digits(b, &right);
    int order = rh_bytes_compare(word_a, word_b);
    if (order == 0 && left.size != right.size)
        order = left.size < right.size ? -1 : 1;
    if (order == 0)
        order = rh_bytes_compare(left, right);
    return order ? order : rh_bytes_compare(a, b); /* "01" and "1" are different ids */
}

/* --- for people --- */

const char *rh_keyring_key_show(struct rh_bytes key, char *out, size_t out_size)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(key, &owner, &id) != RH_OK)
        snprintf(out, out_size, "'%s'", RH_SHOW(key));
    else if (owner.size)
        snprintf(out, out_size, "'%s' of '%s'", RH_SHOW(id), RH_SHOW(owner));
    else
        snprintf(out, out_size, "'%s'", RH_SHOW(id));
    return out;
}
