/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A component's configuration: component_keyring_file.cnf beside the library, which names the keystore or sends to the
 * one in the server's data folder; and the manifest by which a server loads the component at all.
 * Knowledge: MySQL 8.0.24 to 9.7, components/keyrings/keyring_file/config, include/manifest.h.
 */
#include "config.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>

#define CONFIG "component_keyring_file.cnf"
#define COMPONENT "file://component_keyring_file"
enum { CONFIG_MOST = 64 * 1024 };

/* A small JSON object from a file. */
static enum rh_status load(const char *path, json_t **ret_root, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    json_error_t why;
    enum rh_status status = rh_file_read(AT_FDCWD, path, CONFIG_MOST, &text, err);
    if (status == RH_NOT_FOUND) {
        rh_fail(err, RH_E_PLAN, "the component's configuration '%s' isn't there", RH_SHOW(rh_bytes_text(path)));
        rh_error_hint(err, "name the folder that it lies in (a server's is plugin_dir), or the keystore itself by "
                           "'path' (keyring-migrate: --plugin-dir or --component-dir, --source-path, "
                           "--destination-path)");
        return RH_E_PLAN;
    }
    if (status != RH_OK)
        return status;
    json_t *root = json_loadb((const char *)text.data, text.size, 0, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return rh_fail(err, RH_E_PLAN, "the component's configuration '%s' is no JSON object",
                       RH_SHOW(rh_bytes_text(path)));
    }
    *ret_root = root;
    return RH_OK;
}

static void drop(json_t **root)
{
    json_decref(*root);
}
#define auto_json __attribute__((cleanup(drop)))

/* DIR/NAME, malloc'd. */
static enum rh_status join(const char *dir, const char *name, char **ret_path, struct rh_error *err)
{
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&path, err, "%s/%s", dir, name);
    if (status == RH_OK && !(*ret_path = strdup(rh_buf_cstr(&path))))
        return rh_fail_memory(err);
    return status;
}

/* "path" of one configuration file; *ret_local: it sends to the one of the instance. */
static enum rh_status read_config(const char *dir, bool *ret_local, char **ret_path, struct rh_error *err)
{
    rh_auto_free char *file = NULL;
    auto_json json_t *root = NULL;
    enum rh_status status = join(dir, CONFIG, &file, err);
    if (status == RH_OK)
        status = load(file, &root, err);
    if (status != RH_OK)
        return status;
    if (ret_local && (*ret_local = json_is_true(json_object_get(root, "read_local_config"))))
        return RH_OK;
    const json_t *path = json_object_get(root, "path"), *read_only = json_object_get(root, "read_only");
    const char *value = json_string_value(path);
    if (!value || value[0] != '/' || strlen(value) != json_string_length(path))
        return rh_fail(err, RH_E_PLAN, "'%s' has no 'path' with the keystore's absolute path",
                       RH_SHOW(rh_bytes_text(file)));
    if (!json_is_boolean(read_only))
        return rh_fail(err, RH_E_PLAN, "'%s' has no 'read_only', true or false: a server wouldn't take it",
                       RH_SHOW(rh_bytes_text(file)));
    *ret_path = strdup(value);
    return *ret_path ? RH_OK : rh_fail_memory(err);
}

enum rh_status component_config_path(const char *dir, const char *instance, char **ret_path, struct rh_error *err)
{
    bool local = false;
    enum rh_status status = read_config(dir, &local, ret_path, err);
    if (status != RH_OK || !local)
        return status;
    if (!instance) {
        rh_fail(err, RH_E_PLAN, "'%s/" CONFIG "' sends to the server's data folder, and that isn't named",
                RH_SHOW(rh_bytes_text(dir)));
        rh_error_hint(err, "say instance_dir = \"/var/lib/mysql\", the server's datadir (keyring-migrate: --datadir or "
                           "--source-keyring-configuration-dir, --destination-keyring-configuration-dir)");
        return RH_E_PLAN;
    }
    return read_config(instance, NULL, ret_path, err);
}

enum rh_status component_manifest_check(const char *manifest, const char *instance, struct rh_error *err)
{
    auto_json json_t *root = NULL, *local = NULL;
    rh_auto_free char *file = NULL;
    const char *slash = strrchr(manifest, '/');
    enum rh_status status = load(manifest, &root, err);
    if (status == RH_OK && instance && json_is_true(json_object_get(root, "read_local_manifest"))) {
        status = join(instance, slash ? slash + 1 : manifest, &file, err);
        if (status == RH_OK)
            status = load(file, &local, err);
    }
    if (status != RH_OK)
        return status;
    const json_t *components = json_object_get(local ? local : root, "components");
    const char *list = json_string_value(components);
    if (list && strcmp(list, COMPONENT) == 0)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "the manifest '%s' doesn't load the component: its 'components' is '%s'",
            RH_SHOW(rh_bytes_text(file ? file : manifest)), list ? RH_SHOW(rh_bytes_text(list)) : "");
    rh_error_hint(err, "the server uses another keystore, or none; look at its performance_schema."
                       "keyring_component_status");
    return RH_E_REFUSED;
}
