/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h -- who is asking (semantics 6.2).
 */
#ifndef API_AUTH_H
#define API_AUTH_H

#include "api/api.h"
#include "api/call.h"
#include "base/compiler.h"
#include "base/error.h"

/**
 * auth_check(call, in, err):
 * Find out who asks: by API key and signature, by session, or because the
 * kernel says that the peer is an administrator; in this order, and what is
 * tried first is not followed by the next.  Sets call->caller, and begins
 * to read the database.
 *
 * Returns:    0, or -1 with *err set to ERROR_AUTH, always with the same text,
 *             apart from a signature that has expired.
 */
int auth_check(struct call *call, const struct api_request *in,
               struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
