/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines, the table behind them, and keys. */
#include "base/compiler.h"
#include "base/fd.h"
#include "base/memory.h"
#include "check.h"
#include "cli/arguments.h"
#include "cli/credentials.h"
#include "cli/signing.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define WORDS_MAX 12

static char *words[WORDS_MAX + 1];
static struct arguments arguments;

/* Parse a line of words with single spaces between them. */
static int
parse(const char *line, struct error *err)
{
    static char *copy;
    int count = 0;

    free(copy);
    copy = strdup(line);
    for (char *next = copy; next != NULL && count < WORDS_MAX;) {
        words[count++] = next;
        next = strchr(next, ' ');
        if (next != NULL)
            *next++ = '\0';
    }
    words[count] = NULL;
    return arguments_parse(&arguments, count, words, err);
}

static void
check_refused(const char *line, const char *text)
{
    struct error err = ERROR_INIT;

    CHECK(parse(line, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
    CHECK_TEXT(err.message, text);
}

static void
options_stand_anywhere(void)
{
    static const char *const lines[] = {
        "varve --socket /s vm stop web1 --forced --no-wait",
        "varve vm stop --forced --no-wait --socket=/s web1",
        "varve --no-wait vm stop --socket /s --forced -- web1",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct error err = ERROR_INIT;

        CHECK_OK(parse(lines[i], &err), &err);
        CHECK_TEXT(arguments.command->name, "vm stop");
        CHECK(arguments.operand_count == 1);
        CHECK_TEXT(arguments.operands[0], "web1");
        CHECK_TEXT(arguments_option(&arguments, "--socket"), "/s");
        CHECK_TEXT(arguments_option(&arguments, "--forced"), "");
        CHECK_TEXT(arguments_option(&arguments, "--no-wait"), "");
        CHECK(arguments_option(&arguments, "--timeout") == NULL);
    }
}

static void
an_operand_may_look_like_an_option_behind_two_dashes(void)
{
    struct error err = ERROR_INIT;

    CHECK_OK(parse("varve vm show -- --forced", &err), &err);
    CHECK_TEXT(arguments.operands[0], "--forced");
}

static void
the_last_of_an_option_counts(void)
{
    struct error err = ERROR_INIT;

    CHECK_OK(parse("varve -o id vm list -o name", &err), &err);
    CHECK_TEXT(arguments_option(&arguments, "--output"), "name");
}

static void
help_is_found_in_every_way(void)
{
    static const struct {
        const char *line;
        size_t operands;
    } cases[] = {
        {"varve", 0},
        {"varve --help", 0},
        {"varve -h", 0},
        {"varve help", 0},
        {"varve help vm stop", 2},
        {"varve vm stop --help", 2},
        {"varve vm --help", 1},
        {"varve vm stop web1 -h", 2},
        {"varve --help vm", 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = ERROR_INIT;

        CHECK_OK(parse(cases[i].line, &err), &err);
        CHECK_TEXT(arguments.command->name, "help");
        CHECK(arguments.operand_count == cases[i].operands);
    }
}

static void
the_version_is_a_command_too(void)
{
    struct error err = ERROR_INIT;

    CHECK_OK(parse("varve --version", &err), &err);
    CHECK_TEXT(arguments.command->name, "version");
}

static void
wrong_lines_are_refused_with_the_way_to_help(void)
{
    check_refused("varve wm list", "no command 'wm'; see 'varve help'");
    check_refused("varve job", "'job' is followed by one of: list, watch, "
                               "cancel");
    check_refused("varve job lst", "'job' is followed by one of: list, watch, "
                                   "cancel");
    check_refused("varve vm show", "'vm show' needs VM; see 'varve help vm "
                                   "show'");
    check_refused("varve vm show a b", "'b' is too much for 'vm show'; see "
                                       "'varve help vm show'");
    check_refused("varve --wrong vm list", "no option '--wrong' here; see "
                                           "'varve help'");
    check_refused("varve vm list --wrong=x", "no option '--wrong' here; see "
                                             "'varve help vm list'");
    check_refused("varve vm list -x", "no option '-x' here; see 'varve help vm "
                                      "list'");
    check_refused("varve vm list --state", "option '--state' needs a value; "
                                           "see 'varve help vm list'");
    check_refused("varve vm list -o", "option '-o' needs a value; see 'varve "
                                      "help vm list'");
    check_refused("varve vm stop a --forced=1", "option '--forced' takes no "
                                                "value; see 'varve help vm "
                                                "stop'");
}

static void
an_option_that_the_command_does_not_take_is_refused(void)
{
    check_refused("varve --yes vm list",
                  "'vm list' has no option '--yes'; see 'varve help vm list'");
    check_refused("varve vm list --no-wait",
                  "no option '--no-wait' here; see 'varve help vm list'");
    check_refused("varve --json help",
                  "'help' has no option '--json'; see 'varve help help'");
}

/* -- the table ----------------------------------------------------------- */

static void
every_command_is_found_and_described(void)
{
    for (const struct command *c = commands; c->name != NULL; c++) {
        size_t min;
        size_t max;

        CHECK(commands_find(c->name) == c);
        CHECK(*c->summary >= 'a' && *c->summary <= 'z');
        CHECK(c->summary[strlen(c->summary) - 1] != '.');
        CHECK(*c->detail == '\0' || c->detail[strlen(c->detail) - 1] == '.');
        commands_count_operands(c, &min, &max);
        CHECK(min <= max);
    }
}

static void
no_option_stands_twice(void)
{
    for (const struct command *c = commands; c->name != NULL; c++) {
        for (const struct commands_option *o = c->options; o->name != NULL;
             o++) {
            CHECK(strncmp(o->name, "--", 2) == 0);
            CHECK(commands_find_option(c, o->name) == o);
            for (const struct commands_common *k = commands_common;
                 k->option.name != NULL; k++)
                CHECK(strcmp(o->name, k->option.name) != 0);
        }
    }
}

static void
operands_have_kinds(void)
{
    char kind[20];
    size_t min;
    size_t max;

    commands_count_operands(commands_find("offering assign"), &min, &max);
    CHECK(min == 2 && max == 2);
    commands_count_operands(commands_find("backup create"), &min, &max);
    CHECK(min == 1 && max == 2);
    commands_count_operands(commands_find("help"), &min, &max);
    CHECK(min == 0 && max == SIZE_MAX);
    commands_operand_kind(commands_find("offering assign"), 1, kind, 20);
    CHECK_TEXT(kind, "OFFERING");
    commands_operand_kind(commands_find("backup create"), 1, kind, 20);
    CHECK_TEXT(kind, "NAME");
    commands_operand_kind(commands_find("vm list"), 0, kind, 20);
    CHECK_TEXT(kind, "");
    commands_operand_kind(commands_find("help"), 5, kind, 20);
    CHECK_TEXT(kind, "COMMAND");
    commands_operand_kind(commands_find("vm show"), 1, kind, 20);
    CHECK_TEXT(kind, "");
}

/* -- keys ---------------------------------------------------------------- */

static void
a_signature_is_what_the_api_expects(void)
{
    json_auto_t *params = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "command",
        "createVMSnapshot", "virtualmachineid",
        "6f1c2a34-1111-4222-8333-444455556666", "name", "before upgrade",
        "quiescevm", "true", "response", "json", "signatureVersion", "3",
        "expires", "2030-01-01T00:00:00+0000", "apiKey", "AK-test_1");
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char signature[SIGNING_TEXT_SIZE];

    signing_encode(params, &text);
    CHECK_TEXT(strbuf_text(&text),
               "apiKey=AK-test_1&command=createVMSnapshot&expires=2030-01-01T00"
               "%3A00%3A00%2B0000&name=before%20upgrade&quiescevm=true&response"
               "=json&signatureVersion=3&virtualmachineid=6f1c2a34-1111-4222-"
               "8333-444455556666");
    signing_make("SK-test_2", strbuf_text(&text), signature);
    CHECK_TEXT(signature, "RE9qFJp/w+xs3VkfRMK9kY/4WKs=");
}

static int
load(const char *text, struct credentials *credentials, struct error *err)
{
    char path[] = "/tmp/varve-credentials-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    int result = -1;

    if (fd < 0)
        return -1;
    if (fd_pwrite(fd, text, strlen(text), 0, path, err) == 0)
        result = credentials_load(path, credentials, err);
    (void)close(fd);
    (void)unlink(path);
    return result;
}

static void
keys_are_read_as_the_daemon_writes_them(void)
{
    struct credentials credentials;
    struct error err = ERROR_INIT;

    REQUIRE(load("# made today\n[cloudstack]\n"
                 "endpoint = http://127.0.0.1:8080/client/api\n"
                 "key = AK-1\r\nsecret = S=K 2 \npassword = x\n"
                 "[other]\nkey = no\n",
                 &credentials, &err) == 0);
    CHECK_TEXT(credentials.endpoint, "http://127.0.0.1:8080/client/api");
    CHECK_TEXT(credentials.key, "AK-1");
    CHECK_TEXT(credentials.secret, "S=K 2");
    credentials_release(&credentials);
}

static void
a_file_without_keys_is_refused(void)
{
    struct credentials credentials;
    struct error err = ERROR_INIT;

    CHECK(load("[cloudstack]\nkey = only\n", &credentials, &err) == -1);
    CHECK(err.code == ERROR_AUTH);
    CHECK(credentials_load("/proc/none/keys", &credentials, &err) == -1);
    CHECK(err.code == ERROR_AUTH);
}

int
main(void)
{
    RUN(options_stand_anywhere);
    RUN(an_operand_may_look_like_an_option_behind_two_dashes);
    RUN(the_last_of_an_option_counts);
    RUN(help_is_found_in_every_way);
    RUN(the_version_is_a_command_too);
    RUN(wrong_lines_are_refused_with_the_way_to_help);
    RUN(an_option_that_the_command_does_not_take_is_refused);
    RUN(every_command_is_found_and_described);
    RUN(no_option_stands_twice);
    RUN(operands_have_kinds);
    RUN(a_signature_is_what_the_api_expects);
    RUN(keys_are_read_as_the_daemon_writes_them);
    RUN(a_file_without_keys_is_refused);
    return check_done();
}
