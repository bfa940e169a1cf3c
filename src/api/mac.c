/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mac.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

void
mac_sha1(const char *secret, const char *text, uint8_t ret_mac[MAC_SHA1_SIZE])
{
    /* Only fails for an algorithm that the library lacks. */
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA1, secret, strlen(secret), text,
                         strlen(text), ret_mac) < 0)
        abort();
}

bool
mac_is_equal(const void *a, const void *b, size_t length)
{
    return gnutls_memcmp(a, b, length) == 0;
}

void
mac_wipe(void *bytes, size_t length)
{
    gnutls_memset(bytes, 0, length);
}
