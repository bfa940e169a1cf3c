/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_manifest.c -- a manifest of any text, also with the right checksum.
 *
 * Beyond not crashing: what is refused is refused as corrupt or unsupported;
 * what is accepted has names that stay inside the repository, and is the same
 * when it is written and read again.
 */
#include "base/error.h"
#include "base/memory.h"
#include "base/path.h"
#include "repo/manifest.h"
#include "repo/manifest_json.h"

#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
check_names(const struct repo_point *point)
{
    assert(path_is_plain_name(point->account));
    assert(uuid_is_valid(point->uuid.text) && uuid_is_valid(point->vm.text));
    for (size_t i = 0; i < point->volume_count; i++) {
        const struct repo_volume *volume = &point->volumes[i];

        assert(uuid_is_valid(volume->volume.text));
        assert(volume->chain_count > 0);
        for (size_t k = 0; k < volume->chain_count; k++)
            assert(uuid_is_valid(volume->chain[k].text));
    }
}

static void
try_text(const char *text, size_t length, bool finished)
{
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point =
        manifest_parse(text, length, finished, &err);
    AUTO_REPO_POINT struct repo_point *again = NULL;
    AUTO_FREE char *written = NULL;
    AUTO_FREE char *rewritten = NULL;

    if (point == NULL) {
        assert(err.code == ERROR_CORRUPT || err.code == ERROR_UNSUPPORTED);
        return;
    }
    check_names(point);
    written = manifest_encode(point, &err);
    assert(written != NULL);
    again = manifest_parse(written, strlen(written), finished, &err);
    assert(again != NULL);
    rewritten = manifest_encode(again, &err);
    assert(rewritten != NULL && strcmp(written, rewritten) == 0);
}

/* The same object with the checksum that it should have. */
static void
try_with_checksum(const char *text, size_t length)
{
    json_error_t why;
    AUTO_JSON json_t *object = json_loadb(text, length, 0, &why);
    AUTO_FREE char *checksum = NULL;
    char *whole;

    if (!json_is_object(object))
        return;
    checksum = manifest_json_checksum(object);
    if (checksum == NULL ||
        json_object_set_new(object, "checksum", json_string(checksum)) < 0)
        return;
    whole = json_dumps(object, 0);
    if (whole == NULL)
        return;
    try_text(whole, strlen(whole), true);
    try_text(whole, strlen(whole), false);
    free(whole);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_FREE char *text = NULL;

    if (length > INPUT_MAX)
        return 0;
    text = xstrndup((const char *)bytes, length);
    try_text(text, strlen(text), true);
    try_with_checksum(text, strlen(text));
    return 0;
}
