/* SPDX-License-Identifier: Apache-2.0 */
/* The `mariadb_key_file` driver: the key file of MariaDB's plugin file_key_management. */
#ifndef REHOME_STORES_MARIADB_KEY_FILE_H
#define REHOME_STORES_MARIADB_KEY_FILE_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_mariadb_key_file;

#endif
