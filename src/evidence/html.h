/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing HTML into a buffer. What comes from outside goes through the text calls, which escape; markup calls only take
 * literals, and numbers beside them. The first failure is kept and all later calls do nothing.
 */
#ifndef REHOME_EVIDENCE_HTML_H
#define REHOME_EVIDENCE_HTML_H

#include <rehome/bytes.h>

struct html {
    struct rh_buf *out;
    struct rh_error *err;
    enum rh_status status;
};

void html_add(struct html *html, struct rh_bytes markup);
/* Markup from a literal, as it is. */
#define html_mark(html, literal) html_add((html), rh_bytes("" literal "", sizeof(literal) - 1))
/* Markup from a literal with numbers in it: no text may be inserted. */
void html_numbers(struct html *html, const char *format, ...) RH_PRINTF(2, 3);
/* Text, escaped; for content and for attributes in double quotes. Characters that act instead of being seen (controls,
 * changes of direction) become visible. */
void html_text(struct html *html, const char *text);
void html_textf(struct html *html, const char *format, ...) RH_PRINTF(2, 3);
/* <name>text</name>, <name class="kind">text</name>: names and classes are our own words. */
void html_element(struct html *html, const char *name, const char *text);
void html_classed(struct html *html, const char *name, const char *kind, const char *text);

#endif
