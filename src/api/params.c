/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request says, as text, and what it may say.
 *
 * We decode query and body ourselves, with one function for both: the
 * signature is made over exactly what is decoded here, so the two must never
 * differ, and one decoder is one thing to fuzz.  Values are kept as text.  The
 * command table says of which type each is; all of a command's parameters are
 * checked against it before the handler runs, so that the typed getters cannot
 * fail.
 *
 * Two names that differ in case only are both kept: a client has signed both.
 * The first one is the one that is found.
 */
#include "api/params.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/uuid.h"
#include "base/vec.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

void
params_release(struct params *params)
{
    vec_for (struct params_entry *, entry, params) {
        free(entry->name);
        free(entry->key);
        free(entry->value);
    }
    vec_release(params);
}

/* -- decoding ------------------------------------------------------------ */

static int
digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The bytes of the UTF-8 character at `text`; 0 when it is none. */
static size_t
utf8_length(const unsigned char *text)
{
    size_t length;
    unsigned value;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    value = text[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (text[i] & 0x3fU);
    }
    /* Too long a form, a surrogate, or past the last character. */
    if ((length == 3 && value < 0x800) || (length == 4 && value < 0x10000) ||
        (value >= 0xd800 && value < 0xe000) || value > 0x10ffff)
        return 0;
    return length;
}

/* Characters of `text`, or -1 when it is not UTF-8. */
static long
count_characters(const char *text)
{
    const unsigned char *next = (const unsigned char *)text;
    long count = 0;

    for (; *next != '\0'; count++) {
        size_t length = utf8_length(next);

        if (length == 0)
            return -1;
        next += length;
    }
    return count;
}

/* The byte that the escape at `text` stands for, of `length` bytes; or -1. */
static int
unescape(const char *text, size_t length)
{
    int high = length >= 3 ? digit_of(text[1]) : -1;
    int low = length >= 3 ? digit_of(text[2]) : -1;

    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Decode `length` bytes; the caller frees the result.  NULL: broken. */
static char *
decode(const char *text, size_t length)
{
    AUTO_FREE char *out = xmalloc(length + 1);
    size_t used = 0;

    for (size_t i = 0; i < length; i++) {
        int c = text[i] == '+' ? ' ' : (unsigned char)text[i];

        if (c == '%') {
            c = unescape(text + i, length - i);
            i += 2;
        }
        if (c <= 0)
            return NULL;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return count_characters(out) < 0 ? NULL : steal(&out);
}

static bool
has_name(const struct params *params, const char *name)
{
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->items[i].name, name) == 0)
            return true;
    }
    return false;
}

static void
add(struct params *params, char **name, char **value)
{
    struct params_entry entry = {.name = steal(name), .value = steal(value)};

    entry.key = xstrdup(entry.name);
    for (char *c = entry.key; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    vec_push(params, entry);
}

/* One "name=value" or "name". */
static int
parse_pair(struct params *params, const char *text, size_t length,
           struct error *err)
{
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - text) : length;
    AUTO_FREE char *name = decode(text, name_length);
    AUTO_FREE char *value = NULL;

    if (name == NULL || strlen(name) > PARAMS_NAME_MAX)
        return error_set(err, ERROR_MALFORMED,
                         "parameter name '%.*s' is too long or not urlencoded "
                         "UTF-8 text",
                         (int)MIN(name_length, (size_t)80), text);
    value = equals == NULL ? xstrdup("")
                           : decode(equals + 1, length - name_length - 1);
    if (value == NULL)
        return error_set(err, ERROR_MALFORMED,
                         "the value of parameter '%.80s' is not urlencoded "
                         "UTF-8 text",
                         name);
    if (*name == '\0' || has_name(params, name))
        return 0;
    if (params->count >= PARAMS_MAX)
        return error_set(err, ERROR_MALFORMED,
                         "there are more than %d parameters", PARAMS_MAX);
    add(params, &name, &value);
    return 0;
}

int
params_parse(struct params *params, const char *text, size_t length,
             struct error *err)
{
    struct error later = ERROR_INIT;
    int result = 0;

    while (length > 0) {
        const char *end = memchr(text, '&', length);
        size_t pair = end != NULL ? (size_t)(end - text) : length;

        if (pair > 0 &&
            parse_pair(params, text, pair, result == 0 ? err : &later) < 0)
            result = -1;
        pair += end != NULL;
        text += pair;
        length -= pair;
    }
    return result;
}

const char *
params_find(const struct params *params, const char *key)
{
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->items[i].key, key) == 0)
            return params->items[i].value[0] != '\0' ? params->items[i].value
                                                     : NULL;
    }
    return NULL;
}

/* -- types --------------------------------------------------------------- */

const char *
params_type_name(enum params_type type)
{
    static const char *const names[] = {
        [PARAMS_UUID] = "uuid",   [PARAMS_STRING] = "string",
        [PARAMS_TEXT] = "string", [PARAMS_BOOL] = "boolean",
        [PARAMS_INT] = "integer", [PARAMS_LONG] = "long",
        [PARAMS_DATE] = "date",   [PARAMS_UUIDS] = "list",
        [PARAMS_LIST] = "list",   [PARAMS_MAP] = "map",
    };

    assert((size_t)type < ARRAY_SIZE(names));
    return names[type];
}

static int
check_uuid(const char *value, struct error *err)
{
    if (!uuid_is_valid(value))
        return error_set(err, ERROR_INVALID, "'%.80s' is not a valid id",
                         value);
    return 0;
}

static int
check_length(const char *value, long max, struct error *err)
{
    if (count_characters(value) > max)
        return error_set(err, ERROR_INVALID,
                         "the value is longer than %ld characters", max);
    return 0;
}

static int
check_number(const char *value, enum params_type type, struct error *err)
{
    int64_t number;

    if (parse_i64(value, &number, err) < 0)
        return -1;
    if (type == PARAMS_INT && (number > INT32_MAX || number < INT32_MIN))
        return error_set(err, ERROR_MALFORMED, "'%s' is not a number that fits",
                         value);
    return 0;
}

static int
check_list(const struct params *params, const char *key, enum params_type type,
           struct error *err)
{
    AUTO_PARAMS_LIST struct params_list list = {0};

    params_list(params, key, &list);
    if (list.count > PARAMS_LIST_MAX)
        return error_set(err, ERROR_INVALID,
                         "the list has more than %d entries", PARAMS_LIST_MAX);
    for (size_t i = 0; i < list.count; i++) {
        if ((type == PARAMS_UUIDS
                 ? check_uuid(list.items[i], err)
                 : check_length(list.items[i], PARAMS_TEXT_MAX, err)) < 0)
            return -1;
    }
    return 0;
}

static int
check_value(const struct params *params, const char *key, const char *value,
            enum params_type type, struct error *err)
{
    bool flag;
    int64_t time;

    switch (type) {
    case PARAMS_UUID:
        return check_uuid(value, err);
    case PARAMS_STRING:
        return check_length(value, PARAMS_TEXT_MAX, err);
    case PARAMS_TEXT:
        return check_length(value, PARAMS_LONG_TEXT_MAX, err);
    case PARAMS_BOOL:
        return parse_bool(value, &flag, err);
    case PARAMS_INT:
    case PARAMS_LONG:
        return check_number(value, type, err);
    case PARAMS_DATE:
        return clock_parse(value, &time, err);
    case PARAMS_UUIDS:
    case PARAMS_LIST:
        return check_list(params, key, type, err);
    case PARAMS_MAP:
    default:
        return error_set(err, ERROR_MALFORMED,
                         "it is written %s[0].key=...&%s[0].value=...", key,
                         key);
    }
}

/* The parts of a map named `key`: `key[digits].name`. */
static int
check_map(const struct params *params, const char *key, struct error *err)
{
    size_t length = strlen(key);

    for (size_t i = 0; i < params->count; i++) {
        const char *rest = params->items[i].key + length;
        size_t digits;

        if (strncmp(params->items[i].key, key, length) != 0 || *rest != '[')
            continue;
        digits = strspn(rest + 1, "0123456789");
        if (digits == 0 || digits > 5 ||
            strncmp(rest + 1 + digits, "].", 2) != 0 ||
            rest[digits + 3] == '\0')
            return error_set(err, ERROR_MALFORMED,
                             "parameter '%.80s' is not an entry of a map such "
                             "as %s[0].key",
                             params->items[i].name, key);
    }
    return 0;
}

int
params_check(const struct params *params, const char *key,
             enum params_type type, struct error *err)
{
    const char *value = params_find(params, key);

    if (type == PARAMS_MAP && check_map(params, key, err) < 0)
        return -1;
    if (value == NULL)
        return 0;
    if (check_value(params, key, value, type, err) < 0)
        return error_prefix(err, "invalid value of parameter '%s'", key);
    return 0;
}

int
params_check_characters(const struct params *params, struct error *err)
{
    vec_for (const struct params_entry *, entry, params) {
        for (const char *c = entry->value; *c != '\0'; c++) {
            if (iscntrl((unsigned char)*c) && strchr("\t\r\n", *c) == NULL)
                return error_set(err, ERROR_INVALID,
                                 "the value of parameter '%.80s' holds "
                                 "control characters",
                                 entry->name);
        }
    }
    return 0;
}

/* -- values -------------------------------------------------------------- */

bool
params_bool(const struct params *params, const char *key, bool fallback)
{
    const char *value = params_find(params, key);

    return value == NULL ? fallback : strcasecmp(value, "true") == 0;
}

int64_t
params_number(const struct params *params, const char *key, int64_t fallback)
{
    const char *value = params_find(params, key);
    struct error err = ERROR_INIT;
    int64_t number = fallback;

    if (value != NULL && parse_i64(value, &number, &err) < 0)
        number = fallback;
    return number;
}

int64_t
params_date(const struct params *params, const char *key, int64_t fallback)
{
    const char *value = params_find(params, key);
    struct error err = ERROR_INIT;
    int64_t time = fallback;

    if (value != NULL && clock_parse(value, &time, &err) < 0)
        time = fallback;
    return time;
}

void
params_list(const struct params *params, const char *key,
            struct params_list *ret_list)
{
    const char *value = params_find(params, key);
    struct params_list list = {.text = xstrdup(value != NULL ? value : "")};
    size_t most = 1;
    char *rest = NULL;

    for (const char *c = list.text; *c != '\0'; c++)
        most += *c == ',';
    list.items = xcalloc(most, sizeof(*list.items));
    for (char *item = strtok_r(list.text, ",", &rest); item != NULL;
         item = strtok_r(NULL, ",", &rest))
        list.items[list.count++] = item;
    *ret_list = list;
}

void
params_list_release(struct params_list *list)
{
    free(list->items);
    free(list->text);
    *list = (struct params_list){0};
}
