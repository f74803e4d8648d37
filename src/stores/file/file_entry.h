/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of one file of Vault's `file` storage: {"Value":"<base64>"} and a newline; older releases wrote
 * {"Key":"...","Value":"..."}. Source: hashicorp/vault sdk/physical/file/file.go.
 */
#ifndef REHOME_STORES_FILE_ENTRY_H
#define REHOME_STORES_FILE_ENTRY_H

#include <rehome/record.h>

/* Finds the base64 text of the one member "Value" of the one JSON object that fills text. Escapes in it are resolved in
 * place, so text is writable; *ret_base64 points into it, and is empty for "", and its data NULL for null, which is
 * what Vault writes for a value that is not there. Other members may hold any JSON. RH_OK, or RH_E_CORRUPT with
 * *ret_reason in words (never a piece of the content). */
enum rh_status
rh_file_entry_parse(uint8_t *text, size_t size, struct rh_bytes *ret_base64, const char **ret_reason) RH_MUST_USE;

/* The file's content for a field (bytes, or NULL as null), appended. */
enum rh_status rh_file_entry_add(struct rh_buf *out, const struct rh_field *field, struct rh_error *err) RH_MUST_USE;

/* The most bytes that a value in a file of this size can have. */
uint64_t rh_file_entry_bound(uint64_t file_bytes);

#endif
