/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/guide/api.md is the command table, written out for people.
 *
 * The page is made here and compared with the one in the tree;
 * REGENERATE=1 writes it.
 */
#include "api/commands.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"

#include <stdlib.h>

static const char *page_path; /* of docs/guide/api.md */

static const char head[] =
    "# The API\n"
    "\n"
    "varve speaks the query API of CloudStack. This page is made from the\n"
    "command table (`src/api/commands.def`); a test compares them.\n"
    "\n"
    "## How to ask\n"
    "\n"
    "`GET` or `POST` (urlencoded) to `/client/api`, on `127.0.0.1:8080` or on\n"
    "the Unix socket. `command=` names the command, in any case; parameter\n"
    "names have no case either, the first value of a name counts, unknown ones\n"
    "are ignored. `response=json` gives JSON, everything else XML.\n"
    "\n"
    "```sh\n"
    "curl --unix-socket /run/varve/varved.sock \\\n"
    "    'http://localhost/client/api?command=listZones&response=json'\n"
    "```\n"
    "\n"
    "**Who asks.** On the Unix socket root, the daemon's own user and members\n"
    "of its group are the administrator. Everybody else signs with an API key\n"
    "(`apiKey`, `signature`: HMAC-SHA1 over the sorted parameters, as\n"
    "CloudStack has it; with `signatureVersion=3` also `expires`), or logs in:\n"
    "`login` by POST gives a cookie and a `sessionkey`, and every request\n"
    "carries both.\n"
    "\n"
    "**What is answered.** One top element, the command's name in lower case\n"
    "and `response`. Commands that take time answer with `jobid`, and those\n"
    "that make something with its `id` too; ask `queryAsyncJobResult` until\n"
    "`jobstatus` is not 0. An empty list is `{}`; `count` is the number of all\n"
    "objects, not of the page's.\n"
    "\n"
    "**Waiting.** With `waitms`, `queryAsyncJobResult` answers when the job has\n"
    "ended, or after so many milliseconds, 20000 at most. An answer that comes\n"
    "sooner with `jobstatus` 0 was not held back: at most 48 are at once, none\n"
    "when the daemon stops, and CloudStack knows no `waitms`; so wait a little\n"
    "before asking again. Who asks is checked again when the wait is over.\n"
    "\n"
    "**What goes wrong.** The HTTP status is the `errorcode`, the text is in\n"
    "`errortext` and in the header `X-Description`: 401 who, 405 method, 430\n"
    "malformed parameter, 431 parameter or state, 432 unknown command or not\n"
    "possible, 530 a fault of ours, 531 not allowed, 532 limit, 533 no space,\n"
    "534 out of reach, 536 in use. See [errors](errors.md).\n"
    "\n"
    "**Types.** *uuid*; *string* (255 characters, or as noted); *boolean*\n"
    "`true` or `false`; *integer* and *long*; *date*\n"
    "`2026-03-01T10:15:00+0000` or `2026-03-01`; *list*, with commas; *map*\n"
    "`tags[0].key=a&tags[0].value=b`.\n";

static const char *
kind_text(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_LIST:
        return "list";
    case COMMAND_ASYNC:
        return "job";
    case COMMAND_CREATE:
        return "job, with the new object's id";
    case COMMAND_SYNC:
    default:
        return "at once";
    }
}

static const char *
role_text(const struct command *command)
{
    switch (command->role) {
    case COMMAND_ANYONE:
        return "everybody";
    case COMMAND_ROOT:
        return "root admins";
    case COMMAND_USER:
    default:
        return "every user";
    }
}

static void
add_param(struct strbuf *page, const struct command_param *param)
{
    strbuf_addf(page, "| `%s` | %s%s%s | %s |\n", param->name,
                params_type_name(param->type),
                param->type == PARAMS_TEXT ? " (4096)" : "",
                param->required ? ", required" : "", param->description);
}

static void
add_command(struct strbuf *page, const struct command *command)
{
    char root[COMMAND_ROOT_MAX];

    strbuf_addf(page, "\n### %s\n\n%s\n\n", command->name,
                command->description);
    strbuf_addf(page, "For %s; %s; `%s`", role_text(command),
                kind_text(command), command_root(command, root));
    if (command->key[0] != '\0')
        strbuf_addf(page, " with `%s`", command->key);
    strbuf_addf(page, " ([%s](#object-%s)).\n", command->object->name,
                command->object->name);
    if ((command->shared & COMMAND_PAGED) != 0)
        strbuf_adds(page, "Pages");
    if ((command->shared & COMMAND_OWNED) != 0)
        strbuf_adds(page, ", owners");
    if ((command->shared & COMMAND_TAGGED) != 0)
        strbuf_adds(page, ", tags");
    if (command->shared != 0)
        strbuf_adds(page, ": see [lists](#parameters-of-lists).\n");
    if (command->params[0].name == NULL)
        return;
    strbuf_adds(page, "\n| parameter | type | what |\n|---|---|---|\n");
    for (const struct command_param *p = command->params; p->name != NULL; p++)
        add_param(page, p);
}

static void
add_shared(struct strbuf *page)
{
    const struct command *all = command_find("listVirtualMachines");
    const struct command_param *param;

    strbuf_adds(page, "\n## Parameters of lists\n\n"
                      "| parameter | type | what |\n|---|---|---|\n");
    for (size_t i = 0; (param = command_shared_param(all, i)) != NULL; i++)
        add_param(page, param);
}

static bool
is_first_of_its_object(const struct command *command)
{
    for (const struct command *c = command_table; c != command; c++) {
        if (c->object == command->object)
            return false;
    }
    return true;
}

static void
add_object(struct strbuf *page, const struct command_object *object)
{
    strbuf_addf(page, "\n### Object: %s\n\n", object->name);
    if (object->fields[0].name == NULL) {
        strbuf_adds(page, "There is none.\n");
        return;
    }
    strbuf_adds(page, "| field | type | what |\n|---|---|---|\n");
    for (const struct command_field *f = object->fields; f->name != NULL; f++)
        strbuf_addf(page, "| `%s` | %s | %s |\n", f->name, f->type,
                    f->description);
}

static void
make_page(struct strbuf *page)
{
    strbuf_adds(page, head);
    strbuf_adds(page, "\n## Commands\n");
    for (const struct command *c = command_table; c->name != NULL; c++)
        add_command(page, c);
    add_shared(page);
    strbuf_adds(page,
                "\n## Objects\n\nFields that are not set are left out.\n");
    for (const struct command *c = command_table; c->name != NULL; c++) {
        if (is_first_of_its_object(c))
            add_object(page, c->object);
    }
}

static void
the_page_says_what_the_table_says(void)
{
    AUTO_STRBUF struct strbuf page = STRBUF_INIT;
    AUTO_FREE char *text = NULL;
    struct error err = ERROR_INIT;

    make_page(&page);
    if (getenv("REGENERATE") != NULL)
        CHECK_OK(fd_replace_file(page_path, strbuf_text(&page), page.length,
                                 0644, &err),
                 &err);
    CHECK_OK(fd_read_file(page_path, STRBUF_MAX_DEFAULT, &text, NULL, &err),
             &err);
    REQUIRE(text != NULL);
    CHECK(strcmp(text, strbuf_text(&page)) == 0);
    if (strcmp(text, strbuf_text(&page)) != 0)
        printf("# REGENERATE=1 writes docs/guide/api.md anew\n");
}

/* What the first release promises (ecosystem 4). */
static void
the_promised_commands_are_there(void)
{
    static const char *const promised[] = {
        "listCapabilities",
        "listApis",
        "login",
        "logout",
        "listZones",
        "listClusters",
        "listHosts",
        "listStoragePools",
        "listImageStores",
        "listAccounts",
        "listUsers",
        "registerUserKeys",
        "listVirtualMachines",
        "startVirtualMachine",
        "stopVirtualMachine",
        "rebootVirtualMachine",
        "listVolumes",
        "createVMSnapshot",
        "listVMSnapshot",
        "revertToVMSnapshot",
        "deleteVMSnapshot",
        "createNativeBackupOffering",
        "listNativeBackupOfferings",
        "deleteNativeBackupOffering",
        "importBackupOffering",
        "listBackupOfferings",
        "deleteBackupOffering",
        "assignVirtualMachineToBackupOffering",
        "removeVirtualMachineFromBackupOffering",
        "createBackup",
        "listBackups",
        "deleteBackup",
        "restoreBackup",
        "queryAsyncJobResult",
        "listAsyncJobs",
        "listConfigurations",
        "updateConfiguration",
        "listEvents"};

    for (size_t i = 0; i < ARRAY_SIZE(promised); i++) {
        CHECK(command_find(promised[i]) != NULL);
        if (command_find(promised[i]) == NULL)
            printf("# %s\n", promised[i]);
    }
}

static void
the_table_is_sound(void)
{
    for (const struct command *c = command_table; c->name != NULL; c++) {
        char root[COMMAND_ROOT_MAX];

        CHECK(command_find(c->name) == c); /* no name twice */
        CHECK(strlen(command_root(c, root)) < COMMAND_ROOT_MAX - 1);
        CHECK((c->sync != NULL) + (c->list != NULL) + (c->async != NULL) == 1);
        CHECK((c->kind == COMMAND_LIST) == ((c->shared & COMMAND_PAGED) != 0));
        for (const struct command_param *p = c->params; p->name != NULL; p++) {
            CHECK(command_param(c, p->name) == p);
            for (const char *l = p->name; *l != '\0'; l++)
                CHECK(*l >= 'a' && *l <= 'z');
            CHECK(p->related[0] == '\0' || command_find(p->related) != NULL);
        }
    }
}

int
main(int argc, char **argv)
{
    page_path = argc > 1 ? argv[1] : "docs/guide/api.md";
    RUN(the_page_says_what_the_table_says);
    RUN(the_promised_commands_are_there);
    RUN(the_table_is_sound);
    return check_done();
}
