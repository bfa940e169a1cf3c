/* SPDX-License-Identifier: Apache-2.0 */
#include "image/commit_open.h"

#include "base/memory.h"
#include "image/blockdev_chain.h"
#include "image/imagelock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int
lock_file(const char *path, int *ret_fd, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (imagelock_take(fd, IMAGELOCK_READ, path, err) < 0)
        return -1;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int
commit_chain_open(struct commit_chain *chain, const struct image_ref *refs,
                  size_t count, size_t target, struct error *err)
{
    if (count == 0 || count > COMMIT_CHAIN_MAX)
        return error_set(err, ERROR_INVALID, "a chain of %zu files", count);
    chain->refs = refs;
    chain->count = count;
    chain->locks = xcalloc(count, sizeof(*chain->locks));
    for (size_t i = 0; i < count; i++)
        chain->locks[i] = -1;
    for (size_t i = 0; i < count; i++) {
        if (i != target && lock_file(refs[i].path, &chain->locks[i], err) < 0)
            return -1;
    }
    chain->view = blockdev_open_chain(refs, count, BLOCKDEV_DIRECT, err);
    return chain->view != NULL ? 0 : -1;
}

void
commit_chain_release(struct commit_chain *chain)
{
    blockdev_free(chain->view);
    for (size_t i = 0; chain->locks != NULL && i < chain->count; i++) {
        if (chain->locks[i] >= 0)
            (void)close(chain->locks[i]);
    }
    free(chain->locks);
    *chain = (struct commit_chain)COMMIT_CHAIN_INIT;
}

struct contents {
    struct extents *set; /* borrowed, as `zeros` */
    struct extents *zeros;
};

static int
add_segment(void *context, const struct chain_segment *segment,
            struct error *err UNUSED)
{
    const struct contents *contents = context;

    if (segment->kind != CHAIN_BELOW)
        extents_add(contents->set, segment->offset, segment->length);
    if (segment->kind == CHAIN_ZERO)
        extents_add(contents->zeros, segment->offset, segment->length);
    return 0;
}

int
commit_chain_top(const struct commit_chain *chain, struct extents *ret_set,
                 struct extents *ret_zeros, struct error *err)
{
    struct contents contents = {.set = ret_set, .zeros = ret_zeros};
    uint64_t size = blockdev_size(chain->view);

    assert(chain->count > 1);
    if (size == 0)
        return 0;
    return chain_walk_part((struct chain_device *)chain->view, 1, 0, size,
                           add_segment, &contents, err);
}

int
commit_chain_size(const struct commit_chain *chain, size_t first,
                  uint64_t *ret_size, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *below = NULL;

    *ret_size = 0;
    if (first >= chain->count)
        return 0;
    below =
        blockdev_open_chain(chain->refs + first, chain->count - first, 0, err);
    if (below == NULL)
        return -1;
    *ret_size = blockdev_size(below);
    return 0;
}

int
commit_check_layers(const struct image_ref *refs, size_t count,
                    struct error *err)
{
    if (count < 2 || refs[0].format != IMAGE_QCOW2)
        return error_set(err, ERROR_INVALID,
                         "'%s' is no layer over another image", refs[0].path);
    return 0;
}

int
commit_target_open(struct commit_target *target, const struct image_ref *refs,
                   size_t count, size_t which, enum commit_use use,
                   struct error *err)
{
    if (refs[which].format == IMAGE_RAW) {
        if (commit_raw_open(&target->raw, refs[which].path, err) < 0)
            return -1;
    } else {
        target->rw =
            qcow2_rw_open(refs[which].path, use, &target->refusal, err);
        if (target->rw == NULL)
            return -1;
    }
    return commit_chain_open(&target->chain, refs, count, which, err);
}

void
commit_target_release(struct commit_target *target)
{
    commit_chain_release(&target->chain);
    qcow2_rw_free(target->rw);
    commit_raw_close(&target->raw);
    target->rw = NULL;
}

enum commit_refusal
commit_target_refusal(const struct commit_target *target)
{
    if (target->refusal != COMMIT_REFUSAL_NONE)
        return target->refusal;
    return target->rw != NULL ? target->rw->refusal : target->raw.refusal;
}

int
commit_read_view(void *context, void *buffer, size_t length, uint64_t offset,
                 struct error *err)
{
    struct blockdev *view = context;

    return blockdev_read(view, buffer, length, offset, err);
}
