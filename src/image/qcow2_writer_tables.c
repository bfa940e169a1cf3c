/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L1, L2 and refcounts in memory, as they will stand in the file.  Guest
 * clusters come in ascending order and host clusters are given away in
 * ascending order, so that both kinds of tables are final behind a moving
 * point; the writer puts them into the file and frees them in portions.
 */
#include "image/qcow2_writer_internal.h"

#include "base/memory.h"
#include "image/qcow2_format.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

/* 2 to the power of this many entries in one L2 table. */
static uint32_t
l2_bits(const struct qcow2_writer_tables *tables)
{
    return tables->cluster_bits - 3;
}

int
qcow2_writer_tables_init(struct qcow2_writer_tables *tables, uint64_t size,
                         uint32_t cluster_bits, struct error *err)
{
    size_t bytes;

    tables->cluster_bits = cluster_bits;
    tables->l1_entries = qcow2_layout_l1_entries(size, cluster_bits);
    bytes = MAX(tables->l1_entries, (uint64_t)1) * sizeof(uint64_t);
    tables->l1 = memory_try(bytes, QCOW2_L1_BYTES_MAX, "an L1 table", err);
    if (tables->l1 == NULL)
        return -1;
    tables->l2 = memory_try(bytes, QCOW2_L1_BYTES_MAX, "an L1 table", err);
    return tables->l2 == NULL ? -1 : 0;
}

void
qcow2_writer_tables_release(struct qcow2_writer_tables *tables)
{
    if (tables->l2 != NULL)
        for (uint64_t i = 0; i < tables->l1_entries; i++)
            free(tables->l2[i]);
    free(tables->l2);
    free(tables->l1);
    vec_for (struct qcow2_writer_refblock *, block, &tables->refblocks)
        free(block->counts);
    vec_release(&tables->refblocks);
}

bool
qcow2_writer_tables_is_new(const struct qcow2_writer_tables *tables,
                           uint64_t cluster)
{
    return tables->l2[cluster >> l2_bits(tables)] == NULL;
}

void
qcow2_writer_tables_add(struct qcow2_writer_tables *tables, uint64_t cluster)
{
    uint64_t index = cluster >> l2_bits(tables);

    assert(index < tables->l1_entries && index >= tables->l2_first);
    tables->l2[index] = xcalloc((size_t)1 << l2_bits(tables), sizeof(uint64_t));
    tables->l2_count++;
}

void
qcow2_writer_tables_set(struct qcow2_writer_tables *tables, uint64_t cluster,
                        uint64_t entry)
{
    uint64_t *table = tables->l2[cluster >> l2_bits(tables)];

    assert(table != NULL);
    table[cluster & (((uint64_t)1 << l2_bits(tables)) - 1)] = htobe64(entry);
}

/* The block that counts host cluster `cluster`, made when it is missing. */
static struct qcow2_writer_refblock *
refblock_of(struct qcow2_writer_tables *tables, uint64_t cluster)
{
    uint64_t index = cluster >> (tables->cluster_bits - 1);

    while (tables->refblocks.count <= index) {
        struct qcow2_writer_refblock block = {
            .counts = xcalloc((size_t)1 << (tables->cluster_bits - 1),
                              sizeof(uint16_t)),
        };

        vec_push(&tables->refblocks, block);
    }
    return &tables->refblocks.items[index];
}

void
qcow2_writer_tables_count(struct qcow2_writer_tables *tables, uint64_t offset,
                          uint64_t length)
{
    uint64_t mask = ((uint64_t)1 << (tables->cluster_bits - 1)) - 1;
    uint64_t last = (offset + length - 1) >> tables->cluster_bits;

    for (uint64_t i = offset >> tables->cluster_bits; i <= last; i++) {
        uint16_t *count;
        struct qcow2_writer_refblock *block = refblock_of(tables, i);

        assert(block->counts != NULL);
        count = &block->counts[i & mask];
        /* The smallest frames are far above cluster size / 65535. */
        assert(*count < UINT16_MAX);
        (*count)++;
    }
}
