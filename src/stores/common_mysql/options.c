/* SPDX-License-Identifier: Apache-2.0 */
/* Where a server is, from options. */
#include "mysql_link.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rh_status
rh_mysql_take_address(struct rh_mysql_server *server, const struct rh_options *options, struct rh_error *err)
{
    const char *text = rh_options_text(options, "address"), *host = text, *port = NULL;
    size_t size = strlen(text);
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL, *colon = strrchr(text, ':');
    if (bracket) {
        host = text + 1;
        size = (size_t)(bracket - host);
        port = bracket[1] == ':' ? bracket + 2 : bracket[1] ? "" : NULL;
    } else if (colon && strchr(text, ':') == colon) {
        size = (size_t)(colon - text);
        port = colon + 1;
    }
    uint64_t number = 3306;
    if (!size || (port && (rh_parse_u64(rh_bytes_text(port), &number) || !number || number > 65535))) {
        rh_fail(err, RH_E_PLAN, "%saddress '%s' isn't HOST:PORT", RH_PLACE(options, "address"),
                RH_SHOW(rh_bytes_text(text)));
        rh_error_hint(err, "an IPv6 address goes in brackets: [::1]:3306; a Unix socket is given with socket = ...");
        return RH_E_PLAN;
    }
    server->port = (unsigned)number;
    server->host = strndup(host, size);
    return server->host ? RH_OK : rh_fail_memory(err);
}

enum rh_status rh_mysql_take_place(struct rh_mysql_server *server,
                                   const struct rh_options *options,
                                   char *address,
                                   size_t address_size,
                                   struct rh_error *err)
{
    const char *socket = rh_options_text(options, "socket");
    if (socket && (rh_options_given(options, "host") || rh_options_given(options, "port")))
        return rh_fail(err, RH_E_PLAN, "%sgive socket, or host and port, not both", RH_PLACE(options, "socket"));
    enum rh_status status;
    if ((status = rh_dup_text(rh_options_text(options, "host"), &server->host, err)) ||
        (status = rh_dup_text(socket, &server->socket, err)) ||
        (status = rh_dup_text(rh_options_text(options, "user"), &server->user, err)))
        return status;
    server->port = (unsigned)rh_options_int(options, "port");
    if (socket)
        snprintf(address, address_size, "%.300s", socket);
    else
        snprintf(address, address_size, "%.300s:%u", server->host, server->port);
    return RH_OK;
}

enum rh_status rh_mysql_take_tls(struct rh_mysql_server *server,
                                 const struct rh_options *options,
                                 const char *vault_ca_name,
                                 const char *vault_ca,
                                 struct rh_error *err)
{
    const struct rh_options *block = rh_options_block(options, "tls");
    enum rh_status status = rh_tls_take_files(options, vault_ca_name, vault_ca, block, &server->files, err);
    if (status)
        return status;
    server->tls = rh_tls_of_block(block);
    const bool off = server->tls == RH_TLS_OFF;
    if (off && (server->files.ca || server->files.cert))
        return rh_fail(err, RH_E_PLAN, "%smode = \"off\" and certificates contradict each other",
                       RH_PLACE(block, "mode"));
    if (!server->socket)
        return RH_OK;
    server->tls = RH_TLS_OFF;
    if (block && rh_options_given(block, "mode") && !off)
        return rh_fail(err, RH_E_PLAN, "%sa Unix socket carries no TLS here", RH_PLACE(block, "mode"));
    return RH_OK;
}

void rh_mysql_server_done(struct rh_mysql_server *server)
{
    rh_secret_free(server->password);
    free(server->host);
    free(server->socket);
    free(server->user);
    rh_tls_files_done(&server->files);
    *server = (struct rh_mysql_server){0};
}
