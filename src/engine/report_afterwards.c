/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to do by hand after keys were moved between keyrings: which server has to be told what, and restarted.
 * The three cases are those of MySQL's manual ("Migrating Keys Between Keyring Keystores"). What a server is told comes
 * from the drivers and is journaled when the move begins, since a report opens no store.
 */
#include "internal.h"

#include <stdlib.h>

/* --- journaling --- */

static enum rh_status add_setting(void *user, const struct rh_setting *setting, struct rh_error *err)
{
    /* exactly as it has to stand there, unless JSON can't hold it */
    const struct rh_bytes text = rh_bytes_text(setting->text);
    json_t *object =
        json_pack("{s:s, s:s}", "where", setting->where, "text", rh_utf8_valid(text) ? setting->text : RH_SHOW(text));
    return json_array_append_new(user, object) == 0
               ? RH_OK
               : rh_fail(err, RH_E_INTERNAL, "writing a server's settings as JSON failed");
}

enum rh_status afterwards_put(struct move_run *move, const struct side *side, struct rh_error *err)
{
    const struct rh_driver *driver = side->store->driver;
    char name[32];
    if (driver->model != RH_MODEL_KEYRING)
        return RH_OK;
    json_t *array = json_array();
    enum rh_status status = driver->settings ? driver->settings(side->store, add_setting, array, err) : RH_OK;
    if (status != RH_OK) {
        json_decref(array);
        return status;
    }
    snprintf(name, sizeof name, "settings.%s", side_name(side->which));
    return fact_put_json(move->engine->journal, move->plan->name, name, array, "a server's settings", err);
}

/* --- the report's part --- */

/* The settings of one side; an empty array where there are none. */
static json_t *settings_of(struct rh_journal *journal, const char *move, const char *name)
{
    json_t *array = fact_get_json(journal, move, name);
    return array ? array : json_array();
}

/* Those of `all` that `other` doesn't have. */
static json_t *without(const json_t *all, const json_t *other)
{
    json_t *rest = json_array(), *item, *same;
    size_t i, j;
    json_array_foreach(all, i, item)
    {
        bool there = false;
        json_array_foreach(other, j, same) there = there || json_equal(item, same);
        if (!there)
            json_array_append(rest, item);
    }
    return rest;
}

/* Addresses of the fences' servers that say they have this keystore loaded. */
static json_t *servers_on(const json_t *fences, const json_t *side)
{
    json_t *array = json_array(), *fence;
    const char *address = json_string_value(json_object_get(side, "address"));
    size_t i;
    json_array_foreach(fences, i, fence)
    {
        const char *loaded = json_string_value(json_object_get(fence, "loaded"));
        if (loaded && address && strcmp(loaded, address) == 0)
            json_array_append(array, json_object_get(fence, "address"));
    }
    return array;
}

/* MariaDB's servers make no keys and write no keystore. */
static bool is_mariadb(const json_t *side)
{
    const char *store = json_string_value(json_object_get(side, "store"));
    return store && strncmp(store, "mariadb_", 8) == 0;
}

/* Whether both sides are read by the component, which a running server can be told to read anew. */
static const char *reload_words(const json_t *source, const json_t *destination)
{
    const char *const component = "component_keyring_file", *from = json_string_value(json_object_get(source, "store")),
                      *to = json_string_value(json_object_get(destination, "store"));
    return from && to && strcmp(from, component) == 0 && strcmp(to, component) == 0
               ? ", or call ALTER INSTANCE RELOAD KEYRING on it in place of the restart"
               : "";
}

/* The case of a server that goes from one side to the other. */
static json_t *moving_case(const json_t *move, json_t *take_out, json_t *put_in)
{
    const json_t *source = json_object_get(move, "source"), *destination = json_object_get(move, "destination");
    char text[300];
    if (json_array_size(put_in))
        snprintf(text, sizeof text, "change its configuration as below, then restart it%s",
                 reload_words(source, destination));
    else
        snprintf(text, sizeof text, "no server reads such a keystore: move the keys on to one that it reads");
    return json_pack("{s:s, s:s, s:b, s:s, s:o, s:o, s:o}", "case", "moves", "who",
                     "a server that uses the source and is to use the destination", "restart",
                     json_array_size(put_in) > 0, "text", text, "servers",
                     servers_on(json_object_get(move, "fences"), source), "take_out", take_out, "put_in", put_in);
}

static const char gap[] =
    "Until a server that moves is restarted nobody holds it back: keys that it makes meanwhile, a rotated master key "
    "among them, go to the source alone, and it doesn't start without them. Right before the restart 'rehome verify' "
    "with this plan names such keys, and 'rehome run' carries them over.";
static const char gap_mariadb[] =
    "A key that somebody adds to the source until then is missing at the destination. Right before the restart 'rehome "
    "verify' with this plan names such keys, and 'rehome run' carries them over.";

json_t *report_afterwards(struct rh_journal *journal, const struct rh_move *plan, const json_t *move)
{
    const json_t *source = json_object_get(move, "source"), *destination = json_object_get(move, "destination"),
                 *fences = json_object_get(move, "fences");
    json_t *from = settings_of(journal, plan->name, "settings.source");
    json_t *to = settings_of(journal, plan->name, "settings.destination");
    json_t *moving = moving_case(move, without(from, to), without(to, from));
    json_decref(from);
    json_decref(to);
    const char *const reload = reload_words(destination, destination);
    char reading[400];
    snprintf(reading, sizeof reading,
             "restart it%s, so that it loads the keys that came; until then it doesn't know them%s", reload,
             is_mariadb(destination) || !plan->destination.driver->whole
                 ? ""
                 : ", and what it writes to its keystore takes them away again");
    return json_pack("{s:[{s:s, s:s, s:b, s:s, s:o}, {s:s, s:s, s:b, s:s, s:o}, o], s:s}", "cases", "case", "stays",
                     "who", "a server that uses the source and stays with it", "restart", 0, "text",
                     "nothing has to be done", "servers", servers_on(fences, source), "case", "reads-anew", "who",
                     "a server that used the destination before and stays with it", "restart", 1, "text", reading,
                     "servers", servers_on(fences, destination), moving, "gap", is_mariadb(source) ? gap_mariadb : gap);
}

json_t *report_afterwards_switched(bool there)
{
    return json_pack("{s:[{s:s, s:s, s:b, s:s, s:[], s:[], s:[]}], s:s}", "cases", "case", "cutover", "who",
                     "the servers of the plan's cutover block", "restart", 0, "text",
                     there ? "nothing has to be done, they go to the destination"
                           : "'rehome cutover' sends them to the destination, without a restart",
                     "servers", "take_out", "put_in", "gap",
                     "Any other server that reads one of the two keystores is configured and told by hand, and doesn't "
                     "know the other's keys until then.");
}
