/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the server's own account could use a keystore: tried by a child that becomes that account. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS_MOST = 64, STATUS_MOST = 16 * 1024 };

struct account {
    uid_t uid;
    gid_t gid, groups[GROUPS_MOST];
    size_t group_count;
};

/* The line "NAME:" of /proc/PID/status, its words as numbers; how many. */
static size_t numbers_of(const char *text, const char *name, unsigned long *out, size_t most)
{
    const char *at = strstr(text, name);
    size_t count = 0;
    if (!at)
        return 0;
    at += strlen(name);
    while (count < most) {
        char *end;
        at += strspn(at, "\t ");
        if (*at < '0' || *at > '9')
            break;
        out[count++] = strtoul(at, &end, 10);
        at = end;
    }
    return count;
}

/* The effective ids of a process. */
static bool account_of(pid_t pid, struct account *ret_account)
{
    char path[64];
    unsigned long ids[GROUPS_MOST];
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (rh_file_read(AT_FDCWD, path, STATUS_MOST, &text, NULL) != RH_OK)
        return false;
    const char *status = rh_buf_cstr(&text);
    if (numbers_of(status, "\nUid:", ids, 2) != 2)
        return false;
    ret_account->uid = (uid_t)ids[1];
    if (numbers_of(status, "\nGid:", ids, 2) != 2)
        return false;
    ret_account->gid = (gid_t)ids[1];
    ret_account->group_count = numbers_of(status, "\nGroups:", ids, GROUPS_MOST);
    for (size_t i = 0; i < ret_account->group_count; i++)
        ret_account->groups[i] = (gid_t)ids[i];
    return true;
}

/* The server's account, by its pid file; false when it can't be told. */
static bool server_account(struct kr_route *route, struct account *ret_account, struct rh_error *err)
{
    char path[4096] = "";
    uint64_t pid = 0;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    if (kr_text(route, err, "asking for its process", path, sizeof path, "SELECT @@pid_file") || path[0] != '/' ||
        rh_file_read(AT_FDCWD, path, 64, &text, NULL) != RH_OK)
        return false;
    const struct rh_bytes line = rh_bytes(text.data, strcspn(rh_buf_cstr(&text), "\n"));
    return rh_parse_u64(line, &pid) == RH_OK && pid > 1 && pid <= INT32_MAX && account_of((pid_t)pid, ret_account);
}

/* In the child: 0, or the errno of what failed. */
static int attempt(const struct account *account, bool become, const char *keystore, const char *folder, bool exists)
{
    if (become && (setgroups(account->group_count, account->groups) != 0 ||
                   setresgid(account->gid, account->gid, account->gid) != 0 ||
                   setresuid(account->uid, account->uid, account->uid) != 0))
        return errno;
    /* the server writes FILE.backup first, so it needs to make names there */
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0)
        return errno;
    const int fd = exists ? open(keystore, O_RDWR | O_CLOEXEC) : -1;
    return exists && fd < 0 ? errno : 0;
}

/* Runs it in a child; *ret_errno is what it met. */
static enum rh_status attempt_apart(
    const struct account *account, bool become, const char *keystore, bool exists, int *ret_errno, struct rh_error *err)
{
    rh_auto_free char *folder = strndup(keystore, (size_t)(strrchr(keystore, '/') - keystore) + 1);
    if (!folder)
        return rh_fail_memory(err);
    const pid_t pid = fork();
    if (pid == 0)
        _exit(attempt(account, become, keystore, folder, exists) & 0xff);
    int status = 0;
    pid_t waited;
    do
        waited = pid < 0 ? -1 : waitpid(pid, &status, 0);
    while (waited < 0 && pid > 0 && errno == EINTR);
    if (waited < 0)
        return rh_fail_errno(err, errno, "trying the keystore as the server's account");
    *ret_errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    return RH_OK;
}

enum rh_status kr_account_check(struct kr_route *route, const char *keystore, bool exists, struct rh_error *err)
{
    struct account account = {0};
    struct rh_error why = {0};
    int failed = 0;
    if (!server_account(route, &account, &why)) {
        rh_log(RH_LOG_WARN,
               "the server's account can't be told, so whether it may use the keystore shows at the reload",
               {"server", route->address}, {"keystore", RH_SHOW(rh_bytes_text(keystore))});
        return RH_OK;
    }
    const bool root = geteuid() == 0;
    if (!root && account.uid != geteuid())
        return RH_OK; /* shows at the reload, which refuses and leaves everything as it was */
    enum rh_status status = attempt_apart(&account, root && account.uid != 0, keystore, exists, &failed, err);
    if (status || failed == 0)
        return status;
    char what[32];
    rh_fail(err, RH_E_REFUSED, "the account of the server '%s' (uid %u) can't use the keystore '%s': %s",
            route->address, (unsigned)account.uid, RH_SHOW(rh_bytes_text(keystore)),
            strerror_r(failed, what, sizeof what));
    rh_error_hint(err, "give it the file, and the right to write to its folder, since it writes FILE.backup there");
    return RH_E_REFUSED;
}
