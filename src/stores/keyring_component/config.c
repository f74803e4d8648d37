/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a component's configuration, and giving the library one with another path, so that it works on the file that
 * we show it and not on the server's. Knowledge: MySQL 8.0.24 to 9.7, components/keyrings/common (its config readers).
 */
#include "config.h"

#include "wire.h"

#include <rehome/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
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

#define SHOWN_FOLDER "/proc/self/fd/5" /* WIRE_FOLDER */
_Static_assert(WIRE_FOLDER == 5, "the path above names the descriptor");

/* A file system in memory that nobody else can reach; -1: not allowed, or not known to this kernel. */
static int make_nameless(void)
{
    rh_auto_fd int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) != 0)
        return -1;
    (void)fsconfig(context, FSCONFIG_SET_FLAG, "noswap", NULL, 0); /* Linux 6.4 and later */
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        return -1;
    return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* A folder with a name, where nothing reaches a disk, if there is such a place. */
static enum rh_status make_named(struct component_private *own, struct rh_error *err)
{
    const char *const places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    int failed = ENOENT;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!places[i] ||
            snprintf(own->place, sizeof own->place, "%s/rehome-XXXXXX", places[i]) >= (int)sizeof own->place)
            continue;
        if (mkdtemp(own->place)) {
            own->fd = open(own->place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            return own->fd >= 0 ? RH_OK : rh_fail_errno(err, errno, "opening '%s'", RH_SHOW(rh_bytes_text(own->place)));
        }
        failed = errno;
    }
    own->place[0] = '\0';
    return rh_fail_errno(err, failed, "making a folder for a component's configuration");
}

void component_private_make(struct component_private *own)
{
    *own = (struct component_private){.fd = make_nameless(), .shown = SHOWN_FOLDER};
    own->nameless = own->fd >= 0;
}

/* NAME.cnf */
static const char *config_name(const struct component_config *config, char out[static 300])
{
    (void)snprintf(out, 300, "%s.cnf", config->name);
    return out;
}
#define CONFIG_NAME(config) config_name((config), (char[300]){0})

void component_private_drop(struct component_private *own)
{
    rh_auto_fd_(&own->fd);
    own->fd = -1;
    if (own->place[0])
        (void)rmdir(own->place);
    own->place[0] = '\0';
}

void component_private_forget(struct component_private *own, const struct component_config *config)
{
    if (own->fd >= 0)
        (void)unlinkat(own->fd, CONFIG_NAME(config), 0);
    if (!own->nameless)
        component_private_drop(own);
}

enum rh_status component_private_config(struct component_private *own,
                                        const struct component_config *config,
                                        const char *path,
                                        struct rh_error *err)
{
    auto_json json_t *root = NULL;
    struct rh_arena arena = {.secret = true};
    enum rh_status status = load_effective(config, &root, err);
    if (status == RH_OK && json_object_set_new(root, "path", json_string(path)) != 0)
        status = rh_fail_memory(err);
    char *text = status == RH_OK ? rh_arena_get(&arena, CONFIG_MOST * 2) : NULL;
    const size_t size = text ? json_dumpb(root, text, CONFIG_MOST * 2, JSON_COMPACT) : 0;
    rh_auto_fd int fd = -1;
    if (status == RH_OK && (size == 0 || size > CONFIG_MOST * 2))
        status = rh_fail_memory(err);
    if (status == RH_OK && !own->nameless)
        status = make_named(own, err);
    if (status == RH_OK &&
        (fd = openat(own->fd, CONFIG_NAME(config), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        status = rh_fail_errno(err, errno, "making a component's configuration");
    if (status == RH_OK)
        status = rh_write_all(fd, rh_bytes(text, size), err);
    rh_arena_done(&arena);
    return status;
}
