/* SPDX-License-Identifier: Apache-2.0 */
/* The `keyring_vault` driver's record. */
#include "driver.h"

#include "internal.h"

static const char *const aliases[] = {"component_keyring_vault", NULL};

const struct rh_driver rh_driver_keyring_vault = {
    .name = "keyring_vault",
    .aliases = aliases,
    .summary = "the keys of Percona's keyring_vault and component_keyring_vault, in a Vault or OpenBao",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KEYRING,
    .record_class = RH_RECORDS_SECRET,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = kv_options,
    .open = kv_store_open,
    .close = kv_store_close,
    .session_open = kv_session_open,
    .session_close = kv_session_close,
    .cancel = kv_session_cancel,
    .facts = kv_facts,
    .overlaps = kv_overlaps,
    .read = &kv_read_ops,
    .write = &kv_write_ops,
    .guard = &kv_guard_ops,
    .settings = kv_settings,
};
