/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The route keyring_reload's own header: a MySQL server with component_keyring_file is sent to another keystore by its
 * configuration file and ALTER INSTANCE RELOAD KEYRING, without a restart.
 *
 * Knowledge: MySQL 8.0.24 to 9.7: components/keyrings/keyring_file/config (where the configuration lies),
 * components/keyrings/common/data_file (each write goes to FILE.backup first and fails where that can't be opened),
 * manual "ALTER INSTANCE", "Using the component_keyring_file"; tried on 9.7.4: a reload is refused while
 * keyring_operations is OFF; a link FILE.backup that leads nowhere counts as absent when the file is read and fails
 * every write; an event may reload.
 *
 * How no key is lost. A reload needs the server open, and an open server makes keys, in its old keystore; one that died
 * between would come up on the new one without them. So the old keystore is held first, while the fence is closed, by
 * such a link: from then on it takes no key. Then the configuration is turned, the fence opened, the server reloaded:
 * whenever it dies, it comes up on a keystore with all its keys. What is left behind is put right by making the
 * configuration agree with what the server has loaded (undo), and by taking the link away (release).
 *
 * Who switches holds a named lock, as long as its session lives; the server's own timer is an event that takes the lock
 * when it is free, reloads, and goes.
 */
#ifndef REHOME_ROUTES_KEYRING_RELOAD_H
#define REHOME_ROUTES_KEYRING_RELOAD_H

#include "mysql_link.h"
#include <rehome/route.h>

#define KR_LOCK "rehome.keyring_reload"
#define KR_EVENT "rehome_keyring_reload"
#define KR_COMPONENT "component_keyring_file"

struct kr_route {
    struct rh_route base;
    struct rh_mysql_server server;
    char address[320], timer_schema[200];
    char *configuration; /* as the plan says; NULL: where the server looks for it */
    MYSQL *mysql;        /* NULL: not connected */
    char tls[160], uuid[64];
    unsigned long thread;
    bool holds; /* this connection has the lock */
};

/* --- state.c --- */
struct kr_state {
    char uuid[64];
    unsigned long thread; /* the session that switches */
    char *configuration, *from, *to;
};
enum rh_status kr_state_write(const struct kr_state *state, struct rh_buf *out, struct rh_error *err) RH_MUST_USE;
/* RH_E_INTERNAL when the text isn't one. */
enum rh_status kr_state_read(const char *text, struct kr_state *ret_state, struct rh_error *err) RH_MUST_USE;
void kr_state_done(struct kr_state *state);
#define kr_auto_state __attribute__((cleanup(kr_state_done)))

/* --- server.c --- */
enum rh_status kr_connect(struct rh_ctx *ctx, struct rh_route *base) RH_MUST_USE;
void kr_disconnect(struct kr_route *route);
enum rh_status kr_run(struct kr_route *route, struct rh_error *err, const char *what, const char *fmt, ...)
    RH_PRINTF(4, 5) RH_MUST_USE;
/* The first column of the first row; RH_NOT_FOUND without a row or for NULL. */
enum rh_status kr_text(
    struct kr_route *route, struct rh_error *err, const char *what, char *out, size_t out_size, const char *fmt, ...)
    RH_PRINTF(6, 7) RH_MUST_USE;
/* The keystore that the server has loaded. */
enum rh_status kr_loaded(struct kr_route *route, char *out, size_t size, struct rh_error *err) RH_MUST_USE;
/* Whether two paths lead to the same keystore. */
bool kr_same_file(const char *one, const char *other);
enum rh_status kr_lock(struct kr_route *route, unsigned seconds, bool *ret_got, struct rh_error *err) RH_MUST_USE;
/* Ends the session of the process that was switching, and waits until what it had sent is over. */
enum rh_status kr_end_session(struct kr_route *route, unsigned long thread, struct rh_error *err) RH_MUST_USE;

/* --- config.c: the configuration file, NAME, and beside it while it is switched NAME.rehome-new and .rehome-old --- */
/* Where the server looks for it. *ret_path is malloc'd. */
enum rh_status kr_config_find(struct kr_route *route, char **ret_path, struct rh_error *err) RH_MUST_USE;
/* The keystore that it names; malloc'd. */
enum rh_status kr_config_target(const char *path, char **ret_target, struct rh_error *err) RH_MUST_USE;
/* Makes the new one, which names another keystore, and keeps the old. */
enum rh_status kr_config_make(const char *path, const char *target, struct rh_error *err) RH_MUST_USE;
/* Puts the new one in the old one's place, durably. */
enum rh_status kr_config_turn(const char *path, struct rh_error *err) RH_MUST_USE;
/* Makes it name that keystore, if it doesn't. */
enum rh_status kr_config_set(const char *path, const char *target, struct rh_error *err) RH_MUST_USE;
/* Takes away what stands beside it. */
enum rh_status kr_config_clean(const char *path, struct rh_error *err) RH_MUST_USE;

/* --- hold.c: the link that keeps a keystore from being written --- */
/* Whether we may make names there; a server that is at work has a .backup of its own there now and then. */
enum rh_status kr_hold_check(const char *keystore, struct rh_error *err) RH_MUST_USE;
/* With the server's writers held back. RH_E_REFUSED: a server has left a .backup there. */
enum rh_status kr_hold_set(const char *keystore, struct rh_error *err) RH_MUST_USE;
enum rh_status kr_hold_drop(const char *keystore, struct rh_error *err) RH_MUST_USE;

/* --- account.c --- */
/* Refuses a keystore that the server's own account couldn't read and write. `exists`: the file is there already. */
enum rh_status
kr_account_check(struct kr_route *route, const char *keystore, bool exists, struct rh_error *err) RH_MUST_USE;

/* --- timer.c --- */
/* Why the server doesn't finish a switch by itself, in words; "" when it does. */
enum rh_status kr_timer_why(struct kr_route *route, char *why, size_t why_size, struct rh_error *err) RH_MUST_USE;
/* Without a right to it there is no timer, which is logged; a failure is that of a connection. */
enum rh_status kr_timer_make(struct kr_route *route, struct rh_error *err) RH_MUST_USE;
enum rh_status kr_timer_drop(struct kr_route *route, struct rh_error *err) RH_MUST_USE;

/* --- switch.c, probe.c: the driver's functions --- */
enum rh_status
kr_check(struct rh_ctx *ctx, struct rh_route *base, const struct rh_route_ends *ends, enum rh_route_stand *ret_stand);
enum rh_status
kr_snapshot(struct rh_ctx *ctx, struct rh_route *base, const struct rh_route_ends *ends, struct rh_buf *ret_state);
enum rh_status kr_prepare(struct rh_ctx *ctx, struct rh_route *base, const char *text);
enum rh_status kr_apply(struct rh_ctx *ctx, struct rh_route *base, const char *text);
enum rh_status kr_settle(struct rh_ctx *ctx, struct rh_route *base, const char *text);
enum rh_status kr_release(struct rh_ctx *ctx, struct rh_route *base, const char *text);
enum rh_status kr_undo(struct rh_ctx *ctx, struct rh_route *base, const char *text, enum rh_route_stand *ret_stand);
enum rh_status kr_probe(struct rh_ctx *ctx, struct rh_route *base);

#endif
