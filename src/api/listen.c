/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of the server.
 *
 * Beyond loopback only TLS may be offered, and there is none yet: any other
 * address is refused, also "any".  The address is numeric, so that no name
 * service decides what we listen on.
 *
 * On the Unix socket the kernel tells who has connected.  Supplementary groups
 * are asked from the kernel too (SO_PEERGROUPS): they are those of the process
 * at the other end, not what the user database says today.
 */
#include "api/listen.h"

#include "base/memory.h"
#include "base/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define GROUPS_MAX 1024

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

/* -- TCP ----------------------------------------------------------------- */

/* Split "host:port" or "[host]:port"; the caller frees *ret_host. */
static int
split(const char *address, char **ret_host, uint16_t *ret_port,
      struct error *err)
{
    const char *colon = strrchr(address, ':');
    bool bracketed = address[0] == '[';
    size_t length = colon != NULL ? (size_t)(colon - address) : 0;
    uint64_t port;

    if (bracketed && (length < 2 || address[length - 1] != ']'))
        colon = NULL;
    if (!bracketed && colon != NULL && memchr(address, ':', length) != NULL)
        colon = NULL;
    if (colon == NULL || parse_u64(colon + 1, &port, err) < 0 ||
        port > UINT16_MAX)
        return error_set(err, ERROR_INVALID,
                         "'%s' is not an address such as 127.0.0.1:8080",
                         address);
    *ret_host = bracketed ? xstrndup(address + 1, length - 2)
                          : xstrndup(address, length);
    *ret_port = (uint16_t)port;
    return 0;
}

static int
parse_address(const char *text, union address *ret_address,
              socklen_t *ret_length, struct error *err)
{
    AUTO_FREE char *host = NULL;
    union address address = {.any = {.sa_family = AF_UNSPEC}};
    uint16_t port;
    bool is_loopback;

    if (split(text, &host, &port, err) < 0)
        return -1;
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                  &address.v4.sin_addr) == 1) {
        is_loopback = ntohl(address.v4.sin_addr.s_addr) >> 24 == 127;
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        *ret_length = sizeof(address.v4);
    } else if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) == 1) {
        is_loopback = IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        *ret_length = sizeof(address.v6);
    } else {
        return error_set(err, ERROR_INVALID,
                         "'%s' is not an address such as 127.0.0.1:8080", text);
    }
    if (!is_loopback)
        return error_set(err, ERROR_INVALID,
                         "refuse to listen on '%s': beyond loopback it takes "
                         "TLS; use a reverse proxy with TLS",
                         text);
    *ret_address = address;
    return 0;
}

static int
listen_at(int fd, const union address *address, socklen_t length,
          const char *name, struct error *err)
{
    if (bind(fd, &address->any, length) < 0 || listen(fd, BACKLOG) < 0) {
        if (errno == EADDRINUSE)
            return error_set(err, ERROR_BUSY,
                             "somebody listens on '%s' already", name);
        return error_set_errno(err, errno, "listen on '%s'", name);
    }
    return 0;
}

int
listen_tcp(const char *address, uint16_t *ret_port, struct error *err)
{
    union address where;
    socklen_t length;
    AUTO_CLOSE int fd = -1;
    int on = 1;

    if (parse_address(address, &where, &length, err) < 0)
        return -1;
    fd = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return error_set_errno(err, errno, "open a socket for '%s'", address);
    if (listen_at(fd, &where, length, address, err) < 0)
        return -1;
    if (getsockname(fd, &where.any, &length) < 0)
        return error_set_errno(err, errno, "ask for the port of '%s'", address);
    /* The port lies at the same place in both kinds. */
    *ret_port = ntohs(where.any.sa_family == AF_INET ? where.v4.sin_port
                                                     : where.v6.sin6_port);
    return steal_fd(&fd);
}

/* -- Unix ---------------------------------------------------------------- */

int
listen_find_group(const char *name, gid_t *ret_group, struct error *err)
{
    char buffer[4096];
    struct group group;
    struct group *found = NULL;

    if (getgrnam_r(name, &group, buffer, sizeof(buffer), &found) != 0 ||
        found == NULL)
        return error_set(err, ERROR_INVALID,
                         "there is no group '%s', or it cannot be read", name);
    *ret_group = group.gr_gid;
    return 0;
}

/* Remove a socket that nobody listens on any more. */
static int
remove_stale(const char *path, const union address *address, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set_errno(err, errno, "look at '%s'", path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(err, ERROR_INVALID, "'%s' is there and not a socket",
                         path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, errno, "open a socket");
    if (connect(fd, &address->any, sizeof(address->local)) == 0 ||
        errno != ECONNREFUSED)
        return error_set(err, ERROR_BUSY, "somebody listens on '%s' already",
                         path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "remove the old socket '%s'", path);
    return 0;
}

int
listen_unix(const char *path, gid_t group, struct error *err)
{
    union address address = {.local = {.sun_family = AF_UNIX}};
    AUTO_CLOSE int fd = -1;
    mode_t mode = group != LISTEN_NO_GROUP ? 0660 : 0600;

    if (strlen(path) >= sizeof(address.local.sun_path))
        return error_set(err, ERROR_INVALID,
                         "socket path '%s' is longer than %zu bytes", path,
                         sizeof(address.local.sun_path) - 1);
    memcpy(address.local.sun_path, path, strlen(path));
    if (remove_stale(path, &address, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the socket is that of its name, from the first moment. */
    if (fd < 0 || fchmod(fd, 0600) < 0)
        return error_set_errno(err, errno, "open a socket for '%s'", path);
    if (listen_at(fd, &address, sizeof(address.local), path, err) < 0)
        return -1;
    if (group != LISTEN_NO_GROUP &&
        (lchown(path, (uid_t)-1, group) < 0 || chmod(path, mode) < 0)) {
        (void)error_set_errno(err, errno, "give '%s' to its group", path);
        (void)unlink(path); /* nothing more to be done about it */
        return -1;
    }
    return steal_fd(&fd);
}

static bool
has_group(int fd, gid_t group)
{
    AUTO_FREE gid_t *groups = xcalloc(GROUPS_MAX, sizeof(*groups));
    socklen_t length = GROUPS_MAX * sizeof(*groups);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0)
        return false;
    for (size_t i = 0; i < length / sizeof(*groups); i++) {
        if (groups[i] == group)
            return true;
    }
    return false;
}

bool
listen_is_trusted(int fd, gid_t group, long *ret_uid)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    *ret_uid = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ||
        length != sizeof(peer))
        return false;
    *ret_uid = (long)peer.uid;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    return group != LISTEN_NO_GROUP &&
           (peer.gid == group || has_group(fd, group));
}
