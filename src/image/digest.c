/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Algorithms.  XXH3-128 costs a fiftieth of compressing the same data and
 * finds every accident; SHA-256 is for where somebody could want to deceive.
 *
 * Inputs of leaves (65536 bytes), nodes (at most a tenth of that) and roots
 * (at most 56) have different lengths, so that none can stand for another.
 */
#include "image/digest_format.h"

#include "image/zeros.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* AVX2 or AVX-512 where there is: 2.7 times */
#endif

static const struct {
    const char *name;
    size_t length;
} algorithms[] = {
    [DIGEST_XXH3_128] = {"xxh3-128", 16},
    [DIGEST_SHA256] = {"sha256", 32},
};

const char *
digest_algorithm_name(enum digest_algorithm algorithm)
{
    return algorithms[algorithm].name;
}

int
digest_algorithm_parse(const char *text, enum digest_algorithm *ret,
                       struct error *err)
{
    for (size_t i = DIGEST_XXH3_128; i < ARRAY_SIZE(algorithms); i++)
        if (strcmp(text, algorithms[i].name) == 0) {
            *ret = (enum digest_algorithm)i;
            return 0;
        }
    return error_set(err, ERROR_INVALID,
                     "digest algorithm '%s': not xxh3-128 or sha256", text);
}

size_t
digest_length(enum digest_algorithm algorithm)
{
    return algorithms[algorithm].length;
}

uint64_t
digest_checksum(const void *bytes, size_t length)
{
    return XXH3_64bits(bytes, length);
}

void
digest_bytes(enum digest_algorithm algorithm, const void *bytes, size_t length,
             struct digest *ret_digest)
{
    memset(ret_digest, 0, sizeof(*ret_digest));
    switch (algorithm) {
    case DIGEST_XXH3_128: {
        XXH128_canonical_t canonical;

        XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, length));
        memcpy(ret_digest->bytes, canonical.digest, sizeof(canonical.digest));
        break;
    }
    case DIGEST_SHA256: {
        int result = gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, length,
                                      ret_digest->bytes);

        assert(result == 0); /* the one reason to fail is no such digest */
        (void)result;
        break;
    }
    }
}

void
digest_leaf(enum digest_algorithm algorithm, const void *leaf,
            struct digest *ret_digest)
{
    if (zeros_only(leaf, DIGEST_LEAF_SIZE))
        memset(ret_digest, 0, sizeof(*ret_digest));
    else
        digest_bytes(algorithm, leaf, DIGEST_LEAF_SIZE, ret_digest);
}

bool
digest_is_zero(const struct digest *digest)
{
    return zeros_only(digest->bytes, sizeof(digest->bytes));
}

bool
digest_is_same(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

uint64_t
digest_leaves(uint64_t size)
{
    return size / DIGEST_LEAF_SIZE + (size % DIGEST_LEAF_SIZE != 0);
}

void
digest_root_text(enum digest_algorithm algorithm, uint64_t size,
                 const struct digest *top, char ret_text[DIGEST_ROOT_TEXT])
{
    uint8_t input[24 + DIGEST_BYTES] = "varvroot";
    size_t length = digest_length(algorithm);
    struct digest root;
    int at;

    digest_put32(input + 8, DIGEST_VERSION);
    digest_put32(input + 12, (uint32_t)algorithm);
    digest_put64(input + 16, size);
    memcpy(input + 24, top->bytes, length);
    digest_bytes(algorithm, input, 24 + length, &root);

    at = snprintf(ret_text, DIGEST_ROOT_TEXT,
                  "%s:", digest_algorithm_name(algorithm));
    for (size_t i = 0; i < length; i++)
        at += snprintf(ret_text + at, (size_t)(DIGEST_ROOT_TEXT - at), "%02x",
                       root.bytes[i]);
}
