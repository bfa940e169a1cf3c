/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each command's job runs.
 */
#include "engine/backup.h"
#include "engine/job.h"
#include "engine/machine.h"
#include "engine/offering.h"
#include "engine/repository.h"
#include "engine/scrub.h"
#include "engine/self_test.h"
#include "engine/snapshot.h"
#include "engine/space.h"
#include "engine/vm_snapshot.h"
#include "engine/volume.h"

#include <string.h>

static const struct job_kind kinds[] = {
    {"startVirtualMachine", machine_run_start},
    {"stopVirtualMachine", machine_run_stop},
    {"rebootVirtualMachine", machine_run_reboot},
    {"destroyVirtualMachine", machine_run_destroy},
    {"scaleVirtualMachine", machine_run_scale},
    {"settleVirtualMachine", machine_run_settle},
    {"releaseVirtualMachine", machine_run_release},
    {"createVolume", volume_run_create},
    {"attachVolume", volume_run_attach},
    {"detachVolume", volume_run_detach},
    {"resizeVolume", volume_run_resize},
    {"deleteVolume", volume_run_delete},
    {"createSnapshot", snapshot_run_create},
    {"deleteSnapshot", snapshot_run_delete},
    {"createVMSnapshot", vm_snapshot_run_create},
    {"revertToVMSnapshot", vm_snapshot_run_revert},
    {"deleteVMSnapshot", vm_snapshot_run_delete},
    {"endBackupChain", space_run_relief},
    {"importBackupOffering", offering_run_import},
    {"assignVirtualMachineToBackupOffering", offering_run_assign},
    {"removeVirtualMachineFromBackupOffering", offering_run_remove},
    {"createBackup", backup_run_create},
    {"deleteBackup", backup_run_delete},
    {"restoreBackup", backup_run_restore},
    {"verifyBackup", backup_run_verify},
    {"foldBackup", backup_run_fold},
    {"scrubImageStore", scrub_run},
    {"settleImageStore", repository_run_settle},
    {"selfTest", self_test_run},
    {"removeSelfTest", self_test_run_removal},
};

const struct job_kind *
job_kind_find(const char *command)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].command, command) == 0)
            return &kinds[i];
    }
    return NULL;
}
