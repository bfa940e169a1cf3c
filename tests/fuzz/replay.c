/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c -- run a fuzzer's target once over every file of its corpus.
 *
 * An input that breaks the target ends the process, and the plan, which is
 * printed last, is missing: the test has failed at that input.
 */
#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static int
is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void
replay(const char *folder, const char *name, int number)
{
    AUTO_FREE char *path = path_join(folder, name);
    AUTO_FREE char *bytes = NULL;
    struct error err = ERROR_INIT;
    size_t length = 0;

    if (fd_read_file(path, INPUT_MAX, &bytes, &length, &err) < 0) {
        printf("# %s\nnot ok %d - %s\n", err.message, number, name);
        return;
    }
    (void)LLVMFuzzerTestOneInput((const uint8_t *)bytes, length);
    printf("ok %d - %s\n", number, name);
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    int count;

    if (argc != 2)
        return EXIT_FAILURE;
    count = scandir(argv[1], &entries, is_input, alphasort);
    if (count <= 0) {
        printf("Bail out! no corpus in %s\n", argv[1]);
        return EXIT_FAILURE;
    }
    for (int i = 0; i < count; i++) {
        replay(argv[1], entries[i]->d_name, i + 1);
        free(entries[i]);
    }
    free(entries);
    printf("1..%d\n", count);
    return EXIT_SUCCESS;
}
