/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden tests of varve: what it asks, prints and ends with, against laid
 * ready answers.
 *
 *     golden VARVE DIRECTORY
 *
 * A case is a file NAME.case beside NAME.out, which holds what is expected;
 * REGENERATE=1 writes the latter.  Lines of a case:
 *
 *     # a comment
 *     $ vm list --state Running       arguments of one run ('..' keeps spaces)
 *     > listVirtualMachines           the next answer to this command, in JSON
 *     {"count": 1, ...                on the lines that follow;
 *     > deleteBackup 431              another HTTP status; "lost": none at all
 *
 * Expected, for each run: "$ arguments", the requests ("> ..."), standard
 * output as it is, lines of standard error behind "! ", "= exit status".
 */
#include "base/compiler.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"
#include "http_stub.h"

#include <fcntl.h>
#include <glob.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS_MAX 32
#define WORDS_MAX 32
#define TEXT_MAX ((size_t)1 << 20)

static const char *varve;
static char directory[64];

struct golden {
    struct http_stub stub;
    char *runs[RUNS_MAX]; /* owned */
    size_t run_count;
};

/* -- the case ------------------------------------------------------------ */

static void
add_answer(struct golden *golden, const char *head, const struct strbuf *body)
{
    char command[64] = "";
    char status[16] = "200";

    if (*head == '\0')
        return;
    (void)sscanf(head, "%63s %15s", command, status);
    http_stub_add(&golden->stub, command,
                  strcmp(status, "lost") == 0
                      ? -1
                      : (status[0] - '0') * 100 + (status[1] - '0') * 10 +
                            (status[2] - '0'),
                  strbuf_text(body));
}

static void
read_case(struct golden *golden, char *text)
{
    AUTO_STRBUF struct strbuf body = STRBUF_INIT;
    const char *head = "";

    for (char *next = text; next != NULL;) {
        char *line = next;

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (*line == '>' || *line == '$') {
            add_answer(golden, head, &body);
            strbuf_clear(&body);
            head = *line == '>' ? line + 2 : "";
        }
        if (*line == '$' && golden->run_count < RUNS_MAX)
            golden->runs[golden->run_count++] = strdup(line + 2);
        else if (*line != '>' && *line != '#' && *line != '$')
            strbuf_addf(&body, "%s\n", line);
    }
    add_answer(golden, head, &body);
}

static void
golden_release(struct golden *golden)
{
    http_stub_release(&golden->stub);
    for (size_t i = 0; i < golden->run_count; i++)
        free(golden->runs[i]);
}

/* -- a run --------------------------------------------------------------- */

static void
split(char *line, char **words)
{
    size_t count = 1;

    while (*line != '\0' && count < WORDS_MAX) {
        bool is_quoted = *line == '\'';

        words[count++] = is_quoted ? ++line : line;
        line += strcspn(line, is_quoted ? "'" : " ");
        if (*line != '\0')
            *line++ = '\0';
        line += strspn(line, " ");
    }
    words[count] = NULL;
}

static int
run_program(char **words, const char *socket, const char *out,
            const char *error)
{
    AUTO_FREE char *variable = xasprintf("VARVE_SOCKET=%s", socket);
    char *const environment[] = {
        variable,
        strdup("TZ=CET-1CEST,M3.5.0,M10.5.0/3"),
        strdup("LC_ALL=C.UTF-8"),
        NULL,
    };
    posix_spawn_file_actions_t actions;
    int status = -1;
    pid_t pid;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY,
                                           0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, out,
                                           O_WRONLY | O_CREAT | O_TRUNC, 0600);
    (void)posix_spawn_file_actions_addopen(&actions, 2, error,
                                           O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (posix_spawn(&pid, varve, &actions, NULL, words, environment) == 0)
        (void)waitpid(pid, &status, 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    free(environment[1]);
    free(environment[2]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Text of a file, each line behind `prefix`; our directory is "DIR". */
static void
add_file(struct strbuf *text, const char *path, const char *prefix)
{
    AUTO_FREE char *bytes = NULL;
    struct error err = ERROR_INIT;

    if (fd_read_file(path, TEXT_MAX, &bytes, NULL, &err) < 0)
        return;
    for (const char *c = bytes; *c != '\0'; c++) {
        if (c == bytes || c[-1] == '\n')
            strbuf_adds(text, prefix);
        if (strncmp(c, directory, strlen(directory)) == 0) {
            strbuf_adds(text, "DIR");
            c += strlen(directory) - 1;
        } else {
            strbuf_addc(text, *c);
        }
    }
}

static void
run_one(struct golden *golden, const char *line, struct strbuf *text)
{
    AUTO_FREE char *copy = xstrdup(line);
    AUTO_FREE char *out = xasprintf("%s/out", directory);
    AUTO_FREE char *error = xasprintf("%s/err", directory);
    char *words[WORDS_MAX + 1] = {copy};
    int status = -1;

    split(copy, words);
    if (http_stub_start(&golden->stub, directory)) {
        status = run_program(words, golden->stub.path, out, error);
        http_stub_stop(&golden->stub);
    }
    strbuf_addf(text, "$ %s\n%s", line, strbuf_text(&golden->stub.log));
    add_file(text, out, "");
    add_file(text, error, "! ");
    strbuf_addf(text, "= %d\n", status);
    (void)unlink(out);
    (void)unlink(error);
}

/* -- comparing ----------------------------------------------------------- */

static void
print_lines(const char *text, char sign)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");

        printf("# %c %.*s\n", sign, (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void
compare(const char *path, const struct strbuf *text)
{
    AUTO_FREE char *expected = NULL;
    struct error err = ERROR_INIT;

    if (getenv("REGENERATE") != NULL) {
        CHECK_OK(
            fd_replace_file(path, strbuf_text(text), text->length, 0644, &err),
            &err);
        return;
    }
    CHECK_OK(fd_read_file(path, TEXT_MAX, &expected, NULL, &err), &err);
    if (expected == NULL || strcmp(expected, strbuf_text(text)) == 0)
        return;
    check_failures++;
    print_lines(expected, '-');
    print_lines(strbuf_text(text), '+');
}

static const char *case_path;

static void
golden_case(void)
{
    struct golden golden = {.run_count = 0};
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *out_path = xasprintf(
        "%.*s.out", (int)(strlen(case_path) - strlen(".case")), case_path);
    AUTO_STRBUF struct strbuf got = STRBUF_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(fd_read_file(case_path, TEXT_MAX, &text, NULL, &err), &err);
    REQUIRE(text != NULL);
    read_case(&golden, text);
    CHECK(golden.run_count > 0);
    for (size_t i = 0; i < golden.run_count; i++)
        run_one(&golden, golden.runs[i], &got);
    compare(out_path, &got);
    golden_release(&golden);
}

static void
run_case(const char *path)
{
    case_path = path;
    check_failures = 0;
    golden_case();
    check_tests++;
    check_failed_tests += check_failures > 0;
    printf("%sok %d - %s\n", check_failures > 0 ? "not " : "", check_tests,
           strrchr(path, '/') + 1);
}

int
main(int argc, char **argv)
{
    AUTO_FREE char *pattern = NULL;
    glob_t cases = {.gl_pathc = 0};

    (void)snprintf(directory, sizeof(directory), "/tmp/varve-golden-XXXXXX");
    if (argc != 3 || mkdtemp(directory) == NULL)
        return EXIT_FAILURE;
    varve = argv[1];
    pattern = xasprintf("%s/*.case", argv[2]);
    CHECK(glob(pattern, 0, NULL, &cases) == 0);
    for (size_t i = 0; i < cases.gl_pathc; i++)
        run_case(cases.gl_pathv[i]);
    globfree(&cases);
    (void)rmdir(directory);
    return check_done();
}
