# shellcheck shell=bash source-path=SCRIPTDIR
# SPDX-License-Identifier: Apache-2.0
# lab.sh -- a private libvirt host for one test script; source it.
#
#     . "$(dirname "$0")/lab/lab.sh"
#     lab_up                    # ends by itself with the script, however
#     lab_vm web 2 64M          # vm.sh: machines and what is in them
#     varved_start              # varved.sh: the daemon, its API, its CLI
#     row DS-01 "text" function # tap.sh: one line of the result
#
# Every lab has its own folder, libvirtd, sockets and port; any number of them
# work side by side.  Nothing is matched by name when it is ended: libvirtd
# and varved run under lab/reap, which ends all that descends from them when
# this shell ends.
#
# Environment: VARVE_BUILD      the build to test            (build)
#              VARVE_LAB_CACHE  the guest, made once         (build/lab)
#              VARVE_LAB_ROOT   where labs are made          (/var/tmp)
#              VARVE_LAB_KEEP   1: the lab's folder stays
#              VARVE_LAB_IO     cache mode of the disks      (none)
#              VARVE_LAB_POOL   size of a file system of its own, in memory,
#                               for primary storage ("256M"); needs an IO mode
#                               other than none
#              VARVE_LAB_DISK   size of a disk of its own for all of the lab
#                               ("1G"), for host_power_cut
#              LAB_STEPS        a folder: libvirtd dies where it is told to
#                               (lab/die-at.c)
#
# LAB_OWNER may be set to a process other than this shell: the lab lives as
# long as that one.

lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_top=$(cd "$lab_here/../../.." && pwd)
VARVE_BUILD=${VARVE_BUILD:-$lab_top/build}
VARVE_LAB_CACHE=${VARVE_LAB_CACHE:-$lab_top/build/lab}
LAB= # the lab's folder while there is one
LAB_OWNER=${LAB_OWNER:-$$}

. "$lab_here/tap.sh"
. "$lab_here/disk.sh"
. "$lab_here/vm.sh"
. "$lab_here/varved.sh"
. "$lab_here/verbs.sh"

# now_ms: a clock in milliseconds.
now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# is_alive PID: a process that nobody has waited for yet does not count.
is_alive() {
    local stat

    { read -r stat <"/proc/$1/stat"; } 2>/dev/null &&
        [[ ${stat##*) } != Z* ]]
}

# until_true SECONDS COMMAND...: try until it succeeds; 1 when time is up.
until_true() {
    local deadline=$(($(now_ms) + $1 * 1000))

    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        sleep 0.03
    done
}

is_gone() {
    ! is_alive "$1"
}

# end_process PID SECONDS: SIGTERM, and SIGKILL if that is not enough.
end_process() {
    kill "$1" 2>/dev/null || return 0
    until_true "$2" is_gone "$1" || kill -9 "$1" 2>/dev/null || :
}

lab_requires() {
    local tool

    [ "$(id -u)" = 0 ] || skip_all "needs root"
    for tool in virsh libvirtd qemu-system-x86_64 qemu-img jq curl cpio \
        mkfs.ext4 debugfs unshare; do
        command -v "$tool" >/dev/null || skip_all "needs $tool"
    done
}

# lab_disk_make: all of the lab lies on a file system on a disk of its own.
# Nothing is written to the disk because of the time alone (commit=), only
# because somebody wants it there.
lab_disk_make() {
    truncate -s "$VARVE_LAB_DISK" "$LAB.disk" &&
        mkfs.ext4 -q -F "$LAB.disk" &&
        mount -o loop,commit=3600 "$LAB.disk" "$LAB"
}

lab_start_libvirtd() {
    "$lab_here/start-libvirtd" "$LAB/libvirt" "$VARVE_LAB_CACHE" "$LAB_OWNER"
}

# lab_up: an empty host is there: libvirtd runs, no machine.
lab_up() {
    lab_requires
    LAB=$(mktemp -d "${VARVE_LAB_ROOT:-/var/tmp}/varve-lab.XXXXXX")
    [ -z "${VARVE_LAB_DISK:-}" ] || lab_disk_make ||
        bail_out "no disk for the lab"
    trap lab_down EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir "$LAB"/{pool,log,tmp}
    [ -z "${VARVE_LAB_POOL:-}" ] ||
        mount -t tmpfs -o "size=$VARVE_LAB_POOL" tmpfs "$LAB/pool" ||
        bail_out "no file system for primary storage"
    "$lab_here/build-guest" "$VARVE_LAB_CACHE" >"$LAB/log/build-guest" 2>&1 ||
        bail_out "build-guest: $(tail -n 3 "$LAB/log/build-guest")"
    LAB_HOOKS=$LAB/libvirt/etc/hooks
    varved_paths
    varved_install_hook
    lab_start_libvirtd || bail_out "no libvirtd"
    export LIBVIRT_DEFAULT_URI
    LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket=$LAB/libvirt/sock/libvirt-sock"
}

# lab_down: everything is ended and removed.  Runs at exit; a second call does
# nothing.
lab_down() {
    local status=$?

    trap - EXIT
    [ -n "$LAB" ] || return 0
    varved_stop
    if [ "$TAP_FAILED" -gt 0 ] && [ -s "${VARVED_LOG:-}" ]; then
        note "the end of varved's log:"$'\n'"$(tail -n 40 "$VARVED_LOG")"
    fi
    if [ -e "$LAB/libvirt/reap.pid" ]; then
        end_process "$(cat "$LAB/libvirt/reap.pid")" 10
    fi
    [ "$LAB_OWNER" = $$ ] || kill "$LAB_OWNER" 2>/dev/null || :
    ! mountpoint -q "$LAB/pool" || umount -l "$LAB/pool"
    ! mountpoint -q "$LAB" || umount -l "$LAB"
    rm -rf "$LAB.disk" "${LAB_STEPS:-$LAB.disk}"
    if [ "${VARVE_LAB_KEEP:-0}" = 1 ]; then
        note "kept: $LAB"
    else
        rm -rf "$LAB"
    fi
    LAB=
    return "$status"
}

libvirtd_pid() {
    cat "$LAB/libvirt/libvirtd.pid"
}

# libvirtd_kill9: libvirtd crashes; its machines run on.
libvirtd_kill9() {
    local pid

    pid=$(libvirtd_pid)
    kill -9 "$pid" && until_true 5 is_gone "$pid"
}

# libvirtd_start: after libvirtd_kill9.
libvirtd_start() {
    kill -USR1 "$(cat "$LAB/libvirt/reap.pid")" &&
        until_true 15 virsh -q version >/dev/null 2>&1
}

# host_power_loss: libvirtd, QEMU and varved are gone at once.
host_power_loss() {
    local pid

    is_gone "$(libvirtd_pid)" || libvirtd_kill9 || return 1
    varved_kill9
    for pid in "$LAB"/libvirt/run/qemu/*.pid; do
        [ -e "$pid" ] || continue
        kill -9 "$(cat "$pid")" 2>/dev/null
        until_true 5 is_gone "$(cat "$pid")" || return 1
    done
    # What a reboot clears.
    rm -rf "$LAB"/libvirt/run/*
}

# host_power_cut: as host_power_loss, and of the lab's disk (VARVE_LAB_DISK)
# that alone is left which had been written to it: a copy of the disk takes its
# place, made when nobody writes or syncs any more and before what the file
# system still holds in memory is written.  libvirtd runs again afterwards.
host_power_cut() {
    local reap

    host_power_loss || return 1
    reap=$(cat "$LAB/libvirt/reap.pid")
    cp --sparse=always "$LAB.disk" "$LAB.cut" || return 1
    end_process "$reap" 10
    umount -l "$LAB" && mv "$LAB.cut" "$LAB.disk" &&
        mount -o loop,commit=3600 "$LAB.disk" "$LAB" || return 1
    # What a reboot clears.
    rm -rf "$LAB"/libvirt/run/* "$LAB"/varve/run/*
    mkdir -p "$LAB"/{log,tmp}
    lab_start_libvirtd
}
