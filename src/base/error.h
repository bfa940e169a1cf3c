/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h -- what went wrong, as a value.
 *
 * A fallible function takes `struct error *err` as its last argument, never
 * NULL, and returns 0 or -1 (constructors: a pointer or NULL).  *err is set
 * if and only if it failed.  The value holds no allocation: it is copied by
 * assignment, never freed, and may cross threads inside a job.
 *
 * Message style: lower case, no final stop, objects in single quotes,
 * numbers with units; it names the object and, where there is one, the
 * remedy.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/compiler.h"

#include <stdarg.h>

#define ERROR_MESSAGE_MAX 480

enum error_code {
    ERROR_NONE = 0,
#define ERROR_CODE(name, http, exit, meaning) ERROR_##name,
#include "base/error-codes.def"
#undef ERROR_CODE
    ERROR_CODE_COUNT
};

struct error {
    enum error_code code;
    int sys; /* errno where it applies, else 0 */
    char message[ERROR_MESSAGE_MAX];
};

/* An empty error; every local `struct error` starts with it. */
#define ERROR_INIT                                                             \
    {                                                                          \
        .code = ERROR_NONE                                                     \
    }

/**
 * error_set(err, code, fmt, ...):
 * Set *err.  A message that is too long is cut.
 *
 * Returns:    -1 always, so that `return error_set(...)` reads well.
 */
int error_set(struct error *err, enum error_code code, const char *fmt, ...)
    NONNULL(1, 3) PRINTF(3, 4);

/**
 * error_set_errno(err, sys, fmt, ...):
 * Set *err from the errno value `sys`: ENOSPC and EDQUOT give
 * ERROR_NO_SPACE, ENOENT gives ERROR_NOT_FOUND, EEXIST gives ERROR_CONFLICT,
 * ETIMEDOUT gives ERROR_TIMEOUT, everything else ERROR_IO.  The system's text
 * is appended to the message.
 *
 * Returns:    -1 always.
 */
int error_set_errno(struct error *err, int sys, const char *fmt, ...)
    NONNULL(1, 3) PRINTF(3, 4);

/**
 * error_prefix(err, fmt, ...):
 * Put "<text>: " before the message that *err already holds.
 *
 * Returns:    -1 always.
 */
int error_prefix(struct error *err, const char *fmt, ...) NONNULL(1, 2)
    PRINTF(2, 3);

/*
 * That the result is -1 must be seen by compilers and analyzers where it is
 * used: else every "ret_ is written on success only" looks to them like a read
 * of what was never written.
 */
#define error_set(...)                                                         \
    ({                                                                         \
        error_set(__VA_ARGS__);                                                \
        -1;                                                                    \
    })
#define error_set_errno(...)                                                   \
    ({                                                                         \
        error_set_errno(__VA_ARGS__);                                          \
        -1;                                                                    \
    })
#define error_prefix(...)                                                      \
    ({                                                                         \
        error_prefix(__VA_ARGS__);                                             \
        -1;                                                                    \
    })

/**
 * error_clear(err):
 * Forget what *err holds.  For callers that go on after a failure.
 */
void error_clear(struct error *err) NONNULL(1);

/* The name of a code as it stands in error-codes.def: "NO_SPACE". */
const char *error_code_name(enum error_code code);

/* HTTP status, exit status of the command line, and meaning of a code. */
int error_code_http(enum error_code code);
int error_code_exit(enum error_code code);
const char *error_code_meaning(enum error_code code);

#endif
