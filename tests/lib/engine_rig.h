/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_rig.h -- the whole engine on the hypervisor in files, with a model
 * of what the guest's disks must hold.
 *
 * Everything lies in one directory with a fixed path, so that a rig can be
 * put aside and brought back (rig_save, rig_load) although the database names
 * absolute paths.  Jobs run in the calling thread, or, with `workers`, in the
 * engine's own, and the hypervisor's events are followed as by the daemon.
 */
#ifndef TESTS_LIB_ENGINE_RIG_H
#define TESTS_LIB_ENGINE_RIG_H

#include "engine/engine.h"
#include "engine/requests.h"
#include "engine/tree.h"

#include <stdbool.h>
#include <stdint.h>

#define RIG_VOLUMES_MAX 3
#define RIG_OTHERS_MAX 5
#define RIG_FIXED_MAX ((size_t)8 << 20)
#define RIG_DISK_SIZE ((uint64_t)1 << 20)
#define RIG_VM "6f1c2a34-1111-4222-8333-444455556666"

/* What every volume held at some moment; NULL where it was not there. */
struct rig_content {
    uint8_t *disks[RIG_VOLUMES_MAX]; /* owned */
    uint64_t sizes[RIG_VOLUMES_MAX];
    uint64_t memory; /* of the guest when it runs */
    uint64_t nvram;  /* what its UEFI variables hold; 0: it has none */
};

/* A wish is known to the model only: what the disks may become. */
enum rig_kind { RIG_SNAPSHOT, RIG_BACKUP, RIG_VOLUME_SNAPSHOT, RIG_WISH };

/* A snapshot (of the machine or of a volume) or backup that the model knows. */
struct rig_point {
    enum rig_kind kind;
    char uuid[UUID_TEXT_SIZE];
    struct rig_content content;
};

/* A file that nobody may change, as it was. */
struct rig_fixed {
    char *path;  /* owned */
    char *bytes; /* owned */
    size_t length;
};

struct rig {
    char *directory;  /* owned */
    const char *pool; /* name of the directory that holds the disks */
    const char *vm;   /* the machine's uuid */
    size_t volumes;
    unsigned workers; /* 0: jobs run in the calling thread; set while closed */
    bool is_raw;      /* its disks at the start */
    bool may_leak;    /* processes died: images may have leaked clusters */
    struct watch *watch;
    struct state *state;
    struct hv *hv;
    struct storage *storage;
    struct engine *engine;
    struct caller caller;
    struct rig_content now;
    struct rig_point *points; /* owned */
    size_t point_count;
    struct rig_fixed fixed[2 * RIG_VOLUMES_MAX];
    size_t fixed_count;
    uint64_t seed;
    char offering[UUID_TEXT_SIZE];
};

/* A new rig: a machine with `volumes` empty qcow2 disks and an offering with
 * chains of `chain_size`.  `foreign`: the disks rest on a template that
 * another image rests on too.  Ends the program when it cannot. */
struct rig *rig_new(size_t volumes, int64_t chain_size, bool foreign);
/* The same with raw disks, on a storage that can clone them. */
struct rig *rig_new_raw(size_t volumes, int64_t chain_size);
void rig_free(struct rig *rig); /* removes the directory */

/*
 * Another machine in the same engine, with a model of its own; `index` is
 * below RIG_OTHERS_MAX.  When `first` was opened again, follow it.  It is
 * freed before `first`.
 */
struct rig *rig_new_beside(const struct rig *first, size_t index,
                           size_t volumes);
void rig_follow(struct rig *rig, const struct rig *first);
void rig_free_beside(struct rig *rig);

/* Stop and start again what lives in the process: settles. */
void rig_close(struct rig *rig);
int rig_open(struct rig *rig, struct error *err);

/* Put the directory aside, bring it back; the rig is closed for both. */
void rig_save(struct rig *rig);
void rig_load(struct rig *rig);

uint64_t rig_random(struct rig *rig, uint64_t below);
bool rig_is_running(struct rig *rig);

/* Start or stop the machine as from outside. */
void rig_power(struct rig *rig, bool on);
int rig_try_power(struct rig *rig, bool on, struct error *err);
/* The guest writes something somewhere, and sometimes zeros. */
void rig_guest_write(struct rig *rig);
int rig_try_guest_write(struct rig *rig, struct error *err);
/* From now on the machine has UEFI variables; the guest writes there too. */
void rig_add_nvram(struct rig *rig);
/* The image is resized from outside while the machine is stopped. */
void rig_resize(struct rig *rig, size_t volume, uint64_t size);

/* A global setting. */
void rig_setting(struct rig *rig, const char *name, const char *value);

/* Requests, run to their end.  0 when the job succeeded; else -1 and *err. */
int rig_snapshot(struct rig *rig, bool quiesce, char *ret_uuid,
                 struct error *err);
int rig_memory_snapshot(struct rig *rig, char *ret_uuid, struct error *err);
int rig_revert(struct rig *rig, const char *uuid, struct error *err);
int rig_delete_snapshot(struct rig *rig, const char *uuid, struct error *err);
int rig_backup(struct rig *rig, bool isolated, char *ret_uuid,
               struct error *err);
int rig_restore(struct rig *rig, const char *uuid, struct error *err);
int rig_delete_backup(struct rig *rig, const char *uuid, struct error *err);
/* `oldest` NULL: down to the full. */
int rig_fold(struct rig *rig, const char *uuid, const char *oldest, bool verify,
             struct error *err);
/* Of the machine's volume number i. */
int rig_volume_snapshot(struct rig *rig, size_t i, char *ret_uuid,
                        struct error *err);
int rig_delete_volume_snapshot(struct rig *rig, const char *uuid,
                               struct error *err);
/* Other CPUs and memory: `vcpus`, and 64 MiB for each. */
int rig_scale(struct rig *rig, unsigned vcpus, struct error *err);
int rig_settle(struct rig *rig, struct error *err);

int rig_destroy(struct rig *rig, bool expunge, struct error *err);
int rig_grow(struct rig *rig, const char *volume, uint64_t size,
             struct error *err);
/* A new volume of RIG_DISK_SIZE; it has no file yet. */
int rig_create_volume(struct rig *rig, char *ret_uuid, struct error *err);
int rig_attach(struct rig *rig, const char *volume, struct error *err);
int rig_detach(struct rig *rig, const char *volume, struct error *err);
int rig_delete_volume(struct rig *rig, const char *volume, struct error *err);
/* The uuid of the machine's volume number i. */
void rig_volume(struct rig *rig, size_t i, char ret_uuid[UUID_TEXT_SIZE]);

/* The model's side. */
void rig_learn(struct rig *rig, enum rig_kind kind, const char *uuid);
void rig_forget(struct rig *rig, const char *uuid);
void rig_go_back(struct rig *rig, const char *uuid);
const struct rig_point *rig_find(struct rig *rig, const char *uuid);
void rig_content_copy(struct rig_content *to, const struct rig_content *from);
void rig_content_release(struct rig_content *content);

/* A libvirt that lost track of a running disk is set right by a stop only:
 * does the machine's problem say that? */
bool rig_needs_stop(struct rig *rig);

/* What an operation that may have failed may have done. */
struct rig_outcome {
    bool is_done;               /* it said so: what may be, must be */
    bool makes_snapshot;        /* one that reads as the disks do */
    bool makes_backup;          /* likewise */
    bool makes_volume_snapshot; /* likewise, one disk */
    const char *removes;        /* this point, or NULL */
    const char *goes_back;      /* the disks read as this point, or NULL */
};

/**
 * rig_learn_outcome(rig, outcome, err):
 * Look at what there is and bring the model up to date: points that were made
 * or removed, disks that went back.  Whatever the outcome does not allow is
 * an error: a point out of nowhere, a point lost, disks half and half.
 */
int rig_learn_outcome(struct rig *rig, const struct rig_outcome *outcome,
                      struct error *err);

/**
 * rig_check(rig, deep, err):
 * Every invariant: the active disks read as the model says, and a guest that
 * runs has the memory that belongs to them; every point of
 * the model is there, Ready or BackedUp, and reads as it was; points that are
 * not in the model read as their own roots; the files on disk are exactly
 * those on record, and templates are untouched; nothing is held, frozen or
 * journalled; every image passes qemu-img check when `deep`.
 */
int rig_check(struct rig *rig, bool deep, struct error *err);

#endif
