/* SPDX-License-Identifier: Apache-2.0 */
/* The values of an option table: setting with checks, defaults, environment, reading. Command lines: option_argv.c. */
#include "option_internal.h"

#include <rehome/base.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CHOICES_SHOWN_MAX 400

/* How an option is called in messages: 'path', '--config', or PLAN for one that is taken by place. */
struct option_label {
    char text[160];
};

/* Makes the label of an option. */
static struct option_label option_label(const struct rh_options *options, const struct rh_option *option)
{
    struct option_label label;
    if (options->command_line && option->flags & RH_OPT_POSITIONAL)
        (void)snprintf(label.text, sizeof label.text, "argument %s",
                       option->value_name ? option->value_name : option->name);
    else
        (void)snprintf(label.text, sizeof label.text, "option '%s%s'", options->command_line ? "--" : "", option->name);
    return label;
}

/* The status that a wrong value has here. */
static enum rh_status wrong(const struct rh_options *options)
{
    return options->command_line ? RH_E_USAGE : RH_E_PLAN;
}

/* What stands between a place and the words of an error. */
static const char *colon(const char *place)
{
    return place && place[0] ? ": " : "";
}

const struct rh_option *rh_option_find(const struct rh_option *table, const char *name)
{
    for (const struct rh_option *option = table; option->name; option++)
        if (strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

enum rh_status rh_option_unknown(const struct rh_option *table,
                                 const char *name,
                                 const char *place,
                                 const char *what,
                                 const char *dashes,
                                 struct rh_error *err)
{
    const char *words[128];
    size_t count = 0;
    for (const struct rh_option *option = table; option->name && count + 1 < sizeof words / sizeof *words; option++)
        if (!(option->flags & (RH_OPT_HIDDEN | RH_OPT_POSITIONAL)) && option->type != RH_OPT_IGNORED)
            words[count++] = option->name;
    words[count] = NULL;
    const char *near = rh_nearest(name, words), *two = dashes[0] ? "--" : "";
    return rh_fail(err, dashes[0] ? RH_E_USAGE : RH_E_PLAN, "%s%sunknown option '%s%s'%s%s%s%s%s%s", place ? place : "",
                   colon(place), dashes, RH_SHOW(rh_bytes_text(name)), what ? " in " : "", what ? what : "",
                   near ? "; did you mean '" : "", near ? two : "", near ? near : "", near ? "'?" : "");
}

/* The value that belongs to a name of the table; NULL when the name isn't in it. */
static struct rh_option_value *find_value(const struct rh_options *options, const char *name)
{
    const struct rh_option *option = rh_option_find(options->table, name);
    return option ? &options->values[option - options->table] : NULL;
}

/* As find_value, for callers that ask for a word of their own table. */
static const struct rh_option_value *known_value(const struct rh_options *options, const char *name)
{
    const struct rh_option_value *value = find_value(options, name);
    assert(value && "the name isn't in the option table");
    return value;
}

/* --- reading --- */

bool rh_options_given(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->given;
}

const char *rh_options_text(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->text;
}

size_t rh_options_count(const struct rh_options *options, const char *name)
{
    const struct rh_option_value *value = known_value(options, name);
    return value->set ? 1 + value->more_count : 0;
}

const char *rh_options_text_at(const struct rh_options *options, const char *name, size_t index)
{
    const struct rh_option_value *value = known_value(options, name);
    assert(index <= value->more_count);
    return index == 0 ? value->text : value->more[index - 1];
}

bool rh_options_bool(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->number != 0;
}

int64_t rh_options_int(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->number;
}

const struct rh_secret *rh_options_secret(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->secret;
}

const struct rh_options *rh_options_block(const struct rh_options *options, const char *name)
{
    return known_value(options, name)->block;
}

const char *rh_options_place(const struct rh_options *options, const char *name)
{
    const char *place = name ? known_value(options, name)->place : options->place;
    return place ? place : "";
}

const struct rh_option *rh_options_table(const struct rh_options *options)
{
    return options->table;
}

/* --- checking one value --- */

/* "PLACE: option 'x' takes WANT, not 'y'". */
static enum rh_status refuse(const struct rh_options *options,
                             const struct rh_option *option,
                             const char *place,
                             const char *want,
                             struct rh_bytes value,
                             struct rh_error *err)
{
    return rh_fail(err, wrong(options), "%s%s%s takes %s, not '%s'", place, colon(place),
                   option_label(options, option).text, want, RH_SHOW(value));
}

/* Whether a value is one of the words of a list, in any case of letters. */
static bool is_word(struct rh_bytes value, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == value.size && strncasecmp(*words, (const char *)value.data, value.size) == 0)
            return true;
    return false;
}

/* true and false, and the strings that Vault takes for them. */
static enum rh_status read_bool(struct rh_bytes value, int64_t *ret_number)
{
    static const char *const yes[] = {"true", "1", "yes", "on", "t", NULL};
    static const char *const no[] = {"false", "0", "no", "off", "f", NULL};
    bool is_yes = is_word(value, yes);
    if (!is_yes && !is_word(value, no))
        return RH_E_USAGE;
    *ret_number = is_yes;
    return RH_OK;
}

/* A whole number within the option's bounds; fills `want` for the error. */
static enum rh_status
read_int(const struct rh_option *option, struct rh_bytes value, int64_t *ret_number, char want[static 96])
{
    bool bounded = option->min != 0 || option->max != 0;
    if (bounded && option->max == INT64_MAX)
        (void)snprintf(want, 96, "a whole number of at least %lld", (long long)option->min);
    else if (bounded)
        (void)snprintf(want, 96, "a whole number from %lld to %lld", (long long)option->min, (long long)option->max);
    else
        (void)snprintf(want, 96, "a whole number");
    int64_t number;
    if (rh_parse_i64(value, &number) != RH_OK || (bounded && (number < option->min || number > option->max)))
        return RH_E_USAGE;
    *ret_number = number;
    return RH_OK;
}

/* Sizes are counted in int64_t. */
static enum rh_status read_size(struct rh_bytes value, int64_t *ret_number)
{
    uint64_t bytes;
    if (rh_parse_size(value, &bytes) != RH_OK || bytes > INT64_MAX)
        return RH_E_USAGE;
    *ret_number = (int64_t)bytes;
    return RH_OK;
}

/* The error for a word that isn't among the choices. */
static enum rh_status refuse_choice(const struct rh_options *options,
                                    const struct rh_option *option,
                                    const char *place,
                                    struct rh_bytes value,
                                    struct rh_error *err)
{
    rh_auto_buf struct rh_buf want = rh_buf_limited(CHOICES_SHOWN_MAX);
    for (const char *const *choice = option->choices; *choice; choice++)
        rh_ignore(rh_buf_format(&want, NULL, "%s'%s'",
                                choice == option->choices ? ""
                                : choice[1]               ? ", "
                                                          : " or ",
                                *choice)); /* a list that is too long is cut */
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", (int)(value.size < 63 ? value.size : 63), (const char *)value.data);
    const char *near = rh_nearest(word, option->choices);
    enum rh_status status = refuse(options, option, place, rh_buf_cstr(&want), value, err);
    if (near)
        rh_error_hint(err, "did you mean '%s'?", near);
    return status;
}

/* Copies bytes to a text of its own. */
static char *copy_text(struct rh_bytes value)
{
    char *text = malloc(value.size + 1);
    if (!text)
        return NULL;
    if (value.size)
        memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    return text;
}

/* Fills a value with text: TEXT, PATH, CHOICE. */
static enum rh_status take_text(const struct rh_options *options,
                                const struct rh_option *option,
                                struct rh_bytes value,
                                const char *place,
                                struct rh_option_value *out,
                                struct rh_error *err)
{
    if (value.size && memchr(value.data, 0, value.size))
        return refuse(options, option, place, "text without NUL bytes", value, err);
    if (option->type == RH_OPT_PATH && value.size == 0)
        return rh_fail(err, wrong(options), "%s%s%s is empty", place, colon(place), option_label(options, option).text);
    char *text = copy_text(value);
    if (!text)
        return rh_fail_memory(err);
    if (option->type == RH_OPT_CHOICE) {
        const char *const *choice = option->choices;
        while (*choice && strcmp(*choice, text) != 0)
            choice++;
        if (!*choice) {
            free(text);
            return refuse_choice(options, option, place, value, err);
        }
    }
    out->text = text;
    return RH_OK;
}

/* Fills a value with a secret, and says nothing of it when that fails. */
static enum rh_status take_secret(const struct rh_options *options,
                                  const struct rh_option *option,
                                  struct rh_bytes value,
                                  const char *place,
                                  struct rh_option_value *out,
                                  struct rh_error *err)
{
    if (value.size && memchr(value.data, 0, value.size))
        return rh_fail(err, wrong(options), "%s%s%s holds a NUL byte", place, colon(place),
                       option_label(options, option).text);
    return rh_secret_new(value, &out->secret, err);
}

/* A duration within the option's bounds. */
static enum rh_status
read_duration(const struct rh_option *option, struct rh_bytes value, int64_t *ret_us, char want[static 96])
{
    (void)snprintf(want, 96, "a duration such as \"5s\" or \"500ms\"");
    enum rh_status status = rh_parse_duration(value, ret_us);
    if (status != RH_OK || !option->max || (*ret_us >= option->min && *ret_us <= option->max))
        return status;
    (void)snprintf(want, 96, "a duration from %gs to %gs", (double)option->min / 1e6, (double)option->max / 1e6);
    return RH_E_LIMIT;
}

/* Checks and converts; `out` is untouched when that fails. */
static enum rh_status take_value(const struct rh_options *options,
                                 const struct rh_option *option,
                                 struct rh_bytes value,
                                 const char *place,
                                 struct rh_option_value *out,
                                 struct rh_error *err)
{
    char want[96] = "";
    enum rh_status status = RH_OK;
    assert(option);
    switch (option->type) {
    case RH_OPT_TEXT:
    case RH_OPT_PATH:
    case RH_OPT_CHOICE:
        return take_text(options, option, value, place, out, err);
    case RH_OPT_SECRET:
        return take_secret(options, option, value, place, out, err);
    case RH_OPT_BLOCK:
        return rh_fail(err, wrong(options), "%s%s%s is a block: write %s { ... }", place, colon(place),
                       option_label(options, option).text, option->name);
    case RH_OPT_IGNORED:
        return RH_OK;
    case RH_OPT_BOOL:
        (void)snprintf(want, sizeof want, "true or false");
        status = read_bool(value, &out->number);
        break;
    case RH_OPT_INT:
        status = read_int(option, value, &out->number, want);
        break;
    case RH_OPT_DURATION:
        status = read_duration(option, value, &out->number, want);
        break;
    case RH_OPT_SIZE:
        (void)snprintf(want, sizeof want, "a size such as \"64MiB\"");
        status = read_size(value, &out->number);
        break;
    }
    return status == RH_OK ? RH_OK : refuse(options, option, place, want, value, err);
}

/* --- making --- */

/* Takes the table's default for one option; a default that doesn't fit its own table is our mistake. */
static enum rh_status take_default(struct rh_options *options, size_t index, struct rh_error *err)
{
    const struct rh_option *option = &options->table[index];
    if (!option->initial || option->type == RH_OPT_BLOCK || option->type == RH_OPT_IGNORED)
        return RH_OK;
    struct rh_error why = {0};
    enum rh_status status =
        take_value(options, option, rh_bytes_text(option->initial), "", &options->values[index], &why);
    if (status == RH_E_MEMORY)
        return rh_fail_memory(err);
    if (status != RH_OK)
        return rh_fail(err, RH_E_INTERNAL, "default of option '%s' is wrong: %s", option->name, why.text);
    options->values[index].set = true;
    return RH_OK;
}

enum rh_status
rh_options_new(const struct rh_option *table, const char *place, struct rh_options **ret_options, struct rh_error *err)
{
    size_t count = 0;
    while (table[count].name)
        count++;
    struct rh_options *options = calloc(1, sizeof *options);
    if (!options)
        return rh_fail_memory(err);
    options->table = table;
    options->values = calloc(count + 1, sizeof *options->values);
    options->place = strdup(place ? place : "");
    enum rh_status status = options->values && options->place ? RH_OK : rh_fail_memory(err);
    if (options->values)
        options->count = count;
    for (size_t i = 0; status == RH_OK && i < count; i++)
        status = take_default(options, i, err);
    if (status != RH_OK) {
        rh_options_free(options);
        return status;
    }
    *ret_options = options;
    return RH_OK;
}

/* Drops what a value holds. */
static void value_clear(struct rh_option_value *value)
{
    for (size_t i = 0; i < value->more_count; i++)
        free(value->more[i]);
    free(value->more);
    free(value->text);
    free(value->place);
    rh_secret_free(value->secret);
    rh_options_free(value->block);
    *value = (struct rh_option_value){0};
}

void rh_options_free(struct rh_options *options)
{
    if (!options)
        return;
    for (size_t i = 0; options->values && i < options->count; i++)
        value_clear(&options->values[i]);
    free(options->values);
    free(options->place);
    free(options);
}

/* Finds the value that is to be filled; refuses unknown names and second values. */
static enum rh_status slot(struct rh_options *options,
                           const char *name,
                           const char *place,
                           const struct rh_option **ret_option,
                           struct rh_option_value **ret_value,
                           struct rh_error *err)
{
    struct rh_option_value *value = find_value(options, name);
    if (!value)
        return rh_surely_failed(
            rh_option_unknown(options->table, name, place, NULL, options->command_line ? "--" : "", err));
    const struct rh_option *option = &options->table[value - options->values];
    if (value->given && option->type != RH_OPT_IGNORED && !(option->flags & RH_OPT_MANY)) {
        bool known = value->place && value->place[0];
        return rh_fail(err, wrong(options), "%s%s%s is given twice%s%s", place, colon(place),
                       option_label(options, option).text, known ? ", first at " : "", known ? value->place : "");
    }
    *ret_option = option;
    *ret_value = value;
    return RH_OK;
}

/* One more text of an option that may have many; takes it. */
static enum rh_status add_text(struct rh_option_value *value, char *text, struct rh_error *err)
{
    char **more = reallocarray(value->more, value->more_count + 1, sizeof *more);
    if (!more) {
        free(text);
        return rh_fail_memory(err);
    }
    value->more = more;
    value->more[value->more_count++] = text;
    return RH_OK;
}

enum rh_status rh_options_set(
    struct rh_options *options, const char *name, struct rh_bytes value, const char *place, struct rh_error *err)
{
    const struct rh_option *option = NULL;
    struct rh_option_value *old = NULL, fresh = {.set = true, .given = true};
    place = place ? place : "";
    enum rh_status status = slot(options, name, place, &option, &old, err);
    if (status == RH_OK)
        status = take_value(options, option, value, place, &fresh, err);
    if (status != RH_OK)
        return status;
    if (option->flags & RH_OPT_MANY && old->given)
        return add_text(old, fresh.text, err);
    fresh.place = strdup(place);
    if (!fresh.place) {
        value_clear(&fresh);
        return rh_fail_memory(err);
    }
    value_clear(old);
    *old = fresh;
    return RH_OK;
}

enum rh_status rh_options_open_block(struct rh_options *options,
                                     const char *name,
                                     const char *place,
                                     struct rh_options **ret_block,
                                     struct rh_error *err)
{
    const struct rh_option *option = NULL;
    struct rh_option_value *value = NULL;
    place = place ? place : "";
    enum rh_status status = slot(options, name, place, &option, &value, err);
    if (status != RH_OK)
        return status;
    if (option->type != RH_OPT_BLOCK)
        return rh_fail(err, wrong(options), "%s%s%s takes a value, not a block: write %s = ...", place, colon(place),
                       option_label(options, option).text, option->name);
    struct rh_options *block = NULL;
    status = rh_options_new(option->block, place, &block, err);
    if (status != RH_OK)
        return status;
    value->place = strdup(place);
    if (!value->place) {
        rh_options_free(block);
        return rh_fail_memory(err);
    }
    block->command_line = options->command_line;
    value->set = value->given = true;
    value->block = block;
    *ret_block = block;
    return RH_OK;
}

/* Takes the first variable of the option's list that is set and not empty. */
static enum rh_status take_environment(struct rh_options *options, const struct rh_option *option, struct rh_error *err)
{
    for (const char *const *name = option->env; *name; name++) {
        const char *text = getenv(*name);
        if (!text || !text[0])
            continue;
        char place[160];
        (void)snprintf(place, sizeof place, "environment variable %s", *name);
        return rh_options_set(options, option->name, rh_bytes_text(text), place, err);
    }
    return RH_OK;
}

/* "PLACE: option 'path' is missing", with the variables that could give it as the remedy. */
static enum rh_status missing(const struct rh_options *options, const struct rh_option *option, struct rh_error *err)
{
    enum rh_status status = rh_fail(err, wrong(options), "%s%s%s is missing", options->place, colon(options->place),
                                    option_label(options, option).text);
    if (option->env && option->env[0])
        rh_error_hint(err, "give it, or set %s in the environment", option->env[0]);
    return status;
}

enum rh_status rh_options_end(struct rh_options *options, struct rh_error *err)
{
    for (size_t i = 0; i < options->count; i++) {
        const struct rh_option *option = &options->table[i];
        struct rh_option_value *value = &options->values[i];
        enum rh_status status = RH_OK;
        assert(option && option->name && value);
        if (!value->given && option->env)
            status = take_environment(options, option, err);
        if (status == RH_OK && value->block)
            status = rh_options_end(value->block, err);
        if (status == RH_OK && option->flags & RH_OPT_REQUIRED && !value->set)
            status = missing(options, option, err);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}
