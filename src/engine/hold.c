/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hold.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <errno.h>
#include <string.h>

int
hold_set(const char *directory, const char *vm_uuid, const char *why,
         struct error *err)
{
    AUTO_FREE char *path = path_join(directory, vm_uuid);
    AUTO_FREE char *text = xasprintf("%s\n", why);

    if (fault_here("hold.set"))
        return error_set_errno(err, errno, "hold machine '%s'", vm_uuid);
    /* The hook runs as libvirtd's user and only looks at the name. */
    return fd_replace_file(path, text, strlen(text), 0644, err);
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
