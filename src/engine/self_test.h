/* SPDX-License-Identifier: Apache-2.0 */
/*
 * self_test.h -- try the host with a guest that is made for it.
 *
 * A self-test defines a small machine under the host's own hypervisor and
 * storage, and runs the product's own operations on it: snapshots, merges,
 * backups, restores.  It has an engine of its own for that, with a database
 * and a repository that are gone afterwards, so that nothing of it is ever
 * listed, counted or kept; the daemon's inventory does not see the machine.
 *
 * What it makes is written down before it is made, as the file
 * <state-dir>/self-test/<uuid>/record, and removed at the end, however that
 * comes: after a death of the daemon at the next start, or when the
 * hypervisor is back.
 *
 * docs/internals/self-test.md has the steps and the invariants.
 */
#ifndef ENGINE_SELF_TEST_H
#define ENGINE_SELF_TEST_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/job.h"
#include "hv/hv.h"

#include <stdbool.h>

/* Name of the machine, and of its folders; its uuid follows. */
#define SELF_TEST_PREFIX "varve-self-test-"

/* The guest of a self-test, ours or that of another daemon. */
bool self_test_is_guest(const struct hv_machine *machine) NONNULL(1);

job_function self_test_run;

/* Remove what earlier self-tests left. */
job_function self_test_run_removal;

/**
 * self_test_settle(engine, err):
 * Remove what self-tests that ended with their daemon left: the machine that
 * has the record's uuid and our name for it, and the folders that the record
 * names; nothing else.  What cannot be removed now stays on record.
 *
 * Blocks:     on the hypervisor.  No self-test may be under way.
 */
int self_test_settle(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Queue a job that does it, behind a self-test that is under way; nothing
 * when there is no record. */
int self_test_request_settle(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
