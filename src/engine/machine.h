/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h -- jobs about a machine as a whole: power, settling, release.
 */
#ifndef ENGINE_MACHINE_H
#define ENGINE_MACHINE_H

#include "engine/job.h"

job_function machine_run_start;
job_function machine_run_stop;
job_function machine_run_reboot;
job_function machine_run_settle;

/* Merge everything, forget the machine: plain chains, an untouched domain. */
job_function machine_run_release;

#endif
