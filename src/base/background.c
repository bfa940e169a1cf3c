/* SPDX-License-Identifier: Apache-2.0 */
#include "base/background.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/ioprio.h, which user space has only since 5.15. */
#define IOPRIO_OF_THREAD 1
#define IOPRIO_IDLE (3 << 13)

struct call {
    int (*function)(void *context, struct error *err);
    void *context;
    struct error *err; /* borrowed */
    int result;
};

static void *
run(void *argument)
{
    struct call *call = argument;
    const struct sched_param none = {.sched_priority = 0};

    /* Where it is not allowed it is done with the priority that we have. */
    (void)sched_setscheduler(0, SCHED_IDLE, &none);
    (void)syscall(SYS_ioprio_set, IOPRIO_OF_THREAD, 0, IOPRIO_IDLE);
    call->result = call->function(call->context, call->err);
    return NULL;
}

int
background_run(int (*function)(void *context, struct error *err), void *context,
               struct error *err)
{
    struct call call = {.function = function, .context = context, .err = err};
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, run, &call);

    if (failed != 0)
        return error_set_errno(err, failed, "start a thread");
    (void)pthread_join(thread, NULL); /* it exists */
    return call.result;
}
