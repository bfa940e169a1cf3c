/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_libvirt.h -- QEMU machines under libvirt.
 */
#ifndef HV_LIBVIRT_HV_LIBVIRT_H
#define HV_LIBVIRT_HV_LIBVIRT_H

#include "base/compiler.h"
#include "base/error.h"
#include "hv/hv.h"

/**
 * hv_libvirt_open(uri, err):
 * The machines of the libvirt at `uri` ("qemu:///system").  Its files are
 * taken to be the files of this host.
 *
 * That libvirt is out of reach is no failure: calls then end in
 * ERROR_UNAVAILABLE, it is tried again in the background (at once, then with
 * pauses that grow to 2 seconds), and HV_EVENT_CONNECTED tells when it is
 * there.  Nothing is changed by connecting.
 *
 * Threads:    starts one for the connection, and one for libvirt's event loop
 *             that lives as long as the process, which ignores SIGPIPE
 *             from then on.
 * Blocks:     for the first attempt, at most 20 seconds.
 * Returns:    to be freed with hv_free, or NULL with *err set to
 *             ERROR_INTERNAL.
 */
struct hv *hv_libvirt_open(const char *uri, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
