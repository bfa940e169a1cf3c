/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_server -- the API over the fixture's database and an engine double, for
 * clients that are programs of their own.  Prints its port, and ends when its
 * standard input does.
 */
#include "api/server.h"

#include "api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
main(void)
{
    struct fixture fx;
    struct error err = ERROR_INIT;
    struct server *server = NULL;
    char byte;

    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    server = server_start(
        fx.api, &(struct server_config){.address = "127.0.0.1:0"}, &err);
    if (server != NULL) {
        printf("%u\n", (unsigned)server_port(server));
        (void)fflush(stdout);
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
    } else {
        (void)fprintf(stderr, "%s\n", err.message);
    }
    server_stop(server);
    fixture_stop(&fx);
    return server != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}
