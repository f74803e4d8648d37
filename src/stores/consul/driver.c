/* SPDX-License-Identifier: Apache-2.0 */
/* The driver record of Vault's consul storage. */
#include "internal.h"

#include "driver.h"

const struct rh_driver rh_driver_consul = {
    .name = "consul",
    .summary = "Vault's consul storage: the keys below a path of Consul 1.8 on",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = cs_options,
    .open = cs_store_open,
    .close = cs_store_close,
    .session_open = cs_session_open,
    .session_close = cs_session_close,
    .cancel = cs_session_cancel,
    .facts = cs_facts,
    .overlaps = cs_overlaps,
    .read = &cs_read_ops,
    .write = &cs_write_ops,
    .guard = &cs_guard_ops,
};
