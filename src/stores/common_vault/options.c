/* SPDX-License-Identifier: Apache-2.0 */
/* From an option table to a server: its address, whom we trust there, and where the token comes from. */
#include "internal.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>

const struct rh_option rh_vault_approle_options[] = {
    {.name = "role_id",         .type = RH_OPT_TEXT, .flags = RH_OPT_REQUIRED, .value_name = "ID", .help = "the role's id"},
    {.name = "secret_id_file",
     .type = RH_OPT_PATH,
     .value_name = "PATH",
     .help = "file that holds the secret id; read at each login"},
    {.name = "secret_id_env",
     .type = RH_OPT_TEXT,
     .value_name = "NAME",
     .help = "environment variable with the secret id"},
    {.name = "path",
     .type = RH_OPT_TEXT,
     .initial = "approle",
     .value_name = "PATH",
     .help = "where the login is mounted, below auth/"},
    {0     },
};

/* --- address --- */

/* Whether all of it can stand in a URL. */
static bool is_url_text(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f || strchr("@?#\\\"<>{}|^`", *text))
            return false;
    return true;
}

/* "https://HOST[:PORT][/PREFIX]" in its parts. */
static enum rh_status
take_url(struct rh_vault *vault, const char *url, const char *place, bool *ret_https, struct rh_error *err)
{
    const bool http = strncmp(url, "http://", 7) == 0, https = strncmp(url, "https://", 8) == 0;
    const char *host = url + (https ? 8 : 7);
    if ((!http && !https) || !is_url_text(url) || !*host || *host == '/' || *host == ':') {
        rh_fail(err, RH_E_PLAN, "%s'%s' isn't the address of a Vault", place, RH_SHOW(rh_bytes_text(url)));
        rh_error_hint(err, "it is of the kind https://vault.example:8200");
        return RH_E_PLAN;
    }
    const char *path = strchr(host, '/');
    const size_t size = path ? (size_t)(path - url) : strlen(url);
    size_t end = path ? strlen(path) : 0;
    while (end && path[end - 1] == '/')
        end--;
    vault->url = strndup(url, size);
    vault->prefix = strndup(path ? path : "", end);
    *ret_https = https;
    return vault->url && vault->prefix ? RH_OK : rh_fail_memory(err);
}

/* The TLS that block and address ask for. */
static enum rh_status take_tls(struct rh_vault *vault,
                               const struct rh_options *options,
                               const struct rh_vault_config *config,
                               const char *place,
                               bool https,
                               struct rh_error *err)
{
    const struct rh_options *block = rh_options_block(options, "tls");
    const bool own_ca = block && rh_options_text(block, "ca_file");
    vault->tls = rh_tls_of_block(block);
    if (https && vault->tls == RH_TLS_OFF)
        return rh_fail(err, RH_E_PLAN, "%smode = \"off\" and an https address contradict each other",
                       RH_PLACE(block, "mode"));
    if (!https && vault->tls != RH_TLS_OFF) {
        rh_fail(err, RH_E_PLAN, "%sthis address is plain text: anybody on the way can read the token and the keys",
                place);
        rh_error_hint(err, "use the https address, or, on a network you trust, say tls { mode = \"off\" }");
        return RH_E_PLAN;
    }
    rh_tls_warn(vault->tls, vault->url);
    const char *ca = config && !own_ca ? config->ca_file : NULL;
    return https ? rh_tls_take_files(options, "vault_ca", ca, block, &vault->tls_files, err) : RH_OK;
}

/* --- token --- */

/* The one way in that is given. */
static enum rh_status check_ways(const struct rh_options *options, struct rh_error *err)
{
    static const char *const ways[] = {"token", "token_file", "token_env", "token_fd"};
    const char *found = rh_options_block(options, "approle") ? "approle" : NULL;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (!rh_options_given(options, ways[i]))
            continue;
        if (found)
            return rh_fail(err, RH_E_PLAN, "%sgive only one of token, token_file, token_env, token_fd and approle",
                           RH_PLACE(options, ways[i]));
        found = ways[i];
    }
    return RH_OK;
}

/* AppRole's block. */
static enum rh_status take_approle(struct rh_vault *vault, const struct rh_options *block, struct rh_error *err)
{
    const char *file = rh_options_text(block, "secret_id_file"), *env = rh_options_text(block, "secret_id_env");
    if (!file == !env)
        return rh_fail(err, RH_E_PLAN, "%sapprole takes exactly one of secret_id_file and secret_id_env",
                       RH_PLACE(block, NULL));
    if (!is_url_text(rh_options_text(block, "path")))
        return rh_fail(err, RH_E_PLAN, "%s'path' can't stand in a request", RH_PLACE(block, "path"));
    enum rh_status status = rh_dup_text(rh_options_text(block, "role_id"), &vault->role_id, err);
    if (!status)
        status = rh_dup_text(rh_options_text(block, "path"), &vault->approle_path, err);
    if (!status)
        status = rh_dup_text(file, &vault->secret_id_file, err);
    return status ? status : rh_dup_text(env, &vault->secret_id_env, err);
}

/* A descriptor gives its token once, and a store may be opened again, by a move that goes on: what the first ones gave
 * is kept as long as the process. */
static enum rh_status take_from_fd(int fd, struct rh_secret **ret_token, struct rh_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        int fd;
        struct rh_secret *token;
    } known[4];
    enum rh_status status = RH_OK;
    size_t at = 0;
    pthread_mutex_lock(&lock);
    while (at < 3 && known[at].token && known[at].fd != fd)
        at++;
    if (!known[at].token || known[at].fd != fd) {
        rh_secret_free(known[at].token);
        known[at].token = NULL;
        known[at].fd = fd;
        status = rh_secret_from_fd(fd, &known[at].token, err);
    }
    if (!status && !(*ret_token = rh_secret_dup(known[at].token)))
        status = rh_fail_memory(err);
    pthread_mutex_unlock(&lock);
    return status;
}

/* The token, from where it is given. */
static enum rh_status take_token(struct rh_vault *vault,
                                 const struct rh_options *options,
                                 const struct rh_vault_config *config,
                                 struct rh_error *err)
{
    const char *file = rh_options_text(options, "token_file"), *env = rh_options_text(options, "token_env");
    const struct rh_secret *given = rh_options_secret(options, "token");
    const struct rh_options *approle = rh_options_block(options, "approle");
    enum rh_status status = check_ways(options, err);
    if (status)
        return status;
    if (approle)
        return take_approle(vault, approle, err);
    if (file) {
        status = rh_dup_text(file, &vault->token_file, err);
        return status ? status : rh_secret_from_file(file, &vault->token, err);
    }
    if (env) {
        status = rh_secret_from_env(env, &vault->token, err);
        return status != RH_NOT_FOUND ? status
                                      : rh_fail(err, RH_E_PLAN, "%sthe environment variable '%s' isn't set",
                                                RH_PLACE(options, "token_env"), RH_SHOW(rh_bytes_text(env)));
    }
    if (rh_options_given(options, "token_fd"))
        return take_from_fd((int)rh_options_int(options, "token_fd"), &vault->token, err);
    if (!given && config)
        given = config->token;
    if (!given) {
        rh_fail(err, RH_E_PLAN, "%sthere is no token for '%s'", RH_PLACE(options, NULL), vault->url);
        rh_error_hint(err, "give token_file, token_env, token_fd, or approle { role_id, secret_id_file }");
        return RH_E_PLAN;
    }
    vault->token = rh_secret_dup(given);
    return vault->token ? RH_OK : rh_fail_memory(err);
}

/* --- all --- */

/* The namespace as a header. */
static enum rh_status take_namespace(struct rh_vault *vault, const char *given, const char *place, struct rh_error *err)
{
    const char *name = given ? given : "";
    size_t size = strlen(name);
    while (*name == '/')
        name++, size--;
    while (size && name[size - 1] == '/')
        size--;
    if (!is_url_text(name))
        return rh_fail(err, RH_E_PLAN, "%sthe namespace '%s' can't stand in a request", place,
                       RH_SHOW(rh_bytes_text(name)));
    vault->name_space = strndup(name, size);
    if (!vault->name_space ||
        (size && asprintf(&vault->namespace_line, "X-Vault-Namespace: %s", vault->name_space) < 0))
        return rh_fail_memory(err);
    return RH_OK;
}

enum rh_status rh_vault_new(const struct rh_options *options,
                            const char *url,
                            const struct rh_vault_config *config,
                            struct rh_vault **ret_vault,
                            struct rh_error *err)
{
    struct rh_vault *vault = calloc(1, sizeof *vault);
    if (!vault)
        return rh_fail_memory(err);
    pthread_mutex_init(&vault->lock, NULL);
    vault->connect_us = rh_options_int(options, "connect_timeout");
    vault->idle_us = rh_options_int(options, "io_timeout");
    vault->request_us = rh_options_int(options, "request_timeout");
    const char *place = RH_PLACE(options, NULL), *space = rh_options_text(options, "namespace");
    bool https = false;
    if (!url && config)
        url = config->url;
    enum rh_status status = url ? take_url(vault, url, place, &https, err)
                                : rh_fail(err, RH_E_PLAN, "%sthe address of the Vault is missing", place);
    if (!status)
        status = take_tls(vault, options, config, place, https, err);
    if (!status)
        status = take_namespace(vault, space || !config ? space : config->name_space, place, err);
    if (!status)
        status = take_token(vault, options, config, err);
    if (!status)
        *ret_vault = vault;
    else
        rh_vault_free(vault);
    return status;
}

void rh_vault_free(struct rh_vault *vault)
{
    if (!vault)
        return;
    rh_secret_free(vault->token);
    rh_tls_files_done(&vault->tls_files);
    free(vault->url);
    free(vault->prefix);
    free(vault->name_space);
    free(vault->namespace_line);
    free(vault->token_file);
    free(vault->approle_path);
    free(vault->role_id);
    free(vault->secret_id_file);
    free(vault->secret_id_env);
    pthread_mutex_destroy(&vault->lock);
    free(vault);
}

const char *rh_vault_url(const struct rh_vault *vault)
{
    return vault->url;
}

const char *rh_vault_namespace(const struct rh_vault *vault)
{
    return vault->name_space;
}
