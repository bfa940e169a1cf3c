/* SPDX-License-Identifier: Apache-2.0 */
#include "image/blockdev.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [IMAGE_RAW] = "raw",
    [IMAGE_QCOW2] = "qcow2",
};

const char *
image_format_name(enum image_format format)
{
    return names[format];
}

int
image_format_parse(const char *text, enum image_format *ret_format,
                   struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_format = (enum image_format)i;
            return 0;
        }
    return error_set(err, ERROR_INVALID, "image format '%s': not raw or qcow2",
                     text);
}
