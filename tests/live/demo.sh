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
SINCE=0          # when the last step began, or the last thing was done
declare -A FILES # by name of a point: the guest's listing then

# step TEXT: begin one.
step() {
    STEP=$((STEP + 1))
    printf '\n== %d. %s\n' "$STEP" "$1"
    SINCE=$(now_ms)
}

# did TEXT: what has happened, and how long it took.
did() {
    printf '   %-58s %6d ms\n' "$1" $(($(now_ms) - SINCE))
    SINCE=$(now_ms)
}

# say TEXT: lines, set in.
say() {
    printf '%s\n' "$1" | sed 's/^/   /'
}

give_up() {
    printf '\nNOT AS IT SHOULD BE: %s\n' "$*"
    if [ -s "${VARVED_LOG:-}" ]; then
        echo "the end of varved's log:"
        tail -n 20 "$VARVED_LOG"
    fi
    exit 1
}

# run TEXT VARVE-ARGUMENT...: a command of varve, shown, that does TEXT.
run() {
    local text=$1 output

    shift
    say "\$ varve $*"
    SINCE=$(now_ms)
    output=$(varve "$@" 2>&1) || give_up "$output"
    did "$text"
}

# show VARVE-ARGUMENT...: a command of varve, and what it prints.
show() {
    say "\$ varve $*"
    varve "$@" | sed 's/^/   | /'
    SINCE=$(now_ms)
}

# in_guest TEXT COMMAND...: what happens in the guest.
in_guest() {
    local text=$1

    shift
    "$@" || give_up "$text"
    did "in the guest: $text"
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
    awk -v bytes="$1" 'BEGIN {printf "%.1f MiB", bytes / 1048576}'
}

backup() {
    local read changed size type

    FILES[$1]=$(gls web)
    run "backup '$1'" backup create web "$1"
    read -r type read changed size < <(varve backup show "$1" --json |
        jq -r '.[0] | "\(.type) \(.bytesread) \(.byteschanged) \(.size)"')
    say "$type: $(mib "$read") read, $(mib "$changed") changed, $(
        mib "$size") stored"
    SINCE=$(now_ms)
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
    in_guest "2 MiB written" gput web /mnt/vda/report 1 2048
    in_guest "6 MiB written" gput web /mnt/vdb/photos 2 6144
    FILES[start]=$(gls web)
    expect "${FILES[start]}"
}

snapshot_and_backups() {
    step "A snapshot of the running guest, its file systems frozen"
    run "the guest is thawed again" \
        snapshot create web before-upgrade --quiesce
    views_agree web || give_up "views of the chain differ"
    did "QEMU, both definitions and the images' headers agree"

    step "A full and two incremental backups, while it runs"
    run "a kind of backup" offering create daily
    run "for this guest" offering assign web daily
    backup monday
    in_guest "1 MiB written" gput web /mnt/vda/letters 3 1024
    backup tuesday
    in_guest "3 MiB written" gput web /mnt/vdb/music 4 3072
    in_guest "a file deleted" grm web /mnt/vda/report
    backup wednesday
    show backup list web
}

accident_and_revert() {
    step "An accident: files deleted in the guest; back to the snapshot"
    in_guest "files deleted" grm web /mnt/vda/letters /mnt/vdb/photos
    say "$(gls web)"
    run "stopped" vm stop web
    run "reverted" snapshot revert before-upgrade --yes
    show snapshot tree web
    run "started" vm start web
    vm_wait_agent web || give_up "the guest does not boot"
    did "booted"
    expect "${FILES[start]}"
}

is_merging() {
    local at total

    read -r at total < <(job_progress "$1")
    [ "$at" -gt 0 ] && [ "$at" -lt "$total" ]
}

is_settled() {
    [[ "$(snapshots web)" != *before-load* ]] && [ "$(held_machines)" = 0 ]
}

killed_in_merge() {
    local job files at

    step "varved is killed in the middle of a merge"
    run "another snapshot" snapshot create web before-load
    in_guest "96 MiB written" gput web /mnt/vda/bulk 5 98304
    files=$(gls web)
    throttle_merges web vda 8
    run "its merge has begun" snapshot delete before-load --yes --no-wait
    job=$(api listAsyncJobs | jq -r '.asyncjobs[0].jobid')
    until_true 20 is_merging "$job" || give_up "no merge is seen"
    read -r -a at < <(job_progress "$job")
    varved_kill9
    did "kill -9 varved, at $(mib "${at[0]}") of $(mib "${at[1]}")"
    unthrottle_merges web vda
    varved_start || give_up "varved does not start"
    until_true 30 is_settled || give_up "it does not settle"
    did "varved is started again, and has settled it"
    views_agree web || give_up "views of the chain differ"
    [ "$(gls web)" = "$files" ] || give_up "the guest's files differ"
    did "the guest has noticed nothing; its files are right"
    show snapshot list web
    run "the first snapshot is deleted too" snapshot delete before-upgrade --yes
}

restores() {
    local name

    for name in monday tuesday wednesday; do
        step "Back to '$name'"
        run "stopped" vm stop web
        run "restored into new files, proved, swapped in" \
            backup restore "$name" --yes
        run "started" vm start web
        vm_wait_agent web || give_up "the guest does not boot"
        did "booted"
        expect "${FILES[$name]}"
    done
    show status
}

look_around() {
    printf '\nAll as it should be, in %d s.  To look around:\n\n' \
        $((($(now_ms) - DEMO_STARTED) / 1000))
    cat <<TEXT
   export VARVE_SOCKET=$VARVE_SOCKET
   $VARVE_CLI status
   $VARVE_CLI backup list
   virsh -c '$LIBVIRT_DEFAULT_URI' list
   curl --unix-socket \$VARVE_SOCKET \\
       'http://localhost/client/api?command=listBackups&response=json'
   less $VARVED_LOG
   find $VARVE_REPOSITORY

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
