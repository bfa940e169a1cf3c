/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_internal.h -- what the files of libvirt/ share.
 *
 * Locks:      struct lv's `lock` alone; it is never held across a call into
 *             libvirt (order 4 of docs/internals/locking.md).
 */
#ifndef HV_LIBVIRT_LIBVIRT_INTERNAL_H
#define HV_LIBVIRT_LIBVIRT_INTERNAL_H

#include "base/lock.h"
#include "base/map.h"
#include "base/vec.h"
#include "hv/domain_xml.h"
#include "hv/hv_kind.h"
#include "hv/libvirt/hv_libvirt.h"

#include <libvirt/libvirt.h>
#include <pthread.h>

/* libvirtd runs five requests of one client at once; each call therefore has
 * a connection of its own. */
#define LV_CONNECTIONS_MAX 16

#define LV_OPEN_MS 20000
#define LV_AGENT_SECONDS 5

/* What the events have told about a disk's block job, or (target "") about
 * the machine; see lv_watch.c. */
struct lv_watch {
    char uuid[UUID_TEXT_SIZE];
    int ended;         /* virConnectDomainEventBlockJobStatus, or -1 */
    bool started;      /* by commit_start, and watched ever since */
    bool stopped;      /* the machine ended since */
    bool disconnected; /* events may have been missed since */
    int64_t paused_at; /* clock_monotonic_ms() of the last pause; 0: none */
    int64_t resumed_at;
};

struct lv {
    struct hv hv; /* first */
    char *uri;
    struct lock lock;
    struct signal changed; /* of anything below */
    /* All below is under lock. */
    struct VEC(virConnectPtr) idle; /* owned */
    unsigned connections;           /* idle or in a call */
    unsigned generation;            /* older connections are not kept */
    virConnectPtr events;           /* owned by the keeper; NULL: none */
    bool lost;                      /* `events` has ended */
    bool stop;
    unsigned registered;    /* callbacks that hold a pointer to us */
    struct lv *left_before; /* of those that could not be freed */
    /* Of `events`; the keeper's own, not under lock. */
    struct VEC(int) registrations;
    struct map *watches; /* "uuid/target" -> owned struct lv_watch */
    bool has_keeper;
    pthread_t keeper;
    /* One call of the handler at a time; the two below are under it. */
    struct lock handler_lock;
    hv_event_handler *handler;
    void *handler_context;
};

static inline struct lv *
lv_of(struct hv *hv)
{
    return (struct lv *)hv;
}

/* -- errors (lv_error.c) --------------------------------------------------- */

/* Set *err from libvirt's last error in this thread; returns -1. */
int lv_fail(struct error *err, const char *fmt, ...) PRINTF(2, 3);
/* libvirt's code of that error (virErrorNumber); 0 when there is none. */
int lv_last_code(void);
/* That error is QEMU refusing a node's name that one has already. */
bool lv_node_name_was_taken(void);
/* A fault point after a call: the reply is lost. */
int lv_place(const char *name, struct error *err) MUST_CHECK;

/* -- connections (lv_connect.c) ----------------------------------------------
 */

/* One call's connection and machine. */
struct lv_call {
    struct lv *lv;
    virConnectPtr conn;
    virDomainPtr domain; /* NULL for calls of no machine */
    const char *name;    /* of it; asking libvirt would forget its error */
    unsigned generation;
};

/* Once in a process: libvirt itself and its event loop. */
int lv_process_init(struct error *err) MUST_CHECK;
/* A new connection within LV_OPEN_MS. */
int lv_open(const char *uri, virConnectPtr *ret_conn, struct error *err)
    MUST_CHECK;
void lv_close(virConnectPtr conn);

/* Take a connection, look the machine up unless `uuid` is NULL. */
int lv_begin(struct hv *hv, const char *uuid, struct lv_call *call,
             struct error *err) MUST_CHECK;
/* Give all back; returns `result`. */
int lv_end(struct lv_call *call, int result, const struct error *err);

/* -- the events' connection (lv_keeper.c) ------------------------------------
 */

int lv_keeper_start(struct lv *lv, struct error *err) MUST_CHECK;
void lv_keeper_stop(struct lv *lv);
bool lv_has_events(struct lv *lv);
void lv_set_handler(struct lv *lv, hv_event_handler *handler, void *context);
void lv_emit(struct lv *lv, enum hv_event_kind kind, const char *uuid,
             enum hv_state state);

/* -- watches (lv_watch.c) ----------------------------------------------------
 */

/* The watch of a disk, made when there is none; it lives as long as `lv`. */
struct lv_watch *lv_watch_get_locked(struct lv *lv, const char *uuid,
                                     const char *target) REQUIRES(lv->lock);
/* Forget what was told; `started` as in the struct. */
void lv_watch_reset(struct lv *lv, struct lv_watch *watch, bool started);
void lv_watch_job(struct lv *lv, const char *uuid, const char *target,
                  int status);
void lv_watch_stopped(struct lv *lv, const char *uuid);
/* The machine was paused, or went on. */
void lv_watch_paused(struct lv *lv, const char *uuid, bool paused);
void lv_watch_disconnected(struct lv *lv);
void lv_watches_free(struct lv *lv);

/* -- the calls
 * ----------------------------------------------------------------- */

/* lv_query.c */
int lv_machine(const struct lv_call *call, struct hv_machine **ret_machine,
               struct error *err) MUST_CHECK;
/* ERROR_CONFLICT unless it runs, ERROR_NOT_FOUND without that disk. */
int lv_require_running_disk(const struct lv_call *call, const char *target,
                            struct error *err) MUST_CHECK;
char *lv_inactive_xml(const struct lv_call *call, struct error *err) MUST_CHECK;
int lv_op_list(struct hv *hv, struct hv_machine_list *ret, struct error *err);
int lv_op_get(struct hv *hv, const char *uuid, struct hv_machine **ret,
              struct error *err);
int lv_op_xml(struct hv *hv, const char *uuid, char **ret, struct error *err);
int lv_op_facts(struct hv *hv, struct hv_facts *ret, struct error *err);

/* lv_view.c */
/* The chain of the device `alias` in QEMU's answer to query-block. */
int lv_view_parse(const char *text, const char *alias,
                  struct hv_disk_view *view, struct error *err) MUST_CHECK;
int lv_qemu_chain(const struct lv_call *call, const char *alias,
                  struct hv_disk_view *ret_view, struct error *err) MUST_CHECK;
int lv_op_view(struct hv *hv, const char *uuid, const char *target,
               struct hv_disk_view *ret, struct error *err);
int lv_op_look(struct hv *hv, const char *uuid, const char *const *targets,
               size_t count, struct hv_look *ret, struct error *err);

/* lv_power.c */
int lv_op_start(struct hv *hv, const char *uuid, struct error *err);
int lv_op_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
                   struct error *err);
int lv_op_destroy(struct hv *hv, const char *uuid, struct error *err);
int lv_op_reboot(struct hv *hv, const char *uuid, struct error *err);

/* lv_chain.c */
int lv_op_snapshot(struct hv *hv, const char *uuid,
                   const struct hv_disk_change *changes, size_t count,
                   bool quiesce, struct error *err);
int lv_op_define_disks(struct hv *hv, const char *uuid,
                       const struct hv_disk_change *changes, size_t count,
                       struct error *err);
int lv_op_define_xml(struct hv *hv, const char *xml, struct error *err);
int lv_op_undefine(struct hv *hv, const char *uuid, struct error *err);

int lv_op_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
                      uint64_t memory_bytes, bool may_run, struct error *err);

/* lv_disk.c */
int lv_op_resize(struct hv *hv, const char *uuid, const char *target,
                 uint64_t bytes, struct error *err);
int lv_op_attach_disk(struct hv *hv, const char *uuid,
                      const struct hv_new_disk *disk, struct error *err);
int lv_op_detach_disk(struct hv *hv, const char *uuid, const char *target,
                      int64_t timeout_ms, struct error *err);

/*
 * virDomainSnapshotCreateXML(), again while a node that an earlier libvirtd
 * left in QEMU has the name that this one chooses: each try chooses others.
 */
virDomainSnapshotPtr lv_make_snapshot(const struct lv_call *call,
                                      const char *xml, unsigned flags);
/* What a snapshot call that failed has done; returns -1 with *err made true. */
int lv_explain_snapshot(const struct lv_call *call,
                        const struct hv_machine *machine,
                        const struct hv_disk_change *changes, size_t count,
                        struct error *err);

/* lv_memory.c */
int lv_op_snapshot_memory(struct hv *hv, const char *uuid,
                          const struct hv_disk_change *changes, size_t count,
                          struct hv_memory *memory, struct error *err);
int lv_op_check_memory(struct hv *hv, const char *uuid, const char *path,
                       struct error *err);
int lv_op_restore_memory(struct hv *hv, const char *uuid, const char *path,
                         const struct hv_disk_change *changes, size_t count,
                         struct error *err);

/* lv_job.c */
int lv_job_state(const struct lv_call *call, const char *target,
                 struct hv_job *ret_job, struct error *err) MUST_CHECK;
int lv_op_commit_start(struct hv *hv, const char *uuid, const char *target,
                       const char *top, const char *base,
                       uint64_t bytes_per_second, struct error *err);
int lv_op_job_query(struct hv *hv, const char *uuid, const char *target,
                    struct hv_job *ret, struct error *err);
int lv_op_job_wait(struct hv *hv, const char *uuid, const char *target,
                   int64_t timeout_ms, hv_job_progress *progress, void *context,
                   struct hv_job *ret, struct error *err);
int lv_op_pivot(struct hv *hv, const char *uuid, const char *target,
                struct error *err);
int lv_op_job_abort(struct hv *hv, const char *uuid, const char *target,
                    struct error *err);
int lv_op_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                        uint64_t bytes_per_second, struct error *err);

/* lv_limits.c */
int lv_op_limits(struct hv *hv, const char *uuid, const char *target,
                 char **ret, struct error *err);
int lv_op_limits_lower(struct hv *hv, const char *uuid, const char *target,
                       const char *limits, uint64_t bytes_per_second,
                       struct error *err);
int lv_op_limits_restore(struct hv *hv, const char *uuid, const char *target,
                         const char *limits, uint64_t bytes_per_second,
                         struct error *err);

/* lv_guest.c */
void lv_bound_agent(const struct lv_call *call, int seconds);
/* 1, 0, -1 as hv_is_frozen, of a machine that runs. */
int lv_frozen(const struct lv_call *call, struct error *err) MUST_CHECK;
int lv_thaw(const struct lv_call *call, struct error *err) MUST_CHECK;
int lv_op_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
                 struct error *err);
int lv_op_thaw(struct hv *hv, const char *uuid, struct error *err);
int lv_op_is_frozen(struct hv *hv, const char *uuid, struct error *err);

#endif
