/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static enum log_level lowest = LOG_LEVEL_INFO;
static _Thread_local char thread_context[120];

void
log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    int used;
    size_t length;

    if (level > lowest && level != LOG_LEVEL_DEBUG)
        return;
    used = snprintf(line, sizeof(line), "<%d>%s%s%s ", (int)level, event,
                    thread_context[0] != '\0' ? " " : "", thread_context);
    if (used < 0 || (size_t)used >= sizeof(line) - 2)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, args);
    va_end(args);
    length = strlen(line);
    /* One event, one line, whatever an error text holds. */
    for (size_t i = 0; i < length; i++) {
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    }
    line[length++] = '\n';
    /* Nobody could be told that telling failed. */
    if (write(STDERR_FILENO, line, length) < 0)
        return;
}

bool
log_debug_is_on(const char *module)
{
    const char *wanted = getenv("VARVE_DEBUG");
    size_t length = strlen(module);

    if (wanted == NULL)
        return false;
    if (strcmp(wanted, "all") == 0)
        return true;
    while (*wanted != '\0') {
        size_t part = strcspn(wanted, ",");

        if (part == length && strncmp(wanted, module, part) == 0)
            return true;
        wanted += part;
        wanted += *wanted == ',';
    }
    return false;
}

const char *
log_context(void)
{
    return thread_context;
}

void
log_set_context(const char *context)
{
    (void)snprintf(thread_context, sizeof(thread_context), "%s", context);
}

void
log_set_level(enum log_level level)
{
    lowest = level;
}
