/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REHOME_ROUTES_KEYRING_RELOAD_DRIVER_H
#define REHOME_ROUTES_KEYRING_RELOAD_DRIVER_H

#include <rehome/route.h>

extern const struct rh_route_driver rh_route_keyring_reload;

#endif
