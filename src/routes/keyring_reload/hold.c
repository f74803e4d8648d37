/* SPDX-License-Identifier: Apache-2.0 */
/* The link that keeps a keystore from being written; internal.h says how. */
#include "internal.h"
#include "keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* The keystore's folder, or the failure. */
static enum rh_status open_place(const char *keystore, struct keyring_place *place, struct rh_error *err)
{
    *place = (struct keyring_place){.folder = -1};
    return keyring_place_open(place, keystore, err);
}

/* A .backup that isn't ours is a server's, which it writes to while it runs or has left. */
static enum rh_status refuse_other(const char *keystore, struct rh_error *err)
{
    rh_fail(err, RH_E_REFUSED, "beside the keystore '%s' stands a .backup, which the server has left",
            RH_SHOW(rh_bytes_text(keystore)));
    rh_error_hint(err, "ALTER INSTANCE RELOAD KEYRING on that server takes it in; then run this command again");
    return RH_E_REFUSED;
}

enum rh_status kr_hold_check(const char *keystore, struct rh_error *err)
{
    struct keyring_place place;
    enum rh_status status = open_place(keystore, &place, err);
    if (status)
        return status;
    const bool writable = faccessat(place.folder, ".", W_OK | X_OK, AT_EACCESS) == 0;
    keyring_place_close(&place);
    return writable ? RH_OK
                    : rh_fail_errno(err, EACCES, "writing to the folder of '%s'", RH_SHOW(rh_bytes_text(keystore)));
}

enum rh_status kr_hold_set(const char *keystore, struct rh_error *err)
{
    struct keyring_place place;
    enum rh_status status = open_place(keystore, &place, err);
    if (status)
        return status;
    if (symlinkat(KEYRING_HOLD_TARGET, place.folder, place.backup) != 0)
        status = errno != EEXIST
                     ? rh_fail_errno(err, errno, "holding the keystore '%s'", RH_SHOW(rh_bytes_text(keystore)))
                 : keyring_place_is_held(&place) ? RH_OK
                                                 : refuse_other(keystore, err);
    /* not durable on purpose: a machine that goes down needs it no more */
    keyring_place_close(&place);
    return status;
}

enum rh_status kr_hold_drop(const char *keystore, struct rh_error *err)
{
    struct keyring_place place;
    enum rh_status status = open_place(keystore, &place, err);
    if (status)
        return status;
    if (keyring_place_is_held(&place) && unlinkat(place.folder, place.backup, 0) != 0 && errno != ENOENT)
        status = rh_fail_errno(err, errno, "letting go of the keystore '%s'", RH_SHOW(rh_bytes_text(keystore)));
    keyring_place_close(&place);
    return status;
}
