/* SPDX-License-Identifier: Apache-2.0 */
/* The driver record of Vault's postgresql storage. */
#include "driver.h"
#include "internal.h"

const struct rh_driver rh_driver_postgresql = {
    .name = "postgresql",
    .aliases = (const char *const[]){"postgres", NULL},
    .summary = "Vault's and OpenBao's postgresql storage: a table in PostgreSQL 12 on",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = pg_options,
    .open = pg_store_open,
    .close = pg_store_close,
    .session_open = pg_session_open,
    .session_close = pg_session_close,
    .cancel = pg_session_cancel,
    .facts = pg_facts,
    .read = &pg_read_ops,
    .write = &pg_write_ops,
    .schema = &pg_schema_ops,
    .guard = &pg_guard_ops,
};
