/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a component's configuration, and giving the library one with another path, so that it works on the file that
 * we show it and not on the server's. Knowledge: MySQL 8.0.24 to 9.7, components/keyrings/common (its config readers).
 */
#include "config.h"

#include <rehome/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_MOST = 64 * 1024 };

/* Gives an object back; the texts in it are wiped first. */
static void drop(json_t **root)
{
    const char *name;
    json_t *value;
    json_object_foreach(*root, name, value)
    {
        if (json_is_string(value))
            rh_wipe((void *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
    json_decref(*root);
}
#define auto_json __attribute__((cleanup(drop)))

/* DIR/NAME.cnf as an object. */
static enum rh_status load(const char *dir, const char *name, json_t **ret_root, struct rh_error *err)
{
    rh_auto_buf struct rh_buf path = RH_BUF_INIT, text = RH_BUF_INIT;
    json_error_t why;
    enum rh_status status = rh_buf_format(&path, err, "%s/%s.cnf", dir, name);
    if (status != RH_OK)
        return status;
    status = rh_file_read(AT_FDCWD, rh_buf_cstr(&path), CONFIG_MOST, &text, err);
    if (status == RH_NOT_FOUND) {
        rh_fail(err, RH_E_PLAN, "the component's configuration '%s' isn't there", RH_SHOW(rh_buf_bytes(&path)));
        rh_error_hint(err, "name the folder that it lies in by 'component_dir' (a server's is plugin_dir)");
        return RH_E_PLAN;
    }
    if (status != RH_OK)
        return status;
    json_t *root = json_loadb((const char *)text.data, text.size, 0, &why);
    rh_wipe(text.data, text.capacity);
    if (!json_is_object(root)) {
        json_decref(root);
        return rh_fail(err, RH_E_PLAN, "the component's configuration '%s' is no JSON object",
                       RH_SHOW(rh_buf_bytes(&path)));
    }
    *ret_root = root;
    return RH_OK;
}

/* The configuration that counts: of the folder, or of the instance that it sends to. */
static enum rh_status load_effective(const struct component_config *config, json_t **ret_root, struct rh_error *err)
{
    auto_json json_t *root = NULL;
    enum rh_status status = load(config->folder, config->name, &root, err);
    if (status == RH_OK && json_is_true(json_object_get(root, "read_local_config"))) {
        if (config->instance)
            return load(config->instance, config->name, ret_root, err);
        rh_fail(err, RH_E_PLAN, "'%s/%s.cnf' sends to the server's data folder, and that isn't named",
                RH_SHOW(rh_bytes_text(config->folder)), RH_SHOW(rh_bytes_text(config->name)));
        rh_error_hint(err, "say instance_dir = \"/var/lib/mysql\", the server's datadir");
        return RH_E_PLAN;
    }
    if (status == RH_OK)
        *ret_root = rh_take(root);
    return status;
}

enum rh_status component_config_read(struct component_config *config, struct rh_error *err)
{
    auto_json json_t *root = NULL;
    enum rh_status status = load_effective(config, &root, err);
    const json_t *path = status == RH_OK ? json_object_get(root, "path") : NULL;
    if (!path)
        return status;
    const char *value = json_string_value(path);
    if (!value || value[0] != '/' || strlen(value) != json_string_length(path))
        return rh_fail(err, RH_E_PLAN, "the configuration of '%s' has a 'path' that isn't a file's absolute path",
                       RH_SHOW(rh_bytes_text(config->name)));
    config->path = strdup(value);
    return config->path ? RH_OK : rh_fail_memory(err);
}

void component_config_done(struct component_config *config)
{
    free(config->name);
    free(config->folder);
    free(config->instance);
    free(config->path);
    *config = (struct component_config){0};
}

/* --- the private one --- */

/* Makes the folder where nothing reaches a disk, if there is such a place. */
static enum rh_status make_folder(struct component_private *own, struct rh_error *err)
{
    const char *const places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    int failed = ENOENT;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!places[i] ||
            snprintf(own->folder, sizeof own->folder, "%s/rehome-XXXXXX", places[i]) >= (int)sizeof own->folder)
            continue;
        if (mkdtemp(own->folder))
            return RH_OK;
        failed = errno;
    }
    own->folder[0] = '\0';
    return rh_fail_errno(err, failed, "making a folder for a component's configuration");
}

/* The name of the configuration there. */
static const char *
private_name(const struct component_private *own, const struct component_config *config, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/%s.cnf", own->folder, config->name);
    return out;
}

void component_private_drop(struct component_private *own, const struct component_config *config)
{
    char name[sizeof own->folder + 300];
    if (!own->folder[0])
        return;
    (void)unlink(private_name(own, config, name, sizeof name));
    (void)rmdir(own->folder);
    own->folder[0] = '\0';
}

/* Writes the object as the folder's configuration. */
static enum rh_status write_private(const struct component_private *own,
                                    const struct component_config *config,
                                    const json_t *root,
                                    struct rh_error *err)
{
    char name[sizeof own->folder + 300];
    struct rh_arena arena = {.secret = true};
    char *text = rh_arena_get(&arena, CONFIG_MOST * 2);
    const size_t size = text ? json_dumpb(root, text, CONFIG_MOST * 2, JSON_COMPACT) : 0;
    rh_auto_fd int fd = -1;
    enum rh_status status = RH_OK;
    if (size == 0 || size > CONFIG_MOST * 2)
        status = rh_fail_memory(err);
    if (status == RH_OK &&
        (fd = open(private_name(own, config, name, sizeof name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        status = rh_fail_errno(err, errno, "making '%s'", RH_SHOW(rh_bytes_text(name)));
    if (status == RH_OK)
        status = rh_write_all(fd, rh_bytes(text, size), err);
    rh_arena_done(&arena);
    return status;
}

enum rh_status component_private_make(struct component_private *own,
                                      const struct component_config *config,
                                      const char *path,
                                      struct rh_error *err)
{
    auto_json json_t *root = NULL;
    own->folder[0] = '\0';
    enum rh_status status = load_effective(config, &root, err);
    if (status != RH_OK)
        return status;
    if (json_object_set_new(root, "path", json_string(path)) != 0)
        return rh_fail_memory(err);
    status = make_folder(own, err);
    if (status == RH_OK)
        status = write_private(own, config, root, err);
    if (status != RH_OK)
        component_private_drop(own, config);
    return status;
}
