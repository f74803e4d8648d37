/* SPDX-License-Identifier: Apache-2.0 */
/* The servers' error numbers in our words. */
#include "mysql_link.h"
#include <errmsg.h>
#include <mysqld_error.h>
#include <string.h>

/* Numbers that mysqld_error.h of Connector/C may lack. */
enum {
    MY_ER_CONNECTION_KILLED = 1927,
    MY_ER_READ_ONLY_MODE = 1836,
    MY_ER_MUST_CHANGE_PASSWORD = 1820,
    MY_ER_INNODB_READ_ONLY = 1874,
    MY_ER_GR_COMMIT_ROLLED_BACK = 3101,
    MY_ER_QUERY_TIMEOUT = 3024,
    MY_ER_STATEMENT_TIMEOUT = 1969,
    MY_ER_CLIENT_INTERACTION_TIMEOUT = 4031, /* 8.0.24 on: what a session that wait_timeout has ended is told */
};

bool rh_mysql_is_refusal(const struct rh_error *err)
{
    return err->retry != RH_RETRY_RECONNECT && err->native != 0;
}

bool rh_mysql_is_cut(unsigned number)
{
    switch (number) {
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST:
    case CR_SERVER_LOST_EXTENDED:
    case CR_COMMANDS_OUT_OF_SYNC:
    case CR_MALFORMED_PACKET:
    case CR_UNKNOWN_ERROR:
    case CR_SSL_CONNECTION_ERROR:
    case CR_ERR_NET_READ:
    case CR_ERR_NET_WRITE:
    case MY_ER_CONNECTION_KILLED:
    case MY_ER_CLIENT_INTERACTION_TIMEOUT:
    case ER_SERVER_SHUTDOWN:
    case ER_NORMAL_SHUTDOWN:
    case ER_SHUTDOWN_COMPLETE:
    case ER_FORCING_CLOSE:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_ABORTING_CONNECTION:
    case ER_NEW_ABORTING_CONNECTION:
        return true;
    default:
        return false;
    }
}

/* What kind of thing an error number is, and whether trying again can help. */
static enum rh_status classify(unsigned number, enum rh_retry *ret_retry)
{
    *ret_retry = RH_RETRY_NEVER;
    switch (number) {
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_QUERY_INTERRUPTED:
    case MY_ER_STATEMENT_TIMEOUT:
    case MY_ER_QUERY_TIMEOUT:
    case ER_XA_RBROLLBACK:
    case MY_ER_GR_COMMIT_ROLLED_BACK:
        *ret_retry = RH_RETRY_LATER;
        return RH_E_STORE;
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_USER_LIMIT_REACHED:
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_IPSOCK_ERROR:
    case CR_SOCKET_CREATE_ERROR:
    case ER_HOST_IS_BLOCKED:
        *ret_retry = RH_RETRY_LATER;
        return RH_E_NET;
    case CR_UNKNOWN_HOST:
        return RH_E_NET;
    case ER_ACCESS_DENIED_ERROR:
    case 1698: /* ER_ACCESS_DENIED_NO_PASSWORD_ERROR */
    case ER_HOST_NOT_PRIVILEGED:
    case MY_ER_MUST_CHANGE_PASSWORD:
    case 1862: /* ER_MUST_CHANGE_PASSWORD_LOGIN */
    case 4151: /* ER_ACCOUNT_HAS_BEEN_LOCKED, MariaDB */
    case 3118: /* ER_ACCOUNT_HAS_BEEN_LOCKED, MySQL */
    case CR_AUTH_PLUGIN_CANNOT_LOAD:
    case CR_AUTH_PLUGIN_ERR:
        return RH_E_AUTH;
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
    case ER_OPTION_PREVENTS_STATEMENT:
    case MY_ER_READ_ONLY_MODE:
    case MY_ER_INNODB_READ_ONLY:
    case ER_OPEN_AS_READONLY:
    case ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION:
        return RH_E_DENIED;
    case ER_RECORD_FILE_FULL:
    case ER_DISK_FULL:
    case 28: /* ENOSPC passed through */
        return RH_E_FULL;
    case ER_NET_PACKET_TOO_LARGE:
    case ER_DATA_TOO_LONG:
    case ER_TOO_LONG_KEY:
    case CR_NET_PACKET_TOO_LARGE:
        return RH_E_LIMIT;
    case CR_OUT_OF_MEMORY:
        return RH_E_MEMORY;
    default:
        if (rh_mysql_is_cut(number)) {
            *ret_retry = RH_RETRY_RECONNECT;
            return RH_E_NET;
        }
        return RH_E_STORE;
    }
}

/* The disk is full, or the temporary folder is: InnoDB says so in the text of a general error. */
static bool says_full(const char *message)
{
    return strstr(message, "No space left") || strstr(message, "errno: 28") || strstr(message, "Errcode: 28") ||
           strstr(message, "is full");
}

/* The remedy for the errors of a connection that have one. */
static void hint(const struct rh_mysql_server *server, struct rh_error *err, unsigned number)
{
    switch (number) {
    case ER_ACCESS_DENIED_ERROR:
        if (server->tls == RH_TLS_OFF && !server->socket)
            rh_error_hint(err,
                          "check username and password; an account that REQUIREs SSL is refused without TLS: give %s",
                          server->vault_config ? "tls_ca_file" : "tls { ca_file = ... }");
        else if (server->socket)
            rh_error_hint(err,
                          "check username and password; an account that REQUIREs SSL isn't let in by the socket: give "
                          "the server's host and port");
        else if (!server->files.cert)
            rh_error_hint(err, "check username and password; if the account REQUIREs X509, give tls { cert_file = ... "
                               "key_file = ... } (keyring-migrate: --ssl-cert, --ssl-key)");
        else
            rh_error_hint(err, "check username, password and that the server's CA signed the client's certificate");
        break;
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_UNKNOWN_HOST:
        rh_error_hint(err, "check that the server runs and that %s is right; --retry 5m waits longer for it",
                      server->socket ? "socket" : "address");
        break;
    case ER_NET_PACKET_TOO_LARGE:
        rh_error_hint(err, "raise max_allowed_packet on the server");
        break;
    default:
        break;
    }
}

enum rh_status rh_mysql_fail(
    const struct rh_mysql_server *server, struct rh_error *err, const char *what, unsigned number, const char *message)
{
    enum rh_retry retry;
    enum rh_status status = classify(number, &retry);
    if (status == RH_E_STORE && says_full(message))
        status = RH_E_FULL;
    /* A syntax error repeats the statement, which may hold a value. */
    if (number == ER_PARSE_ERROR)
        message = "the server doesn't understand the statement";
    rh_fail(err, status, "%s failed: %s (%u)", what, RH_SHOW(rh_bytes_text(message)), number);
    if (err) {
        err->retry = retry;
        err->native = (long)number;
        hint(server, err, number);
    }
    return status;
}
