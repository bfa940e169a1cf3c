/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hold.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static int
write_hold(const char *directory, const char *vm_uuid, const char *text,
           struct error *err)
{
    AUTO_FREE char *path = path_join(directory, vm_uuid);

    if (fault_here("hold.set"))
        return error_set_errno(err, errno, "hold machine '%s'", vm_uuid);
    /* The hook runs as libvirtd's user, which has to read it. */
    return fd_replace_file(path, text, strlen(text), 0644, err);
}

int
hold_set(const char *directory, const char *vm_uuid, const char *why,
         struct error *err)
{
    AUTO_FREE char *text = xasprintf("%s\n", why);

    return write_hold(directory, vm_uuid, text, err);
}

int
hold_set_but(const char *directory, const char *vm_uuid, const char *why,
             const char *file, struct error *err)
{
    AUTO_FREE char *text = xasprintf("%s\nallow %s\n", why, file);

    return write_hold(directory, vm_uuid, text, err);
}

int
hold_clear(const char *directory, const char *vm_uuid, struct error *err)
{
    AUTO_FREE char *path = path_join(directory, vm_uuid);

    if (fault_here("hold.clear"))
        return error_set_errno(err, errno, "release machine '%s'", vm_uuid);
    return fd_unlink(path, err);
}

bool
hold_is_set(const char *directory, const char *vm_uuid)
{
    AUTO_FREE char *path = path_join(directory, vm_uuid);

    return fd_exists(path);
}

int
hold_discard_unfinished(const char *directory, struct error *err)
{
    DIR *entries = opendir(directory);
    int result = 0;

    if (entries == NULL)
        return error_set_errno(err, errno, "directory '%s'", directory);
    for (struct dirent *entry = readdir(entries); entry != NULL && result == 0;
         entry = readdir(entries)) {
        AUTO_FREE char *path = NULL;
        size_t length = strlen(entry->d_name);

        if (length < 4 || strcmp(entry->d_name + length - 4, ".tmp") != 0)
            continue;
        path = path_join(directory, entry->d_name);
        result = fd_unlink(path, err);
    }
    (void)closedir(entries);
    return result;
}
