/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>

/* Readable while a blocked signal waits; it is never read, so that an
 * interrupt stays one. */
static int signal_fd = -1;

void
interrupt_begin(void)
{
    sigset_t signals;

    if (signal_fd >= 0)
        return;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) == 0)
        signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

int
interrupt_fd(void)
{
    return signal_fd;
}

bool
interrupt_wait(int timeout_ms)
{
    struct pollfd wait = {.fd = signal_fd, .events = POLLIN};

    return poll(&wait, 1, timeout_ms) > 0;
}

bool
interrupt_has_come(void)
{
    return signal_fd >= 0 && interrupt_wait(0);
}
