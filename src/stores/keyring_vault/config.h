/* SPDX-License-Identifier: Apache-2.0 */
/* A server's own configuration of its keyring in a Vault. Threads: any. */
#ifndef REHOME_STORES_KEYRING_VAULT_CONFIG_H
#define REHOME_STORES_KEYRING_VAULT_CONFIG_H

#include <rehome/secret.h>

struct kv_config {
    char *url, *mount, *ca_file, *version, *name_space; /* NULL: not said */
    struct rh_secret *token;
    bool elsewhere; /* read_local_config: it is the one in the server's data folder that counts */
};
/* The plugin's lines or the component's JSON. `place` is the file, for messages. RH_E_PLAN with words. */
enum rh_status
kv_config_parse(struct rh_bytes text, const char *place, struct kv_config *config, struct rh_error *err) RH_MUST_USE;
/* From a file; from the one in `instance_dir` (may be NULL) where that file sends there. */
enum rh_status
kv_config_read(const char *path, const char *instance_dir, struct kv_config *config, struct rh_error *err) RH_MUST_USE;
void kv_config_done(struct kv_config *config);
#define kv_auto_config __attribute__((cleanup(kv_config_done)))

#endif
