/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing goes over one buffer that holds the first cluster; nothing outside
 * of it is ever needed, because backing name and header extensions must lie
 * in the first cluster.  Every number from the file is checked before it is
 * used as an offset, a size or a count; sums are formed in 64 bits from
 * numbers that were bounded before.
 *
 * Where QEMU refuses, we refuse; we refuse more (sizes above QCOW2_SIZE_MAX,
 * a zero byte inside the backing name), never less.
 */
#include "image/qcow2_header.h"

#include "base/fd.h"
#include "base/memory.h"
#include "image/qcow2_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is being parsed. */
struct source {
    const uint8_t *bytes;
    size_t length; /* at most one cluster */
    const char *path;
};

static int
corrupt(const struct source *source, const char *reason, uint64_t number,
        struct error *err)
{
    return error_set(err, ERROR_CORRUPT, "'%s': %s (%" PRIu64 ")", source->path,
                     reason, number);
}

static uint64_t
cluster_size_of(const struct qcow2_header *header)
{
    return (uint64_t)1 << header->info.cluster_bits;
}

uint64_t
qcow2_header_l2_coverage(const struct qcow2_header *header)
{
    uint64_t entry = header->info.extended_l2 ? QCOW2_L2_ENTRY_SIZE_EXTENDED
                                              : QCOW2_L2_ENTRY_SIZE;

    return cluster_size_of(header) / entry * cluster_size_of(header);
}

uint64_t
qcow2_header_l1_needed(const struct qcow2_header *header)
{
    uint64_t coverage = qcow2_header_l2_coverage(header);

    return header->info.size / coverage + (header->info.size % coverage != 0);
}

/* -- the fixed part ----------------------------------------------------- */

static int
parse_version(const struct source *source, struct qcow2_header *header,
              struct error *err)
{
    const uint8_t *bytes = source->bytes;

    if (source->length < QCOW2_HEADER_LENGTH_V2 ||
        qcow2_get32(bytes + QCOW2_HEADER_MAGIC) != QCOW2_MAGIC)
        return error_set(err, ERROR_CORRUPT, "'%s' is not a qcow2 image",
                         source->path);
    header->info.version = qcow2_get32(bytes + QCOW2_HEADER_VERSION);
    if (header->info.version != 2 && header->info.version != 3)
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' is qcow2 version %" PRIu32 ", not 2 or 3",
                         source->path, header->info.version);
    header->info.cluster_bits = qcow2_get32(bytes + QCOW2_HEADER_CLUSTER_BITS);
    if (header->info.cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
        header->info.cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return corrupt(source, "cluster bits are out of bounds",
                       header->info.cluster_bits, err);
    header->info.size = qcow2_get64(bytes + QCOW2_HEADER_SIZE);
    if (header->info.size > QCOW2_SIZE_MAX)
        return corrupt(source, "the disk's size is absurd", header->info.size,
                       err);
    return 0;
}

static int
parse_length(const struct source *source, struct qcow2_header *header,
             struct error *err)
{
    header->length = QCOW2_HEADER_LENGTH_V2;
    header->refcount_order = QCOW2_REFCOUNT_ORDER_DEFAULT;
    if (header->info.version == 2)
        return 0;
    if (source->length < QCOW2_HEADER_LENGTH_V3)
        return corrupt(source, "the file ends in the header", source->length,
                       err);
    header->length = qcow2_get32(source->bytes + QCOW2_HEADER_LENGTH);
    header->refcount_order =
        qcow2_get32(source->bytes + QCOW2_HEADER_REFCOUNT_ORDER);
    if (header->length < QCOW2_HEADER_LENGTH_V3 ||
        header->length > cluster_size_of(header) ||
        header->length > source->length)
        return corrupt(source, "the header's length is out of bounds",
                       header->length, err);
    if (header->refcount_order > QCOW2_REFCOUNT_ORDER_MAX)
        return corrupt(source, "refcount width is out of bounds",
                       header->refcount_order, err);
    return 0;
}

/* The name that the image itself gives an incompatible feature, or "". */
static void
name_feature(const struct source *source, const struct qcow2_header *header,
             unsigned bit, char *buffer, size_t size)
{
    uint64_t at = header->length;

    buffer[0] = '\0';
    while (at + 8 <= source->length) {
        uint32_t type = qcow2_get32(source->bytes + at);
        uint64_t length = qcow2_get32(source->bytes + at + 4);

        at += 8;
        if (type == QCOW2_EXTENSION_END || length > source->length - at)
            return;
        for (uint64_t i = 0;
             type == QCOW2_EXTENSION_FEATURE_NAMES && i + 48 <= length;
             i += 48) {
            const uint8_t *entry = source->bytes + at + i;

            if (entry[0] == 0 && entry[1] == bit)
                (void)snprintf(buffer, size, " ('%.46s')",
                               (const char *)entry + 2);
        }
        at += (length + 7) & ~(uint64_t)7;
    }
}

static int
parse_features(const struct source *source, struct qcow2_header *header,
               struct error *err)
{
    uint64_t unknown;

    if (header->info.version == 2)
        return 0;
    header->incompatible =
        qcow2_get64(source->bytes + QCOW2_HEADER_INCOMPATIBLE);
    header->compatible = qcow2_get64(source->bytes + QCOW2_HEADER_COMPATIBLE);
    header->autoclear = qcow2_get64(source->bytes + QCOW2_HEADER_AUTOCLEAR);
    unknown = header->incompatible & ~QCOW2_INCOMPATIBLE_KNOWN;
    if (unknown != 0) {
        unsigned bit = (unsigned)__builtin_ctzll(unknown);
        char name[64];

        name_feature(source, header, bit, name, sizeof(name));
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' needs the unknown feature of bit %u%s",
                         source->path, bit, name);
    }
    header->info.dirty = header->incompatible & QCOW2_INCOMPATIBLE_DIRTY;
    header->info.corrupt = header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
    header->info.data_file =
        header->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE;
    header->info.extended_l2 =
        header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
    if (header->info.extended_l2 &&
        header->info.cluster_bits < QCOW2_CLUSTER_BITS_MIN + 5)
        return corrupt(source, "subclusters are smaller than a sector",
                       header->info.cluster_bits, err);
    return 0;
}

static int
parse_compression(const struct source *source, struct qcow2_header *header,
                  struct error *err)
{
    bool flagged = header->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION;
    unsigned type = QCOW2_ZLIB;

    if (header->length > QCOW2_HEADER_COMPRESSION)
        type = source->bytes[QCOW2_HEADER_COMPRESSION];
    if (type != QCOW2_ZLIB && type != QCOW2_ZSTD)
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' is compressed with the unknown method %u",
                         source->path, type);
    if (flagged != (type != QCOW2_ZLIB))
        return corrupt(source,
                       "compression method and its feature bit do not agree",
                       type, err);
    header->info.compression = (enum qcow2_compression)type;
    return 0;
}

static int
parse_encryption(const struct source *source, struct qcow2_header *header,
                 struct error *err)
{
    uint32_t method = qcow2_get32(source->bytes + QCOW2_HEADER_CRYPT);

    if (method > 2)
        return corrupt(source, "the encryption method is unknown", method, err);
    header->info.encrypted = method != 0;
    return 0;
}

/* -- tables ------------------------------------------------------------- */

/* A table starts on a cluster behind the header and has bounded size. */
static int
check_table(const struct source *source, const struct qcow2_header *header,
            uint64_t offset, const char *reason, struct error *err)
{
    if (offset == 0 || offset > (uint64_t)INT64_MAX ||
        offset % cluster_size_of(header) != 0)
        return corrupt(source, reason, offset, err);
    return 0;
}

static int
parse_tables(const struct source *source, struct qcow2_header *header,
             struct error *err)
{
    const uint8_t *bytes = source->bytes;

    header->l1_entries = qcow2_get32(bytes + QCOW2_HEADER_L1_ENTRIES);
    header->l1_offset = qcow2_get64(bytes + QCOW2_HEADER_L1_OFFSET);
    header->reftable_offset = qcow2_get64(bytes + QCOW2_HEADER_REFTABLE_OFFSET);
    header->reftable_clusters =
        qcow2_get32(bytes + QCOW2_HEADER_REFTABLE_CLUSTERS);
    header->info.snapshots = qcow2_get32(bytes + QCOW2_HEADER_SNAPSHOTS);
    header->snapshots_offset =
        qcow2_get64(bytes + QCOW2_HEADER_SNAPSHOTS_OFFSET);

    if ((uint64_t)header->l1_entries * 8 > QCOW2_L1_BYTES_MAX)
        return corrupt(source, "the L1 table is absurdly large",
                       header->l1_entries, err);
    if (header->l1_entries < qcow2_header_l1_needed(header))
        return corrupt(source, "the L1 table is too small for the disk",
                       header->l1_entries, err);
    if (header->l1_entries > 0 &&
        check_table(source, header, header->l1_offset,
                    "the L1 table's offset is wrong", err) < 0)
        return -1;
    if (header->reftable_clusters == 0 ||
        header->reftable_clusters * cluster_size_of(header) >
            QCOW2_REFTABLE_BYTES_MAX)
        return corrupt(source, "the refcount table's size is out of bounds",
                       header->reftable_clusters, err);
    if (check_table(source, header, header->reftable_offset,
                    "the refcount table's offset is wrong", err) < 0)
        return -1;
    if (header->info.snapshots > QCOW2_SNAPSHOTS_MAX)
        return corrupt(source, "there are absurdly many snapshots",
                       header->info.snapshots, err);
    if (header->info.snapshots > 0 &&
        check_table(source, header, header->snapshots_offset,
                    "the snapshot table's offset is wrong", err) < 0)
        return -1;
    return 0;
}

/* -- backing name and extensions ---------------------------------------- */

static int
parse_backing(const struct source *source, struct qcow2_header *header,
              struct error *err)
{
    uint64_t offset = qcow2_get64(source->bytes + QCOW2_HEADER_BACKING_OFFSET);
    uint32_t size = qcow2_get32(source->bytes + QCOW2_HEADER_BACKING_SIZE);
    const char *name;

    if (offset == 0)
        return 0;
    if (offset < header->length || offset > source->length)
        return corrupt(source, "the backing name's offset is out of bounds",
                       offset, err);
    if (size > QCOW2_BACKING_NAME_MAX || size > source->length - offset)
        return corrupt(source, "the backing name's length is out of bounds",
                       size, err);
    name = (const char *)source->bytes + offset;
    if (memchr(name, '\0', size) != NULL)
        return corrupt(source, "the backing name holds a zero byte", size, err);
    header->backing_offset = offset;
    header->backing_size = size;
    memcpy(header->info.backing_name, name, size);
    header->info.backing_name[size] = '\0';
    header->info.has_backing = size > 0;
    return 0;
}

static int
parse_backing_format(const struct source *source, struct qcow2_header *header,
                     const uint8_t *data, uint64_t length, struct error *err)
{
    if (length >= sizeof(header->info.backing_format))
        return corrupt(source, "the backing format's name is too long", length,
                       err);
    memcpy(header->info.backing_format, data, length);
    header->info.backing_format[length] = '\0';
    return 0;
}

static int
parse_bitmaps(const struct source *source, struct qcow2_header *header,
              const uint8_t *data, uint64_t length, struct error *err)
{
    /* Somebody who does not know bitmaps wrote: they are void. */
    if (!(header->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
        return 0;
    if (length != QCOW2_BITMAPS_EXTENSION_SIZE)
        return corrupt(source, "the bitmap extension's length is wrong", length,
                       err);
    header->bitmaps = qcow2_get32(data + QCOW2_BITMAPS_COUNT);
    header->bitmaps_directory_size =
        qcow2_get64(data + QCOW2_BITMAPS_DIRECTORY_SIZE);
    header->bitmaps_directory_offset =
        qcow2_get64(data + QCOW2_BITMAPS_DIRECTORY_OFFSET);
    if (header->bitmaps == 0 || header->bitmaps > QCOW2_BITMAPS_MAX)
        return corrupt(source, "the number of bitmaps is out of bounds",
                       header->bitmaps, err);
    if (header->bitmaps_directory_size > QCOW2_BITMAPS_DIRECTORY_MAX)
        return corrupt(source, "the bitmap directory is absurdly large",
                       header->bitmaps_directory_size, err);
    if (check_table(source, header, header->bitmaps_directory_offset,
                    "the bitmap directory's offset is wrong", err) < 0)
        return -1;
    header->info.has_bitmaps = true;
    return 0;
}

static int
parse_extensions(const struct source *source, struct qcow2_header *header,
                 struct error *err)
{
    uint64_t end =
        header->backing_offset != 0 ? header->backing_offset : source->length;
    uint64_t at = header->length;

    while (at < end) {
        uint32_t type;
        uint64_t length;
        int result = 0;

        if (end - at < 8)
            return 0;
        type = qcow2_get32(source->bytes + at);
        length = qcow2_get32(source->bytes + at + 4);
        at += 8;
        if (type == QCOW2_EXTENSION_END)
            return 0;
        if (length > end - at)
            return corrupt(source, "a header extension is too long", length,
                           err);
        if (type == QCOW2_EXTENSION_BACKING_FORMAT)
            result = parse_backing_format(source, header, source->bytes + at,
                                          length, err);
        else if (type == QCOW2_EXTENSION_BITMAPS)
            result =
                parse_bitmaps(source, header, source->bytes + at, length, err);
        if (result < 0)
            return -1;
        at += (length + 7) & ~(uint64_t)7;
    }
    return 0;
}

int
qcow2_header_parse(const void *bytes, size_t length, const char *path,
                   struct qcow2_header *ret_header, struct error *err)
{
    struct source source = {.bytes = bytes, .length = length, .path = path};
    struct qcow2_header header = {.length = 0};

    if (parse_version(&source, &header, err) < 0)
        return -1;
    source.length = MIN(source.length, (size_t)cluster_size_of(&header));
    if (parse_length(&source, &header, err) < 0 ||
        parse_features(&source, &header, err) < 0 ||
        parse_compression(&source, &header, err) < 0 ||
        parse_encryption(&source, &header, err) < 0 ||
        parse_tables(&source, &header, err) < 0 ||
        parse_backing(&source, &header, err) < 0 ||
        parse_extensions(&source, &header, err) < 0)
        return -1;
    *ret_header = header;
    return 0;
}

int
qcow2_header_read(int fd, const char *path, struct qcow2_header *ret_header,
                  struct error *err)
{
    const size_t usual = (size_t)1 << QCOW2_CLUSTER_BITS_DEFAULT;
    const size_t longest = (size_t)1 << QCOW2_CLUSTER_BITS_MAX;
    AUTO_FREE uint8_t *bytes = xmalloc(usual);
    size_t length;

    if (fd_pread_up_to(fd, bytes, usual, 0, &length, path, err) < 0)
        return -1;
    /* Larger clusters are rare; read again only for them. */
    if (length == usual && qcow2_get32(bytes + QCOW2_HEADER_CLUSTER_BITS) >
                               QCOW2_CLUSTER_BITS_DEFAULT) {
        bytes = xrealloc(bytes, longest);
        if (fd_pread_up_to(fd, bytes, longest, 0, &length, path, err) < 0)
            return -1;
    }
    return qcow2_header_parse(bytes, length, path, ret_header, err);
}
