/* SPDX-License-Identifier: Apache-2.0 */
/* What journal and people are told of fences. */
#include "internal.h"

#include <stdlib.h>

struct fence_fact fence_fact(size_t number, const char *what)
{
    struct fence_fact fact;
    snprintf(fact.name, sizeof fact.name, "fence.%zu.%s", number, what);
    return fact;
}

#define FACTS_WORDS "facts of a fence" /* in errors */

enum rh_status fence_put_intent(struct fence_run *run, struct rh_error *err)
{
    struct rh_journal *journal = run->move->engine->journal;
    const char *move = run->move->plan->name;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_put(journal, move, fence_fact(run->number, "state").name, rh_buf_bytes(&run->state), err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move, fence_fact(run->number, "epoch").name, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move, fence_fact(run->number, "opened").name, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move, fence_fact(run->number, "closed").name, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

enum rh_status fence_put_epoch(struct fence_run *run, struct rh_error *err)
{
    struct rh_journal *journal = run->move->engine->journal;
    const char *move = run->move->plan->name;
    const struct rh_fence_facts *facts = &run->facts;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "fence", run->block->driver->name, "product",
                  facts->product, "version", facts->version, "address", facts->address, "identity", facts->identity,
                  "tls", facts->tls, "loaded", facts->loaded, "closed_before", facts->closed, "protection",
                  facts->no_timer[0] ? "guardian" : "guardian and server's timer", "closed",
                  rh_stamp_us(run->closed_utc_us).text);
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK) {
        json_decref(object);
        return status;
    }
    status = fact_put_json(journal, move, fence_fact(run->number, "closed").name, object, FACTS_WORDS, err);
    if (status == RH_OK)
        status = rh_journal_put(journal, move, fence_fact(run->number, "epoch").name, rh_buf_bytes(&run->epoch), err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

enum rh_status fence_put_opened(
    struct rh_journal *journal, const char *move, size_t number, const char *by, int64_t pause_us, struct rh_error *err)
{
    json_t *object = json_pack("{s:s, s:s, s:o}", "by", by, "opened", rh_stamp_us(rh_utc_us()).text, "pause_us",
                               pause_us < 0 ? json_null() : json_integer((json_int_t)pause_us));
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK) {
        json_decref(object);
        return status;
    }
    status = fact_put_json(journal, move, fence_fact(number, "opened").name, object, FACTS_WORDS, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move, fence_fact(number, "state").name, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move, fence_fact(number, "epoch").name, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

json_t *fences_report(struct rh_journal *journal, const struct rh_move *move)
{
    json_t *array = json_array();
    for (size_t i = 0; i < move->fence_count; i++) {
        rh_auto_buf struct rh_buf state = RH_BUF_INIT;
        json_t *closed = fact_get_json(journal, move->name, fence_fact(i, "closed").name),
               *opened = fact_get_json(journal, move->name, fence_fact(i, "opened").name);
        json_t *fence = closed ? closed : json_pack("{s:s}", "fence", move->fences[i].driver->name);
        const json_t *pause_us = json_object_get(opened, "pause_us"), *when = json_object_get(opened, "opened"),
                     *by = json_object_get(opened, "by");
        const bool open_still = rh_journal_get(journal, move->name, fence_fact(i, "state").name, &state, NULL) == RH_OK;
        json_object_set_new(fence, "to_open", json_boolean(open_still));
        json_object_set_new(fence, "opened", when ? json_copy((json_t *)(uintptr_t)when) : json_null());
        json_object_set_new(fence, "opened_by", by ? json_copy((json_t *)(uintptr_t)by) : json_string(""));
        json_object_set_new(fence, "pause_ms",
                            json_is_integer(pause_us) ? json_integer((json_integer_value(pause_us) + 500) / 1000)
                                                      : json_null());
        json_array_append_new(array, fence);
        json_decref(opened);
    }
    return array;
}

const char *fence_outcome_words(enum rh_fence_outcome outcome)
{
    switch (outcome) {
    case RH_FENCE_OPENED:
        return "was closed still and is open now";
    case RH_FENCE_WAS_OPEN:
        return "was open again already";
    case RH_FENCE_RESTARTED:
        return "was restarted meanwhile and is open by that";
    case RH_FENCE_LEFT:
        return "is held closed by somebody else, and left so";
    case RH_FENCE_TAKEN:
        return "is closed still";
    }
    return "";
}

void fence_say_facts(const struct fence_run *run)
{
    const struct rh_fence_facts *facts = &run->facts;
    char loaded[640] = "";
    if (facts->loaded[0])
        snprintf(loaded, sizeof loaded, ", its keystore is %s", RH_SHOW(rh_bytes_text(facts->loaded)));
    check_say(run->move, NULL, RH_FINDING_FACT, "fence", (struct rh_bytes){0}, "%s of %s %s at %s%s%s",
              run->block->driver->name, facts->product, facts->version, facts->address, loaded,
              facts->closed ? "; somebody else has closed it already, it stays so" : "");
    if (facts->no_timer[0])
        check_say(run->move, NULL, RH_FINDING_WARNING, "fence-timer", (struct rh_bytes){0},
                  "%s: only rehome's guardian opens it when rehome can't, the server doesn't by itself (%s); if this "
                  "machine goes away, run there: %s",
                  facts->address, facts->no_timer, facts->statement);
    else
        check_say(
            run->move, NULL, RH_FINDING_FACT, "fence-timer", (struct rh_bytes){0},
            "%s: when rehome can't open it, its guardian does, and without that the server's own timer after %g s",
            facts->address, (double)run->block->lease_us / 1e6);
}

void fence_say_guardian(const struct fence_run *run)
{
    json_t *object =
        fact_get_json(run->move->engine->journal, run->move->plan->name, fence_fact(run->number, "opened").name);
    const char *by = json_string_value(json_object_get(object, "by")),
               *when = json_string_value(json_object_get(object, "opened"));
    const json_t *pause = json_object_get(object, "pause_us");
    if (by && when && strncmp(by, "guardian", 8) == 0)
        check_say(run->move, NULL, RH_FINDING_WARNING, "fence-guardian", (struct rh_bytes){0},
                  "the run before was cut off; its %s opened fence %zu at %s, after %lld ms", by, run->number + 1, when,
                  (long long)(json_integer_value(pause) / 1000));
    json_decref(object);
}
