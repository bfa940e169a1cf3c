/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt's errors into ours.
 *
 * That a connection broke is told by the error's *domain* (RPC, REMOTE), not
 * by its code, which is INTERNAL_ERROR then; a call that was cut may have had
 * its effect.  The texts are translated by libvirtd and are passed on, never
 * looked into; QEMU's and its agent's own texts, which are not translated,
 * are the one exception.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/fault.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

int
lv_last_code(void)
{
    const virError *last = virGetLastError();

    return last != NULL ? last->code : 0;
}

static enum error_code
code_of_system_error(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
        return ERROR_NO_SPACE;
    case ECONNRESET:
    case ECONNREFUSED:
    case EPIPE:
        return ERROR_UNAVAILABLE;
    default:
        return ERROR_IO;
    }
}

bool
lv_node_name_was_taken(void)
{
    const virError *last = virGetLastError();

    return last != NULL && last->message != NULL &&
           strstr(last->message, "Duplicate nodes with node-name") != NULL;
}

/* What guest agents and QEMU say of commands that they do not have. */
static bool
is_unknown_command(const virError *last)
{
    return last->message != NULL &&
           (strstr(last->message, "has not been found") != NULL ||
            strstr(last->message, "has been disabled") != NULL);
}

static enum error_code
code_of(const virError *last)
{
    if (last->domain == VIR_FROM_RPC || last->domain == VIR_FROM_REMOTE)
        return ERROR_UNAVAILABLE;
    switch (last->code) {
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_RPC:
        return ERROR_UNAVAILABLE;
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_DEVICE_MISSING:
        return ERROR_NOT_FOUND;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_HOOK_SCRIPT_FAILED:
    case VIR_ERR_DOM_EXIST:
        return ERROR_CONFLICT;
    case VIR_ERR_OPERATION_TIMEOUT: /* somebody else's job, for 30 s */
    case VIR_ERR_BLOCK_COPY_ACTIVE:
    case VIR_ERR_RESOURCE_BUSY:
        return ERROR_BUSY;
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED:
        return ERROR_TIMEOUT;
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_NO_SUPPORT:
        return ERROR_UNSUPPORTED;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
        return ERROR_DENIED;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
    case VIR_ERR_INVALID_ARG:
        return ERROR_INVALID;
    case VIR_ERR_OPERATION_ABORTED:
        return ERROR_CANCELLED;
    case VIR_ERR_SYSTEM_ERROR:
        return code_of_system_error(last->int1);
    default:
        return is_unknown_command(last) ? ERROR_UNSUPPORTED : ERROR_IO;
    }
}

int
lv_fail(struct error *err, const char *fmt, ...)
{
    const virError *last = virGetLastError();
    char what[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    if (last == NULL)
        return error_set(err, ERROR_IO, "%s: libvirt does not say why", what);
    (void)error_set(err, code_of(last), "%s: %s", what,
                    last->message != NULL ? last->message : "");
    if (last->code == VIR_ERR_SYSTEM_ERROR)
        err->sys = last->int1;
    return -1;
}

int
lv_place(const char *name, struct error *err)
{
    if (fault_here(name))
        return error_set(err, ERROR_UNAVAILABLE, "connection lost at '%s'",
                         name);
    return 0;
}
