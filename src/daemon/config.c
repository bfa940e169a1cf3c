/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/path.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)

enum kind { KIND_PATH, KIND_TEXT, KIND_NUMBER };

static const struct {
    const char *key;
    const char *value;
    size_t offset;
    enum kind kind;
} keys[] = {
    {"state-dir", "/var/lib/varve", offsetof(struct config, state_dir),
     KIND_PATH},
    {"run-dir", "/run/varve", offsetof(struct config, run_dir), KIND_PATH},
    {"socket", "/run/varve/varved.sock", offsetof(struct config, socket),
     KIND_TEXT},
    {"socket-group", "", offsetof(struct config, socket_group), KIND_TEXT},
    {"listen", "127.0.0.1:8080", offsetof(struct config, listen), KIND_TEXT},
    {"libvirt-uri", "qemu:///system", offsetof(struct config, libvirt_uri),
     KIND_TEXT},
    {"repository", "/var/lib/varve/repository",
     offsetof(struct config, repository), KIND_PATH},
    {"hook-dir", "/etc/libvirt/hooks", offsetof(struct config, hook_dir),
     KIND_PATH},
    {"database", "", offsetof(struct config, database), KIND_TEXT},
    {"workers", "4", offsetof(struct config, workers), KIND_NUMBER},
};

static char **
field(struct config *config, size_t i)
{
    return (char **)(void *)((char *)config + keys[i].offset);
}

void
config_init(struct config *config)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        *field(config, i) = xstrdup(keys[i].value);
}

void
config_release(struct config *config)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        free(*field(config, i));
        *field(config, i) = NULL;
    }
}

static int
check_value(size_t i, const char *value, struct error *err)
{
    uint64_t number;

    switch (keys[i].kind) {
    case KIND_PATH:
        if (path_is_clean_absolute(value))
            return 0;
        return error_set(err, ERROR_INVALID, "'%.200s' is no absolute path",
                         value);
    case KIND_NUMBER:
        if (parse_u64(value, &number, err) < 0)
            return -1;
        if (number >= 1 && number <= 64)
            return 0;
        return error_set(err, ERROR_INVALID, "'%s' is not between 1 and 64",
                         value);
    case KIND_TEXT:
        return 0;
    }
    return 0;
}

static int
set(struct config *config, const char *key, const char *value,
    struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        if (check_value(i, value, err) < 0)
            return error_prefix(err, "%s", key);
        free(*field(config, i));
        *field(config, i) = xstrdup(value);
        return 0;
    }
    return error_set(err, ERROR_INVALID, "there is no key '%.80s'", key);
}

/* The line without blanks around it; changes it in place. */
static char *
trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

static int
parse_line(struct config *config, char *line, struct error *err)
{
    char *equals;

    line = trim(line);
    if (line[0] == '\0' || line[0] == '#')
        return 0;
    equals = strchr(line, '=');
    if (equals == NULL)
        return error_set(err, ERROR_INVALID, "'%.80s' is no 'key = value'",
                         line);
    *equals = '\0';
    return set(config, trim(line), trim(equals + 1), err);
}

int
config_parse(const char *text, const char *name, struct config *config,
             struct error *err)
{
    AUTO_FREE char *copy = xstrdup(text);
    char *rest = copy;
    unsigned number = 0;

    for (char *line = strsep(&rest, "\n"); line != NULL;
         line = strsep(&rest, "\n")) {
        number++;
        if (parse_line(config, line, err) < 0)
            return error_prefix(err, "%s line %u", name, number);
    }
    if (config->database[0] == '\0') {
        free(config->database);
        config->database = path_join(config->state_dir, "varve.db");
    }
    return 0;
}

int
config_load(const char *path, bool must_exist, struct config *ret_config,
            struct error *err)
{
    AUTO_FREE char *text = NULL;

    config_init(ret_config);
    if (!must_exist && !fd_exists(path))
        return config_parse("", path, ret_config, err);
    if (fd_read_file(path, FILE_MAX, &text, NULL, err) < 0)
        return -1;
    return config_parse(text, path, ret_config, err);
}
