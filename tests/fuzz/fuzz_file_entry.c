/* SPDX-License-Identifier: Apache-2.0 */
/* The content of a file of Vault's file storage: any bytes, in a buffer of exactly their size; what is taken must come
 * back the same after writing it. */
#include "../../src/stores/file/file_entry.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rh_auto_buf struct rh_buf value = RH_BUF_INIT, again = RH_BUF_INIT, text = RH_BUF_INIT;
    rh_auto_free uint8_t *copy = malloc(size ? size : 1);
    struct rh_bytes base64;
    const char *reason = NULL;
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    if (rh_file_entry_parse(copy, size, &base64, &reason) != RH_OK) {
        if (!reason)
            abort();
        return 0;
    }
    if (base64.size && (base64.data < copy || base64.data + base64.size > copy + size))
        abort();
    if (rh_base64_decode(&value, base64, NULL) != RH_OK)
        return 0;
    if (value.size > rh_file_entry_bound(size))
        abort(); /* the bound is never too small */
    const bool is_null = !base64.data;
    const struct rh_field field = {.tag = is_null ? RH_TAG_NULL : RH_TAG_BYTES, .value = rh_buf_bytes(&value)};
    if (rh_file_entry_add(&text, &field, NULL) != RH_OK)
        return 0;
    if (rh_file_entry_parse(text.data, text.size, &base64, &reason) != RH_OK ||
        rh_base64_decode(&again, base64, NULL) != RH_OK || is_null != !base64.data ||
        !rh_bytes_equal(rh_buf_bytes(&value), rh_buf_bytes(&again)))
        abort();
    return 0;
}
