/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offering.h -- jobs of backup offerings.  Rules: semantics 5.2, 5.4, 6.8.
 */
#ifndef ENGINE_OFFERING_H
#define ENGINE_OFFERING_H

#include "engine/job.h"

job_function offering_run_import;
job_function offering_run_assign;
job_function offering_run_remove;

#endif
