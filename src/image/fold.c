/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calling thread walks the merged map once and cuts it into windows of at
 * most 2 MiB of guest data; workers read them, wait for their number, give
 * everything its place in the result and write what that filled.  So places
 * follow from the map alone, not from the number of threads.
 *
 *     walk -> window -> [ read -> in order: append -> write ] -> window
 *
 * Windows go round: an empty one is what the walk waits for, and so what is
 * planned ahead is bounded.  There is nothing to compute, so that two workers
 * suffice: one reads while the other writes.
 *
 * The first failure of anybody is kept; everybody else notices it at the next
 * wait, and the new file goes.
 */
#include "image/fold_internal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/memory.h"
#include "image/newfile.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 2u
#define WORKERS_MAX 16u

/* How long a cancelled fold may go on waiting for its rate. */
#define WAIT_MS 50

struct fold {
    struct fold_shape shape;
    struct qcow2_writer *writer; /* borrowed */
    uint64_t rate_limit;
    struct copy_progress *progress; /* borrowed, never NULL */
    uint64_t read_before;

    struct lock lock;
    struct signal changed;       /* any of the below */
    struct fold_window *empty;   /* under lock, as all below; a list */
    struct fold_window *filling; /* the walk's; or NULL */
    struct fold_window *first;   /* planned; a list in order */
    struct fold_window **last;
    bool ended; /* nothing more is planned */
    bool failed;
    struct error error;
    uint64_t planned;   /* windows that have a number */
    uint64_t turn;      /* the number that may append */
    int64_t free_at_us; /* the rate allows nothing before */
    struct fold_counts counts;
};

struct worker {
    struct fold *fold;
    struct fold_reader *reader;       /* owned */
    struct qcow2_writer_batch *batch; /* owned */
};

/* -- windows ------------------------------------------------------------ */

static void
free_windows(struct fold_window *window)
{
    while (window != NULL) {
        struct fold_window *next = window->next;

        free(window->items);
        free(window);
        window = next;
    }
}

static struct fold_window *
make_windows(uint32_t cluster_bits, unsigned count)
{
    struct fold_window *list = NULL;

    while (count-- > 0) {
        struct fold_window *window = xcalloc(1, sizeof(*window));

        window->items = xcalloc((QCOW2_WRITER_BATCH_MAX >> cluster_bits) +
                                    QCOW2_WRITER_ZEROS_MAX,
                                sizeof(*window->items));
        window->next = list;
        list = window;
    }
    return list;
}

/* -- under the lock ----------------------------------------------------- */

static int check_locked(const struct fold *fold, struct error *err)
    REQUIRES(fold->lock);

static int
check_locked(const struct fold *fold, struct error *err)
{
    if (fold->failed) {
        *err = fold->error;
        return -1;
    }
    if (atomic_load_explicit(&fold->progress->cancel, memory_order_relaxed))
        return error_set(err, ERROR_CANCELLED, "cancelled");
    return 0;
}

/* Wait until the rate allows to read so much more. */
static int wait_rate_locked(struct fold *fold, uint64_t load, struct error *err)
    REQUIRES(fold->lock);

static int
wait_rate_locked(struct fold *fold, uint64_t load, struct error *err)
{
    int64_t now = clock_monotonic_us();
    int64_t start = MAX(now, fold->free_at_us);
    int result;

    if (fold->rate_limit == 0)
        return check_locked(fold, err);
    fold->free_at_us =
        start + (int64_t)((double)load * 1e6 / (double)fold->rate_limit);
    while ((result = check_locked(fold, err)) == 0 && now < start) {
        int64_t wait_ms = MIN((start - now + 999) / 1000, (int64_t)WAIT_MS);

        (void)signal_wait_until(&fold->changed, &fold->lock,
                                clock_monotonic_ms() + wait_ms);
        now = clock_monotonic_us();
    }
    return result;
}

static struct fold_window *
submit_locked(struct fold *fold, struct fold_window *window, struct error *err)
    REQUIRES(fold->lock);

static struct fold_window *
submit_locked(struct fold *fold, struct fold_window *window, struct error *err)
{
    struct fold_window *empty;

    if (wait_rate_locked(fold, window->load, err) < 0)
        return NULL;
    fold->filling = NULL;
    window->ticket = fold->planned++;
    window->next = NULL;
    *fold->last = window;
    fold->last = &window->next;
    signal_wake_all(&fold->changed);
    while (fold->empty == NULL) {
        if (check_locked(fold, err) < 0)
            return NULL;
        signal_wait(&fold->changed, &fold->lock);
    }
    empty = fold->empty;
    fold->empty = empty->next;
    *empty = (struct fold_window){.items = empty->items};
    fold->filling = empty;
    return empty;
}

static struct fold_window *
submit(void *context, struct fold_window *window, struct error *err)
{
    struct fold *fold = context;
    struct fold_window *empty;

    lock_take(&fold->lock);
    empty = submit_locked(fold, window, err);
    lock_give(&fold->lock);
    return empty;
}

/* The next window, or NULL when there will be none. */
static struct fold_window *
take_window(struct fold *fold)
{
    struct fold_window *window = NULL;

    lock_take(&fold->lock);
    while (!fold->failed && fold->first == NULL && !fold->ended)
        signal_wait(&fold->changed, &fold->lock);
    if (!fold->failed && fold->first != NULL) {
        window = fold->first;
        fold->first = window->next;
        if (fold->first == NULL)
            fold->last = &fold->first;
    }
    lock_give(&fold->lock);
    return window;
}

static void
give_window(struct fold *fold, struct fold_window *window)
{
    lock_take(&fold->lock);
    window->next = fold->empty;
    fold->empty = window;
    signal_wake_all(&fold->changed);
    lock_give(&fold->lock);
}

static int
wait_for_turn(struct fold *fold, uint64_t ticket, struct error *err)
{
    int result;

    lock_take(&fold->lock);
    while ((result = check_locked(fold, err)) == 0 && fold->turn != ticket)
        signal_wait(&fold->changed, &fold->lock);
    lock_give(&fold->lock);
    return result;
}

/* The window is appended: count it, and let the next one in. */
static void
give_turn(struct fold *fold, const struct fold_window *window)
{
    lock_take(&fold->lock);
    for (size_t i = 0; i < window->count; i++) {
        const struct fold_item *item = &window->items[i];

        fold->counts.zero += item->kind == FOLD_ZERO ? item->count : 0;
        fold->counts.moved += item->kind == FOLD_MOVE;
        fold->counts.plain += item->kind == FOLD_PLAIN;
        fold->counts.encoded += item->kind == FOLD_ENCODE;
    }
    atomic_store_explicit(&fold->progress->done, window->end,
                          memory_order_relaxed);
    fold->turn++;
    signal_wake_all(&fold->changed);
    lock_give(&fold->lock);
}

static void
fail(struct fold *fold, const struct error *err)
{
    lock_take(&fold->lock);
    if (!fold->failed) {
        fold->failed = true;
        fold->error = *err;
    }
    signal_wake_all(&fold->changed);
    lock_give(&fold->lock);
}

/* -- workers ------------------------------------------------------------ */

static int
put_in_batch(struct worker *worker, const struct fold_window *window,
             struct error *err)
{
    struct qcow2_writer_batch *batch = worker->batch;
    uint64_t size = qcow2_writer_size(worker->fold->writer);
    uint64_t cluster = qcow2_writer_cluster_size(worker->fold->writer);

    for (size_t i = 0; i < window->count; i++) {
        const struct fold_item *item = &window->items[i];
        uint64_t offset = item->cluster * cluster;
        uint64_t length = MIN(item->count * cluster, size - offset);

        switch (item->kind) {
        case FOLD_ZERO:
            qcow2_writer_encode_zero(batch, offset, length);
            break;
        case FOLD_MOVE:
            qcow2_writer_add_packed(batch, item->bytes, item->length, offset);
            break;
        case FOLD_PLAIN:
            qcow2_writer_add_plain(batch, item->bytes, offset);
            break;
        case FOLD_ENCODE:
        default:
            if (qcow2_writer_encode(batch, item->bytes, offset, (size_t)length,
                                    err) < 0)
                return -1;
        }
    }
    return 0;
}

static int
do_window(struct worker *worker, struct fold_window *window, struct error *err)
{
    struct fold *fold = worker->fold;

    if (fold_read(worker->reader, window, err) < 0 ||
        put_in_batch(worker, window, err) < 0 ||
        wait_for_turn(fold, window->ticket, err) < 0)
        return -1;
    if (fault_here("fold.append"))
        return error_set_errno(err, errno, "fold '%s'",
                               fold->shape.chain->common.name);
    if (qcow2_writer_append(worker->batch, err) < 0)
        return -1;
    give_turn(fold, window);
    if (qcow2_writer_flush(worker->batch, err) < 0)
        return -1;
    atomic_store_explicit(&fold->progress->read,
                          blockdev_bytes_read(&fold->shape.chain->common) -
                              fold->read_before,
                          memory_order_relaxed);
    atomic_store_explicit(&fold->progress->written,
                          qcow2_writer_written(fold->writer),
                          memory_order_relaxed);
    return 0;
}

static void *
worker_main(void *argument)
{
    struct fold *fold = argument;
    struct worker worker = {.fold = fold,
                            .reader = fold_reader_new(&fold->shape)};
    struct fold_window *window;
    struct error err = ERROR_INIT;

    worker.batch = qcow2_writer_batch_new(fold->writer, &err);
    if (worker.batch == NULL)
        fail(fold, &err);
    while ((window = take_window(fold)) != NULL) {
        if (do_window(&worker, window, &err) < 0)
            fail(fold, &err);
        give_window(fold, window);
    }
    qcow2_writer_batch_free(worker.batch);
    fold_reader_free(worker.reader);
    return NULL;
}

static int
run(struct fold *fold, unsigned count, struct error *err)
{
    pthread_t threads[WORKERS_MAX];
    struct fold_window *first =
        make_windows(fold->shape.cluster_bits, count + 2);
    unsigned started = 0;
    int result;

    fold->empty = first->next;
    first->next = NULL;
    fold->filling = first;
    while (started < count &&
           pthread_create(&threads[started], NULL, worker_main, fold) == 0)
        started++;
    if (started > 0)
        result = fold_plan(&fold->shape, first, submit, fold, err);
    else
        result = error_set(err, ERROR_INTERNAL, "no thread can be started");
    if (result < 0)
        fail(fold, err);
    lock_take(&fold->lock);
    fold->ended = true;
    signal_wake_all(&fold->changed);
    lock_give(&fold->lock);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL); /* they exist */
    if (fold->failed)
        *err = fold->error;
    return fold->failed ? -1 : 0;
}

/* -- from outside ------------------------------------------------------- */

static int
fold_into(struct fold *fold, const struct fold_options *options,
          struct fold_counts *ret_counts, struct error *err)
{
    unsigned count = options->threads != 0 ? options->threads : WORKERS;
    int result;

    lock_init(&fold->lock);
    signal_init(&fold->changed);
    fold->last = &fold->first;
    fold->read_before = blockdev_bytes_read(&fold->shape.chain->common);
    atomic_store(&fold->progress->total, fold->shape.chain->common.size);
    atomic_store(&fold->progress->done, 0);
    result = run(fold, MIN(count, WORKERS_MAX), err);
    free_windows(fold->empty);
    free_windows(fold->first);
    free_windows(fold->filling);
    signal_release(&fold->changed);
    lock_release(&fold->lock);
    if (result < 0 ||
        qcow2_writer_finish(fold->writer, &fold->counts.file_bytes, err) < 0)
        return -1;
    *ret_counts = fold->counts;
    return 0;
}

int
fold_layers(const struct image_ref *chain, size_t count, size_t folded,
            const char *path, const struct fold_options *options,
            struct fold_counts *ret_counts, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer = NULL;
    struct copy_progress unwatched = {.total = 0};
    struct fold fold = {
        .rate_limit = options->rate_limit,
        .progress = options->progress != NULL ? options->progress : &unwatched,
        .error = ERROR_INIT};
    struct qcow2_writer_options how = {.backing_name = options->backing_name,
                                       .backing_format =
                                           options->backing_format,
                                       .compress = true,
                                       .direct = options->direct};

    if (folded == 0 || folded > count ||
        (folded < count) != (options->backing_name != NULL))
        return error_set(err, ERROR_INVALID,
                         "%zu of %zu layers cannot be folded so", folded,
                         count);
    device = blockdev_open_chain(chain, count,
                                 options->direct ? BLOCKDEV_DIRECT : 0, err);
    if (device == NULL)
        return -1;
    fold_choose((struct chain_device *)device, folded, &fold.shape);
    how.size = (blockdev_size(device) + 511) / 512 * 512;
    how.cluster_bits = fold.shape.cluster_bits;
    how.compression = fold.shape.compression;
    writer = qcow2_writer_new(path, &how, err);
    if (writer == NULL)
        return -1;
    fold.writer = writer;
    return fold_into(&fold, options, ret_counts, err);
}

/* -- indexes ------------------------------------------------------------ */

static int
next_leaf(struct digest_index *content, struct digest_index *below,
          uint64_t first, uint64_t *ret_leaf, struct error *err)
{
    if (below == NULL)
        return digest_index_next(content, first, ret_leaf, err);
    return digest_index_next_difference(content, below, first, ret_leaf, err);
}

int
fold_index(struct digest_index *content, struct digest_index *below,
           const char *path, const char *uuid, char *ret_root,
           struct error *err)
{
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(path, uuid, digest_index_size(content),
                           digest_index_algorithm(content), below, err);
    uint64_t leaves = digest_leaves(digest_index_size(content));
    uint64_t leaf = 0;
    struct digest digest;
    int found;

    if (builder == NULL)
        return -1;
    while ((found = next_leaf(content, below, leaf, &leaf, err)) == 1 &&
           leaf < leaves) {
        if (digest_index_leaves(content, leaf, 1, &digest, err) < 0 ||
            digest_builder_add(builder, leaf, &digest, err) < 0)
            return -1;
        leaf++;
    }
    if (found < 0 || digest_builder_finish(builder, ret_root, err) < 0)
        return -1;
    if (strcmp(ret_root, digest_index_root(content)) == 0)
        return 0;
    newfile_discard(path);
    return error_set(err, ERROR_INTERNAL,
                     "the index '%s' has the root %s, not %s", path, ret_root,
                     digest_index_root(content));
}
