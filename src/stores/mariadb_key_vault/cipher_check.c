/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With which cipher a server has encrypted its tables stands nowhere in them: it is the plugin's affair.
 * file_key_management has AES_CBC and AES_CTR, hashicorp_key_management AES_CBC alone. A server whose tables are of
 * AES_CTR starts with the latter (unless its redo log is encrypted, too), and then every table reads as corrupted. So
 * the keys of such a server don't go there, and neither do those of one of which nothing is known.
 */
#include "internal.h"

#include <rehome/mysql_file.h>
#include <strings.h>

const char *const mkv_algorithms[] = {"aes_cbc", "aes_ctr", NULL};
enum { UNKNOWN = -1, CBC = 0, CTR = 1 };

/* What an option file says. */
struct found {
    bool plugin;   /* file_key_management is spoken of */
    int algorithm; /* the last one given; UNKNOWN: none */
    bool strange;  /* a value that is neither */
};

/* A name without what may stand before it, `-` being `_`. */
static bool is_named(struct rh_bytes name, const char *wanted)
{
    static const char loose[] = "loose_";
    char text[64];
    if (name.size >= sizeof text)
        return false;
    if (name.size)
        memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    for (char *at = text; (at = strchr(at, '-'));)
        *at = '_';
    return strcmp(strncmp(text, loose, sizeof loose - 1) == 0 ? text + sizeof loose - 1 : text, wanted) == 0;
}

/* [mysqld], [mariadb-10.11] and the like: groups that a server reads. */
static bool is_server_group(struct rh_bytes group)
{
    static const char *const names[] = {"mysqld", "server", "mariadb", "mariadbd", "galera"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t size = strlen(names[i]);
        if (group.size >= size && strncasecmp((const char *)group.data, names[i], size) == 0 &&
            (group.size == size || group.data[size] == '-'))
            return true;
    }
    return false;
}

static int algorithm_of(struct rh_bytes value)
{
    for (int i = CBC; i <= CTR; i++)
        if ((value.size == 1 && value.data[0] == '0' + i) ||
            (value.size == 7 && strncasecmp((const char *)value.data, mkv_algorithms[i], 7) == 0))
            return i;
    return UNKNOWN;
}

static enum rh_status take_line(void *user, const struct rh_mysql_line *line, struct rh_error *err)
{
    static const char plugin[] = "file_key_management";
    struct found *found = user;
    (void)err;
    if (line->kind != RH_MYSQL_OPTION || !is_server_group(line->group))
        return RH_OK;
    if ((is_named(line->name, "plugin_load_add") || is_named(line->name, "plugin_load")) && line->has_value &&
        memmem(line->value.data, line->value.size, plugin, sizeof plugin - 1))
        found->plugin = true;
    if (is_named(line->name, "file_key_management_filename"))
        found->plugin = true;
    if (is_named(line->name, "file_key_management_encryption_algorithm")) {
        found->algorithm = line->has_value ? algorithm_of(line->value) : UNKNOWN;
        found->strange = found->algorithm == UNKNOWN;
    }
    return RH_OK;
}

/* What the server's option file says; its default is AES_CBC. */
static enum rh_status read_config(const char *path, const char *place, int *ret_algorithm, struct rh_error *err)
{
    struct found found = {.algorithm = UNKNOWN};
    const char *shown = RH_SHOW(rh_bytes_text(path));
    enum rh_status status = rh_mysql_file_read(path, take_line, &found, err);
    if (status == RH_NOT_FOUND)
        return rh_fail(err, RH_E_PLAN, "%sserver_config: '%s' isn't there", place, shown);
    if (status != RH_OK)
        return status;
    if (found.strange)
        return rh_fail(err, RH_E_REFUSED, "%sserver_config: '%s' gives an encryption algorithm that isn't known", place,
                       shown);
    if (found.algorithm == UNKNOWN && !found.plugin) {
        rh_fail(err, RH_E_REFUSED, "%sserver_config: '%s' says nothing of file_key_management", place, shown);
        rh_error_hint(err, "name the file that the server reads, or say encryption_algorithm = \"aes_cbc\"");
        return RH_E_REFUSED;
    }
    *ret_algorithm = found.algorithm == UNKNOWN ? CBC : found.algorithm;
    return RH_OK;
}

/* Words for a server whose tables no server of that plugin could read. */
static enum rh_status fail_ctr(const char *place, struct rh_error *err)
{
    rh_fail(err, RH_E_REFUSED,
            "%sthe server encrypts with AES_CTR, and hashicorp_key_management knows AES_CBC alone: with these keys "
            "in a Vault it wouldn't start, or would read every table as corrupted",
            place);
    rh_error_hint(err, "first have its data decrypted (innodb_encrypt_tables = OFF, ALTER TABLE ... ENCRYPTED = NO), "
                       "then encrypted anew with file_key_management_encryption_algorithm = AES_CBC");
    return RH_E_REFUSED;
}

enum rh_status mkv_cipher_check(const struct rh_options *options, struct mariadb_samples *samples, struct rh_error *err)
{
    const char *given = rh_options_text(options, "encryption_algorithm");
    const char *config = rh_options_text(options, "server_config");
    const char *datadir = rh_options_text(options, "server_datadir");
    const int said = given ? algorithm_of(rh_bytes_text(given)) : UNKNOWN;
    int read = UNKNOWN;
    const char *place = RH_PLACE(options, NULL);
    enum rh_status status = config ? read_config(config, place, &read, err) : RH_OK;
    if (status != RH_OK)
        return status;
    if (said == CTR || read == CTR)
        return fail_ctr(place, err);
    if (datadir)
        return mariadb_samples_take(samples, datadir, err);
    if (said == CBC || read == CBC)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED,
            "%snothing tells with which algorithm the server encrypts: hashicorp_key_management knows AES_CBC alone",
            place);
    rh_error_hint(err, "if SELECT @@file_key_management_encryption_algorithm says aes_cbc there, say "
                       "encryption_algorithm = \"aes_cbc\"; or name its my.cnf or data folder: server_config = FILE, "
                       "server_datadir = DIR");
    return RH_E_REFUSED;
}
