/* SPDX-License-Identifier: Apache-2.0 */
/* Small things about options that drivers share. */
#include "common.h"
#include <stdio.h>

const char *rh_place(const struct rh_options *options, const char *name, char out[static 320])
{
    const char *text = rh_options_place(options, name);
    snprintf(out, 320, "%s%s", text, *text ? ": " : "");
    return out;
}

enum rh_status rh_dup_text(const char *text, char **ret_copy, struct rh_error *err)
{
    if (text && !(*ret_copy = strdup(text)))
        return rh_fail_memory(err);
    return RH_OK;
}

enum rh_status rh_take_password(const struct rh_options *options, struct rh_secret **ret_password, struct rh_error *err)
{
    const struct rh_secret *given = rh_options_secret(options, "password");
    const char *file = rh_options_text(options, "password_file"), *variable = rh_options_text(options, "password_env");
    if (!!given + !!file + !!variable > 1)
        return rh_fail(err, RH_E_PLAN, "%sgive only one of password, password_file, password_env",
                       RH_PLACE(options, given && file ? "password_file" : "password_env"));
    if (given) {
        *ret_password = rh_secret_dup(given);
        return *ret_password ? RH_OK : rh_fail_memory(err);
    }
    if (file)
        return rh_secret_from_file(file, ret_password, err);
    if (!variable)
        return RH_OK;
    enum rh_status status = rh_secret_from_env(variable, ret_password, err);
    return status != RH_NOT_FOUND ? status
                                  : rh_fail(err, RH_E_PLAN, "%sthe environment variable '%s' isn't set",
                                            RH_PLACE(options, "password_env"), RH_SHOW(rh_bytes_text(variable)));
}
