/* SPDX-License-Identifier: Apache-2.0 */
/* The fences, one line each. A new driver adds its line here and its folder in meson.build. */
#include "keyring_operations/driver.h"

static const struct rh_fence_driver *const drivers[] = {
    &rh_fence_keyring_operations,
    NULL,
};

const struct rh_fence_driver *const *rh_fence_drivers(void)
{
    return drivers;
}

const struct rh_fence_driver *rh_fence_driver_find(const char *name)
{
    for (const struct rh_fence_driver *const *driver = drivers; *driver; driver++)
        if (strcmp((*driver)->name, name) == 0)
            return *driver;
    return NULL;
}
