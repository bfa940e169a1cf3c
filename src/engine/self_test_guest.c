/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest: a PC of 32 MiB without an operating system.  Its program is the
 * 66 bytes of the boot sector: read a sector, then for ever add one to a
 * number in it and write it to the first disk and to the second, at each tick
 * of the clock (18 a second).  That is enough to tell
 *
 *     that a processor really runs it, under KVM or without;
 *     that the guest goes on writing after its disks were switched, and that
 *     what it writes goes into the new layers;
 *     that a point holds both disks of one moment: the first number is the
 *     second one or one more, never anything else;
 *     that a restored disk boots: it goes on counting from where it was.
 *
 * One disk is raw and one qcow2, and everything else on them is made from
 * their offsets, so that it can be compared whole.  The disks are written
 * through (cache=writethrough), so that what the guest wrote can be read from
 * the files while it runs.
 */
#include "engine/self_test_internal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/path.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SIZE ((uint64_t)8 << 20)
#define BLOCK ((size_t)64 << 10)
#define SECTOR 512u
#define MARK_OFFSET ((uint64_t)128 * SECTOR) /* as in the program */
#define MARK_COUNT 16u                       /* in the sector, likewise */
#define POLL_MS 20

const char *const self_test_targets[SELF_TEST_DISKS] = {"vda", "vdb"};

static const char magic[MARK_COUNT] = "varve self-test";

static const uint8_t program[] = {
    /* clang-format off */
    0xfa,                   /* cli                                      */
    0x31, 0xc0,             /* xor ax, ax                               */
    0x8e, 0xd8,             /* mov ds, ax                               */
    0x8e, 0xc0,             /* mov es, ax                               */
    0x8e, 0xd0,             /* mov ss, ax                               */
    0xbc, 0x00, 0x7c,       /* mov sp, 0x7c00                           */
    0xfb,                   /* sti                                      */
    0xfc,                   /* cld                                      */
    0xb2, 0x80,             /* mov dl, 0x80                             */
    0xb4, 0x42,             /* mov ah, 0x42         ; read              */
    0xbe, 0x32, 0x7c,       /* mov si, packet                           */
    0xcd, 0x13,             /* int 0x13                                 */
    0x66, 0xff, 0x06,       /* again: inc dword [0x8000 + MARK_COUNT]   */
    0x10, 0x80,
    0xb2, 0x80,             /* mov dl, 0x80         ; the first disk    */
    0xb8, 0x00, 0x43,       /* write: mov ax, 0x4300                    */
    0xbe, 0x32, 0x7c,       /* mov si, packet                           */
    0xcd, 0x13,             /* int 0x13                                 */
    0x72, 0xef,             /* jc again                                 */
    0xfe, 0xc2,             /* inc dl               ; the next one      */
    0x80, 0xfa, 0x82,       /* cmp dl, 0x82                             */
    0x75, 0xef,             /* jne write                                */
    0xf4,                   /* hlt                  ; until the tick    */
    0xeb, 0xe5,             /* jmp again                                */
    16, 0, 1, 0,            /* packet: its size; sectors                */
    0x00, 0x80, 0x00, 0x00, /* memory 0:0x8000                          */
    128, 0, 0, 0,           /* sector                                   */
    0, 0, 0, 0,
    /* clang-format on */
};

/* -- what is on the disks -------------------------------------------------- */

/* Every third block holds bytes that do not compress, the rest is zero; the
 * first disk begins with the program. */
static void
fill_block(size_t disk, uint64_t block, uint8_t *bytes)
{
    uint64_t seed = (block + 1) * UINT64_C(0x9e3779b97f4a7c15) + disk;

    memset(bytes, 0, BLOCK);
    for (size_t i = 0; block % 3 == 1 && i < BLOCK; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        bytes[i] = (uint8_t)(seed >> 56);
    }
    if (block == 0 && disk == 0) {
        memcpy(bytes, program, sizeof(program));
        bytes[SECTOR - 2] = 0x55;
        bytes[SECTOR - 1] = 0xaa;
    }
    if (block == MARK_OFFSET / BLOCK) {
        memset(bytes + MARK_OFFSET % BLOCK, 0, SECTOR);
        memcpy(bytes + MARK_OFFSET % BLOCK, magic, sizeof(magic));
    }
}

char *
self_test_disk_path(const struct self_test *test, size_t disk)
{
    return xasprintf("%s/%s.%s", test->folder, self_test_targets[disk],
                     disk == 0 ? "raw" : "qcow2");
}

static struct image_ref
first_ref(const char *path, size_t disk)
{
    return (struct image_ref){.path = path,
                              .format = disk == 0 ? IMAGE_RAW : IMAGE_QCOW2};
}

static int
make_raw(const char *path, const char *sample, struct error *err)
{
    AUTO_CLOSE int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat like;

    if (fd < 0 || ftruncate(fd, (off_t)DISK_SIZE) < 0)
        return error_set_errno(err, errno, "make '%s'", path);
    if (sample != NULL &&
        (stat(sample, &like) < 0 || fchown(fd, like.st_uid, like.st_gid) < 0 ||
         fchmod(fd, like.st_mode & 0777) < 0))
        return error_set_errno(err, errno, "give '%s' the owner of '%s'", path,
                               sample);
    return 0;
}

static int
make_disk(const struct self_test *test, size_t disk, struct error *err)
{
    AUTO_FREE char *path = self_test_disk_path(test, disk);
    AUTO_FREE uint8_t *bytes = xmalloc(BLOCK);
    struct image_ref ref = first_ref(path, disk);

    if ((disk == 0 ? make_raw(path, test->sample, err)
                   : qcow2_create_overlay(path, DISK_SIZE, NULL, IMAGE_QCOW2,
                                          test->sample, err)) < 0)
        return -1;
    if (fault_here("selftest.disk"))
        return error_set_errno(err, errno, "fill '%s'", path);
    for (uint64_t block = 0; block < DISK_SIZE / BLOCK; block++) {
        if (block % 3 != 1 && block != 0)
            continue;
        fill_block(disk, block, bytes);
        if (commit_write(&ref, 1, bytes, block * BLOCK, BLOCK, err) < 0)
            return error_prefix(err, "fill '%s'", path);
    }
    return 0;
}

int
self_test_make_disks(const struct self_test *test, struct error *err)
{
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (make_disk(test, i, err) < 0)
            return -1;
    }
    return 0;
}

/* -- its definition -------------------------------------------------------- */

static void
add_escaped(struct strbuf *xml, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            strbuf_adds(xml, "&amp;");
            break;
        case '<':
            strbuf_adds(xml, "&lt;");
            break;
        case '\'':
            strbuf_adds(xml, "&apos;");
            break;
        default:
            strbuf_addc(xml, *text);
        }
    }
}

static void
add_disk(const struct self_test *test, size_t disk, struct strbuf *xml)
{
    AUTO_FREE char *path = self_test_disk_path(test, disk);

    strbuf_addf(xml,
                "<disk type='file' device='disk'>"
                "<driver name='qemu' type='%s' cache='writethrough'/>"
                "<source file='",
                disk == 0 ? "raw" : "qcow2");
    add_escaped(xml, path);
    /* SeaBIOS leaves out disks that have no place in the boot order. */
    strbuf_addf(xml,
                "'/><target dev='%s' bus='virtio'/><boot order='%zu'/></disk>",
                self_test_targets[disk], disk + 1);
}

char *
self_test_xml(const struct self_test *test, bool kvm)
{
    struct strbuf xml = STRBUF_INIT;

    strbuf_addf(&xml,
                "<domain type='%s'><name>%s</name><uuid>%s</uuid>"
                "<title>varve doctor --self-test</title>"
                "<description>Made by varve to try this host; it removes it "
                "again.</description>"
                "<memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                "<os><type arch='x86_64'>hvm</type></os>"
                "<features><acpi/></features>"
                "<on_poweroff>destroy</on_poweroff>"
                "<on_reboot>destroy</on_reboot>"
                "<on_crash>destroy</on_crash><devices>",
                kvm ? "kvm" : "qemu", test->name, test->uuid);
    for (size_t i = 0; i < SELF_TEST_DISKS; i++)
        add_disk(test, i, &xml);
    strbuf_adds(&xml, "<memballoon model='none'/></devices></domain>");
    return strbuf_take(&xml);
}

/* -- what it wrote --------------------------------------------------------- */

struct image_ref *
self_test_chain(const struct self_test *test, size_t disk,
                struct tree **ret_tree, size_t *ret_count, struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    struct image_ref *refs = NULL;

    if (tree_read(test->state, test->vm_id, &tree, err) < 0)
        return NULL;
    for (size_t i = 0; i < tree->count && refs == NULL; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        if (strcmp(volume->row.target, self_test_targets[disk]) == 0 &&
            volume->row.layer_id != 0)
            refs = tree_refs(volume, volume->row.layer_id, ret_count);
    }
    if (refs == NULL)
        (void)error_set(err, ERROR_INTERNAL, "disk '%s' is not on record",
                        self_test_targets[disk]);
    else
        *ret_tree = steal(&tree);
    return refs;
}

static struct blockdev *
open_disk(const struct self_test *test, size_t disk, bool live,
          struct error *err)
{
    AUTO_FREE char *path = self_test_disk_path(test, disk);
    AUTO_TREE struct tree *tree = NULL;
    AUTO_FREE struct image_ref *refs = NULL;
    struct image_ref first = first_ref(path, disk);
    unsigned flags = live ? BLOCKDEV_LIVE : 0;
    size_t count;

    if (!test->is_managed)
        return blockdev_open_chain(&first, 1, flags, err);
    refs = self_test_chain(test, disk, &tree, &count, err);
    return refs != NULL ? blockdev_open_chain(refs, count, flags, err) : NULL;
}

static int
read_mark(const struct self_test *test, size_t disk, bool live,
          uint32_t *ret_count, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *device = open_disk(test, disk, live, err);
    uint8_t sector[SECTOR];

    if (device == NULL ||
        blockdev_read(device, sector, sizeof(sector), MARK_OFFSET, err) < 0)
        return -1;
    if (memcmp(sector, magic, sizeof(magic)) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "disk '%s' does not hold what the guest writes at "
                         "%llu",
                         self_test_targets[disk],
                         (unsigned long long)MARK_OFFSET);
    *ret_count = (uint32_t)sector[MARK_COUNT] |
                 (uint32_t)sector[MARK_COUNT + 1] << 8 |
                 (uint32_t)sector[MARK_COUNT + 2] << 16 |
                 (uint32_t)sector[MARK_COUNT + 3] << 24;
    return 0;
}

int
self_test_read_marks(const struct self_test *test, bool live,
                     struct self_test_marks *ret_marks, struct error *err)
{
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (read_mark(test, i, live, &ret_marks->count[i], err) < 0)
            return -1;
    }
    return 0;
}

static bool
is_past(const struct self_test_marks *marks, const struct self_test_marks *from)
{
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (marks->count[i] <= from->count[i])
            return false;
    }
    return true;
}

/* Nothing tells of a guest's writes, so the files are looked at again and
 * again; what is read while QEMU changes them may be torn. */
int
self_test_wait(const struct self_test *test, const struct self_test_marks *from,
               int64_t timeout_ms, struct self_test_marks *ret_marks,
               struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    struct error torn = ERROR_INIT;
    struct lock lock;
    struct signal never;
    bool found = false;

    lock_init(&lock);
    signal_init(&never);
    lock_take(&lock);
    while (!found && clock_monotonic_ms() < deadline_ms &&
           !job_must_end(test->job)) {
        (void)signal_wait_until(&never, &lock, clock_monotonic_ms() + POLL_MS);
        found = self_test_read_marks(test, true, ret_marks, &torn) == 0 &&
                is_past(ret_marks, from);
    }
    lock_give(&lock);
    signal_release(&never);
    lock_release(&lock);
    if (found)
        return 0;
    if (job_must_end(test->job))
        return error_set(err, ERROR_CANCELLED, "cancelled, or varved ends");
    return error_set(err, ERROR_TIMEOUT,
                     "the guest has not written to its disks within %lld "
                     "seconds%s%s",
                     (long long)(timeout_ms / 1000),
                     torn.message[0] != '\0' ? ": " : "", torn.message);
}

/* -- whether it is as it was ----------------------------------------------- */

static int
check_disk(const struct self_test *test, size_t disk, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *device = open_disk(test, disk, false, err);
    AUTO_FREE uint8_t *want = xmalloc(BLOCK);
    AUTO_FREE uint8_t *have = xmalloc(BLOCK);

    if (device == NULL)
        return -1;
    if (blockdev_size(device) != DISK_SIZE)
        return error_set(
            err, ERROR_CORRUPT, "disk '%s' has %llu bytes instead of %llu",
            self_test_targets[disk], (unsigned long long)blockdev_size(device),
            (unsigned long long)DISK_SIZE);
    for (uint64_t block = 0; block < DISK_SIZE / BLOCK; block++) {
        fill_block(disk, block, want);
        if (blockdev_read(device, have, BLOCK, block * BLOCK, err) < 0)
            return -1;
        if (block == MARK_OFFSET / BLOCK)
            memcpy(have + MARK_OFFSET % BLOCK, want + MARK_OFFSET % BLOCK,
                   SECTOR);
        if (memcmp(want, have, BLOCK) != 0)
            return error_set(err, ERROR_CORRUPT,
                             "disk '%s' differs from what was written there, "
                             "within 64 KiB from %llu",
                             self_test_targets[disk],
                             (unsigned long long)(block * BLOCK));
    }
    return 0;
}

int
self_test_check_content(const struct self_test *test, struct error *err)
{
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (check_disk(test, i, err) < 0)
            return -1;
    }
    return 0;
}
