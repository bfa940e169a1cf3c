# SPDX-License-Identifier: Apache-2.0
# snapshot.sh [--rounds N] [--record]: snapshots of a running guest, by varve,
# by virsh (external, blockcommit) and by libvirt's internal snapshots.
#
# The same guest, with the same change between the same steps, in turns: A B C,
# B C A, C A B ...  While an operation runs, a writer in the guest does direct
# writes of 4 KiB; its slowest one is the stall.  Times are of the command as a
# user types it.  Reverting is compared where libvirt can: a stopped machine,
# internal snapshots.  Then once on disks of 10 GiB, 100 GiB and 1 TiB, with the
# same changes.
#
# --record writes the tables into docs/performance-snapshots.md.
set -uo pipefail
cd "$VARVE_SOURCE" || exit
VARVE_LAB_CACHE=${VARVE_LAB_CACHE:-$VARVE_BUILD/lab}
export VARVE_BUILD VARVE_LAB_CACHE
# shellcheck source=tests/live/lab/lab.sh
. tests/live/lab/lab.sh

ROUNDS=7
RECORD=0
# shellcheck disable=SC2034
API_WAIT=900 # seconds that tidied waits: QEMU looks at all of a large disk
WINDOW=2500 # ms that the writer in the guest writes around an operation
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) ROUNDS=$2 && shift ;;
    --record) RECORD=1 ;;
    *) echo "usage: ./dev bench snapshot [--rounds N] [--record]" >&2 && exit 2 ;;
    esac
    shift
done

# -- measuring ----------------------------------------------------------------

# figure NAME VALUE: one more value; they are kept in $LAB/tmp/figures.
figure() {
    printf '%s\t%s\n' "$1" "$2" >>"$LAB/tmp/figures"
}

# median NAME: "median (least to most)".
median() {
    awk -F '\t' -v name="$1" '$1 == name {print $2}' "$LAB/tmp/figures" |
        sort -n | awk '{v[NR] = $1}
            END {if (NR) printf "%s (%s to %s)", v[int((NR + 1) / 2)], v[1], v[NR]
                 else printf "-"}'
}

# timed NAME COMMAND...: its wall time in ms.
timed() {
    local name=$1 began

    shift
    began=$(now_ms)
    if ! "$@" >"$LAB/tmp/output" 2>&1; then
        echo "bench: $*: $(tail -n 3 "$LAB/tmp/output")" >&2
        return 1
    fi
    figure "$name ms" $(($(now_ms) - began))
}

# with_writer NAME COMMAND...: the same, and the guest's slowest write.
with_writer() {
    local name=$1 line

    gx vm "rm -f /run/w; (guest-tool latency /mnt/vda/probe $WINDOW >/run/w.new; \
        mv /run/w.new /run/w) >/dev/null 2>&1 &"
    sleep 0.3
    timed "$@" || return
    until_true 30 gx vm 'test -e /run/w' >/dev/null || return
    line=$(gx vm 'cat /run/w')
    figure "$name stall" "${line##*worst-ms=}"
}

# change: what the guest writes between a snapshot and its end.
change() {
    SEED=$((SEED + 1))
    gput vm /mnt/vda/change $SEED 8192
}
SEED=0

# -- the three -----------------------------------------------------------------

new_of() { # what `varve snapshot create` printed last
    api listVMSnapshot virtualmachineid="$(vm_id vm)" |
        jq -r '.vmSnapshot[0].id'
}

round_varve() {
    with_writer "varve create" varve snapshot create vm one &&
        change && with_writer "varve delete" varve --yes snapshot delete "$(new_of)"
}

round_virsh() {
    local below layer=$LAB/pool/virsh-layer.qcow2

    below=$(disk_of vm vda)
    with_writer "virsh create" virsh -q snapshot-create-as vm one --disk-only \
        --atomic --no-metadata --diskspec "vda,file=$layer" &&
        change && with_writer "virsh delete" virsh -q blockcommit vm vda \
        --active --pivot --wait --base "$below"
    rm -f "$layer"
}

round_internal() {
    with_writer "internal create" virsh -q snapshot-create-as vm one &&
        change && with_writer "internal delete" virsh -q snapshot-delete vm one
}

# Reverting, the machine stopped: as it was before the change.
round_reverts() {
    varve snapshot create vm back >/dev/null && change && vm_stop vm &&
        timed "varve revert" varve --yes snapshot revert "$(new_of)" && tidied &&
        varve --yes snapshot delete "$(new_of)" >/dev/null || return
    virsh -q snapshot-create-as vm back >/dev/null && vm_start vm && change &&
        vm_stop vm &&
        timed "internal revert" virsh -q snapshot-revert vm back &&
        virsh -q snapshot-delete vm back && vm_start vm
}

# -- disks of any size -----------------------------------------------------------

# virsh_merges NAME SIZE: the same merges by virsh.
virsh_merges() {
    local base one=$LAB/pool/one.qcow2 two=$LAB/pool/two.qcow2 at

    base=$(disk_of "$1" vda)
    for at in "$one" "$two"; do
        virsh -q snapshot-create-as "$1" s --disk-only --atomic --no-metadata \
            --diskspec "vda,file=$at" >/dev/null &&
            gput "$1" /mnt/vda/a 9 8192 || return
    done
    timed "$2 virsh below" virsh -q blockcommit "$1" vda --wait \
        --base "$base" --top "$one" &&
        timed "$2 virsh active" virsh -q blockcommit "$1" vda --active --pivot \
            --wait --base "$base" &&
        rm -f "$one" "$two"
}

# snapshot_of NAME: the id of its only snapshot.
snapshot_of() {
    api listVMSnapshot virtualmachineid="$(vm_id "$1")" |
        jq -r '.vmSnapshot[0].id'
}

# sized SIZE OFFERING: the same changes on a disk of that size.
sized() {
    local vm=big-$1 file=$LAB/pool/big-$1-vda.qcow2

    lab_vm "$vm" 1 48M && qemu-img resize -q "$file" "$1" &&
        vm_start "$vm" && virsh_merges "$vm" "$1" &&
        until_true 10 vm_is_listed "$vm" || return
    timed "$1 create" varve snapshot create "$vm" s &&
        gput "$vm" /mnt/vda/a 1 8192 &&
        timed "$1 active" varve --yes snapshot delete "$(snapshot_of "$vm")" &&
        offering_assign "$vm" "$2" && varve backup create "$vm" >/dev/null &&
        tidied &&
        gput "$vm" /mnt/vda/a 2 8192 &&
        varve snapshot create "$vm" s >/dev/null &&
        gput "$vm" /mnt/vda/b 3 8192 &&
        timed "$1 backup" varve backup create "$vm" && timed "$1 tidy" tidied &&
        timed "$1 below" varve --yes snapshot delete "$(snapshot_of "$vm")" &&
        varve snapshot create "$vm" t >/dev/null &&
        gput "$vm" /mnt/vda/b 4 8192 && vm_stop "$vm" &&
        timed "$1 revert" varve --yes snapshot revert "$(snapshot_of "$vm")"
}

# -- the tables --------------------------------------------------------------------

tables() {
    local peer size

    echo "| | create, ms | longest write, ms | delete, ms | longest write, ms | revert, ms |"
    echo "|---|---|---|---|---|---|"
    for peer in varve virsh internal; do
        echo "| $peer | $(median "$peer create ms") |" \
            "$(median "$peer create stall") | $(median "$peer delete ms") |" \
            "$(median "$peer delete stall") | $(median "$peer revert ms") |"
    done
    echo
    echo "| disk | create, ms | revert, ms | incremental backup, ms |" \
        "tidying after it, ms |" \
        "merge of the active layer, ms | virsh, ms | of one below, ms | virsh, ms |"
    echo "|---|---|---|---|---|---|---|---|---|"
    for size in 10G 100G 1T; do
        echo "| $size | $(median "$size create ms") |" \
            "$(median "$size revert ms") | $(median "$size backup ms") |" \
            "$(median "$size tidy ms") |" \
            "$(median "$size active ms") | $(median "$size virsh active ms") |" \
            "$(median "$size below ms") | $(median "$size virsh below ms") |"
    done
}

record() {
    {
        echo "# Snapshots: how long, and how long the guest waits"
        echo
        echo "Written by \`./dev bench snapshot --record\` on $(date -u +%Y-%m-%d):"
        echo "median (least to most) of $ROUNDS rounds, in turns, on one guest under TCG"
        echo "with $(nproc) CPUs, disks of 192 MiB, 8 MiB written between create and delete."
        echo "\`virsh\` is an external snapshot and \`blockcommit\`, \`internal\` libvirt's own"
        echo "(with memory). varve's times have its waiting for the job in them."
        echo "Load before $BEFORE, after $(cut -d' ' -f1 /proc/loadavg): above $(nproc) others" \
            "had a part of the machine."
        echo
        echo "A running guest's layer below the active one is merged by QEMU's commit"
        echo "job, which looks at all of the disk in steps of 512 KiB: that grows with the"
        echo "disk, for whoever asks for it."
        echo
        tables
    } >docs/performance-snapshots.md
}

BEFORE=$(cut -d' ' -f1 /proc/loadavg)
lab_up
lab_vm vm 1 192M && vm_start vm || bail_out "no guest"
varved_start && until_true 10 vm_is_listed vm || bail_out "no varved"
: >"$LAB/tmp/figures"
order=(varve virsh internal)
for ((round = 1; round <= ROUNDS; round++)); do
    for peer in "${order[@]}"; do
        "round_$peer" || exit 1
    done
    order=("${order[@]:1}" "${order[0]}")
    round_reverts || exit 1
    echo "round $round of $ROUNDS" >&2
done
vm_stop vm
offering=$(import_offering daily "$(native_offering daily)")
for size in 10G 100G 1T; do
    sized $size "$offering" || exit 1
done
tables
[ "$RECORD" = 0 ] || record
