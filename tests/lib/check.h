/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h -- the whole of our unit test framework: TAP on standard output.
 *
 *     static void
 *     a_finished_file_is_durable(void)
 *     {
 *         CHECK(publish(...) == 0);
 *     }
 *     int main(void) { RUN(a_finished_file_is_durable); return check_done(); }
 *
 * A test's name is the promise it checks.  A failed CHECK prints where, and
 * the test goes on; REQUIRE leaves the test function.
 */
#ifndef TESTS_LIB_CHECK_H
#define TESTS_LIB_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_tests;
static int check_failed_tests;
static int check_failures;

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            check_failures++;                                                  \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);           \
        }                                                                      \
    } while (0)

#define CHECK_TEXT(actual, expected)                                           \
    do {                                                                       \
        const char *check_actual_ = (actual);                                  \
        const char *check_expected_ = (expected);                              \
                                                                               \
        if (check_actual_ == NULL ||                                           \
            strcmp(check_actual_, check_expected_) != 0) {                     \
            check_failures++;                                                  \
            printf("# %s:%d: %s is '%s', not '%s'\n", __FILE__, __LINE__,      \
                   #actual, check_actual_ != NULL ? check_actual_ : "(null)",  \
                   check_expected_);                                           \
        }                                                                      \
    } while (0)

#define REQUIRE(condition)                                                     \
    do {                                                                       \
        if (!(condition)) {                                                    \
            check_failures++;                                                  \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);           \
            return;                                                            \
        }                                                                      \
    } while (0)

/* Succeeds, or says what the error was. */
#define CHECK_OK(call, err)                                                    \
    do {                                                                       \
        if ((call) != 0) {                                                     \
            check_failures++;                                                  \
            printf("# %s:%d: %s: %s\n", __FILE__, __LINE__, #call,             \
                   (err)->message);                                            \
        }                                                                      \
    } while (0)

#define RUN(test)                                                              \
    do {                                                                       \
        check_failures = 0;                                                    \
        test();                                                                \
        check_tests++;                                                         \
        check_failed_tests += check_failures > 0;                              \
        printf("%sok %d - %s\n", check_failures > 0 ? "not " : "",             \
               check_tests, #test);                                            \
        (void)fflush(stdout);                                                  \
    } while (0)

static inline int
check_done(void)
{
    printf("1..%d\n", check_tests);
    return check_failed_tests > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
