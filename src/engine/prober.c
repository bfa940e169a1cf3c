/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question belongs to its asker and to its thread; whoever lets go of it
 * last frees it.  One that was given up stays in the prober's list until its
 * answer has come: it is what says that the folder hangs.
 */
#include "engine/prober.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/vec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PATIENCE_MS 2000
/* Threads that hang at once; a host has fewer storages than that. */
#define HANGING_MAX 64

struct question {
    struct lock lock; /* a leaf of docs/internals/locking.md */
    struct signal answered;
    unsigned holders;          /* under lock */
    bool is_answered;          /* under lock */
    int failed;                /* under lock; errno */
    struct prober_about about; /* under lock */
    prober_probe *probe;
    char *folder; /* owned */
    char *path;   /* owned */
};

struct prober {
    prober_probe *probe;
    int64_t patience_ms;
    struct lock lock;
    struct VEC(struct question *) hanging; /* under lock; held */
};

static int
probe_host(const char *path, struct prober_about *ret)
{
    struct statvfs space;
    struct stat about;

    if (statvfs(path, &space) < 0 || stat(path, &about) < 0)
        return -1;
    *ret = (struct prober_about){
        .device = about.st_dev,
        .size = (uint64_t)space.f_blocks * space.f_frsize,
        .available = (uint64_t)space.f_bavail * space.f_frsize,
        .allocated = (uint64_t)about.st_blocks * 512,
    };
    return 0;
}

/* -- a question ------------------------------------------------------------ */

static struct question *
question_new(prober_probe *probe, const char *folder, const char *path)
{
    struct question *question = xcalloc(1, sizeof(*question));

    lock_init(&question->lock);
    signal_init(&question->answered);
    question->holders = 2;
    question->probe = probe;
    question->folder = xstrdup(folder);
    question->path = xstrdup(path);
    return question;
}

static void
let_go(struct question *question)
{
    unsigned left;

    lock_take(&question->lock);
    left = --question->holders;
    lock_give(&question->lock);
    if (left > 0)
        return;
    signal_release(&question->answered);
    lock_release(&question->lock);
    free(question->folder);
    free(question->path);
    free(question);
}

static void *
answer(void *context)
{
    struct question *question = context;
    struct prober_about about = {.size = 0};
    int failed = question->probe(question->path, &about) < 0 ? errno : 0;

    lock_take(&question->lock);
    question->about = about;
    question->failed = failed;
    question->is_answered = true;
    signal_wake_all(&question->answered);
    lock_give(&question->lock);
    let_go(question);
    return NULL;
}

/* A thread that nobody joins: 0 or an errno. */
static int
start(struct question *question)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int failed = pthread_attr_init(&attributes);

    if (failed != 0)
        return failed;
    failed = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (failed == 0)
        failed = pthread_create(&thread, &attributes, answer, question);
    (void)pthread_attr_destroy(&attributes);
    return failed;
}

/* Wait until then; -1 when there is no answer yet, else 0 and *ret_failed. */
static int
wait_for_answer(struct question *question, int64_t deadline_ms,
                struct prober_about *ret, int *ret_failed)
{
    int result;

    lock_take(&question->lock);
    while (!question->is_answered && clock_monotonic_ms() < deadline_ms)
        (void)signal_wait_until(&question->answered, &question->lock,
                                deadline_ms);
    result = question->is_answered ? 0 : -1;
    *ret = question->about;
    *ret_failed = question->failed;
    lock_give(&question->lock);
    return result;
}

/* -- the prober ------------------------------------------------------------ */

struct prober *
prober_new(prober_probe *probe, int64_t patience_ms)
{
    struct prober *prober = xcalloc(1, sizeof(*prober));

    prober->probe = probe != NULL ? probe : probe_host;
    prober->patience_ms = patience_ms > 0 ? patience_ms : PATIENCE_MS;
    lock_init(&prober->lock);
    return prober;
}

void
prober_free(struct prober *prober)
{
    if (prober == NULL)
        return;
    vec_for (struct question **, question, &prober->hanging)
        let_go(*question);
    vec_release(&prober->hanging);
    lock_release(&prober->lock);
    free(prober);
}

/* Let go of those whose answer has come after all.  0 when this folder may be
 * asked, or an errno. */
static int
check_folder_locked(struct prober *prober, const char *folder)
{
    struct prober_about ignored;
    size_t kept = 0;
    int failed = 0;
    int other;

    for (size_t i = 0; i < prober->hanging.count; i++) {
        struct question *question = prober->hanging.items[i];

        if (wait_for_answer(question, 0, &ignored, &other) == 0) {
            let_go(question);
            continue;
        }
        if (strcmp(question->folder, folder) == 0)
            failed = ETIMEDOUT;
        prober->hanging.items[kept++] = question;
    }
    prober->hanging.count = kept;
    return failed != 0 || kept < HANGING_MAX ? failed : EAGAIN;
}

static int
check_folder(struct prober *prober, const char *folder)
{
    int failed;

    lock_take(&prober->lock);
    failed = check_folder_locked(prober, folder);
    lock_give(&prober->lock);
    return failed;
}

static void
give_up(struct prober *prober, struct question *question)
{
    lock_take(&prober->lock);
    vec_push(&prober->hanging, question);
    lock_give(&prober->lock);
}

int
prober_ask(struct prober *prober, const char *folder, const char *path,
           struct prober_about *ret)
{
    int failed = check_folder(prober, folder);
    struct question *question = NULL;

    if (failed == 0) {
        question = question_new(prober->probe, folder, path);
        failed = start(question);
        if (failed != 0)
            let_go(question); /* the thread's part */
        else if (wait_for_answer(question,
                                 clock_monotonic_ms() + prober->patience_ms,
                                 ret, &failed) < 0) {
            give_up(prober, question);
            question = NULL;
            failed = ETIMEDOUT;
        }
    }
    if (question != NULL)
        let_go(question);
    errno = failed;
    return failed == 0 ? 0 : -1;
}
