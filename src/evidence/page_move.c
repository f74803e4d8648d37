/* SPDX-License-Identifier: Apache-2.0 */
/* The page's part about one move, from the verdict to the limits. */
#include "page.h"

#include <stdio.h>

static bool is(const char *text, const char *word)
{
    return strcmp(text, word) == 0;
}

void page_time(struct html *html, int64_t time_us)
{
    const struct rh_stamp stamp = rh_stamp_us(time_us);
    if (!time_us) {
        html_mark(html, "&ndash;");
        return;
    }
    html_mark(html, "<time datetime=\"");
    html_text(html, stamp.text);
    html_mark(html, "\">");
    html_textf(html, "%.10s %.8s UTC", stamp.text, stamp.text + 11);
    html_mark(html, "</time>");
}

/* --- the verdict --- */

struct verdict {
    const char *kind; /* good, warn, bad */
    const char *mark, *headline, *detail;
};

/* Copied to the end: what is known about both sides being equal? */
static struct verdict verdict_of_copy(const json_t *move)
{
    const char *verified = member_text(move, "verified");
    const json_t *digests = json_object_get(move, "digests");
    if (is(verified, "yes") && json_is_true(json_object_get(digests, "equal")) &&
        json_is_true(json_object_get(digests, "source_stood_still")))
        return (struct verdict){"good", "\xe2\x9c\x93", "Complete and proven equal.",
                                "All records were copied. Then both sides were read again in full: the source had not "
                                "changed meanwhile, and the destination holds the same records."};
    if (member_text(move, "pipe")[0])
        return (struct verdict){
            "warn", "!", "Complete, but not compared.",
            "All records were copied. One side is a pipe, which can be gone through once only: that "
            "both are equal could not be proven."};
    if (is(verified, "no"))
        return (struct verdict){"warn", "!", "Complete, but not compared.",
                                "All records were copied, and the comparison of both sides was turned off. That they "
                                "are equal is not proven."};
    return (struct verdict){"bad", "\xe2\x9c\x97", "Copied, but not proven equal.",
                            "The comparison of both sides found a difference, or was not made. See the digests and the "
                            "findings below."};
}

/* What the state of a move amounts to. */
static struct verdict verdict_of(const json_t *move)
{
    static const struct {
        const char *state;
        struct verdict verdict;
    } others[] = {
        {"rolled-back",
         {"warn", "\xe2\x86\xa9", "Taken back.",
          "The destination was put back as it was before this move, save for records that are named under Findings. "
          "The "
          "source was not changed."}                                                                                 },
        {"abandoned",
         {"bad", "!", "Given up on the way back.",
          "The way back could not be ended and was given up: the destination holds what was written and not undone."}},
        {"rolling-back",
         {"bad", "!", "On its way back, not there yet.",
          "Taking the move back began and has not ended. The destination holds part of it."}                         },
        {"failed",
         {"bad", "\xe2\x9c\x97", "Failed.",
          "The move ended with a failure and was not taken back: the destination may hold part of the records."}     },
        {"interrupted",
         {"warn", "!", "Not finished.",
          "The move was cut off and nobody is at work on it: the destination holds part of the records. The same "
          "command "
          "goes on where it stopped."}                                                                               },
        {"running",
         {"warn", "\xe2\x80\xa6", "Under way.", "A process was at work on this move when the report was made."}      },
        {"new",          {"warn", "\xe2\x80\xa6", "Not begun.", "Nothing was written yet."}                          },
    };
    const char *state = member_text(move, "state");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is(state, others[i].state))
            return others[i].verdict;
    return verdict_of_copy(move);
}

static void put_verdict(struct html *html, const json_t *move)
{
    const struct verdict verdict = verdict_of(move);
    html_mark(html, "<div class=\"verdict ");
    html_text(html, verdict.kind);
    html_mark(html, "\"><p><span class=\"mark\" aria-hidden=\"true\">");
    html_text(html, verdict.mark);
    html_mark(html, "</span><strong>");
    html_text(html, verdict.headline);
    html_mark(html, "</strong> ");
    html_text(html, verdict.detail);
    html_mark(html, "</p></div>");
}

/* --- from where to where --- */

/* <dt>label</dt><dd>text</dd>; nothing for no text. */
static void put_pair(struct html *html, const char *label, const char *kind, const char *text)
{
    if (!text[0])
        return;
    html_element(html, "dt", label);
    html_classed(html, "dd", kind, text);
}

/* How a connection was protected, for people. */
static const char *tls_words(const char *tls)
{
    return is(tls, "local") ? "none: on this machine" : is(tls, "none") ? "NOT encrypted" : tls;
}

static const char *rest_words(const char *rest)
{
    return is(rest, "yes")       ? "encrypted, as the server says"
           : is(rest, "no")      ? "NOT encrypted, as the server says"
           : is(rest, "unknown") ? "can't be seen from outside"
                                 : rest;
}

static void put_side(struct html *html, const char *title, const char *explained, const json_t *side)
{
    html_mark(html, "<div class=\"card\"><h4>");
    html_text(html, title);
    html_mark(html, "<span>");
    html_text(html, explained);
    html_mark(html, "</span></h4>");
    if (json_object_size(side) == 0)
        html_mark(html, "<p class=\"soft\">Was not looked at yet.</p>");
    html_mark(html, "<dl>");
    if (member_text(side, "product")[0]) {
        html_mark(html, "<dt>Server</dt><dd>");
        html_textf(html, "%s %s", member_text(side, "product"), member_text(side, "version"));
        html_mark(html, "</dd>");
    }
    put_pair(html, "Kind of store", "", member_text(side, "store"));
    put_pair(html, "Where", "code", member_text(side, "address"));
    put_pair(html, "Identity", "code", member_text(side, "identity"));
    put_pair(html, "Connection", "", tls_words(member_text(side, "tls")));
    put_pair(html, "On disk", "", rest_words(member_text(side, "encrypted_at_rest")));
    html_mark(html, "</dl></div>");
}

static void put_sides(struct html *html, const json_t *move)
{
    html_mark(html, "<div class=\"sides\">");
    put_side(html, "Source", "where the records came from", json_object_get(move, "source"));
    html_mark(html, "<div class=\"arrow\" aria-hidden=\"true\">\xe2\x86\x92</div>");
    put_side(html, "Destination", "where they went", json_object_get(move, "destination"));
    html_mark(html, "</div>");
}

/* --- numbers --- */

static void put_tile(struct html *html, const char *number, const char *words)
{
    html_mark(html, "<div class=\"card\">");
    html_element(html, "b", number);
    html_element(html, "span", words);
    html_mark(html, "</div>");
}

static void put_tiles(struct html *html, const json_t *move)
{
    const json_t *counts = json_object_get(move, "counts");
    const int64_t begun_us = member_time(move, "begun"), ended_us = member_time(move, "ended");
    char words[80];
    html_mark(html, "<div class=\"tiles\">");
    put_tile(html, rh_words_count(member_count(counts, "records")).text, "records copied");
    put_tile(html, rh_words_bytes(member_count(counts, "bytes")).text, "of keys and values");
    if (begun_us && ended_us > begun_us)
        put_tile(html, rh_words_duration(ended_us - begun_us).text, "from begin to end, pauses included");
    const uint64_t resumes = member_count(move, "resumes");
    snprintf(words, sizeof words, "%s time%s", rh_words_count(resumes).text, resumes == 1 ? "" : "s");
    put_tile(html, resumes ? words : "no", resumes ? "cut off and gone on with" : "interruption");
    html_mark(html, "</div>");
}

/* A row of a table of numbers. */
static void put_number(struct html *html, const char *label, uint64_t number, const char *explained)
{
    html_mark(html, "<tr><th scope=\"row\">");
    html_text(html, label);
    html_mark(html, "</th>");
    html_classed(html, "td", "number", rh_words_count(number).text);
    html_classed(html, "td", "soft", explained);
    html_mark(html, "</tr>");
}

static void put_counts(struct html *html, const json_t *counts)
{
    html_mark(html, "<div class=\"card\"><h3>Every record accounted for</h3><table><caption>Counts of the last pass"
                    "</caption><thead><tr><th scope=\"col\">What</th><th scope=\"col\" class=\"number\">Records</th>"
                    "<th scope=\"col\">Meaning</th></tr></thead><tbody>");
    put_number(html, "Expected", member_count(counts, "expected"), "counted at the source before anything was written");
    put_number(html, "Copied", member_count(counts, "records"), "read at the source and dealt with");
    put_number(html, "Written", member_count(counts, "written"), "new at the destination");
    put_number(html, "Replaced", member_count(counts, "replaced"),
               "the destination held another value, which is in the way back");
    put_number(html, "Kept", member_count(counts, "kept"), "the destination held the same already");
    put_number(html, "Extra", member_count(counts, "extra"), "only at the destination, left alone");
    html_mark(html, "</tbody></table></div>");
}

/* --- digests --- */

static void put_digest(struct html *html, const char *letter, const char *explained, const json_t *digest)
{
    html_mark(html, "<tr><th scope=\"row\">");
    html_text(html, letter);
    html_mark(html, "</th><td data-label=\"Taken\">");
    html_text(html, explained);
    html_mark(html, "</td><td class=\"number\" data-label=\"Records\">");
    html_text(html, json_is_object(digest) ? rh_words_count(member_count(digest, "records")).text : "not taken");
    html_mark(html, "</td><td class=\"code\" data-label=\"Digest\">");
    html_text(html, member_text(digest, "sum"));
    html_mark(html, "</td></tr>");
}

/* "A = B: ..." with a mark; nothing where it wasn't compared. */
static void put_equation(struct html *html, const json_t *equal, const char *yes, const char *no)
{
    if (!json_is_boolean(equal))
        return;
    html_mark(html, "<li class=\"");
    html_text(html, json_is_true(equal) ? "good" : "bad");
    html_mark(html, "\">");
    html_text(html, json_is_true(equal) ? yes : no);
    html_mark(html, "</li>");
}

static void put_digests(struct html *html, const json_t *move)
{
    const json_t *digests = json_object_get(move, "digests");
    const char *state = member_text(move, "state");
    html_mark(html, "<div class=\"card\"><h3>Is it the same? Three digests</h3><p>A digest is one number made of all "
                    "records: another, missing or additional record gives another number. Three were taken, each by "
                    "reading a side in full.</p><table class=\"stack\"><caption>Digests over keys and values</caption>"
                    "<thead><tr><th scope=\"col\">Digest</th><th scope=\"col\">Taken</th><th scope=\"col\" "
                    "class=\"number\">Records</th><th scope=\"col\">Value</th></tr></thead><tbody>");
    put_digest(html, "A", "of the source, while it was copied", json_object_get(digests, "a"));
    put_digest(html, "B", "of the source, by reading it again afterwards", json_object_get(digests, "b"));
    put_digest(html, "C", "of the destination, for the source's keys", json_object_get(digests, "c"));
    html_mark(html, "</tbody></table><ul>");
    put_equation(html, json_object_get(digests, "source_stood_still"),
                 "\xe2\x9c\x93 A equals B: the source did not change while it was copied.",
                 "\xe2\x9c\x97 A and B differ: the source changed while it was copied or after.");
    put_equation(html, json_object_get(digests, "equal"),
                 "\xe2\x9c\x93 B equals C: the destination holds the same records as the source.",
                 "\xe2\x9c\x97 B and C differ: the destination does not hold the same records as the source.");
    html_mark(html, "</ul>");
    if (is(state, "rolled-back") || is(state, "rolling-back"))
        html_mark(html, "<p class=\"warn\">This was before the move was taken back. It says nothing about what the "
                        "destination holds now.</p>");
    html_mark(html, "</div>");
}

/* --- what happened --- */

/* One attempt as a row of the table: a command, or a step of the move. */
static void put_attempt(struct html *html, const json_t *attempt)
{
    const char *outcome = member_text(attempt, "outcome"), *command = member_text(attempt, "command");
    const int64_t begun_us = member_time(attempt, "begun"), ended_us = member_time(attempt, "ended");
    html_mark(html, "<tr><th scope=\"row\">");
    if (command[0])
        html_textf(html, "Command: rehome %s", command);
    else
        html_text(html, step_words(member_text(attempt, "step")));
    html_mark(html, "</th><td data-label=\"Begun\" class=\"nowrap\">");
    page_time(html, begun_us);
    html_mark(html, "</td><td data-label=\"Took\" class=\"number\">");
    if (ended_us)
        html_text(html, rh_words_duration(ended_us - begun_us).text);
    else
        html_mark(html, "&ndash;");
    html_mark(html, "</td><td data-label=\"Ended\" class=\"");
    html_text(html, is(outcome, "done") ? "" : is(outcome, "failed") ? "bad" : "warn");
    html_mark(html, "\">");
    html_text(html, outcome_words(outcome));
    if (member_text(attempt, "last_seen")[0]) {
        html_mark(html, "; last seen at work ");
        page_time(html, member_time(attempt, "last_seen"));
    }
    html_mark(html, "</td><td data-label=\"Note\">");
    html_text(html, member_text(attempt, "note"));
    html_mark(html, "</td></tr>");
}

/* Commands and steps in one list, by when they began. */
static void put_attempts(struct html *html, const json_t *commands, const json_t *steps)
{
    size_t command = 0, step = 0;
    while (command < json_array_size(commands) || step < json_array_size(steps)) {
        const json_t *next = json_array_get(commands, command), *other = json_array_get(steps, step);
        if (!next || (other && member_time(other, "begun") < member_time(next, "begun"))) {
            put_attempt(html, other);
            step++;
        } else {
            put_attempt(html, next);
            command++;
        }
    }
}

static void put_steps(struct page *page, const json_t *move)
{
    struct html *html = &page->html;
    const uint64_t omitted = member_count(page->report, "history_omitted");
    html_mark(html, "<div class=\"card\"><h3>What happened when</h3>");
    draw_timeline(page, move);
    html_mark(html,
              "<table class=\"stack\"><caption>Commands that were given, and each attempt at a step, oldest "
              "first; also those that failed or were cut off</caption><thead><tr><th scope=\"col\">What</th>"
              "<th scope=\"col\">Begun</th><th scope=\"col\" class=\"number\">Took</th><th scope=\"col\">Ended</th>"
              "<th scope=\"col\">Note</th></tr></thead><tbody>");
    put_attempts(html, json_object_get(page->report, "commands"), json_object_get(move, "history"));
    html_mark(html, "</tbody></table>");
    if (omitted) {
        html_mark(html, "<p class=\"soft\">");
        html_textf(html, "%s older entries are left out here; the journal has them.", rh_words_count(omitted).text);
        html_mark(html, "</p>");
    }
    html_mark(html, "</div>");
}

/* --- lists of words --- */

/* <li> for each {"text", "records"}. */
static void put_list(struct html *html, const json_t *list)
{
    size_t i;
    json_t *item;
    html_mark(html, "<ul>");
    json_array_foreach(list, i, item)
    {
        const uint64_t records = member_count(item, "records");
        html_mark(html, "<li>");
        if (records) {
            html_mark(html, "<strong>");
            html_textf(html, "%s record%s:", rh_words_count(records).text, records == 1 ? "" : "s");
            html_mark(html, "</strong> ");
        }
        html_text(html, member_text(item, "text"));
        html_mark(html, "</li>");
    }
    html_mark(html, "</ul>");
}

/* The findings that have room; the rest is counted. */
static void put_findings(struct html *html, const json_t *notes)
{
    enum { SHOWN_MOST = 500 };
    const size_t count = json_array_size(notes);
    html_mark(html, "<div class=\"card\"><h3>Findings</h3>");
    if (count == 0) {
        html_mark(html, "<p>No record was found that differs, is missing or was left alone on the way back.</p></div>");
        return;
    }
    html_mark(html, "<table class=\"stack\"><caption>Records and facts that somebody should look at</caption><thead>"
                    "<tr><th scope=\"col\">Found</th><th scope=\"col\">Kind</th><th scope=\"col\">Key</th>"
                    "<th scope=\"col\">What it is</th></tr></thead><tbody>");
    for (size_t i = 0; i < count && i < SHOWN_MOST; i++) {
        const json_t *note = json_array_get(notes, i);
        html_mark(html, "<tr><td data-label=\"Found\" class=\"nowrap\">");
        page_time(html, member_time(note, "time"));
        html_mark(html, "</td><td data-label=\"Kind\">");
        html_text(html, member_text(note, "kind"));
        html_mark(html, "</td><td data-label=\"Key\" class=\"code\">");
        html_text(html, member_text(note, "key"));
        html_mark(html, "</td><td data-label=\"What it is\">");
        html_text(html, member_text(note, "text"));
        html_mark(html, "</td></tr>");
    }
    html_mark(html, "</tbody></table>");
    if (count > SHOWN_MOST) {
        html_mark(html, "<p class=\"soft\">");
        html_textf(html, "%s more are in the JSON document inside this page.", rh_words_count(count - SHOWN_MOST).text);
        html_mark(html, "</p>");
    }
    html_mark(html, "</div>");
}

/* --- the way back --- */

/* What can still be done, by state. */
static const char *way_back_words(const char *state, bool reversible, bool pipe)
{
    if (is(state, "finished"))
        return "Given up: 'rehome finish' was called, and the images of what the destination held before were deleted. "
               "This move can no longer be taken back by rehome.";
    if (is(state, "abandoned"))
        return "Given up: 'rehome recover --abandon' was called, and the images of what the destination held before "
               "were deleted.";
    if (is(state, "rolled-back"))
        return "Used: the move was taken back, and the images were deleted afterwards.";
    if (pipe)
        return "None: what went into a pipe can't be taken back.";
    return reversible ? "Open: 'rehome rollback' puts the destination back as it was, as long as nobody calls "
                        "'rehome finish'. Records that somebody else has written since are left alone and named."
                      : "There is none yet: nothing was written.";
}

static void put_way_back(struct page *page, const json_t *move)
{
    struct html *html = &page->html;
    const json_t *undo = json_object_get(move, "undo"), *seal = json_object_get(page->report, "seal");
    const uint64_t bytes = member_count(undo, "bytes"), files = member_count(undo, "segments");
    html_mark(html, "<div class=\"card\"><h3>The way back</h3><p>");
    html_text(html, way_back_words(member_text(move, "state"), json_is_true(json_object_get(undo, "reversible")),
                                   is(member_text(move, "pipe"), "destination")));
    html_mark(html, "</p><dl><dt>Images kept</dt><dd>");
    if (files)
        html_textf(html, "%s in %s file%s in the state folder, sealed with AES-256-GCM", rh_words_bytes(bytes).text,
                   rh_words_count(files).text, files == 1 ? "" : "s");
    else if (json_is_true(json_object_get(undo, "former")))
        html_mark(html, "the destination's former content as a whole");
    else
        html_mark(html, "none");
    html_mark(html, "</dd>");
    put_pair(html, "Sealed under", "", member_text(seal, "provider"));
    put_pair(html, "Key file", "code", member_text(seal, "file"));
    put_pair(html, "This protects", "", member_text(seal, "protects"));
    put_pair(html, "Next command", "", member_text(move, "next"));
    html_mark(html, "</dl></div>");
}

static const char *conflict_words(const char *policy)
{
    return is(policy, "fail")         ? "a key that the destination has already stops the move"
           : is(policy, "keep-equal") ? "a key that the destination has already may stay if its value is equal"
           : is(policy, "overwrite")  ? "a key that the destination has already is replaced, and its old value kept "
                                        "in the way back"
                                      : policy;
}

static const char *mode_words(const char *mode)
{
    return is(mode, "offline")  ? "offline, nobody writes to the source meanwhile"
           : is(mode, "paused") ? "paused, the servers' writers were held back meanwhile"
                                : mode;
}

/* The servers whose writers were held back, and for how long. */
static void put_fences(struct html *html, const json_t *fences)
{
    size_t i;
    json_t *fence;
    char words[64];
    if (json_array_size(fences) == 0)
        return;
    html_mark(html, "<div class=\"card\"><h3>Servers that were paused</h3><dl>");
    json_array_foreach(fences, i, fence)
    {
        const json_t *pause = json_object_get(fence, "pause_ms");
        put_pair(html, "Server", "code", member_text(fence, "address"));
        if (json_is_number(pause)) {
            snprintf(words, sizeof words, "%.0f ms", json_number_value(pause));
            put_pair(html, "Paused for", "", words);
        }
        if (json_is_true(json_object_get(fence, "to_open")))
            put_pair(html, "Now", "", "closed still, or not known to be open again");
        put_pair(html, "Opened by", "", member_text(fence, "opened_by"));
        put_pair(html, "Would have been opened by", "", member_text(fence, "protection"));
    }
    html_mark(html, "</dl></div>");
}

/* Lines of a server's configuration, each below the place where it belongs. */
static void put_settings(struct html *html, const char *words, const json_t *settings)
{
    const char *last = "";
    size_t i;
    json_t *setting;
    json_array_foreach(settings, i, setting)
    {
        const char *where = member_text(setting, "where");
        if (!is(where, last)) {
            html_mark(html, "<p>");
            html_textf(html, "%s %s:", words, where);
            html_mark(html, "</p>");
        }
        last = where;
        html_mark(html, "<pre><code>");
        html_text(html, member_text(setting, "text"));
        html_mark(html, "</code></pre>");
    }
}

/* What is left to do by hand, server by server. */
static void put_afterwards(struct html *html, const json_t *afterwards)
{
    size_t i, j;
    json_t *one, *server;
    if (!json_is_object(afterwards))
        return;
    html_mark(html, "<div class=\"card\"><h3>What is left to do on the servers</h3>");
    json_array_foreach(json_object_get(afterwards, "cases"), i, one)
    {
        html_mark(html, "<p><strong>");
        html_textf(html, "For %s", member_text(one, "who"));
        html_mark(html, "</strong>");
        json_array_foreach(json_object_get(one, "servers"), j, server)
        {
            html_text(html, j ? ", " : " (");
            html_classed(html, "span", "code", json_string_value(server) ? json_string_value(server) : "");
        }
        html_text(html, j ? "): " : ": ");
        html_text(html, member_text(one, "text"));
        html_mark(html, ".</p>");
        put_settings(html, "Take out of", json_object_get(one, "take_out"));
        put_settings(html, "Put into", json_object_get(one, "put_in"));
    }
    html_element(html, "p", member_text(afterwards, "gap"));
    html_mark(html, "</div>");
}

/* Which data folders of servers the keys were proven on. */
static void put_proof(struct html *html, const json_t *proof)
{
    size_t i;
    json_t *folder;
    char words[240];
    if (json_array_size(proof) == 0)
        return;
    html_mark(html, "<div class=\"card\"><h3>Do the keys open the servers' data?</h3><dl>");
    json_array_foreach(proof, i, folder)
    {
        put_pair(html, "Data folder", "code", member_text(folder, "folder"));
        snprintf(words, sizeof words, "%s of %s encrypted files, by %s keys",
                 rh_words_count(member_count(folder, "opened")).text,
                 rh_words_count(member_count(folder, "encrypted")).text,
                 rh_words_count(member_count(folder, "keys")).text);
        put_pair(html, "Opened", "", words);
        if (member_count(folder, "failed")) {
            snprintf(words, sizeof words, "%s files", rh_words_count(member_count(folder, "failed")).text);
            put_pair(html, "NOT opened", "", words);
        }
        if (json_is_true(json_object_get(folder, "server_at_work")))
            put_pair(html, "Seen", "", "while a server was at work in it: what it had not written yet was not seen");
    }
    html_mark(html, "</dl></div>");
}

void page_routes(struct page *page, const json_t *routes)
{
    struct html *html = &page->html;
    size_t i;
    json_t *route;
    char words[64];
    if (json_array_size(routes) == 0)
        return;
    html_mark(html,
              "<section id=\"cutover\"><h2>Cutover</h2><div class=\"card\"><h3>Servers that are switched without a "
              "restart</h3><dl>");
    json_array_foreach(routes, i, route)
    {
        const json_t *pause = json_object_get(route, "pause_ms");
        if (!json_is_number(pause)) {
            put_pair(html, "Server", "", "not switched");
            continue;
        }
        snprintf(words, sizeof words, "%.0f ms", json_number_value(pause));
        put_pair(html, "Server", "code", member_text(route, "address"));
        put_pair(html, "Went to", "code", member_text(route, "goes_to"));
        put_pair(html, "At", "", member_text(route, "switched"));
        put_pair(html, "Made no keys for", "", words);
        if (json_is_true(json_object_get(route, "to_settle")))
            put_pair(html, "Now", "", "a later switch was cut off, and its end is not known");
    }
    html_mark(html, "</dl></div></section>");
}

void page_move(struct page *page, const json_t *move, size_t number)
{
    struct html *html = &page->html;
    html_numbers(html, "<section id=\"move%zu\">", number);
    html_mark(html, "<h2>");
    html_textf(html, "Move '%s'", member_text(move, "name"));
    html_mark(html, "</h2>");
    put_verdict(html, move);
    put_sides(html, move);
    put_tiles(html, move);
    html_mark(html, "<p class=\"soft\">Begun ");
    page_time(html, member_time(move, "begun"));
    html_mark(html, ", last step ended ");
    page_time(html, member_time(move, "ended"));
    html_textf(html, ". Mode: %s. The plan's rule: %s.", mode_words(member_text(move, "mode")),
               conflict_words(member_text(move, "on_conflict")));
    html_mark(html, "</p>");
    put_fences(html, json_object_get(move, "fences"));
    put_digests(html, move);
    put_proof(html, json_object_get(move, "proof"));
    put_afterwards(html, json_object_get(move, "afterwards"));
    put_counts(html, json_object_get(move, "counts"));
    html_mark(html, "<div class=\"card\"><h3>What was not moved</h3>");
    put_list(html, json_object_get(move, "not_moved"));
    html_mark(html, "</div>");
    put_findings(html, json_object_get(move, "notes"));
    put_steps(page, move);
    html_mark(html, "<div class=\"card\"><h3>How fast it went</h3>");
    draw_throughput(page, move);
    html_mark(html, "</div>");
    put_way_back(page, move);
    html_mark(html, "<div class=\"card\"><h3>What this proves, and what it doesn't</h3>");
    put_list(html, json_object_get(move, "limits"));
    html_mark(html, "</div></section>");
}
