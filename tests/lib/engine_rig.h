/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_rig.h -- the whole engine on the hypervisor in files, with a model
 * of what the guest's disks must hold.
 *
 * Everything lies in one directory with a fixed path, so that a rig can be
 * put aside and brought back (rig_save, rig_load) although the database names
 * absolute paths.  Jobs run in the calling thread.
 */
#ifndef TESTS_LIB_ENGINE_RIG_H
#define TESTS_LIB_ENGINE_RIG_H

#include "engine/engine.h"
#include "engine/requests.h"
#include "engine/tree.h"

#include <stdbool.h>
#include <stdint.h>

#define RIG_VOLUMES_MAX 3
#define RIG_DISK_SIZE ((uint64_t)1 << 20)
#define RIG_VM "6f1c2a34-1111-4222-8333-444455556666"

/* What every volume held at some moment; NULL where it was not there. */
struct rig_content {
    uint8_t *disks[RIG_VOLUMES_MAX]; /* owned */
    uint64_t sizes[RIG_VOLUMES_MAX];
};

enum rig_kind { RIG_SNAPSHOT, RIG_BACKUP };

/* A snapshot or backup that the model knows. */
struct rig_point {
    enum rig_kind kind;
    char uuid[UUID_TEXT_SIZE];
    struct rig_content content;
};

struct rig {
    char *directory; /* owned */
    size_t volumes;
    struct state *state;
    struct hv *hv;
    struct engine *engine;
    struct caller caller;
    struct rig_content now;
    struct rig_point *points; /* owned */
    size_t point_count;
    uint64_t seed;
    char offering[UUID_TEXT_SIZE];
};

/* A new rig: a machine with `volumes` empty qcow2 disks and an offering with
 * chains of `chain_size`.  `foreign`: the disks rest on a template that
 * another image rests on too.  Ends the program when it cannot. */
struct rig *rig_new(size_t volumes, int64_t chain_size, bool foreign);
void rig_free(struct rig *rig); /* removes the directory */

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
/* The guest writes something somewhere, and sometimes zeros. */
void rig_guest_write(struct rig *rig);
/* The image is resized from outside while the machine is stopped. */
void rig_resize(struct rig *rig, size_t volume, uint64_t size);

/* Requests, run to their end.  0 when the job succeeded; else -1 and *err. */
int rig_snapshot(struct rig *rig, bool quiesce, char *ret_uuid,
                 struct error *err);
int rig_revert(struct rig *rig, const char *uuid, struct error *err);
int rig_delete_snapshot(struct rig *rig, const char *uuid, struct error *err);
int rig_backup(struct rig *rig, bool isolated, char *ret_uuid,
               struct error *err);
int rig_restore(struct rig *rig, const char *uuid, struct error *err);
int rig_delete_backup(struct rig *rig, const char *uuid, struct error *err);

/* The model's side. */
void rig_learn(struct rig *rig, enum rig_kind kind, const char *uuid);
void rig_forget(struct rig *rig, const char *uuid);
void rig_go_back(struct rig *rig, const char *uuid);
const struct rig_point *rig_find(struct rig *rig, const char *uuid);
void rig_content_copy(struct rig_content *to, const struct rig_content *from);
void rig_content_release(struct rig_content *content);

/**
 * rig_check(rig, also, err):
 * Every invariant: the active disks read as the model says (or as `also`, if
 * that is not NULL); every Ready snapshot and BackedUp backup reads as it was;
 * points not in the model are checked against nothing but their own roots;
 * the files on disk are exactly those on record; nothing is held, journalled
 * or staged; every image passes qemu-img check when `deep`.
 */
int rig_check(struct rig *rig, const struct rig_content *also, bool deep,
              struct error *err);

#endif
