/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the Vault client know of each other. */
#ifndef REHOME_STORES_VAULT_INTERNAL_H
#define REHOME_STORES_VAULT_INTERNAL_H

#include "vault.h"

#include <pthread.h>

struct rh_vault {
    char *url, *prefix; /* "https://vault:8200"; a path before /v1 or "" */
    char *name_space;   /* "" = none */
    char *namespace_line;
    struct rh_tls_files tls_files;
    enum rh_tls tls;
    int64_t connect_us, idle_us, request_us;
    /* where the token comes from */
    char *token_file, *approle_path, *role_id, *secret_id_file, *secret_id_env;

    pthread_mutex_t lock; /* guards what follows */
    struct rh_secret *token;
    unsigned generation; /* of the token; 0: none yet */
    bool looked_up, renewable;
    int64_t renew_us, end_us; /* rh_clock_us(); 0: never */
};

struct rh_vault_client {
    struct rh_vault *vault;
    struct rh_http_peer peer, open_peer;
    struct rh_secret *header;
    struct rh_http *http, *open_http;
    struct rh_vault_call own;       /* for the token's sake */
    unsigned generation, connected; /* of the token; times that it was connected */
    char tls[128];
    atomic_bool cancelled;
};

/* --- token.c --- */
/* Under the server's lock. Sees to it that there is a token which lives a while yet. */
enum rh_status vault_token_need(struct rh_ctx *ctx, struct rh_vault_client *client);
/* After a 403: RH_OK when there is another token now; RH_NOT_FOUND when this one is alive, so that it lacks a right. */
enum rh_status vault_token_refused(struct rh_ctx *ctx, struct rh_vault_client *client, unsigned generation);

/* --- client.c --- */
/* One call, tried again where it may be, with the token as it is. */
enum rh_status
vault_exec(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *call, const char *what);
/* Connections with the server's present token. */
enum rh_status vault_connect(struct rh_vault_client *client, struct rh_error *err);

#endif
