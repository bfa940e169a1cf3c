/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images of the fake's machines.  Backing names are read from the qcow2
 * header here, as QEMU would; writing, merging and rewriting names is done by
 * the test's callbacks, or else by QEMU's own tools.
 *
 * A file without the magic of qcow2 counts as raw.  The product never probes;
 * here only tests' own files are met.
 */
#include "hv/fake/fake_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 256
#define NAME_MAX_BYTES 1023

static int
read_header(const char *path, bool *ret_raw, char **ret_backing,
            struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct {
        char magic[4];
        uint32_t version;
        uint64_t backing_offset;
        uint32_t backing_size;
    } header;
    char name[NAME_MAX_BYTES + 1];
    size_t got;
    uint32_t size;

    *ret_backing = NULL;
    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (fd_pread_up_to(fd, &header, 20, 0, &got, path, err) < 0)
        return -1;
    *ret_raw = got < 20 || memcmp(header.magic, "QFI\xfb", 4) != 0;
    if (*ret_raw || header.backing_offset == 0)
        return 0;
    size = be32toh(header.backing_size);
    if (size > NAME_MAX_BYTES)
        return error_set(err, ERROR_CORRUPT, "'%s': backing name of %u bytes",
                         path, size);
    if (fd_pread(fd, name, size, be64toh(header.backing_offset), path, err) < 0)
        return -1;
    name[size] = '\0';
    *ret_backing = path_resolve_backing(path, name);
    return 0;
}

int
fake_image_backing(const char *path, char **ret_backing, struct error *err)
{
    bool raw;

    return read_header(path, &raw, ret_backing, err);
}

int
fake_image_chain(const char *top, struct fake_paths *ret_chain,
                 struct error *err)
{
    AUTO_FREE char *next = xstrdup(top);

    while (next != NULL) {
        char *backing = NULL;

        if (ret_chain->count == CHAIN_MAX)
            return error_set(err, ERROR_IO, "chain of '%s' does not end", top);
        if (fake_image_backing(next, &backing, err) < 0) {
            err->code = ERROR_IO;
            return -1;
        }
        vec_push(ret_chain, next);
        next = backing;
    }
    return 0;
}

static int
layer_of(const char *path, struct hv_fake_layer *ret_layer, struct error *err)
{
    AUTO_FREE char *backing = NULL;

    ret_layer->path = path;
    return read_header(path, &ret_layer->raw, &backing, err);
}

static const char *
format_of(const struct hv_fake_layer *layer)
{
    return layer->raw ? "raw" : "qcow2";
}

/* -- with QEMU's tools ----------------------------------------------------- */

static int
write_by_tool(const struct hv_fake_layer *top, const void *buffer,
              uint64_t offset, size_t length, struct error *err)
{
    AUTO_FREE char *pattern =
        xasprintf("%s.%ld.pattern", top->path, (long)getpid());
    AUTO_FREE char *command = xasprintf("write -q -s %s %llu %zu", pattern,
                                        (unsigned long long)offset, length);
    const char *const argv[] = {"qemu-io", "-f", format_of(top), "-c", command,
                                top->path, NULL};
    int fd = open(pattern, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int result;

    if (fd < 0)
        return error_set_errno(err, errno, "create '%s'", pattern);
    result = fd_pwrite(fd, buffer, length, 0, pattern, err);
    (void)close(fd);
    if (result == 0)
        result = spawn_run(argv, 60000, NULL, err);
    (void)unlink(pattern);
    return result;
}

static int
commit_by_tool(const char *top, const char *base, struct error *err)
{
    const char *const argv[] = {"qemu-img", "commit", "-q", "-d", "-f",
                                "qcow2",    "-b",     base, top,  NULL};

    return spawn_run(argv, 60000, NULL, err);
}

static int
rebase_by_tool(const char *path, const struct hv_fake_layer *base,
               struct error *err)
{
    const char *const argv[] = {"qemu-img", "rebase",        "-q", "-u",
                                "-f",       "qcow2",         "-b", base->path,
                                "-F",       format_of(base), path, NULL};

    return spawn_run(argv, 60000, NULL, err);
}

/* -- by callback, else by tool --------------------------------------------- */

int
fake_image_write(struct fake *fake, const struct fake_paths *chain,
                 const void *buffer, uint64_t offset, size_t length,
                 struct error *err)
{
    AUTO_FREE struct hv_fake_layer *layers =
        xcalloc(chain->count + 1, sizeof(*layers));

    for (size_t i = 0; i < chain->count; i++)
        if (layer_of(chain->items[i], &layers[i], err) < 0)
            return -1;
    if (fake->writer != NULL)
        return fake->writer(layers, chain->count, buffer, offset, length, err);
    return write_by_tool(&layers[0], buffer, offset, length, err);
}

int
fake_image_commit(struct fake *fake, const struct fake_paths *chain,
                  size_t from, size_t to, struct error *err)
{
    struct hv_fake_layer top;
    struct hv_fake_layer base;

    if (layer_of(chain->items[from], &top, err) < 0 ||
        layer_of(chain->items[to], &base, err) < 0)
        return -1;
    /* The callback merges neighbours only. */
    if (fake->committer != NULL && to == from + 1)
        return fake->committer(&top, &base, err);
    return commit_by_tool(top.path, base.path, err);
}

static int
resize_by_tool(const struct hv_fake_layer *top, uint64_t bytes,
               struct error *err)
{
    AUTO_FREE char *size = xasprintf("%llu", (unsigned long long)bytes);
    const char *const argv[] = {"qemu-img",     "resize",  "-q", "-f",
                                format_of(top), top->path, size, NULL};

    return spawn_run(argv, 60000, NULL, err);
}

int
fake_image_resize(struct fake *fake, const struct fake_paths *chain,
                  uint64_t bytes, struct error *err)
{
    AUTO_FREE struct hv_fake_layer *layers =
        xcalloc(chain->count + 1, sizeof(*layers));

    for (size_t i = 0; i < chain->count; i++)
        if (layer_of(chain->items[i], &layers[i], err) < 0)
            return -1;
    if (fake->resizer != NULL)
        return fake->resizer(layers, chain->count, bytes, err);
    return resize_by_tool(&layers[0], bytes, err);
}

int
fake_image_rebase(struct fake *fake, const char *path, const char *base,
                  struct error *err)
{
    struct hv_fake_layer layer;

    if (layer_of(base, &layer, err) < 0)
        return -1;
    if (fake->rebaser != NULL)
        return fake->rebaser(path, &layer, err);
    return rebase_by_tool(path, &layer, err);
}
