/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h -- a point as text, and back; internal to src/repo.
 *
 * docs/formats/repository.md has every field.
 */
#ifndef REPO_MANIFEST_H
#define REPO_MANIFEST_H

#include "base/compiler.h"
#include "base/error.h"
#include "repo/repo.h"

#include <stdbool.h>
#include <stddef.h>

/* Bounds of what is in a manifest. */
#define MANIFEST_NAME_MAX 1024u
#define MANIFEST_TEXT_MAX 4096u
#define MANIFEST_XML_MAX ((size_t)8 << 20)
#define MANIFEST_DETAILS_MAX 256u

/**
 * manifest_check(point, finished, err):
 * Is every field there and inside its bounds?  An unfinished point (being
 * made) has no roots yet.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID.
 */
int manifest_check(const struct repo_point *point, bool finished,
                   struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * manifest_encode(point, err):
 * The text of a manifest, checksum included; the caller frees it.
 *
 * Returns:    the text, or NULL with *err set to ERROR_INVALID (something is
 *             no UTF-8, or it is too large).
 */
char *manifest_encode(const struct repo_point *point, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/**
 * manifest_parse(text, length, finished, err):
 * Parse and check what may come from anywhere.
 *
 * Returns:    the point (the caller's), or NULL with *err set to
 *             ERROR_CORRUPT, ERROR_UNSUPPORTED (of a newer version).
 */
struct repo_point *manifest_parse(const char *text, size_t length,
                                  bool finished, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/* True for a name that may stand in the path of a point's files. */
bool manifest_is_account(const char *account) NONNULL(1);

/* A uuid in lower case, as all names of files have it. */
bool manifest_is_uuid(const char *text) NONNULL(1);

#endif
