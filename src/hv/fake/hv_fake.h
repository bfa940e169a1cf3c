/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_fake.h -- a hypervisor in files, for tests.
 *
 * A machine is one JSON file in a directory, replaced by rename; its disks are
 * real image files.  What it "has open", its live and its inactive definition
 * live there and not in the process: they survive its death as a real QEMU
 * and libvirtd would, and every process that opens the directory sees the
 * same machines.  There is no guest; hv_fake_guest_write stands for it.
 *
 * Behaviour that is scripted here (failures, lost replies, held events) and
 * the callbacks belong to the handle, not to the directory.
 *
 * Fault points, beside "fake.<call>.before" and "fake.<call>.after" of every
 * call that changes something (a failure there is a lost request, or a lost
 * reply):
 *   fake.snapshot.frozen                 the guest is frozen for it
 *   fake.snapshot.between-qemu-and-live  QEMU writes to the overlays, libvirt
 *                                        does not know
 *   fake.snapshot.between-live-and-inactive
 *   fake.attach.between-live-and-inactive
 *   fake.detach.between-live-and-inactive
 *   fake.memory.partial                  half of the memory's file is written
 *   fake.memory.complete                 all of it, no disk was switched
 *   fake.commit.between-copy-and-rebase  the base holds the layers, nothing
 *                                        else has changed
 *   fake.commit.between-rebase-and-view  the child's header names the base
 *   fake.pivot.between-qemu-and-live
 *   fake.pivot.between-live-and-inactive
 * A failure at one of these leaves what was done so far, and the call ends in
 * ERROR_UNAVAILABLE, as when libvirtd dies there.
 *
 * Threads:    all functions may be called by any thread; scripts and
 *             callbacks are set before others use the handle.
 */
#ifndef HV_FAKE_HV_FAKE_H
#define HV_FAKE_HV_FAKE_H

#include "base/compiler.h"
#include "base/error.h"
#include "hv/hv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * hv_fake_open(directory, err):
 * The machines that live in `directory`, which is made if it is not there.
 *
 * Returns:    to be freed with hv_free, or NULL with *err set.
 */
struct hv *hv_fake_open(const char *directory, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* -- machines ------------------------------------------------------------ */

struct hv_fake_disk {
    const char *target; /* "vda" */
    const char *path;   /* absolute; the top image, made by the caller */
    const char *format; /* NULL: "qcow2" */
    enum hv_device device;
    bool readonly;
};

/* A stopped, persistent machine with an agent that answers when it runs. */
int hv_fake_add_machine(struct hv *hv, const char *uuid, const char *name,
                        const struct hv_fake_disk *disks, size_t count,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3, 6);

/* Forget it; its images stay. */
int hv_fake_remove_machine(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* What happens to a machine from outside or inside: it starts (as by virsh),
 * ends, pauses.  Sends the event. */
int hv_fake_power(struct hv *hv, const char *uuid, enum hv_state state,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 4);

/* The guest's agent: whether it has a channel, whether it is there. */
int hv_fake_set_agent(struct hv *hv, const char *uuid, bool channel,
                      bool connected, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* Falsify libvirt's views of a disk; NULL leaves one as it is. */
int hv_fake_set_view(struct hv *hv, const char *uuid, const char *target,
                     const char *live_top, const char *inactive_top,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3, 6);

/* hv_view() past all that is scripted; *ret as there. */
int hv_fake_view(struct hv *hv, const char *uuid, const char *target,
                 struct hv_disk_view *ret, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * hv_fake_guest_write(hv, uuid, target, buffer, offset, length, err):
 * Write as the guest would, into the file that QEMU has as its top.
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_CONFLICT  it does not run;
 *               ERROR_BUSY      it is frozen: the guest would wait.
 */
int hv_fake_guest_write(struct hv *hv, const char *uuid, const char *target,
                        const void *buffer, uint64_t offset, size_t length,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 7);

/* What the guest's memory holds: another number after every boot and every
 * write, the same one after a restore; 0 when it does not run. */
int hv_fake_memory(struct hv *hv, const char *uuid, uint64_t *ret_memory,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* From now on the guest writes so fast into that disk that an active commit
 * never becomes ready, unless its writes are limited to at most so many bytes a
 * second.  0: not any more. */
int hv_fake_outrun(struct hv *hv, const char *uuid, const char *target,
                   uint64_t bytes_per_second, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* The limit of what a running guest writes into that disk, bytes a second, 0
 * for none: asked past all that is scripted, and set as by virsh. */
int hv_fake_limit(struct hv *hv, const char *uuid, const char *target,
                  uint64_t *ret_limit, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
int hv_fake_set_limit(struct hv *hv, const char *uuid, const char *target,
                      uint64_t limit, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* Let every running block job of the machine end as it would while nobody
 * watches: mid-chain commits are done and gone, active ones ready. */
int hv_fake_finish_jobs(struct hv *hv, const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- who touches the images ---------------------------------------------- */

struct hv_fake_layer {
    const char *path;
    bool raw; /* else qcow2 */
};

/* Write into layers[0], whose backing chain is the rest. */
typedef int hv_fake_writer(const struct hv_fake_layer *layers, size_t count,
                           const void *buffer, uint64_t offset, size_t length,
                           struct error *err);
/* Merge a layer into the one right below it. */
typedef int hv_fake_committer(const struct hv_fake_layer *top,
                              const struct hv_fake_layer *base,
                              struct error *err);
/* Change the backing name in a header, nothing else. */
typedef int hv_fake_rebaser(const char *path, const struct hv_fake_layer *base,
                            struct error *err);

/* Grow the guest's disk of layers[0], whose backing chain is the rest. */
typedef int hv_fake_resizer(const struct hv_fake_layer *layers, size_t count,
                            uint64_t bytes, struct error *err);

/* NULL, and the state at the start, is qemu-io and qemu-img. */
void hv_fake_set_writer(struct hv *hv, hv_fake_writer *writer) NONNULL(1);
void hv_fake_set_committer(struct hv *hv, hv_fake_committer *committer)
    NONNULL(1);
void hv_fake_set_rebaser(struct hv *hv, hv_fake_rebaser *rebaser) NONNULL(1);
void hv_fake_set_resizer(struct hv *hv, hv_fake_resizer *resizer) NONNULL(1);

/* Machines with a file of their uuid in it do not start; NULL for none. */
void hv_fake_set_hold_directory(struct hv *hv, const char *directory)
    NONNULL(1);

/* -- scripts ------------------------------------------------------------- */

enum hv_fake_behaviour {
    HV_FAKE_FAIL_BEFORE, /* ERROR_IO, nothing happened */
    HV_FAKE_LOST_BEFORE, /* ERROR_UNAVAILABLE, nothing happened */
    HV_FAKE_FAIL_AFTER,  /* ERROR_UNAVAILABLE, it happened */
    HV_FAKE_TIMEOUT,     /* ERROR_TIMEOUT, nothing happened */
    HV_FAKE_LATE,        /* ERROR_TIMEOUT, it happened */
    HV_FAKE_WAITS,       /* ERROR_TIMEOUT after 100 ms, nothing happened */
    HV_FAKE_PAUSED,      /* ERROR_CONFLICT: it cannot be asked while paused */
    HV_FAKE_NOT_DONE,    /* success, nothing happened */
    HV_FAKE_JOB_FAILS,   /* of job_wait: the job ends as FAILED */
    HV_FAKE_JOB_CANCELLED,
    HV_FAKE_MACHINE_STOPS /* of any call: the machine ends before it */
};

/* The nth call from now (from 1) of `call`, named as in struct hv_kind
 * ("snapshot", "job_wait", ...), behaves so.  At most 32 wait at once. */
void hv_fake_script(struct hv *hv, const char *call, unsigned nth,
                    enum hv_fake_behaviour behaviour) NONNULL(1, 2);
void hv_fake_script_clear(struct hv *hv) NONNULL(1);

/* How often `call` was made of this handle. */
unsigned hv_fake_calls(struct hv *hv, const char *call) NONNULL(1, 2);

/* All calls are ERROR_UNAVAILABLE from here to there; both send events. */
void hv_fake_disconnect(struct hv *hv) NONNULL(1);
void hv_fake_reconnect(struct hv *hv) NONNULL(1);

/* -- events -------------------------------------------------------------- */

/* Keep events back from now on; let them go, the newest first if `reversed`.
 */
void hv_fake_hold_events(struct hv *hv) NONNULL(1);
void hv_fake_release_events(struct hv *hv, bool reversed) NONNULL(1);

/* Wait until the handler has returned from every event that is not held. */
void hv_fake_drain_events(struct hv *hv) NONNULL(1);

#endif
