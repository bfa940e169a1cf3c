/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h -- sockets that listen, and who is at the other end.
 */
#ifndef API_LISTEN_H
#define API_LISTEN_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LISTEN_NO_GROUP ((gid_t)-1)

/**
 * listen_tcp(address, ret_port, err):
 * Listen on "host:port", where host is a numeric address or "localhost".
 *
 * Returns:    a socket, or -1 with *err set to ERROR_INVALID when `address` is
 *             malformed or not of loopback (without TLS nothing is offered to
 *             others), ERROR_BUSY when it is taken, ERROR_IO.
 */
int listen_tcp(const char *address, uint16_t *ret_port, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/**
 * listen_unix(path, group, err):
 * Listen on a Unix socket of mode 0600, or 0660 when `group` is given.  A
 * socket that a dead process has left there is replaced.
 *
 * Returns:    a socket, or -1 with *err set to ERROR_INVALID when the path is
 *             too long, ERROR_BUSY when somebody listens there, ERROR_IO.
 */
int listen_unix(const char *path, gid_t group, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* The group's number; ERROR_INVALID when there is none of that name. */
int listen_find_group(const char *name, gid_t *ret_group, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* True when the kernel says that the process at the other end of a Unix
 * socket is root's, our own user's, or of a member of `group`; its user id is
 * written in any case, -1 when it is not known. */
bool listen_is_trusted(int fd, gid_t group, long *ret_uid) NONNULL(3);

#endif
