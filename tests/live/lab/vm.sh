# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# vm.sh -- machines: made, started, stopped, and what is in them.
#
# The guest mounts each disk at /mnt/<device>.  A listing is one text, a line
# "path size hash" for each file below /mnt; it is the same text whether the
# guest was asked (gls) or its stopped disks were read (vm_files), so that two
# points in time are compared with one "=".

# lab_vm NAME DISKS SIZE [KIND]: a machine is defined, not started.  KIND is
# that of disk_make, qcow2 by default.
lab_vm() {
    local name=$1 count=$2 size=$3 kind=${4:-qcow2} i file format=qcow2

    [ "$kind" != raw ] || format=raw
    {
        vm_xml_head "$name"
        for ((i = 0; i < count; i++)); do
            file=$LAB/pool/$name-vd$(disk_letter "$i").$format
            disk_make "$file" "$size" "$kind" || return 1
            vm_xml_disk "$file" "$format" "vd$(disk_letter "$i")"
        done
        vm_xml_tail "$name"
    } >"$LAB/tmp/$name.xml"
    virsh -q define --validate "$LAB/tmp/$name.xml" >/dev/null
}

disk_letter() {
    local letters=abcdefghij

    echo "${letters:$1:1}"
}

vm_xml_head() {
    cat <<XML
<domain type='qemu'>
  <name>$1</name>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$VARVE_LAB_CACHE/vmlinuz</kernel>
    <initrd>$VARVE_LAB_CACHE/initrd.img</initrd>
    <cmdline>console=ttyS0 quiet mitigations=off nokaslr tsc=reliable panic=-1</cmdline>
  </os>
  <features>
    <acpi/>
    <tcg><tb-cache unit='MiB'>32</tb-cache></tcg>
  </features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
XML
}

vm_xml_disk() {
    cat <<XML
    <disk type='file' device='disk'>
      <driver name='qemu' type='$2' cache='${VARVE_LAB_IO:-none}' discard='unmap'/>
      <source file='$1'/>
      <target dev='$3' bus='virtio'/>
    </disk>
XML
}

vm_xml_tail() {
    cat <<XML
    <controller type='usb' model='none'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <serial type='file'><source path='$LAB/log/$1.console'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
XML
}

vm_state() {
    virsh -q domstate "$1" 2>/dev/null
}

vm_is() {
    [ "$(vm_state "$1")" = "$2" ]
}

agent_answers() {
    virsh -q qemu-agent-command --timeout 2 "$1" \
        '{"execute":"guest-ping"}' >/dev/null 2>&1
}

vm_wait_agent() {
    until_true "${2:-40}" agent_answers "$1" && return 0
    note "no agent in '$1' ($(vm_state "$1")), its console:" \
        "$(tail -n 5 "$LAB/log/$1.console" 2>/dev/null)"
    return 1
}

# vm_start NAME: it runs and its agent answers.
vm_start() {
    virsh -q start "$1" >/dev/null && vm_wait_agent "$1"
}

# vm_stop NAME: shut down by the guest, as its user would.
vm_stop() {
    vm_is "$1" 'shut off' && return 0
    virsh -q shutdown --mode agent "$1" >/dev/null || return 1
    until_true 20 vm_is "$1" 'shut off' && return 0
    note "'$1' does not shut down"
    return 1
}

# vm_destroy NAME: as if its plug were pulled.
vm_destroy() {
    virsh -q destroy "$1" >/dev/null
}

# gx NAME COMMAND: run it in the guest; its output, its exit status (99 when
# it could not be asked).
gx() {
    local request reply pid

    request=$(jq -nc --arg command "$2" '{execute: "guest-exec", arguments: {
        path: "/bin/sh", arg: ["-c", $command], "capture-output": true}}')
    reply=$(agent "$1" "$request") || return 99
    pid=$(jq .return.pid <<<"$reply")
    request="{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":$pid}}"
    until
        reply=$(agent "$1" "$request") || return 99
        [ "$(jq .return.exited <<<"$reply")" = true ]
    do
        sleep 0.03
    done
    jq -r '.return["out-data"] // ""' <<<"$reply" | base64 -d
    jq -r '.return["err-data"] // ""' <<<"$reply" | base64 -d >&2
    return "$(jq '.return.exitcode // 98' <<<"$reply")"
}

# agent NAME REQUEST: one command of the guest agent.
agent() {
    virsh -q qemu-agent-command --timeout 30 "$1" "$2" 2>"$LAB/tmp/agent" &&
        return 0
    trouble "agent of '$1': $(<"$LAB/tmp/agent")"
    return 1
}

# gput NAME PATH SEED KIB: a file with contents made from SEED is on the
# guest's disk (written and synced).
gput() {
    gx "$1" "guest-tool fill '$2' $3 $(($4 * 1024)) && sync" ||
        trouble "'$2' was not written in '$1'"
}

# vm_put NAME PATH SEED KIB: as gput, of a stopped machine: its disk is written
# without it, or it is booted for that if this host cannot.
vm_put() {
    local disk=${2#/mnt/}

    image_put "$(disk_of "$1" "${disk%%/*}")" "${disk#*/}" "$3" "$4" &&
        return 0
    vm_start "$1" && gput "$1" "$2" "$3" "$4" && vm_stop "$1" ||
        trouble "'$2' was not written to the disks of '$1'"
}

# grm NAME PATH...: files are gone from the guest's disk.
grm() {
    local vm=$1

    shift
    gx "$vm" "rm $* && sync" || trouble "$* was not removed in '$vm'"
}

# gls NAME: the guest's listing, read from its disks and not from its memory.
gls() {
    gx "$1" 'sync; echo 3 >/proc/sys/vm/drop_caches; guest-tool list /mnt'
}

# gsum NAME PATH: "size hash" of a file; seed_sum SEED KIB: what it must be.
gsum() {
    gls "$1" | awk -v path="$2" '$1 == path {print $2, $3}'
}

seed_sum() {
    "$VARVE_LAB_CACHE/guest-tool" sum "$1" "$(($2 * 1024))"
}

# frozen_state NAME: thawed or frozen, as the guest says.
frozen_state() {
    agent "$1" '{"execute":"guest-fsfreeze-status"}' | jq -r .return
}

# disks_of NAME: the device names of its disks.
disks_of() {
    virsh -q domblklist "$1" --inactive | awk '$2 != "-" {print $1}'
}

# disk_of NAME DEVICE [inactive]: the file that libvirt names as its source;
# of the running machine unless it is stopped or "inactive" is asked.
disk_of() {
    # shellcheck disable=SC2086
    virsh -q domblklist "$1" ${3:+--inactive} |
        awk -v device="$2" '$1 == device {print $2}'
}

# qemu_chain_of NAME DEVICE: the files that QEMU itself has open for the disk,
# top first.  It has what libvirt told it, which need not be what the images'
# headers say.
qemu_chain_of() {
    local alias

    alias=$(virsh -q dumpxml "$1" | awk -v device="$2" '
        /<disk / {found = 0}
        index($0, "<target dev=" "\047" device "\047") {found = 1}
        found && /<alias name=/ {split($0, part, "\047"); print part[2]; exit}')
    virsh -q qemu-monitor-command "$1" '{"execute":"query-block"}' |
        jq -r --arg alias "$alias" '
            .return[] | select((.qdev // "") | . == $alias or
                startswith("/machine/peripheral/\($alias)/")) |
            .inserted.image |
            recurse(."backing-image" // empty) | .filename |
            if startswith("json:") then .[5:] | fromjson | .file.filename
            else . end'
}

# vm_files NAME: its listing, from the guest or from its disks.
vm_files() {
    local disk

    if vm_is "$1" running; then
        gls "$1"
        return
    fi
    for disk in $(disks_of "$1"); do
        image_list "$(disk_of "$1" "$disk")" "/mnt/$disk" || return 1
    done
}

# layer_files NAME: the listing of what lies right below the active layers:
# what the youngest point has frozen.
layer_files() {
    local disk

    for disk in $(disks_of "$1"); do
        image_list "$(backing_of "$(disk_of "$1" "$disk")")" "/mnt/$disk" ||
            return 1
    done
}

# vm_depth NAME: the length of the chain of each disk: "vda=2 vdb=2".
vm_depth() {
    local disk depths=

    for disk in $(disks_of "$1"); do
        depths+="${depths:+ }$disk=$(depth_of "$(disk_of "$1" "$disk")")"
    done
    echo "$depths"
}

# xml_chain_of NAME DEVICE [inactive]: the files that libvirt names for it, top
# first: the disk's source, then those of its <backingStore>, if it has one.
xml_chain_of() {
    virsh -q dumpxml ${3:+--inactive} "$1" | awk -v device="$2" '
        BEGIN {FS = "\047"}
        /<disk / {files = ""}
        /<source file=/ {files = files $2 "\n"}
        /<target dev=/ {found = $2 == device}
        /<\/disk>/ && found {printf "%s", files; exit}'
}

# views_agree NAME: for every disk, QEMU, the live XML, the inactive XML and
# the headers of the images name the same files (the inactive XML may name the
# uppermost ones only; a <backingStore> there that is stale keeps the machine
# from starting, or starts it on a wrong chain).  When it is stopped, every file
# is sound (what a running QEMU has not flushed yet would look like errors).
views_agree() {
    local disk chain running=no

    ! vm_is "$1" running || running=yes
    for disk in $(disks_of "$1"); do
        chain=$(chain_of "$(disk_of "$1" "$disk")")
        if [ $running = yes ]; then
            view_is "$disk" "$chain" QEMU "$(qemu_chain_of "$1" "$disk")" &&
                view_is "$disk" "$chain" "live XML" \
                    "$(xml_chain_of "$1" "$disk")" || return 1
        elif ! image_check "${chain%%$'\n'*}"; then
            echo "qemu-img check finds errors in: $chain"
            return 1
        fi
        view_begins "$disk" "$chain" "inactive XML" \
            "$(xml_chain_of "$1" "$disk" inactive)" || return 1
    done
}

# view_is DEVICE CHAIN WHO FOUND: all of the chain, or its top alone.
view_is() {
    [ "$4" = "$2" ] || [ "$4" = "${2%%$'\n'*}" ] && return 0
    echo "$1: the headers say:" "$2"
    echo "$3 says:" "$4"
    return 1
}

# view_begins DEVICE CHAIN WHO FOUND: the uppermost files of the chain, one or
# more (libvirt looks for the rest itself when the machine starts).
view_begins() {
    [[ -n $4 && $2$'\n' == "$4"$'\n'* ]] || view_is "$@"
}

# throttle_merges NAME DEVICE MIB: from now on a merge of that disk has no more
# than so many MiB a second, from its first instants on (one virsh that stays
# connected asks every 10 ms, for at most 20 s); until unthrottle_merges.
throttle_merges() {
    for _ in {1..2000}; do
        echo "blockjob $1 $2 --bandwidth $3"
        sleep 0.01
    done 2>/dev/null | virsh -q >/dev/null 2>&1 &
    THROTTLE_PID=$!
}

# unthrottle_merges NAME DEVICE
unthrottle_merges() {
    end_process "$THROTTLE_PID" 2
    virsh -q blockjob "$1" "$2" --bandwidth 0 >/dev/null 2>&1 || :
}

# pool_strays: image files on primary storage that no machine's chain holds.
pool_strays() {
    local vm disk

    comm -23 <(find "$LAB/pool" -type f | sort) <(
        for vm in $(virsh -q list --all --name); do
            for disk in $(disks_of "$vm"); do
                chain_of "$(disk_of "$vm" "$disk")"
            done
        done | sort -u
    )
}
