/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <curl/curl.h>
#include <locale.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, ""); /* the names' encoding; no other habits */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        (void)fputs("varve: libcurl does not start\n", stderr);
        return 1;
    }
    return cli_main(argc, argv, stdout);
}
