/* SPDX-License-Identifier: Apache-2.0 */
/* The data file of component_keyring_file: the input is the file. */
#include "fuzz_keystore.h"

#include "../../src/stores/component_keyring_file/json.h"

#include <stdlib.h>

/* What is read is read laxly, too. */
static void lax_takes_more(struct rh_bytes bytes)
{
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    struct keyring_shape shape = {0};
    struct rh_error why = {0};
    const bool read = component_keyring_format.parse(NULL, -1, bytes, &set, &shape, &why) == RH_OK;
    if (!component_keyring_format.backup_taken(bytes) && read)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    keystore_try(&component_keyring_format, rh_bytes(data, size));
    lax_takes_more(rh_bytes(data, size));
    return 0;
}
