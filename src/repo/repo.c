/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a repository, and where everything lies in it.
 *
 * The identity file makes a directory a repository.  It is what tells a
 * mounted share from the empty directory that it is mounted on: without
 * REPO_CREATE nothing is ever written where it is not.
 */
#include "repo/repo_internal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "repo/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDENTITY "varve-repository.json"
#define FORMAT "varve-repository"
#define IDENTITY_MAX 65536u

/* -- names -------------------------------------------------------------- */

char *
repo_point_file(const struct repo *repo, const char *vm, const char *point,
                const char *suffix)
{
    return xasprintf("%s/points/%s/%s%s", repo->path, vm, point, suffix);
}

char *
repo_volume_directory(const struct repo *repo, const char *account,
                      const char *volume)
{
    return xasprintf("%s/backups/%s/%s", repo->path, account, volume);
}

char *
repo_volume_file(const struct repo *repo, const char *account,
                 const char *volume, const char *uuid, const char *suffix)
{
    return xasprintf("%s/backups/%s/%s/%s%s", repo->path, account, volume, uuid,
                     suffix);
}

int
repo_check_names(const char *vm, const char *point, struct error *err)
{
    if (!manifest_is_uuid(vm) || !manifest_is_uuid(point))
        return error_set(err, ERROR_INVALID,
                         "point '%.64s' of machine '%.64s': not two uuids in "
                         "lower case",
                         point, vm);
    return 0;
}

/* -- the identity ------------------------------------------------------- */

static int
parse_identity(const char *path, const json_t *object, struct uuid *ret_uuid,
               struct error *err)
{
    const char *format = json_string_value(json_object_get(object, "format"));
    const char *uuid = json_string_value(json_object_get(object, "uuid"));
    json_int_t version = json_integer_value(json_object_get(object, "version"));

    if (format == NULL || strcmp(format, FORMAT) != 0 || uuid == NULL ||
        !manifest_is_uuid(uuid) || version < 1)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' does not identify a repository", path);
    if (version > (json_int_t)REPO_FORMAT_VERSION)
        return error_set(
            err, ERROR_UNSUPPORTED,
            "the repository of '%s' has version %" JSON_INTEGER_FORMAT
            ", newer than %u",
            path, version, REPO_FORMAT_VERSION);
    memcpy(ret_uuid->text, uuid, UUID_TEXT_SIZE);
    return 0;
}

static int
read_identity(const char *path, struct uuid *ret_uuid, struct error *err)
{
    AUTO_FREE char *text = NULL;
    size_t length = 0;
    json_error_t why;
    json_t *object;
    int result;

    if (fd_read_file(path, IDENTITY_MAX, &text, &length, err) < 0)
        return -1;
    object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    result = parse_identity(path, object, ret_uuid, err);
    json_decref(object);
    return result;
}

static int
refuse_full(const char *name, void *context, struct error *err)
{
    const char *path = context;

    if (strcmp(name, "lost+found") == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "'%s' is no repository and is not empty ('%s' is there)",
                     path, name);
}

/* Two that create it at once agree: the first name that is linked counts. */
static int
create_identity(const char *directory, const char *path, struct error *err)
{
    struct uuid uuid;
    char when[CLOCK_TEXT_SIZE];
    AUTO_FREE char *temporary = NULL;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *shown = xstrdup(directory);
    int result = 0;

    if (fd_make_directories(directory, REPO_DIRECTORY_MODE, err) < 0 ||
        repo_walk_directory(directory, refuse_full, shown, err) < 0)
        return -1;
    uuid_new(&uuid);
    temporary = xasprintf("%s/.%s.tmp", directory, uuid.text);
    text = xasprintf("{\n  \"created\": \"%s\",\n  \"format\": \"" FORMAT
                     "\",\n  \"uuid\": \"%s\",\n  \"version\": %u\n}\n",
                     clock_format(clock_wall_ms(), when), uuid.text,
                     REPO_FORMAT_VERSION);
    if (fd_replace_file(temporary, text, strlen(text), REPO_FILE_MODE, err) < 0)
        return -1;
    if (fault_here("repo.create") ||
        (link(temporary, path) < 0 && errno != EEXIST))
        result = error_set_errno(err, errno, "link '%s'", path);
    (void)unlink(temporary); /* a leftover has no meaning */
    return result < 0 ? -1 : fd_sync_parent(path, err);
}

struct repo *
repo_open(const char *path, unsigned flags, struct error *err)
{
    AUTO_REPO struct repo *repo = xcalloc(1, sizeof(*repo));
    AUTO_FREE char *identity = path_join(path, IDENTITY);

    if (!path_is_clean_absolute(path)) {
        (void)error_set(err, ERROR_INVALID,
                        "'%s' is no absolute path of a repository", path);
        return NULL;
    }
    repo->path = xstrdup(path);
    if ((flags & REPO_CREATE) != 0 && !fd_exists(identity) &&
        create_identity(path, identity, err) < 0)
        return NULL;
    if (read_identity(identity, &repo->uuid, err) < 0) {
        if (err->code == ERROR_NOT_FOUND)
            (void)error_set(err, ERROR_NOT_FOUND,
                            "there is no repository in '%s' (is it mounted?)",
                            path);
        return NULL;
    }
    return steal(&repo);
}

void
repo_free(struct repo *repo)
{
    if (repo == NULL)
        return;
    free(repo->path);
    free(repo);
}

void
repo_cleanup(struct repo **repo)
{
    repo_free(*repo);
    *repo = NULL;
}

const char *
repo_uuid(const struct repo *repo)
{
    return repo->uuid.text;
}

const char *
repo_path(const struct repo *repo)
{
    return repo->path;
}

int
repo_require_space(const struct repo *repo, uint64_t bytes, struct error *err)
{
    uint64_t there;

    if (fd_free_space(repo->path, &there, err) < 0)
        return -1;
    if (there < bytes || fault_here("repo.require.space"))
        return error_set(err, ERROR_NO_SPACE,
                         "the repository '%s' has room for %" PRIu64
                         " more bytes, %" PRIu64 " are needed",
                         repo->path, there, bytes);
    return 0;
}
