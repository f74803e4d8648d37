/* SPDX-License-Identifier: Apache-2.0 */
/* The data file of component_keyring_file: the input is the file. */
#include "fuzz_keystore.h"

#include "../../src/stores/component_keyring_file/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    keystore_try(&component_keyring_format, rh_bytes(data, size));
    return 0;
}
