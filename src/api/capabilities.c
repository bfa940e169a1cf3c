/* SPDX-License-Identifier: Apache-2.0 */
#include "api/call.h"
#include "api/object.h"
#include "engine/settings.h"

int
capabilities_list(struct call *call, json_t *body, struct error *err)
{
    struct state *state = engine_state(call->engine);
    int64_t page_size;
    bool snapshots;
    json_t *object;

    if (settings_get_int(state, "default.page.size", NULL, &page_size, err) <
            0 ||
        settings_get_bool(state, "kvm.snapshot.enabled", NULL, &snapshots,
                          err) < 0)
        return -1;
    object = object_new();
    object_set_text(object, "cloudstackversion", "4.22.0.0");
    object_set_text(object, "varveversion", call->api->version);
    object_set_bool(object, "securitygroupsenabled", false);
    object_set_bool(object, "dynamicrolesenabled", false);
    object_set_text(object, "supportELB", "false");
    object_set_bool(object, "projectinviterequired", false);
    object_set_bool(object, "allowusercreateprojects", false);
    object_set_bool(object, "userpublictemplateenabled", false);
    object_set_bool(object, "regionsecondaryenabled", false);
    object_set_bool(object, "allowuserviewdestroyedvm", false);
    object_set_bool(object, "allowuserexpungerecovervm", false);
    object_set_bool(object, "kvmsnapshotenabled", snapshots);
    object_set_number(object, "defaultuipagesize", page_size);
    object_set(body, "capability", object);
    return 0;
}
