/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_text.c -- the parsers of base, on text from outside.
 *
 * Beyond not crashing: what is accepted as a number means the same when it is
 * written out and read again.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/uuid.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>

#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
try_numbers(const char *text)
{
    struct error err = ERROR_INIT;
    uint64_t number = 0;
    uint64_t again = 0;
    int64_t with_sign = 0;
    double real = 0;
    bool flag = false;

    if (parse_u64(text, &number, &err) == 0) {
        AUTO_FREE char *written = xasprintf("%" PRIu64, number);

        assert(parse_u64(written, &again, &err) == 0 && again == number);
    }
    if (parse_i64(text, &with_sign, &err) == 0) {
        AUTO_FREE char *written = xasprintf("%" PRId64, with_sign);

        assert(parse_i64(written, &with_sign, &err) == 0);
    }
    if (parse_real(text, &real, &err) == 0)
        assert(isfinite(real));
    if (parse_size(text, &number, &err) < 0 &&
        parse_bool(text, &flag, &err) < 0)
        assert(err.code == ERROR_MALFORMED);
}

static void
try_clock(const char *text)
{
    struct error err = ERROR_INIT;
    char written[CLOCK_TEXT_SIZE];
    int64_t when = 0;
    int64_t again = 0;

    if (clock_parse(text, &when, &err) < 0)
        return;
    (void)clock_format(when, written);
    assert(clock_parse(written, &again, &err) == 0 && again == when);
}

static void
try_paths(const char *text)
{
    AUTO_FREE char *parent = path_parent(text);
    AUTO_FREE char *resolved = path_resolve_backing("/pool/a.qcow2", text);

    assert(parent[0] != '\0' && resolved[0] != '\0');
    (void)path_name(text);
    (void)path_is_clean_absolute(text);
    (void)uuid_is_valid(text);
    if (path_is_plain_name(text)) {
        AUTO_FREE char *joined = path_join("/pool", text);

        assert(path_is_clean_absolute(joined));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_FREE char *text = NULL;

    if (length > INPUT_MAX)
        return 0;
    text = xstrndup((const char *)bytes, length);
    try_numbers(text);
    try_clock(text);
    try_paths(text);
    return 0;
}
