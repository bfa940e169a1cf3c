/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_kind.h -- what a kind of hypervisor provides.  Included by hv.c and the
 * kinds alone.  The functions keep the contracts of hv.h.
 */
#ifndef HV_HV_KIND_H
#define HV_HV_KIND_H

#include "hv/hv.h"

struct hv_kind {
    const char *name;
    /* A handler was set in `hv`; NULL when nothing is to be done then. */
    void (*watch)(struct hv *hv);
    void (*free)(struct hv *hv);
    int (*list)(struct hv *hv, struct hv_machine_list *ret, struct error *err);
    int (*get)(struct hv *hv, const char *uuid, struct hv_machine **ret,
               struct error *err);
    int (*xml)(struct hv *hv, const char *uuid, char **ret, struct error *err);
    int (*facts)(struct hv *hv, struct hv_facts *ret, struct error *err);
    int (*view)(struct hv *hv, const char *uuid, const char *target,
                struct hv_disk_view *ret, struct error *err);
    int (*look)(struct hv *hv, const char *uuid, const char *const *targets,
                size_t count, struct hv_look *ret, struct error *err);
    int (*start)(struct hv *hv, const char *uuid, struct error *err);
    int (*shutdown)(struct hv *hv, const char *uuid, int64_t timeout_ms,
                    struct error *err);
    int (*destroy)(struct hv *hv, const char *uuid, struct error *err);
    int (*reboot)(struct hv *hv, const char *uuid, struct error *err);
    int (*snapshot)(struct hv *hv, const char *uuid,
                    const struct hv_disk_change *changes, size_t count,
                    bool quiesce, struct error *err);
    int (*snapshot_memory)(struct hv *hv, const char *uuid,
                           const struct hv_disk_change *changes, size_t count,
                           struct hv_memory *memory, struct error *err);
    int (*check_memory)(struct hv *hv, const char *uuid, const char *path,
                        struct error *err);
    int (*restore_memory)(struct hv *hv, const char *uuid, const char *path,
                          const struct hv_disk_change *changes, size_t count,
                          struct error *err);
    int (*define_disks)(struct hv *hv, const char *uuid,
                        const struct hv_disk_change *changes, size_t count,
                        struct error *err);
    int (*define_xml)(struct hv *hv, const char *xml, struct error *err);
    int (*undefine)(struct hv *hv, const char *uuid, struct error *err);
    int (*commit_start)(struct hv *hv, const char *uuid, const char *target,
                        const char *top, const char *base,
                        uint64_t bytes_per_second, struct error *err);
    int (*job_query)(struct hv *hv, const char *uuid, const char *target,
                     struct hv_job *ret, struct error *err);
    int (*job_wait)(struct hv *hv, const char *uuid, const char *target,
                    int64_t timeout_ms, hv_job_progress *progress,
                    void *context, struct hv_job *ret, struct error *err);
    int (*pivot)(struct hv *hv, const char *uuid, const char *target,
                 struct error *err);
    int (*job_abort)(struct hv *hv, const char *uuid, const char *target,
                     struct error *err);
    int (*job_set_speed)(struct hv *hv, const char *uuid, const char *target,
                         uint64_t bytes_per_second, struct error *err);
    int (*limits)(struct hv *hv, const char *uuid, const char *target,
                  char **ret, struct error *err);
    int (*limits_lower)(struct hv *hv, const char *uuid, const char *target,
                        const char *limits, uint64_t bytes_per_second,
                        struct error *err);
    int (*limits_restore)(struct hv *hv, const char *uuid, const char *target,
                          const char *limits, uint64_t bytes_per_second,
                          struct error *err);
    int (*resize)(struct hv *hv, const char *uuid, const char *target,
                  uint64_t bytes, struct error *err);
    int (*attach_disk)(struct hv *hv, const char *uuid,
                       const struct hv_new_disk *disk, struct error *err);
    int (*detach_disk)(struct hv *hv, const char *uuid, const char *target,
                       int64_t timeout_ms, struct error *err);
    int (*set_compute)(struct hv *hv, const char *uuid, unsigned vcpus,
                       uint64_t memory_bytes, bool may_run, struct error *err);
    int (*freeze)(struct hv *hv, const char *uuid, int64_t timeout_ms,
                  struct error *err);
    int (*thaw)(struct hv *hv, const char *uuid, struct error *err);
    int (*is_frozen)(struct hv *hv, const char *uuid, struct error *err);
};

/* The first member of every kind's own struct. */
struct hv {
    const struct hv_kind *kind;
    hv_event_handler *handler;
    void *handler_context;
};

/* -- for `look` ------------------------------------------------------------ */

/* Begin a look: the machine (handed over, also when it fails), and a view, as
 * yet empty, for each of its disks.  ERROR_NOT_FOUND when it lacks one. */
int hv_look_at(struct hv_look *look, struct hv_machine **machine,
               const char *const *targets, size_t count, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

#endif
