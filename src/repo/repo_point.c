/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

const char *
repo_point_type_name(enum repo_point_type type)
{
    return type == REPO_FULL ? "FULL" : "INCREMENTAL";
}

const char *
repo_volume_type_name(enum repo_volume_type type)
{
    return type == REPO_ROOT ? "ROOT" : "DATADISK";
}

struct repo_point *
repo_point_new(void)
{
    return xcalloc(1, sizeof(struct repo_point));
}

static void
release_volume(struct repo_volume *volume)
{
    free(volume->target);
    free(volume->path);
    free(volume->chain);
    free(volume->indexes);
    free(volume->full_reason);
}

void
repo_point_free(struct repo_point *point)
{
    if (point == NULL)
        return;
    for (size_t i = 0; i < point->volume_count; i++)
        release_volume(&point->volumes[i]);
    for (size_t i = 0; i < point->detail_count; i++) {
        free(point->details[i].key);
        free(point->details[i].value);
    }
    free(point->volumes);
    free(point->details);
    free(point->vm_name);
    free(point->account);
    free(point->domain_xml);
    free(point->nvram);
    free(point);
}

void
repo_point_cleanup(struct repo_point **point)
{
    repo_point_free(*point);
    *point = NULL;
}

struct repo_volume *
repo_point_add_volume(struct repo_point *point, const char *volume,
                      uint64_t size, const struct repo_volume *parent)
{
    size_t below = parent != NULL ? parent->chain_count : 0;
    struct repo_volume *added;

    point->volumes = xrealloc(point->volumes, (point->volume_count + 1) *
                                                  sizeof(*point->volumes));
    added = &point->volumes[point->volume_count++];
    *added = (struct repo_volume){.size = size, .chain_count = below + 1};
    /* What is no uuid is cut and refused later. */
    memcpy(added->volume.text, volume,
           MIN(strlen(volume), sizeof(added->volume.text) - 1));
    added->chain = xcalloc(below + 1, sizeof(*added->chain));
    added->chain[0] = point->uuid;
    if (below > 0)
        memcpy(added->chain + 1, parent->chain, below * sizeof(*added->chain));
    if (below > 0 && parent->indexes != NULL) {
        added->indexes = xcalloc(below + 1, sizeof(*added->indexes));
        added->indexes[0] = point->uuid;
        memcpy(added->indexes + 1, parent->indexes,
               below * sizeof(*added->indexes));
    }
    return added;
}

const char *
repo_volume_index(const struct repo_volume *volume, size_t link)
{
    return volume->indexes != NULL ? volume->indexes[link].text
                                   : volume->chain[link].text;
}

void
repo_point_add_detail(struct repo_point *point, const char *key,
                      const char *value)
{
    for (size_t i = 0; i < point->detail_count; i++) {
        if (strcmp(point->details[i].key, key) == 0) {
            free(point->details[i].value);
            point->details[i].value = xstrdup(value);
            return;
        }
    }
    point->details = xrealloc(point->details, (point->detail_count + 1) *
                                                  sizeof(*point->details));
    point->details[point->detail_count++] =
        (struct repo_detail){.key = xstrdup(key), .value = xstrdup(value)};
}

const char *
repo_point_detail(const struct repo_point *point, const char *key)
{
    for (size_t i = 0; i < point->detail_count; i++) {
        if (strcmp(point->details[i].key, key) == 0)
            return point->details[i].value;
    }
    return NULL;
}

const struct repo_volume *
repo_point_volume(const struct repo_point *point, const char *volume)
{
    for (size_t i = 0; i < point->volume_count; i++) {
        if (strcmp(point->volumes[i].volume.text, volume) == 0)
            return &point->volumes[i];
    }
    return NULL;
}
