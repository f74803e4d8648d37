/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB's key file: the input is the file, read as a clear one and as one that is encrypted with "filekey". */
#include "fuzz_keystore.h"

#include "../../src/stores/mariadb_key_file/driver.h"
#include "../../src/stores/mariadb_key_file/text.h"

/* With the names that a plan gives which says nothing of them. */
static struct mariadb_names *default_names(void)
{
    struct rh_options *options = NULL;
    struct mariadb_names *names = NULL;
    must(!rh_options_new(rh_driver_mariadb_key_file.options, "", &options, NULL), "no options");
    must(!mariadb_names_new(options, &names, NULL), "no names");
    rh_options_free(options);
    return names;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mariadb_file clear, encrypted;
    if (!clear.names) {
        clear = (struct mariadb_file){.names = default_names(), .cipher.digest = "sha1", .told = true};
        encrypted = (struct mariadb_file){.names = clear.names, .cipher.digest = "sha1", .told = true};
        must(!rh_secret_new(rh_bytes_text("filekey"), &encrypted.cipher.filekey, NULL), "no filekey");
    }
    const struct keyring_store as_clear = {.format = &mariadb_file_clear, .own = &clear},
                               as_encrypted = {.format = &mariadb_file_encrypted, .own = &encrypted};
    keystore_try_as(&as_clear, rh_bytes(data, size));
    keystore_try_as(&as_encrypted, rh_bytes(data, size));
    return 0;
}
