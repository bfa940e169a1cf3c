/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/reserve.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/settings.h"

#include <errno.h>
#include <sys/statvfs.h>

int
reserve_check_beside(struct engine *engine, const char *path, struct error *err)
{
    AUTO_FREE char *directory = path_parent(path);
    struct statvfs about;
    int64_t percent = 0;

    if (settings_get_int(engine->state, "primary.reserve.percent", NULL,
                         &percent, err) < 0)
        return -1;
    if (percent <= 0)
        return 0;
    if (statvfs(directory, &about) < 0 || fault_here("reserve.look"))
        return error_set_errno(err, errno, "free space of '%s'", directory);
    if ((double)about.f_bavail * 100.0 >=
        (double)about.f_blocks * (double)percent)
        return 0;
    return error_set(err, ERROR_NO_SPACE,
                     "'%s' has %.1f %% free, less than the reserve of %lld %% "
                     "(primary.reserve.percent); delete snapshots or make room",
                     directory,
                     (double)about.f_bavail * 100.0 / (double)about.f_blocks,
                     (long long)percent);
}

int
reserve_check(struct engine *engine, const struct retop *retop,
              struct error *err)
{
    for (size_t i = 0; i < retop->count; i++) {
        if (reserve_check_beside(engine, retop->disks[i].path, err) < 0)
            return -1;
    }
    return 0;
}
