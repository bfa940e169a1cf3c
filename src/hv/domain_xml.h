/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domain_xml.h -- what we read from and change in libvirt's domain XML.
 *
 * The text may come from anywhere (a manifest, a user): it is parsed without
 * network, document types and entities, and refused above DOMAIN_XML_MAX.
 * What is not understood is left as it is.
 *
 * Threads:    any.
 */
#ifndef HV_DOMAIN_XML_H
#define HV_DOMAIN_XML_H

#include "base/compiler.h"
#include "base/error.h"
#include "hv/hv.h"

#include <stddef.h>

#define DOMAIN_XML_MAX ((size_t)4 << 20)

/* Disks beyond this are refused. */
#define DOMAIN_XML_DISKS_MAX 1024

/**
 * domain_xml_parse(xml, ret_machine, err):
 * The machine that the text describes; `state` and `persistent` are not in the
 * text and stay zero.
 *
 * Ownership:  free with hv_machine_free.
 * Returns:    0, or -1 with *err set to ERROR_INVALID.
 */
int domain_xml_parse(const char *xml, struct hv_machine **ret_machine,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * domain_xml_set_disks(xml, changes, count, ret_xml, err):
 * The same text with other sources and formats of those disks.  What libvirt
 * recorded about the old chain (backingStore, mirror, index) is dropped.
 * Whether a path is a block device is asked from the file system.
 *
 * Ownership:  the caller frees *ret_xml.
 * Returns:    0, or -1 with *err set to ERROR_INVALID, ERROR_NOT_FOUND (no
 *             such disk).
 */
int domain_xml_set_disks(const char *xml, const struct hv_disk_change *changes,
                         size_t count, char **ret_xml, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5);

enum domain_xml_mirror {
    DOMAIN_XML_MIRROR_NONE,
    DOMAIN_XML_MIRROR_RUNNING,
    DOMAIN_XML_MIRROR_READY,   /* it waits for its pivot */
    DOMAIN_XML_MIRROR_PIVOTING /* which was asked for and has not happened */
};

/**
 * domain_xml_mirror(xml, target, ret_mirror, err):
 * What the live XML says of the disk's active commit (or copy).
 */
int domain_xml_mirror(const char *xml, const char *target,
                      enum domain_xml_mirror *ret_mirror, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * domain_xml_shares_limits(xml, target, ret_shares, err):
 * Whether the live XML has other disks in the disk's throttle group.
 */
int domain_xml_shares_limits(const char *xml, const char *target,
                             bool *ret_shares, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * domain_xml_snapshot(machine, changes, count, memory, ret_xml, err):
 * The text of a <domainsnapshot> that switches exactly those disks of the
 * machine and says so of all others; `memory` is the file for its memory, or
 * NULL.
 *
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND (no such disk).
 */
int domain_xml_snapshot(const struct hv_machine *machine,
                        const struct hv_disk_change *changes, size_t count,
                        const char *memory, char **ret_xml, struct error *err)
    MUST_CHECK NONNULL(1, 5, 6);

/**
 * domain_xml_disk(disk, ret_xml, err):
 * The text of a <disk> for attaching, or for naming one that is detached.
 */
int domain_xml_disk(const struct hv_new_disk *disk, char **ret_xml,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * domain_xml_set_compute(xml, vcpus, memory_bytes, ret_xml, err):
 * The same text with other numbers; 0 leaves one as it is.  A topology that
 * does not fit any more is dropped.
 *
 * Ownership:  the caller frees *ret_xml.
 * Returns:    0, or -1 with *err set to ERROR_INVALID.
 */
int domain_xml_set_compute(const char *xml, unsigned vcpus,
                           uint64_t memory_bytes, char **ret_xml,
                           struct error *err) MUST_CHECK NONNULL(1, 4, 5);

#endif
