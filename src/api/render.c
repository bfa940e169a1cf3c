/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tree of jansson values is written as JSON or as XML.
 *
 * In XML a list repeats its element (<vmSnapshot>..</vmSnapshot> for each),
 * an empty one is nothing, and an element of a list inside a list cannot
 * occur.  The characters that XML 1.0 has no way to write become '?'.
 */
#include "api/render.h"

#include "api/object.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum render_format
render_format_of(const char *response)
{
    return response != NULL && strcasecmp(response, "json") == 0 ? RENDER_JSON
                                                                 : RENDER_XML;
}

/* What every client takes as JSON, and nothing that breaks a header. */
static bool
is_json_type(const char *type)
{
    for (const char *c = type; *c != '\0'; c++) {
        if (*c < 0x20 || *c >= 0x7f)
            return false;
    }
    return strlen(type) < RENDER_TYPE_MAX &&
           (strncmp(type, "application/json", 16) == 0 ||
            strncmp(type, "text/javascript", 15) == 0);
}

void
render_content_type(enum render_format format, const char *json,
                    char ret_type[RENDER_TYPE_MAX])
{
    const char *type = "text/xml; charset=UTF-8";

    if (format == RENDER_JSON)
        type = json != NULL && is_json_type(json)
                   ? json
                   : "application/json; charset=UTF-8";
    (void)snprintf(ret_type, RENDER_TYPE_MAX, "%s", type);
}

/* -- XML ----------------------------------------------------------------- */

static void
add_escaped(struct strbuf *text, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '&')
            strbuf_adds(text, "&amp;");
        else if (*c == '<')
            strbuf_adds(text, "&lt;");
        else if (*c == '>')
            strbuf_adds(text, "&gt;");
        else if (*c == '\r')
            strbuf_adds(text, "&#13;");
        else if ((unsigned char)*c < 0x20 && *c != '\t' && *c != '\n')
            strbuf_addc(text, '?');
        else
            strbuf_addc(text, *c);
    }
}

static void add_element(struct strbuf *text, const char *name, json_t *value);

static void
add_content(struct strbuf *text, json_t *value)
{
    const char *key;
    json_t *child;

    if (json_is_string(value))
        add_escaped(text, json_string_value(value));
    else if (json_is_integer(value))
        strbuf_addf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        strbuf_addf(text, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        strbuf_adds(text, json_is_true(value) ? "true" : "false");
    if (!json_is_object(value))
        return;
    json_object_foreach(value, key, child) add_element(text, key, child);
}

static void
add_element(struct strbuf *text, const char *name, json_t *value)
{
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            add_element(text, name, json_array_get(value, i));
        return;
    }
    if (json_is_null(value))
        return;
    strbuf_addf(text, "<%s>", name);
    add_content(text, value);
    strbuf_addf(text, "</%s>", name);
}

/* -- bodies -------------------------------------------------------------- */

static int
add_chunk(const char *bytes, size_t length, void *context)
{
    strbuf_add(context, bytes, length);
    return 0;
}

void
render_body(enum render_format format, const char *root, json_t *object,
            struct strbuf *ret_text)
{
    strbuf_clear(ret_text);
    if (format == RENDER_JSON) {
        strbuf_addf(ret_text, "{\"%s\":", root);
        (void)json_dump_callback(object, add_chunk, ret_text, JSON_COMPACT);
        strbuf_adds(ret_text, "}");
        return;
    }
    strbuf_addf(ret_text,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><%s "
                "cloud-stack-version=\"4.22.0.0\">",
                root);
    add_content(ret_text, object);
    strbuf_addf(ret_text, "</%s>", root);
}

/* -- errors -------------------------------------------------------------- */

bool
render_is_internal(const struct error *err)
{
    return err->code == ERROR_INTERNAL || err->code == ERROR_IO ||
           err->code == ERROR_CORRUPT;
}

const char *
render_error_text(const struct error *err, bool is_root_admin)
{
    if (is_root_admin || !render_is_internal(err))
        return err->message;
    return "internal error; an administrator finds the reason in the log";
}

int
render_cloudstack_code(enum error_code code)
{
    switch (code) {
    case ERROR_INVALID:
    case ERROR_NOT_FOUND:
    case ERROR_CONFLICT:
        return 4350; /* InvalidParameterValueException */
    case ERROR_AUTH:
        return 4290; /* CloudAuthenticationException */
    case ERROR_DENIED:
        return 4365; /* PermissionDeniedException */
    case ERROR_LIMIT:
        return 4370; /* ResourceAllocationException */
    case ERROR_BUSY:
        return 4375; /* ResourceInUseException */
    case ERROR_UNAVAILABLE:
        return 4380; /* ResourceUnavailableException */
    case ERROR_NO_SPACE:
        return 4340; /* InsufficientStorageCapacityException */
    case ERROR_CORRUPT:
    case ERROR_IO:
    case ERROR_TIMEOUT:
    case ERROR_CANCELLED:
    case ERROR_INTERNAL:
        return 4250; /* CloudRuntimeException */
    case ERROR_NONE:
    case ERROR_MALFORMED:
    case ERROR_UNSUPPORTED:
    case ERROR_CODE_COUNT:
    default:
        return 9999; /* ServerApiException */
    }
}

json_t *
render_error(int status, enum error_code code, const char *text)
{
    json_t *object = object_new();

    object_set(object, "uuidList", object_new_array());
    object_set_number(object, "errorcode", status);
    object_set_number(object, "cserrorcode", render_cloudstack_code(code));
    object_set_text(object, "errorname", error_code_name(code));
    object_set_text(object, "errortext", text);
    return object;
}

void
render_description(const char *text, char ret_line[RENDER_DESCRIPTION_MAX])
{
    size_t used = 0;

    for (; *text != '\0' && used < RENDER_DESCRIPTION_MAX - 1; text++)
        ret_line[used++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
    ret_line[used] = '\0';
}
