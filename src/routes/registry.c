/* SPDX-License-Identifier: Apache-2.0 */
/* The routes, one line each. A new driver adds its line here and its folder in meson.build. */
#include "keyring_reload/driver.h"

static const struct rh_route_driver *const drivers[] = {
    &rh_route_keyring_reload,
    NULL,
};

const struct rh_route_driver *const *rh_route_drivers(void)
{
    return drivers;
}

const struct rh_route_driver *rh_route_driver_find(const char *name)
{
    for (const struct rh_route_driver *const *driver = drivers; *driver; driver++)
        if (strcmp((*driver)->name, name) == 0)
            return *driver;
    return NULL;
}
