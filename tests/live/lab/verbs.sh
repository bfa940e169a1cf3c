# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# verbs.sh -- the product's commands as the tests speak of them.  Each takes
# names of machines and ids of points, and prints an id or a value.

# vm_id NAME: the machine's id; varved may need a moment to have seen it.
vm_id() {
    until_true 10 vm_is_listed "$1" || return 1
    api listVirtualMachines name="$1" listall=true |
        jq -r --arg name "$1" \
            '[.virtualmachine[] | select(.name == $name)][0].id'
}

vm_is_listed() {
    api listVirtualMachines name="$1" listall=true |
        jq -e --arg name "$1" \
            'any(.virtualmachine[]?; .name == $name)' >/dev/null
}

# snapshot_create VM NAME [PARAMETER=VALUE...]: prints its id; on failure the
# error.
snapshot_create() {
    local vm=$1 name=$2 result

    shift 2
    result=$(api_job createVMSnapshot virtualmachineid="$(vm_id "$vm")" \
        name="$name" "$@") || {
        printf '%s\n' "$result"
        return 1
    }
    jq -er .vmsnapshot.id <<<"$result"
}

snapshot_delete() {
    api_job deleteVMSnapshot vmsnapshotid="$1"
}

# snapshot_revert ID: when it is done, and tidied.
snapshot_revert() {
    api_job revertToVMSnapshot vmsnapshotid="$1" && tidied
}

# tidied: wait for the jobs that merge what operations left, which these do
# not wait for.
tidied() {
    until_true "$API_WAIT" nothing_is_tidied
}

nothing_is_tidied() {
    api listAsyncJobs listall=true |
        jq -e 'all(.asyncjobs[]?; .cmd != "settleVirtualMachine")' >/dev/null
}

# snapshots VM: the display names of the listed ones, sorted, on one line.
snapshots() {
    api listVMSnapshot virtualmachineid="$(vm_id "$1")" |
        jq -r '[.vmSnapshot[]?.displayname] | sort | join(" ")'
}

# snapshot_field ID FIELD: of one listed snapshot; empty when it is not there.
snapshot_field() {
    api listVMSnapshot vmsnapshotid="$1" |
        jq -r --arg field "$2" '.vmSnapshot[0][$field] // "" | tostring'
}

# current_snapshot VM: the display name of the one that is current.
current_snapshot() {
    api listVMSnapshot virtualmachineid="$(vm_id "$1")" |
        jq -r '[.vmSnapshot[]? | select(.current) | .displayname] | join(" ")'
}

# setting NAME VALUE
setting() {
    api updateConfiguration name="$1" value="$2" >/dev/null
}

zone_id() {
    api listZones | jq -r '.zone[0].id'
}

# native_offering NAME [PARAMETER=VALUE...]: prints the native offering's id.
native_offering() {
    local name=$1

    shift
    api createNativeBackupOffering name="$name" "$@" |
        jq -er .nativebackupoffering.id
}

# import_offering NAME NATIVE: prints the backup offering's id.
import_offering() {
    api_job importBackupOffering name="$1" description="$1" externalid="$2" \
        zoneid="$(zone_id)" allowuserdrivenbackups=true |
        jq -er .backupoffering.id
}

# offering_assign VM OFFERING; offering_remove VM
offering_assign() {
    api_job assignVirtualMachineToBackupOffering \
        virtualmachineid="$(vm_id "$1")" backupofferingid="$2" >/dev/null
}

offering_remove() {
    api_job removeVirtualMachineFromBackupOffering \
        virtualmachineid="$(vm_id "$1")" "${@:2}"
}

# backup_create VM NAME [PARAMETER=VALUE...]: prints its id, when it is done,
# and tidied.
backup_create() {
    local vm=$1 name=$2 reply result

    shift 2
    reply=$(api createBackup virtualmachineid="$(vm_id "$vm")" name="$name" \
        "$@") || {
        printf '%s\n' "$reply"
        return 1
    }
    result=$(job_wait "$(jq -r .jobid <<<"$reply")") || {
        printf '%s\n' "$result"
        return 1
    }
    tidied
    jq -er .id <<<"$reply"
}

backup_delete() {
    api_job deleteBackup id="$1"
}

# backup_restore ID: the whole machine; when it is done, and tidied.
backup_restore() {
    api_job restoreBackup id="$1" && tidied
}

# backups VM: the names of the listed ones, sorted, on one line.
backups() {
    api listBackups virtualmachineid="$(vm_id "$1")" |
        jq -r '[.backup[]?.name] | sort | join(" ")'
}

backup_field() {
    api listBackups id="$1" |
        jq -r --arg field "$2" '.backup[0][$field] // "" | tostring'
}

# backup_file ID DEVICE-ID: the file in the repository that holds that volume
# at that point: backups/<account>/<volume>/<point>.qcow2.
backup_file() {
    local volume file

    volume=$(backup_field "$1" volumes | jq -r --argjson device "$2" \
        '.[] | select(.deviceId == $device) | .uuid')
    file=$(find "$VARVE_REPOSITORY/backups" -name "$1.qcow2" \
        -path "*/${volume:-?}/*")
    [ -n "$file" ] || trouble "no file of device $2 at backup '$1'"
    echo "$file"
}

# backup_list ID DEVICES: what a restore of it must give, read from the
# repository's files by qemu-img alone.
backup_list() {
    local i

    for ((i = 0; i < $2; i++)); do
        image_list "$(backup_file "$1" "$i")" "/mnt/vd$(disk_letter "$i")" ||
            return 1
    done
}

# repository_files: how many images it holds.
repository_files() {
    find "$VARVE_REPOSITORY" -name '*.qcow2' | wc -l
}
