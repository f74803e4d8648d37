/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REHOME_FENCES_KEYRING_OPERATIONS_DRIVER_H
#define REHOME_FENCES_KEYRING_OPERATIONS_DRIVER_H

#include <rehome/fence.h>

extern const struct rh_fence_driver rh_fence_keyring_operations;

#endif
