/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv.h -- a hypervisor: its machines, their disks and what can be done to
 * them.  Kinds: libvirt/ (QEMU under libvirt) and fake/ (in files, for tests).
 *
 * Machines are named by uuid text; disks by target ("vda").  Libvirt is used
 * without snapshot metadata: the tree of layers is ours.
 *
 * Threads:    every function may be called by any thread; a kind keeps one
 *             connection for each call under way.
 * Blocks:     on the hypervisor; never longer than the time-outs given, or 60
 *             seconds where none is.
 * Errors:     ERROR_UNAVAILABLE    the hypervisor is out of reach; whether the
 *                                  call had effect is unknown: look again;
 *             ERROR_NOT_FOUND      no such machine or disk;
 *             ERROR_CONFLICT       the machine's state forbids it;
 *             ERROR_BUSY           another job holds the machine or disk;
 *             ERROR_UNSUPPORTED    this machine cannot do that (no agent ...);
 *             ERROR_TIMEOUT        the time was up, or the guest's agent does
 *                                  not answer;
 *             ERROR_IO             the hypervisor says that it failed.
 */
#ifndef HV_HV_H
#define HV_HV_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv;

/* -- what is there ------------------------------------------------------ */

enum hv_state {
    HV_STOPPED,
    HV_RUNNING,
    HV_PAUSED,
    HV_STOPPING /* on its way down */
};
const char *hv_state_name(enum hv_state state);

enum hv_device { HV_DISK, HV_CDROM, HV_FLOPPY, HV_LUN };

struct hv_disk {
    char *target; /* owned; "vda" */
    char *bus;    /* owned; "virtio", "scsi", "sata" */
    char *source; /* owned; absolute path of the top file; NULL when the disk
                     is empty or not a file or block device */
    char *format; /* owned; "qcow2", "raw" */
    char *alias;  /* owned; libvirt's name of the device, or NULL */
    enum hv_device device;
    bool readonly;
    bool shareable;
    bool block;   /* a host block device, not a file */
    bool network; /* rbd, nbd, ...: source is NULL */
};

struct hv_machine {
    char uuid[UUID_TEXT_SIZE];
    char *name; /* owned */
    enum hv_state state;
    bool persistent;
    bool has_agent_channel;
    bool agent_connected;
    uint64_t memory_bytes;
    unsigned vcpus;
    char *nvram; /* owned; path of the UEFI variable store, or NULL */
    bool has_tpm;
    struct hv_disk *disks; /* owned; live ones when it runs */
    size_t disk_count;
};

void hv_machine_free(struct hv_machine *machine);
void hv_machine_cleanup(struct hv_machine **machine);
#define AUTO_HV_MACHINE CLEANUP(hv_machine_cleanup)

/* The disk of that target, borrowed; NULL when there is none. */
const struct hv_disk *hv_machine_find_disk(const struct hv_machine *machine,
                                           const char *target) NONNULL(1, 2);

struct hv_machine_list {
    struct hv_machine **items; /* owned */
    size_t count;
    size_t capacity;
};
void hv_machine_list_release(struct hv_machine_list *list) NONNULL(1);
#define AUTO_HV_MACHINE_LIST CLEANUP(hv_machine_list_release)

int hv_list(struct hv *hv, struct hv_machine_list *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
int hv_get(struct hv *hv, const char *uuid, struct hv_machine **ret_machine,
           struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* The inactive (persistent) domain XML; the live one of a transient domain.
 * It holds the machine's secrets (the password of its console), so that it can
 * be defined again from it: not to be shown.  The caller frees *ret_xml. */
int hv_xml(struct hv *hv, const char *uuid, char **ret_xml, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

struct hv_facts {
    char kind[16]; /* "KVM", "Fake" */
    char hostname[256];
    char libvirt_version[32]; /* "9.0.0" */
    char qemu_version[32];    /* "7.2.22" */
    char uri[256];
};
int hv_facts(struct hv *hv, struct hv_facts *ret_facts, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- the four views (the fourth is our own record) ----------------------- */

struct hv_disk_view {
    /* What QEMU itself has open: file names of the backing chain, top first.
     * Asked from QEMU's monitor, not from libvirt's memory of it.  Empty when
     * the machine is stopped. */
    char **qemu_chain; /* owned strings */
    size_t qemu_count;
    char *live_top;     /* owned; libvirt's live XML; NULL when stopped */
    char *inactive_top; /* owned; libvirt's inactive XML; NULL if transient */
};
void hv_disk_view_release(struct hv_disk_view *view) NONNULL(1);
#define AUTO_HV_DISK_VIEW CLEANUP(hv_disk_view_release)

int hv_view(struct hv *hv, const char *uuid, const char *target,
            struct hv_disk_view *ret_view, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* A machine and what its disks are in the three views. */
struct hv_look {
    struct hv_machine *machine; /* owned */
    struct hv_disk_view *views; /* owned array, as machine->disks */
};
void hv_look_release(struct hv_look *look) NONNULL(1);
#define AUTO_HV_LOOK CLEANUP(hv_look_release)

/**
 * hv_look(hv, uuid, targets, count, ret_look, err):
 * hv_get(), and hv_view() of those disks (targets NULL: of every disk of
 * device HV_DISK that has a source); views of others are empty.  It asks less
 * often than these do.
 *
 * Ownership:  *ret_look is the caller's when 0 was returned.
 */
int hv_look(struct hv *hv, const char *uuid, const char *const *targets,
            size_t count, struct hv_look *ret_look, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5, 6);

/* Is it one of the disks that hv_look() looks at? */
bool hv_look_wants(const struct hv_disk *disk, const char *const *targets,
                   size_t count) NONNULL(1);

/* The view of that disk, borrowed; NULL when the machine has none. */
const struct hv_disk_view *hv_look_find(const struct hv_look *look,
                                        const char *target) NONNULL(1, 2);

/* -- power --------------------------------------------------------------- */

int hv_start(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Ask the guest (agent, else ACPI) and wait for its end; ERROR_TIMEOUT when
 * it is still running then. */
int hv_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
                struct error *err) MUST_CHECK NONNULL(1, 2, 4);
int hv_destroy(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
int hv_reboot(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- chains -------------------------------------------------------------- */

struct hv_disk_change {
    const char *target; /* borrowed */
    const char *path;   /* borrowed; the new top file */
    const char *format; /* borrowed */
};

/**
 * hv_snapshot(hv, uuid, changes, count, quiesce, err):
 * Let the running machine go on writing into `changes[i].path`, for all disks
 * at one moment.  The overlays exist already, with the right backing names.
 * With `quiesce` the guest's file systems are frozen around it (the agent's
 * answers are bounded to 5 seconds each) and thawed whatever happens.
 *
 * Returns:    0 when all disks were switched; -1 with *err set, and then no
 *             disk was, unless ERROR_UNAVAILABLE: look again (hv_view).
 */
int hv_snapshot(struct hv *hv, const char *uuid,
                const struct hv_disk_change *changes, size_t count,
                bool quiesce, struct error *err) MUST_CHECK NONNULL(1, 2, 3, 6);

/* The state of a machine's memory and processors, saved in a file. */
struct hv_memory {
    const char *path;   /* borrowed; absolute; an empty file that exists */
    int64_t timeout_ms; /* for all of it; 0: none */
    int64_t pause_ms;   /* out: how long the guest stood still; -1: unknown */
};

/**
 * hv_snapshot_memory(hv, uuid, changes, count, memory, err):
 * hv_snapshot() together with the memory as it is at that moment, in
 * memory->path.  It is saved while the guest runs on and stands still for the
 * last part alone; a guest that changes it faster than it can be saved is
 * paused for longer and longer until an end is reached.
 *
 * Blocks:     for as long as saving takes; the guest runs on.
 * Durability: the file is complete when the disks were switched, but not
 *             flushed.
 * Returns:    as hv_snapshot(); ERROR_TIMEOUT: the time was up, it was given
 *             up, no disk was switched and the guest goes on.
 */
int hv_snapshot_memory(struct hv *hv, const char *uuid,
                       const struct hv_disk_change *changes, size_t count,
                       struct hv_memory *memory, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);

/**
 * hv_check_memory(hv, uuid, path, err):
 * Is that file a whole saved memory of this machine?
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when it is not.
 */
int hv_check_memory(struct hv *hv, const char *uuid, const char *path,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * hv_restore_memory(hv, uuid, path, changes, count, err):
 * Let the stopped machine go on from a saved memory, writing into
 * `changes[i].path`, which read the same as its disks did then.  The inactive
 * definition stays as it is.
 *
 * Returns:    0 and it runs; -1 with *err set, and then it is stopped, unless
 *             ERROR_UNAVAILABLE: look again.
 */
int hv_restore_memory(struct hv *hv, const char *uuid, const char *path,
                      const struct hv_disk_change *changes, size_t count,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 6);

/**
 * hv_define_disks(hv, uuid, changes, count, err):
 * Change the sources of disks in the inactive definition, all at once;
 * nothing else of the definition changes.
 */
int hv_define_disks(struct hv *hv, const char *uuid,
                    const struct hv_disk_change *changes, size_t count,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5);

/* Define a machine from XML (restore of one that is gone). */
int hv_define_xml(struct hv *hv, const char *xml, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Forget a stopped machine: its definition, saved memory and UEFI variables
 * go, its disks stay.  ERROR_CONFLICT while it runs. */
int hv_undefine(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/**
 * hv_commit_start(hv, uuid, target, top, base, bytes_per_second, err):
 * Start merging the layers from `top` down to `base` (absolute paths of the
 * disk's chain) into `base`.  top NULL is the active layer: then the job
 * becomes ready and waits for hv_pivot.  0 bytes a second: no limit.
 */
int hv_commit_start(struct hv *hv, const char *uuid, const char *target,
                    const char *top, const char *base,
                    uint64_t bytes_per_second, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 7);

enum hv_job_state {
    HV_JOB_NONE, /* no job on that disk (any more) */
    HV_JOB_RUNNING,
    HV_JOB_READY,     /* an active commit that waits for the pivot */
    HV_JOB_COMPLETED, /* ended well, said by its event */
    HV_JOB_FAILED,
    HV_JOB_CANCELLED
};

struct hv_job {
    enum hv_job_state state;
    bool is_active_commit;
    uint64_t done;    /* bytes */
    uint64_t total;   /* bytes; grows by what the guest writes meanwhile */
    uint64_t written; /* bytes by the guest into the disk since it started; of
                         an active commit, 0 where it is not known */
};

/* How the disk's block job stands now: NONE, RUNNING or READY. */
int hv_job_query(struct hv *hv, const char *uuid, const char *target,
                 struct hv_job *ret_job, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* Called from hv_job_wait whenever it knows more; false gives up waiting. */
typedef bool hv_job_progress(const struct hv_job *job, void *context);

/**
 * hv_job_wait(hv, uuid, target, timeout_ms, progress, context, ret_job, err):
 * Wait for the event that says READY, COMPLETED, FAILED or CANCELLED; it also
 * counts when it came between hv_commit_start and this call.
 *
 * Returns:    0 with ret_job->state one of those four; or HV_JOB_NONE when
 *             there is no job and its end was not seen (it ended before this
 *             process watched): look at hv_view.  -1 with *err set to
 *               ERROR_TIMEOUT      the time is up (0: no limit), the job goes
 *                                  on;
 *               ERROR_CANCELLED    `progress` said so, the job goes on;
 *               ERROR_UNAVAILABLE  the connection was lost;
 *               ERROR_CONFLICT     the machine stopped, and the job with it.
 */
int hv_job_wait(struct hv *hv, const char *uuid, const char *target,
                int64_t timeout_ms, hv_job_progress *progress, void *context,
                struct hv_job *ret_job, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 7, 8);

/**
 * hv_pivot(hv, uuid, target, err):
 * End a ready active commit: the guest goes on in the base.
 *
 * Blocks:     for 10 seconds at most.
 * Returns:    0, or -1 with *err set to
 *               ERROR_CONFLICT  no ready one is there;
 *               ERROR_TIMEOUT   the guest writes as fast as is copied: the
 *                               pivot was asked for, cannot be given up any
 *                               more and happens as soon as it can; calling
 *                               again waits for it.
 */
int hv_pivot(struct hv *hv, const char *uuid, const char *target,
             struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* Give a block job up; the chain stays as it was and reads the same.  That
 * there is none is success; so is one that ended by itself at that moment
 * (hv_view tells). */
int hv_job_abort(struct hv *hv, const char *uuid, const char *target,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

int hv_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                     uint64_t bytes_per_second, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* -- how fast a guest may write ------------------------------------------- */

/* The limits of a running machine's disk, as one line of text that the two
 * calls below understand.  The caller frees *ret_limits. */
int hv_limits(struct hv *hv, const char *uuid, const char *target,
              char **ret_limits, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * hv_limits_lower(hv, uuid, target, limits, bytes_per_second, err):
 * From now on the running guest's writes into that disk have no more than
 * this; `limits` are those that hv_limits() told.  The inactive definition
 * stays as it is.
 *
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED when the disk shares
 *             its limits with others, or has none that is higher.
 */
int hv_limits_lower(struct hv *hv, const char *uuid, const char *target,
                    const char *limits, uint64_t bytes_per_second,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 6);

/* Undo hv_limits_lower() of the same arguments, or of fewer bytes a second.
 * Also success when the machine does not run, has no such disk, or when the
 * limits are others by now: those are somebody else's, and stay. */
int hv_limits_restore(struct hv *hv, const char *uuid, const char *target,
                      const char *limits, uint64_t bytes_per_second,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 6);

/* -- disks --------------------------------------------------------------- */

/**
 * hv_resize(hv, uuid, target, bytes, err):
 * Grow the guest's disk of a running machine: QEMU changes its top file, and
 * the guest is told.  ERROR_BUSY while a block job uses the disk.
 */
int hv_resize(struct hv *hv, const char *uuid, const char *target,
              uint64_t bytes, struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5);

struct hv_new_disk {
    const char *target; /* borrowed, as all; not in use */
    const char *bus;    /* "virtio", "scsi", "sata"; must fit the target */
    const char *path;   /* absolute; the top file of its chain */
    const char *format;
    const char *serial; /* what the guest sees as such; NULL: none */
};

/**
 * hv_attach_disk(hv, uuid, disk, err):
 * Add a disk to the inactive definition and, when the machine runs, to it;
 * where one has it already, with this file, only to the other.
 *
 * Returns:    0 when it is in both; -1 with *err set, and then look again
 *             (hv_view): ERROR_CONFLICT where the target is taken.
 */
int hv_attach_disk(struct hv *hv, const char *uuid,
                   const struct hv_new_disk *disk, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * hv_detach_disk(hv, uuid, target, timeout_ms, err):
 * Take a disk out of the running machine, which the guest must allow, and out
 * of the inactive definition.
 *
 * Returns:    0 when it is in neither; -1 with *err set; ERROR_TIMEOUT when
 *             the guest has not let go of it, which it still may.
 */
int hv_detach_disk(struct hv *hv, const char *uuid, const char *target,
                   int64_t timeout_ms, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/**
 * hv_set_compute(hv, uuid, vcpus, memory_bytes, may_run, err):
 * Give the inactive definition of a machine other numbers of CPUs and bytes of
 * memory; 0 leaves one as it is.  One that runs has them from its next start
 * on; without `may_run` that is ERROR_CONFLICT.
 */
int hv_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
                   uint64_t memory_bytes, bool may_run, struct error *err)
    MUST_CHECK NONNULL(1, 2, 6);

/* -- the guest ----------------------------------------------------------- */

/* Freeze the guest's file systems by its agent, answer within timeout_ms. */
int hv_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
              struct error *err) MUST_CHECK NONNULL(1, 2, 4);
/* Thaw, and make sure that it is; a guest that is not frozen, or a machine
 * that does not run, is success. */
int hv_thaw(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
/* 1 frozen, 0 not (or it does not run), -1 unknown (*err is set). */
int hv_is_frozen(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- events -------------------------------------------------------------- */

enum hv_event_kind {
    HV_EVENT_STATE,        /* a machine started, stopped, paused, resumed */
    HV_EVENT_DEFINED,      /* defined, changed or undefined */
    HV_EVENT_IO_ERROR,     /* a disk's error paused the guest */
    HV_EVENT_DISCONNECTED, /* uuid is "" */
    HV_EVENT_CONNECTED     /* again; uuid is "" */
};

struct hv_event {
    enum hv_event_kind kind;
    char uuid[UUID_TEXT_SIZE];
    enum hv_state state; /* of HV_EVENT_STATE */
};

/* Called from the hypervisor's event thread: queue and return at once. */
typedef void hv_event_handler(const struct hv_event *event, void *context);

/* Set before the first use by other threads; NULL for none.  While there is
 * a handler, the kind keeps itself connected and tells when it is not. */
void hv_set_event_handler(struct hv *hv, hv_event_handler *handler,
                          void *context) NONNULL(1);

/* -- life ---------------------------------------------------------------- */

/* Nothing may be under way; no event comes any more when it returns. */
void hv_free(struct hv *hv);
void hv_cleanup(struct hv **hv);
#define AUTO_HV CLEANUP(hv_cleanup)

#endif
