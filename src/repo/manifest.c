/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing manifests, and the rules that both directions share.
 *
 * The checksum is SHA-256 over the object without its member "checksum",
 * without spaces, members sorted by name: `jq -cSj 'del(.checksum)' FILE |
 * sha256sum` gives the same.  So a manifest may be indented and read by
 * people and still be proved.  For the form to be unambiguous there are no
 * real numbers and no control characters but tab and line ends.
 */
#include "repo/manifest.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "image/digest.h"
#include "repo/base64.h"
#include "repo/manifest_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- rules -------------------------------------------------------------- */

bool
manifest_is_uuid(const char *text)
{
    return uuid_is_valid(text) && strpbrk(text, "ABCDEF") == NULL;
}

bool
manifest_is_account(const char *account)
{
    return path_is_plain_name(account) && account[0] != '.' &&
           strlen(account) <= 200;
}

static int
wrong(struct error *err, const char *what, const char *why)
{
    return error_set(err, ERROR_INVALID, "%s %s", what, why);
}

/* A text of bounded length without control characters; may be absent. */
static int
check_text(const char *text, size_t max, bool needed, const char *what,
           struct error *err)
{
    size_t length;

    if (text == NULL)
        return needed ? wrong(err, what, "is missing") : 0;
    length = strlen(text);
    if (length > max)
        return wrong(err, what, "is too long");
    if (needed && length == 0)
        return wrong(err, what, "is empty");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && strchr("\t\n\r", c) == NULL) || c == 0x7f)
            return wrong(err, what, "has control characters");
    }
    return 0;
}

/* "xxh3-128:0123…" of a known algorithm. */
static int
check_root(const char *root, struct error *err)
{
    const char *colon = strchr(root, ':');
    char name[32];
    enum digest_algorithm algorithm;
    size_t length;

    if (colon == NULL || (size_t)(colon - root) >= sizeof(name))
        return wrong(err, "a content root", "is malformed");
    memcpy(name, root, (size_t)(colon - root));
    name[colon - root] = '\0';
    if (digest_algorithm_parse(name, &algorithm, err) < 0)
        return wrong(err, "a content root", "has an unknown algorithm");
    length = algorithm == DIGEST_SHA256 ? 64 : 32;
    if (strlen(colon + 1) != length ||
        strspn(colon + 1, "0123456789abcdef") != length)
        return wrong(err, "a content root", "is malformed");
    return 0;
}

/* Names of files, each once. */
static int
check_names(const struct uuid *names, size_t count, const char *what,
            struct error *err)
{
    if (count == 0 || count > REPO_CHAIN_MAX)
        return wrong(err, what, "is empty or too long");
    for (size_t i = 0; i < count; i++) {
        if (!manifest_is_uuid(names[i].text))
            return wrong(err, what, "has a name that is no uuid");
        for (size_t k = 0; k < i; k++) {
            if (strcmp(names[i].text, names[k].text) == 0)
                return wrong(err, what, "has a file twice");
        }
    }
    return 0;
}

static int
check_volume(const struct repo_point *point, size_t n, bool finished,
             struct error *err)
{
    const struct repo_volume *volume = &point->volumes[n];

    if (!manifest_is_uuid(volume->volume.text))
        return wrong(err, "a volume's uuid", "is malformed");
    for (size_t i = 0; i < n; i++) {
        if (strcmp(volume->volume.text, point->volumes[i].volume.text) == 0)
            return wrong(err, "a volume", "is there twice");
    }
    if (volume->size > DIGEST_SIZE_MAX || volume->stored > INT64_MAX)
        return wrong(err, "a volume's size", "is absurd");
    if (check_names(volume->chain, volume->chain_count, "a chain", err) < 0 ||
        (volume->indexes != NULL &&
         check_names(volume->indexes, volume->chain_count, "a list of indexes",
                     err) < 0) ||
        check_text(volume->target, MANIFEST_NAME_MAX, false, "a target", err) <
            0 ||
        check_text(volume->path, MANIFEST_TEXT_MAX, false, "a path", err) < 0 ||
        check_text(volume->full_reason, MANIFEST_TEXT_MAX, false, "a reason",
                   err) < 0)
        return -1;
    return finished ? check_root(volume->root, err) : 0;
}

static int
check_details(const struct repo_point *point, struct error *err)
{
    if (point->detail_count > MANIFEST_DETAILS_MAX)
        return wrong(err, "the point", "has too many details");
    for (size_t i = 0; i < point->detail_count; i++) {
        if (check_text(point->details[i].key, MANIFEST_NAME_MAX, true,
                       "a detail's name", err) < 0 ||
            check_text(point->details[i].value, MANIFEST_TEXT_MAX, false,
                       "a detail", err) < 0)
            return -1;
    }
    return 0;
}

int
manifest_check(const struct repo_point *point, bool finished, struct error *err)
{
    if (!manifest_is_uuid(point->uuid.text) ||
        !manifest_is_uuid(point->vm.text))
        return wrong(err, "the uuid of point or machine", "is malformed");
    if (point->account == NULL || !manifest_is_account(point->account))
        return wrong(err, "the account", "is missing or no plain name");
    if (point->volume_count > REPO_VOLUMES_MAX)
        return wrong(err, "the point", "has too many volumes");
    if (point->nvram_length > REPO_NVRAM_MAX)
        return wrong(err, "the NVRAM", "is too large");
    if (check_text(point->vm_name, MANIFEST_NAME_MAX, false, "the name", err) <
            0 ||
        check_text(point->domain_xml, MANIFEST_XML_MAX, false, "the domain XML",
                   err) < 0 ||
        check_details(point, err) < 0)
        return -1;
    for (size_t i = 0; i < point->volume_count; i++) {
        if (check_volume(point, i, finished, err) < 0)
            return error_prefix(err, "volume %zu", i);
    }
    return 0;
}

char *
manifest_json_file(const struct repo_point *point,
                   const struct repo_volume *volume)
{
    return xasprintf("backups/%s/%s/%s.qcow2", point->account,
                     volume->volume.text, volume->chain[0].text);
}

/* -- the checksum ------------------------------------------------------- */

char *
manifest_json_checksum(const json_t *object)
{
    AUTO_JSON json_t *bare = json_copy((json_t *)(uintptr_t)object);
    struct digest digest;
    char *canonical;
    char *text;

    if (bare == NULL)
        abort();                             /* out of memory */
    (void)json_object_del(bare, "checksum"); /* it may have none */
    canonical = json_dumps(bare, JSON_COMPACT | JSON_SORT_KEYS);
    if (canonical == NULL)
        return NULL;
    digest_bytes(DIGEST_SHA256, canonical, strlen(canonical), &digest);
    free(canonical);
    text = xmalloc(sizeof("sha256:") + 64);
    memcpy(text, "sha256:", 7);
    for (size_t i = 0; i < 32; i++)
        (void)snprintf(text + 7 + 2 * i, 3, "%02x", digest.bytes[i]);
    return text;
}

void
manifest_json_cleanup(json_t **object)
{
    json_decref(*object);
    *object = NULL;
}

/* -- writing ------------------------------------------------------------ */

/* Setting fails for texts that are no UTF-8 only; that is found at the end. */
static void
set_text(json_t *object, const char *name, const char *text, bool *good)
{
    if (text != NULL &&
        json_object_set_new(object, name, json_string(text)) < 0)
        *good = false;
}

static void
set_number(json_t *object, const char *name, uint64_t number, bool *good)
{
    if (json_object_set_new(object, name, json_integer((json_int_t)number)) < 0)
        *good = false;
}

static void
set_names(json_t *object, const char *name, const struct uuid *names,
          size_t count, bool *good)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(array, json_string(names[i].text)) < 0)
            *good = false;
    }
    if (json_object_set_new(object, name, array) < 0)
        *good = false;
}

static json_t *
encode_volume(const struct repo_point *point, const struct repo_volume *volume,
              bool *good)
{
    AUTO_FREE char *file = manifest_json_file(point, volume);
    json_t *object = json_object();

    set_text(object, "uuid", volume->volume.text, good);
    set_number(object, "device_id", volume->device_id, good);
    set_text(object, "type", repo_volume_type_name(volume->type), good);
    set_text(object, "target", volume->target, good);
    set_text(object, "path", volume->path, good);
    set_number(object, "size", volume->size, good);
    set_number(object, "stored", volume->stored, good);
    set_text(object, "file", file, good);
    set_names(object, "chain", volume->chain, volume->chain_count, good);
    if (volume->indexes != NULL)
        set_names(object, "indexes", volume->indexes, volume->chain_count,
                  good);
    if (json_object_set_new(object, "parent",
                            volume->chain_count > 1
                                ? json_string(volume->chain[1].text)
                                : json_null()) < 0)
        *good = false;
    set_text(object, "root", volume->root, good);
    set_text(object, "full_reason", volume->full_reason, good);
    return object;
}

static json_t *
encode_details(const struct repo_point *point, bool *good)
{
    json_t *object = json_object();

    for (size_t i = 0; i < point->detail_count; i++)
        set_text(object, point->details[i].key, point->details[i].value, good);
    return object;
}

static json_t *
encode_point(const struct repo_point *point, bool *good)
{
    char when[CLOCK_TEXT_SIZE];
    json_t *object = json_object();
    json_t *volumes = json_array();

    set_text(object, "format", MANIFEST_JSON_FORMAT, good);
    set_number(object, "version", REPO_FORMAT_VERSION, good);
    set_text(object, "uuid", point->uuid.text, good);
    set_text(object, "vm", point->vm.text, good);
    set_text(object, "vm_name", point->vm_name, good);
    set_text(object, "account", point->account, good);
    set_text(object, "created", clock_format(point->created_ms, when), good);
    set_number(object, "created_ms", (uint64_t)point->created_ms, good);
    set_text(object, "type", repo_point_type_name(point->type), good);
    set_text(object, "domain_xml", point->domain_xml, good);
    if (point->nvram != NULL) {
        AUTO_FREE char *nvram =
            base64_encode(point->nvram, point->nvram_length);

        set_text(object, "nvram", nvram, good);
    }
    for (size_t i = 0; i < point->volume_count; i++) {
        if (json_array_append_new(
                volumes, encode_volume(point, &point->volumes[i], good)) < 0)
            *good = false;
    }
    if (json_object_set_new(object, "volumes", volumes) < 0 ||
        json_object_set_new(object, "details", encode_details(point, good)) < 0)
        *good = false;
    return object;
}

char *
manifest_encode(const struct repo_point *point, struct error *err)
{
    bool good = true;
    AUTO_JSON json_t *object = encode_point(point, &good);
    AUTO_FREE char *checksum = manifest_json_checksum(object);
    char *text;
    char *lined;

    set_text(object, "checksum", checksum, &good);
    text = json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!good || checksum == NULL || text == NULL ||
        strlen(text) >= REPO_MANIFEST_MAX) {
        free(text);
        (void)error_set(err, ERROR_INVALID,
                        "point '%s' cannot be described: a text is no UTF-8, "
                        "or there is too much",
                        point->uuid.text);
        return NULL;
    }
    lined = xasprintf("%s\n", text);
    free(text);
    return lined;
}
