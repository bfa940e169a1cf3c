/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What consoles and libraries of the CloudStack world ask for before they do
 * anything else, and of which we have none.
 */
#include "api/call.h"
#include "api/listing.h"
#include "api/object.h"

int
empty_list(struct call *call, struct listing *listing, struct error *err)
{
    (void)call;
    (void)listing;
    (void)err;
    return 0;
}

int
empty_cloudian(struct call *call, json_t *body, struct error *err)
{
    json_t *object = object_new();

    (void)call;
    (void)err;
    object_set_bool(object, "enabled", false);
    object_set(body, "cloudianisenabled", object);
    return 0;
}
