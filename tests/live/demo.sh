#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh [--keep] -- the main job on a real guest, told step by step.
#
# It starts a private libvirtd and varved, and ends them when it ends: on a
# terminal after Enter, otherwise at once.  With --keep they stay until the
# process that it names at the end is killed.
#
# Every listing comes from the guest itself, read from its disks.
keep=no
if [ "${1:-}" = --keep ]; then
    keep=yes
    setsid sleep infinity </dev/null >/dev/null 2>&1 &
    LAB_OWNER=$!
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lab/lab.sh"

DEMO_STARTED=$(now_ms)
STEP=0
STEP_STARTED=0

# step TEXT: begin one.
step() {
    STEP=$((STEP + 1))
    printf '\n== %d. %s\n' "$STEP" "$1"
    STEP_STARTED=$(now_ms)
}

# did TEXT: what has happened, and how long it took since the last did or step.
did() {
    local now

    now=$(now_ms)
    printf '   %-58s %5d ms\n' "$1" $((now - STEP_STARTED))
    STEP_STARTED=$(now_ms)
}

# say TEXT: lines, set in.
say() {
    printf '%s\n' "$1" | sed 's/^/   /'
}

# show VARVE-ARGUMENT...: one varve command and what it prints.
show() {
    say "\$ varve $*"
    varve "$@" | sed 's/^/   | /'
    STEP_STARTED=$(now_ms)
}

give_up() {
    printf '\nNOT AS IT SHOULD BE: %s\n' "$*"
    if [ -s "${VARVED_LOG:-}" ]; then
        echo "the end of varved's log:"
        tail -n 20 "$VARVED_LOG"
    fi
    exit 1
}

# expect WANTED: the guest lists this; it is shown.
expect() {
    local found

    found=$(gls web)
    say "$found"
    [ "$found" = "$1" ] || give_up "the guest should list:"$'\n'"$1"
    did "the guest lists exactly these files"
}

mib() {
    if [ "$1" = '?' ]; then
        echo '?'
    else
        awk -v bytes="$1" 'BEGIN {printf "%.1f", bytes / 1048576}'
    fi
}

declare -A BACKUP FILES

backup() {
    local bytes

    BACKUP[$1]=$(backup_create web "$1") || give_up "${BACKUP[$1]}"
    FILES[$1]=$(gls web)
    did "backup $1, $(backup_field "${BACKUP[$1]}" type)"
    read -r -a bytes < <(backup_bytes "${BACKUP[$1]}")
    say "MiB: $(mib "${bytes[0]}") read, $(mib "${bytes[1]}") changed, $(
        mib "${bytes[2]}") stored"
    STEP_STARTED=$(now_ms)
}

snapshot_is_gone() {
    [ -z "$(snapshots web)" ] && [ "$(held_machines)" = 0 ]
}

host_and_guest() {
    step "A host of our own: libvirtd, a guest with two disks, varved"
    lab_up
    did "private libvirtd"
    lab_vm web 2 256M || give_up "the guest is not defined"
    vm_start web || give_up "the guest does not start"
    did "guest 'web' has booted, its agent answers"
    varved_start || give_up "varved does not start"
    vm_id web >/dev/null || give_up "varved does not find the guest"
    did "varved has found it; nothing of it was changed"
    show vm list
    gput web /mnt/vda/report 1 2048
    gput web /mnt/vdb/photos 2 6144
    FILES[start]=$(gls web)
    did "files written in the guest"
    say "${FILES[start]}"
}

snapshot_and_backups() {
    local offering

    step "A snapshot of the running guest, its file systems frozen"
    SNAPSHOT=$(snapshot_create web before-upgrade quiescevm=true) ||
        give_up "$SNAPSHOT"
    did "snapshot 'before-upgrade'"
    views_agree web || give_up "views of the chain differ"
    did "QEMU, both definitions and the headers agree"
    show snapshot tree web

    step "A full and two incremental backups, while it runs"
    offering=$(import_offering daily "$(native_offering daily)") ||
        give_up "no backup offering"
    offering_assign web "$offering" || give_up "offering not assigned"
    did "backup offering 'daily'"
    backup monday
    gput web /mnt/vda/letters 3 1024
    did "1 MiB written in the guest"
    backup tuesday
    gput web /mnt/vdb/music 4 3072
    grm web /mnt/vda/report
    did "3 MiB written, one file deleted"
    backup wednesday
    show backup list web
}

accident_and_revert() {
    step "An accident: files deleted in the guest; back to the snapshot"
    grm web '/mnt/vda/*' '/mnt/vdb/photos' 2>/dev/null
    say "$(gls web)"
    did "this is left"
    vm_stop web || give_up "the guest does not stop"
    did "guest stopped"
    snapshot_revert "$SNAPSHOT" >/dev/null || give_up "revert failed"
    did "reverted to 'before-upgrade'"
    vm_start web || give_up "the guest does not start"
    did "guest started"
    expect "${FILES[start]}"
}

killed_in_merge() {
    local job at

    step "varved is killed in the middle of a merge"
    gput web /mnt/vda/bulk 5 98304
    FILES[bulk]=$(gls web)
    did "96 MiB written in the guest"
    throttle_merges web vda 8
    job=$(job_start deleteVMSnapshot vmsnapshotid="$SNAPSHOT") ||
        give_up "deletion is not started"
    until_true 10 is_merging "$job" || give_up "no merge was seen"
    read -r -a at < <(job_progress "$job")
    varved_kill9
    did "deleting the snapshot; killed at $(mib "${at[0]}") of $(
        mib "${at[1]}") MiB"
    unthrottle_merges web vda
    varved_start || give_up "varved does not start"
    until_true 30 snapshot_is_gone || give_up "it does not settle"
    did "varved started again: the merge is settled"
    views_agree web || give_up "views of the chain differ"
    [ "$(gls web)" = "${FILES[bulk]}" ] || give_up "the guest's files differ"
    did "the guest never noticed"
    show snapshot list web
}

is_merging() {
    local at total

    read -r at total < <(job_progress "$1")
    [ "$at" -gt 0 ] && [ "$at" -lt "$total" ]
}

restores() {
    local name

    for name in monday tuesday wednesday; do
        step "Restore of '$name'"
        vm_stop web || give_up "the guest does not stop"
        did "guest stopped"
        backup_restore "${BACKUP[$name]}" >/dev/null || give_up "it failed"
        did "restored into new files, proved, swapped in"
        vm_start web || give_up "the guest does not start"
        did "guest started"
        expect "${FILES[$name]}"
    done
    show status
}

look_around() {
    printf '\nAll as it should be, in %d s.  To look around:\n\n' \
        $((($(now_ms) - DEMO_STARTED) / 1000))
    cat <<TEXT
   $VARVE_CLI --socket $VARVE_SOCKET status
   virsh -c '$LIBVIRT_DEFAULT_URI' list
   curl --unix-socket $VARVE_SOCKET \\
       'http://localhost/client/api?command=listBackups&response=json'
   less $VARVED_LOG
   ls -R $VARVE_REPOSITORY

TEXT
    if [ $keep = yes ]; then
        echo "To stop it: kill $LAB_OWNER; then: rm -r $LAB"
        trap - EXIT
    elif [ -t 0 ]; then
        read -r -p "Press Enter to stop it: "
    fi
}

host_and_guest
snapshot_and_backups
accident_and_revert
killed_in_merge
restores
look_around
