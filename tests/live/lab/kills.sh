# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# kills.sh -- a guest called "vm" that writes, snapshots s1 and s2 of it, and
# what must be true of them whoever was killed.  For tests that kill; source it
# after lab.sh.

: "${lab_top:?source lab.sh}"
SEED=0
LEDGER=0            # its last number that was seen
declare -A ID FILES # by the name of a snapshot; FILES[now] is the guest's
DOUBTS=0            # times that nothing proved which file was written last
LAST= # what was done last, for messages

# kills_stride N: without VARVE_TEST_STRIDE=M and VARVE_TEST_ALL=1 every N-th
# step is tried.
kills_stride() {
    STRIDE=${VARVE_TEST_STRIDE:-$1}
    [ "${VARVE_TEST_ALL:-0}" != 1 ] || STRIDE=1
}

# every N-th of a list of points, from the one at OFFSET.
some() {
    awk -v stride="$STRIDE" -v offset="$2" \
        'NR % stride == offset % stride' "$1"
}

# -- the guest --------------------------------------------------------------

# static_files NAME: what the tests write, without the ledger.
static_files() {
    vm_files "$1" | grep -v /ledger
}

begin_writing() {
    gx vm 'guest-tool ledger /mnt/vda/ledger 4 >/run/ledger.log 2>&1 &'
}

# put PATH: one more small file.
put() {
    SEED=$((SEED + 1))
    gput vm "$1" $SEED 32
    FILES[now]=$(static_files vm)
}

start_guest() {
    vm_start vm && begin_writing
}

# ledger_goes_on: nothing of it is lost, and the guest still writes.
ledger_goes_on() {
    local last

    last=$(gx vm 'guest-tool ledger-check /mnt/vda/ledger' 2>&1) || {
        # A record may be half written at this moment.
        last=$(gx vm 'guest-tool ledger-check /mnt/vda/ledger' 2>&1) || {
            failed "ledger: $last"
            return
        }
    }
    at_least "ledger" "$LEDGER" "$last"
    LEDGER=$last
}

# -- varved ------------------------------------------------------------------

# points_of OPERATION...: the steps of this undisturbed operation, each as
# "name:n", the n-th pass of that point since varved began.  The database's own
# and the opening of images are left out: what only asks passes them too.
points_of() {
    local begun from

    varved_stop
    begun=$(wc -l <"$VARVED_LOG")
    varved_start VARVE_FAULT='*:count' VARVE_DEBUG=fault || return
    until_true 10 is_quiet
    from=$(wc -l <"$VARVED_LOG")
    if ! "$@" >"$LAB/tmp/operation"; then
        failed "$*: $(cat "$LAB/tmp/operation")"
        return 1
    fi
    awk -v begun="$begun" -v from="$from" '
        NR <= begun || !/fault-point/ {next}
        /name=state[.]/ || /name=image[.]open( |$)/ {next}
        {sub(/.*name=/, ""); sub(/ .*/, ""); passes[$0]++}
        NR > from {print $0 ":" passes[$0]}' "$VARVED_LOG" >"$LAB/tmp/points"
}

# is_quiet: varved has no job under way.
is_quiet() {
    [ "$(api listAsyncJobs listall=true | jq '[.asyncjobs[]? |
        select(.jobstatus == 0)] | length')" = 0 ]
}

is_at_rest() {
    is_quiet && nobody_is_held
}

# A question to one that stands is not answered: not to wait for it long.
stands_or_done() {
    varved_stands || API_SECONDS=1 job_has_ended "$1" 2>/dev/null
}

# -- a pivot in doubt ----------------------------------------------------------

# in_doubt: nothing proves in which of two files the guest wrote last.
in_doubt() {
    problem | grep -q 'nothing proves'
}

problem() {
    api listVirtualMachines id="$(vm_id vm)" |
        jq -r '.virtualmachine[0].problem // ""'
}

settles_or_in_doubt() {
    settles || in_doubt
}

# settled: it settles, once somebody has decided what is in doubt.
settled() {
    until_true 30 settles_or_in_doubt || failed "$LAST: does not settle"
    ! in_doubt || decide
    check "$LAST: settled" until_true 30 settles
}

# ledger_of FILE: the last number of the ledger in it.
ledger_of() {
    local raw

    raw=$(mktemp "$LAB/tmp/ledger.XXXXXX")
    image_raw "$1" "$raw"
    e2fsck -fy "$raw" >/dev/null 2>&1
    debugfs -R "dump /ledger $raw.file" "$raw" 2>/dev/null
    "$VARVE_LAB_CACHE/guest-tool" ledger-check "$raw.file" 2>/dev/null ||
        echo 0
    rm -f "$raw" "$raw.file"
}

# decide: as an administrator does who looks at both: the guest wrote last
# where the ledger has more.
decide() {
    local upper lower above below

    DOUBTS=$((DOUBTS + 1))
    [[ $(problem) =~ from\ \'([^\']+)\'\ to\ \'([^\']+)\' ]]
    upper=${BASH_REMATCH[1]} lower=${BASH_REMATCH[2]}
    check "$LAST: the upper file is kept" test -e "$upper"
    above=$(ledger_of "$upper") below=$(ledger_of "$lower")
    note "$LAST: in doubt, the ledgers have $above and $below"
    if [ "$above" -ge "$below" ]; then
        check "$LAST: the upper file is right" \
            qemu-img commit -q -f qcow2 -d "$upper"
        return
    fi
    virsh -q dumpxml --inactive --security-info vm |
        sed "s|$upper|$lower|" >"$LAB/tmp/decided.xml"
    check "$LAST: the lower file is right" \
        virsh -q define "$LAB/tmp/decided.xml"
}

# -- what must be true afterwards --------------------------------------------

# sound: whatever happened.
sound() {
    local before=$ROW_FAILED name state files

    if ! vm_is vm running; then
        same "files of the stopped disks" "${FILES[now]}" "$(static_files vm)"
        check "views agree" views_agree vm
        check "settled" until_true 10 settles
        start_guest || failed "the guest does not start"
    fi
    same "files" "${FILES[now]}" "$(static_files vm)"
    ledger_goes_on
    check "views agree" views_agree vm
    check "not held" until_true 5 nobody_is_held
    for name in $(snapshots vm); do
        ID[$name]=$(api listVMSnapshot virtualmachineid="$(vm_id vm)" \
            name="$name" | jq -r '.vmSnapshot[0].id')
        state=$(snapshot_field "${ID[$name]}" state)
        [ "$state" = Ready ] || continue
        files=$(snapshot_files "$name")
        same "what $name froze" "${FILES[$name]}" "$files"
    done
    [ "$ROW_FAILED" = "$before" ] || note "after: $LAST"
}

# settles: a machine that is stopped behind our back is settled when asked.
settles() {
    api_job settleVirtualMachine id="$(vm_id vm)" >/dev/null 2>&1 ||
        varve vm settle vm >/dev/null 2>&1 || true
    nobody_is_held
}

nobody_is_held() {
    [ "$(held_machines)" = 0 ]
}

# snapshot_files NAME: s1 is the lowest file of each chain that is ours, s2
# the next one; a chain of one file has none.
snapshot_files() {
    local disk chain place

    place=${1#s}
    [ "$(snapshots vm)" != s2 ] || place=1
    for disk in $(disks_of vm); do
        chain=$(chain_of "$(disk_of vm "$disk")" | tac | sed -n "${place}p")
        image_list "$chain" "/mnt/$disk" | grep -v /ledger
    done
}

# remember NAME: what the snapshot freezes.
remember() {
    FILES[$1]=$(static_files vm)
}

# have NAME: the snapshot is there and Ready; made now if it is not.
have() {
    local id

    for id in $(api listVMSnapshot virtualmachineid="$(vm_id vm)" |
        jq -r --arg name "$1" '.vmSnapshot[]? |
            select(.displayname == $name and .state != "Ready") | .id'); do
        check "remove a failed $1" snapshot_delete "$id"
    done
    case " $(snapshots vm) " in
    *" $1 "*) ;;
    *) snapshot_create vm "$1" >/dev/null || failed "$LAST: no $1" ;;
    esac
    ID[$1]=$(api listVMSnapshot virtualmachineid="$(vm_id vm)" name="$1" |
        jq -r '.vmSnapshot[0].id')
}

# rid NAME...: these are gone.
rid() {
    local name

    for name in "$@"; do
        case " $(snapshots vm) " in
        *" $name "*) check "$LAST: delete $name again" \
            snapshot_delete "${ID[$name]}" ;;
        esac
    done
}

at_rest() {
    rid s1 s2
    same "depth" "vda=1 vdb=1" "$(vm_depth vm)"
    same "strays" "" "$(pool_strays)"
    same "listed" "" "$(snapshots vm)"
}
