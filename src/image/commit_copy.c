/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path of a merge.  Workers take pieces of at most PIECE bytes from
 * one cursor over the runs, each reads its piece and writes it.  Pieces never
 * overlap, so nothing but the cursor and the first error is shared.
 */
#include "image/commit_copy.h"

#include "base/fault.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/vec.h"
#include "image/commit_sink.h"

#include <errno.h>
#include <stdlib.h>

#define PIECE ((size_t)2 << 20)
#define THREADS 2
#define WORTH_DIRECT ((uint64_t)1 << 20)
#define WORTH_A_THREAD ((uint64_t)8 << 20)

void
commit_runs_add(struct commit_runs *runs, uint64_t guest, uint64_t host,
                uint64_t length)
{
    runs->bytes += length;
    if (runs->count > 0) {
        struct commit_run *last = &runs->items[runs->count - 1];

        if (last->guest + last->length == guest &&
            last->host + last->length == host) {
            last->length += length;
            return;
        }
    }
    vec_push(runs, ((struct commit_run){
                       .guest = guest, .host = host, .length = length}));
}

void
commit_runs_clear(struct commit_runs *runs)
{
    runs->count = 0;
    runs->bytes = 0;
}

void
commit_runs_release(struct commit_runs *runs)
{
    free(runs->items);
    *runs = (struct commit_runs){.items = NULL};
}

int
commit_check_cancel(const struct commit_source *source, struct error *err)
{
    if (source->progress != NULL && atomic_load(&source->progress->cancel))
        return error_set(err, ERROR_CANCELLED, "cancelled on request");
    return 0;
}

struct copying {
    struct commit_sink sink;
    const struct commit_runs *runs;
    const struct commit_source *source;
    struct lock lock;
    size_t run;    /* under lock, as all below */
    uint64_t done; /* of that run */
    bool failed;
    struct error err; /* the first one */
};

static bool next_piece_locked(struct copying *copying,
                              struct commit_run *ret_piece)
    REQUIRES(copying->lock);

static bool
next_piece_locked(struct copying *copying, struct commit_run *ret_piece)
{
    const struct commit_run *run;

    if (copying->failed || copying->run >= copying->runs->count)
        return false;
    run = &copying->runs->items[copying->run];
    *ret_piece = (struct commit_run){
        .guest = run->guest + copying->done,
        .host = run->host + copying->done,
        .length = MIN(run->length - copying->done, (uint64_t)PIECE),
    };
    copying->done += ret_piece->length;
    if (copying->done == run->length) {
        copying->run++;
        copying->done = 0;
    }
    return true;
}

static bool
next_piece(struct copying *copying, struct commit_run *ret_piece)
{
    bool found;

    lock_take(&copying->lock);
    found = next_piece_locked(copying, ret_piece);
    lock_give(&copying->lock);
    return found;
}

static void
give_up(struct copying *copying, const struct error *err)
{
    lock_take(&copying->lock);
    if (!copying->failed)
        copying->err = *err;
    copying->failed = true;
    lock_give(&copying->lock);
}

static int
copy_piece(const struct copying *copying, const struct commit_run *piece,
           void *buffer, struct error *err)
{
    struct copy_progress *progress = copying->source->progress;
    size_t length = (size_t)piece->length;

    if (commit_check_cancel(copying->source, err) < 0)
        return -1;
    if (copying->source->read(copying->source->context, buffer, length,
                              piece->guest, err) < 0)
        return -1;
    if (fault_here("commit.data.space"))
        return error_set_errno(err, errno, "write '%s'", copying->sink.path);
    if (commit_sink_write(&copying->sink, buffer, length, piece->host, err) < 0)
        return -1;
    if (progress != NULL) {
        atomic_fetch_add(&progress->read, length);
        atomic_fetch_add(&progress->written, length);
    }
    return 0;
}

static void *
work(void *context)
{
    struct copying *copying = context;
    AUTO_FREE void *buffer = xaligned(COMMIT_SINK_ALIGNMENT, PIECE);
    struct commit_run piece;
    struct error err = ERROR_INIT;

    while (next_piece(copying, &piece)) {
        if (copy_piece(copying, &piece, buffer, &err) < 0) {
            give_up(copying, &err);
            break;
        }
    }
    return NULL;
}

int
commit_copy(int fd, const char *path, const struct commit_runs *runs,
            const struct commit_source *source, struct error *err)
{
    struct copying copying = {.runs = runs, .source = source};
    pthread_t threads[THREADS - 1];
    size_t started = 0;

    if (runs->count == 0)
        return 0;
    commit_sink_open(&copying.sink, fd, path, runs->bytes >= WORTH_DIRECT);
    lock_init(&copying.lock);
    while (runs->bytes >= WORTH_A_THREAD && started < ARRAY_SIZE(threads) &&
           pthread_create(&threads[started], NULL, work, &copying) == 0)
        started++;
    (void)work(&copying);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    lock_release(&copying.lock);
    commit_sink_close(&copying.sink);
    if (!copying.failed)
        return 0;
    *err = copying.err;
    return -1;
}
