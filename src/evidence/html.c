/* SPDX-License-Identifier: Apache-2.0 */
/* The HTML writer. Source of what has to be escaped: the HTML standard, "Serialising HTML fragments". */
#include "html.h"

#include <stdio.h>

void html_add(struct html *html, struct rh_bytes markup)
{
    if (html->status == RH_OK)
        html->status = rh_buf_add(html->out, markup.data, markup.size, html->err);
}

void html_numbers(struct html *html, const char *format, ...)
{
    char room[512];
    va_list args;
    va_start(args, format);
    const int size = vsnprintf(room, sizeof room, format, args);
    va_end(args);
    if (size < 0 || (size_t)size >= sizeof room)
        html->status = rh_fail(html->err, RH_E_INTERNAL, "writing a page: a piece of markup is too long");
    else
        html_add(html, rh_bytes(room, (size_t)size));
}

/* What stands for a byte of text in markup, or NULL for itself. */
static const char *entity(char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* How many bytes at the start of UTF-8 text act instead of being seen: a control, a line separator, a change of
 * direction; 0: none do. */
static size_t acts(const unsigned char *text)
{
    if (text[0] < 0x20 || text[0] == 0x7f)
        return 1;
    if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f)
        return 2;
    if (text[0] == 0xe2 && text[1] == 0x80 &&
        ((text[2] >= 0x8b && text[2] <= 0x8f) || (text[2] >= 0xa8 && text[2] <= 0xae)))
        return 3;
    if (text[0] == 0xe2 && text[1] == 0x81 && text[2] >= 0xa0 && text[2] <= 0xaf)
        return 3;
    return text[0] == 0xef && text[1] == 0xbb && text[2] == 0xbf ? 3 : 0;
}

void html_text(struct html *html, const char *text)
{
    const char *plain = text;
    while (*text) {
        const char *instead = entity(*text);
        size_t acting = instead ? 0 : acts((const unsigned char *)text);
        if (!instead && acting == 0) {
            text++;
            continue;
        }
        html_add(html, rh_bytes(plain, (size_t)(text - plain)));
        if (instead) {
            html_add(html, rh_bytes_text(instead));
            text++;
        }
        for (; acting > 0; acting--)
            html_numbers(html, "\\x%02x", (unsigned)(unsigned char)*text++);
        plain = text;
    }
    html_add(html, rh_bytes(plain, (size_t)(text - plain)));
}

void html_textf(struct html *html, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0) {
        html->status = rh_fail_memory(html->err);
        return;
    }
    html_text(html, text);
    rh_auto_free_(&text);
}

void html_classed(struct html *html, const char *name, const char *kind, const char *text)
{
    html_mark(html, "<");
    html_add(html, rh_bytes_text(name));
    if (kind && kind[0]) {
        html_mark(html, " class=\"");
        html_text(html, kind);
        html_mark(html, "\"");
    }
    html_mark(html, ">");
    html_text(html, text);
    html_mark(html, "</");
    html_add(html, rh_bytes_text(name));
    html_mark(html, ">");
}

void html_element(struct html *html, const char *name, const char *text)
{
    html_classed(html, name, NULL, text);
}
