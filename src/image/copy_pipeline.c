/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every worker does the same in a loop:
 *
 *   1. take a ticket: the next number and the next window of the disk;
 *   2. read the window, find zeros, compute digests, and do the sink's work
 *      (compress), all in buffers of its own;
 *   3. wait until its number is up, and commit;
 *   4. let the next one in, and do what can be done after (write).
 *
 * So everything that costs is parallel, and everything that has an order is
 * ordered: digests come to their builder ascending, and places in an image do
 * not depend on the number of threads.  Memory is what the workers have in
 * hand.
 *
 * The cursor belongs to whoever has taken it, the right to commit to whoever
 * has the number; the lock only guards who that is, and is never held while
 * anything is read or written.  Nobody spins.
 *
 * The first error is kept, everybody else notices at the next step and leaves;
 * whoever waits for a turn that will not come is woken.  The calling thread is
 * one of the workers, so that a small copy makes no thread at all.
 *
 * Rates (of this copy, and one that it shares with others) are kept by giving
 * each window a time before which it is not read.  Ranges that are zero by the
 * map are not counted, they load nobody.
 */
#include "image/copy_pipeline.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/memory.h"
#include "image/copy_cursor.h"
#include "image/newfile.h"
#include "image/zeros.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 64u
#define WORKERS_MORE 2u

/* How long a cancelled copy may go on waiting for its rate. */
#define WAIT_MS 50

struct pipeline {
    const struct copy_job *job;
    const struct copy_sink *sink;
    void *context;
    struct copy_progress *progress; /* borrowed, never NULL */
    uint64_t read_before;           /* by the source */

    struct copy_cursor cursor; /* of the worker that set cursor_taken */
    struct throttle rate;      /* of this copy alone */

    struct lock lock;          /* order 4 of docs/internals/locking.md */
    struct signal cursor_free; /* or failed */
    struct signal stopped;     /* failed */
    /* Of each ticket, modulo the workers; or failed. */
    struct signal turn_came[WORKERS_MAX];
    unsigned workers;
    bool cursor_taken; /* under lock, as all below */
    uint64_t next_ticket;
    uint64_t turn; /* the ticket that may commit */
    bool failed;
    struct error error;
};

struct worker {
    struct pipeline *pipeline;
    void *own; /* the sink's */
    uint64_t ticket;
    struct copy_window window;
    unsigned changes; /* of the shared rate, when it was reserved */
};

/* -- under the lock ----------------------------------------------------- */

static int check_locked(const struct pipeline *pipeline, struct error *err)
    REQUIRES(pipeline->lock);

static int
check_locked(const struct pipeline *pipeline, struct error *err)
{
    if (pipeline->failed) {
        *err = pipeline->error;
        return -1;
    }
    if (atomic_load_explicit(&pipeline->progress->cancel, memory_order_relaxed))
        return error_set(err, ERROR_CANCELLED, "cancelled");
    return 0;
}

/* -- the steps ---------------------------------------------------------- */

static int
take_cursor(struct pipeline *pipeline, struct error *err)
{
    int result;

    lock_take(&pipeline->lock);
    while ((result = check_locked(pipeline, err)) == 0 &&
           pipeline->cursor_taken)
        signal_wait(&pipeline->cursor_free, &pipeline->lock);
    if (result == 0)
        pipeline->cursor_taken = true;
    lock_give(&pipeline->lock);
    return result;
}

/* When the shared rate allows to read the window. */
static int64_t
reserve_shared(struct worker *worker)
{
    const struct copy_window *window = &worker->window;
    struct throttle *shared = worker->pipeline->job->options->throttle;
    int64_t now_us = clock_monotonic_us();
    uint64_t reads = 0;

    if (shared == NULL)
        return now_us;
    for (size_t i = 0; i < window->piece_count; i++)
        reads += !window->pieces[i].zero;
    worker->changes = throttle_changes(shared);
    return throttle_reserve(shared, window->length, reads, now_us);
}

/* When both rates do. */
static int64_t
reserve(struct worker *worker)
{
    struct pipeline *pipeline = worker->pipeline;
    int64_t start_us = throttle_reserve(&pipeline->rate, worker->window.length,
                                        1, clock_monotonic_us());

    return MAX(start_us, reserve_shared(worker));
}

/* Give the cursor back, with the next number for what it gave. */
static int64_t
number_and_give_cursor(struct worker *worker)
{
    struct pipeline *pipeline = worker->pipeline;
    int64_t start_us = reserve(worker);

    lock_take(&pipeline->lock);
    worker->ticket = pipeline->next_ticket++;
    pipeline->cursor_taken = false;
    signal_wake_one(&pipeline->cursor_free);
    lock_give(&pipeline->lock);
    return start_us;
}

/* Wait a moment for the rate; a failure or a cancel ends it before. */
static int
wait_a_moment(struct pipeline *pipeline, int64_t rest_us, struct error *err)
{
    int64_t wait_ms = MIN((rest_us + 999) / 1000, (int64_t)WAIT_MS);
    int result;

    lock_take(&pipeline->lock);
    result = check_locked(pipeline, err);
    if (result == 0)
        (void)signal_wait_until(&pipeline->stopped, &pipeline->lock,
                                clock_monotonic_ms() + wait_ms);
    lock_give(&pipeline->lock);
    return result;
}

/* Wait for the rate.  When the shared one was changed meanwhile, what was
 * reserved by the old one does not count any more. */
static int
wait_until(struct worker *worker, int64_t start_us, struct error *err)
{
    struct throttle *shared = worker->pipeline->job->options->throttle;
    int64_t now = clock_monotonic_us();

    while (now < start_us) {
        if (wait_a_moment(worker->pipeline, start_us - now, err) < 0)
            return -1;
        if (shared != NULL && throttle_changes(shared) != worker->changes)
            start_us = reserve_shared(worker);
        now = clock_monotonic_us();
    }
    return 0;
}

/* 1 when there is something to do, 0 when all is done. */
static int
take_ticket(struct worker *worker, struct error *err)
{
    struct pipeline *pipeline = worker->pipeline;
    int64_t start_us;
    int found;

    if (take_cursor(pipeline, err) < 0)
        return -1;
    found = copy_cursor_next(&pipeline->cursor, pipeline->job->window,
                             &worker->window, err);
    if (found < 0) /* the failure wakes those who wait for the cursor */
        return -1;
    start_us = number_and_give_cursor(worker);
    if (found == 0)
        return 0;
    return wait_until(worker, start_us, err) < 0 ? -1 : 1;
}

/* Only the one whose turn came is woken; tickets that nobody has committed
 * yet are no more than there are workers. */
static struct signal *
turn_of(struct pipeline *pipeline, uint64_t ticket)
{
    return &pipeline->turn_came[ticket % pipeline->workers];
}

static int
wait_for_turn(struct worker *worker, struct error *err)
{
    struct pipeline *pipeline = worker->pipeline;
    int result;

    lock_take(&pipeline->lock);
    while ((result = check_locked(pipeline, err)) == 0 &&
           pipeline->turn != worker->ticket)
        signal_wait(turn_of(pipeline, worker->ticket), &pipeline->lock);
    lock_give(&pipeline->lock);
    return result;
}

static void
give_turn(struct pipeline *pipeline)
{
    lock_take(&pipeline->lock);
    pipeline->turn++;
    signal_wake_one(turn_of(pipeline, pipeline->turn));
    lock_give(&pipeline->lock);
}

static int
commit(struct worker *worker, struct error *err)
{
    struct pipeline *pipeline = worker->pipeline;

    if (wait_for_turn(worker, err) < 0)
        return -1;
    if (fault_here("copy.commit"))
        return error_set_errno(err, errno, "copy '%s'",
                               blockdev_name(pipeline->job->source));
    if (pipeline->sink->commit != NULL &&
        pipeline->sink->commit(pipeline->context, worker->own, &worker->window,
                               err) < 0)
        return -1;
    give_turn(pipeline);
    return 0;
}

/* Read leaf by leaf what could not be read in one go; what fails again is
 * bad. */
static int
read_leaves(struct worker *worker, size_t at, size_t end, uint64_t offset,
            struct error *err)
{
    struct copy_window *window = &worker->window;

    for (; at < end; at += DIGEST_LEAF_SIZE, offset += DIGEST_LEAF_SIZE) {
        if (blockdev_read(worker->pipeline->job->source, window->bytes + at,
                          DIGEST_LEAF_SIZE, offset, err) == 0)
            continue;
        if (err->code != ERROR_CORRUPT && err->code != ERROR_IO)
            return -1;
        if (window->bad_count++ == 0)
            window->why = *err;
        window->leaf_bad[at / DIGEST_LEAF_SIZE] = true;
        error_clear(err);
    }
    return 0;
}

static int
read_piece(struct worker *worker, size_t at, size_t end, uint64_t offset,
           struct error *err)
{
    const struct copy_job *job = worker->pipeline->job;

    if (blockdev_read(job->source, worker->window.bytes + at, end - at, offset,
                      err) == 0)
        return 0;
    if (!job->tolerant || (err->code != ERROR_CORRUPT && err->code != ERROR_IO))
        return -1;
    error_clear(err);
    return read_leaves(worker, at, end, offset, err);
}

static int
read_window(struct worker *worker, struct error *err)
{
    const struct copy_job *job = worker->pipeline->job;
    struct copy_window *window = &worker->window;

    if (fault_here("copy.read"))
        return error_set_errno(err, errno, "read '%s'",
                               blockdev_name(job->source));
    if (job->tolerant) {
        memset(window->leaf_bad, 0, sizeof(window->leaf_bad));
        window->bad_count = 0;
    }
    for (size_t i = 0; i < window->piece_count; i++) {
        const struct copy_piece *piece = &window->pieces[i];
        size_t end = i + 1 < window->piece_count ? window->pieces[i + 1].at
                                                 : window->length;

        if (piece->zero)
            continue;
        if (read_piece(worker, piece->at, end, piece->offset, err) < 0)
            return -1;
    }
    return 0;
}

static void
digest_window(struct worker *worker)
{
    const struct copy_job *job = worker->pipeline->job;
    struct copy_window *window = &worker->window;

    for (size_t i = 0; i * DIGEST_LEAF_SIZE < window->length; i++) {
        const uint8_t *leaf = window->bytes + i * DIGEST_LEAF_SIZE;

        window->leaf_zero[i] = zeros_only(leaf, DIGEST_LEAF_SIZE);
        if (window->leaf_zero[i])
            memset(&window->digests[i], 0, sizeof(window->digests[i]));
        else if (job->digests)
            digest_leaf(job->algorithm, leaf, &window->digests[i]);
    }
}

static void
add_to(_Atomic uint64_t *counter, uint64_t bytes)
{
    atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}

static void
report(const struct worker *worker)
{
    const struct pipeline *pipeline = worker->pipeline;
    const struct copy_window *window = &worker->window;
    struct copy_progress *progress = pipeline->progress;
    uint64_t done = 0;
    uint64_t zero = 0;

    for (size_t i = 0; i < window->piece_count; i++) {
        const struct copy_piece *piece = &window->pieces[i];

        done += piece->length;
        if (piece->zero) {
            zero += piece->length;
            continue;
        }
        for (uint64_t at = 0; at < piece->length; at += DIGEST_LEAF_SIZE)
            if (window->leaf_zero[(piece->at + at) / DIGEST_LEAF_SIZE])
                zero += MIN((uint64_t)DIGEST_LEAF_SIZE, piece->length - at);
    }
    add_to(&progress->done, done);
    add_to(&progress->zero, zero);
    atomic_store_explicit(&progress->read,
                          blockdev_bytes_read(pipeline->job->source) -
                              pipeline->read_before,
                          memory_order_relaxed);
    if (pipeline->sink->written != NULL)
        atomic_store_explicit(&progress->written,
                              pipeline->sink->written(pipeline->context),
                              memory_order_relaxed);
}

/* One window from ticket to end: 1 done, 0 there is none, -1 failed. */
static int
step(struct worker *worker, struct error *err)
{
    const struct pipeline *pipeline = worker->pipeline;
    const struct copy_sink *sink = pipeline->sink;
    int found = take_ticket(worker, err);

    if (found <= 0)
        return found;
    if (read_window(worker, err) < 0)
        return -1;
    digest_window(worker);
    if (sink->work != NULL &&
        sink->work(pipeline->context, worker->own, &worker->window, err) < 0)
        return -1;
    if (commit(worker, err) < 0)
        return -1;
    if (sink->after != NULL &&
        sink->after(pipeline->context, worker->own, err) < 0)
        return -1;
    report(worker);
    return 1;
}

/* -- workers ------------------------------------------------------------ */

static int
work(struct worker *worker, struct error *err)
{
    struct pipeline *pipeline = worker->pipeline;
    int result;

    worker->window.bytes = xaligned(NEWFILE_ALIGN, pipeline->job->window);
    if (pipeline->sink->worker_new != NULL) {
        worker->own = pipeline->sink->worker_new(pipeline->context, err);
        if (worker->own == NULL)
            return -1;
    }
    do
        result = step(worker, err);
    while (result > 0);
    return result;
}

static void *
worker_main(void *argument)
{
    struct pipeline *pipeline = argument;
    struct worker *worker = xcalloc(1, sizeof(*worker));
    struct error err = ERROR_INIT;

    worker->pipeline = pipeline;
    if (work(worker, &err) < 0) {
        lock_take(&pipeline->lock);
        if (!pipeline->failed) {
            pipeline->failed = true;
            pipeline->error = err;
        }
        signal_wake_all(&pipeline->cursor_free);
        signal_wake_all(&pipeline->stopped);
        for (unsigned i = 0; i < pipeline->workers; i++)
            signal_wake_all(&pipeline->turn_came[i]);
        lock_give(&pipeline->lock);
    }
    if (worker->own != NULL)
        pipeline->sink->worker_free(worker->own);
    free(worker->window.bytes);
    free(worker);
    return NULL;
}

/*
 * As many as asked for, no more than there is work for.  By itself more than
 * there are processors: who waits for its number or the disk leaves one free.
 */
static unsigned
count_workers(const struct copy_job *job, uint64_t total)
{
    uint64_t count = job->options->threads;
    cpu_set_t processors;

    if (count == 0) {
        CPU_ZERO(&processors);
        count = 1 + WORKERS_MORE;
        if (sched_getaffinity(0, sizeof(processors), &processors) == 0)
            count = (uint64_t)CPU_COUNT(&processors) + WORKERS_MORE;
    }
    count = MIN(count, total / job->window + 1);
    return (unsigned)MIN(count, (uint64_t)WORKERS_MAX);
}

static void
run_workers(struct pipeline *pipeline, unsigned count)
{
    pthread_t threads[WORKERS_MAX];
    unsigned started = 0;

    while (started + 1 < count &&
           pthread_create(&threads[started], NULL, worker_main, pipeline) == 0)
        started++; /* with fewer it takes longer, that is all */
    (void)worker_main(pipeline);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL); /* they exist */
}

int
copy_pipeline_run(const struct copy_job *job, const struct copy_sink *sink,
                  void *context, struct error *err)
{
    struct copy_progress unwatched = {.total = 0};
    struct pipeline pipeline = {
        .job = job,
        .sink = sink,
        .context = context,
        .progress = job->options->progress != NULL ? job->options->progress
                                                   : &unwatched,
        .read_before = blockdev_bytes_read(job->source),
        .error = ERROR_INIT,
    };
    uint64_t total;

    assert(job->window <= COPY_WINDOW_MAX && job->window % job->unit == 0 &&
           job->unit % DIGEST_LEAF_SIZE == 0);
    lock_init(&pipeline.lock);
    throttle_init(&pipeline.rate, job->options->rate_limit, 0);
    signal_init(&pipeline.cursor_free);
    signal_init(&pipeline.stopped);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        signal_init(&pipeline.turn_came[i]);
    copy_cursor_init(&pipeline.cursor, job->source, job->only, job->unit);
    pipeline.cursor.tolerant = job->tolerant;
    total = copy_cursor_total(&pipeline.cursor);
    atomic_store(&pipeline.progress->total, total);
    atomic_store(&pipeline.progress->done, 0);
    atomic_store(&pipeline.progress->zero, 0);

    pipeline.workers = count_workers(job, total);
    run_workers(&pipeline, pipeline.workers);

    copy_cursor_release(&pipeline.cursor);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        signal_release(&pipeline.turn_came[i]);
    signal_release(&pipeline.stopped);
    signal_release(&pipeline.cursor_free);
    throttle_release(&pipeline.rate);
    lock_release(&pipeline.lock);
    if (!pipeline.failed)
        return 0;
    *err = pipeline.error;
    return -1;
}

int
copy_pipeline_digest(const struct copy_window *window,
                     struct digest_builder *builder, struct error *err)
{
    for (size_t i = 0; i < window->piece_count; i++) {
        const struct copy_piece *piece = &window->pieces[i];
        uint64_t leaf = piece->offset / DIGEST_LEAF_SIZE;
        uint64_t count = digest_leaves(piece->length);

        if (piece->zero) {
            if (digest_builder_add_zero_range(builder, leaf, count, err) < 0)
                return -1;
            continue;
        }
        for (uint64_t k = 0; k < count; k++)
            if (digest_builder_add(
                    builder, leaf + k,
                    &window->digests[piece->at / DIGEST_LEAF_SIZE + k],
                    err) < 0)
                return -1;
    }
    return 0;
}
