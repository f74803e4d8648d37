/* SPDX-License-Identifier: Apache-2.0 */
/* The data file of MySQL's plugin keyring_file, 1.0 and 2.0 (docs/formats/keyring.md). */
#ifndef REHOME_STORES_KEYRING_FILE_PODS_H
#define REHOME_STORES_KEYRING_FILE_PODS_H

#include "keyring.h"

extern const struct keyring_format plugin_format;
/* Whether a file that begins so is one. */
bool plugin_begins(struct rh_bytes head);

/* keyring_shape.architecture */
enum plugin_architecture { PLUGIN_LE64, PLUGIN_LE32, PLUGIN_BE64, PLUGIN_BE32, PLUGIN_ARCHITECTURES };

#endif
