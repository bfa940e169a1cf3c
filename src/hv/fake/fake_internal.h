/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_internal.h -- what the files of fake/ share.
 */
#ifndef HV_FAKE_FAKE_INTERNAL_H
#define HV_FAKE_FAKE_INTERNAL_H

#include "base/lock.h"
#include "base/map.h"
#include "base/vec.h"
#include "hv/fake/hv_fake.h"
#include "hv/hv_kind.h"

#include <pthread.h>

/* -- a machine as its file holds it (fake_state.c) ----------------------- */

struct fake_paths VEC(char *);

struct fake_job {
    bool exists;
    bool ready;
    bool dirty; /* the guest wrote after it was copied */
    bool active;
    char *top; /* owned; NULL when active */
    char *base;
    uint64_t speed; /* bytes a second; 0: no limit */
    uint64_t asked; /* how often, since it began */
};

struct fake_disk {
    char *target;
    char *format;
    enum hv_device device;
    bool readonly;
    struct fake_paths qemu; /* owned; top first; empty when stopped */
    char *live;             /* owned; NULL when stopped */
    char *inactive;         /* owned */
    struct fake_job job;
    uint64_t limit;  /* of the guest's writes, bytes a second; 0: none */
    uint64_t outrun; /* hv_fake_outrun(); 0: not */
};

struct fake_machine {
    char uuid[UUID_TEXT_SIZE];
    char *name;
    char *xml; /* owned; what it was defined from */
    enum hv_state state;
    bool agent_channel;
    bool agent_connected;
    bool frozen;
    uint64_t boots;  /* how often it was switched on */
    uint64_t memory; /* stands for all of it; changes as the guest works */
    struct fake_disk *disks;
    size_t disk_count;
};

struct fake_disk *fake_find_disk(struct fake_machine *machine,
                                 const char *target, struct error *err);
void fake_paths_clear(struct fake_paths *paths);
void fake_job_clear(struct fake_job *job);
void fake_machine_release(struct fake_machine *machine);

/* The names of machines in a directory. */
int fake_list(const char *directory, struct fake_paths *ret_uuids,
              struct error *err) MUST_CHECK;
int fake_load(const char *directory, const char *uuid,
              struct fake_machine *ret_machine, struct error *err) MUST_CHECK;
int fake_save(const char *directory, const struct fake_machine *machine,
              struct error *err) MUST_CHECK;
int fake_forget(const char *directory, const char *uuid, struct error *err)
    MUST_CHECK;

/* Take the lock of a machine, across threads and processes; closing the
 * result gives it back. */
int fake_lock(const char *directory, const char *uuid, struct error *err)
    MUST_CHECK;

/* -- the handle (fake.c) -------------------------------------------------- */

struct fake_script {
    char call[24];
    unsigned at; /* when the call's count reaches this */
    enum hv_fake_behaviour behaviour;
};

struct fake_count {
    char call[24];
    unsigned count;
};

struct fake {
    struct hv hv; /* first */
    char *directory;
    char *hold_directory; /* owned, or NULL */
    hv_fake_writer *writer;
    hv_fake_committer *committer;
    hv_fake_rebaser *rebaser;
    hv_fake_resizer *resizer;
    struct lock lock;
    bool disconnected;              /* under lock, as all below */
    struct fake_script scripts[32]; /* call "" is free */
    struct fake_count counts[32];
    struct signal wake; /* of the events */
    struct VEC(struct hv_event) events;
    bool held;
    bool busy; /* the handler is being called */
    bool stop;
    bool has_thread;
    pthread_t thread;
};

static inline struct fake *
fake_of(struct hv *hv)
{
    return (struct fake *)hv;
}

/* -- events (fake_events.c) ---------------------------------------------- */

void fake_events_init(struct fake *fake);
void fake_events_release(struct fake *fake);
void fake_emit(struct fake *fake, enum hv_event_kind kind, const char *uuid,
               enum hv_state state);

/* -- one call (fake_call.c) ---------------------------------------------- */

/* A call under way: the machine is loaded and locked. */
struct fake_call {
    struct fake *fake;
    const char *name; /* NULL of what a test does from outside */
    int behaviour;    /* of enum hv_fake_behaviour, or -1 */
    int lock_fd;
    struct fake_machine machine;
};

/* Count the call, let its script speak, load and lock the machine. */
int fake_begin(struct hv *hv, const char *name, const char *uuid,
               struct fake_call *call, struct error *err) MUST_CHECK;
/* The same for what a test does from outside: nothing is scripted. */
int fake_begin_test(struct hv *hv, const char *uuid, struct fake_call *call,
                    struct error *err) MUST_CHECK;
/* Give everything back; returns `result`, or -1 where the reply is lost. */
int fake_end(struct fake_call *call, int result, struct error *err) MUST_CHECK;
/* The same two around calls of no machine. */
int fake_enter(struct hv *hv, const char *name, struct fake_call *call,
               struct error *err) MUST_CHECK;
/* Write the machine as it is now. */
int fake_store(struct fake_call *call, struct error *err) MUST_CHECK;
/* Fail as when libvirtd dies at this very place. */
int fake_place(const char *name, struct error *err) MUST_CHECK;

/* -- power and definition (fake_power.c) --------------------------------- */

int fake_power_on(struct fake_call *call, struct error *err) MUST_CHECK;
void fake_power_off(struct fake_machine *machine);

int fake_op_start(struct hv *hv, const char *uuid, struct error *err);
int fake_op_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
                     struct error *err);
int fake_op_destroy(struct hv *hv, const char *uuid, struct error *err);
int fake_op_reboot(struct hv *hv, const char *uuid, struct error *err);
int fake_op_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
                   struct error *err);
int fake_op_thaw(struct hv *hv, const char *uuid, struct error *err);
int fake_op_is_frozen(struct hv *hv, const char *uuid, struct error *err);

/* The hook's answer: may this machine be started with these top files? */
int fake_check_hold(const struct fake *fake, const char *uuid, const char *top,
                    struct error *err) MUST_CHECK;

/* -- chains (fake_snapshot.c, fake_memory.c, fake_job.c)
 * -------------------------------- */

int fake_op_snapshot(struct hv *hv, const char *uuid,
                     const struct hv_disk_change *changes, size_t count,
                     bool quiesce, struct error *err);
/* Everything of a snapshot but the memory; see fake_snapshot.c. */
int fake_check_snapshot(struct fake_call *call,
                        const struct hv_disk_change *changes, size_t count,
                        struct error *err) MUST_CHECK;
int fake_switch_disks(struct fake_call *call,
                      const struct hv_disk_change *changes, size_t count,
                      struct error *err) MUST_CHECK;
int fake_op_snapshot_memory(struct hv *hv, const char *uuid,
                            const struct hv_disk_change *changes, size_t count,
                            struct hv_memory *memory, struct error *err);
int fake_op_check_memory(struct hv *hv, const char *uuid, const char *path,
                         struct error *err);
int fake_op_restore_memory(struct hv *hv, const char *uuid, const char *path,
                           const struct hv_disk_change *changes, size_t count,
                           struct error *err);
int fake_op_define_disks(struct hv *hv, const char *uuid,
                         const struct hv_disk_change *changes, size_t count,
                         struct error *err);
int fake_op_commit_start(struct hv *hv, const char *uuid, const char *target,
                         const char *top, const char *base,
                         uint64_t bytes_per_second, struct error *err);
int fake_op_job_query(struct hv *hv, const char *uuid, const char *target,
                      struct hv_job *ret_job, struct error *err);
int fake_op_job_wait(struct hv *hv, const char *uuid, const char *target,
                     int64_t timeout_ms, hv_job_progress *progress,
                     void *context, struct hv_job *ret_job, struct error *err);
int fake_op_pivot(struct hv *hv, const char *uuid, const char *target,
                  struct error *err);
int fake_op_job_abort(struct hv *hv, const char *uuid, const char *target,
                      struct error *err);
int fake_op_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                          uint64_t bytes_per_second, struct error *err);
/* Bring a running job to its end or to ready. */
int fake_job_run(struct fake_call *call, struct fake_disk *disk,
                 struct error *err) MUST_CHECK;

/* -- limits (fake_limits.c) ------------------------------------------------ */

int fake_op_limits(struct hv *hv, const char *uuid, const char *target,
                   char **ret, struct error *err);
int fake_op_limits_lower(struct hv *hv, const char *uuid, const char *target,
                         const char *limits, uint64_t bytes_per_second,
                         struct error *err);
int fake_op_limits_restore(struct hv *hv, const char *uuid, const char *target,
                           const char *limits, uint64_t bytes_per_second,
                           struct error *err);

/* -- disks (fake_disk.c) -------------------------------------------------- */

/* As libvirt would print it, without what only a definition knows. */
char *fake_print_xml(const struct fake_machine *machine);

int fake_op_resize(struct hv *hv, const char *uuid, const char *target,
                   uint64_t bytes, struct error *err);
int fake_op_attach_disk(struct hv *hv, const char *uuid,
                        const struct hv_new_disk *disk, struct error *err);
int fake_op_detach_disk(struct hv *hv, const char *uuid, const char *target,
                        int64_t timeout_ms, struct error *err);
int fake_op_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
                        uint64_t memory_bytes, bool may_run, struct error *err);

/* -- images (fake_image.c) ------------------------------------------------ */

/* The file's backing file, absolute; NULL when it has none. */
int fake_image_backing(const char *path, char **ret_backing, struct error *err)
    MUST_CHECK;
/* The chain from `top` down, as QEMU would open it. */
int fake_image_chain(const char *top, struct fake_paths *ret_chain,
                     struct error *err) MUST_CHECK;
int fake_image_write(struct fake *fake, const struct fake_paths *chain,
                     const void *buffer, uint64_t offset, size_t length,
                     struct error *err) MUST_CHECK;
/* Merge chain[from .. to - 1] into chain[to]. */
int fake_image_commit(struct fake *fake, const struct fake_paths *chain,
                      size_t from, size_t to, struct error *err) MUST_CHECK;
int fake_image_resize(struct fake *fake, const struct fake_paths *chain,
                      uint64_t bytes, struct error *err) MUST_CHECK;
int fake_image_rebase(struct fake *fake, const char *path, const char *base,
                      struct error *err) MUST_CHECK;

#endif
