/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupt.h -- Ctrl-C as something that is looked for, so that a job's id is
 * always printed before we end.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT, SIGTERM and SIGHUP do not end the process. */
void interrupt_begin(void);

/* True when one has come since interrupt_begin(); false before it. */
bool interrupt_has_come(void);

/* Readable once one has come; -1 before interrupt_begin(). */
int interrupt_fd(void);

/* Wait for so long; true when it ended early by an interrupt. */
bool interrupt_wait(int timeout_ms);

#endif
