/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version 3, 16-bit refcounts.  The header is 112 bytes, then come the
 * backing format (never left out: without it a reader would have to probe,
 * and a raw disk can be made to look like anything), the names of the feature
 * bits for older programs' messages, the end mark, and the backing name.
 */
#include "image/qcow2_layout.h"

#include "image/qcow2_format.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

struct feature_name {
    uint8_t type; /* 0 incompatible, 1 compatible, 2 autoclear */
    uint8_t bit;
    char name[46];
};

/* As QEMU writes them. */
static const struct feature_name feature_names[] = {
    {0, 0, "dirty bit"},
    {0, 1, "corrupt bit"},
    {0, 2, "external data file"},
    {0, 3, "compression type"},
    {0, 4, "extended L2 entries"},
    {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},
    {2, 1, "raw external data"},
};

/* Type and length of an extension. */
#define EXTENSION_HEAD 8u

static size_t
padded(size_t length)
{
    return (length + 7) & ~(size_t)7;
}

/* Where the backing name starts, with or without names of features. */
static size_t
name_offset(const struct qcow2_layout *layout, bool with_names)
{
    size_t at = QCOW2_HEADER_LENGTH_OURS;

    if (layout->backing_name != NULL)
        at += EXTENSION_HEAD +
              padded(strlen(image_format_name(layout->backing_format)));
    if (with_names)
        at += EXTENSION_HEAD + sizeof(feature_names);
    return at + EXTENSION_HEAD;
}

/* The names of features are a courtesy; small clusters have no room. */
static bool
fits(const struct qcow2_layout *layout, bool with_names)
{
    size_t length =
        layout->backing_name != NULL ? strlen(layout->backing_name) : 0;

    return name_offset(layout, with_names) + length <=
           (size_t)1 << layout->cluster_bits;
}

uint64_t
qcow2_layout_l1_entries(uint64_t size, uint32_t cluster_bits)
{
    unsigned table_bits = 2 * cluster_bits - 3; /* bytes that one L2 maps */

    return (size >> table_bits) +
           ((size & (((uint64_t)1 << table_bits) - 1)) != 0);
}

int
qcow2_layout_check(const struct qcow2_layout *layout, struct error *err)
{
    uint32_t bits = layout->cluster_bits;

    if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
        return error_set(err, ERROR_INVALID,
                         "cluster bits %" PRIu32 ": not from %u to %u", bits,
                         QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
    if (layout->size > QCOW2_SIZE_MAX || layout->size % QCOW2_SECTOR != 0)
        return error_set(err, ERROR_INVALID,
                         "a disk of %" PRIu64
                         " bytes: not a multiple of 512, or above 64 TiB",
                         layout->size);
    if (qcow2_layout_l1_entries(layout->size, bits) * sizeof(uint64_t) >
        QCOW2_L1_BYTES_MAX)
        return error_set(err, ERROR_INVALID,
                         "a disk of %" PRIu64
                         " bytes needs clusters above %u bytes",
                         layout->size, 1u << bits);
    if (layout->backing_name == NULL)
        return 0;
    if (layout->backing_name[0] == '\0' ||
        strlen(layout->backing_name) > QCOW2_BACKING_NAME_MAX ||
        !fits(layout, false))
        return error_set(err, ERROR_INVALID,
                         "backing name '%.64s' of %zu bytes does not fit",
                         layout->backing_name, strlen(layout->backing_name));
    return 0;
}

static uint8_t *
put_extension(uint8_t *at, uint32_t type, const void *data, size_t length)
{
    qcow2_put32(at, type);
    qcow2_put32(at + 4, (uint32_t)length);
    memcpy(at + EXTENSION_HEAD, data, length);
    return at + EXTENSION_HEAD + padded(length);
}

static void
put_fields(const struct qcow2_layout *layout, uint8_t *bytes)
{
    qcow2_put32(bytes + QCOW2_HEADER_MAGIC, QCOW2_MAGIC);
    qcow2_put32(bytes + QCOW2_HEADER_VERSION, 3);
    qcow2_put32(bytes + QCOW2_HEADER_CLUSTER_BITS, layout->cluster_bits);
    qcow2_put64(bytes + QCOW2_HEADER_SIZE, layout->size);
    qcow2_put32(bytes + QCOW2_HEADER_L1_ENTRIES, (uint32_t)layout->l1_entries);
    qcow2_put64(bytes + QCOW2_HEADER_L1_OFFSET, layout->l1_offset);
    qcow2_put64(bytes + QCOW2_HEADER_REFTABLE_OFFSET, layout->reftable_offset);
    qcow2_put32(bytes + QCOW2_HEADER_REFTABLE_CLUSTERS,
                (uint32_t)layout->reftable_clusters);
    qcow2_put32(bytes + QCOW2_HEADER_REFCOUNT_ORDER,
                QCOW2_REFCOUNT_ORDER_DEFAULT);
    qcow2_put32(bytes + QCOW2_HEADER_LENGTH, QCOW2_HEADER_LENGTH_OURS);
    if (layout->compression != QCOW2_ZLIB)
        qcow2_put64(bytes + QCOW2_HEADER_INCOMPATIBLE,
                    QCOW2_INCOMPATIBLE_COMPRESSION);
    bytes[QCOW2_HEADER_COMPRESSION] = (uint8_t)layout->compression;
}

void
qcow2_layout_header(const struct qcow2_layout *layout, void *cluster)
{
    uint8_t *bytes = cluster;
    uint8_t *at = bytes + QCOW2_HEADER_LENGTH_OURS;
    bool with_names = fits(layout, true);

    put_fields(layout, bytes);
    if (layout->backing_name != NULL) {
        const char *format = image_format_name(layout->backing_format);

        at = put_extension(at, QCOW2_EXTENSION_BACKING_FORMAT, format,
                           strlen(format));
    }
    if (with_names)
        at = put_extension(at, QCOW2_EXTENSION_FEATURE_NAMES, feature_names,
                           sizeof(feature_names));
    at = put_extension(at, QCOW2_EXTENSION_END, "", 0);
    assert((size_t)(at - bytes) == name_offset(layout, with_names));
    if (layout->backing_name != NULL) {
        size_t length = strlen(layout->backing_name);

        memcpy(at, layout->backing_name, length);
        qcow2_put64(bytes + QCOW2_HEADER_BACKING_OFFSET,
                    (uint64_t)(at - bytes));
        qcow2_put32(bytes + QCOW2_HEADER_BACKING_SIZE, (uint32_t)length);
    }
}
