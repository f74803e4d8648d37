/* SPDX-License-Identifier: Apache-2.0 */
/* The error record: made, prepended to, hinted at. Nothing here allocates. */
#include <rehome/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Copies text, control characters as \xNN, cut with "..." on a character's border where it doesn't fit. */
static void put_text(char *out, size_t size, const char *text)
{
    size_t used = 0;
    size_t fits = 0; /* how much may stay when "..." has to follow */
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool escape = c < 0x20 || c == 0x7f;
        if ((c & 0xc0) != 0x80 && used + 4 <= size)
            fits = used;
        if (used + (escape ? 4 : 1) + 1 > size) {
            memcpy(out + fits, "...", 4);
            return;
        }
        if (escape) {
            static const char digits[] = "0123456789abcdef";
            memcpy(out + used, "\\x", 2);
            out[used + 2] = digits[c >> 4];
            out[used + 3] = digits[c & 15];
            used += 4;
        } else {
            out[used++] = (char)c;
        }
    }
    out[used] = '\0';
}

/* Formats into a buffer of its own first, since an argument may be the old text. */
static void put_format(char *out, size_t size, const char *fmt, va_list args) RH_PRINTF(3, 0);
static void put_format(char *out, size_t size, const char *fmt, va_list args)
{
    char text[2 * sizeof(((struct rh_error *)0)->text)];
    if (vsnprintf(text, sizeof text, fmt, args) < 0)
        memcpy(text, "unprintable error", sizeof "unprintable error");
    put_text(out, size, text);
}

/* Empties err for a new failure; the text is set by the caller, which may still need the old one. */
static void begin(struct rh_error *err, enum rh_status status, long native)
{
    err->status = status;
    err->side = RH_SIDE_NONE;
    err->retry = RH_RETRY_NEVER;
    err->native = native;
    err->hint[0] = '\0';
}

enum rh_status(rh_fail)(struct rh_error *err, enum rh_status status, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        put_format(err->text, sizeof err->text, fmt, args);
        va_end(args);
        begin(err, status, 0);
    }
    return status;
}

/* What kind of failure an errno value is. */
static enum rh_status errno_status(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return RH_E_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
        return RH_E_DENIED;
    case ENOMEM:
        return RH_E_MEMORY;
    default:
        return RH_E_IO;
    }
}

enum rh_status(rh_fail_errno)(struct rh_error *err, int errnum, const char *fmt, ...)
{
    enum rh_status status = errno_status(errnum);
    if (err) {
        char words[sizeof err->text], reason[128], whole[sizeof words + sizeof reason + 2];
        va_list args;
        va_start(args, fmt);
        put_format(words, sizeof words, fmt, args);
        va_end(args);
        const char *said = strerror_r(errnum, reason, sizeof reason); /* GNU form: may not use the buffer */
        (void)snprintf(whole, sizeof whole, "%s: %.127s", words, said);
        begin(err, status, errnum);
        put_text(err->text, sizeof err->text, whole);
    }
    return status;
}

enum rh_status(rh_fail_memory)(struct rh_error *err)
{
    return rh_fail(err, RH_E_MEMORY, "out of memory");
}

enum rh_status(rh_error_prepend)(struct rh_error *err, const char *fmt, ...)
{
    if (!err)
        return RH_E_INTERNAL;
    char words[sizeof err->text], whole[2 * sizeof err->text + 2];
    va_list args;
    va_start(args, fmt);
    put_format(words, sizeof words, fmt, args);
    va_end(args);
    (void)snprintf(whole, sizeof whole, "%s: %s", words, err->text);
    put_text(err->text, sizeof err->text, whole);
    return err->status;
}

void rh_error_hint(struct rh_error *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    put_format(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
}

const char *rh_status_name(enum rh_status status)
{
    switch (status) {
    case RH_OK:
        return "ok";
    case RH_END:
        return "end";
    case RH_NOT_FOUND:
        return "not found";
    case RH_EXISTS:
        return "exists";
    case RH_CHANGED:
        return "changed";
    case RH_UNSUPPORTED:
        return "unsupported";
    case RH_E_USAGE:
        return "usage";
    case RH_E_PLAN:
        return "plan";
    case RH_E_IO:
        return "input or output";
    case RH_E_FULL:
        return "full";
    case RH_E_DENIED:
        return "denied";
    case RH_E_NET:
        return "network";
    case RH_E_TLS:
        return "tls";
    case RH_E_AUTH:
        return "authentication";
    case RH_E_LIMIT:
        return "limit";
    case RH_E_CORRUPT:
        return "corrupt";
    case RH_E_CONFLICT:
        return "conflict";
    case RH_E_MISMATCH:
        return "mismatch";
    case RH_E_LOCKED:
        return "locked";
    case RH_E_REFUSED:
        return "refused";
    case RH_E_CANCELLED:
        return "cancelled";
    case RH_E_TIMEOUT:
        return "timeout";
    case RH_E_MEMORY:
        return "memory";
    case RH_E_STORE:
        return "store";
    case RH_E_INTERNAL:
        return "internal";
    }
    return "unknown";
}
