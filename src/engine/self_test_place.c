/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a self-test is, and how it goes.
 *
 * Its folder of disks lies where the machines of this host have theirs, so
 * that the hypervisor's rights, security driver and file system are the ones
 * that matter; its repository lies in the real one for the same reason.  The
 * record names them, and it is durable before the first of them is made.
 *
 * A removal trusts the record for the uuid alone: a machine goes only if it
 * has that uuid and our name for it, a folder only if it has that name.
 * Everything that is gone already is success, so a removal that was cut off
 * is done again from the start; the record goes last.
 */
#include "engine/self_test_internal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/rmtree.h"
#include "base/vec.h"
#include "engine/accounts.h"
#include "engine/bootstrap.h"
#include "engine/hold.h"
#include "engine/inventory.h"
#include "engine/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD "record"
#define RECORD_MAX ((size_t)1 << 16)

/* Libvirt's own pool, for hosts without machines. */
#define FOLDER_DEFAULT "/var/lib/libvirt/images"

/* -- the folder ------------------------------------------------------------ */

struct candidate {
    char *folder;       /* owned */
    const char *sample; /* borrowed from a machine; one of the disks there */
    size_t machines;
};
struct candidates VEC(struct candidate);

static void
candidates_release(struct candidates *list)
{
    vec_for (struct candidate *, item, list)
        free(item->folder);
    vec_release(list);
}

static void
count_disk(struct candidates *list, const char *source)
{
    struct candidate found = {.sample = source, .machines = 1};

    found.folder = path_parent(source);
    vec_for (struct candidate *, item, list) {
        if (strcmp(item->folder, found.folder) != 0)
            continue;
        item->machines++;
        free(found.folder);
        return;
    }
    vec_push(list, found);
}

/* The first disk of each machine that could be kept. */
static void
count_machine(struct candidates *list, const struct hv_machine *machine)
{
    if (self_test_is_guest(machine))
        return;
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct hv_disk *disk = &machine->disks[i];

        if (inventory_excluded(disk) != NULL || disk->network || disk->block ||
            disk->source == NULL || !fd_exists(disk->source))
            continue;
        count_disk(list, disk->source);
        return;
    }
}

static int
choose_folder(struct self_test *test, const char *wanted, char **ret_parent,
              struct error *err)
{
    AUTO_HV_MACHINE_LIST struct hv_machine_list machines = {0};
    CLEANUP(candidates_release) struct candidates list = VEC_INIT;
    const struct candidate *best = NULL;

    if (hv_list(test->engine->hv, &machines, err) < 0)
        return -1;
    for (size_t i = 0; i < machines.count; i++)
        count_machine(&list, machines.items[i]);
    vec_for (struct candidate *, item, &list) {
        bool is_wanted = strcmp(item->folder, wanted) == 0;

        if (best == NULL || is_wanted || item->machines > best->machines)
            best = item;
        if (is_wanted)
            break;
    }
    test->sample = xstrdup_null(best != NULL ? best->sample : NULL);
    if (wanted[0] != '\0')
        *ret_parent = xstrdup(wanted);
    else if (best != NULL)
        *ret_parent = xstrdup(best->folder);
    else if (fd_exists(FOLDER_DEFAULT))
        *ret_parent = xstrdup(FOLDER_DEFAULT);
    else
        return error_set(err, ERROR_CONFLICT,
                         "no machine has a disk in a file, and there is no "
                         "'%s': where may the hypervisor use disks?",
                         FOLDER_DEFAULT);
    return 0;
}

/* -- the record ------------------------------------------------------------ */

static int
write_record(const struct self_test *test, struct error *err)
{
    AUTO_FREE char *path = path_join(test->home, RECORD);
    json_t *record =
        json_pack("{s:s, s:s, s:s}", "machine", test->name, "folder",
                  test->folder, "repository", test->repository);
    AUTO_FREE char *text = json_dumps(record, JSON_INDENT(1));

    json_decref(record);
    if (text == NULL)
        return error_set(err, ERROR_INTERNAL, "cannot write '%s'", path);
    if (fd_make_directories(test->home, 0700, err) < 0 ||
        fault_here("selftest.record"))
        return error_set_errno(err, errno, "record '%s'", path);
    return fd_replace_file(path, text, strlen(text), 0600, err);
}

int
self_test_choose(struct self_test *test, struct error *err)
{
    AUTO_FREE char *wanted = NULL;
    AUTO_FREE char *parent = NULL;
    struct uuid uuid;

    if (settings_get_text(test->engine->state, "selftest.folder", NULL, &wanted,
                          err) < 0)
        return -1;
    if (wanted[0] != '\0' && !path_is_clean_absolute(wanted))
        return error_set(err, ERROR_INVALID,
                         "selftest.folder is '%.200s', which is no absolute "
                         "path",
                         wanted);
    if (choose_folder(test, wanted, &parent, err) < 0)
        return -1;
    uuid_new(&uuid);
    memcpy(test->uuid, uuid.text, sizeof(test->uuid));
    test->name = xasprintf(SELF_TEST_PREFIX "%s", uuid.text);
    test->folder = path_join(parent, test->name);
    test->repository = path_join(repo_path(test->engine->repo), test->name);
    test->home = path_join(test->engine->self_test_dir, uuid.text);
    return write_record(test, err);
}

/* -- what is made ---------------------------------------------------------- */

static int
make_folder(const struct self_test *test, struct error *err)
{
    /* The hypervisor's user passes through; the disks are its own. */
    if (mkdir(test->folder, 0711) < 0 || chmod(test->folder, 0711) < 0)
        return error_set_errno(err, errno, "make '%s'", test->folder);
    if (fd_sync_parent(test->folder, err) < 0)
        return -1;
    return fd_make_directories(test->repository, 0700, err);
}

static int
make_database(struct self_test *test, struct error *err)
{
    AUTO_FREE char *path = path_join(test->home, "varve.db");
    const char *const repositories[] = {test->repository};
    const struct bootstrap_config bootstrap = {.libvirt_uri = "self-test",
                                               .repositories = repositories,
                                               .repository_count = 1};
    struct bootstrap_result result;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    int found;

    test->state = state_open(path, err);
    if (test->state == NULL ||
        bootstrap_run(test->state, &bootstrap, &result, err) < 0)
        return -1;
    tx = state_begin_read(test->state, err);
    found = tx != NULL ? accounts_root(tx, &test->caller, err) : -1;
    if (found == 0)
        return error_set(err, ERROR_INTERNAL, "no administrator was made");
    return found < 0 ? -1 : 0;
}

int
self_test_make_place(struct self_test *test, struct error *err)
{
    /* Holds lie where the hook looks for them. */
    AUTO_FREE char *state_dir = path_parent(test->engine->hold_dir);
    struct engine_config config = {.hv = test->engine->hv,
                                   .state_dir = state_dir,
                                   .repository = test->repository,
                                   .workers = 1,
                                   .only = test->uuid};

    if (make_folder(test, err) < 0 || make_database(test, err) < 0)
        return -1;
    config.state = test->state;
    test->own = engine_new(&config, err);
    return test->own != NULL ? 0 : -1;
}

/* -- removal --------------------------------------------------------------- */

static int
remove_machine(struct engine *engine, const char *uuid, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hv_get(engine->hv, uuid, &machine, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    if (!self_test_is_guest(machine))
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has the id of a self-test, but not its "
                         "name: it is left alone",
                         machine->name);
    if (machine->state != HV_STOPPED && hv_destroy(engine->hv, uuid, err) < 0 &&
        err->code != ERROR_CONFLICT)
        return -1;
    error_clear(err);
    if (fault_here("selftest.remove"))
        return error_set_errno(err, errno, "remove '%s'", machine->name);
    if (hv_undefine(engine->hv, uuid, err) < 0 && err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

/* `path` from the record, if it can be one that we made. */
static int
remove_folder(const char *path, const char *name, struct error *err)
{
    if (path == NULL)
        return 0;
    if (!path_is_clean_absolute(path) || strcmp(path_name(path), name) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%.200s' is no folder of a self-test: it is left "
                         "alone",
                         path);
    if (fault_here("selftest.remove"))
        return error_set_errno(err, errno, "remove '%s'", path);
    return rmtree(path, err);
}

static int
remove_all(struct engine *engine, const char *uuid, const char *folder,
           const char *repository, struct error *err)
{
    AUTO_FREE char *name = xasprintf(SELF_TEST_PREFIX "%s", uuid);
    AUTO_FREE char *home = path_join(engine->self_test_dir, uuid);

    /* A machine that is there keeps its disks. */
    if (remove_machine(engine, uuid, err) < 0 ||
        hold_clear(engine->hold_dir, uuid, err) < 0 ||
        remove_folder(folder, name, err) < 0 ||
        remove_folder(repository, name, err) < 0)
        return -1;
    if (fault_here("selftest.remove"))
        return error_set_errno(err, errno, "remove '%s'", home);
    return rmtree(home, err);
}

int
self_test_remove(struct self_test *test, struct error *err)
{
    engine_free(test->own);
    state_close(test->state);
    test->own = NULL;
    test->state = NULL;
    if (test->home == NULL)
        return 0;
    return remove_all(test->engine, test->uuid, test->folder, test->repository,
                      err);
}

void
self_test_release(struct self_test *test)
{
    engine_free(test->own);
    state_close(test->state);
    free(test->name);
    free(test->home);
    free(test->folder);
    free(test->repository);
    free(test->sample);
}

/* -- what earlier ones left ------------------------------------------------ */

/* Without a record (it was never finished) nothing else was made. */
static int
settle_one(struct engine *engine, const char *uuid, struct error *err)
{
    AUTO_FREE char *home = path_join(engine->self_test_dir, uuid);
    AUTO_FREE char *path = path_join(home, RECORD);
    AUTO_FREE char *text = NULL;
    json_t *record = NULL;
    int result;

    if (fd_exists(path)) {
        if (fd_read_file(path, RECORD_MAX, &text, NULL, err) < 0)
            return -1;
        record = json_loads(text, 0, NULL);
    }
    result = remove_all(
        engine, uuid, json_string_value(json_object_get(record, "folder")),
        json_string_value(json_object_get(record, "repository")), err);
    json_decref(record);
    return result;
}

static void
settle_entry(struct engine *engine, const char *uuid)
{
    struct error err = ERROR_INIT;

    if (settle_one(engine, uuid, &err) < 0)
        log_warning("self-test-left-over", "record='%s/%s' error='%s'",
                    engine->self_test_dir, uuid, err.message);
    else
        log_info("self-test-removed", "machine=" SELF_TEST_PREFIX "%s", uuid);
}

int
self_test_settle(struct engine *engine, struct error *err)
{
    DIR *entries = opendir(engine->self_test_dir);

    if (entries == NULL)
        return errno == ENOENT ? 0
                               : error_set_errno(err, errno, "read '%s'",
                                                 engine->self_test_dir);
    for (struct dirent *entry = readdir(entries); entry != NULL;
         entry = readdir(entries)) {
        if (uuid_is_valid(entry->d_name))
            settle_entry(engine, entry->d_name);
    }
    (void)closedir(entries);
    return 0;
}
