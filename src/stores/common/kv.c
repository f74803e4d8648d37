/* SPDX-License-Identifier: Apache-2.0 */
/* What all stores of model kv have alike. */
#include "common.h"

enum rh_status rh_kv_datasets(struct rh_ctx *ctx,
                              struct rh_session *session,
                              enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                              void *user)
{
    (void)session;
    enum rh_status status = rh_ctx_check(ctx);
    return status ? status : add(user, &(struct rh_dataset){.name = RH_KV_DATASET});
}

struct rh_scan_start rh_scan_start(struct rh_range range, struct rh_bytes after)
{
    if (after.size && rh_bytes_compare(after, range.from) >= 0)
        return (struct rh_scan_start){.key = after, .past = true};
    return (struct rh_scan_start){.key = range.from};
}
