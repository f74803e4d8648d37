/* SPDX-License-Identifier: Apache-2.0 */
/* What checks and verifications find, for people and as members of a JSON array. Facts are
 * held back, and with them what follows, so that both sides stand in one table. */
#include "cli.h"

#include <rehome/keyring.h>

#include <stdlib.h>

#define FACT_ROWS_MAX 4096

/* One line of the table of facts: what both sides say to the same question. */
struct rh_fact_row {
    char *move, *what, *side[3]; /* by enum rh_side */
};

/* Whether a row is the one for a fact: that of the same question, where it isn't about a side the same answer, too. */
static bool row_fits(const struct rh_fact_row *row, const struct rh_finding *finding)
{
    const char *said = row->side[RH_SIDE_NONE];
    return strcmp(row->move, finding->move ? finding->move : "") == 0 && strcmp(row->what, finding->what) == 0 &&
           (finding->side != RH_SIDE_NONE || (said && finding->text && strcmp(said, finding->text) == 0));
}

/* The row for a fact, made when it is new; NULL when memory is out. */
static struct rh_fact_row *row_get(struct rh_findings *findings, const struct rh_finding *finding)
{
    for (size_t i = 0; i < findings->row_count; i++)
        if (row_fits(&findings->rows[i], finding))
            return &findings->rows[i];
    if (findings->row_count >= FACT_ROWS_MAX)
        return NULL;
    struct rh_fact_row *rows = realloc(findings->rows, (findings->row_count + 1) * sizeof *rows);
    if (!rows)
        return NULL;
    findings->rows = rows;
    struct rh_fact_row *row = &rows[findings->row_count];
    *row = (struct rh_fact_row){.move = strdup(finding->move ? finding->move : ""), .what = strdup(finding->what)};
    if (!row->move || !row->what) {
        free(row->move);
        free(row->what);
        return NULL;
    }
    findings->row_count++;
    return row;
}

/* Keeps a fact for the table. */
static void fact_keep(struct rh_findings *findings, const struct rh_finding *finding)
{
    struct rh_fact_row *row = row_get(findings, finding);
    if (!row)
        return;
    free(row->side[finding->side]);
    row->side[finding->side] = strdup(finding->text ? finding->text : "");
}

/* The longest text of a column among the rows of one move. */
static size_t column_width(const struct rh_findings *findings, const char *move, int column, size_t least)
{
    size_t width = least;
    for (size_t i = 0; i < findings->row_count; i++) {
        const struct rh_fact_row *row = &findings->rows[i];
        const char *text = column < 0 ? row->what : row->side[column];
        if (strcmp(row->move, move) == 0 && text && strlen(text) > width && !(column >= 0 && row->side[RH_SIDE_NONE]))
            width = strlen(text);
    }
    return width > 60 ? 60 : width;
}

/* A text, then blanks up to the column's width. */
static void put_padded(FILE *out, const char *text, size_t width)
{
    rh_put_clean(out, text);
    for (size_t size = strlen(text); size < width; size++)
        fputc(' ', out);
}

/* One row: the question, the source's answer, the destination's. */
static void row_print(FILE *out, const struct rh_fact_row *row, size_t what_width, size_t source_width)
{
    fputs("  ", out);
    put_padded(out, row->what, what_width + 2);
    if (row->side[RH_SIDE_NONE]) {
        rh_put_clean(out, row->side[RH_SIDE_NONE]);
    } else {
        const char *source = row->side[RH_SIDE_SOURCE], *destination = row->side[RH_SIDE_DESTINATION];
        put_padded(out, source ? source : "-", source_width);
        fputs("  ", out);
        rh_put_clean(out, destination ? destination : "-");
    }
    fputc('\n', out);
}

/* Frees the rows; the table starts anew. */
static void rows_free(struct rh_findings *findings)
{
    for (size_t i = 0; i < findings->row_count; i++) {
        struct rh_fact_row *row = &findings->rows[i];
        free(row->move);
        free(row->what);
        for (size_t side = 0; side < 3; side++)
            free(row->side[side]);
    }
    free(findings->rows);
    findings->rows = NULL;
    findings->row_count = 0;
}

/* Prints the table of facts, move by move, and forgets it. The talk lock is held. */
static void facts_print(struct rh_findings *findings)
{
    const char *move = NULL;
    size_t what_width = 0, source_width = 0;
    for (size_t i = 0; i < findings->row_count; i++) {
        const struct rh_fact_row *row = &findings->rows[i];
        if (!move || strcmp(move, row->move) != 0) {
            move = row->move;
            what_width = column_width(findings, move, -1, 0);
            source_width = column_width(findings, move, RH_SIDE_SOURCE, strlen("source"));
            fputs("move '", findings->out);
            rh_put_clean(findings->out, move);
            fputs("'\n", findings->out);
            fprintf(findings->out, "  %*s  %-*s  destination\n", (int)what_width, "", (int)source_width, "source");
        }
        row_print(findings->out, row, what_width, source_width);
    }
    rows_free(findings);
}

/* Prints the remedy that was kept back, once for all problems that it mends. */
static void fix_print(struct rh_findings *findings)
{
    if (findings->fix_count == 0)
        return;
    if (findings->fix_count == 1)
        fputs("  fix: ", findings->fix_out);
    else
        fprintf(findings->fix_out, "  fix for these %llu: ", (unsigned long long)findings->fix_count);
    rh_put_clean(findings->fix_out, findings->fix);
    fputc('\n', findings->fix_out);
    findings->fix_count = 0;
}

/* Keeps a remedy back; another one that waits is printed by then. */
static void fix_keep(struct rh_findings *findings, FILE *out, const char *hint)
{
    snprintf(findings->fix, sizeof findings->fix, "%s", hint);
    findings->fix_out = out;
    findings->fix_count++;
}

/* "problem: destination: text" and the record it is about; the remedy follows when a finding with another one comes. */
static void finding_print(struct rh_findings *findings, FILE *out, const struct rh_finding *finding)
{
    const char *hint = finding->hint ? finding->hint : "";
    if (strcmp(findings->fix, hint) != 0)
        fix_print(findings);
    static const char *const kinds[] = {"note", "warning", "problem", NULL};
    static const char *const sides[] = {"", "source: ", "destination: "};
    const char *kind = kinds[finding->kind] ? kinds[finding->kind] : finding->what;
    fprintf(out, "%s: ", kind);
    if (finding->move && finding->move[0] && finding->kind != RH_FINDING_RECORD) {
        rh_put_clean(out, finding->move);
        fputs(": ", out);
    }
    if (finding->kind != RH_FINDING_RECORD)
        fputs(sides[finding->side], out);
    const bool keyring = finding->model == RH_MODEL_KEYRING;
    const char *shown = !finding->key.size ? "" : keyring ? RH_SHOW_KEY(finding->key) : RH_SHOW(finding->key);
    const char *quote = keyring ? "" : "'";
    if (finding->key.size && !(finding->text && strstr(finding->text, shown)))
        fprintf(out, "%s%s%s%s", quote, shown, quote, finding->text && finding->text[0] ? ": " : "");
    rh_put_clean(out, finding->text ? finding->text : "");
    fputc('\n', out);
    if (hint[0])
        fix_keep(findings, out, hint);
}

void rh_json_bytes(json_t *object, const char *name, const char *hex_name, struct rh_bytes bytes)
{
    json_t *text =
        bytes.size && memchr(bytes.data, 0, bytes.size) ? NULL : json_stringn((const char *)bytes.data, bytes.size);
    rh_auto_buf struct rh_buf hex = RH_BUF_INIT;
    if (!text && rh_hex_add(&hex, bytes, NULL) == RH_OK)
        json_object_set_new(object, hex_name, json_string(rh_buf_cstr(&hex)));
    else
        json_object_set_new(object, name, text);
}

/* One object of the JSON array. A key that isn't text is given in hexadecimal. */
static void finding_json(struct rh_findings *findings, const struct rh_finding *finding)
{
    static const char *const kinds[] = {"fact", "warning", "problem", "record"};
    static const char *const sides[] = {"", "source", "destination"};
    json_t *object = json_object();
    if (!object)
        return;
    json_object_set_new(object, "kind", json_string(kinds[finding->kind]));
    json_object_set_new(object, "what", json_string(finding->what));
    if (finding->move && finding->move[0])
        json_object_set_new(object, "move", json_string(finding->move));
    if (finding->side != RH_SIDE_NONE)
        json_object_set_new(object, "side", json_string(sides[finding->side]));
    struct rh_bytes owner, id;
    if (finding->key.size && finding->model == RH_MODEL_KEYRING &&
        rh_keyring_key_split(finding->key, &owner, &id) == RH_OK) {
        rh_json_bytes(object, "owner", "owner_hex", owner);
        rh_json_bytes(object, "key", "key_hex", id);
    } else if (finding->key.size)
        rh_json_bytes(object, "key", "key_hex", finding->key);
    json_object_set_new(object, "text", json_string(finding->text ? finding->text : ""));
    if (finding->hint && finding->hint[0])
        json_object_set_new(object, "hint", json_string(finding->hint));
    fputs(findings->members++ ? ",\n    " : "\n    ", findings->out);
    json_dumpf(object, findings->out, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(object);
}

/* One log event, where stderr is JSON lines: "key" is escaped as in messages. */
static void finding_log(const struct rh_finding *finding)
{
    static const enum rh_log_level levels[] = {RH_LOG_INFO, RH_LOG_WARN, RH_LOG_ERROR, RH_LOG_WARN};
    static const char *const sides[] = {"", "source", "destination"};
    rh_log(levels[finding->kind], finding->text ? finding->text : "", {"what", finding->what},
           {"move", finding->move ? finding->move : ""}, {"side", sides[finding->side]},
           {"key", !finding->key.size                   ? ""
                   : finding->model == RH_MODEL_KEYRING ? RH_SHOW_KEY(finding->key)
                                                        : RH_SHOW(finding->key)},
           {"hint", finding->hint ? finding->hint : ""});
}

/* Where findings wait until the table of facts is complete. */
static FILE *held_get(struct rh_findings *findings)
{
    if (!findings->held)
        findings->held = open_memstream(&findings->held_text, &findings->held_size);
    return findings->held ? findings->held : findings->out;
}

/* A fact that says what a command did, or why it did nothing; others are shown by check alone. */
static bool is_note(const struct rh_finding *finding)
{
    return strcmp(finding->what, "complete") == 0 || strcmp(finding->what, "nothing") == 0 ||
           strcmp(finding->what, "recovered") == 0;
}

void rh_findings_add(void *user, const struct rh_finding *finding)
{
    struct rh_findings *findings = user;
    bool fact = finding->kind == RH_FINDING_FACT;
    findings->problems += finding->kind == RH_FINDING_PROBLEM;
    findings->warnings += finding->kind == RH_FINDING_WARNING;
    findings->records += finding->kind == RH_FINDING_RECORD;
    if (finding->kind == RH_FINDING_PROBLEM)
        snprintf(findings->last_problem, sizeof findings->last_problem, "%s", finding->text ? finding->text : "");
    bool note = fact && is_note(finding) && !findings->quiet;
    if (fact && !note && !findings->facts && !findings->json)
        return;
    if (finding->kind == RH_FINDING_WARNING && findings->quiet)
        return;
    if (!findings->json && !findings->facts && rh_talk_is_json()) {
        finding_log(finding);
        return;
    }
    rh_talk_lock();
    if (findings->json) {
        finding_json(findings, finding);
    } else if (fact && findings->facts) {
        fact_keep(findings, finding);
    } else {
        finding_print(findings, findings->facts ? held_get(findings) : findings->out, finding);
    }
    rh_talk_unlock();
}

void rh_findings_end(struct rh_findings *findings)
{
    rh_talk_lock();
    fix_print(findings);
    facts_print(findings);
    if (findings->held && fclose(findings->held) == 0)
        fwrite(findings->held_text, 1, findings->held_size, findings->out);
    free(findings->held_text);
    findings->held = NULL;
    findings->held_text = NULL;
    rh_talk_unlock();
}
