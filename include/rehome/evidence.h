/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as something to hand on: the bytes of its JSON document, the page made of it, and signatures over either
 * (docs/formats/report.md). Nothing here knows the journal or a store. Threads: all calls are independent.
 */
#ifndef REHOME_EVIDENCE_H
#define REHOME_EVIDENCE_H

#include <jansson.h>
#include <rehome/bytes.h>

/* The document's bytes: ASCII, two blanks a level, '<', '>' and '&' escaped, so that the same bytes may stand in a
 * page; one newline at the end. Fails for NULL, so that what failed before needs no look. */
enum rh_status rh_evidence_text(const json_t *report, struct rh_buf *ret_text, struct rh_error *err) RH_MUST_USE;
/* One self-contained HTML page that shows the document and holds its bytes. RH_E_CORRUPT when it isn't a report. */
enum rh_status rh_evidence_page(struct rh_bytes document, struct rh_buf *ret_page, struct rh_error *err) RH_MUST_USE;

/* --- signatures: Ed25519 over the exact bytes of a file, 64 bytes --- */
#define RH_SIGNATURE_BYTES 64
struct rh_signer;
/* A private key in PEM, in a file that only its owner may read; not one behind a passphrase. RH_E_REFUSED. */
enum rh_status rh_signer_open(const char *path, struct rh_signer **ret_signer, struct rh_error *err) RH_MUST_USE;
void rh_signer_close(struct rh_signer *signer);
/* "SHA256:" and the base64 of the hash of the public key's DER, as the page shows it. */
enum rh_status rh_signer_public(struct rh_signer *signer, struct rh_buf *ret_name, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_signer_sign(struct rh_signer *signer,
                              struct rh_bytes content,
                              uint8_t ret_signature[static RH_SIGNATURE_BYTES],
                              struct rh_error *err) RH_MUST_USE;
/* RH_E_MISMATCH when the signature isn't that key's over that content; RH_E_USAGE when the key can't be used. */
enum rh_status rh_signature_verify(const char *public_key_path,
                                   struct rh_bytes content,
                                   struct rh_bytes signature,
                                   struct rh_buf *ret_name, /* the key's name, as above */
                                   struct rh_error *err) RH_MUST_USE;

#endif
