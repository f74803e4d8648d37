/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Vault or somebody who writes to it may say to the keyring_vault driver, any bytes: the first byte says whether
 * as a key's name, a server's configuration, or an answer (of version 1 or 2). A name that is taken must be the one
 * that is given to its key; a record that is made of an answer holds the bytes that its base64 says.
 */
#include "../../src/stores/keyring_vault/config.h"
#include "../../src/stores/keyring_vault/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_name(struct rh_bytes name)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT, again = RH_BUF_INIT;
    struct rh_bytes owner, id;
    const enum rh_status status = kv_name_read(&key, name, NULL);
    if (status && status != RH_E_CORRUPT)
        abort();
    if (status)
        return;
    if (rh_keyring_key_split(rh_buf_bytes(&key), &owner, &id) || kv_name_add(&again, owner, id, NULL) ||
        !rh_bytes_equal(rh_buf_bytes(&again), name))
        abort();
}

static void fuzz_config(struct rh_bytes text)
{
    struct kv_config config = {NULL, NULL, NULL, NULL, NULL, NULL, false};
    struct rh_error err = {0};
    const enum rh_status status = kv_config_parse(text, "file", &config, &err);
    if (status && (status != RH_E_PLAN || !*err.text))
        abort();
    kv_config_done(&config);
}

/* As the answer to a read of a key, with a status that says so or that it isn't there. */
static void fuzz_answer(struct rh_bytes text, unsigned version, enum rh_status said)
{
    struct kv_store store = {.mount = {.version = version}};
    struct kv_session session = {.store = &store};
    struct rh_vault_call call = {.status = said};
    struct rh_error err = {0};
    struct kv_found found;
    const struct rh_bytes key = rh_bytes("\0\1ok", 4);
    enum rh_status status = rh_vault_answer_read(&call.answer, text, false, &err);
    if (status && status != RH_E_CORRUPT)
        abort();
    if (!status && !kv_item_found(&session, &call, key, &found, &err) && found.alive) {
        rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
        rh_auto_buf struct rh_buf value = RH_BUF_INIT;
        const bool decodes = rh_base64_decode(&value, found.value, NULL) == RH_OK;
        if ((kv_item_add(&batch, key, &found, true, &err) == RH_OK) != decodes)
            abort();
        if (decodes &&
            (batch.count != 1 || !rh_bytes_equal(batch.records[0].fields[RH_KEYRING_DATA].value, rh_buf_bytes(&value))))
            abort();
    }
    rh_vault_answer_done(&call.answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    /* exactly their size, so that a look beyond the end is seen */
    rh_auto_free uint8_t *copy = malloc(size);
    if (!copy)
        abort();
    memcpy(copy, data + 1, size - 1);
    const struct rh_bytes text = rh_bytes(copy, size - 1);
    switch (data[0] % 4) {
    case 0:
        fuzz_name(text);
        break;
    case 1:
        fuzz_config(text);
        break;
    default:
        fuzz_answer(text, data[0] % 2 + 1, data[0] & 8 ? RH_NOT_FOUND : RH_OK);
        break;
    }
    return 0;
}
