/* SPDX-License-Identifier: Apache-2.0 */
/* The drivers, one line each. A new driver adds its line here and its folder in meson.build. */
#include "archive/archive.h"
#include "component_keyring_file/driver.h"
#include "consul/driver.h"
#include "file/file.h"
#include "keyring_component/driver.h"
#include "keyring_file/driver.h"
#include "keyring_vault/driver.h"
#include "mariadb_key_file/driver.h"
#include "mariadb_key_vault/driver.h"
#include "memory/memory.h"
#include "mysql/driver.h"
#include "postgresql/driver.h"
#include "sealed_keyring/driver.h"

/* One line a driver. */
/* clang-format off */
static const struct rh_driver *const drivers[] = {
    &rh_archive_driver,           &rh_driver_component_keyring_file,
    &rh_driver_consul,            &rh_file_driver,
    &rh_driver_keyring_component, &rh_driver_keyring_file,
    &rh_driver_keyring_vault,     &rh_driver_mariadb_key_file,
    &rh_driver_mariadb_key_vault, &rh_driver_mysql,
    &rh_driver_postgresql,        &rh_driver_sealed_keyring,
    &rh_memory_driver,
    NULL,
};
/* clang-format on */

const struct rh_driver *const *rh_drivers(void)
{
    return drivers;
}

static bool driver_is(const struct rh_driver *driver, const char *name)
{
    if (strcmp(driver->name, name) == 0)
        return true;
    for (const char *const *alias = driver->aliases; alias && *alias; alias++)
        if (strcmp(*alias, name) == 0)
            return true;
    return false;
}

const struct rh_driver *rh_driver_find(const char *name)
{
    for (const struct rh_driver *const *driver = drivers; *driver; driver++)
        if (driver_is(*driver, name))
            return *driver;
    return NULL;
}
