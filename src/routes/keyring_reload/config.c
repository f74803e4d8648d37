/* SPDX-License-Identifier: Apache-2.0 */
/* The component's configuration file: found, read, written anew, turned. */
#include "internal.h"
#include "keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONFIG KR_COMPONENT ".cnf"
enum { CONFIG_MOST = 64 * 1024 };

static void drop_json(json_t **root)
{
    json_decref(*root);
}
#define auto_json __attribute__((cleanup(drop_json)))

/* The file as a JSON object. */
static enum rh_status load(const char *path, json_t **ret_root, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_file_read(AT_FDCWD, path, CONFIG_MOST, &text, err);
    if (status == RH_NOT_FOUND) {
        rh_fail(err, RH_E_REFUSED, "the server's configuration '%s' isn't there", RH_SHOW(rh_bytes_text(path)));
        rh_error_hint(err, "run rehome on the server's machine; name the file by configuration = \"...\" in the route");
        return RH_E_REFUSED;
    }
    if (status)
        return status;
    *ret_root = json_loadb((const char *)text.data, text.size, 0, NULL);
    if (json_is_object(*ret_root))
        return RH_OK;
    json_decref(*ret_root);
    *ret_root = NULL;
    return rh_fail(err, RH_E_REFUSED, "the server's configuration '%s' is no JSON object",
                   RH_SHOW(rh_bytes_text(path)));
}

/* A folder of the server's, as it says, with the configuration's name behind it. malloc'd. */
static enum rh_status path_in(struct kr_route *route, const char *variable, char **ret_path, struct rh_error *err)
{
    char folder[4096] = "";
    enum rh_status status =
        kr_text(route, err, "asking for its folders", folder, sizeof folder, "SELECT @@%s", variable);
    if (status == RH_NOT_FOUND || (!status && folder[0] != '/'))
        return rh_fail(err, RH_E_STORE, "the server '%s' doesn't say what its %s is", route->address, variable);
    if (status)
        return status;
    const size_t size = strlen(folder);
    return asprintf(ret_path, "%s%s" CONFIG, folder, folder[size - 1] == '/' ? "" : "/") < 0 ? rh_fail_memory(err)
                                                                                             : RH_OK;
}

enum rh_status kr_config_find(struct kr_route *route, char **ret_path, struct rh_error *err)
{
    rh_auto_free char *path = NULL;
    auto_json json_t *root = NULL;
    if (route->configuration)
        return rh_dup_text(route->configuration, ret_path, err);
    enum rh_status status = path_in(route, "plugin_dir", &path, err);
    if (!status)
        status = load(path, &root, err);
    if (!status && json_is_true(json_object_get(root, "read_local_config")))
        return path_in(route, "datadir", ret_path, err);
    return status ? status : rh_dup_text(path, ret_path, err);
}

enum rh_status kr_config_target(const char *path, char **ret_target, struct rh_error *err)
{
    auto_json json_t *root = NULL;
    enum rh_status status = load(path, &root, err);
    if (status)
        return status;
    const json_t *value = json_object_get(root, "path");
    const char *text = json_string_value(value);
    if (text && text[0] == '/' && strlen(text) == json_string_length(value))
        return rh_dup_text(text, ret_target, err);
    rh_fail(err, RH_E_REFUSED, "the server's configuration '%s' has no 'path' with an absolute path",
            RH_SHOW(rh_bytes_text(path)));
    rh_error_hint(err, "name the file that the server reads by configuration = \"...\" in the route");
    return RH_E_REFUSED;
}

/* --- writing --- */

struct beside {
    struct keyring_place place;
    char fresh[NAME_MAX + 1], old[NAME_MAX + 1];
};
static void beside_done(struct beside *beside)
{
    keyring_place_close(&beside->place);
}
#define auto_beside __attribute__((cleanup(beside_done)))

/* The folder and the names. */
static enum rh_status beside_open(const char *path, struct beside *beside, struct rh_error *err)
{
    enum rh_status status = keyring_place_open(&beside->place, path, err);
    if (status)
        return status;
    const char *name = beside->place.name;
    if (snprintf(beside->fresh, sizeof beside->fresh, "%s.rehome-new", name) >= (int)sizeof beside->fresh ||
        snprintf(beside->old, sizeof beside->old, "%s.rehome-old", name) >= (int)sizeof beside->old)
        return rh_fail_errno(err, ENAMETOOLONG, "naming the next '%s'", RH_SHOW(rh_bytes_text(path)));
    return RH_OK;
}

/* The text of the configuration with another keystore in it. */
static enum rh_status compose(const char *path, const char *target, char **ret_text, struct rh_error *err)
{
    auto_json json_t *root = NULL;
    enum rh_status status = load(path, &root, err);
    if (status)
        return status;
    if (json_object_set_new(root, "path", json_string(target)) != 0) {
        rh_fail(err, RH_E_LIMIT, "the path '%s' isn't UTF-8, so a configuration can't name it",
                RH_SHOW(rh_bytes_text(target)));
        return RH_E_LIMIT;
    }
    *ret_text = json_dumps(root, JSON_PRESERVE_ORDER);
    return *ret_text ? RH_OK : rh_fail_memory(err);
}

/* A new file with the old one's owner, mode and labels. */
static enum rh_status write_fresh(const struct beside *beside, const char *path, const char *text, struct rh_error *err)
{
    keyring_auto_looks struct keyring_looks looks = {0};
    rh_auto_fd int was = openat(beside->place.folder, beside->place.name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (was < 0)
        return rh_fail_errno(err, errno, "opening '%s'", RH_SHOW(rh_bytes_text(path)));
    rh_auto_fd int fd =
        openat(beside->place.folder, beside->fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "making the next '%s'", RH_SHOW(rh_bytes_text(path)));
    enum rh_status status = keyring_looks_read(was, &looks, err);
    if (!status)
        status = rh_write_all(fd, rh_bytes_text(text), err);
    if (!status)
        status = keyring_looks_give(fd, &looks, err);
    if (!status && fsync(fd) != 0)
        status = rh_fail_errno(err, errno, "making it durable");
    if (status)
        rh_error_prepend(err, "making the next '%s'", RH_SHOW(rh_bytes_text(path)));
    return status;
}

/* Takes a name away; one that isn't there is fine. */
static enum rh_status drop(const struct beside *beside, const char *name, struct rh_error *err)
{
    if (unlinkat(beside->place.folder, name, 0) == 0 || errno == ENOENT)
        return RH_OK;
    return rh_fail_errno(err, errno, "removing '%s'", RH_SHOW(rh_bytes_text(name)));
}

enum rh_status kr_config_make(const char *path, const char *target, struct rh_error *err)
{
    auto_beside struct beside beside = {.place.folder = -1};
    rh_auto_free char *text = NULL;
    enum rh_status status = beside_open(path, &beside, err);
    if (!status)
        status = compose(path, target, &text, err);
    if (!status)
        status = drop(&beside, beside.fresh, err);
    if (!status)
        status = drop(&beside, beside.old, err);
    if (!status)
        status = write_fresh(&beside, path, text, err);
    if (!status && linkat(beside.place.folder, beside.place.name, beside.place.folder, beside.old, 0) != 0)
        status = rh_fail_errno(err, errno, "keeping the old '%s'", RH_SHOW(rh_bytes_text(path)));
    return status;
}

/* Puts one of the names in the configuration's place. */
static enum rh_status turn(const struct beside *beside, const char *name, const char *path, struct rh_error *err)
{
    if (renameat(beside->place.folder, name, beside->place.folder, beside->place.name) != 0)
        return rh_fail_errno(err, errno, "turning '%s'", RH_SHOW(rh_bytes_text(path)));
    /* of two names of one file a rename leaves both */
    enum rh_status status = drop(beside, name, err);
    return status ? status : keyring_place_sync(&beside->place, err);
}

enum rh_status kr_config_turn(const char *path, struct rh_error *err)
{
    auto_beside struct beside beside = {.place.folder = -1};
    enum rh_status status = beside_open(path, &beside, err);
    return status ? status : turn(&beside, beside.fresh, path, err);
}

enum rh_status kr_config_set(const char *path, const char *target, struct rh_error *err)
{
    auto_beside struct beside beside = {.place.folder = -1};
    rh_auto_free char *named = NULL, *kept = NULL, *kept_path = NULL, *text = NULL;
    enum rh_status status = beside_open(path, &beside, err);
    if (!status)
        status = kr_config_target(path, &named, err);
    if (status || kr_same_file(named, target))
        return status;
    /* the one that was kept, to the byte, where that names it */
    if (asprintf(&kept_path, "%s.rehome-old", path) < 0)
        return rh_fail_memory(err);
    if (kr_config_target(kept_path, &kept, NULL) == RH_OK && kr_same_file(kept, target))
        return turn(&beside, beside.old, path, err);
    status = compose(path, target, &text, err);
    if (!status)
        status = drop(&beside, beside.fresh, err);
    if (!status)
        status = write_fresh(&beside, path, text, err);
    return status ? status : turn(&beside, beside.fresh, path, err);
}

enum rh_status kr_config_clean(const char *path, struct rh_error *err)
{
    auto_beside struct beside beside = {.place.folder = -1};
    enum rh_status status = beside_open(path, &beside, err);
    if (!status)
        status = drop(&beside, beside.fresh, err);
    return status ? status : drop(&beside, beside.old, err);
}
