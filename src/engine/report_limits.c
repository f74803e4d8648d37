/* SPDX-License-Identifier: Apache-2.0 */
/* What the report says about itself: what was not moved, and what its facts prove and what they don't. */
#include "internal.h"

/* Appends {"what", "text"}. */
static void add(json_t *array, const char *what, const char *text)
{
    json_array_append_new(array, json_pack("{s:s, s:s}", "what", what, "text", text));
}

/* Appends {"what", "records", "text"} unless there are none. */
static void add_count(json_t *array, const char *what, uint64_t records, const char *text)
{
    if (records)
        json_array_append_new(array,
                              json_pack("{s:s, s:I, s:s}", "what", what, "records", (json_int_t)records, "text", text));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static uint64_t count_of(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

json_t *report_not_moved(const struct rh_move *plan, const json_t *counts, const char *start)
{
    const bool keyring = plan->source.driver->model == RH_MODEL_KEYRING;
    json_t *array = json_array();
    char text[400];
    add_count(array, "kept", count_of(counts, "kept"),
              "the destination held these already, equal to the source's: they were compared, not written again");
    add_count(array, "extra", count_of(counts, "extra"),
              "only the destination has these keys: they were there before and were left alone");
    if (start && start[0]) {
        snprintf(text, sizeof text, "keys that sort before '%s' were left out, as asked for",
                 RH_SHOW(rh_bytes_text(start)));
        add(array, "start", text);
    }
    if (!keyring)
        add(array, "private",
            "'" RH_KV_MARKER "' (the mark of a migration) and '" RH_KV_LOCK
            "' (the lock of a server at work) belong to their own side and never travel");
    add(array, "surroundings",
        keyring ? "only keys travel: no configuration of a server, no accounts, nothing that is encrypted with them"
                : "only records travel: no accounts, rights, settings or other data of the servers, and no software");
    return array;
}

/* What isn't known about one side. */
static void add_side(json_t *array, const char *side, const json_t *facts)
{
    char text[700];
    const char *blind = text_of(facts, "owner_blind"), *rest = text_of(facts, "encrypted_at_rest");
    if (blind[0]) {
        snprintf(text, sizeof text, "whether somebody was at work on the %s can't be seen from outside: %s", side,
                 blind);
        add(array, "owner", text);
    }
    if (strcmp(text_of(facts, "tls"), "none") == 0) {
        snprintf(text, sizeof text, "the connection to the %s was not encrypted", side);
        add(array, "tls", text);
    }
    if (strcmp(rest, "yes") != 0 && rest[0]) {
        snprintf(text, sizeof text,
                 strcmp(rest, "no") == 0 ? "the %s doesn't encrypt what lies on its disk"
                                         : "whether the %s encrypts what lies on its disk can't be seen from outside",
                 side);
        add(array, "at-rest", text);
    }
}

json_t *report_limits(const struct rh_move *plan, const json_t *move)
{
    json_t *array = json_array();
    const json_t *digests = json_object_get(move, "digests");
    const char *verified = text_of(move, "verified"), *pipe = text_of(move, "pipe");
    if (strcmp(verified, "yes") == 0 && json_is_true(json_object_get(digests, "equal")) &&
        json_is_true(json_object_get(digests, "source_stood_still"))) {
        add(array, "digest",
            plan->source.driver->record_class == RH_RECORDS_SECRET
                ? "each key got a 128-bit HMAC-SHA-256 of its name, type and bytes under a random key of this move "
                  "that is only "
                  "kept sealed, and a digest is the sum of these: a lost, doubled, swapped, shortened or changed key "
                  "changes "
                  "it. Sizes are those of the keys' names alone"
                : "each record got a 128-bit hash of key and value under a random key of this move, and a digest is "
                  "the sum "
                  "of these hashes: a lost, doubled, swapped, shortened or changed record changes it, and by accident "
                  "two "
                  "different stores agree about once in 2^128");
        add(array, "adversary",
            "a digest holds against accidents, not against somebody who has the move's sealed hash key and can "
            "write to a store while it is read");
        add(array, "moment",
            "equality is proven for the time at which both sides were read, and says nothing about what was written "
            "later: 'rehome verify' compares again");
    } else {
        add(array, "unverified",
            pipe[0]
                ? "one side is a pipe, which can be gone through once only: nothing could be compared, and that the "
                  "other side holds the same records is not proven"
            : strcmp(verified, "no") == 0
                ? "the comparison was turned off: that the destination holds the same records is not proven"
                : "the comparison was not made, or found a difference: that both sides are equal is not proven");
    }
    if (strncmp(text_of(move, "state"), "roll", 4) == 0)
        add(array, "taken-back",
            "digests and counts are of before the move was taken back: they say nothing about what "
            "the destination holds now");
    add_side(array, "source", json_object_get(move, "source"));
    add_side(array, "destination", json_object_get(move, "destination"));
    if (!plan->source_marker)
        add(array, "marker", "the plan let the source go unmarked: a server could have been started on it meanwhile");
    add(array, "told", "product, version, encryption and identity are what the servers say of themselves");
    add(array, "clock", "times are those of the clock of the machine that rehome ran on");
    add(array, "pass",
        "counts, digests and steps are of the last pass; what earlier passes did and took back is in the history");
    return array;
}
