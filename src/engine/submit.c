/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/submit.h"

#include "engine/accounts.h"
#include "engine/job.h"

static int
insert(struct state_tx *tx, const struct caller *caller,
       const struct submit *submit, struct ticket *ret_ticket,
       struct error *err)
{
    const struct state_vm *vm = submit->vm;
    struct job_new job = {.command = submit->command,
                          .queue = submit->queue,
                          .caller = caller,
                          .parameters = submit->parameters,
                          .instance_type = submit->type,
                          .instance_uuid = submit->uuid};
    int result;

    if (vm != NULL && vm->id != 0) {
        if (job.parameters == NULL)
            job.parameters = json_object();
        (void)json_object_set_new(job.parameters, "vm", json_integer(vm->id));
        job.queue = vm->uuid;
        if (submit->type == NULL) {
            job.instance_type = "VirtualMachine";
            job.instance_uuid = vm->uuid;
        }
    }
    result = job_insert(tx, &job, ret_ticket, err);
    json_decref(job.parameters);
    return result;
}

int
submit_job(struct engine *engine, struct state_tx *tx,
           const struct caller *caller, const struct submit *submit,
           struct ticket *ret_ticket, struct error *err)
{
    if (insert(tx, caller, submit, ret_ticket, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

int
submit_as_root(struct state_tx *tx, const struct submit *submit,
               struct error *err)
{
    struct caller root = {.role = ROLE_ROOT_ADMIN};
    struct ticket ticket;
    int found = accounts_root(tx, &root, err);

    if (found <= 0) {
        json_decref(submit->parameters);
        return found;
    }
    return insert(tx, &root, submit, &ticket, err);
}
