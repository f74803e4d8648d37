/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up the rights of root for good: as mysqld does for --user. Knowledge: setresuid(2), initgroups(3). */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum rh_status rh_account_find(const char *name, struct rh_account *ret_account, struct rh_error *err)
{
    struct passwd entry, *found = NULL;
    char room[16384];
    uint64_t number = 0;
    int failed = getpwnam_r(name, &entry, room, sizeof room, &found);
    if (!found && rh_parse_u64(rh_bytes_text(name), &number) == RH_OK && number < (uid_t)-1)
        failed = getpwuid_r((uid_t)number, &entry, room, sizeof room, &found);
    if (!found && failed != 0 && failed != ENOENT)
        return rh_fail_errno(err, failed, "looking up user '%s'", RH_SHOW(rh_bytes_text(name)));
    if (!found)
        return rh_fail(err, RH_E_USAGE, "this system has no user '%s'", RH_SHOW(rh_bytes_text(name)));
    *ret_account = (struct rh_account){.uid = entry.pw_uid, .gid = entry.pw_gid};
    snprintf(ret_account->name, sizeof ret_account->name, "%s", entry.pw_name);
    snprintf(ret_account->home, sizeof ret_account->home, "%s", entry.pw_dir ? entry.pw_dir : "/");
    return RH_OK;
}

/* The part of a path before its last name; "/" for what lies right below it. */
static char *parent_of(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    return size ? strndup(path, size) : strdup(".");
}

/* A folder that only the account can use. One that is there already stays as it is: the journal looks at it. */
static enum rh_status give_folder(const struct rh_account *account, const char *path, struct rh_error *err)
{
    const char *shown = RH_SHOW(rh_bytes_text(path));
    rh_auto_free char *parent = parent_of(path);
    if (!parent)
        return rh_fail_memory(err);
    const mode_t mask = umask(022); /* the account has to come through what is made above its folder */
    enum rh_status status = rh_make_dirs(parent, 0755, err);
    (void)umask(mask);
    if (status != RH_OK)
        return rh_error_prepend(err, "make state folder '%s'", shown);
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST ? RH_OK : rh_fail_errno(err, errno, "make state folder '%s'", shown);
    rh_auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, account->uid, account->gid) != 0)
        return rh_fail_errno(err, errno, "give state folder '%s' to user '%s'", shown, account->name);
    return RH_OK;
}

/* Whether every one of the process's ids is the account's, and none can be had back. */
static bool is_for_good(const struct rh_account *account)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    if (getresuid(&real, &effective, &saved) != 0 || getresgid(&real_group, &effective_group, &saved_group) != 0)
        return false;
    return real == account->uid && effective == account->uid && saved == account->uid && real_group == account->gid &&
           effective_group == account->gid && saved_group == account->gid && setresuid((uid_t)-1, 0, (uid_t)-1) != 0;
}

enum rh_status rh_account_become(const struct rh_account *account, const char *state_dir, struct rh_error *err)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    enum rh_status status = give_folder(account, state_dir, err);
    if (status != RH_OK)
        return status;
    (void)setrlimit(RLIMIT_MEMLOCK, &all); /* keys are locked in memory; what isn't granted is warned of elsewhere */
    if (initgroups(account->name, account->gid) != 0 || setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0)
        return rh_fail_errno(err, errno, "becoming user '%s'", account->name);
    if (!is_for_good(account))
        return rh_fail(err, RH_E_INTERNAL, "becoming user '%s': rights of root are left", account->name);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return rh_fail_errno(err, errno, "making the process undumpable");
    const char *const variables[][2] = {
        {"HOME",    account->home},
        {"USER",    account->name},
        {"LOGNAME", account->name}
    };
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        if (setenv(variables[i][0], variables[i][1], 1) != 0) /* NOLINT(concurrency-mt-unsafe): no other thread yet */
            return rh_fail_memory(err);
    return RH_OK;
}
