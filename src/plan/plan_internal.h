/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that read plans share; nobody outside src/plan includes it. */
#ifndef REHOME_PLAN_PLAN_INTERNAL_H
#define REHOME_PLAN_PLAN_INTERNAL_H

#include "document_internal.h"
#include "option_internal.h"

/* A plan and what of it only src/plan may free. */
struct rh_loaded_plan {
    struct rh_plan plan;              /* first: rh_plan_free gets a pointer to it */
    struct rh_options *options;       /* of the plan block, or defaults */
    struct rh_options **move_options; /* as many as there are moves */
    struct rh_options *cutover;       /* of its block; NULL without one */
};

struct rh_plan_loader {
    struct rh_loaded_plan *loaded;
    const struct rh_plan_kinds *kinds;
    struct rh_error *err; /* never NULL */
    bool holds_secret;    /* an option of type secret was given in the file */
};

struct rh_place_text {
    char text[400];
};

/* "plan.hcl:4:3". */
struct rh_place_text rh_plan_place(const struct rh_plan_loader *loader, struct rh_place place);
/* "PLACE: WORDS". */
enum rh_status rh_plan_fail(const struct rh_plan_loader *loader, struct rh_place place, const char *fmt, ...)
    RH_PRINTF(3, 4);
#define rh_plan_fail(...) rh_surely_failed(rh_plan_fail(__VA_ARGS__))

/* --- plan_values.c --- */
/* A title as text for messages and names; "" when there is none. Limited to 128 bytes. */
struct rh_title {
    char text[129];
};
struct rh_title rh_plan_title(const struct rh_member *member);
/* A value as Vault would hand it on: text as it is, anything else as JSON. RH_E_PLAN for objects. */
enum rh_status
rh_plan_value(const struct rh_plan_loader *loader, const struct rh_node *node, struct rh_buf *out) RH_MUST_USE;
/* Fills options from the members of an object; `what` says in errors what they belong to ("source \"mysql\"").
 * `skip` is asked first and takes a member out of the hands of this function; may be NULL. */
enum rh_status rh_plan_fill(struct rh_plan_loader *loader,
                            struct rh_options *options,
                            const struct rh_node *object,
                            const char *what,
                            bool (*skip)(const struct rh_member *member)) RH_MUST_USE;
/* Fills the options of one source or destination and finds its driver. */
enum rh_status rh_plan_endpoint(struct rh_plan_loader *loader,
                                const struct rh_member *member,
                                struct rh_endpoint *ret_endpoint) RH_MUST_USE;
/* Fills the options of one `fence "DRIVER" { ... }` and finds its driver. */
enum rh_status rh_plan_fence(struct rh_plan_loader *loader,
                             const struct rh_member *member,
                             struct rh_fence_block *ret_fence) RH_MUST_USE;
/* The same for one `route "DRIVER" { ... }`. */
enum rh_status rh_plan_route(struct rh_plan_loader *loader,
                             const struct rh_member *member,
                             struct rh_route_block *ret_route) RH_MUST_USE;

#endif
