/* SPDX-License-Identifier: Apache-2.0 */
/* The undo block decoder: whatever it takes, the encoder writes the same bytes again; all else is refused as
 * corrupt. Format: docs/formats/journal.md, "Undo segments". */
#include "internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rh_error err;
    rh_auto_arena struct rh_arena arena = {0};
    rh_auto_buf struct rh_buf again = RH_BUF_INIT;
    struct rh_undo_block block;
    size_t taken = 0;
    enum rh_status status = rh_undo_block_decode(rh_bytes(data, size), &arena, &block, &err);
    if (status != RH_OK) {
        if (status != RH_E_CORRUPT && status != RH_E_MEMORY)
            abort();
        return 0;
    }
    if (rh_undo_block_encode(&block, 0, RH_SEAL_FRAME_MAX, &again, &taken, &err) != RH_OK || taken != block.count ||
        !rh_bytes_equal(rh_buf_bytes(&again), rh_bytes(data, size)))
        abort();
    return 0;
}
