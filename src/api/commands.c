/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands, made from commands.def and responses.def.
 *
 * Each .def file is read several times, with macros that make something else
 * of it each time: the fields of the objects, the parameters of the commands,
 * and last the commands themselves, which point at both.
 */
#include "api/commands.h"

#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* -- what is answered ---------------------------------------------------- */

#define OBJECT(name) static const struct command_field name##_fields[] = {
#define FIELD(name, type, description) {#name, #type, description},
#define END                                                                    \
    {                                                                          \
        NULL, NULL, NULL                                                       \
    }                                                                          \
    }                                                                          \
    ;
#include "api/responses.def"
#undef OBJECT
#undef FIELD
#undef END

#define OBJECT(name)                                                           \
    static const struct command_object name##_object = {#name, name##_fields};
#define FIELD(name, type, description)
#define END
#include "api/responses.def"
#undef OBJECT
#undef FIELD
#undef END

/* -- what is asked ------------------------------------------------------- */

#define COMMAND(name, kind, shared, role, object, key, handler, description)   \
    static const struct command_param name##_params[] = {
#define ROOT(name)
#define PARAM(name, type, required, related, description)                      \
    {#name, PARAMS_##type, required, related, description},
#define END                                                                    \
    {                                                                          \
        NULL, PARAMS_STRING, false, NULL, NULL                                 \
    }                                                                          \
    }                                                                          \
    ;
#include "api/commands.def"
#undef COMMAND
#undef ROOT
#undef PARAM
#undef END

static const struct shared_param {
    unsigned shared;
    struct command_param param;
} shared_params[] = {
    {COMMAND_PAGED,
     {"keyword", PARAMS_STRING, false, "", "only what contains this text"}},
    {COMMAND_PAGED,
     {"page", PARAMS_INT, false, "", "the page, from 1; with pagesize"}},
    {COMMAND_PAGED,
     {"pagesize", PARAMS_INT, false, "", "objects of a page; -1: all"}},
    {COMMAND_OWNED,
     {"account", PARAMS_STRING, false, "",
      "only what is of this account; with domainid"}},
    {COMMAND_OWNED,
     {"domainid", PARAMS_UUID, false, "listDomains",
      "only what is of this domain"}},
    {COMMAND_OWNED,
     {"isrecursive", PARAMS_BOOL, false, "",
      "true: and of the domains below it (default false)"}},
    {COMMAND_OWNED,
     {"listall", PARAMS_BOOL, false, "",
      "true: all that the caller may see, not only the own (default false)"}},
    {COMMAND_OWNED,
     {"projectid", PARAMS_STRING, false, "", "-1; there are no projects"}},
    {COMMAND_TAGGED,
     {"tags", PARAMS_MAP, false, "", "there are no tags: not looked at"}},
};

/* -- the table ----------------------------------------------------------- */

#define NONE COMMAND_NONE
#define PAGED COMMAND_PAGED
#define OWNED COMMAND_OWNED
#define TAGGED COMMAND_TAGGED
#define ENTRY_SYNC(handler) .kind = COMMAND_SYNC, .sync = handler
#define ENTRY_LIST(handler) .kind = COMMAND_LIST, .list = handler
#define ENTRY_ASYNC(handler) .kind = COMMAND_ASYNC, .async = handler
#define ENTRY_CREATE(handler) .kind = COMMAND_CREATE, .async = handler

#define COMMAND(name_, kind_, shared_, role_, object_, key_, handler_, text_)  \
    {                                                                          \
        .name = #name_, .shared = shared_, .role = COMMAND_##role_,            \
        .object = &object_##_object, .key = key_, .params = name_##_params,    \
        .description = text_, ENTRY_##kind_(handler_),
#define ROOT(name) .root = name,
#define PARAM(name, type, required, related, description)
#define END                                                                    \
    }                                                                          \
    ,
const struct command command_table[] = {
#include "api/commands.def"
    {.name = NULL}};
#undef COMMAND
#undef ROOT
#undef PARAM
#undef END

const struct command *
command_find(const char *name)
{
    for (const struct command *c = command_table; c->name != NULL; c++) {
        if (strcasecmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

const char *
command_root(const struct command *command, char buffer[COMMAND_ROOT_MAX])
{
    if (command == NULL)
        return "errorresponse";
    if (command->root != NULL)
        return command->root;
    (void)snprintf(buffer, COMMAND_ROOT_MAX, "%sresponse", command->name);
    for (char *c = buffer; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    return buffer;
}

bool
command_reads(const struct command *command)
{
    static const char *const verbs[] = {"list", "get", "query", "cloudian"};

    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (strncmp(command->name, verbs[i], strlen(verbs[i])) == 0)
            return true;
    }
    return false;
}

/* -- parameters ---------------------------------------------------------- */

const struct command_param *
command_shared_param(const struct command *command, size_t index)
{
    for (size_t i = 0; i < ARRAY_SIZE(shared_params); i++) {
        if ((command->shared & shared_params[i].shared) != 0 && index-- == 0)
            return &shared_params[i].param;
    }
    return NULL;
}

const struct command_param *
command_param(const struct command *command, const char *name)
{
    const struct command_param *shared;

    for (const struct command_param *p = command->params; p->name != NULL;
         p++) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    for (size_t i = 0; (shared = command_shared_param(command, i)) != NULL;
         i++) {
        if (strcmp(shared->name, name) == 0)
            return shared;
    }
    return NULL;
}

int
command_check(const struct command *command, const struct params *params,
              struct error *err)
{
    const struct command_param *shared;

    for (const struct command_param *p = command->params; p->name != NULL;
         p++) {
        if (p->required && params_find(params, p->name) == NULL)
            return error_set(err, ERROR_INVALID,
                             "unable to execute command '%s' without its "
                             "parameter '%s'",
                             command->name, p->name);
        if (params_check(params, p->name, p->type, err) < 0)
            return -1;
    }
    for (size_t i = 0; (shared = command_shared_param(command, i)) != NULL;
         i++) {
        if (params_check(params, shared->name, shared->type, err) < 0)
            return -1;
    }
    return 0;
}
