/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of the Unix socket, as the kernel tells it. */
#include "api/listen.h"

#include "base/memory.h"
#include "check.h"

#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOMEBODY 54321 /* no user of this machine */
#define THEIR_GROUP 54322
#define OTHER_GROUP 54323

static char directory[] = "/tmp/varve-listen-XXXXXX";
static char path[64];

static int
connect_to_path(void)
{
    union {
        struct sockaddr_un local;
        struct sockaddr any;
    } address = {.local = {.sun_family = AF_UNIX}};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
                   path);
    return connect(fd, &address.any, sizeof(address.local)) == 0 ? fd : -1;
}

/* A child that becomes `uid`, with one supplementary group, and connects. */
static pid_t
start_peer(uid_t uid, gid_t group)
{
    pid_t child = fork();
    char byte;
    int fd;

    if (child != 0)
        return child;
    if (uid != 0 &&
        (setgroups(1, &group) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
        _exit(2);
    fd = connect_to_path();
    /* Stay until the other end hangs up. */
    _exit(fd >= 0 && read(fd, &byte, 1) == 0 ? 0 : 1);
}

/* Is such a peer trusted by a socket of `group`?  -1: it could not connect. */
static int
is_trusted(uid_t uid, gid_t their_group, gid_t group)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int listening = listen_unix(path, group, &err);
    struct pollfd wait = {.fd = listening, .events = POLLIN};
    int trusted = -1;
    long told = -1;
    int status = 0;
    pid_t child;

    /* Whoever may connect: the kernel's word is what is tested. */
    if (listening < 0 || chmod(path, 0666) < 0)
        return -1;
    child = start_peer(uid, their_group);
    if (poll(&wait, 1, 5000) == 1) {
        AUTO_CLOSE int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

        trusted = listen_is_trusted(fd, group, &told);
        CHECK(told == (long)uid);
    }
    (void)waitpid(child, &status, 0);
    (void)unlink(path);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? trusted : -1;
}

static void
root_is_trusted(void)
{
    CHECK(is_trusted(0, 0, LISTEN_NO_GROUP) == 1);
}

static void
others_are_not(void)
{
    CHECK(is_trusted(SOMEBODY, THEIR_GROUP, LISTEN_NO_GROUP) == 0);
    CHECK(is_trusted(SOMEBODY, THEIR_GROUP, OTHER_GROUP) == 0);
}

static void
members_of_the_group_are(void)
{
    CHECK(is_trusted(SOMEBODY, THEIR_GROUP, THEIR_GROUP) == 1);
    /* Also where it is their primary group. */
    CHECK(is_trusted(SOMEBODY, THEIR_GROUP, SOMEBODY) == 1);
}

static void
the_socket_s_mode_says_for_whom_it_is(void)
{
    struct error err = ERROR_INIT;
    struct stat status;
    int fd = listen_unix(path, LISTEN_NO_GROUP, &err);

    CHECK(fd >= 0 && lstat(path, &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
    (void)close(fd);
    fd = listen_unix(path, THEIR_GROUP, &err);
    CHECK(fd >= 0 && lstat(path, &status) == 0);
    CHECK((status.st_mode & 0777) == 0660 && status.st_gid == THEIR_GROUP);
    (void)close(fd);
    (void)unlink(path);
}

static void
a_group_is_found_by_name(void)
{
    struct error err = ERROR_INIT;
    gid_t group = 1;

    CHECK_OK(listen_find_group("root", &group, &err), &err);
    CHECK(group == 0);
    CHECK(listen_find_group("no such group", &group, &err) < 0);
    CHECK(err.code == ERROR_INVALID);
}

int
main(void)
{
    if (mkdtemp(directory) == NULL || chmod(directory, 0755) < 0)
        return EXIT_FAILURE;
    (void)snprintf(path, sizeof(path), "%s/socket", directory);
    RUN(a_group_is_found_by_name);
    if (geteuid() == 0) {
        RUN(root_is_trusted);
        RUN(others_are_not);
        RUN(members_of_the_group_are);
        RUN(the_socket_s_mode_says_for_whom_it_is);
    } else {
        printf("# not root: peers of other users are not tried\n");
    }
    (void)rmdir(directory);
    return check_done();
}
