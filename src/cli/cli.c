/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/memory.h"
#include "base/strbuf.h"
#include "cli/output.h"
#include "cli/terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SOCKET_DEFAULT "/run/varve/varved.sock"

const char *
cli_operand(const struct cli *cli, size_t index)
{
    return index < cli->arguments.operand_count ? cli->arguments.operands[index]
                                                : NULL;
}

const char *
cli_option(const struct cli *cli, const char *name)
{
    return arguments_option(&cli->arguments, name);
}

bool
cli_flag(const struct cli *cli, const char *name)
{
    return cli_option(cli, name) != NULL;
}

const char *
cli_true(const struct cli *cli, const char *name)
{
    return cli_flag(cli, name) ? "true" : NULL;
}

void
cli_say(const struct cli *cli, const char *fmt, ...)
{
    AUTO_STRBUF struct strbuf raw = STRBUF_INIT;
    AUTO_STRBUF struct strbuf safe = STRBUF_INIT;
    va_list args;

    if (!output_is_for_people(cli))
        return;
    va_start(args, fmt);
    strbuf_vaddf(&raw, fmt, args);
    va_end(args);
    terminal_add(&safe, strbuf_text(&raw));
    (void)fprintf(cli->out, "%s\n", strbuf_text(&safe));
}

/* -- asking people ------------------------------------------------------- */

int
cli_confirm(struct cli *cli, struct error *err, const char *question, ...)
{
    AUTO_STRBUF struct strbuf raw = STRBUF_INIT;
    AUTO_STRBUF struct strbuf safe = STRBUF_INIT;
    char answer[16];
    va_list args;

    if (cli_flag(cli, "--yes"))
        return 0;
    if (!terminal_is(stdin) || !terminal_is(stderr))
        return error_set(err, ERROR_INVALID,
                         "'%s' destroys something and nobody can be asked; "
                         "say --yes",
                         cli->arguments.command->name);
    va_start(args, question);
    strbuf_vaddf(&raw, question, args);
    va_end(args);
    terminal_add(&safe, strbuf_text(&raw));
    (void)fprintf(stderr, "%s [y/N] ", strbuf_text(&safe));
    if (fgets(answer, sizeof(answer), stdin) != NULL) {
        answer[strcspn(answer, "\n")] = '\0';
        if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
            return 0;
    } else {
        (void)fputc('\n', stderr); /* Ctrl-D left the question's line open */
    }
    return error_set(err, ERROR_CANCELLED, "nothing was done");
}

/* -- the run ------------------------------------------------------------- */

static const char *
option_or_environment(const struct cli *cli, const char *option,
                      const char *variable)
{
    const char *value = cli_option(cli, option);

    if (value == NULL)
        value = getenv(variable);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* What is given on the command line beats the environment. */
static int
make_client(struct cli *cli, struct error *err)
{
    const char *socket = cli_option(cli, "--socket");
    struct client_config config = {
        .socket = socket,
        .url = cli_option(cli, "--url"),
        .ca_file = cli_option(cli, "--ca-file"),
        .key_file =
            option_or_environment(cli, "--key-file", "VARVE_API_KEY_FILE"),
    };

    if (socket != NULL && config.url != NULL)
        return error_set(err, ERROR_INVALID,
                         "--socket and --url exclude each other");
    if (socket == NULL && config.url == NULL) {
        config.socket = getenv("VARVE_SOCKET");
        config.url = getenv("VARVE_URL");
        if (config.url != NULL && *config.url == '\0')
            config.url = NULL;
    }
    if (config.socket == NULL || *config.socket == '\0')
        config.socket = SOCKET_DEFAULT;
    cli->client = client_new(&config, err);
    return cli->client != NULL ? 0 : -1;
}

static int
run(struct cli *cli, int argc, char **argv, struct error *err)
{
    const struct command *command;

    if (arguments_parse(&cli->arguments, argc, argv, err) < 0 ||
        output_check(cli, err) < 0)
        return -1;
    command = cli->arguments.command;
    if ((command->traits & COMMANDS_LOCAL) == 0 && make_client(cli, err) < 0)
        return -1;
    return command->run(cli, err);
}

static int
print_error(const struct error *err)
{
    AUTO_STRBUF struct strbuf safe = STRBUF_INIT;

    terminal_add(&safe, err->message);
    (void)fprintf(stderr, "varve: %s\n", strbuf_text(&safe));
    return error_code_exit(err->code);
}

int
cli_main(int argc, char **argv, FILE *out)
{
    struct cli cli = {.out = out};
    struct error err = ERROR_INIT;
    int status =
        run(&cli, argc, argv, &err) < 0 ? print_error(&err) : cli.exit_status;

    client_free(cli.client);
    /* What could not be written was not told (a full disk, a closed pipe). */
    if (fflush(out) != 0 || ferror(out)) {
        (void)error_set_errno(&err, errno, "write standard output");
        status = status != 0 ? status : print_error(&err);
    }
    return status;
}
