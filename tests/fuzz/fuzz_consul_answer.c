/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of Consul, any bytes, cut into pieces at any places: the same events, records and verdict must come out as
 * from one piece. The first byte says how large the pieces are; whether it is read as a listing or a transaction's
 * answer, both.
 */
#include "../../src/stores/consul/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read, as one text. */
struct seen {
    struct rh_buf text;
    size_t keys;
};

static enum rh_status add_key(void *user, struct rh_bytes key, bool replaced, struct rh_error *err)
{
    struct seen *seen = user;
    seen->keys++;
    enum rh_status status = rh_buf_bytes32(&seen->text, key, err);
    return status ? status : rh_buf_u8(&seen->text, replaced, err);
}

/* Everything of an answer that a caller may look at. */
static void note(const struct cs_answer *answer, struct seen *seen)
{
    for (size_t i = 0; i < answer->count; i++) {
        const struct cs_record *record = &answer->records[i];
        if (record->key_at + record->key_size > answer->data.size ||
            (answer->keep_values && record->value_at + record->value_size > answer->data.size))
            abort();
        struct rh_bytes key = cs_record_key(answer, record);
        if (rh_buf_bytes32(&seen->text, key, NULL) ||
            rh_buf_bytes32(&seen->text, cs_record_value(answer, record), NULL) ||
            rh_buf_u64be(&seen->text, record->modify_index, NULL) || rh_buf_u64be(&seen->text, record->flags, NULL) ||
            rh_buf_text(&seen->text, record->session, NULL))
            abort();
    }
    for (size_t i = 0; i < answer->refused_count; i++)
        if (rh_buf_u64be(&seen->text, answer->refused[i].op, NULL) ||
            rh_buf_u8(&seen->text, (uint8_t)answer->refused[i].why, NULL))
            abort();
}

/* Reads it in pieces of exactly their size, so that a look beyond the end is seen. */
static enum rh_status
read_pieces(enum cs_answer_kind kind, const uint8_t *data, size_t size, size_t piece, struct seen *seen)
{
    struct cs_answer answer = {.kind = kind, .keep_values = true, .add_key = add_key, .add_user = seen};
    enum rh_status status = RH_OK;
    cs_answer_begin(&answer, kind);
    for (size_t at = 0; !status && at < size; at += piece) {
        size_t some = size - at < piece ? size - at : piece;
        rh_auto_free uint8_t *copy = malloc(some);
        if (!copy)
            abort();
        memcpy(copy, data + at, some);
        status = cs_answer_feed(&answer, rh_bytes(copy, some));
    }
    if (!status)
        status = cs_answer_end(&answer, NULL);
    else if (status != RH_E_CORRUPT && status != RH_E_LIMIT)
        abort();
    if (!status)
        note(&answer, seen);
    cs_answer_done(&answer);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const size_t piece = 1 + data[0] % 17;
    data++;
    size--;
    static const enum cs_answer_kind kinds[] = {CS_ANSWER_TXN, CS_ANSWER_KEYS};
    for (size_t i = 0; i < 2; i++) {
        struct seen whole = {0}, pieces = {0};
        enum rh_status one = read_pieces(kinds[i], data, size, size ? size : 1, &whole);
        enum rh_status many = read_pieces(kinds[i], data, size, piece, &pieces);
        if (one != many || whole.keys != pieces.keys)
            abort();
        if (!one && !rh_bytes_equal(rh_buf_bytes(&whole.text), rh_buf_bytes(&pieces.text)))
            abort();
        rh_buf_done(&whole.text);
        rh_buf_done(&pieces.text);
    }
    return 0;
}
