/* SPDX-License-Identifier: Apache-2.0 */
/* MySQL's option files: the lines of any text, and that what each line gives lies within the text. */
#include <rehome/mysql_file.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops where a promise of the header is broken. */
static void demand(bool kept)
{
    if (!kept)
        abort();
}

/* Looks at every byte that a line gives. */
static enum rh_status look(void *user, const struct rh_mysql_line *line, struct rh_error *err)
{
    size_t *total = user;
    volatile uint8_t sum = 0;
    const struct rh_bytes parts[] = {line->group, line->name, line->value};
    (void)err;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < parts[i].size; j++)
            sum = (uint8_t)(sum + parts[i].data[j]);
    demand(line->number > 0 && line->name.size > 0 && (line->has_value || line->value.size == 0));
    demand(line->kind != RH_MYSQL_OPTION || line->group.size > 0);
    demand(line->kind == RH_MYSQL_OPTION || line->value.size > 0);
    *total += line->name.size + line->value.size;
    return RH_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rh_error err = {0};
    size_t total = 0;
    enum rh_status status = rh_mysql_text_read("f", rh_bytes(data, size), look, &total, &err);
    demand(status == RH_OK || status == RH_E_PLAN || status == RH_E_MEMORY);
    demand(status == RH_OK ? err.text[0] == '\0' : err.text[0] != '\0');
    demand(total <= size);
    return 0;
}
