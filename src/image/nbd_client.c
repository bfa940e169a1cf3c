/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnbd's synchronous calls wait for ever; so each request is started
 * asynchronously and waited for by nbd_poll() with the time that is left.
 * When the time is up the handle is closed at once: only that makes sure that
 * the caller's buffer is not written to later.
 */
#include "image/nbd_client.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/vec.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>

/* More extents than that in one reply are left to the next. */
#define EXTENTS_MAX 65536u

struct nbd_client {
    struct nbd_handle *handle; /* owned; NULL once it is dead */
    char *uri;                 /* owned; for messages */
};

static int
set_nbd_error(const struct nbd_client *client, enum error_code code,
              const char *what, struct error *err)
{
    const char *text = nbd_get_error();

    return error_set(err, code, "%s '%s': %s", what, client->uri,
                     text != NULL ? text : "unknown error");
}

static void
drop(struct nbd_client *client)
{
    nbd_close(client->handle);
    client->handle = NULL;
}

/* Let the handle work until `deadline_ms`; what is NULL for connecting. */
static int
poll_until(struct nbd_client *client, int64_t deadline_ms, struct error *err)
{
    int64_t left = deadline_ms - clock_monotonic_ms();
    int ready = left > 0 ? nbd_poll(client->handle, (int)left) : 0;

    if (ready == 0) {
        drop(client);
        return error_set(err, ERROR_TIMEOUT,
                         "no answer from NBD server '%s' in %d s", client->uri,
                         NBD_CLIENT_TIMEOUT_MS / 1000);
    }
    if (ready < 0) {
        (void)set_nbd_error(client, ERROR_UNAVAILABLE, "lost NBD server", err);
        drop(client);
        return -1;
    }
    return 0;
}

/* -- connecting --------------------------------------------------------- */

static int
read_facts(struct nbd_client *client, struct nbd_client_facts *facts,
           struct error *err)
{
    struct nbd_handle *handle = client->handle;
    int64_t size = nbd_get_size(handle);
    int64_t alignment = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    int64_t most = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);

    if (size < 0)
        return set_nbd_error(client, ERROR_UNAVAILABLE, "ask the size of", err);
    if (alignment <= 0)
        alignment = 1;
    if (most <= 0 || most > NBD_CLIENT_REQUEST_MAX)
        most = NBD_CLIENT_REQUEST_MAX;
    if ((alignment & (alignment - 1)) != 0 || alignment > 65536 ||
        most < alignment)
        return error_set(err, ERROR_CORRUPT,
                         "NBD server '%s' wants blocks of %lld to %lld bytes",
                         client->uri, (long long)alignment, (long long)most);
    facts->size = (uint64_t)size;
    facts->alignment = (uint32_t)alignment;
    facts->request_max = (uint32_t)(most & ~(alignment - 1));
    facts->has_status =
        nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    facts->can_multi_conn = nbd_can_multi_conn(handle) == 1;
    return 0;
}

static int
handshake(struct nbd_client *client, struct error *err)
{
    struct nbd_handle *handle = client->handle;
    int64_t deadline_ms = clock_monotonic_ms() + NBD_CLIENT_TIMEOUT_MS;

    if (nbd_set_uri_allow_transports(handle, LIBNBD_ALLOW_TRANSPORT_TCP |
                                                 LIBNBD_ALLOW_TRANSPORT_UNIX) <
            0 ||
        nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
        return set_nbd_error(client, ERROR_INTERNAL, "prepare for", err);
    if (nbd_aio_connect_uri(handle, client->uri) < 0 ||
        fault_here("nbd.connect"))
        return set_nbd_error(client, ERROR_UNAVAILABLE, "connect to", err);
    while (nbd_aio_is_connecting(handle) == 1) {
        if (poll_until(client, deadline_ms, err) < 0)
            return -1;
    }
    if (nbd_aio_is_ready(handle) != 1)
        return set_nbd_error(client, ERROR_UNAVAILABLE, "connect to", err);
    return 0;
}

struct nbd_client *
nbd_client_connect(const char *uri, struct nbd_client_facts *ret_facts,
                   struct error *err)
{
    struct nbd_client *client = xcalloc(1, sizeof(*client));

    client->uri = xstrdup(uri);
    client->handle = nbd_create();
    if (client->handle == NULL) {
        (void)set_nbd_error(client, ERROR_INTERNAL, "prepare for", err);
    } else if (handshake(client, err) == 0 &&
               read_facts(client, ret_facts, err) == 0) {
        return client;
    }
    nbd_client_free(client);
    return NULL;
}

void
nbd_client_free(struct nbd_client *client)
{
    if (client == NULL)
        return;
    nbd_close(client->handle);
    free(client->uri);
    free(client);
}

bool
nbd_client_is_dead(const struct nbd_client *client)
{
    return client->handle == NULL || nbd_aio_is_ready(client->handle) != 1;
}

/* -- requests ----------------------------------------------------------- */

/* Wait for the request that nbd_aio_...() gave `cookie` for. */
static int
wait_for(struct nbd_client *client, int64_t cookie, const char *what,
         struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + NBD_CLIENT_TIMEOUT_MS;

    for (;;) {
        int done = cookie < 0 ? -1
                              : nbd_aio_command_completed(client->handle,
                                                          (uint64_t)cookie);

        if (done == 1)
            return 0;
        if (done < 0)
            return set_nbd_error(client, ERROR_IO, what, err);
        if (poll_until(client, deadline_ms, err) < 0)
            return -1;
    }
}

static int
check_alive(const struct nbd_client *client, struct error *err)
{
    if (client->handle == NULL || fault_here("nbd.request"))
        return error_set(err, ERROR_UNAVAILABLE, "lost NBD server '%s'",
                         client->uri);
    return 0;
}

int
nbd_client_read(struct nbd_client *client, void *buffer, size_t length,
                uint64_t offset, struct error *err)
{
    int64_t cookie;

    if (check_alive(client, err) < 0)
        return -1;
    cookie = nbd_aio_pread(client->handle, buffer, length, offset,
                           NBD_NULL_COMPLETION, 0);
    return wait_for(client, cookie, "read from", err);
}

struct status {
    struct nbd_client_extent *items; /* owned */
    size_t count;
    size_t capacity;
    uint64_t offset; /* where the request starts */
    bool is_wrong;
};

/* Keep the ranges of one reply; neighbours of one kind become one. */
static int
take_status(void *context, const char *name, uint64_t offset, uint32_t *entries,
            size_t count, int *error UNUSED)
{
    struct status *status = context;
    uint64_t end = offset;

    if (strcmp(name, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    status->is_wrong |= offset != status->offset || status->count > 0;
    for (size_t i = 0; i + 1 < count && status->count < EXTENTS_MAX; i += 2) {
        bool is_zero = entries[i + 1] & LIBNBD_STATE_ZERO;
        struct nbd_client_extent *last =
            status->count > 0 ? &status->items[status->count - 1] : NULL;

        status->is_wrong |= entries[i] == 0;
        end += entries[i];
        if (last != NULL && last->is_zero == is_zero)
            last->end = end;
        else
            vec_push(status, ((struct nbd_client_extent){.end = end,
                                                         .is_zero = is_zero}));
    }
    return 0;
}

int
nbd_client_status(struct nbd_client *client, uint64_t offset, uint64_t length,
                  struct nbd_client_extent **ret_extents, size_t *ret_count,
                  struct error *err)
{
    struct status status = {.offset = offset};
    nbd_extent_callback callback = {.callback = take_status,
                                    .user_data = &status};
    int64_t cookie;

    if (check_alive(client, err) < 0)
        return -1;
    cookie = nbd_aio_block_status(client->handle, length, offset, callback,
                                  NBD_NULL_COMPLETION, 0);
    if (wait_for(client, cookie, "ask for the map of", err) < 0) {
        vec_release(&status);
        return -1;
    }
    if (status.count == 0 || status.is_wrong) {
        vec_release(&status);
        return error_set(err, ERROR_CORRUPT,
                         "NBD server '%s' sent a map that cannot be",
                         client->uri);
    }
    *ret_extents = status.items;
    *ret_count = status.count;
    return 0;
}
