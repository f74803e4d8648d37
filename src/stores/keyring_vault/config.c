/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration files of Percona Server: the plugin's, lines of "option = value", and component_keyring_vault.cnf,
 * a JSON object. The token in it is a secret: the text lies in secret memory.
 */
#include "config.h"

#include <rehome/base.h>
#include <vault.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT_CONFIG "component_keyring_vault.cnf"
enum { CONFIG_MOST = 64 * 1024 };

void kv_config_done(struct kv_config *config)
{
    free(config->url);
    free(config->mount);
    free(config->ca_file);
    free(config->version);
    free(config->name_space);
    rh_secret_free(config->token);
    *config = (struct kv_config){NULL, NULL, NULL, NULL, NULL, NULL, false};
}

static struct rh_bytes trim(struct rh_bytes text)
{
    while (text.size && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = rh_bytes(text.data + 1, text.size - 1);
    while (text.size && strchr(" \t\r", text.data[text.size - 1]) && text.data[text.size - 1])
        text.size--;
    return text;
}

/* Takes one option; *ret_known tells whether it is one. */
static enum rh_status take_option(
    struct kv_config *config, struct rh_bytes name, struct rh_bytes value, bool *ret_known, struct rh_error *err)
{
    const struct {
        const char *name;
        char **text;
    } texts[] = {
        {"vault_url",                  &config->url       },
        {"secret_mount_point",         &config->mount     },
        {"vault_ca",                   &config->ca_file   },
        {"secret_mount_point_version", &config->version   },
        {"vault_namespace",            &config->name_space},
    };
    *ret_known = true;
    if (rh_bytes_equal(name, rh_bytes_text("token"))) {
        rh_secret_free(config->token);
        config->token = NULL;
        return value.size ? rh_secret_new(value, &config->token, err) : RH_OK;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!rh_bytes_equal(name, rh_bytes_text(texts[i].name)))
            continue;
        free(*texts[i].text);
        *texts[i].text =
            value.size && !memchr(value.data, 0, value.size) ? strndup((const char *)value.data, value.size) : NULL;
        return !value.size || *texts[i].text ? RH_OK : rh_fail(err, RH_E_PLAN, "a value can't be used");
    }
    *ret_known = false;
    return RH_OK;
}

/* The plugin's lines. */
static enum rh_status
parse_lines(struct rh_bytes text, const char *place, struct kv_config *config, struct rh_error *err)
{
    for (size_t number = 1; text.size; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        const size_t size = end ? (size_t)(end - text.data) : text.size;
        const struct rh_bytes line = trim(rh_bytes(text.data, size));
        const size_t passed = size + (end != NULL);
        text = rh_bytes(text.data + passed, text.size - passed);
        if (!line.size || line.data[0] == '#')
            continue;
        const uint8_t *sign = memchr(line.data, '=', line.size);
        const size_t before = sign ? (size_t)(sign - line.data) : 0;
        bool known = false;
        const struct rh_bytes name = trim(rh_bytes(line.data, before));
        enum rh_status status =
            sign ? take_option(config, name, trim(rh_bytes(sign + 1, line.size - before - 1)), &known, err) : RH_OK;
        if (status)
            return rh_error_prepend(err, "'%s', line %zu", RH_SHOW(rh_bytes_text(place)), number);
        if (!known) /* the line may hold the token: it isn't shown */
            return rh_fail(err, RH_E_PLAN, "'%s', line %zu: not an option of keyring_vault",
                           RH_SHOW(rh_bytes_text(place)), number);
    }
    return RH_OK;
}

/* The component's JSON. */
static enum rh_status
parse_json(struct rh_bytes text, const char *place, struct kv_config *config, struct rh_error *err)
{
    struct rh_vault_answer values = {.arena = {.secret = true}};
    enum rh_status status = rh_vault_answer_read(&values, text, false, err);
    if (status == RH_E_CORRUPT)
        status = rh_fail(err, RH_E_PLAN, "'%s' is no JSON object", RH_SHOW(rh_bytes_text(place)));
    for (size_t i = 0; !status && i < values.count; i++) {
        const struct rh_vault_value *value = &values.values[i];
        bool known = false;
        if (value->kind == RH_JSON_TEXT)
            status = take_option(config, rh_bytes_text(value->path), value->text, &known, err);
        if (status)
            rh_error_prepend(err, "'%s', '%s'", RH_SHOW(rh_bytes_text(place)), RH_SHOW(rh_bytes_text(value->path)));
    }
    if (!status)
        config->elsewhere = rh_vault_answer_true(&values, "read_local_config");
    rh_vault_answer_done(&values);
    return status;
}

enum rh_status kv_config_parse(struct rh_bytes text, const char *place, struct kv_config *config, struct rh_error *err)
{
    size_t at = 0;
    while (at < text.size && (text.data[at] == ' ' || (text.data[at] >= '\t' && text.data[at] <= '\r')))
        at++;
    return at < text.size && text.data[at] == '{' ? parse_json(text, place, config, err)
                                                  : parse_lines(text, place, config, err);
}

/* All of a file, in secret memory. */
static enum rh_status
read_file(const char *path, struct rh_arena *arena, struct rh_bytes *ret_text, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return rh_fail_errno(err, errno, "opening the configuration '%s' failed", RH_SHOW(rh_bytes_text(path)));
    if (!S_ISREG(stat.st_mode) || stat.st_size > CONFIG_MOST)
        return rh_fail(err, RH_E_PLAN, "'%s' isn't a configuration of a keyring", RH_SHOW(rh_bytes_text(path)));
    if (stat.st_mode & 07)
        rh_log(RH_LOG_WARN, "every account of this machine may read the configuration with the token in it",
               {"file", path});
    uint8_t *text = rh_arena_get(arena, CONFIG_MOST + 1);
    size_t size = 0;
    if (!text)
        return rh_fail_memory(err);
    for (ssize_t some; (some = read(fd, text + size, CONFIG_MOST + 1 - size)) != 0; size += (size_t)some)
        if (some < 0)
            return rh_fail_errno(err, errno, "reading the configuration '%s' failed", RH_SHOW(rh_bytes_text(path)));
    *ret_text = rh_bytes(text, size);
    return RH_OK;
}

/* One file. */
static enum rh_status read_config(const char *path, struct kv_config *config, struct rh_error *err)
{
    rh_auto_arena struct rh_arena arena = {.secret = true};
    struct rh_bytes text;
    enum rh_status status = read_file(path, &arena, &text, err);
    return status ? status : kv_config_parse(text, path, config, err);
}

enum rh_status
kv_config_read(const char *path, const char *instance_dir, struct kv_config *config, struct rh_error *err)
{
    rh_auto_buf struct rh_buf local = RH_BUF_INIT;
    enum rh_status status = read_config(path, config, err);
    if (status || !config->elsewhere)
        return status;
    if (!instance_dir) {
        rh_fail(err, RH_E_PLAN, "'%s' sends to the server's data folder, and that isn't named",
                RH_SHOW(rh_bytes_text(path)));
        rh_error_hint(err, "say instance_dir = \"/var/lib/mysql\", the server's datadir");
        return RH_E_PLAN;
    }
    kv_config_done(config);
    status = rh_buf_format(&local, err, "%s/" COMPONENT_CONFIG, instance_dir);
    if (!status)
        status = read_config(rh_buf_cstr(&local), config, err);
    if (!status && config->elsewhere)
        status = rh_fail(err, RH_E_PLAN, "'%s' sends to itself", RH_SHOW(rh_buf_bytes(&local)));
    return status;
}
