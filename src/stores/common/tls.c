/* SPDX-License-Identifier: Apache-2.0 */
/* The options of a TLS connection, and a look at the files that they name: the client libraries' own words for a wrong
 * file are poor. */
#include "common.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <unistd.h>

const struct rh_option rh_tls_options[] = {
    RH_ROWS_TLS_FILES("our certificate, if the account asks for one"),
    RH_ROWS_TLS_HOW,
    {0},
};

void rh_tls_files_done(struct rh_tls_files *files)
{
    free(files->ca);
    free(files->cert);
    free(files->key);
    *files = (struct rh_tls_files){0};
}

enum rh_status rh_tls_check_certificate(const char *what, const char *path, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening %s '%s' failed", what, RH_SHOW(rh_bytes_text(path)));
    BIO *bio = BIO_new_fd(fd, BIO_NOCLOSE);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!certificate)
        return rh_fail(err, RH_E_PLAN, "%s '%s' holds no certificate in PEM form", what, RH_SHOW(rh_bytes_text(path)));
    X509_free(certificate);
    return RH_OK;
}

enum rh_status rh_tls_check_key(const char *what, const char *path, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? rh_fail_errno(err, errno, "opening %s '%s' failed", what, RH_SHOW(rh_bytes_text(path))) : RH_OK;
}

enum rh_status rh_tls_take_files(const struct rh_options *options,
                                 const char *vault_ca_name,
                                 const char *vault_ca,
                                 const struct rh_options *block,
                                 struct rh_tls_files *files,
                                 struct rh_error *err)
{
    const char *inner = block ? rh_options_text(block, "ca_file") : NULL;
    if (vault_ca && inner)
        return rh_fail(err, RH_E_PLAN, "%sgive %s or tls { ca_file }, not both", RH_PLACE(options, vault_ca_name),
                       vault_ca_name);
    const char *cert = block ? rh_options_text(block, "cert_file") : NULL,
               *key = block ? rh_options_text(block, "key_file") : NULL;
    if (!cert != !key)
        return rh_fail(err, RH_E_PLAN, "%scert_file and key_file go together",
                       RH_PLACE(block, cert ? "cert_file" : "key_file"));
    enum rh_status status;
    if ((status = rh_dup_text(vault_ca ? vault_ca : inner, &files->ca, err)) ||
        (status = rh_dup_text(cert, &files->cert, err)) || (status = rh_dup_text(key, &files->key, err)))
        return status;
    if (files->ca && (status = rh_tls_check_certificate(vault_ca ? vault_ca_name : "ca_file", files->ca, err)))
        return status;
    if (cert && ((status = rh_tls_check_certificate("cert_file", cert, err)) ||
                 (status = rh_tls_check_key("key_file", key, err))))
        return status;
    return RH_OK;
}

enum rh_tls rh_tls_of_block(const struct rh_options *block)
{
    if (block && strcmp(rh_options_text(block, "mode"), "off") == 0)
        return RH_TLS_OFF;
    return block && strcmp(rh_options_text(block, "verify"), "off") == 0 ? RH_TLS_UNVERIFIED : RH_TLS_VERIFIED;
}

void rh_tls_warn(enum rh_tls tls, const char *address)
{
    if (tls == RH_TLS_OFF)
        rh_log(RH_LOG_WARN, "tls { mode = \"off\" }: password and data travel in plain text", {"address", address});
    else if (tls == RH_TLS_UNVERIFIED)
        rh_log(RH_LOG_WARN, "tls { verify = \"off\" }: anybody on the way can pose as the server",
               {"address", address});
}
