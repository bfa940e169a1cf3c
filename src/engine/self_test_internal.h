/* SPDX-License-Identifier: Apache-2.0 */
/*
 * self_test_internal.h -- what the files of the self-test share.
 */
#ifndef ENGINE_SELF_TEST_INTERNAL_H
#define ENGINE_SELF_TEST_INTERNAL_H

#include "base/strbuf.h"
#include "base/uuid.h"
#include "engine/access.h"
#include "engine/engine_internal.h"
#include "engine/job.h"
#include "engine/self_test.h"
#include "engine/tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SELF_TEST_DISKS 2

/* Whose a file is, as the hypervisor's process and its security driver see
 * it. */
struct self_test_owner {
    uid_t uid;
    gid_t gid;
    mode_t mode;
    char label[256]; /* SELinux; "" without */
};

/* What the guest has counted to, on each disk. */
struct self_test_marks {
    uint32_t count[SELF_TEST_DISKS];
};

struct self_test {
    struct engine *engine; /* borrowed; the daemon's */
    struct job *job;       /* borrowed */

    /* Where everything is; all owned. */
    char uuid[UUID_TEXT_SIZE];
    char *name;       /* of the machine */
    char *home;       /* record and database */
    char *folder;     /* the disks; NULL until it is chosen */
    char *repository; /* of its own */
    char *sample;     /* a disk of an ordinary machine, or NULL */

    /* Its own engine; NULL until it is made. */
    struct state *state; /* owned */
    struct engine *own;  /* owned */
    struct caller caller;
    int64_t vm_id;   /* in its own database */
    bool is_managed; /* its layers are on record there */

    bool can_kvm;  /* libvirt took a definition for KVM */
    bool uses_kvm; /* and the guest runs so */
    char why_not[ERROR_MESSAGE_MAX];
    struct self_test_owner owners[SELF_TEST_DISKS]; /* of the first files */
    char snapshots[2][UUID_TEXT_SIZE];
    char backups[2][UUID_TEXT_SIZE];
    struct self_test_marks before[2]; /* when these backups were asked for */
    struct self_test_marks after[2];  /* and when they had been taken */
};

/* -- self_test_place.c: where, and its removal ---------------------------- */

/* Choose names and the folder; write them down.  From here on
 * self_test_remove() must follow. */
int self_test_choose(struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Make folder, database, repository and the engine over them. */
int self_test_make_place(struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* End the test's own engine, then remove machine, hold, folders and record.
 */
int self_test_remove(struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

void self_test_release(struct self_test *test) NONNULL(1);

/* -- self_test_guest.c: the machine and what is in it --------------------- */

extern const char *const self_test_targets[SELF_TEST_DISKS];

/* Absolute name of a disk's first file; the caller's to free. */
char *self_test_disk_path(const struct self_test *test, size_t disk)
    MUST_CHECK NONNULL(1);

/* Make the disks, with known content, owner and mode those of the sample. */
int self_test_make_disks(const struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Its definition, for KVM or for QEMU alone; the caller's to free. */
char *self_test_xml(const struct self_test *test, bool kvm)
    MUST_CHECK NONNULL(1);

/* What the guest wrote last, as the disks' files have it; `live`: it runs. */
int self_test_read_marks(const struct self_test *test, bool live,
                         struct self_test_marks *ret_marks, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * self_test_wait(test, from, timeout_ms, ret_marks, err):
 * Wait until the guest has counted past `from` on both disks.
 *
 * Returns:    0, or -1 with *err set to ERROR_TIMEOUT or ERROR_CANCELLED.
 */
int self_test_wait(const struct self_test *test,
                   const struct self_test_marks *from, int64_t timeout_ms,
                   struct self_test_marks *ret_marks, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/* Everything on the disks but what the guest counts is as it was made;
 * ERROR_CORRUPT names the disk and the place. */
int self_test_check_content(const struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* The chain of a disk as the test's own record has it, top first; the
 * caller frees it, *ret_tree holds its names. */
struct image_ref *self_test_chain(const struct self_test *test, size_t disk,
                                  struct tree **ret_tree, size_t *ret_count,
                                  struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5);

/* -- self_test_steps.c: what is done -------------------------------------- */

/* 0 done, 1 done with a warning, -1 failed.  What is worth saying (always with
 * a warning) goes to `say`. */
typedef int self_test_function(struct self_test *test, struct strbuf *say,
                               struct error *err);

struct self_test_step {
    const char *name; /* for programs */
    const char *text; /* for people, while it runs */
    self_test_function *run;
    const char *remedy; /* where to look when it fails */
};

extern const struct self_test_step self_test_steps[];
extern const size_t self_test_step_count;

#define SELF_TEST_GUEST_MS 60000 /* for a mark of the guest */

extern const struct self_test_marks self_test_no_marks;

/* Run what was asked of the test's own engine, to its end; 0, or -1 with the
 * job's error. */
int self_test_finish(struct self_test *test, const struct ticket *ticket,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* It is off, and the test's own engine knows. */
int self_test_power_off(struct self_test *test, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* -- self_test_backup.c --------------------------------------------------- */

self_test_function self_test_backup_full;
self_test_function self_test_backup_incremental;
self_test_function self_test_verify;
self_test_function self_test_restore_full;
self_test_function self_test_restore_incremental;
self_test_function self_test_boot;

#endif
