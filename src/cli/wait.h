/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.h -- jobs: start one, wait for it, show how it goes.
 */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include "base/compiler.h"
#include "base/error.h"
#include "cli/cli.h"

#include <jansson.h>

/**
 * wait_for_job(cli, job, ret_result, err):
 * Wait until the job has ended.  A daemon that goes away meanwhile is waited
 * for: a minute, or as long as --timeout says.
 *
 * Ownership:  *ret_result is the caller's: the job's "jobresult".
 * Returns:    0, or -1 with *err set to the job's own error, or
 *               ERROR_TIMEOUT    --timeout ended the wait, the job goes on;
 *               ERROR_CANCELLED  so did an interrupt, or the job was
 *                                cancelled.
 */
int wait_for_job(struct cli *cli, const char *job, json_t **ret_result,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

#define WAIT_ID_SIZE 37

struct wait_outcome {
    json_t *result;         /* owned: the job's result; NULL: not waited for */
    char id[WAIT_ID_SIZE];  /* of the object that was made, or "" */
    char job[WAIT_ID_SIZE]; /* also when it failed; "" when none was begun */
};
void wait_outcome_release(struct wait_outcome *outcome) NONNULL(1);
#define AUTO_OUTCOME CLEANUP(wait_outcome_release)

/**
 * wait_run(cli, command, params, ret_outcome, err):
 * Start an asynchronous command and wait for its job.  With --no-wait the
 * job's id is printed, and there is no result.
 *
 * Ownership:  `params` is handed over, as for client_call().
 * Returns:    as client_call() and wait_for_job(): 1 when it has ended, 0 when
 *             nobody waits, -1 with *err set.
 */
int wait_run(struct cli *cli, const char *command, json_t *params,
             struct wait_outcome *ret_outcome, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

#endif
