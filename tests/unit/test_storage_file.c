/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones of files: with a stand-in that copies, on any file system; and for
 * real on an XFS made for this, where we may mount one.
 */
#include "check.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
#include "storage/file/storage_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TXID "11111111-2222-4333-8444-555555555555"
#define VOLUME "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeee%zu"
#define SIZE ((size_t)1 << 20)
#define DISKS ((size_t)2)

static const char *folder;
static struct storage *storage;
static struct error err;

static int
copy_file(int from, int to)
{
    char buffer[4096];
    int64_t at = 0;
    ssize_t got;

    while ((got = pread(from, buffer, sizeof(buffer), at)) > 0) {
        if (pwrite(to, buffer, (size_t)got, at) != got)
            return -1;
        at += got;
    }
    return got < 0 ? -1 : ftruncate(to, at);
}

static int
cannot_share(int from, int to)
{
    (void)from;
    (void)to;
    errno = EOPNOTSUPP;
    return -1;
}

/* -- two disks and their names --------------------------------------------- */

struct bed {
    struct storage_disk disks[DISKS];
    char *paths[DISKS];
    char *snapshots[DISKS];
};

static void
fill(const char *path, char byte)
{
    AUTO_FREE char *bytes = xmalloc(SIZE);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

    memset(bytes, byte, SIZE);
    CHECK_OK(fd_pwrite(fd, bytes, SIZE, 0, path, &err), &err);
}

/* The byte that a whole file holds; '?' when it does not. */
static char
byte_of(const char *path)
{
    AUTO_FREE char *bytes = NULL;
    size_t length = 0;

    if (fd_read_file(path, SIZE * 2, &bytes, &length, &err) < 0 ||
        length != SIZE || memcmp(bytes, bytes + 1, SIZE - 1) != 0)
        return '?';
    return bytes[0];
}

static void
bed_make(struct bed *bed)
{
    static const char *const targets[] = {"vda", "vdb"};

    for (size_t i = 0; i < DISKS; i++) {
        AUTO_FREE char *volume = xasprintf(VOLUME, i);

        bed->paths[i] = xasprintf("%s/%s.raw", folder, targets[i]);
        fill(bed->paths[i], (char)('a' + i));
        bed->snapshots[i] = storage_name(storage, bed->paths[i], TXID, volume);
        bed->disks[i] = (struct storage_disk){.target = targets[i],
                                              .locator = bed->paths[i],
                                              .snapshot = bed->snapshots[i]};
    }
}

static int
count_files(void)
{
    DIR *entries = opendir(folder);
    int count = 0;

    for (struct dirent *entry = entries != NULL ? readdir(entries) : NULL;
         entry != NULL; entry = readdir(entries))
        count += entry->d_type == DT_REG;
    if (entries != NULL)
        (void)closedir(entries);
    return count;
}

static void
bed_release(struct bed *bed)
{
    CHECK_OK(storage_undo(storage, bed->disks, DISKS, &err), &err);
    for (size_t i = 0; i < DISKS; i++) {
        (void)unlink(bed->paths[i]);
        free(bed->paths[i]);
        free(bed->snapshots[i]);
    }
    CHECK(count_files() == 0);
}
#define BED                                                                    \
    CLEANUP(bed_release) struct bed bed;                                       \
    bed_make(&bed)

static int
take(struct bed *bed, int64_t deadline_ms)
{
    CLEANUP(storage_txn_cleanup) struct storage_txn *txn = NULL;

    if (storage_prepare(storage, bed->disks, DISKS, &txn, &err) < 0 ||
        storage_commit(txn, deadline_ms, &err) < 0)
        return -1;
    /* What is written now is not in them. */
    for (size_t i = 0; i < DISKS; i++)
        fill(bed->paths[i], 'z');
    return storage_keep(txn, &err);
}

/* -- promises -------------------------------------------------------------- */

static void
a_snapshot_holds_what_was_there_when_it_was_taken(void)
{
    BED;
    CHECK_OK(take(&bed, clock_monotonic_ms() + 10000), &err);
    for (size_t i = 0; i < DISKS; i++) {
        CHECK(byte_of(bed.snapshots[i]) == (char)('a' + i));
        CHECK(byte_of(bed.paths[i]) == 'z');
    }
    CHECK(count_files() == 4);
}

static void
a_clone_of_a_snapshot_can_be_written_to(void)
{
    AUTO_FREE char *clone = xasprintf("%s/clone.raw", folder);
    struct stat disk;
    struct stat about;

    BED;
    CHECK_OK(take(&bed, 0), &err);
    CHECK_OK(storage_clone(storage, bed.snapshots[0], clone, &err), &err);
    CHECK(byte_of(clone) == 'a');
    fill(clone, 'c');
    CHECK(byte_of(bed.snapshots[0]) == 'a' && byte_of(bed.paths[0]) == 'z');
    CHECK(stat(clone, &about) == 0 && stat(bed.paths[0], &disk) == 0 &&
          about.st_mode == disk.st_mode && about.st_uid == disk.st_uid);
    CHECK(storage_clone(storage, bed.snapshots[0], clone, &err) < 0);
    CHECK(byte_of(clone) == 'c');
    (void)unlink(clone);
}

static void
blocks_that_cannot_be_shared_are_copied_with_their_holes(void)
{
    AUTO_FREE char *clone = xasprintf("%s/clone.raw", folder);
    AUTO_FREE char *sparse = xasprintf("%s/sparse.raw", folder);
    uint64_t bytes = 0;
    int fd;

    BED;
    fd = open(sparse, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(ftruncate(fd, (off_t)SIZE * 64) == 0);
    CHECK_OK(fd_pwrite(fd, "here", 4, SIZE * 40, sparse, &err), &err);
    (void)close(fd);
    storage_file_set_cloner(storage, cannot_share);
    CHECK_OK(storage_clone(storage, sparse, clone, &err), &err);
    CHECK(spawn_run((const char *const[]){"cmp", sparse, clone, NULL}, 0, NULL,
                    &err) == 0);
    CHECK_OK(fd_allocated(clone, &bytes, &err), &err);
    CHECK(bytes <= SIZE);
    (void)unlink(clone);
    (void)unlink(sparse);
}

static void
any_failure_leaves_what_undo_removes(void)
{
    BED;
    for (uint64_t nth = 1;; nth++) {
        int result;

        for (size_t i = 0; i < DISKS; i++)
            fill(bed.paths[i], (char)('a' + i));
        fault_arm("*", nth, FAULT_FAIL);
        result = take(&bed, 0);
        fault_disarm();
        CHECK((result < 0) == fault_fired());
        CHECK_OK(storage_undo(storage, bed.disks, DISKS, &err), &err);
        CHECK(count_files() == 2);
        if (!fault_fired()) {
            CHECK(nth > 8);
            return;
        }
    }
}

static void
a_failure_names_the_disk(void)
{
    CLEANUP(storage_txn_cleanup) struct storage_txn *txn = NULL;

    BED;
    (void)unlink(bed.paths[1]);
    CHECK(storage_prepare(storage, bed.disks, DISKS, &txn, &err) < 0);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(strncmp(err.message, "disk 'vdb': ", 12) == 0);
    fill(bed.paths[1], 'b');
    CHECK_OK(storage_undo(storage, bed.disks, DISKS, &err), &err);
    fault_arm("storage.clone", 2, FAULT_FAIL);
    CHECK(take(&bed, 0) < 0);
    fault_disarm();
    CHECK(strncmp(err.message, "disk 'vdb': ", 12) == 0);
}

/* As under a mount point that nothing is mounted on. */
static void
without_the_disk_nothing_is_taken_for_undone(void)
{
    AUTO_FREE char *away = xasprintf("%s/away", folder);

    BED;
    CHECK_OK(take(&bed, 0), &err);
    CHECK(rename(bed.paths[1], away) == 0);
    CHECK(storage_undo(storage, &bed.disks[1], 1, &err) < 0);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(strstr(err.message, bed.paths[1]) != NULL);
    CHECK(fd_exists(bed.snapshots[1]));
    CHECK(rename(away, bed.paths[1]) == 0);
    CHECK_OK(storage_undo(storage, &bed.disks[1], 1, &err), &err);
    CHECK(!fd_exists(bed.snapshots[1]));
}

static void
no_time_left_is_a_time_out(void)
{
    BED;
    CHECK(take(&bed, clock_monotonic_ms()) < 0 && err.code == ERROR_TIMEOUT);
}

static void
snapshots_are_listed_and_removed(void)
{
    AUTO_FREE char *volume = xasprintf(VOLUME, (size_t)1);
    AUTO_STORAGE_LIST struct storage_list list = {0};
    AUTO_STORAGE_LIST struct storage_list empty = {0};

    BED;
    CHECK_OK(take(&bed, 0), &err);
    CHECK_OK(storage_list(storage, bed.paths[1], volume, &list, &err), &err);
    REQUIRE(list.count == 1);
    CHECK_TEXT(list.items[0], bed.snapshots[1]);
    CHECK_OK(storage_remove(storage, list.items[0], &err), &err);
    CHECK_OK(storage_remove(storage, list.items[0], &err), &err);
    CHECK_OK(storage_list(storage, bed.paths[1], volume, &empty, &err), &err);
    CHECK(empty.count == 0);
}

static void
all(void)
{
    RUN(a_snapshot_holds_what_was_there_when_it_was_taken);
    RUN(a_clone_of_a_snapshot_can_be_written_to);
    RUN(any_failure_leaves_what_undo_removes);
    RUN(a_failure_names_the_disk);
    RUN(without_the_disk_nothing_is_taken_for_undone);
    RUN(no_time_left_is_a_time_out);
    RUN(snapshots_are_listed_and_removed);
}

/* That it cannot be told now is not "no": a machine would get layers. */
static void
a_folder_that_cannot_be_tried_is_an_error(void)
{
    unsigned capabilities = 0;

    BED;
    CHECK_OK(storage_capabilities(storage, bed.paths[0], &capabilities, &err),
             &err);
    CHECK((capabilities & STORAGE_CLONE) != 0);
    fault_arm("storage.probe", 1, FAULT_FAIL);
    CHECK(storage_capabilities(storage, bed.paths[0], &capabilities, &err) < 0);
    fault_disarm();
    CHECK(err.code == ERROR_IO && strstr(err.message, folder) != NULL);
}

/* -- for real -------------------------------------------------------------- */

/* In a mount namespace of our own: an XFS at `folder`.  False: not here. */
static bool
mount_xfs(const char *image)
{
    static const char *const script =
        "truncate -s 320M \"$0\" && mkfs.xfs -q -m reflink=1 \"$0\" && "
        "mount -o loop \"$0\" \"$1\"";
    const char *const argv[] = {"sh", "-c", script, image, folder, NULL};

    return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           spawn_run(argv, 0, NULL, &err) == 0;
}

static unsigned
capabilities_here(void)
{
    unsigned capabilities = 0;

    BED;
    CHECK_OK(storage_capabilities(storage, bed.paths[0], &capabilities, &err),
             &err);
    return capabilities;
}

static void
a_file_system_that_shares_blocks_is_found_out(void)
{
    unsigned capabilities = capabilities_here();

    CHECK((capabilities & STORAGE_INSTANT) != 0);
    CHECK((capabilities & STORAGE_LIVE) != 0);
    CHECK((capabilities & STORAGE_GROUP_ATOMIC) == 0);
}

static void
a_clone_takes_no_space(void)
{
    uint64_t before = 0;
    uint64_t after = 0;

    BED;
    sync();
    CHECK_OK(fd_free_space(bed.paths[0], &before, &err), &err);
    for (int i = 0; i < 40; i++) {
        AUTO_FREE char *clone = xasprintf("%s/clone-%d.raw", folder, i);

        CHECK_OK(storage_clone(storage, bed.paths[0], clone, &err), &err);
    }
    sync();
    CHECK_OK(fd_free_space(bed.paths[0], &after, &err), &err);
    /* More may be free: XFS gives back in the background. */
    CHECK(before < after + SIZE * 10);
    for (int i = 0; i < 40; i++) {
        AUTO_FREE char *clone = xasprintf("%s/clone-%d.raw", folder, i);

        (void)unlink(clone);
    }
}

/* Every other page of a file is there: as many extents as pages. */
static void
an_estimate_goes_by_extents_and_not_by_size(void)
{
    AUTO_FREE char *path = path_join(folder, "fragments.raw");
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char page[4096];
    int64_t ms = -1;

    BED;
    memset(page, 'x', sizeof(page));
    CHECK(ftruncate(fd, (int64_t)(2000 * 2 * sizeof(page))) == 0);
    for (uint64_t i = 0; i < 2000; i++)
        CHECK_OK(
            fd_pwrite(fd, page, sizeof(page), i * 2 * sizeof(page), path, &err),
            &err);
    CHECK_OK(storage_estimate(storage, path, 5000, &ms, &err), &err);
    CHECK(ms >= 90 && ms <= 110); /* XFS may put some pages together */
    CHECK_OK(storage_estimate(storage, path, 30, &ms, &err), &err);
    CHECK(ms == 30);
    CHECK_OK(storage_estimate(storage, bed.paths[0], 5000, &ms, &err), &err);
    CHECK(ms == 0);
    fault_arm("storage.estimate", 1, FAULT_FAIL);
    CHECK(storage_estimate(storage, path, 30, &ms, &err) < 0);
    fault_disarm();
    CHECK(unlink(path) == 0);
}

static void
a_folder_on_a_read_only_file_system_is_an_error(void)
{
    unsigned capabilities = 0;

    BED;
    CHECK(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(storage_capabilities(storage, bed.paths[0], &capabilities, &err) < 0);
    CHECK(strstr(err.message, folder) != NULL);
    CHECK(mount(NULL, folder, NULL, MS_REMOUNT, NULL) == 0);
}

int
main(void)
{
    char directory[] = "/tmp/varve-storage-XXXXXX";
    AUTO_FREE char *image = NULL;
    AUTO_FREE char *disks = NULL;

    if (mkdtemp(directory) == NULL)
        return EXIT_FAILURE;
    image = path_join(directory, "xfs");
    disks = path_join(directory, "disks");
    folder = disks;
    storage = storage_file_new();
    if (mkdir(disks, 0700) < 0)
        return EXIT_FAILURE;
    storage_file_set_cloner(storage, copy_file);
    all();
    RUN(blocks_that_cannot_be_shared_are_copied_with_their_holes);
    storage_file_set_cloner(storage, NULL);
    RUN(a_folder_that_cannot_be_tried_is_an_error);
    if (mount_xfs(image)) {
        printf("# on XFS\n");
        all();
        RUN(a_file_system_that_shares_blocks_is_found_out);
        RUN(a_clone_takes_no_space);
        RUN(an_estimate_goes_by_extents_and_not_by_size);
        RUN(a_folder_on_a_read_only_file_system_is_an_error);
        (void)umount(disks);
    } else {
        printf("# no XFS can be mounted here: not tried with one\n");
    }
    storage_free(storage);
    (void)unlink(image);
    (void)rmdir(disks);
    (void)rmdir(directory);
    return check_done();
}
