/* SPDX-License-Identifier: Apache-2.0 */
/* The `sealed_keyring` driver: an archive (docs/formats/archive.md) that is a keystore. */
#ifndef REHOME_STORES_SEALED_KEYRING_H
#define REHOME_STORES_SEALED_KEYRING_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_sealed_keyring;

#endif
