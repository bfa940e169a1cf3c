/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h -- snapshots of one machine, drawn as the tree that they are.
 *
 *     web1
 *     ├─ before  2026-03-01 11:15:00
 *     │  ├─ [between]
 *     │  │  └─ after  2026-03-02 11:15:00
 *     │  └─ other  2026-03-03 11:15:00  (current)
 *     └─ lone  Error  2026-03-04 11:15:00
 */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include "base/compiler.h"
#include "base/strbuf.h"

#include <jansson.h>
#include <stdbool.h>

/**
 * tree_draw(root, snapshots, has_boxes, has_colour, ret_text):
 * Draw an array of the API's vmsnapshot objects below a line `root`.  One
 * whose parent is not among them hangs at the root; the oldest come first.
 * Without `has_boxes` the lines are of ASCII.
 */
void tree_draw(const char *root, json_t *snapshots, bool has_boxes,
               bool has_colour, struct strbuf *ret_text) NONNULL(1, 2, 5);

#endif
