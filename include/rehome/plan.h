/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan file: HCL 1 syntax as Vault reads it (docs/man/rehome.plan.5), or Vault's migrate.hcl / migrate.json.
 * Source of the syntax: hashicorp/hcl README "Syntax" and hcl/scanner behaviour.
 */
#ifndef REHOME_PLAN_H
#define REHOME_PLAN_H

#include <rehome/fence.h>
#include <rehome/route.h>

/* --- the syntax tree --- */
enum rh_node_kind { RH_NODE_TEXT, RH_NODE_NUMBER, RH_NODE_BOOL, RH_NODE_LIST, RH_NODE_OBJECT };
struct rh_place {
    uint32_t line, column; /* from 1; 0 = unknown */
};
struct rh_node {
    enum rh_node_kind kind;
    struct rh_place place;
    struct rh_bytes text;   /* TEXT: the value; NUMBER, BOOL: as written */
    struct rh_node **items; /* LIST */
    size_t item_count;
    struct rh_member *members; /* OBJECT, in file order; the same name may come several times */
    size_t member_count;
};
struct rh_member {
    char *name;
    struct rh_place place;
    struct rh_bytes titles[4]; /* storage_source "mysql" { } has the title mysql */
    size_t title_count;
    bool block; /* written as a block (no "=") */
    struct rh_node *value;
};
struct rh_document {
    char *path; /* for messages */
    struct rh_arena arena;
    struct rh_node *root; /* OBJECT */
};
/* HCL, or JSON when the first character is '{'. Bounded: 1 MiB, depth 32. `path` is only for messages. */
enum rh_status rh_document_parse(const char *path,
                                 struct rh_bytes text,
                                 struct rh_document **ret_document,
                                 struct rh_error *err) RH_MUST_USE;
void rh_document_free(struct rh_document *document); /* wipes: it may hold passwords */

/* --- the plan --- */
enum rh_on_conflict { RH_CONFLICT_FAIL, RH_CONFLICT_KEEP_EQUAL, RH_CONFLICT_OVERWRITE };
enum rh_mode { RH_MODE_OFFLINE, RH_MODE_PAUSED, RH_MODE_LIVE };

struct rh_endpoint {
    const struct rh_driver *driver;
    struct rh_options *options;
    char *place; /* "plan.hcl:4:3" */
};
/* `fence "DRIVER" { ... }` of a move: one server whose writers are held back. */
struct rh_fence_block {
    const struct rh_fence_driver *driver;
    struct rh_options *options;
    char *place;
    int64_t lease_us;
};
/* `route "DRIVER" { ... }` of the cutover: one thing that is switched. */
struct rh_route_block {
    const struct rh_route_driver *driver;
    struct rh_options *options;
    char *place;
};
struct rh_move {
    char *name;
    enum rh_mode mode;
    enum rh_on_conflict on_conflict;
    struct rh_endpoint source, destination;
    bool verify;                   /* default true */
    bool source_marker;            /* default true; marker = "none" turns it off for a source we may only read */
    int64_t parallel;              /* lanes; 0 = the engine's default */
    int64_t memory_bytes;          /* budget for batches; default 64 MiB */
    struct rh_fence_block *fences; /* mode paused: at least one; else none */
    size_t fence_count;
    const struct rh_options *options;
};
struct rh_plan {
    char *path;
    char *name;
    bool vault_config;    /* read from migrate.hcl: no plan block, one move named "migrate" */
    bool named_by_stores; /* its journal is called by its name and a hash of both stores' identities */
    char *state_dir;      /* resolved: plan, REHOME_STATE_DIR, XDG_STATE_HOME/rehome, /var/lib/rehome (root),
                             ~/.local/state/rehome */
    char *seal_key_file;  /* NULL: none given */
    struct rh_secret *seal_passphrase; /* NULL: none given; from passphrase_file or passphrase_env in the seal block */
    struct rh_move *moves;
    size_t move_count;
    struct rh_route_block *routes; /* what the cutover block switches; none without one */
    size_t route_count;
    int64_t window_us; /* the most that a cutover may take before it goes back by itself */
    struct rh_document *document;
};
/* The drivers that a plan may name: rh_drivers(), rh_fence_drivers(), rh_route_drivers(). */
struct rh_plan_kinds {
    const struct rh_driver *const *stores;
    const struct rh_fence_driver *const *fences;
    const struct rh_route_driver *const *routes;
};
/* All that this program has. */
#define RH_PLAN_KINDS_ALL (&(const struct rh_plan_kinds){rh_drivers(), rh_fence_drivers(), rh_route_drivers()})
/* Reads and checks a plan or a Vault migrate file (told apart by its words). Every unknown word is an error naming
 * file, line, column and the nearest known word. RH_E_PLAN, also for an absent file. */
enum rh_status rh_plan_load(const char *path,
                            const struct rh_plan_kinds *kinds,
                            struct rh_plan **ret_plan,
                            struct rh_error *err) RH_MUST_USE;
/* The same from text in memory, such as a plan that a command has made from its options; `path` is only for messages.
 * The caller wipes the text where it holds a secret. */
enum rh_status rh_plan_parse(const char *path,
                             struct rh_bytes text,
                             const struct rh_plan_kinds *kinds,
                             struct rh_plan **ret_plan,
                             struct rh_error *err) RH_MUST_USE;
/* The option tables of the plan's own blocks, for help, man page check and completion: "plan", "seal", "move",
 * "cutover". */
const struct rh_option *rh_plan_table(const char *block);
const char *rh_on_conflict_name(enum rh_on_conflict policy);
const char *rh_mode_name(enum rh_mode mode);
void rh_plan_free(struct rh_plan *plan);

#endif
