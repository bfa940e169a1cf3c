/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_params.c -- requests as text, and what is signed of them.
 *
 * Beyond not crashing: what was accepted as a type is read as that type, and
 * the text that is signed holds every parameter but the signature, in plain
 * characters.
 */
#include "api/params.h"
#include "api/signature.h"
#include "base/strbuf.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define INPUT_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
try_types(const struct params *params)
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < params->count; i++) {
        const char *key = params->items[i].key;

        for (int type = PARAMS_UUID; type <= PARAMS_MAP; type++) {
            if (params_check(params, key, (enum params_type)type, &err) < 0)
                assert(err.code == ERROR_INVALID ||
                       err.code == ERROR_MALFORMED);
        }
        (void)params_bool(params, key, false);
        (void)params_number(params, key, 0);
        (void)params_date(params, key, 0);
    }
    (void)!params_check_characters(params, &err);
}

static void
try_lists(const struct params *params)
{
    for (size_t i = 0; i < params->count; i++) {
        AUTO_PARAMS_LIST struct params_list list = {0};

        params_list(params, params->items[i].key, &list);
        for (size_t n = 0; n < list.count; n++)
            assert(list.items[n][0] != '\0');
    }
}

static void
try_signatures(const struct params *params)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < SIGNATURE_FORMS; i++) {
        signature_text(params, &signature_forms[i], &text);
        assert(strlen(strbuf_text(&text)) == text.length);
    }
    (void)signature_is_valid(params, "secret");
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    struct error err = ERROR_INIT;

    if (length > INPUT_MAX)
        return 0;
    if (params_parse(&params, (const char *)bytes, length, &err) < 0)
        assert(err.code == ERROR_MALFORMED);
    assert(params.count <= PARAMS_MAX);
    try_types(&params);
    try_lists(&params);
    try_signatures(&params);
    return 0;
}
