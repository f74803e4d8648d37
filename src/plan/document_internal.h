/* SPDX-License-Identifier: Apache-2.0 */
/* What the two readers of plan files (HCL, JSON) share; nobody outside src/plan includes it. */
#ifndef REHOME_PLAN_DOCUMENT_INTERNAL_H
#define REHOME_PLAN_DOCUMENT_INTERNAL_H

#include <rehome/plan.h>

#include <stdio.h>

#define RH_DOCUMENT_BYTES_MAX (1024 * 1024)
#define RH_DOCUMENT_DEPTH_MAX 32
#define RH_DOCUMENT_NODES_MAX 16384

/* "PATH:LINE:COLUMN: WORDS" as RH_E_PLAN; without line and column where they aren't known. */
enum rh_status
rh_document_fail(const struct rh_document *document, struct rh_place place, struct rh_error *err, const char *words);
/* A node of the document's arena; NULL with err filled when memory is out or *count passes the cap. err not NULL. */
struct rh_node *rh_document_node(
    struct rh_document *document, enum rh_node_kind kind, struct rh_place place, size_t *count, struct rh_error *err);
/* A member's name as text; NULL with err filled when it is empty, holds a NUL, or memory is out. err not NULL. */
char *
rh_document_name(struct rh_document *document, struct rh_bytes bytes, struct rh_place place, struct rh_error *err);
enum rh_status rh_document_add_member(struct rh_document *document,
                                      struct rh_node *object,
                                      const struct rh_member *member,
                                      struct rh_error *err) RH_MUST_USE;
enum rh_status rh_document_add_item(struct rh_document *document,
                                    struct rh_node *list,
                                    struct rh_node *item,
                                    struct rh_error *err) RH_MUST_USE;
/* src/plan/json_place.c: where the tokens of a JSON text stand. Each call gives the place of the next opening bracket,
 * member's name, or scalar; {0} behind the last one. */
struct rh_json_walk {
    const uint8_t *at, *end;
    struct rh_place here;
};
struct rh_json_walk rh_json_walk_begin(struct rh_bytes text);
struct rh_place rh_json_walk_next(struct rh_json_walk *walk);
/* src/plan/json_document.c: the same tree from JSON. */
enum rh_status
rh_document_parse_json(struct rh_document *document, struct rh_bytes text, struct rh_error *err) RH_MUST_USE;

#endif
