/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/rmtree.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "base/vec.h"
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static void
an_error_gains_context_on_its_way_up(void)
{
    struct error err = ERROR_INIT;

    CHECK(error_set_errno(&err, ENOSPC, "write '%s'", "a") == -1);
    CHECK(err.code == ERROR_NO_SPACE && err.sys == ENOSPC);
    CHECK(error_prefix(&err, "disk '%s'", "vda") == -1);
    CHECK_TEXT(err.message, "disk 'vda': write 'a': No space left on device");
    CHECK_TEXT(error_code_name(err.code), "NO_SPACE");
    CHECK(error_code_http(ERROR_AUTH) == 401);
    error_clear(&err);
    CHECK(err.code == ERROR_NONE);
}

static void
a_buffer_never_grows_past_its_maximum(void)
{
    struct strbuf buffer;

    strbuf_init(&buffer, 8);
    CHECK_TEXT(strbuf_text(&buffer), "");
    strbuf_adds(&buffer, "abc");
    strbuf_addf(&buffer, "%d", 1234);
    CHECK_TEXT(strbuf_text(&buffer), "abc1234");
    strbuf_addc(&buffer, 'x');
    CHECK(strbuf_overflowed(&buffer));
    CHECK_TEXT(strbuf_text(&buffer), "abc1234");
    strbuf_release(&buffer);
}

static void
numbers_are_taken_whole_or_refused(void)
{
    struct error err = ERROR_INIT;
    uint64_t value = 7;
    int64_t signed_value = 0;
    double real = 0;
    bool flag = false;

    CHECK(parse_u64("18446744073709551615", &value, &err) == 0);
    CHECK(value == UINT64_MAX);
    value = 7;
    CHECK(parse_u64("18446744073709551616", &value, &err) == -1);
    CHECK(parse_u64("", &value, &err) == -1);
    CHECK(parse_u64(" 1", &value, &err) == -1);
    CHECK(parse_u64("-1", &value, &err) == -1);
    CHECK(value == 7);
    CHECK(parse_i64("-5", &signed_value, &err) == 0 && signed_value == -5);
    CHECK(parse_size("10G", &value, &err) == 0 && value == UINT64_C(10) << 30);
    CHECK(parse_size("1MiB", &value, &err) == 0 && value == 1 << 20);
    CHECK(parse_size("10Q", &value, &err) == -1);
    CHECK(parse_size("99999999999T", &value, &err) == -1);
    CHECK(parse_bool("True", &flag, &err) == 0 && flag);
    CHECK(parse_bool("1", &flag, &err) == -1);
    CHECK(parse_real("0.75", &real, &err) == 0 && real > 0.74 && real < 0.76);
    CHECK(parse_real("nan", &real, &err) == -1);
}

static void
a_date_survives_the_way_out_and_in(void)
{
    struct error err = ERROR_INIT;
    char text[CLOCK_TEXT_SIZE];
    int64_t value = 0;

    CHECK_TEXT(clock_format(INT64_C(1772360100000), text),
               "2026-03-01T10:15:00+0000");
    CHECK_OK(clock_parse(text, &value, &err), &err);
    CHECK(value == INT64_C(1772360100000));
    CHECK_OK(clock_parse("2026-03-01T12:15:00+0200", &value, &err), &err);
    CHECK(value == INT64_C(1772360100000));
    CHECK_OK(clock_parse("2026-03-01T10:15:00Z", &value, &err), &err);
    CHECK(clock_parse("yesterday", &value, &err) == -1);
    CHECK(clock_parse("2026-02-30", &value, &err) == -1);
    CHECK(clock_parse("0-1-1+0059", &value, &err) == -1);
    CHECK(clock_parse("9999-12-31T23:59:59-0100", &value, &err) == -1);
    CHECK(clock_parse("2026-03-01T10:15:00+9900", &value, &err) == -1);
}

static void
a_path_from_outside_cannot_climb(void)
{
    AUTO_FREE char *joined = path_join("/a", "b");
    AUTO_FREE char *parent = path_parent("/b");
    AUTO_FREE char *backing = path_resolve_backing("/a/b/top", "base");

    CHECK_TEXT(joined, "/a/b");
    CHECK_TEXT(parent, "/");
    CHECK_TEXT(backing, "/a/b/base");
    CHECK(path_is_plain_name("a b"));
    CHECK(!path_is_plain_name("..") && !path_is_plain_name("a/b"));
    CHECK(!path_is_plain_name("a\nb") && !path_is_plain_name(""));
    CHECK(path_is_clean_absolute("/a//b"));
    CHECK(!path_is_clean_absolute("/a/../b"));
    CHECK(!path_is_clean_absolute("a"));
}

static void
a_map_holds_what_was_set_last(void)
{
    AUTO_MAP struct map *map = map_new();
    char key[16];
    int values[2] = {0, 1};

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof(key), "key%d", i);
        map_set(map, key, &values[i % 2]);
    }
    CHECK(map_count(map) == 1000);
    CHECK(map_find(map, "key999") == &values[1]);
    map_set(map, "key999", &values[0]);
    CHECK(map_find(map, "key999") == &values[0]);
    CHECK(map_remove(map, "key999") == &values[0]);
    CHECK(map_find(map, "key999") == NULL && map_count(map) == 999);
}

static void
a_vector_keeps_order(void)
{
    struct VEC(int) numbers = VEC_INIT;
    int expected = 0;

    for (int i = 0; i < 100; i++)
        vec_push(&numbers, i);
    vec_for (int *, number, &numbers)
        CHECK(*number == expected++);
    CHECK(numbers.count == 100);
    vec_release(&numbers);
}

static void
any_single_fault_leaves_the_old_or_the_new_file(void)
{
    char directory[] = "/tmp/varve-base-XXXXXX";
    AUTO_FREE char *path = NULL;

    REQUIRE(mkdtemp(directory) != NULL);
    path = path_join(directory, "file");
    for (uint64_t nth = 1;; nth++) {
        struct error err = ERROR_INIT;
        AUTO_FREE char *text = NULL;
        int result;

        CHECK_OK(fd_replace_file(path, "old", 3, 0600, &err), &err);
        fault_arm("*", nth, FAULT_FAIL);
        result = fd_replace_file(path, "newer", 5, 0600, &err);
        fault_disarm();
        CHECK(fd_read_file(path, 100, &text, NULL, &err) == 0);
        if (!fault_fired()) {
            CHECK(result == 0);
            CHECK_TEXT(text, "newer");
            break;
        }
        CHECK(result == -1);
        CHECK(text != NULL &&
              (strcmp(text, "old") == 0 || strcmp(text, "newer") == 0));
    }
    CHECK(unlink(path) == 0 && rmdir(directory) == 0);
}

static void
a_tree_goes_whole_and_links_are_not_followed(void)
{
    char directory[] = "/tmp/varve-base-XXXXXX";
    AUTO_FREE char *kept = NULL;
    AUTO_FREE char *tree = NULL;
    AUTO_FREE char *deep = NULL;
    AUTO_FREE char *file = NULL;
    AUTO_FREE char *link = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(mkdtemp(directory) != NULL);
    kept = path_join(directory, "kept");
    tree = path_join(directory, "tree");
    deep = path_join(tree, "a/b");
    file = path_join(deep, "file");
    link = path_join(deep, "link");
    CHECK_OK(fd_make_directories(deep, 0700, &err), &err);
    CHECK_OK(fd_replace_file(file, "x", 1, 0600, &err), &err);
    CHECK_OK(fd_make_directories(kept, 0700, &err), &err);
    REQUIRE(symlink(kept, link) == 0);
    CHECK_OK(rmtree(tree, &err), &err);
    CHECK(!fd_exists(tree) && fd_exists(kept));
    CHECK_OK(rmtree(tree, &err), &err);
    /* A link in its place is no tree. */
    REQUIRE(symlink(kept, tree) == 0);
    CHECK(rmtree(tree, &err) == -1 && fd_exists(kept));
    CHECK(unlink(tree) == 0 && rmdir(kept) == 0 && rmdir(directory) == 0);
}

static void
a_program_tells_its_output_and_its_failure(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *output = NULL;
    const char *const hello[] = {"printf", "%s", "hello", NULL};
    const char *const bad[] = {"sh", "-c", "echo no >&2; exit 3", NULL};
    const char *const slow[] = {"sleep", "20", NULL};

    CHECK_OK(spawn_run(hello, 0, &output, &err), &err);
    CHECK_TEXT(output, "hello");
    CHECK(spawn_run(bad, 0, NULL, &err) == -1);
    CHECK_TEXT(err.message, "'sh' failed with status 3: no\n");
    CHECK(spawn_run(slow, 50, NULL, &err) == -1);
    CHECK(err.code == ERROR_TIMEOUT);
}

/* The daemon ignores SIGPIPE and blocks SIGTERM, and under nohup or a shell's &
 * others are ignored too; what it starts has none of that. */
static void
a_program_starts_with_signals_as_at_login(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *output = NULL;
    /* The last hexadecimal digits: signals 1 to 20. */
    const char *const show[] = {"sed", "-n",
                                "s/^Sig\\(Blk\\|Ign\\):.*\\(.....\\)$/\\2/p",
                                "/proc/self/status", NULL};
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    void (*quit)(int) = signal(SIGQUIT, SIG_IGN);
    sigset_t term;
    sigset_t old;

    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, &term, &old) == 0);
    CHECK_OK(spawn_run(show, 0, &output, &err), &err);
    CHECK_TEXT(output, "00000\n00000\n");
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    (void)signal(SIGQUIT, quit);
    (void)signal(SIGPIPE, before);
}

/* Whoever comes back after a failure finds the name gone (or there), but the
 * directory may not be on disk yet: it is synced again. */
static void
a_repeated_removal_is_durable(void)
{
    char directory[] = "/tmp/varve-test-XXXXXX";
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *nowhere = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(mkdtemp(directory) != NULL);
    path = path_join(directory, "a");
    nowhere = path_join(directory, "b/c");
    CHECK(fd_replace_file(path, "old", 3, 0600, &err) == 0);
    fault_arm("fd.sync-parent", 1, FAULT_FAIL);
    CHECK(fd_unlink(path, &err) == -1);
    CHECK(!fd_exists(path));
    fault_arm("fd.sync-parent", 1, FAULT_COUNT);
    CHECK_OK(fd_unlink(path, &err), &err);
    CHECK(fault_passes() == 1);
    fault_disarm();
    CHECK_OK(fd_unlink(nowhere, &err), &err);
    CHECK(rmdir(directory) == 0);
}

static void
a_directory_made_again_is_durable(void)
{
    char directory[] = "/tmp/varve-test-XXXXXX";
    AUTO_FREE char *upper = NULL;
    AUTO_FREE char *path = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(mkdtemp(directory) != NULL);
    upper = path_join(directory, "a");
    path = path_join(directory, "a/b");
    fault_arm("fd.sync-parent", 2, FAULT_FAIL);
    CHECK(fd_make_directories(path, 0700, &err) == -1);
    fault_arm("fd.sync-parent", 1, FAULT_COUNT);
    CHECK_OK(fd_make_directories(path, 0700, &err), &err);
    CHECK(fault_passes() == 1);
    fault_disarm();
    CHECK(rmdir(path) == 0 && rmdir(upper) == 0 && rmdir(directory) == 0);
}

static void
uuids_are_valid_and_differ(void)
{
    struct uuid one;
    struct uuid two;

    uuid_new(&one);
    uuid_new(&two);
    CHECK(uuid_is_valid(one.text) && strcmp(one.text, two.text) != 0);
    CHECK(!uuid_is_valid("6f1c2a34-1111-4222-8333-44445555666"));
    CHECK(!uuid_is_valid("6f1c2a34-1111-4222-8333-44445555666g"));
}

int
main(void)
{
    RUN(an_error_gains_context_on_its_way_up);
    RUN(a_buffer_never_grows_past_its_maximum);
    RUN(numbers_are_taken_whole_or_refused);
    RUN(a_date_survives_the_way_out_and_in);
    RUN(a_path_from_outside_cannot_climb);
    RUN(a_map_holds_what_was_set_last);
    RUN(a_vector_keeps_order);
    RUN(any_single_fault_leaves_the_old_or_the_new_file);
    RUN(a_tree_goes_whole_and_links_are_not_followed);
    RUN(a_program_tells_its_output_and_its_failure);
    RUN(a_program_starts_with_signals_as_at_login);
    RUN(a_repeated_removal_is_durable);
    RUN(a_directory_made_again_is_durable);
    RUN(uuids_are_valid_and_differ);
    return check_done();
}
