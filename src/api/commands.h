/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h -- every command that the API knows, as data.
 *
 * commands.def and responses.def are the one source for dispatch, for the
 * checks of parameters, for listApis and for docs/guide/api.md.
 */
#ifndef API_COMMANDS_H
#define API_COMMANDS_H

#include "api/params.h"
#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct call;
struct listing;

enum command_kind {
    COMMAND_SYNC,  /* answers with what the handler puts into the body */
    COMMAND_LIST,  /* answers with objects, in pages */
    COMMAND_ASYNC, /* answers with a job */
    COMMAND_CREATE /* answers with a job and the id of what it will make */
};

enum command_role {
    COMMAND_ANYONE, /* also without credentials */
    COMMAND_USER,
    COMMAND_ROOT /* root admins */
};

/* Parameters that many commands have. */
enum command_shared {
    COMMAND_NONE = 0,
    COMMAND_PAGED = 1, /* keyword, page, pagesize */
    COMMAND_OWNED = 2, /* account, domainid, isrecursive, listall, projectid */
    COMMAND_TAGGED = 4 /* tags */
};

struct command_param {
    const char *name; /* lower case; NULL ends the list */
    enum params_type type;
    bool required;
    const char *related; /* the commands that know such ids; or "" */
    const char *description;
};

struct command_field {
    const char *name; /* NULL ends the list */
    const char *type;
    const char *description;
};

struct command_object {
    const char *name; /* NULL ends the list */
    const struct command_field *fields;
};

struct command {
    const char *name; /* as listApis spells it; NULL ends the list */
    const char *root; /* NULL: the name in lower case and "response" */
    enum command_kind kind;
    unsigned shared; /* enum command_shared, or-ed */
    enum command_role role;
    const struct command_object *object; /* what it answers with */
    const char *key; /* the object's name in the answer or in jobresult */
    const struct command_param *params;
    const char *description;

    /* The handler; one of these. */
    int (*sync)(struct call *call, json_t *body, struct error *err);
    int (*list)(struct call *call, struct listing *listing, struct error *err);
    int (*async)(struct call *call, struct ticket *ret_ticket,
                 struct error *err);
};

/* Every command, in the order of commands.def. */
extern const struct command command_table[];

/* By name in any case; NULL when there is none. */
const struct command *command_find(const char *name) NONNULL(1);

#define COMMAND_ROOT_MAX 80

/* The name of the answer's top element; of NULL: "errorresponse". */
const char *command_root(const struct command *command,
                         char buffer[COMMAND_ROOT_MAX]) NONNULL(2);

/* True when it only reads. */
bool command_reads(const struct command *command) NONNULL(1);

/* The parameters that the command has through `shared`; walk with index 0, 1,
 * ... until NULL. */
const struct command_param *command_shared_param(const struct command *command,
                                                 size_t index) NONNULL(1);

/* The parameter of that lower-case name, or NULL. */
const struct command_param *command_param(const struct command *command,
                                          const char *name) NONNULL(1, 2);

/**
 * command_check(command, params, err):
 * See that what is required is there, and that every parameter of the command
 * is written as it must be.  Others are not looked at.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID or ERROR_MALFORMED, and
 *             a message that names the parameter.
 */
int command_check(const struct command *command, const struct params *params,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- handlers, one prototype for each command ---------------------------- */

#define HANDLER_SYNC(handler)                                                  \
    int handler(struct call *call, json_t *body, struct error *err) MUST_CHECK;
#define HANDLER_LIST(handler)                                                  \
    int handler(struct call *call, struct listing *listing, struct error *err) \
        MUST_CHECK;
#define HANDLER_ASYNC(handler)                                                 \
    int handler(struct call *call, struct ticket *ret_ticket,                  \
                struct error *err) MUST_CHECK;
#define HANDLER_CREATE(handler) HANDLER_ASYNC(handler)

#define COMMAND(name, kind, shared, role, object, key, handler, description)   \
    HANDLER_##kind(handler)
#define ROOT(name)
#define PARAM(name, type, required, related, description)
#define END
#include "api/commands.def"
#undef COMMAND
#undef ROOT
#undef PARAM
#undef END

#endif
