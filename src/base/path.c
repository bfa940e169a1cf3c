/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#include "base/memory.h"

#include <string.h>

char *
path_join(const char *directory, const char *name)
{
    size_t length = strlen(directory);
    bool slash = length > 0 && directory[length - 1] == '/';

    return xasprintf("%s%s%s", directory, slash ? "" : "/", name);
}

char *
path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return xstrdup(".");
    if (slash == path)
        return xstrdup("/");
    return xstrndup(path, (size_t)(slash - path));
}

const char *
path_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

bool
path_is_plain_name(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length > 255 || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    }
    return true;
}

bool
path_is_clean_absolute(const char *path)
{
    size_t length = strlen(path);

    if (length == 0 || length >= 4096 || path[0] != '/')
        return false;
    for (const char *part = path; *part != '\0';) {
        size_t size;

        part += strspn(part, "/");
        size = strcspn(part, "/");
        if ((size == 1 && part[0] == '.') ||
            (size == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += size;
    }
    return true;
}

char *
path_resolve_backing(const char *image_path, const char *name)
{
    AUTO_FREE char *parent = NULL;

    if (name[0] == '/')
        return xstrdup(name);
    parent = path_parent(image_path);
    return path_join(parent, name);
}
