/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_double.h -- an engine that writes down what it is asked.
 *
 * It has engine.h's and requests.h's functions, over a real database, and
 * does nothing: each request is kept as a line of text and answered with a
 * ticket, or with the error that a test has armed.  A test links it in place
 * of the engine's own request functions.
 */
#ifndef TESTS_LIB_ENGINE_DOUBLE_H
#define TESTS_LIB_ENGINE_DOUBLE_H

#include "base/error.h"
#include "engine/engine.h"

#define ENGINE_DOUBLE_JOB "0b000000-0000-4000-8000-000000000001"
#define ENGINE_DOUBLE_OBJECT "0b000000-0000-4000-8000-000000000002"

/* Both are borrowed; hv may be NULL. */
struct engine *engine_double_new(struct state *state, struct hv *hv);

/* The last request, such as "vm_stop user=3 vm=<uuid> forced=1"; "" when
 * there was none since this was last called. */
const char *engine_double_last(struct engine *engine);

/* The next request fails so. */
void engine_double_fail(struct engine *engine, enum error_code code,
                        const char *text);

/* From now on requests look up what they name, as the engine does, and fail
 * where it would. */
void engine_double_look(struct engine *engine);

/* Tell who watches that the job has ended; its row is the test's to write. */
void engine_double_end_job(struct engine *engine, const char *uuid);

/* What native_offering_create answers with. */
void engine_double_answer(struct engine *engine, const char *uuid);

#endif
