/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NBD export.
 *
 * A connection does one thing at a time.  Where the server says that several
 * connections see the same (read-only exports of QEMU do), up to
 * CONNECTIONS_MAX are made as readers need them; otherwise readers take
 * turns.  A connection that died is dropped, and the next reader makes a new
 * one.
 *
 * The server's answer about zeros covers more than was asked for, usually
 * everything; it is kept, so that walking the map costs one request for each
 * gigabyte and not one for each range.  An export that is read for a backup
 * does not change while it is open.
 */
#include "image/blockdev_internal.h"

#include "base/lock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/vec.h"
#include "image/image_file.h"
#include "image/nbd_client.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_MAX 4u

/* What is asked of the server's map at once. */
#define STATUS_SPAN ((uint64_t)1 << 30)

struct clients VEC(struct nbd_client *);

struct nbd_device {
    struct blockdev common;
    char *uri; /* owned */
    struct nbd_client_facts facts;
    _Atomic uint64_t bytes_read;

    struct lock lock;
    struct signal changed; /* a connection became free, or was dropped */
    struct clients idle;   /* under lock; owned */
    unsigned connected;    /* under lock; idle and busy ones */
    uint64_t map_offset;   /* under lock; where `map` starts */
    struct nbd_client_extent *map; /* under lock; owned */
    size_t map_count;              /* under lock */
};

/* -- connections -------------------------------------------------------- */

/* An idle connection; NULL when the caller is to make one. */
static struct nbd_client *take_locked(struct nbd_device *nbd)
    REQUIRES(nbd->lock);
static bool find_locked(const struct nbd_device *nbd, uint64_t offset,
                        struct block_range *ret_range) REQUIRES(nbd->lock);

static struct nbd_client *
take_locked(struct nbd_device *nbd)
{
    unsigned most = nbd->facts.can_multi_conn ? CONNECTIONS_MAX : 1;

    while (nbd->idle.count == 0 && nbd->connected >= most)
        signal_wait(&nbd->changed, &nbd->lock);
    if (nbd->idle.count > 0)
        return nbd->idle.items[--nbd->idle.count];
    nbd->connected++;
    return NULL;
}

static void
give_client(struct nbd_device *nbd, struct nbd_client *client)
{
    bool is_dead = client == NULL || nbd_client_is_dead(client);

    lock_take(&nbd->lock);
    if (is_dead)
        nbd->connected--;
    else
        vec_push(&nbd->idle, client);
    signal_wake_one(&nbd->changed);
    lock_give(&nbd->lock);
    if (is_dead)
        nbd_client_free(client);
}

static struct nbd_client *
take_client(struct nbd_device *nbd, struct error *err)
{
    struct nbd_client_facts facts;
    struct nbd_client *client;

    lock_take(&nbd->lock);
    client = take_locked(nbd);
    lock_give(&nbd->lock);
    if (client != NULL)
        return client;
    client = nbd_client_connect(nbd->uri, &facts, err);
    if (client != NULL && (facts.size != nbd->facts.size ||
                           facts.alignment != nbd->facts.alignment ||
                           facts.has_status != nbd->facts.has_status)) {
        (void)error_set(err, ERROR_CONFLICT,
                        "the export of NBD server '%s' has changed", nbd->uri);
        nbd_client_free(client);
        client = NULL;
    }
    if (client == NULL)
        give_client(nbd, NULL);
    return client;
}

/* -- reading ------------------------------------------------------------ */

static int
read_aligned(struct nbd_device *nbd, struct nbd_client *client, char *buffer,
             size_t length, uint64_t offset, struct error *err)
{
    size_t part;

    for (size_t done = 0; done < length; done += part) {
        part = MIN(length - done, (size_t)nbd->facts.request_max);
        if (nbd_client_read(client, buffer + done, part, offset + done, err) <
            0)
            return -1;
    }
    (void)atomic_fetch_add_explicit(&nbd->bytes_read, length,
                                    memory_order_relaxed);
    return 0;
}

/* Through a buffer of whole blocks, for servers that insist on them. */
static int
read_unaligned(struct nbd_device *nbd, struct nbd_client *client, char *buffer,
               size_t length, uint64_t offset, struct error *err)
{
    uint64_t mask = (uint64_t)nbd->facts.alignment - 1;
    size_t capacity = MAX((size_t)nbd->facts.alignment, (size_t)1 << 20);
    AUTO_FREE char *blocks = xmalloc(capacity);
    size_t part;

    for (size_t done = 0; done < length; done += part) {
        uint64_t start = (offset + done) & ~mask;
        size_t skip = (size_t)(offset + done - start);
        size_t whole;

        part = MIN(length - done, capacity - skip);
        whole = (size_t)((skip + part + mask) & ~mask);
        if (start + whole > nbd->facts.size)
            whole = (size_t)(nbd->facts.size - start);
        if (read_aligned(nbd, client, blocks, whole, start, err) < 0)
            return -1;
        memcpy(buffer + done, blocks + skip, part);
    }
    return 0;
}

static int
nbd_read(struct blockdev *device, void *buffer, size_t length, uint64_t offset,
         struct error *err)
{
    struct nbd_device *nbd = (struct nbd_device *)device;
    uint64_t mask = (uint64_t)nbd->facts.alignment - 1;
    struct nbd_client *client = take_client(nbd, err);
    int result;

    if (client == NULL)
        return -1;
    if (((offset | length) & mask) == 0)
        result = read_aligned(nbd, client, buffer, length, offset, err);
    else
        result = read_unaligned(nbd, client, buffer, length, offset, err);
    give_client(nbd, client);
    return result;
}

/* -- the map ------------------------------------------------------------ */

/* The extent of the kept map that `offset` is in. */
static bool
find_locked(const struct nbd_device *nbd, uint64_t offset,
            struct block_range *ret_range)
{
    size_t low = 0;
    size_t high = nbd->map_count;

    if (offset < nbd->map_offset)
        return false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (nbd->map[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == nbd->map_count)
        return false;
    *ret_range = (struct block_range){
        .offset = offset,
        .length = nbd->map[low].end - offset,
        .kind = nbd->map[low].is_zero ? BLOCK_ZERO : BLOCK_DATA};
    return true;
}

/* Ask the server, and keep the answer. */
static int
ask_map(struct nbd_device *nbd, uint64_t offset, struct error *err)
{
    uint64_t start = offset & ~((uint64_t)nbd->facts.alignment - 1);
    uint64_t length = MIN(nbd->facts.size - start, STATUS_SPAN);
    struct nbd_client *client = take_client(nbd, err);
    struct nbd_client_extent *extents = NULL;
    size_t count = 0;
    int result;

    if (client == NULL)
        return -1;
    result = nbd_client_status(client, start, length, &extents, &count, err);
    give_client(nbd, client);
    if (result < 0)
        return -1;
    if (extents[count - 1].end <= offset) {
        free(extents);
        return error_set(err, ERROR_CORRUPT,
                         "NBD server '%s' sent a map that cannot be", nbd->uri);
    }
    lock_take(&nbd->lock);
    free(nbd->map);
    nbd->map = extents;
    nbd->map_count = count;
    nbd->map_offset = start;
    lock_give(&nbd->lock);
    return 0;
}

static int
nbd_map(struct blockdev *device, uint64_t offset, struct block_range *ret_range,
        struct error *err)
{
    struct nbd_device *nbd = (struct nbd_device *)device;
    bool found = false;

    *ret_range = (struct block_range){
        .offset = offset, .length = device->size - offset, .kind = BLOCK_DATA};
    if (!nbd->facts.has_status)
        return 0;
    for (;;) {
        lock_take(&nbd->lock);
        found = find_locked(nbd, offset, ret_range);
        lock_give(&nbd->lock);
        if (found)
            return 0;
        /* Another reader may put its answer in place of ours: again then. */
        if (ask_map(nbd, offset, err) < 0)
            return -1;
    }
}

/* -- opening and closing ------------------------------------------------ */

static uint64_t
nbd_bytes_read(const struct blockdev *device)
{
    const struct nbd_device *nbd = (const struct nbd_device *)device;

    return atomic_load(&nbd->bytes_read);
}

static void
nbd_free(struct blockdev *device)
{
    struct nbd_device *nbd = (struct nbd_device *)device;

    vec_for (struct nbd_client **, client, &nbd->idle)
        nbd_client_free(*client);
    vec_release(&nbd->idle);
    signal_release(&nbd->changed);
    lock_release(&nbd->lock);
    free(nbd->map);
    free(nbd->uri);
    free(nbd);
}

static const struct blockdev_ops nbd_ops = {
    .read = nbd_read,
    .map = nbd_map,
    .bytes_read = nbd_bytes_read,
    .free = nbd_free,
};

/* The URI with its path (which is the export's name) replaced. */
static char *
name_export(const char *uri, const char *export_name)
{
    const char *host = strstr(uri, "://");
    const char *path = host != NULL ? host + 3 + strcspn(host + 3, "/?#") : uri;
    const char *query = path + strcspn(path, "?#");
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    if (host == NULL || export_name == NULL)
        return xstrdup(uri);
    strbuf_add(&text, uri, (size_t)(path - uri));
    strbuf_addc(&text, '/');
    for (const char *c = export_name; *c != '\0'; c++) {
        if (isalnum((unsigned char)*c) || strchr("-._~", *c) != NULL)
            strbuf_addc(&text, *c);
        else
            strbuf_addf(&text, "%%%02X", (unsigned char)*c);
    }
    strbuf_adds(&text, query);
    return strbuf_take(&text);
}

struct blockdev *
blockdev_open_nbd(const char *uri, const char *export_name, struct error *err)
{
    AUTO_FREE char *full = name_export(uri, export_name);
    struct nbd_client_facts facts;
    struct nbd_client *client = nbd_client_connect(full, &facts, err);
    struct nbd_device *nbd;

    if (client == NULL)
        return NULL;
    nbd = xcalloc(1, sizeof(*nbd));
    lock_init(&nbd->lock);
    signal_init(&nbd->changed);
    nbd->facts = facts;
    nbd->uri = steal(&full);
    nbd->connected = 1;
    vec_push(&nbd->idle, client);
    nbd->common = (struct blockdev){
        .ops = &nbd_ops, .size = facts.size, .name = nbd->uri};
    return &nbd->common;
}
