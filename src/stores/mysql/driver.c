/* SPDX-License-Identifier: Apache-2.0 */
/* The driver record of Vault's mysql storage. */
#include "internal.h"
#include "driver.h"

const struct rh_driver rh_driver_mysql = {
    .name = "mysql",
    .aliases = (const char *const[]){"mariadb", NULL},
    .summary = "Vault's mysql storage: a table in MariaDB 10.11 on or MySQL 8 on",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = my_options,
    .open = my_store_open,
    .close = my_store_close,
    .session_open = my_session_open,
    .session_close = my_session_close,
    .cancel = my_session_cancel,
    .facts = my_facts,
    .read = &my_read_ops,
    .write = &my_write_ops,
    .schema = &my_schema_ops,
    .guard = &my_guard_ops,
};
