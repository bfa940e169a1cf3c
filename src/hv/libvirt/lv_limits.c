/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a disk: libvirt's block I/O tune, of the running machine alone.
 *
 * Libvirt changes a family of values at once: setting one of bytes_sec sets
 * the three of them, those not given to 0; families that are not named stay.
 * So bytes_sec is set as a whole, and with it bytes_sec_max (bursts) when the
 * disk has any: a burst above a lowered limit would make the limit worthless,
 * and one without its limit is refused.
 *
 * A total and a limit for one direction exclude each other: where there is a
 * total, the reads get what the writes leave of it.
 *
 * A throttle group is one bucket for several disks, and its limits are those of
 * all of them: a disk that shares one is left alone.
 *
 *     {"total_bytes_sec": 0, "read_bytes_sec": 0, ...}
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The two families; a value's place in its family is also that of its text. */
static const char *const rates[] = {VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC,
                                    VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC,
                                    VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC};
static const char *const bursts[] = {
    VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX,
    VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX,
    VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX};
static const char *const lengths[] = {
    VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH,
    VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH,
    VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH};
enum { TOTAL, READ, WRITE, KINDS };

struct limits {
    unsigned long long rate[KINDS];
    unsigned long long burst[KINDS];
    unsigned long long length[KINDS];
};

static void
take(const virTypedParameter *params, int count, const char *const names[KINDS],
     unsigned long long ret[KINDS])
{
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < KINDS; k++)
            if (params[i].type == VIR_TYPED_PARAM_ULLONG &&
                strcmp(params[i].field, names[k]) == 0)
                ret[k] = params[i].value.ul;
}

static int
get(const struct lv_call *call, const char *target, struct limits *ret,
    struct error *err)
{
    virTypedParameterPtr params;
    int count = 0;
    int result = virDomainGetBlockIoTune(call->domain, target, NULL, &count,
                                         VIR_DOMAIN_AFFECT_LIVE);

    *ret = (struct limits){.rate = {0}};
    if (result < 0 || count <= 0)
        return lv_fail(err, "limits of disk '%s'", target);
    params = xcalloc((size_t)count, sizeof(*params));
    result = virDomainGetBlockIoTune(call->domain, target, params, &count,
                                     VIR_DOMAIN_AFFECT_LIVE);
    if (result < 0) {
        free(params);
        return lv_fail(err, "limits of disk '%s'", target);
    }
    take(params, count, rates, ret->rate);
    take(params, count, bursts, ret->burst);
    take(params, count, lengths, ret->length);
    virTypedParamsFree(params, count);
    return 0;
}

static bool
has_bursts(const struct limits *limits)
{
    return (limits->burst[TOTAL] | limits->burst[READ] |
            limits->burst[WRITE]) != 0;
}

/* `bursts_too`: also that there are none. */
static int
set(const struct lv_call *call, const char *target, const struct limits *limits,
    bool bursts_too, struct error *err)
{
    virTypedParameterPtr params = NULL;
    int count = 0;
    int room = 0;
    int result = 0;

    for (size_t k = 0; result == 0 && k < KINDS; k++) {
        result = virTypedParamsAddULLong(&params, &count, &room, rates[k],
                                         limits->rate[k]);
        if (result == 0 && bursts_too)
            result = virTypedParamsAddULLong(&params, &count, &room, bursts[k],
                                             limits->burst[k]);
        if (result == 0 && bursts_too && limits->burst[k] > 0 &&
            limits->length[k] > 0)
            result = virTypedParamsAddULLong(&params, &count, &room, lengths[k],
                                             limits->length[k]);
    }
    if (result == 0)
        result = lv_place("libvirt.limits.call", err);
    if (result == 0 &&
        virDomainSetBlockIoTune(call->domain, target, params, count,
                                VIR_DOMAIN_AFFECT_LIVE) < 0)
        result = lv_fail(err, "limit disk '%s'", target);
    virTypedParamsFree(params, count);
    return result == 0 ? lv_place("libvirt.limits.called", err) : -1;
}

/* -- as text -----------------------------------------------------------------
 */

static void
write_family(json_t *object, const char *const names[KINDS],
             const unsigned long long values[KINDS])
{
    for (size_t k = 0; k < KINDS; k++)
        (void)json_object_set_new(object, names[k],
                                  json_integer((json_int_t)values[k]));
}

static char *
print(const struct limits *limits)
{
    json_t *object = json_object();
    AUTO_FREE char *text = NULL;

    write_family(object, rates, limits->rate);
    write_family(object, bursts, limits->burst);
    write_family(object, lengths, limits->length);
    text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return xstrdup(text);
}

static void
read_family(const json_t *object, const char *const names[KINDS],
            unsigned long long ret[KINDS])
{
    for (size_t k = 0; k < KINDS; k++)
        ret[k] = (unsigned long long)json_integer_value(
            json_object_get(object, names[k]));
}

static int
parse(const char *text, struct limits *ret, struct error *err)
{
    json_t *object = json_loads(text, 0, NULL);

    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(err, ERROR_INVALID, "'%s' are no limits of a disk",
                         text);
    }
    read_family(object, rates, ret->rate);
    read_family(object, bursts, ret->burst);
    read_family(object, lengths, ret->length);
    json_decref(object);
    return 0;
}

/* -- the calls ---------------------------------------------------------------
 */

int
lv_op_limits(struct hv *hv, const char *uuid, const char *target, char **ret,
             struct error *err)
{
    struct limits limits;
    struct lv_call call;
    int result;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    result = lv_require_running_disk(&call, target, err);
    if (result == 0)
        result = get(&call, target, &limits, err);
    if (result == 0)
        *ret = print(&limits);
    return lv_end(&call, result, err);
}

/* What hv_limits_lower() makes of `old`. */
static int
lowered(const struct limits *old, uint64_t limit, struct limits *ret)
{
    unsigned long long total = old->rate[TOTAL];

    if ((old->rate[WRITE] > 0 && old->rate[WRITE] <= limit) ||
        (total > 0 && total <= limit))
        return -1;
    *ret = *old;
    ret->rate[WRITE] = limit;
    ret->rate[TOTAL] = ret->burst[TOTAL] = ret->burst[WRITE] = 0;
    if (total > 0)
        ret->rate[READ] = total - limit;
    return 0;
}

static int
check_own(const struct lv_call *call, const char *target, struct error *err)
{
    AUTO_FREE char *xml = virDomainGetXMLDesc(call->domain, 0);
    bool shares;

    if (xml == NULL)
        return lv_fail(err, "XML of machine '%s'", call->name);
    if (domain_xml_shares_limits(xml, target, &shares, err) < 0)
        return -1;
    if (shares)
        return error_set(err, ERROR_UNSUPPORTED,
                         "disk '%s' shares its limits with other disks",
                         target);
    return 0;
}

static int
lower(const struct lv_call *call, const char *target, const struct limits *old,
      uint64_t limit, struct error *err)
{
    struct limits new;

    if (lv_require_running_disk(call, target, err) < 0 ||
        check_own(call, target, err) < 0)
        return -1;
    if (lowered(old, limit, &new) < 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "disk '%s' has a lower limit already", target);
    return set(call, target, &new, has_bursts(old), err);
}

int
lv_op_limits_lower(struct hv *hv, const char *uuid, const char *target,
                   const char *limits, uint64_t bytes_per_second,
                   struct error *err)
{
    struct limits old;
    struct lv_call call;

    if (parse(limits, &old, err) < 0 || lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, lower(&call, target, &old, bytes_per_second, err),
                  err);
}

/* Are these what hv_limits_lower() made of `old`, by this limit or less? */
static bool
is_ours(const struct limits *now, const struct limits *old, uint64_t limit)
{
    struct limits ours;

    return now->rate[WRITE] > 0 && now->rate[WRITE] <= limit &&
           lowered(old, now->rate[WRITE], &ours) == 0 &&
           memcmp(now->rate, ours.rate, sizeof(now->rate)) == 0;
}

static int
restore(const struct lv_call *call, const char *target,
        const struct limits *old, uint64_t limit, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct limits now;

    if (lv_machine(call, &machine, err) < 0)
        return -1;
    if (machine->state == HV_STOPPED ||
        hv_machine_find_disk(machine, target) == NULL)
        return 0;
    if (get(call, target, &now, err) < 0)
        return -1;
    if (!is_ours(&now, old, limit))
        return 0;
    return set(call, target, old, has_bursts(old), err);
}

int
lv_op_limits_restore(struct hv *hv, const char *uuid, const char *target,
                     const char *limits, uint64_t bytes_per_second,
                     struct error *err)
{
    struct limits old;
    struct lv_call call;

    if (parse(limits, &old, err) < 0 || lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, restore(&call, target, &old, bytes_per_second, err),
                  err);
}
