/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <string.h>
#include <time.h>

/* 9999-12-31T23:59:59Z, the last that the text form can say. */
#define SECONDS_LAST INT64_C(253402300799)

int64_t
clock_wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
clock_monotonic_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

static struct tm
utc_of(int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts = {.tm_mday = 1};

    (void)gmtime_r(&seconds, &parts); /* fails past year 2^31 only */
    return parts;
}

const char *
clock_format(int64_t wall_ms, char buffer[CLOCK_TEXT_SIZE])
{
    struct tm parts = utc_of(wall_ms);

    (void)strftime(buffer, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S+0000", &parts);
    return buffer;
}

const char *
clock_format_compact(int64_t wall_ms, char buffer[CLOCK_TEXT_SIZE])
{
    struct tm parts = utc_of(wall_ms);

    (void)strftime(buffer, CLOCK_TEXT_SIZE, "%Y%m%d%H%M%S", &parts);
    return buffer;
}

/* "Z", "+hhmm", "-hhmm" or nothing, in seconds east of Greenwich. */
static int
parse_zone(const char *text, long *ret_seconds)
{
    const char *digits = text + 1;
    long hours;
    long minutes;

    if (*text == '\0' || strcmp(text, "Z") == 0) {
        *ret_seconds = 0;
        return 0;
    }
    if ((*text != '+' && *text != '-') || strlen(digits) != 4 ||
        strspn(digits, "0123456789") != 4)
        return -1;
    hours = (digits[0] - '0') * 10 + digits[1] - '0';
    minutes = (digits[2] - '0') * 10 + digits[3] - '0';
    if (hours > 14 || minutes > 59)
        return -1;
    *ret_seconds = (hours * 60 + minutes) * 60 * (*text == '-' ? -1 : 1);
    return 0;
}

/* Seconds since 1970, or -1 for what is no date of the years 1970 to 9999;
 * timegm() turns February 30 into March 2 without complaint. */
static int64_t
seconds_of(const char *text)
{
    struct tm parts = {.tm_isdst = 0};
    const char *rest = strptime(text, "%Y-%m-%d", &parts);
    struct tm asked;
    long zone = 0;
    int64_t seconds;

    if (rest != NULL && *rest == 'T')
        rest = strptime(rest + 1, "%H:%M:%S", &parts);
    if (rest == NULL || parse_zone(rest, &zone) < 0)
        return -1;
    asked = parts;
    seconds = (int64_t)timegm(&parts) - zone;
    if (parts.tm_mday != asked.tm_mday || parts.tm_sec != asked.tm_sec ||
        seconds > SECONDS_LAST)
        return -1;
    return seconds;
}

int
clock_parse(const char *text, int64_t *ret_wall_ms, struct error *err)
{
    int64_t seconds = seconds_of(text);

    if (seconds < 0)
        return error_set(err, ERROR_MALFORMED,
                         "'%.40s' is not a date such as "
                         "2026-03-01T10:15:00+0000",
                         text);
    *ret_wall_ms = seconds * 1000;
    return 0;
}
