/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/when.h"

#include "base/memory.h"
#include "base/parse.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "12h": milliseconds; 0 when it is no such text. */
static int64_t
parse_ago(const char *text)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    size_t length = strlen(text);
    struct error ignored = ERROR_INIT;
    uint64_t count;

    for (size_t i = 0; length > 1 && i < ARRAY_SIZE(units); i++) {
        AUTO_FREE char *digits = xstrndup(text, length - 1);

        if (text[length - 1] == units[i].unit &&
            parse_u64(digits, &count, &ignored) == 0 && count < 1000000)
            return (int64_t)count * units[i].ms;
    }
    return 0;
}

/* In local time, without a zone. */
static bool
parse_local(const char *text, int64_t *ret_wall_ms)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M",
                                        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                        "%Y-%m-%dT%H:%M:%S"};

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct tm parts = {.tm_isdst = -1};
        const char *end = strptime(text, forms[i], &parts);
        int day = parts.tm_mday;
        time_t seconds;

        if (end == NULL || *end != '\0')
            continue;
        seconds = mktime(&parts);
        /* The 31st of February is no day. */
        if (seconds < 0 || parts.tm_mday != day)
            return false;
        *ret_wall_ms = (int64_t)seconds * 1000;
        return true;
    }
    return false;
}

int
when_parse(const char *text, char ret_date[CLOCK_TEXT_SIZE], struct error *err)
{
    struct error ignored = ERROR_INIT;
    int64_t ago_ms = parse_ago(text);
    int64_t wall_ms;

    if (ago_ms > 0)
        wall_ms = clock_wall_ms() - ago_ms;
    else if (!parse_local(text, &wall_ms) &&
             clock_parse(text, &wall_ms, &ignored) < 0)
        return error_set(err, ERROR_MALFORMED,
                         "'%s' is no time; write 2026-03-01, \"2026-03-01 "
                         "10:15\" or how long ago: 12h, 7d",
                         text);
    (void)clock_format(wall_ms, ret_date);
    return 0;
}
