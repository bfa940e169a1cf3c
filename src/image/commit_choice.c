/* SPDX-License-Identifier: Apache-2.0 */
#include "image/commit_choice.h"

#include "base/memory.h"
#include "image/commit.h"
#include "image/commit_pull.h"
#include "image/extents.h"
#include "image/qcow2.h"

#include <assert.h>

const char *
commit_bar_name(enum commit_bar bar)
{
    static const char *const names[] = {
        [COMMIT_BAR_NONE] = "none",
        [COMMIT_BAR_SHARED] = "parent-shared",
        [COMMIT_BAR_FOREIGN] = "parent-foreign",
        [COMMIT_BAR_NAMED] = "file-named",
        [COMMIT_BAR_REFUSED] = "not-in-place",
    };

    assert(bar < ARRAY_SIZE(names));
    return names[bar];
}

/*
 * A lower layer that others rest on keeps its content: forward would change
 * it, and backward would end with nothing removed.  The same holds for a file
 * that is not ours.
 */
static enum commit_bar
bar_of(const struct commit_question *question, bool file_is_named, bool refused)
{
    if (question->parent_is_foreign)
        return COMMIT_BAR_FOREIGN;
    if (question->parent_is_shared)
        return COMMIT_BAR_SHARED;
    if (file_is_named)
        return COMMIT_BAR_NAMED;
    return refused ? COMMIT_BAR_REFUSED : COMMIT_BAR_NONE;
}

struct commit_choice
commit_choose(const struct commit_question *question)
{
    const struct commit_work *forward = &question->forward;
    const struct commit_work *backward = &question->backward;
    bool by_qemu = commit_refusal_is_for_qemu(forward->refusal);
    struct commit_choice choice = {
        .forward = bar_of(question, question->child_is_named,
                          forward->refusal != COMMIT_REFUSAL_NONE && !by_qemu),
        .backward = bar_of(question, question->parent_is_named,
                           backward->refusal != COMMIT_REFUSAL_NONE),
    };

    if (choice.forward == COMMIT_BAR_NONE)
        choice.direction = COMMIT_FORWARD;
    if (choice.backward != COMMIT_BAR_NONE)
        return choice;
    if (choice.direction == COMMIT_NEITHER || by_qemu ||
        backward->bytes < forward->bytes / 2)
        choice.direction = COMMIT_BACKWARD;
    return choice;
}

/* Bytes of `set` without `zeros`, in whole clusters. */
static uint64_t
stored_bytes(struct extents *set, const struct extents *zeros,
             unsigned cluster_bits)
{
    extents_subtract(set, zeros);
    extents_align(set, (uint64_t)1 << cluster_bits, UINT64_MAX);
    return extents_bytes(set);
}

/* Log2 of what the file is written in; of a raw one, blocks. */
static int
unit_bits(const struct image_ref *ref, unsigned *ret_bits, struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

    *ret_bits = 12;
    if (ref->format == IMAGE_RAW)
        return 0;
    if (qcow2_read_info(ref->path, info, err) < 0)
        return -1;
    *ret_bits =
        info->extended_l2 ? info->cluster_bits - 5u : info->cluster_bits;
    return 0;
}

static int
measure_forward(const struct image_ref *refs, size_t count,
                struct commit_work *ret_work, struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
    unsigned bits;

    if (commit_check(refs, count, &ret_work->refusal, err) < 0)
        return -1;
    if (qcow2_contents(refs[0].path, &set, &zeros, err) < 0 ||
        unit_bits(&refs[1], &bits, err) < 0)
        return -1;
    ret_work->bytes = stored_bytes(&set, &zeros, bits);
    return 0;
}

static int
measure_backward(const struct image_ref *refs, size_t count,
                 struct commit_work *ret_work, struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
    unsigned bits;

    if (commit_pull_check(refs, count, &ret_work->refusal, err) < 0)
        return -1;
    if (commit_pull_set(refs, count, &set, &zeros, err) < 0 ||
        unit_bits(&refs[0], &bits, err) < 0)
        return -1;
    ret_work->bytes = stored_bytes(&set, &zeros, bits);
    return 0;
}

int
commit_measure(const struct image_ref *refs, size_t count,
               struct commit_question *ret_question, struct error *err)
{
    struct commit_question question = *ret_question;

    question.forward.bytes = question.backward.bytes = 0;
    if (measure_forward(refs, count, &question.forward, err) < 0 &&
        question.forward.refusal == COMMIT_REFUSAL_NONE)
        return -1;
    error_clear(err);
    if (measure_backward(refs, count, &question.backward, err) < 0 &&
        question.backward.refusal == COMMIT_REFUSAL_NONE)
        return -1;
    error_clear(err);
    *ret_question = question;
    return 0;
}
