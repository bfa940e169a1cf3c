/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_cases.h -- what every kind of hypervisor promises, as cases that run on
 * any of them: hv_cases.c, or hv_cases_jobs.c.
 */
#ifndef TESTS_CONFORMANCE_HV_CASES_H
#define TESTS_CONFORMANCE_HV_CASES_H

#include "hv_bed.h"

/* Run all cases; TAP lines go to standard output.  The exit status. */
int hv_cases_run(struct hv_bed *bed);

#endif
