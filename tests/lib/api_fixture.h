/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_fixture.h -- a database with somebody and something of everything, an
 * engine double and the API in front of them.
 *
 *     ROOT    accounts admin (root admin), guest (user)
 *     sub     accounts chief (domain admin), worker (user)
 *
 * Each of admin, guest and worker has a machine with a volume of two layers,
 * two VM snapshots, a snapshot of the volume and a backup, a job and an event.
 * Ids are made from FIXTURE_ID(kind, owner).
 */
#ifndef TESTS_LIB_API_FIXTURE_H
#define TESTS_LIB_API_FIXTURE_H

#include "api/api.h"
#include "api_ask.h"
#include "engine_double.h"
#include "hv/hv.h"
#include "state/state.h"

/* 'kind' as below; 'owner' 1 admin, 2 guest, 3 worker. */
#define FIXTURE_ID(kind, owner)                                                \
    "0a0000" kind "-0000-4000-8000-00000000000" owner
#define FIXTURE_ZONE "01"
#define FIXTURE_CLUSTER "02"
#define FIXTURE_HOST "03"
#define FIXTURE_POOL "04"
#define FIXTURE_STORE "05"
#define FIXTURE_DOMAIN "06"  /* 1 ROOT, 2 sub */
#define FIXTURE_ACCOUNT "07" /* 1 admin, 2 guest, 3 worker, 4 chief */
#define FIXTURE_USER "08"
#define FIXTURE_VM "10"
#define FIXTURE_VOLUME "11"
#define FIXTURE_SNAPSHOT "12"        /* Ready, the current one */
#define FIXTURE_SNAPSHOT_PARENT "13" /* Ready, its parent */
#define FIXTURE_SNAPSHOT_HIDDEN "14" /* between the two */
#define FIXTURE_BACKUP "15"
#define FIXTURE_JOB "16"
#define FIXTURE_EVENT "17"
#define FIXTURE_VOLUME_SNAPSHOT "22"
#define FIXTURE_SERVICE_OFFERING "23" /* 1 */
#define FIXTURE_NATIVE "18"           /* 1, and 2: removed */
#define FIXTURE_OFFERING "19"         /* 1, and 2: not for users */
#define FIXTURE_REMOVED "20"          /* VM 1, backup 2, snapshot 3 */
#define FIXTURE_NOBODY FIXTURE_ID("ff", "9")

struct fixture {
    char directory[64];
    struct state *state;
    struct engine *engine;
    struct api *api;
};

/* True when all is there. */
bool fixture_start(struct fixture *fixture, struct hv *hv);
void fixture_stop(struct fixture *fixture);

/* Ask as "admin", "guest", "worker" or "chief", API_ASK_PEER or
 * API_ASK_STRANGER; see api_ask.h. */
void fixture_ask(struct fixture *fixture, const char *who, const char *query,
                 struct answer *ret_answer);

#endif
