/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing a manifest that may come from anywhere: the checksum shows
 * accidents, not malice, so every field is checked as if nobody had written
 * it on purpose.  Members that are not known are left alone, so that later
 * versions can add some without a new version number.
 *
 * What follows from other members ("file", "parent", "created") is there for
 * people and other programs; it must agree, and is not used.
 */
#include "repo/manifest.h"

#include "base/memory.h"
#include "repo/base64.h"
#include "repo/manifest_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One object that is taken apart; the first complaint counts. */
struct reader {
    const json_t *object;
    struct error *err; /* borrowed */
    bool failed;
};

static void
complain(struct reader *reader, const char *name, const char *why)
{
    if (!reader->failed)
        (void)error_set(reader->err, ERROR_CORRUPT, "member '%s' %s", name,
                        why);
    reader->failed = true;
}

/* Borrowed; NULL when it is not there (which is a complaint if needed). */
static const char *
get_text(struct reader *reader, const char *name, bool needed)
{
    const json_t *value = json_object_get(reader->object, name);

    if (value == NULL || json_is_null(value)) {
        if (needed)
            complain(reader, name, "is missing");
        return NULL;
    }
    if (!json_is_string(value)) {
        complain(reader, name, "is no text");
        return NULL;
    }
    return json_string_value(value);
}

static char *
copy_text(struct reader *reader, const char *name)
{
    return xstrdup_null(get_text(reader, name, false));
}

static uint64_t
get_number(struct reader *reader, const char *name, uint64_t max)
{
    const json_t *value = json_object_get(reader->object, name);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max) {
        complain(reader, name, "is missing or no number in its bounds");
        return 0;
    }
    return (uint64_t)number;
}

static void
get_uuid(struct reader *reader, const char *name, struct uuid *ret_uuid)
{
    const char *text = get_text(reader, name, true);

    if (text == NULL || !manifest_is_uuid(text)) {
        complain(reader, name, "is no uuid");
        return;
    }
    memcpy(ret_uuid->text, text, UUID_TEXT_SIZE);
}

/* Which of two names the member has: 0 or 1. */
static unsigned
get_choice(struct reader *reader, const char *name, const char *first,
           const char *second)
{
    const char *text = get_text(reader, name, true);

    if (text != NULL && strcmp(text, first) == 0)
        return 0;
    if (text == NULL || strcmp(text, second) != 0)
        complain(reader, name, "is unknown");
    return 1;
}

/* A list of names of files; NULL when it is not right. */
static struct uuid *
get_names(struct reader *reader, const char *name, size_t *ret_count)
{
    const json_t *array = json_object_get(reader->object, name);
    size_t count = json_array_size(array);
    AUTO_FREE struct uuid *names = NULL;

    if (!json_is_array(array) || count == 0 || count > REPO_CHAIN_MAX) {
        complain(reader, name, "is missing, empty or too long");
        return NULL;
    }
    names = xcalloc(count, sizeof(*names));
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(array, i));

        if (text == NULL || !manifest_is_uuid(text)) {
            complain(reader, name, "has a name that is no uuid");
            return NULL;
        }
        memcpy(names[i].text, text, UUID_TEXT_SIZE);
    }
    *ret_count = count;
    return steal(&names);
}

static void
get_chain(struct reader *reader, struct repo_volume *volume)
{
    const char *parent = get_text(reader, "parent", false);
    size_t count = 0;

    volume->chain = get_names(reader, "chain", &count);
    volume->chain_count = count;
    if (volume->chain == NULL)
        return;
    if ((parent != NULL) != (count > 1) ||
        (count > 1 && strcmp(parent, volume->chain[1].text) != 0))
        complain(reader, "parent", "contradicts the chain");
    if (json_object_get(reader->object, "indexes") == NULL)
        return;
    volume->indexes = get_names(reader, "indexes", &count);
    if (volume->indexes != NULL && count != volume->chain_count)
        complain(reader, "indexes", "is not as long as the chain");
}

static int
parse_volume(const json_t *object, struct repo_point *point,
             struct repo_volume *volume, struct error *err)
{
    struct reader reader = {.object = object, .err = err};
    const char *root = get_text(&reader, "root", true);
    const char *file = get_text(&reader, "file", true);
    AUTO_FREE char *expected = NULL;

    get_uuid(&reader, "uuid", &volume->volume);
    volume->device_id = (uint32_t)get_number(&reader, "device_id", UINT32_MAX);
    volume->type = get_choice(&reader, "type", "ROOT", "DATADISK") == 0
                       ? REPO_ROOT
                       : REPO_DATADISK;
    volume->target = copy_text(&reader, "target");
    volume->path = copy_text(&reader, "path");
    volume->size = get_number(&reader, "size", INT64_MAX);
    volume->stored = get_number(&reader, "stored", INT64_MAX);
    volume->full_reason = copy_text(&reader, "full_reason");
    get_chain(&reader, volume);
    if (root != NULL && strlen(root) < DIGEST_ROOT_TEXT)
        memcpy(volume->root, root, strlen(root) + 1);
    else
        complain(&reader, "root", "is too long");
    if (reader.failed)
        return -1;
    expected = manifest_json_file(point, volume);
    if (strcmp(file, expected) != 0)
        complain(&reader, "file", "is not where it must be");
    return reader.failed ? -1 : 0;
}

static int
parse_volumes(struct reader *reader, struct repo_point *point)
{
    const json_t *volumes = json_object_get(reader->object, "volumes");
    size_t count = json_array_size(volumes);

    if (!json_is_array(volumes) || count > REPO_VOLUMES_MAX) {
        complain(reader, "volumes", "is missing or too long");
        return -1;
    }
    point->volumes = xcalloc(count + 1, sizeof(*point->volumes));
    for (size_t i = 0; i < count; i++) {
        point->volume_count = i + 1;
        if (parse_volume(json_array_get(volumes, i), point, &point->volumes[i],
                         reader->err) < 0)
            return error_prefix(reader->err, "volume %zu", i);
    }
    return 0;
}

static void
parse_details(struct reader *reader, struct repo_point *point)
{
    json_t *details = json_object_get(reader->object, "details");
    const char *key;
    json_t *value;

    if (details == NULL)
        return;
    if (!json_is_object(details) ||
        json_object_size(details) > MANIFEST_DETAILS_MAX) {
        complain(reader, "details", "is no object, or too long");
        return;
    }
    json_object_foreach(details, key, value)
    {
        if (json_is_string(value))
            repo_point_add_detail(point, key, json_string_value(value));
        else
            complain(reader, "details", "has something that is no text");
    }
}

static void
parse_nvram(struct reader *reader, struct repo_point *point)
{
    const char *text = get_text(reader, "nvram", false);
    struct error why = ERROR_INIT;

    if (text != NULL && base64_decode(text, REPO_NVRAM_MAX, &point->nvram,
                                      &point->nvram_length, &why) < 0)
        complain(reader, "nvram", why.message);
}

static int
parse_point(const json_t *object, struct repo_point *point, bool finished,
            struct error *err)
{
    struct reader reader = {.object = object, .err = err};
    const char *account = get_text(&reader, "account", true);

    get_uuid(&reader, "uuid", &point->uuid);
    get_uuid(&reader, "vm", &point->vm);
    point->vm_name = copy_text(&reader, "vm_name");
    point->created_ms = (int64_t)get_number(&reader, "created_ms", INT64_MAX);
    point->type = get_choice(&reader, "type", "FULL", "INCREMENTAL") == 0
                      ? REPO_FULL
                      : REPO_INCREMENTAL;
    point->domain_xml = copy_text(&reader, "domain_xml");
    parse_nvram(&reader, point);
    parse_details(&reader, point);
    if (account == NULL || !manifest_is_account(account))
        complain(&reader, "account", "is no plain name");
    if (reader.failed)
        return -1;
    point->account = xstrdup(account);
    if (parse_volumes(&reader, point) < 0)
        return -1;
    if (manifest_check(point, finished, err) < 0) {
        err->code = ERROR_CORRUPT;
        return -1;
    }
    return 0;
}

/* Is it a manifest, of this version, with the right checksum? */
static int
check_object(const json_t *object, struct error *err)
{
    struct reader reader = {.object = object, .err = err};
    const char *format = get_text(&reader, "format", true);
    const char *checksum = get_text(&reader, "checksum", true);
    uint64_t version = get_number(&reader, "version", INT64_MAX);
    AUTO_FREE char *expected = NULL;

    if (reader.failed)
        return -1;
    if (strcmp(format, MANIFEST_JSON_FORMAT) != 0)
        return error_set(err, ERROR_CORRUPT, "it is no manifest of a point");
    if (version > REPO_FORMAT_VERSION)
        return error_set(err, ERROR_UNSUPPORTED,
                         "it is of version %" PRIu64 ", newer than %u", version,
                         REPO_FORMAT_VERSION);
    expected = manifest_json_checksum(object);
    if (expected == NULL || strcmp(checksum, expected) != 0)
        return error_set(err, ERROR_CORRUPT, "its checksum is wrong");
    return 0;
}

struct repo_point *
manifest_parse(const char *text, size_t length, bool finished,
               struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point = repo_point_new();
    AUTO_JSON json_t *object = NULL;
    json_error_t why;

    if (length > REPO_MANIFEST_MAX) {
        (void)error_set(err, ERROR_CORRUPT, "it has %zu bytes, too many",
                        length);
        return NULL;
    }
    object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (object == NULL || !json_is_object(object)) {
        (void)error_set(err, ERROR_CORRUPT, "it is no JSON object: %s",
                        object == NULL ? why.text : "something else");
        return NULL;
    }
    if (check_object(object, err) < 0 ||
        parse_point(object, point, finished, err) < 0)
        return NULL;
    return steal(&point);
}
