/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/credentials.h"

#include "base/fd.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 65536

static void
wipe(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void
credentials_release(struct credentials *credentials)
{
    free(credentials->endpoint);
    free(credentials->key);
    wipe(credentials->secret);
    *credentials = (struct credentials){.key = NULL};
}

/* Cut white space off both ends, in place. */
static char *
trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    return text;
}

static void
take_line(struct credentials *credentials, char *line)
{
    char *value = strchr(line, '=');
    char **field = NULL;

    if (value == NULL)
        return;
    *value++ = '\0';
    line = trim(line);
    if (strcmp(line, "endpoint") == 0)
        field = &credentials->endpoint;
    else if (strcmp(line, "key") == 0)
        field = &credentials->key;
    else if (strcmp(line, "secret") == 0)
        field = &credentials->secret;
    if (field == NULL)
        return;
    wipe(*field);
    *field = xstrdup(trim(value));
}

static void
take_text(struct credentials *credentials, char *text)
{
    bool is_ours = true;

    for (char *next = text; next != NULL;) {
        char *line = next;

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        line = trim(line);
        if (*line == '[')
            is_ours = strcmp(line, "[cloudstack]") == 0;
        else if (is_ours && *line != '#' && *line != ';')
            take_line(credentials, line);
    }
}

int
credentials_load(const char *path, struct credentials *credentials,
                 struct error *err)
{
    char *text = NULL;
    size_t length = 0;

    if (fd_read_file(path, FILE_MAX, &text, &length, err) < 0) {
        err->code = ERROR_AUTH;
        return error_prefix(err, "file of keys");
    }
    *credentials = (struct credentials){.key = NULL};
    take_text(credentials, text);
    explicit_bzero(text, length);
    free(text);
    if (credentials->key != NULL && credentials->secret != NULL)
        return 0;
    credentials_release(credentials);
    return error_set(err, ERROR_AUTH,
                     "file '%s' holds no 'key = ...' and 'secret = ...'", path);
}
