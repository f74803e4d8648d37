/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of keyring-migrate as a plan: which driver each keyring is, where it lies, which servers are paused.
 *
 * Knowledge: MySQL Reference Manual, "Migrating Keys Between Keyring Keystores", the pages of mysqld's
 * --keyring-migration-* options and of mysql_migrate_keyring.
 */
#include "keyring_plan.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVERS_MAX 64

/* --- secrets --- */

void keyring_secrets_done(struct keyring_secrets *secrets)
{
    rh_secret_free(secrets->password);
    rh_secret_free(secrets->passphrase);
    *secrets = (struct keyring_secrets){NULL, NULL};
}

/* The ways to give one secret. */
struct secret_ways {
    const char *direct[2]; /* options with the secret itself; without a value they ask */
    const char *file, *fd, *env;
    const char *prompt;
};
static const struct secret_ways password_ways = {
    .direct = {"keyring-migration-password", "password"},
    .file = "password-file",
    .fd = "password-fd",
    .env = "password-env",
    .prompt = "Password of the account on the server: ",
};
static const struct secret_ways passphrase_ways = {
    .direct = {"keyring-encrypted-file-password", NULL},
    .file = "keyring-encrypted-file-password-file",
    .fd = "keyring-encrypted-file-password-fd",
    .env = "keyring-encrypted-file-password-env",
    .prompt = "Password of the sealed keyring: ",
};

/* The option that gives the secret; NULL without one, RH_E_USAGE for more than one. */
static enum rh_status
find_way(const struct rh_options *options, const struct secret_ways *ways, const char **ret_name, struct rh_error *err)
{
    const char *names[] = {ways->direct[0], ways->direct[1], ways->file, ways->fd, ways->env};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!names[i] || !rh_options_given(options, names[i]))
            continue;
        if (found)
            return rh_fail(err, RH_E_USAGE, "'--%s' and '--%s' give the same secret: leave one away", found, names[i]);
        found = names[i];
    }
    *ret_name = found;
    return RH_OK;
}

/* A secret from an environment variable. */
static enum rh_status from_env(const char *variable, struct rh_secret **ret_secret, struct rh_error *err)
{
    enum rh_status status = rh_secret_from_env(variable, ret_secret, err);
    if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_USAGE, "environment variable '%s' isn't set", RH_SHOW(rh_bytes_text(variable)));
    return status;
}

/* The secret of the option found; *ret_secret stays NULL without one. */
static enum rh_status take_secret(const struct rh_options *options,
                                  const struct secret_ways *ways,
                                  struct rh_secret **ret_secret,
                                  struct rh_error *err)
{
    const char *name = NULL;
    enum rh_status status = find_way(options, ways, &name, err);
    if (status != RH_OK || !name)
        return status;
    if (name == ways->file)
        return rh_secret_from_file(rh_options_text(options, name), ret_secret, err);
    if (name == ways->env)
        return from_env(rh_options_text(options, name), ret_secret, err);
    if (name == ways->fd) {
        status = rh_secret_from_fd((int)rh_options_int(options, name), ret_secret, err);
        return status == RH_OK ? RH_OK : rh_error_prepend(err, "option '--%s'", name);
    }
    const struct rh_secret *direct = rh_options_secret(options, name);
    if (!direct)
        return rh_secret_from_prompt(ways->prompt, ret_secret, err);
    *ret_secret = rh_secret_dup(direct);
    return *ret_secret ? RH_OK : rh_fail_memory(err);
}

enum rh_status
keyring_secrets_take(const struct rh_options *options, struct keyring_secrets *secrets, struct rh_error *err)
{
    enum rh_status status = take_secret(options, &password_ways, &secrets->password, err);
    if (status == RH_OK)
        status = take_secret(options, &passphrase_ways, &secrets->passphrase, err);
    return status;
}

/* --- text --- */

struct writer {
    const struct rh_options *options;
    const struct keyring_secrets *secrets;
    enum keyring_text kind;
    struct rh_buf *out;
    struct rh_error *err;
};

/* `NAME = "VALUE"` on a line of its own; whatever the value holds, the reader of plans gives the same back. */
static enum rh_status put_bytes(const struct writer *writer, int indent, const char *name, struct rh_bytes value)
{
    const bool text = rh_utf8_valid(value); /* else, as a password may be, a plan can hold it as numbers only */
    enum rh_status status = rh_buf_format(writer->out, writer->err, "%*s%s = \"", indent, "", name);
    for (size_t i = 0; status == RH_OK && i < value.size; i++) {
        uint8_t byte = value.data[i];
        if (byte == '"' || byte == '\\')
            status = rh_buf_format(writer->out, writer->err, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f || byte == '$' || (!text && byte > 0x7f))
            status = rh_buf_format(writer->out, writer->err, "\\x%02x", byte);
        else
            status = rh_buf_u8(writer->out, byte, writer->err);
    }
    return status == RH_OK ? rh_buf_text(writer->out, "\"\n", writer->err) : status;
}

static enum rh_status put(const struct writer *writer, int indent, const char *name, const char *value)
{
    return put_bytes(writer, indent, name, rh_bytes_text(value));
}

/* The same where there is a value. */
static enum rh_status put_given(const struct writer *writer, int indent, const char *name, const char *value)
{
    return value ? put(writer, indent, name, value) : RH_OK;
}

static enum rh_status put_line(const struct writer *writer, const char *line)
{
    return rh_buf_format(writer->out, writer->err, "%s\n", line);
}

/* Whether a secret is given at all. */
static bool has_secret(const struct writer *writer, const struct secret_ways *ways)
{
    const char *const names[] = {ways->direct[0], ways->direct[1], ways->file, ways->fd, ways->env};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i] && rh_options_given(writer->options, names[i]))
            return true;
    return false;
}

/* A secret: itself for us, and otherwise where it came from, if that lasts. */
static enum rh_status put_secret(const struct writer *writer,
                                 const struct secret_ways *ways,
                                 const struct rh_secret *secret,
                                 const char *name)
{
    if (!has_secret(writer, ways))
        return RH_OK;
    if (writer->kind == KEYRING_TEXT_RUN && secret)
        return put_bytes(writer, 4, name, rh_secret_bytes(secret));
    char lasting[64];
    const bool file = rh_options_given(writer->options, ways->file), env = rh_options_given(writer->options, ways->env);
    if (!file && !env)
        return rh_buf_format(writer->out, writer->err, "    # the %s isn't kept here: give %s_file or %s_env\n", name,
                             name, name);
    snprintf(lasting, sizeof lasting, "%s_%s", name, file ? "file" : "env");
    return put(writer, 4, lasting, rh_options_text(writer->options, file ? ways->file : ways->env));
}

/* --- keyrings --- */

/* What a keyring of MySQL's is here. */
static const struct keyring {
    const char *name;   /* the library's, without ".so" */
    const char *driver; /* NULL: not there yet */
    bool component;
} keyrings[] = {
    {"keyring_file",                     "keyring_file",           false},
    {"component_keyring_file",           "component_keyring_file", true },
    {"keyring_encrypted_file",           "sealed_keyring",         false},
    {"component_keyring_encrypted_file", "keyring_component",      true },
    {"keyring_okv",                      NULL,                     false},
    {"component_keyring_kmip",           "keyring_component",      true },
    {"keyring_aws",                      NULL,                     false},
    {"component_keyring_aws",            "keyring_component",      true },
    {"keyring_hashicorp",                NULL,                     false},
    {"component_keyring_hashicorp",      "keyring_component",      true },
    {"keyring_oci",                      NULL,                     false},
    {"component_keyring_oci",            "keyring_component",      true },
    {"keyring_vault",                    "keyring_vault",          false},
    {"component_keyring_vault",          "keyring_vault",          true },
    {"component_keyring_kms",            "keyring_component",      true },
};

/* One side of the migration. */
struct keyring_side {
    const char *block;  /* "source" */
    const char *option; /* that named the keyring */
    const char *path_option, *configuration_option;
    const struct keyring *keyring;
    bool destination;
    /* for a component that isn't in the list */
    struct keyring other;
    char other_name[128];
};
#define ANY_COMPONENT "keyring_component"

bool keyring_is_utility(const struct rh_options *options)
{
    static const char *const names[] = {"source-keyring",   "destination-keyring",
                                        "component-dir",    "source-keyring-configuration-dir",
                                        "online-migration", "destination-keyring-configuration-dir"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (rh_options_given(options, names[i]))
            return true;
    return false;
}

bool keyring_is_online(const struct rh_options *options)
{
    static const char *const names[] = {"keyring-migration-host",     "keyring-migration-user",
                                        "keyring-migration-password", "keyring-migration-socket",
                                        "keyring-migration-port",     "servers"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (rh_options_given(options, names[i]))
            return true;
    return rh_options_bool(options, "online-migration");
}

/* "NAME=LIB.so", "LIB.so" or "LIB" without what stands around the library's name. */
static enum rh_status library_name(const char *option, const char *value, char out[static 128], struct rh_error *err)
{
    const char *equals = strchr(value, '=');
    const char *library = equals ? equals + 1 : value;
    size_t size = strlen(library);
    if (strchr(library, '/'))
        return rh_fail(err, RH_E_USAGE, "option '--%s' takes the name of a library without a path, not '%s'", option,
                       RH_SHOW(rh_bytes_text(value)));
    if (size > 3 && strcmp(library + size - 3, ".so") == 0)
        size -= 3;
    if (size == 0 || size >= 128)
        return rh_fail(err, RH_E_USAGE, "option '--%s' names no library", option);
    memcpy(out, library, size);
    out[size] = '\0';
    return RH_OK;
}

/* The folder in which components lie. */
static const char *component_dir(const struct rh_options *options)
{
    return rh_options_text(options, keyring_is_utility(options) ? "component-dir" : "plugin-dir");
}

/* A component that we know nothing of, if the folder has one of that name. */
static void find_other(const struct rh_options *options, struct keyring_side *side, const char *name)
{
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    const char *dir = component_dir(options);
    if (!dir || rh_buf_format(&path, NULL, "%s/%s.so", dir, name) != RH_OK || access(rh_buf_cstr(&path), F_OK) != 0)
        return;
    (void)snprintf(side->other_name, sizeof side->other_name, "%s", name);
    side->other = (struct keyring){.name = side->other_name, .driver = ANY_COMPONENT, .component = true};
    side->keyring = &side->other;
}

/* The keyring that an option names. */
static enum rh_status find_keyring(const struct rh_options *options, struct keyring_side *side, struct rh_error *err)
{
    char name[128];
    const char *words[sizeof keyrings / sizeof keyrings[0] + 1] = {NULL};
    enum rh_status status = library_name(side->option, rh_options_text(options, side->option), name, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; i < sizeof keyrings / sizeof keyrings[0]; i++) {
        words[i] = keyrings[i].name;
        if (strcmp(keyrings[i].name, name) == 0)
            side->keyring = &keyrings[i];
    }
    if (!side->keyring)
        find_other(options, side, name);
    if (side->keyring && side->keyring->driver)
        return RH_OK;
    const char *near = side->keyring ? NULL : rh_nearest(name, words);
    status = rh_fail(err, RH_E_USAGE, "option '--%s': %s '%s'%s%s%s", side->option,
                     side->keyring ? "there is no driver yet for keyring" : "unknown keyring",
                     RH_SHOW(rh_bytes_text(name)), near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    rh_error_hint(err,
                  "the keyrings of this version are: keyring_file, keyring_vault, any component whose library is in "
                  "the components' folder, and keyring_encrypted_file, which stands for a sealed keyring of "
                  "rehome's own");
    return status;
}

/* Refuses a path that means another file in another folder. */
static enum rh_status need_absolute(const struct writer *writer, const char *option)
{
    const char *path = rh_options_text(writer->options, option);
    if (!path || path[0] == '/')
        return RH_OK;
    enum rh_status status = rh_fail(writer->err, RH_E_USAGE, "option '--%s' takes an absolute path, not '%s'", option,
                                    RH_SHOW(rh_bytes_text(path)));
    rh_error_hint(writer->err, "give the whole path, from '/' on");
    return status;
}

/* An absolute path that an option must have given. */
static enum rh_status
need_path(const struct writer *writer, const struct keyring_side *side, const char *option, const char **ret_path)
{
    *ret_path = rh_options_text(writer->options, option);
    if (*ret_path)
        return need_absolute(writer, option);
    enum rh_status status = rh_fail(writer->err, RH_E_USAGE, "the %s %s has no place: option '--%s' is missing",
                                    side->block, side->keyring->name, option);
    if (side->path_option)
        rh_error_hint(writer->err, "give it, or the keystore's file with '--%s'", side->path_option);
    return status;
}

/* Where the component's configuration leads: the folder of its .cnf, and the one that .cnf may send to. */
static enum rh_status put_component(const struct writer *writer, const struct keyring_side *side)
{
    const bool utility = keyring_is_utility(writer->options);
    const char *dir = NULL, *instance_option = utility ? side->configuration_option : "datadir", *instance;
    enum rh_status status = need_path(writer, side, utility ? "component-dir" : "plugin-dir", &dir);
    if (status == RH_OK)
        status = need_absolute(writer, instance_option);
    instance = rh_options_text(writer->options, instance_option);
    if (status == RH_OK)
        status = put(writer, 4, "component_dir", dir);
    return status == RH_OK ? put_given(writer, 4, "instance_dir", instance) : status;
}

/* What a component that is driven by its library has beside its folder. */
static enum rh_status put_library(const struct writer *writer, const struct keyring_side *side)
{
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    const char *dir = component_dir(writer->options);
    if (rh_options_given(writer->options, side->path_option)) {
        rh_fail(writer->err, RH_E_USAGE,
                "option '--%s' can't be given for %s: its configuration says where its keys are", side->path_option,
                side->keyring->name);
        return RH_E_USAGE;
    }
    enum rh_status status = put_component(writer, side);
    if (status == RH_OK)
        status = rh_buf_format(&path, writer->err, "%s/%s.so", dir, side->keyring->name);
    if (status == RH_OK)
        status = put(writer, 4, "library", rh_buf_cstr(&path));
    if (status == RH_OK)
        status = put_given(writer, 4, "loader", rh_options_text(writer->options, "component-loader"));
    return status == RH_OK
               ? put_given(writer, 4, "library_path", rh_options_text(writer->options, "component-library-path"))
               : status;
}

/* A plugin's data file, or a sealed keyring: by an option of its own. */
static enum rh_status put_file(const struct writer *writer, const struct keyring_side *side, const char *option)
{
    const char *path = NULL;
    enum rh_status status = need_path(writer, side, option, &path);
    if (status == RH_OK && path[strlen(path) - 1] == '/')
        status = rh_fail(writer->err, RH_E_USAGE, "option '--%s' takes a file, and '%s' is a folder", option,
                         RH_SHOW(rh_bytes_text(path)));
    return status == RH_OK ? put(writer, 4, "path", path) : status;
}

/* Whether the keys of this keyring are in a Vault. */
static bool in_vault(const struct keyring_side *side)
{
    return strcmp(side->keyring->driver, "keyring_vault") == 0;
}

/* Percona's keyrings in a Vault are found by the server's own configuration: the plugin's file, or the component's
 * .cnf, which may send on to the server's data folder. */
static enum rh_status put_vault(const struct writer *writer, const struct keyring_side *side)
{
    const bool utility = keyring_is_utility(writer->options),
               given = rh_options_given(writer->options, side->path_option);
    const char *path = NULL, *instance_option = utility ? side->configuration_option : "datadir";
    const char *option = given ? side->path_option : utility ? "component-dir" : "plugin-dir";
    rh_auto_buf struct rh_buf file = RH_BUF_INIT;
    if (!given && !side->keyring->component)
        option = "keyring-vault-config";
    enum rh_status status = need_path(writer, side, option, &path);
    if (status == RH_OK)
        status = rh_buf_format(&file, writer->err, "%s%s", path,
                               given || !side->keyring->component ? "" : "/component_keyring_vault.cnf");
    if (status == RH_OK)
        status = need_absolute(writer, instance_option);
    if (status == RH_OK)
        status = put(writer, 4, "config", rh_buf_cstr(&file));
    return status == RH_OK ? put_given(writer, 4, "instance_dir", rh_options_text(writer->options, instance_option))
                           : status;
}

/* The options that only one driver has. */
static enum rh_status put_own(const struct writer *writer, const struct keyring_side *side)
{
    if (strcmp(side->keyring->driver, "sealed_keyring") == 0)
        return put_secret(writer, &passphrase_ways, writer->secrets->passphrase, "passphrase");
    if (side->destination && strcmp(side->keyring->driver, "keyring_file") == 0)
        return put_given(writer, 4, "version", rh_options_text(writer->options, "keyring-file-version"));
    return RH_OK;
}

/* A sealed keyring has to be opened by something. */
static enum rh_status need_passphrase(const struct writer *writer, const struct keyring_side *side)
{
    if (strcmp(side->keyring->driver, "sealed_keyring") != 0 || has_secret(writer, &passphrase_ways))
        return RH_OK;
    enum rh_status status =
        rh_fail(writer->err, RH_E_USAGE, "the %s keyring_encrypted_file has no password", side->block);
    rh_error_hint(writer->err, "give '--keyring-encrypted-file-password-file', or "
                               "'--keyring-encrypted-file-password' alone to be asked for it");
    return status;
}

/* `source "DRIVER" { ... }`. */
static enum rh_status put_side(const struct writer *writer, const struct keyring_side *side)
{
    const char *driver = side->keyring->driver;
    enum rh_status status = need_passphrase(writer, side);
    if (status == RH_OK)
        status = rh_buf_format(writer->out, writer->err, "  %s \"%s\" {\n", side->block, driver);
    if (status != RH_OK)
        return status;
    if (in_vault(side))
        status = put_vault(writer, side);
    else if (strcmp(driver, ANY_COMPONENT) == 0)
        status = put_library(writer, side);
    else if (rh_options_given(writer->options, side->path_option))
        status = put_file(writer, side, side->path_option);
    else if (side->keyring->component)
        status = put_component(writer, side);
    else
        status = put_file(writer, side,
                          strcmp(driver, "keyring_file") == 0 ? "keyring-file-data" : "keyring-encrypted-file-data");
    if (status == RH_OK)
        status = put_own(writer, side);
    return status == RH_OK ? put_line(writer, "  }") : status;
}

/* --- servers --- */

/* What --ssl-mode asks for. VERIFY_CA is answered with more than it asks for: the host's name is compared, too. */
static enum rh_status put_tls(const struct writer *writer)
{
    const char *mode = rh_options_text(writer->options, "ssl-mode");
    const char *ca = rh_options_text(writer->options, "ssl-ca"), *cert = rh_options_text(writer->options, "ssl-cert"),
               *key = rh_options_text(writer->options, "ssl-key");
    const bool off = mode && strcasecmp(mode, "DISABLED") == 0;
    const bool loose = mode && (strcasecmp(mode, "PREFERRED") == 0 || strcasecmp(mode, "REQUIRED") == 0);
    if (!mode && !ca && !cert && !key)
        return RH_OK;
    enum rh_status status = put_line(writer, "    tls {");
    if (status == RH_OK && off)
        status = put(writer, 6, "mode", "off");
    if (status == RH_OK && loose)
        status = put(writer, 6, "verify", "off");
    if (status == RH_OK)
        status = put_given(writer, 6, "ca_file", ca);
    if (status == RH_OK)
        status = put_given(writer, 6, "cert_file", cert);
    if (status == RH_OK)
        status = put_given(writer, 6, "key_file", key);
    return status == RH_OK ? put_line(writer, "    }") : status;
}

/* How a server is reached. */
struct address {
    char host[256];
    int64_t port;       /* 0: MySQL's own */
    const char *socket; /* instead of both */
};

/* The lease, where one is given. */
static enum rh_status put_lease(const struct writer *writer)
{
    const int64_t lease_us = rh_options_int(writer->options, "lease");
    const bool whole = lease_us % 1000000 == 0;
    if (!rh_options_given(writer->options, "lease"))
        return RH_OK;
    if (lease_us < 2000000 || lease_us > 600 * INT64_C(1000000))
        return rh_fail(writer->err, RH_E_USAGE, "option '--lease' is between 2s and 10m");
    return rh_buf_format(writer->out, writer->err, "    lease = \"%lld%s\"\n",
                         (long long)(whole ? lease_us / 1000000 : lease_us), whole ? "s" : "us");
}

/* `fence "keyring_operations" { ... }` for one server. */
static enum rh_status put_fence(const struct writer *writer, const struct address *address, const char *user)
{
    enum rh_status status = put_line(writer, "  fence \"keyring_operations\" {");
    if (status == RH_OK && address->socket)
        status = put(writer, 4, "socket", address->socket);
    if (status == RH_OK && !address->socket)
        status = put(writer, 4, "host", address->host);
    if (status == RH_OK && !address->socket && address->port)
        status = rh_buf_format(writer->out, writer->err, "    port = %lld\n", (long long)address->port);
    if (status == RH_OK)
        status = put(writer, 4, "user", user);
    if (status == RH_OK)
        status = put_secret(writer, &password_ways, writer->secrets->password, "password");
    if (status == RH_OK)
        status = put_lease(writer);
    if (status == RH_OK)
        status = put_tls(writer);
    return status == RH_OK ? put_line(writer, "  }") : status;
}

/* The value of one of two options that mean the same to two programs. */
static enum rh_status either(const struct writer *writer, const char *one, const char *other, const char **ret_name)
{
    const bool first = rh_options_given(writer->options, one), second = rh_options_given(writer->options, other);
    if (first && second)
        return rh_fail(writer->err, RH_E_USAGE, "'--%s' and '--%s' say the same: leave one away", one, other);
    *ret_name = first ? one : second ? other : NULL;
    return RH_OK;
}

/* HOST, HOST:PORT, [V6]:PORT or the path of a socket: one entry of --servers. */
static enum rh_status read_server(const struct writer *writer, char *entry, struct address *ret_address)
{
    *ret_address = (struct address){.port = 0};
    if (entry[0] == '/') {
        ret_address->socket = entry;
        return RH_OK;
    }
    char *bracket = entry[0] == '[' ? strchr(entry, ']') : NULL, *colon = strrchr(entry, ':');
    const char *host = bracket ? entry + 1 : entry, *port = NULL;
    size_t size = bracket ? (size_t)(bracket - host) : strlen(entry);
    if (bracket)
        port = bracket[1] == ':' ? bracket + 2 : bracket[1] ? "" : NULL;
    else if (colon && strchr(entry, ':') == colon) {
        size = (size_t)(colon - entry);
        port = colon + 1;
    }
    uint64_t number = 0;
    if (size == 0 || size >= sizeof ret_address->host ||
        (port && (rh_parse_u64(rh_bytes_text(port), &number) != RH_OK || number == 0 || number > 65535)))
        return rh_fail(writer->err, RH_E_USAGE, "option '--servers': '%s' is neither HOST[:PORT] nor a socket's path",
                       RH_SHOW(rh_bytes_text(entry)));
    memcpy(ret_address->host, host, size);
    ret_address->port = (int64_t)number;
    return RH_OK;
}

/* The fences of --servers, a list with commas. */
static enum rh_status put_servers(const struct writer *writer, const char *user)
{
    const char *list = rh_options_text(writer->options, "servers");
    rh_auto_free char *copy = list ? strdup(list) : NULL;
    if (!list)
        return RH_OK;
    if (!copy)
        return rh_fail_memory(writer->err);
    enum rh_status status = RH_OK;
    size_t count = 0;
    for (char *rest = copy, *entry; status == RH_OK && (entry = strsep(&rest, ",")); count++) {
        struct address address;
        if (count >= SERVERS_MAX)
            return rh_fail(writer->err, RH_E_USAGE, "option '--servers' takes at most %d servers", SERVERS_MAX);
        status = read_server(writer, entry, &address);
        if (status == RH_OK)
            status = put_fence(writer, &address, user);
    }
    return status;
}

/* The server that --keyring-migration-host and its like, or --host and its like, mean; *ret_given: there is one. */
static enum rh_status main_server(const struct writer *writer, struct address *ret_address, bool *ret_given)
{
    const char *host = NULL, *port = NULL, *socket = NULL;
    enum rh_status status = either(writer, "keyring-migration-host", "host", &host);
    if (status == RH_OK)
        status = either(writer, "keyring-migration-port", "port", &port);
    if (status == RH_OK)
        status = either(writer, "keyring-migration-socket", "socket", &socket);
    if (status != RH_OK)
        return status;
    *ret_address = (struct address){.host = "127.0.0.1"};
    if (host)
        snprintf(ret_address->host, sizeof ret_address->host, "%s", rh_options_text(writer->options, host));
    if (port)
        ret_address->port = rh_options_int(writer->options, port);
    if (socket)
        ret_address->socket = rh_options_text(writer->options, socket);
    if (socket && (host || port) && !(host && strcmp(ret_address->host, "localhost") == 0))
        return rh_fail(writer->err, RH_E_USAGE, "'--%s' and '--%s' are two ways to one server: leave one away", socket,
                       host ? host : port);
    *ret_given = host || port || socket || !rh_options_given(writer->options, "servers");
    return socket ? need_absolute(writer, socket) : RH_OK;
}

/* The account on the servers. */
static enum rh_status account_name(const struct writer *writer, const char **ret_user)
{
    *ret_user = rh_options_text(writer->options, "keyring-migration-user");
    if (!*ret_user && keyring_is_utility(writer->options))
        *ret_user = rh_options_text(writer->options, "user");
    if (!*ret_user && keyring_is_utility(writer->options))
        *ret_user = rh_options_text(writer->options, "utility-user");
    if (*ret_user)
        return RH_OK;
    enum rh_status status = rh_fail(writer->err, RH_E_USAGE, "no account is given for the running server");
    rh_error_hint(writer->err,
                  "give '--keyring-migration-user'%s; it needs SYSTEM_VARIABLES_ADMIN and "
                  "ENCRYPTION_KEY_ADMIN",
                  keyring_is_utility(writer->options) ? " or '--user'" : "");
    return status;
}

/* All fences. */
static enum rh_status put_fences(const struct writer *writer)
{
    struct address address;
    const char *user = NULL;
    bool given = false;
    enum rh_status status = account_name(writer, &user);
    if (status == RH_OK)
        status = main_server(writer, &address, &given);
    if (status == RH_OK && given)
        status = put_fence(writer, &address, user);
    return status == RH_OK ? put_servers(writer, user) : status;
}

/* --- the whole --- */

/* Which option names the keyring of a side, and that only one program's set of options does. */
static enum rh_status take_sides(const struct writer *writer, struct keyring_side sides[static 2])
{
    static const struct keyring_side templates[] = {
        {.block = "source",                 .path_option = "source-path", .configuration_option = "source-keyring-configuration-dir"},
        { .block = "destination",
         .path_option = "destination-path",
         .configuration_option = "destination-keyring-configuration-dir",
         .destination = true},
    };
    static const char *const server_names[] = {"keyring-migration-source", "keyring-migration-destination"};
    static const char *const utility_names[] = {"source-keyring", "destination-keyring"};
    const bool utility = keyring_is_utility(writer->options);
    for (size_t i = 0; i < 2; i++) {
        if (utility && rh_options_given(writer->options, server_names[i]))
            return rh_fail(writer->err, RH_E_USAGE,
                           "'--%s' is mysqld's, but options of mysql_migrate_keyring are given, too", server_names[i]);
        sides[i] = templates[i];
        sides[i].option = utility ? utility_names[i] : server_names[i];
        if (!rh_options_given(writer->options, sides[i].option))
            return rh_fail(writer->err, RH_E_USAGE, "option '--%s' is missing", sides[i].option);
        enum rh_status status = find_keyring(writer->options, &sides[i], writer->err);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* --keyring-migration-to-component and -from-component must tell the truth. */
static enum rh_status check_component(const struct writer *writer, const struct keyring_side *side)
{
    const char *option = side->destination ? "keyring-migration-to-component" : "keyring-migration-from-component";
    if (!rh_options_bool(writer->options, option) || side->keyring->component)
        return RH_OK;
    return rh_fail(writer->err, RH_E_USAGE, "option '--%s' is given, but the %s %s is a plugin", option, side->block,
                   side->keyring->name);
}

/* Both sides by the same option would be one and the same file. */
static enum rh_status check_two(const struct writer *writer, const struct keyring_side sides[static 2])
{
    const bool paths =
        rh_options_given(writer->options, "source-path") || rh_options_given(writer->options, "destination-path");
    const bool folders = sides[0].keyring->component && keyring_is_utility(writer->options);
    if (sides[0].keyring != sides[1].keyring || paths || folders)
        return RH_OK;
    enum rh_status status = rh_fail(writer->err, RH_E_USAGE, "source and destination are both %s in the same place",
                                    sides[0].keyring->name);
    rh_error_hint(writer->err, "name the keystores' files with '--source-path' and '--destination-path'");
    return status;
}

/* `plan "NAME" { ... }`. */
static enum rh_status put_plan(const struct writer *writer, const char *name, const char *state_dir)
{
    enum rh_status status = RH_OK;
    if (writer->kind == KEYRING_TEXT_SHOW)
        status = put_line(writer, "# made by rehome keyring-migrate");
    if (status == RH_OK)
        status = rh_buf_format(writer->out, writer->err, "plan \"%s\" {\n", name);
    if (status == RH_OK)
        status = put_given(writer, 2, "state_dir", state_dir);
    return status == RH_OK ? put_line(writer, "}\n") : status;
}

/* The server's data folder: what is encrypted there proves the keys. Of a running server only when the command line
 * says so: one that a file names for the server's own sake may lack what the server hasn't written yet. */
static enum rh_status put_datadir(const struct writer *writer)
{
    enum rh_status status = need_absolute(writer, "datadir");
    if (status != RH_OK || (keyring_is_online(writer->options) && rh_options_place(writer->options, "datadir")[0]))
        return status;
    return put_given(writer, 2, "datadir", rh_options_text(writer->options, "datadir"));
}

/* `move "keys" { ... }`. */
static enum rh_status put_move(const struct writer *writer, const struct keyring_side sides[static 2])
{
    const bool online = keyring_is_online(writer->options);
    enum rh_status status = put_line(writer, "move \"keys\" {");
    if (status == RH_OK)
        status = put(writer, 2, "mode", online ? "paused" : "offline");
    if (status == RH_OK)
        status = put(writer, 2, "on_conflict", rh_options_text(writer->options, "on-conflict"));
    if (status == RH_OK)
        status = put_datadir(writer);
    for (size_t i = 0; status == RH_OK && i < 2; i++)
        status = put_side(writer, &sides[i]);
    if (status == RH_OK && online)
        status = put_fences(writer);
    return status == RH_OK ? put_line(writer, "}") : status;
}

enum rh_status keyring_plan_write(const struct rh_options *options,
                                  const struct keyring_secrets *secrets,
                                  enum keyring_text kind,
                                  const char *name,
                                  const char *state_dir,
                                  struct rh_buf *out,
                                  struct rh_error *err)
{
    const struct writer writer = {.options = options, .secrets = secrets, .kind = kind, .out = out, .err = err};
    struct keyring_side sides[2];
    enum rh_status status = take_sides(&writer, sides);
    for (size_t i = 0; status == RH_OK && i < 2; i++)
        status = check_component(&writer, &sides[i]);
    if (status == RH_OK)
        status = check_two(&writer, sides);
    if (status == RH_OK)
        status = put_plan(&writer, name, state_dir);
    return status == RH_OK ? put_move(&writer, sides) : status;
}
