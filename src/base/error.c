/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The functions themselves, not the macros that say what they return. */
#undef error_set
#undef error_set_errno
#undef error_prefix

static const struct {
    const char *name;
    const char *meaning;
    int http;
    int exit;
} codes[ERROR_CODE_COUNT] = {
    [ERROR_NONE] = {"none", "no error", 200, 0},
#define ERROR_CODE(name, http, exit, meaning)                                  \
    [ERROR_##name] = {#name, meaning, http, exit},
#include "base/error-codes.def"
#undef ERROR_CODE
};

int
error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    va_list args;

    err->code = code;
    err->sys = 0;
    va_start(args, fmt);
    (void)vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    return -1;
}

static enum error_code
code_of_errno(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
        return ERROR_NO_SPACE;
    case ENOENT:
        return ERROR_NOT_FOUND;
    case EEXIST:
        return ERROR_CONFLICT;
    case ETIMEDOUT:
        return ERROR_TIMEOUT;
    default:
        return ERROR_IO;
    }
}

int
error_set_errno(struct error *err, int sys, const char *fmt, ...)
{
    char text[128];
    va_list args;
    size_t used;

    err->code = code_of_errno(sys);
    err->sys = sys;
    va_start(args, fmt);
    (void)vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
                   strerror_r(sys, text, sizeof(text)));
    return -1;
}

int
error_prefix(struct error *err, const char *fmt, ...)
{
    char old[ERROR_MESSAGE_MAX];
    va_list args;
    size_t used;

    memcpy(old, err->message, sizeof(old));
    va_start(args, fmt);
    (void)vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
                   old);
    return -1;
}

void
error_clear(struct error *err)
{
    err->code = ERROR_NONE;
    err->sys = 0;
    err->message[0] = '\0';
}

const char *
error_code_name(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].name : "unknown";
}

int
error_code_http(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].http : 530;
}

int
error_code_exit(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].exit : 1;
}

const char *
error_code_meaning(enum error_code code)
{
    return code < ERROR_CODE_COUNT ? codes[code].meaning : "unknown";
}
