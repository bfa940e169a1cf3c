/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/format.h"

#include "base/clock.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *
format_size(uint64_t bytes, char buffer[FORMAT_SIZE])
{
    static const char units[] = "KMGTPE";
    double value = (double)bytes / 1024;
    int unit = 0;

    if (bytes < 1024) {
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRIu64 " B", bytes);
        return buffer;
    }
    /* What would be rounded up to 1024 is 1.0 of the next unit. */
    while (value >= 1023.5 && unit < 5) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(buffer, FORMAT_SIZE,
                   value < 99.95 ? "%.1f %ciB" : "%.0f %ciB", value,
                   units[unit]);
    return buffer;
}

const char *
format_duration(int64_t ms, char buffer[FORMAT_SIZE])
{
    int64_t s = (ms + 500) / 1000;

    if (ms < 1000)
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRId64 " ms", ms);
    else if (s < 60)
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRId64 " s", s);
    else if (s < 3600)
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRId64 " min %02" PRId64 " s",
                       s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRId64 " h %02" PRId64 " min",
                       s / 3600, s / 60 % 60);
    else
        (void)snprintf(buffer, FORMAT_SIZE, "%" PRId64 " d %02" PRId64 " h",
                       s / 86400, s / 3600 % 24);
    return buffer;
}

const char *
format_time(int64_t wall_ms, char buffer[FORMAT_SIZE])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts = {.tm_mday = 1};

    buffer[0] = '\0';
    if (wall_ms != 0 && localtime_r(&seconds, &parts) != NULL)
        (void)strftime(buffer, FORMAT_SIZE, "%Y-%m-%d %H:%M:%S", &parts);
    return buffer;
}

const char *
format_api_time(const char *text, char buffer[FORMAT_SIZE])
{
    struct error ignored = ERROR_INIT;
    int64_t wall_ms;

    if (clock_parse(text, &wall_ms, &ignored) == 0)
        return format_time(wall_ms, buffer);
    (void)snprintf(buffer, FORMAT_SIZE, "%s", text);
    return buffer;
}
