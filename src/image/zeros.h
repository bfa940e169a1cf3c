/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zeros.h -- is it all zero?  Internal to src/image.
 */
#ifndef IMAGE_ZEROS_H
#define IMAGE_ZEROS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* True when all `length` bytes are zero; true for length 0. */
bool zeros_only(const void *bytes, size_t length) NONNULL(1);

#endif
