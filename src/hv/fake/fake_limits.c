/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of what a guest writes: one number for each disk, of the running
 * machine alone.  Nothing is slowed by it; it decides whether a guest that
 * outruns an active commit (hv_fake_outrun) still does.
 */
#include "hv/fake/fake_internal.h"

#include "base/memory.h"
#include "base/parse.h"

#include <string.h>

int
fake_op_limits(struct hv *hv, const char *uuid, const char *target, char **ret,
               struct error *err)
{
    struct fake_call call;
    const struct fake_disk *disk;

    if (fake_begin(hv, "limits", uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    if (disk != NULL)
        *ret = xasprintf("%llu", (unsigned long long)disk->limit);
    return fake_end(&call, disk != NULL ? 0 : -1, err);
}

static int
lower(struct fake_call *call, const char *target, uint64_t old, uint64_t limit,
      struct error *err)
{
    struct fake_disk *disk = fake_find_disk(&call->machine, target, err);

    if (disk == NULL)
        return -1;
    if (call->machine.state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         call->machine.name);
    if (old > 0 && old <= limit)
        return error_set(err, ERROR_UNSUPPORTED,
                         "disk '%s' has a lower limit already", target);
    disk->limit = limit;
    return fake_store(call, err);
}

int
fake_op_limits_lower(struct hv *hv, const char *uuid, const char *target,
                     const char *limits, uint64_t bytes_per_second,
                     struct error *err)
{
    struct fake_call call;
    uint64_t old;
    int result;

    if (parse_u64(limits, &old, err) < 0 ||
        fake_begin(hv, "limits_lower", uuid, &call, err) < 0)
        return -1;
    result = lower(&call, target, old, bytes_per_second, err);
    return fake_end(&call, result, err);
}

static int
restore(struct fake_call *call, const char *target, uint64_t old,
        uint64_t limit, struct error *err)
{
    struct error ignored = ERROR_INIT;
    struct fake_disk *disk = fake_find_disk(&call->machine, target, &ignored);

    if (disk == NULL || call->machine.state == HV_STOPPED || disk->limit == 0 ||
        disk->limit > limit)
        return 0;
    disk->limit = old;
    return fake_store(call, err);
}

int
fake_op_limits_restore(struct hv *hv, const char *uuid, const char *target,
                       const char *limits, uint64_t bytes_per_second,
                       struct error *err)
{
    struct fake_call call;
    uint64_t old;
    int result;

    if (parse_u64(limits, &old, err) < 0 ||
        fake_begin(hv, "limits_restore", uuid, &call, err) < 0)
        return -1;
    result = restore(&call, target, old, bytes_per_second, err);
    return fake_end(&call, result, err);
}

int
hv_fake_limit(struct hv *hv, const char *uuid, const char *target,
              uint64_t *ret_limit, struct error *err)
{
    struct fake_call call;
    const struct fake_disk *disk;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    if (disk != NULL)
        *ret_limit = disk->limit;
    return fake_end(&call, disk != NULL ? 0 : -1, err);
}

int
hv_fake_set_limit(struct hv *hv, const char *uuid, const char *target,
                  uint64_t limit, struct error *err)
{
    struct fake_call call;
    struct fake_disk *disk;
    int result = -1;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    if (disk != NULL) {
        disk->limit = limit;
        result = fake_store(&call, err);
    }
    return fake_end(&call, result, err);
}

int
hv_fake_outrun(struct hv *hv, const char *uuid, const char *target,
               uint64_t bytes_per_second, struct error *err)
{
    struct fake_call call;
    struct fake_disk *disk;
    int result = -1;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    if (disk != NULL) {
        disk->outrun = bytes_per_second;
        result = fake_store(&call, err);
    }
    return fake_end(&call, result, err);
}
