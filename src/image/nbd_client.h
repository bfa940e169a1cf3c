/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_client.h -- one connection to an NBD server; internal to src/image.
 *
 * Threads:    one at a time for each connection.
 * Blocks:     on the server, at most NBD_CLIENT_TIMEOUT_MS for each call.
 *             After a timeout the connection is closed; the server cannot
 *             write into the caller's memory any more.
 */
#ifndef IMAGE_NBD_CLIENT_H
#define IMAGE_NBD_CLIENT_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_CLIENT_TIMEOUT_MS 120000
#define NBD_CLIENT_REQUEST_MAX ((uint32_t)32 << 20)

struct nbd_client;

/* What the server said at the start. */
struct nbd_client_facts {
    uint64_t size;
    uint32_t alignment;   /* of requests; 1 or another power of two */
    uint32_t request_max; /* at most NBD_CLIENT_REQUEST_MAX */
    bool has_status;      /* tells what reads as zero */
    bool can_multi_conn;  /* several connections see the same */
};

/**
 * nbd_client_connect(uri, ret_facts, err):
 * Connect over a Unix or TCP socket.
 *
 * Returns:    the connection, or NULL with *err set to ERROR_UNAVAILABLE,
 *             ERROR_TIMEOUT, ERROR_CORRUPT (facts that cannot be).
 */
struct nbd_client *nbd_client_connect(const char *uri,
                                      struct nbd_client_facts *ret_facts,
                                      struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Closes without waiting for the server. */
void nbd_client_free(struct nbd_client *client);

/* True when the connection is of no more use. */
bool nbd_client_is_dead(const struct nbd_client *client) NONNULL(1);

/* At most request_max bytes, aligned. */
int nbd_client_read(struct nbd_client *client, void *buffer, size_t length,
                    uint64_t offset, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* A piece of the export. */
struct nbd_client_extent {
    uint64_t end; /* it starts where the one before ends */
    bool is_zero;
};

/**
 * nbd_client_status(client, offset, length, ret_extents, ret_count, err):
 * What of a range, both aligned, reads as zero.  The extents start at
 * `offset`; they may end early, or past the range.
 *
 * Ownership:  the caller frees *ret_extents; there is at least one.
 */
int nbd_client_status(struct nbd_client *client, uint64_t offset,
                      uint64_t length, struct nbd_client_extent **ret_extents,
                      size_t *ret_count, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5, 6);

#endif
