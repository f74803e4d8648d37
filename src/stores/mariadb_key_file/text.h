/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key file of MariaDB's file_key_management (docs/formats/keyring.md): lines of NUMBER;HEX, comments and blank
 * lines, clear or encrypted.
 */
#ifndef REHOME_STORES_MARIADB_KEY_FILE_TEXT_H
#define REHOME_STORES_MARIADB_KEY_FILE_TEXT_H

#include "cipher.h"
#include "keyring.h"
#include "numbers.h"
#include "pages.h"

enum { MARIADB_FILE_MOST = 1024 * 1024 }; /* a server reads no more of it, and doesn't say so */

/* What a keyring_store of this driver knows beside: its `own`. */
struct mariadb_file {
    struct mariadb_names *names;
    struct cipher cipher;
    char *filekey_path;             /* "FILE:..." of the option, for the server's settings; NULL: a literal, or none */
    struct mariadb_samples samples; /* of the server's data folder, where that is given */
    atomic_bool told;               /* of numbers that stand twice */
};
void mariadb_file_free(void *file);
/* Whether a file that begins so is a key file; one with a long comment in front doesn't tell. */
bool mariadb_file_begins(struct rh_bytes head);

extern const struct keyring_format mariadb_file_clear, mariadb_file_encrypted;

#endif
