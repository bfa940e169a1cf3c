/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.h -- the parameters of a request, from urlencoded text to values.
 *
 * Names are looked up without regard to case; the first value of a repeated
 * name counts; an empty value is the same as none.  The names as they were
 * sent are kept, because they are what was signed.
 *
 * Threads:    one at a time for each set.
 */
#ifndef API_PARAMS_H
#define API_PARAMS_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMS_MAX 200            /* parameters of one request */
#define PARAMS_NAME_MAX 255       /* bytes of a name */
#define PARAMS_TEXT_MAX 255       /* characters of a text, such as a name */
#define PARAMS_LONG_TEXT_MAX 4096 /* of a description or a value */
#define PARAMS_LIST_MAX 500       /* entries of a list */

struct params_entry {
    char *name;  /* owned; as sent */
    char *key;   /* owned; in lower case */
    char *value; /* owned */
};

struct params {
    struct params_entry *items; /* owned */
    size_t count;
    size_t capacity;
};

#define PARAMS_INIT                                                            \
    {                                                                          \
        NULL, 0, 0                                                             \
    }

void params_release(struct params *params) NONNULL(1);
#define AUTO_PARAMS CLEANUP(params_release)

/**
 * params_parse(params, text, length, err):
 * Add what the urlencoded `text` of `length` bytes holds.  A name that is
 * there already, in exactly this spelling, is not replaced: what is parsed
 * first wins.
 *
 * Returns:    0, or -1 with *err set to ERROR_MALFORMED when an escape is
 *             broken, a value holds a zero byte or is not UTF-8, or there are
 *             more than PARAMS_MAX; what is good is added all the same, since
 *             the answer's form is among it.
 */
int params_parse(struct params *params, const char *text, size_t length,
                 struct error *err) MUST_CHECK NONNULL(1, 4);

/* The value, borrowed; NULL when it is missing or empty.  `key` is in lower
 * case. */
const char *params_find(const struct params *params, const char *key)
    NONNULL(1, 2);

/* How a value is written. */
enum params_type {
    PARAMS_UUID,
    PARAMS_STRING, /* at most PARAMS_TEXT_MAX characters */
    PARAMS_TEXT,   /* at most PARAMS_LONG_TEXT_MAX characters */
    PARAMS_BOOL,
    PARAMS_INT,  /* 32 bits */
    PARAMS_LONG, /* 64 bits */
    PARAMS_DATE,
    PARAMS_UUIDS, /* a list of uuids, with commas between */
    PARAMS_LIST,  /* a list of texts */
    PARAMS_MAP    /* tags[0].key=a&tags[0].value=b, details[0].a=b */
};

/* As listApis names it: "uuid", "string", "boolean", ... */
const char *params_type_name(enum params_type type);

/**
 * params_check(params, key, type, err):
 * See that parameter `key`, if it is there, is written as its type wants it.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID (a uuid that is none, a
 *             value that is too long) or ERROR_MALFORMED (everything else);
 *             the message names the parameter.
 */
int params_check(const struct params *params, const char *key,
                 enum params_type type, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/**
 * params_check_characters(params, err):
 * See that no value holds control characters, apart from tab and line ends.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID.
 */
int params_check_characters(const struct params *params, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Values that passed params_check(); `fallback` when there is none. */
bool params_bool(const struct params *params, const char *key, bool fallback)
    NONNULL(1, 2);
int64_t params_number(const struct params *params, const char *key,
                      int64_t fallback) NONNULL(1, 2);
/* Milliseconds since 1970; a date alone is its midnight. */
int64_t params_date(const struct params *params, const char *key,
                    int64_t fallback) NONNULL(1, 2);

/* The entries of a list; empty ones are left out. */
struct params_list {
    char *text;         /* owned; what the items lie in */
    const char **items; /* owned array */
    size_t count;
};
void params_list(const struct params *params, const char *key,
                 struct params_list *ret_list) NONNULL(1, 2, 3);
void params_list_release(struct params_list *list) NONNULL(1);
#define AUTO_PARAMS_LIST CLEANUP(params_list_release)

#endif
