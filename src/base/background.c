/* SPDX-License-Identifier: Apache-2.0 */
#include "base/background.h"

#include "base/log.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/ioprio.h, which user space has only since 5.15. */
#define IOPRIO_OF_THREAD 1
#define IOPRIO_IDLE (3 << 13)

struct call {
    enum background_degree degree;
    int (*function)(void *context, struct error *err);
    void *context;
    const char *log_context; /* borrowed from the thread that waits */
    struct error *err;       /* borrowed */
    int result;
};

/* On Linux the nice value is a thread's own, 0 being the one that asks. */
static void
lower_processor(enum background_degree degree)
{
    const struct sched_param none = {.sched_priority = 0};

    /* Where it is not allowed it is done with the priority that we have. */
    if (degree == BACKGROUND_IDLE)
        (void)sched_setscheduler(0, SCHED_IDLE, &none);
    else
        (void)setpriority(PRIO_PROCESS, 0,
                          MIN(getpriority(PRIO_PROCESS, 0) + BACKGROUND_NICE,
                              BACKGROUND_NICE_MOST));
}

static void *
run(void *argument)
{
    struct call *call = argument;

    log_set_context(call->log_context);
    lower_processor(call->degree);
    (void)syscall(SYS_ioprio_set, IOPRIO_OF_THREAD, 0, IOPRIO_IDLE);
    call->result = call->function(call->context, call->err);
    return NULL;
}

int
background_run(enum background_degree degree,
               int (*function)(void *context, struct error *err), void *context,
               struct error *err)
{
    struct call call = {.degree = degree,
                        .function = function,
                        .context = context,
                        .log_context = log_context(),
                        .err = err};
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, run, &call);

    if (failed != 0)
        return error_set_errno(err, failed, "start a thread");
    (void)pthread_join(thread, NULL); /* it exists */
    return call.result;
}
