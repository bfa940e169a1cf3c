/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int
malformed(const char *text, const char *what, struct error *err)
{
    return error_set(err, ERROR_MALFORMED, "'%.80s' is not %s", text, what);
}

int
parse_u64(const char *text, uint64_t *ret_value, struct error *err)
{
    uint64_t value = 0;

    if (*text == '\0')
        return malformed(text, "a number", err);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' ||
            __builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return malformed(text, "a number that fits", err);
    }
    *ret_value = value;
    return 0;
}

int
parse_i64(const char *text, int64_t *ret_value, struct error *err)
{
    uint64_t value;
    bool negative = *text == '-';

    if (parse_u64(negative ? text + 1 : text, &value, err) < 0 ||
        value > (uint64_t)INT64_MAX)
        return malformed(text, "a number that fits", err);
    *ret_value = negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

int
parse_bool(const char *text, bool *ret_value, struct error *err)
{
    if (strcasecmp(text, "true") == 0)
        *ret_value = true;
    else if (strcasecmp(text, "false") == 0)
        *ret_value = false;
    else
        return malformed(text, "'true' or 'false'", err);
    return 0;
}

int
parse_size(const char *text, uint64_t *ret_bytes, struct error *err)
{
    static const char units[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    char number[24];
    uint64_t value;
    const char *unit = text + digits;

    if (digits == 0 || digits >= sizeof(number))
        return malformed(text, "a size", err);
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (parse_u64(number, &value, err) < 0)
        return -1;
    if (*unit != '\0') {
        const char *found = strchr(units, *unit >= 'a' ? *unit - 32 : *unit);
        unsigned shift;

        if (found == NULL || (unit[1] != '\0' && strcmp(unit + 1, "iB") != 0 &&
                              strcmp(unit + 1, "B") != 0))
            return malformed(text, "a size such as 512M", err);
        shift = 10U * (unsigned)(found - units + 1);
        if (value > (UINT64_MAX >> shift))
            return malformed(text, "a size that fits", err);
        value <<= shift;
    }
    *ret_bytes = value;
    return 0;
}

int
parse_real(const char *text, double *ret_value, struct error *err)
{
    char *end = NULL;
    double value;

    if (strspn(text, "-.0123456789") != strlen(text) || *text == '\0')
        return malformed(text, "a number", err);
    errno = 0;
    value = strtod(text, &end);
    if (errno != 0 || end == NULL || *end != '\0' || !isfinite(value))
        return malformed(text, "a number", err);
    *ret_value = value;
    return 0;
}
