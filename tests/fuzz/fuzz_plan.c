/* SPDX-License-Identifier: Apache-2.0 */
/* The plan reader: the syntax from memory, then the whole of rh_plan_load through a file that lives in memory. */
#include <rehome/plan.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const choices[] = {"one", "two", NULL};
static const struct rh_option tls[] = {
    {.name = "verify", .type = RH_OPT_BOOL},
    {0               }
};
static const struct rh_option options[] = {
    {.name = "path",           .type = RH_OPT_PATH},
    {.name = "text",                        .type = RH_OPT_TEXT},
    {.name = "count",.type = RH_OPT_INT, .min = 1, .max = 9},
    {.name = "wait",          .type = RH_OPT_DURATION},
    {.name = "size",                .type = RH_OPT_SIZE},
    {.name = "choice",                        .type = RH_OPT_CHOICE, .choices = choices},
    {.name = "password",.type = RH_OPT_SECRET},
    {.name = "tls",           .type = RH_OPT_BLOCK, .block = tls},
    {.name = "ignored",                        .type = RH_OPT_IGNORED},
    {0},
};
static const struct rh_driver file = {.name = "file", .model = RH_MODEL_KV, .options = options};
static const struct rh_driver keyring = {.name = "keyring", .model = RH_MODEL_KEYRING, .options = options};
static const struct rh_option fence_options[] = {
    {.name = "lease",   .type = RH_OPT_DURATION, .initial = "10s"},
    {0}
};
static const struct rh_fence_driver fence = {.name = "keyring_operations", .options = fence_options};
static const struct rh_fence_driver *const fences[] = {&fence, NULL};
static const struct rh_driver *const drivers[] = {&file, &keyring, NULL};
static const struct rh_route_driver route = {.name = "keyring_reload", .options = options};
static const struct rh_route_driver *const routes[] = {&route, NULL};
static const struct rh_plan_kinds kinds = {.stores = drivers, .fences = fences, .routes = routes};

/* Stops where a promise of the headers is broken. */
static void demand(bool kept)
{
    if (!kept)
        abort();
}

/* Only the statuses that the header names, and words with every one of them. */
static void check_status(enum rh_status status, const struct rh_error *err)
{
    demand(status == RH_OK || status == RH_E_PLAN || status == RH_E_MEMORY || status == RH_E_REFUSED);
    demand(status == RH_OK ? err->text[0] == '\0' : err->text[0] != '\0' && err->status == status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rh_document *document = NULL;
    struct rh_error err = {0}, plan_err = {0};
    enum rh_status status = rh_document_parse("f", rh_bytes(data, size), &document, &err);
    check_status(status, &err);
    demand((status == RH_OK) == (document != NULL));
    rh_document_free(document);

    rh_auto_fd int fd = memfd_create("plan", MFD_CLOEXEC);
    demand(fd >= 0 && rh_write_all(fd, rh_bytes(data, size), NULL) == RH_OK);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct rh_plan *plan = NULL;
    status = rh_plan_load(path, &kinds, &plan, &plan_err);
    check_status(status, &plan_err);
    demand((status == RH_OK) == (plan != NULL));
    demand(status != RH_OK || (plan->name && plan->state_dir && plan->move_count > 0));
    rh_plan_free(plan);
    return 0;
}
