/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fold.h -- several layers of a chain become one image: a synthetic full, or
 * one delta out of many.
 *
 * Nothing is decompressed and nothing compressed: clusters are moved as they
 * are stored, and only the tables are new.  Clusters of which several layers
 * have a part, or whose size or compression is not that of the result, are
 * the exception: they are read and encoded anew, and counted.
 *
 * What is promised: the result reads as the chain does, byte for byte.  What
 * is not: that what is stored was right.  A damaged cluster is moved like any
 * other; since its digest in the index is still that of what the guest saw,
 * verifying finds it after the fold as it would have before.
 *
 * Memory is bounded: 17 MiB for each thread, 15 MiB for the image that is
 * written, and what the source keeps.
 */
#ifndef IMAGE_FOLD_H
#define IMAGE_FOLD_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/copy.h"
#include "image/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fold_options {
    const char *backing_name; /* for the header; NULL when all is folded */
    enum image_format backing_format;
    bool direct;                    /* read and write past the page cache */
    unsigned threads;               /* 0 for the default */
    uint64_t rate_limit;            /* bytes of storage a second; 0: none */
    struct copy_progress *progress; /* borrowed; or NULL */
};

/* What became of the clusters of the result. */
struct fold_counts {
    uint64_t moved; /* compressed, byte for byte */
    uint64_t plain; /* copied, not compressed */
    uint64_t zero;
    uint64_t encoded;    /* read and encoded anew */
    uint64_t file_bytes; /* length of the result */
};

/**
 * fold_layers(chain, count, folded, path, options, ret_counts, err):
 * Make the new image `path` (O_EXCL) that stands for the topmost `folded`
 * layers of a chain.  `chain` is whole, as for blockdev_open_chain(); with
 * folded < count the result's backing file is to be chain[folded], by the
 * name of options->backing_name.  The layers are not changed.
 *
 * Size of clusters and kind of compression are those of the largest layer of
 * the part.
 *
 * Blocks:     as long as reading and writing what is stored takes.
 * Durability: on 0 the content survives a power cut; the name is the
 *             caller's to sync.  Otherwise no file is left.
 * Returns:    0, or -1 with *err set to
 *               ERROR_CONFLICT   the path exists;
 *               ERROR_CORRUPT    a table or the head of a compressed cluster
 *                                cannot be right (named, with the offset);
 *               ERROR_CANCELLED, ERROR_NO_SPACE, ERROR_IO.
 */
int fold_layers(const struct image_ref *chain, size_t count, size_t folded,
                const char *path, const struct fold_options *options,
                struct fold_counts *ret_counts, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5, 6, 7);

/**
 * fold_index(content, below, path, uuid, ret_root, err):
 * Write the index of the same content anew, so that of all other files it
 * rests on those of `below` alone (on none if it is NULL): the new file
 * `path`, which is "<uuid>.idx".  Only indexes are read, and of them only
 * what `content` and `below` do not share.  Memory is that of a builder.
 *
 * Ownership:  content and below are borrowed.
 * Durability: as digest_builder_finish().
 * Returns:    0 with ret_root (DIGEST_ROOT_TEXT bytes), which is content's;
 *             or -1 with *err set to ERROR_INVALID (the algorithms differ),
 *             ERROR_CONFLICT, ERROR_CORRUPT, ERROR_NO_SPACE, ERROR_IO.
 */
int fold_index(struct digest_index *content, struct digest_index *below,
               const char *path, const char *uuid, char *ret_root,
               struct error *err) MUST_CHECK NONNULL(1, 3, 4, 5, 6);

#endif
