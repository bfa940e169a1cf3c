/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_cases.h -- what every kind of hypervisor promises, as cases that run on
 * any of them.
 */
#ifndef TESTS_CONFORMANCE_HV_CASES_H
#define TESTS_CONFORMANCE_HV_CASES_H

#include "hv/hv.h"

#include <stddef.h>

/* A machine to play with.  Every case leaves it stopped, its disks changed. */
struct hv_bed {
    struct hv *hv;
    const char *uuid;
    const char *directory; /* for overlays; the hypervisor reads there */
    bool has_agent;        /* the guest has one that comes up */
    /* Wait until the guest's agent answers; NULL when it does at once. */
    bool (*wait_for_agent)(struct hv_bed *bed);
};

/* Run all cases; TAP lines go to standard output.  The exit status. */
int hv_cases_run(struct hv_bed *bed);

#endif
