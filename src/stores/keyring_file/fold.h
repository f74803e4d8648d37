/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin keyring_file takes for a key's name. */
#ifndef REHOME_STORES_KEYRING_FILE_FOLD_H
#define REHOME_STORES_KEYRING_FILE_FOLD_H

#include <rehome/bytes.h>

/* Appends bytes that are equal for two keys which the plugin takes for the same: id and owner without anything between
 * them, compared by the system's collation (utf8mb3_general_ci). */
enum rh_status plugin_fold(struct rh_bytes owner, struct rh_bytes id, struct rh_buf *ret, struct rh_error *err);

#endif
