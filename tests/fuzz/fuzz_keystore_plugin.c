/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data file of the plugin keyring_file: the input is the file. A fuzzer doesn't find a SHA-256, so where there is
 * room for one, the input is tried a second time with the digest that its records have.
 */
#include "fuzz_keystore.h"

#include "../../src/stores/keyring_file/pods.h"

#include <openssl/evp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { TAG = 24, TAIL = 35, DIGEST = 32 };
    rh_auto_buf struct rh_buf mended = RH_BUF_INIT;
    keystore_try(&plugin_format, rh_bytes(data, size));
    if (size < TAG + TAIL)
        return 0;
    must(!rh_buf_add(&mended, data, size, NULL), "no memory");
    must(EVP_Digest(data + TAG, size - TAG - TAIL, mended.data + size - DIGEST, NULL, EVP_sha256(), NULL), "no digest");
    keystore_try(&plugin_format, rh_buf_bytes(&mended));
    return 0;
}
