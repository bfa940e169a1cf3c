/* SPDX-License-Identifier: Apache-2.0 */
/*
 * render.h -- answers as bytes: JSON or XML, and errors (semantics 6.1).
 */
#ifndef API_RENDER_H
#define API_RENDER_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/strbuf.h"

#include <jansson.h>
#include <stdbool.h>

enum render_format { RENDER_XML, RENDER_JSON };

/* What parameter "response" asks for; XML unless it is "json". */
enum render_format render_format_of(const char *response);

#define RENDER_TYPE_MAX 80

/* The value of the Content-Type header.  `json` is what the operator wants for
 * JSON; it is taken if clients understand it.  NULL for none. */
void render_content_type(enum render_format format, const char *json,
                         char ret_type[RENDER_TYPE_MAX]) NONNULL(3);

/**
 * render_body(format, root, object, ret_text):
 * Write `object` under the one top element `root`.  JSON is one line.
 */
void render_body(enum render_format format, const char *root, json_t *object,
                 struct strbuf *ret_text) NONNULL(2, 3, 4);

/* The text that the caller may see: internal faults are for root admins. */
const char *render_error_text(const struct error *err, bool is_root_admin)
    NONNULL(1);

/* True for a fault of ours, whose text an administrator must see. */
bool render_is_internal(const struct error *err) NONNULL(1);

/* The number behind "cserrorcode" for an error. */
int render_cloudstack_code(enum error_code code);

/* The object of an error answer, with HTTP status `status` and `text`; what it
 * was stands there by name, too ("errorname"), since one status has many
 * reasons. */
json_t *render_error(int status, enum error_code code, const char *text)
    MUST_CHECK NONNULL(3);

#define RENDER_DESCRIPTION_MAX 500

/* `text` as the value of a header: one line of printable ASCII. */
void render_description(const char *text, char ret_line[RENDER_DESCRIPTION_MAX])
    NONNULL(1, 2);

#endif
