/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define WIDTH_DEFAULT 80

bool
terminal_is(FILE *file)
{
    return isatty(fileno(file)) == 1;
}

bool
terminal_has_colour(FILE *file)
{
    const char *no = getenv("NO_COLOR");
    const char *kind = getenv("TERM");

    return (no == NULL || *no == '\0') && terminal_is(file) && kind != NULL &&
           strcmp(kind, "dumb") != 0;
}

bool
terminal_has_boxes(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

size_t
terminal_width(FILE *file)
{
    struct winsize size = {.ws_col = 0};

    if (ioctl(fileno(file), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return WIDTH_DEFAULT;
    return size.ws_col;
}

/* One character: its bytes (1 at least) and its columns, -1 when it is no
 * printable one. */
static size_t
next_character(const char *text, int *ret_columns)
{
    mbstate_t state = {0};
    wchar_t wide;
    size_t bytes = mbrtowc(&wide, text, MB_CUR_MAX, &state);

    if (bytes == 0 || bytes > MB_CUR_MAX) {
        *ret_columns = -1;
        return 1;
    }
    *ret_columns = wcwidth(wide);
    return bytes;
}

void
terminal_add(struct strbuf *text, const char *value)
{
    while (*value != '\0') {
        int columns;
        size_t bytes = next_character(value, &columns);

        if (columns < 0)
            strbuf_addc(text, '?');
        else
            strbuf_add(text, value, bytes);
        value += bytes;
    }
}

size_t
terminal_columns(const char *text)
{
    size_t sum = 0;

    while (*text != '\0') {
        int columns;

        text += next_character(text, &columns);
        sum += columns < 0 ? 1 : (size_t)columns;
    }
    return sum;
}

const char *
terminal_begin(enum terminal_style style, bool is_on)
{
    static const char *const codes[] = {
        [TERMINAL_PLAIN] = "",         [TERMINAL_BOLD] = "\033[1m",
        [TERMINAL_GREEN] = "\033[32m", [TERMINAL_YELLOW] = "\033[33m",
        [TERMINAL_RED] = "\033[31m",
    };

    return is_on ? codes[style] : "";
}

const char *
terminal_end(enum terminal_style style, bool is_on)
{
    return is_on && style != TERMINAL_PLAIN ? "\033[0m" : "";
}
