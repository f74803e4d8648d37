/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secret memory: each secret has pages of its own, locked as far as RLIMIT_MEMLOCK goes, kept out of core dumps,
 * wiped before they are given back. Secrets are few and small, so a page each is no waste to mind.
 */
#include "secret_internal.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { SECRET_MOST = 64 * 1024 };

struct rh_secret {
    size_t mapped; /* bytes of the mapping */
    size_t size;
    uint8_t data[];
};

void rh_wipe(void *data, size_t size)
{
    if (size)
        OPENSSL_cleanse(data, size);
}

/* One warning a process, not one a secret. */
static void warn_unlocked(void)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&warned))
        rh_log(RH_LOG_WARN, "can't lock secrets in memory, they may be swapped to disk; raise RLIMIT_MEMLOCK");
}

enum rh_status rh_secret_start(struct rh_error *err)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none))
        return rh_fail_errno(err, errno, "switching core dumps off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return rh_fail_errno(err, errno, "making the process undumpable");
    struct rlimit locked;
    if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur < locked.rlim_max) {
        locked.rlim_cur = locked.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &locked); /* what isn't granted shows below */
    }
    /* a secret for a try: the warning comes now and not in the middle of a move */
    rh_auto_secret struct rh_secret *probe = NULL;
    uint8_t *data;
    return rh_secret_make(32, &probe, &data, err);
}

enum rh_status rh_secret_make(size_t size, struct rh_secret **ret_secret, uint8_t **ret_data, struct rh_error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size > SIZE_MAX / 2)
        return rh_fail_memory(err);
    size_t total = (sizeof(struct rh_secret) + size + 1 + page - 1) / page * page; /* + 1: the NUL */
    void *memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return rh_fail_memory(err);
    if (mlock(memory, total))
        warn_unlocked();
    (void)madvise(memory, total, MADV_DONTDUMP); /* core dumps are off anyway */
    struct rh_secret *secret = memory;
    secret->mapped = total;
    secret->size = size;
    *ret_secret = secret;
    *ret_data = secret->data;
    return RH_OK;
}

void rh_secret_cut(struct rh_secret *secret, size_t size)
{
    if (size < secret->size) {
        rh_wipe(secret->data + size, secret->size - size);
        secret->size = size;
    }
}

enum rh_status rh_secret_new(struct rh_bytes bytes, struct rh_secret **ret_secret, struct rh_error *err)
{
    uint8_t *data;
    enum rh_status status = rh_secret_make(bytes.size, ret_secret, &data, err);
    if (!status && bytes.size)
        memcpy(data, bytes.data, bytes.size);
    return status;
}

enum rh_status rh_secret_random(size_t size, struct rh_secret **ret_secret, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *secret = NULL;
    uint8_t *data;
    enum rh_status status = rh_secret_make(size, &secret, &data, err);
    if (!status)
        status = rh_random(data, size, err);
    if (!status)
        *ret_secret = rh_take(secret);
    return status;
}

struct rh_bytes rh_secret_bytes(const struct rh_secret *secret)
{
    return rh_bytes(secret->data, secret->size);
}

struct rh_secret *rh_secret_dup(const struct rh_secret *secret)
{
    struct rh_secret *copy = NULL;
    if (!secret || rh_secret_new(rh_secret_bytes(secret), &copy, NULL))
        return NULL;
    return copy;
}

void rh_secret_free(struct rh_secret *secret)
{
    if (!secret)
        return;
    size_t mapped = secret->mapped;
    rh_wipe(secret, mapped);
    (void)munmap(secret, mapped); /* can't fail for a whole mapping */
}

enum rh_status rh_secret_read(int fd, struct rh_secret **ret_secret, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *secret = NULL;
    uint8_t *data;
    size_t size = 0;
    enum rh_status status = rh_secret_make(SECRET_MOST + 2, &secret, &data, err); /* newline, and one too many */
    if (status)
        return status;
    while (size < SECRET_MOST + 2) {
        ssize_t got = read(fd, data + size, SECRET_MOST + 2 - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "reading a secret");
        if (got == 0)
            break;
        size += (size_t)got;
    }
    rh_secret_cut(secret, size);
    *ret_secret = rh_take(secret);
    return RH_OK;
}

/* Takes one newline off the end and refuses what is left empty or too long. */
static enum rh_status trim(struct rh_secret *secret, struct rh_error *err)
{
    size_t size = secret->size;
    if (size && secret->data[size - 1] == '\n')
        rh_secret_cut(secret, --size);
    if (size == 0)
        return rh_fail(err, RH_E_REFUSED, "reading a secret: it is empty");
    if (size > SECRET_MOST)
        return rh_fail(err, RH_E_LIMIT, "reading a secret: larger than %d bytes", (int)SECRET_MOST);
    return RH_OK;
}

enum rh_status rh_secret_from_fd(int fd, struct rh_secret **ret_secret, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *secret = NULL;
    enum rh_status status = rh_secret_read(fd, &secret, err);
    if (!status)
        status = trim(secret, err);
    if (!status)
        *ret_secret = rh_take(secret);
    return status;
}

enum rh_status rh_secret_open(const char *path, int *ret_fd, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening secret file '%s'", RH_SHOW(rh_bytes_text(path)));
    struct stat st;
    if (fstat(fd, &st))
        return rh_fail_errno(err, errno, "looking at secret file '%s'", RH_SHOW(rh_bytes_text(path)));
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        rh_ignore(rh_fail(err, RH_E_REFUSED, "opening secret file '%s': group or others may use it (mode %04o)",
                          RH_SHOW(rh_bytes_text(path)), st.st_mode & 07777u));
        rh_error_hint(err, "chmod 600 '%s'", RH_SHOW(rh_bytes_text(path)));
        return RH_E_REFUSED;
    }
    *ret_fd = fd;
    fd = -1;
    return RH_OK;
}

enum rh_status rh_secret_from_file(const char *path, struct rh_secret **ret_secret, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    enum rh_status status = rh_secret_open(path, &fd, err);
    if (status)
        return status;
    status = rh_secret_from_fd(fd, ret_secret, err);
    if (rh_failed(status) && err)
        rh_error_prepend(err, "secret file '%s'", RH_SHOW(rh_bytes_text(path)));
    return status;
}

enum rh_status rh_secret_from_env(const char *name, struct rh_secret **ret_secret, struct rh_error *err)
{
    const char *value = getenv(name);
    if (!value)
        return RH_NOT_FOUND;
    return rh_secret_new(rh_bytes_text(value), ret_secret, err);
}

/* Asks on an open terminal, echo off meanwhile. */
static enum rh_status ask(int fd, const char *prompt, struct rh_secret **ret_secret, struct rh_error *err)
{
    struct termios before, silent;
    if (tcgetattr(fd, &before))
        return rh_fail_errno(err, errno, "asking on the terminal");
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_lflag |= ECHONL;
    /* before the prompt: what is typed when that stands there is neither shown nor thrown away */
    if (tcsetattr(fd, TCSAFLUSH, &silent))
        return rh_fail_errno(err, errno, "switching the terminal's echo off");
    rh_auto_secret struct rh_secret *secret = NULL;
    uint8_t *data = NULL;
    enum rh_status status = rh_write_all(fd, rh_bytes_text(prompt), err);
    if (!status)
        status = rh_secret_make(4096, &secret, &data, err); /* a terminal's line is no longer */
    ssize_t got = status ? 0 : read(fd, data, 4096);
    int failed = errno;
    (void)tcsetattr(fd, TCSAFLUSH, &before); /* nothing better can be done for the terminal */
    if (status)
        return status;
    if (got < 0)
        return failed == EINTR ? rh_fail(err, RH_E_CANCELLED, "asking on the terminal: interrupted")
                               : rh_fail_errno(err, failed, "reading from the terminal");
    rh_secret_cut(secret, (size_t)got);
    status = trim(secret, err);
    if (!status)
        *ret_secret = rh_take(secret);
    return status;
}

enum rh_status rh_secret_from_prompt(const char *prompt, struct rh_secret **ret_secret, struct rh_error *err)
{
    rh_auto_fd int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        rh_ignore(rh_fail(err, RH_E_USAGE, "asking for a secret: there is no terminal"));
        rh_error_hint(err, "give it by a file, a descriptor or an environment variable");
        return RH_E_USAGE;
    }
    return ask(fd, prompt, ret_secret, err);
}
