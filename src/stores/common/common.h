/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several drivers of servers need alike: the options of a TLS connection and of a password, and where an option
 * stands. Texts given out belong to the caller; threads: no state of its own.
 */
#ifndef REHOME_STORES_COMMON_H
#define REHOME_STORES_COMMON_H

#include <rehome/store.h>

/* "plan.hcl:3:5: " or "": where an option stands, for the beginning of a message. */
const char *rh_place(const struct rh_options *options, const char *name, char out[static 320]);
#define RH_PLACE(options, name) rh_place((options), (name), (char[320]){0})

/* Copies an optional text; NULL stays NULL. */
enum rh_status rh_dup_text(const char *text, char **ret_copy, struct rh_error *err) RH_MUST_USE;

/* --- stores of model kv --- */

/* The method `datasets` of a store with the one key space of model kv. */
enum rh_status rh_kv_datasets(struct rh_ctx *ctx,
                              struct rh_session *session,
                              enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                              void *user) RH_MUST_USE;

/* Where a scan of a range begins that goes on after a key (empty: from the range's beginning). */
struct rh_scan_start {
    struct rh_bytes key; /* empty: at the first key there is */
    bool past;           /* behind this key; else at it */
};
struct rh_scan_start rh_scan_start(struct rh_range range, struct rh_bytes after);

/* The value of a record; NULL for a NULL field. */
const struct rh_bytes *rh_kv_value(const struct rh_record *record);
/* Sets every record's outcome. */
void rh_kv_outcomes(struct rh_batch *batch, enum rh_outcome outcome);

/* --- units of writing: operations are noted, and carried out by commit --- */

enum { RH_UNIT_OPS_MAX = 16 };
/* A put or remove that waits for commit; the batch is borrowed until then. */
struct rh_unit_op {
    struct rh_batch *batch;
    enum rh_put_mode mode;
    bool remove;
};
/* Part of a driver's session. Nothing is sent before commit, so that end is all that an abort takes. */
struct rh_unit {
    bool writing;
    const struct rh_digest_key *digest;
    struct rh_unit_op ops[RH_UNIT_OPS_MAX];
    size_t op_count;
    struct rh_record **index; /* rh_unit_index made it */
    size_t index_capacity;
};
enum rh_status rh_unit_may_begin(struct rh_ctx *ctx, const struct rh_unit *unit) RH_MUST_USE;
void rh_unit_begin(struct rh_unit *unit, const struct rh_digest_key *digest);
/* Notes an operation whose every record must pass the driver's `fits`. */
enum rh_status
rh_unit_add(struct rh_ctx *ctx, struct rh_store *store, struct rh_unit *unit, const struct rh_unit_op *op) RH_MUST_USE;
enum rh_status rh_unit_may_commit(struct rh_ctx *ctx, const struct rh_unit *unit) RH_MUST_USE;
/* After a failure: no record has an outcome. */
void rh_unit_forget(const struct rh_unit *unit);
void rh_unit_end(struct rh_unit *unit);
/* Fills unit->index with the batch's records by key, those of equal keys in the batch's order: all writers that go by
 * it lock rows in one order. */
enum rh_status rh_unit_index(struct rh_unit *unit, struct rh_batch *batch, struct rh_error *err) RH_MUST_USE;
void rh_unit_done(struct rh_unit *unit);

/* --- rows of option tables that drivers of servers share --- */

/* What rh_take_password takes. */
#define RH_ROWS_PASSWORD(help_words) RH_ROW_PASSWORD(help_words), RH_ROW_PASSWORD_FILE, RH_ROW_PASSWORD_ENV
#define RH_ROW_PASSWORD(help_words)                                                                                    \
    {                                                                                                                  \
        .name = "password", .type = RH_OPT_SECRET, .value_name = "SECRET", .help = (help_words)                        \
    }
#define RH_ROW_PASSWORD_FILE                                                                                           \
    {                                                                                                                  \
        .name = "password_file", .type = RH_OPT_PATH, .value_name = "PATH", .help = "file that holds the password"     \
    }
#define RH_ROW_PASSWORD_ENV                                                                                            \
    {                                                                                                                  \
        .name = "password_env", .type = RH_OPT_TEXT, .value_name = "NAME",                                             \
        .help = "environment variable that holds the password"                                                         \
    }
/* The block, and what stands in its table. */
#define RH_ROW_TLS(table)                                                                                              \
    {                                                                                                                  \
        .name = "tls", .type = RH_OPT_BLOCK, .block = (table), .help = "how to talk to the server"                     \
    }
#define RH_ROWS_TLS_FILES(cert_words) RH_ROW_TLS_CA, RH_ROW_TLS_CERT(cert_words), RH_ROW_TLS_KEY
#define RH_ROW_TLS_CA                                                                                                  \
    {                                                                                                                  \
        .name = "ca_file", .type = RH_OPT_PATH, .value_name = "PATH",                                                  \
        .help = "CA certificates the server's must lead to (default: the system's)"                                    \
    }
#define RH_ROW_TLS_CERT(cert_words)                                                                                    \
    {                                                                                                                  \
        .name = "cert_file", .type = RH_OPT_PATH, .value_name = "PATH", .help = (cert_words)                           \
    }
#define RH_ROW_TLS_KEY                                                                                                 \
    {                                                                                                                  \
        .name = "key_file", .type = RH_OPT_PATH, .value_name = "PATH", .help = "the key of cert_file"                  \
    }
#define RH_ROWS_TLS_HOW RH_ROW_TLS_VERIFY, RH_ROW_TLS_MODE
#define RH_ROW_TLS_VERIFY                                                                                              \
    {                                                                                                                  \
        .name = "verify", .type = RH_OPT_CHOICE, .initial = "full",                                                    \
        .choices = (const char *const[]){"full", "off", NULL},                                                         \
        .help = "full: certificate and host name; off: neither (anybody between can read and change everything)"       \
    }
#define RH_ROW_TLS_MODE                                                                                                \
    {                                                                                                                  \
        .name = "mode", .type = RH_OPT_CHOICE, .initial = "required",                                                  \
        .choices = (const char *const[]){"required", "off", NULL},                                                     \
        .help = "required: no connection without TLS; off: plain text"                                                 \
    }
#define RH_ROWS_TIMEOUTS(io_initial, during) RH_ROW_CONNECT_TIMEOUT, RH_ROW_IO_TIMEOUT(io_initial, during)
#define RH_ROW_CONNECT_TIMEOUT                                                                                         \
    {                                                                                                                  \
        .name = "connect_timeout", .type = RH_OPT_DURATION, .initial = "10s", .value_name = "TIME",                    \
        .help = "for connecting"                                                                                       \
    }
#define RH_ROW_IO_TIMEOUT(io_initial, during)                                                                          \
    {                                                                                                                  \
        .name = "io_timeout", .type = RH_OPT_DURATION, .initial = (io_initial), .value_name = "TIME",                  \
        .help = "how long the server may stay silent during a " during                                                 \
    }
#define RH_ROW_MAX_PARALLEL                                                                                            \
    {                                                                                                                  \
        .name = "max_parallel", .type = RH_OPT_INT, .initial = "128", .max = 1000000, .value_name = "N",               \
        .help = "taken for Vault's sake"                                                                               \
    }

/* --- TLS --- */

enum rh_tls { RH_TLS_OFF, RH_TLS_UNVERIFIED, RH_TLS_VERIFIED };

/* The block `tls { ... }`: ca_file, cert_file, key_file, verify, mode. */
extern const struct rh_option rh_tls_options[];

struct rh_tls_files {
    char *ca, *cert, *key; /* NULL: none */
};
void rh_tls_files_done(struct rh_tls_files *files);

/* The files that the block names (NULL: no block), and `vault_ca`, which the option `vault_ca_name` outside the block
 * gave (NULL: not); looks at each of them. */
enum rh_status rh_tls_take_files(const struct rh_options *options,
                                 const char *vault_ca_name,
                                 const char *vault_ca,
                                 const struct rh_options *block,
                                 struct rh_tls_files *files,
                                 struct rh_error *err) RH_MUST_USE;
/* The file can be read and holds at least one certificate; `what` names its option. */
enum rh_status rh_tls_check_certificate(const char *what, const char *path, struct rh_error *err) RH_MUST_USE;
/* The key file can be read. */
enum rh_status rh_tls_check_key(const char *what, const char *path, struct rh_error *err) RH_MUST_USE;
/* What the block asks for; without a block VERIFIED. */
enum rh_tls rh_tls_of_block(const struct rh_options *block);
/* The log's warning where the block takes protection away. */
void rh_tls_warn(enum rh_tls tls, const char *address);

/* --- passwords --- */

/* password, password_file, password_env: at most one of them; *ret_password stays NULL without any. */
enum rh_status
rh_take_password(const struct rh_options *options, struct rh_secret **ret_password, struct rh_error *err) RH_MUST_USE;

#endif
