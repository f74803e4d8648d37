/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as one HTML page for somebody who doesn't know rehome. It is made of the JSON document alone, holds that
 * document's bytes, loads nothing and runs nothing: its content security policy allows its own style sheet by hash.
 */
#include "page.h"

#include <openssl/evp.h>
#include <rehome/evidence.h>

/* The style sheet in one piece, and its hash as a content security policy names it. */
static enum rh_status style_make(struct rh_buf *ret_style, struct rh_buf *ret_hash, struct rh_error *err)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    enum rh_status status = RH_OK;
    for (const char *const *rule = page_style; status == RH_OK && *rule; rule++)
        status = rh_buf_text(ret_style, *rule, err);
    if (status != RH_OK)
        return status;
    if (EVP_Digest(ret_style->data, ret_style->size, hash, NULL, EVP_sha256(), NULL) != 1)
        return rh_fail(err, RH_E_INTERNAL, "computing SHA-256 failed");
    return rh_base64_add(ret_hash, rh_bytes(hash, 32), err);
}

static void put_title(struct html *html, const json_t *report)
{
    const json_t *moves = json_object_get(report, "moves");
    if (json_array_size(moves) == 1)
        html_textf(html, "Evidence of the move '%s'", member_text(json_array_get(moves, 0), "name"));
    else
        html_textf(html, "Evidence of %zu moves: plan '%s'", json_array_size(moves), member_text(report, "plan"));
}

static void put_head(struct page *page)
{
    struct html *html = &page->html;
    rh_auto_buf struct rh_buf style = RH_BUF_INIT, hash = RH_BUF_INIT;
    if (html->status == RH_OK)
        html->status = style_make(&style, &hash, html->err);
    html_mark(html, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
    html_text(html, rh_buf_cstr(&hash));
    html_mark(html,
              "'; base-uri 'none'; form-action 'none'\">\n"
              "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
              "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
              "<title>");
    put_title(html, page->report);
    html_mark(html, "</title>\n<style>");
    html_add(html, rh_buf_bytes(&style));
    html_mark(html, "</style>\n</head>\n<body>\n");
}

/* Links to the moves, where there are several. */
static void put_contents(struct html *html, const json_t *moves)
{
    if (json_array_size(moves) < 2)
        return;
    html_mark(html, "<nav aria-label=\"Moves\"><ul>");
    for (size_t i = 0; i < json_array_size(moves); i++) {
        const json_t *move = json_array_get(moves, i);
        html_numbers(html, "<li><a href=\"#move%zu\">", i + 1);
        html_textf(html, "Move '%s'", member_text(move, "name"));
        html_mark(html, "</a>: ");
        html_text(html, member_text(move, "state"));
        html_mark(html, "</li>");
    }
    html_mark(html, "</ul></nav>");
}

static void put_header(struct page *page)
{
    struct html *html = &page->html;
    html_mark(html, "<header><p class=\"kicker\">rehome &middot; moves data from one store to another and proves it</p>"
                    "<h1>");
    put_title(html, page->report);
    html_mark(html, "</h1><p class=\"soft\">Plan ");
    html_element(html, "code", member_text(page->report, "plan"));
    html_mark(html, ", reported ");
    page_time(html, page->made_us);
    html_textf(html, " by rehome %s from its journal ", member_text(page->report, "rehome"));
    html_element(html, "code", member_text(page->report, "journal"));
    html_mark(html, " in ");
    html_element(html, "code", member_text(page->report, "state_dir"));
    html_mark(html, ". A <em>record</em> is one key with its value.</p>");
    put_contents(html, json_object_get(page->report, "moves"));
    html_mark(html, "</header>\n");
}

/* How to check the page; with a signature, by whom it is said to be signed. */
static void put_checking(struct html *html, const json_t *signature)
{
    html_mark(html, "<section><h2>Checking this page</h2><div class=\"card\">");
    if (json_is_object(signature)) {
        html_mark(html, "<p>This file is signed: beside it there is a file of the same name that ends in "
                        "<code>.sig</code>, an Ed25519 signature over every byte of this one. With the signer's public "
                        "key, which has to come from the signer and not from here, either of these checks it:</p>"
                        "<pre><code>rehome report --verify PAGE.html --public-key KEY.pem\n"
                        "openssl pkeyutl -verify -rawin -pubin -inkey KEY.pem -in PAGE.html -sigfile PAGE.html.sig"
                        "</code></pre><dl><dt>Signed with key</dt><dd class=\"code\">");
        html_text(html, member_text(signature, "public_key"));
        html_mark(html, "</dd></dl>");
    } else {
        html_mark(html,
                  "<p>This file is <strong>not signed</strong>: who made it, and that nobody changed it since, "
                  "can't be told from it. <code>rehome report --sign-key</code> makes one that can be checked.</p>");
    }
    html_mark(html,
              "<p>The page shows the facts of a JSON document, and holds that document as it is: in the source of "
              "this page, between the tags of the element with the id <code>rehome-report</code>. The page loads "
              "nothing from anywhere and runs no program.</p></div></section>");
}

static void put_document(struct html *html, struct rh_bytes document)
{
    html_mark(html, "<script type=\"application/json\" id=\"rehome-report\">\n");
    html_add(html, document);
    html_mark(html, "</script>\n");
}

/* Whether bytes can stand inside a script element: no markup can begin in them. */
static bool is_harmless(struct rh_bytes document)
{
    return !document.size || !memchr(document.data, '<', document.size);
}

enum rh_status rh_evidence_page(struct rh_bytes document, struct rh_buf *ret_page, struct rh_error *err)
{
    json_error_t where;
    json_t *report = json_loadb((const char *)document.data, document.size, 0, &where);
    if (!json_is_array(json_object_get(report, "moves")) || !is_harmless(document)) {
        json_decref(report);
        return rh_fail(err, RH_E_CORRUPT, "making a page of the report: it isn't a report as rehome writes it");
    }
    rh_buf_clear(ret_page);
    struct page page = {
        .html = {.out = ret_page, .err = err},
          .report = report
    };
    page.made_us = member_time(report, "time");
    put_head(&page);
    put_header(&page);
    html_mark(&page.html, "<main>\n");
    size_t i;
    json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move) page_move(&page, move, i + 1);
    page_routes(&page, json_object_get(report, "routes"));
    put_checking(&page.html, json_object_get(report, "signature"));
    html_mark(&page.html, "</main>\n<footer><p>Made by rehome ");
    html_text(&page.html, member_text(report, "rehome"));
    html_mark(&page.html, " from what was journaled while the move was made; no store was opened for it. It holds no "
                          "value of a record and no key of a seal.</p></footer>\n");
    put_document(&page.html, document);
    html_mark(&page.html, "</body>\n</html>\n");
    json_decref(report);
    return page.html.status;
}
