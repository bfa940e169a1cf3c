/* SPDX-License-Identifier: Apache-2.0 */
#include "api/object.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void
object_cleanup(json_t **object)
{
    json_decref(*object);
}

/* jansson gives NULL when there is no memory, and for text that is not UTF-8,
 * which object_text() rules out. */
static json_t *
must(json_t *value)
{
    if (value == NULL)
        abort();
    return value;
}

json_t *
object_new(void)
{
    return must(json_object());
}

json_t *
object_new_array(void)
{
    return must(json_array());
}

json_t *
object_text(const char *text)
{
    json_t *value = json_string(text);
    AUTO_FREE char *clean = NULL;

    if (value != NULL)
        return value;
    clean = xstrdup(text);
    for (char *c = clean; *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    }
    return must(json_string(clean));
}

void
object_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort();
}

void
object_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort();
}

void
object_set_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL)
        object_set(object, key, object_text(text));
}

void
object_set_number(json_t *object, const char *key, int64_t number)
{
    object_set(object, key, must(json_integer(number)));
}

void
object_set_bool(json_t *object, const char *key, bool value)
{
    object_set(object, key, json_boolean(value));
}

void
object_set_date(json_t *object, const char *key, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    if (wall_ms != 0)
        object_set_text(object, key, clock_format(wall_ms, text));
}
