/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_format.h -- the bytes of a qcow2 file; internal to src/image.
 *
 * Names and numbers are those of QEMU's docs/interop/qcow2.txt.  Everything on
 * disk is big-endian and read and written by offset, never by a struct, so
 * that neither padding nor alignment matters.
 */
#ifndef IMAGE_QCOW2_FORMAT_H
#define IMAGE_QCOW2_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* -- big-endian numbers ------------------------------------------------- */

static inline uint16_t
qcow2_get16(const void *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return be16toh(value);
}

static inline uint32_t
qcow2_get32(const void *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t
qcow2_get64(const void *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

static inline void
qcow2_put16(void *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof(value));
}

static inline void
qcow2_put32(void *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void
qcow2_put64(void *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
}

/* -- the header --------------------------------------------------------- */

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

/* Offsets of the fields. */
enum qcow2_header_offset {
    QCOW2_HEADER_MAGIC = 0,
    QCOW2_HEADER_VERSION = 4,
    QCOW2_HEADER_BACKING_OFFSET = 8, /* 64 bits; 0 for no backing file */
    QCOW2_HEADER_BACKING_SIZE = 16,
    QCOW2_HEADER_CLUSTER_BITS = 20,
    QCOW2_HEADER_SIZE = 24, /* 64 bits, bytes of the guest's disk */
    QCOW2_HEADER_CRYPT = 32,
    QCOW2_HEADER_L1_ENTRIES = 36,
    QCOW2_HEADER_L1_OFFSET = 40,         /* 64 bits */
    QCOW2_HEADER_REFTABLE_OFFSET = 48,   /* 64 bits */
    QCOW2_HEADER_REFTABLE_CLUSTERS = 56, /* 32 bits */
    QCOW2_HEADER_SNAPSHOTS = 60,
    QCOW2_HEADER_SNAPSHOTS_OFFSET = 64, /* 64 bits */
    /* Version 3 from here on. */
    QCOW2_HEADER_INCOMPATIBLE = 72,   /* 64 bits */
    QCOW2_HEADER_COMPATIBLE = 80,     /* 64 bits */
    QCOW2_HEADER_AUTOCLEAR = 88,      /* 64 bits */
    QCOW2_HEADER_REFCOUNT_ORDER = 96, /* refcount bits = 1 << order */
    QCOW2_HEADER_LENGTH = 100,
    /* Only if the header's length says so. */
    QCOW2_HEADER_COMPRESSION = 104 /* 8 bits, enum qcow2_compression */
};

#define QCOW2_HEADER_LENGTH_V2 72u
#define QCOW2_HEADER_LENGTH_V3 104u /* the shortest of version 3 */
#define QCOW2_HEADER_LENGTH_OURS 112u

#define QCOW2_REFCOUNT_ORDER_DEFAULT 4u /* 16 bits; fixed in version 2 */
#define QCOW2_REFCOUNT_ORDER_MAX 6u

/* Incompatible features: whoever does not know one must not open. */
#define QCOW2_INCOMPATIBLE_DIRTY ((uint64_t)1 << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT ((uint64_t)1 << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE ((uint64_t)1 << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION ((uint64_t)1 << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 ((uint64_t)1 << 4)
#define QCOW2_INCOMPATIBLE_KNOWN                                               \
    (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT |                   \
     QCOW2_INCOMPATIBLE_DATA_FILE | QCOW2_INCOMPATIBLE_COMPRESSION |           \
     QCOW2_INCOMPATIBLE_EXTENDED_L2)

#define QCOW2_COMPATIBLE_LAZY_REFCOUNTS ((uint64_t)1 << 0)

/* Autoclear features: whoever does not know one clears it when writing. */
#define QCOW2_AUTOCLEAR_BITMAPS ((uint64_t)1 << 0)
#define QCOW2_AUTOCLEAR_RAW_EXTERNAL ((uint64_t)1 << 1)

/* Header extensions: type, length (32 bits each), data padded to 8 bytes. */
#define QCOW2_EXTENSION_END 0u
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXTENSION_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXTENSION_BITMAPS 0x23852875u
#define QCOW2_EXTENSION_CRYPTO 0x0537be77u
#define QCOW2_EXTENSION_DATA_FILE 0x44415441u

/* Bounds; the same as QEMU's. */
#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_L1_BYTES_MAX ((uint64_t)32 << 20)
#define QCOW2_REFTABLE_BYTES_MAX ((uint64_t)8 << 20)
#define QCOW2_SNAPSHOTS_MAX 65536u

/* -- L1 and L2 entries -------------------------------------------------- */

#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull /* L1 and standard L2 */
#define QCOW2_COPIED ((uint64_t)1 << 63)        /* refcount is exactly 1 */
#define QCOW2_L1_RESERVED 0x7f000000000001ffull
#define QCOW2_L2_COMPRESSED ((uint64_t)1 << 62)
#define QCOW2_L2_RESERVED 0x3f000000000001feull /* of a standard entry */
#define QCOW2_L2_ZERO ((uint64_t)1 << 0)        /* version 3, not extended L2 */

#define QCOW2_L2_ENTRY_SIZE 8u
#define QCOW2_L2_ENTRY_SIZE_EXTENDED 16u
#define QCOW2_SUBCLUSTERS 32u

/*
 * Compressed clusters.  The descriptor's low bits are the host offset, then
 * follows the number of further 512-byte sectors that the data touches.
 */
#define QCOW2_SECTOR 512u

/* How many bits of a descriptor are the host offset. */
static inline unsigned
qcow2_compressed_offset_bits(unsigned cluster_bits)
{
    return 62 - (cluster_bits - 8);
}

/* -- refcounts ---------------------------------------------------------- */

#define QCOW2_REFTABLE_OFFSET_MASK 0xfffffffffffffe00ull

/* -- the bitmap directory ----------------------------------------------- */

/* The extension's data. */
#define QCOW2_BITMAPS_EXTENSION_SIZE 24u
#define QCOW2_BITMAPS_COUNT 0             /* 32 bits */
#define QCOW2_BITMAPS_DIRECTORY_SIZE 8    /* 64 bits */
#define QCOW2_BITMAPS_DIRECTORY_OFFSET 16 /* 64 bits */

#define QCOW2_BITMAPS_MAX 65535u
#define QCOW2_BITMAPS_DIRECTORY_MAX ((uint64_t)65535 * 1072)

/* One entry; extra data and the name follow, all padded to 8 bytes. */
#define QCOW2_BITMAP_ENTRY_SIZE 24u
#define QCOW2_BITMAP_TABLE_OFFSET 0 /* 64 bits */
#define QCOW2_BITMAP_TABLE_SIZE 8   /* 32 bits, entries */
#define QCOW2_BITMAP_FLAGS 12       /* 32 bits */
#define QCOW2_BITMAP_TYPE 16        /* 8 bits */
#define QCOW2_BITMAP_GRANULARITY 17 /* 8 bits */
#define QCOW2_BITMAP_NAME_SIZE 18   /* 16 bits */
#define QCOW2_BITMAP_EXTRA_SIZE 20  /* 32 bits */

#define QCOW2_BITMAP_IN_USE 0x1u
#define QCOW2_BITMAP_AUTO 0x2u
#define QCOW2_BITMAP_EXTRA_COMPATIBLE 0x4u
#define QCOW2_BITMAP_TYPE_DIRTY 1u
#define QCOW2_BITMAP_NAME_MAX 1023u
#define QCOW2_BITMAP_TABLE_SIZE_MAX 0x8000000u

#endif
