/* SPDX-License-Identifier: Apache-2.0 */
/* The `keyring_file` driver: the keystore of MySQL's plugin of that name, 5.7.11 to 8.3. */
#ifndef REHOME_STORES_KEYRING_FILE_H
#define REHOME_STORES_KEYRING_FILE_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_keyring_file;

#endif
