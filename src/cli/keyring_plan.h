/* SPDX-License-Identifier: Apache-2.0 */
/* From the options of keyring-migrate to the text of a plan. */
#ifndef REHOME_CLI_KEYRING_PLAN_H
#define REHOME_CLI_KEYRING_PLAN_H

#include <rehome/option.h>

/* The two secrets that a migration may need; NULL: not given. */
struct keyring_secrets {
    struct rh_secret *password;   /* of the account on running servers */
    struct rh_secret *passphrase; /* of a sealed keyring */
};
void keyring_secrets_done(struct keyring_secrets *secrets);
/* Reads them from where the options say: command line, option file, file, descriptor, environment, terminal. */
enum rh_status keyring_secrets_take(const struct rh_options *options,
                                    struct keyring_secrets *secrets,
                                    struct rh_error *err) RH_MUST_USE;

/* Whether the options of mysql_migrate_keyring are in use, in which --user is an account on the server. */
bool keyring_is_utility(const struct rh_options *options);
/* Whether running servers take part. */
bool keyring_is_online(const struct rh_options *options);

enum keyring_text {
    KEYRING_TEXT_RUN,  /* for us: with secrets, wiped afterwards */
    KEYRING_TEXT_SHOW, /* for people and later commands: without */
};
/*
 * Appends the plan. `name` is the plan's, `state_dir` may be NULL. Checks the options against each other: RH_E_USAGE.
 * RH_E_PLAN for a keyring that isn't there.
 */
enum rh_status keyring_plan_write(const struct rh_options *options,
                                  const struct keyring_secrets *secrets,
                                  enum keyring_text kind,
                                  const char *name,
                                  const char *state_dir,
                                  struct rh_buf *out,
                                  struct rh_error *err) RH_MUST_USE;

#endif
