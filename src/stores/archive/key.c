/* SPDX-License-Identifier: Apache-2.0 */
/* The key that an archive is sealed with, from the options of the stores that are one. */
#include "format.h"

#include <rehome/option.h>

/* The passphrase that the options name or hold. */
static enum rh_status
open_passphrase(const struct rh_options *values, struct rh_key_provider **ret_provider, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *passphrase = NULL;
    const struct rh_secret *given = rh_options_secret(values, "passphrase");
    const char *file = rh_options_text(values, "passphrase_file"), *env = rh_options_text(values, "passphrase_env");
    if (given)
        return rh_key_provider_passphrase(given, ret_provider, err);
    enum rh_status status =
        file ? rh_secret_from_file(file, &passphrase, err) : rh_secret_from_env(env, &passphrase, err);
    if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_PLAN, "%s: environment variable '%s' isn't set",
                         rh_options_place(values, "passphrase_env"), RH_SHOW(rh_bytes_text(env)));
    return status == RH_OK ? rh_key_provider_passphrase(passphrase, ret_provider, err) : status;
}

enum rh_status
archive_provider(const struct rh_options *values, struct rh_key_provider **ret_provider, struct rh_error *err)
{
    const char *key_file = rh_options_text(values, "key_file");
    const int ways = (key_file != NULL) + rh_options_given(values, "passphrase") +
                     (rh_options_text(values, "passphrase_file") != NULL) +
                     (rh_options_text(values, "passphrase_env") != NULL);
    if (ways != 1) {
        rh_fail(err, RH_E_PLAN,
                "%s: an archive takes exactly one of 'key_file', 'passphrase', 'passphrase_file' and 'passphrase_env'",
                rh_options_place(values, NULL));
        rh_error_hint(err, "a key file is 32 random bytes with mode 0600: head -c 32 /dev/urandom > FILE");
        return RH_E_PLAN;
    }
    return key_file ? rh_key_provider_file(key_file, ret_provider, err) : open_passphrase(values, ret_provider, err);
}
