/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of MySQL's files, any bytes, as each kind that is read: what comes out is within its bounds, and trying a key
 * on it ends with yes or no. */
#include "../../src/proof/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process when something that always holds doesn't. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look_at_info(const struct proof_info *info)
{
    must(info->version >= 0 && info->version <= 3);
    must(memchr(info->uuid, 0, sizeof info->uuid));
    must(info->version > 1 || info->uuid[0] == '\0');
    if (info->version) {
        const enum rh_status status = proof_info_try(info, proof_default_key(), NULL);
        must(status == RH_OK || status == RH_CHANGED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct rh_bytes bytes = rh_bytes(data, size);
    struct proof_info info;
    struct proof_binlog binlog;
    size_t info_at = 0;
    bool encrypted;
    if (proof_info_parse(bytes, &info) == RH_OK)
        look_at_info(&info);
    if (proof_redo_parse(bytes, &info) == RH_OK)
        look_at_info(&info);
    if (proof_page_parse(bytes, &info_at, &encrypted) == RH_OK) {
        must(info_at > 150 && info_at + PROOF_INFO_MOST < 65536);
        if (info_at < size && proof_info_parse(rh_bytes(data + info_at, size - info_at), &info) == RH_OK)
            look_at_info(&info);
    }
    if (proof_page_is_fresh(bytes, &encrypted))
        must(size >= PROOF_PAGE_HEAD && proof_page_parse(bytes, &info_at, &encrypted) != RH_OK);
    if (proof_binlog_parse(bytes, &binlog) == RH_OK) {
        must(binlog.key_id[0] && memchr(binlog.key_id, 0, sizeof binlog.key_id));
        const size_t first =
            size - PROOF_BINLOG_HEAD < PROOF_BINLOG_FIRST ? size - PROOF_BINLOG_HEAD : PROOF_BINLOG_FIRST;
        const enum rh_status status =
            proof_binlog_try(&binlog, rh_bytes(data + PROOF_BINLOG_HEAD, first), proof_default_key(), NULL);
        must(status == RH_OK || status == RH_CHANGED);
    }
    return 0;
}
