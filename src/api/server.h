/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h -- the API over HTTP, on loopback and on a Unix socket.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/api.h"
#include "base/compiler.h"
#include "base/error.h"

#include <stdint.h>

#define SERVER_BODY_MAX ((size_t)1 << 20)

struct server;

struct server_config {
    /* "127.0.0.1:8080", "[::1]:8080", "localhost:8080"; NULL: no TCP.  Port 0
     * is any that is free. */
    const char *address;
    const char *socket;       /* path of the Unix socket; NULL: none */
    const char *socket_group; /* its members are administrators; or NULL */
    unsigned threads;         /* of each listener; 0: 4 */
};

/**
 * server_start(api, config, err):
 * Listen and answer, in threads of the server's own.
 *
 * Ownership:  `api` is borrowed until server_stop().
 * Returns:    the server, or NULL with *err set to ERROR_INVALID (an address
 *             that is none, or that is reachable from elsewhere), ERROR_BUSY
 *             (somebody listens there already), ERROR_IO.
 */
struct server *server_start(struct api *api, const struct server_config *config,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The TCP port, or 0. */
uint16_t server_port(const struct server *server) NONNULL(1);

/**
 * server_stop(server):
 * Take no more requests, let those under way be answered (one that waits for
 * a job is told how that stands), end.
 *
 * Blocks:     5 seconds at most for clients that are slow to read; longer only
 *             if a handler is.
 */
void server_stop(struct server *server);

#endif
