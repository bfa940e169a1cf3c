#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The libvirt hook refuses what is held, and nothing else.
set -u
source=$1
. "$source/tests/meta/check-lib.sh"
script=$source/data/hooks/varve-hook
uuid=4dea22b3-1d52-d8f3-2516-782e98ab3fa0
export VARVE_HOLD_DIR=$scratch/hold

xml() {
    cat <<XML
<domain type='kvm'>
  <name>web &lt;1&gt;</name>
  <uuid>${1:-$uuid}</uuid>
  <metadata><x:a xmlns:x='urn:x'><uuid>${2:-$uuid}</uuid></x:a></metadata>
</domain>
XML
}

# hook OPERATION SUB-OPERATION: as libvirtd runs it, with an empty environment
# but for the folder.  What it prints on standard output is a failure.
hook() {
    local output

    output=$(env -i PATH=/usr/bin:/bin VARVE_HOLD_DIR="$VARVE_HOLD_DIR" \
        "$script" web "$1" "$2" - 2>"$scratch/stderr")
    local status=$?
    cat "$scratch/stderr" >&2
    [ -z "$output" ] || echo "on standard output: $output" >&2
    return "$status"
}

hold() {
    mkdir -p "$VARVE_HOLD_DIR"
    echo "snapshot 's1' is being deleted" >"$VARVE_HOLD_DIR/$uuid"
}

release() {
    rm -rf "$VARVE_HOLD_DIR"
}

what_boots_a_held_machine_is_refused() {
    local operation

    hold
    for operation in prepare start migrate restore; do
        xml | complains "'web' is held" hook "$operation" begin || return
    done
    xml | complains "snapshot 's1' is being deleted" hook prepare begin
}

with_the_allowed_file_it_starts() {
    local with

    hold
    echo "allow 2f0c.qcow2" >>"$VARVE_HOLD_DIR/$uuid"
    xml | complains "'web' is held" hook restore begin || return
    xml | complains "(snapshot 's1' is being deleted)" hook start begin ||
        return
    with="<disk><source file='/pool/2f0c.qcow2'/></disk></domain>"
    xml | sed "s|</domain>|$with|" | hook restore begin || return
    with='<disk><source file="/pool/2f0c.qcow2"/></disk></domain>'
    xml | sed "s|</domain>|$with|" | hook start begin || return
    with="<disk><source file='/pool/12f0c.qcow2'/></disk></domain>"
    xml | sed "s|</domain>|$with|" |
        complains "'web' is held" hook restore begin
}

what_ends_a_held_machine_is_not() {
    local operation

    hold
    for operation in 'started begin' 'stopped end' 'release end' \
        'reconnect begin' 'attach begin'; do
        # shellcheck disable=SC2086
        xml | hook $operation || return
    done
}

other_machines_start() {
    hold
    xml 4dea22b3-1d52-d8f3-2516-782e98ab3fff "$uuid" | hook prepare begin
}

a_machine_starts_when_it_is_released() {
    hold
    release
    xml | hook prepare begin
}

a_uuid_in_capitals_is_the_same() {
    hold
    xml "${uuid^^}" | complains "is held" hook prepare begin
}

without_a_uuid_any_hold_refuses() {
    hold
    complains "has no uuid" hook prepare begin <<<'<domain/>' || return
    release
    hook prepare begin <<<'<domain/>' || return
    mkdir "$VARVE_HOLD_DIR"
    hook prepare begin <<<'<domain/>'
}

a_hold_that_cannot_be_read_refuses() {
    release
    mkdir "$VARVE_HOLD_DIR"
    ln -s /nonexistent "$VARVE_HOLD_DIR/$uuid"
    xml | complains "is held" hook prepare begin
}

large_xml_is_read_to_its_end() {
    hold
    { xml; head -c 1000000 /dev/zero | tr '\0' ' '; } |
        complains "is held" hook prepare begin || return
    [[ ${PIPESTATUS[0]} == 0 ]]
}

it_is_plain_sh() {
    sh -n "$script" && head -n 1 "$script" | grep -qx '#!/bin/sh'
}

run what_boots_a_held_machine_is_refused
run with_the_allowed_file_it_starts
run what_ends_a_held_machine_is_not
run other_machines_start
run a_machine_starts_when_it_is_released
run a_uuid_in_capitals_is_the_same
run without_a_uuid_any_hold_refuses
run a_hold_that_cannot_be_read_refuses
run large_xml_is_read_to_its_end
run it_is_plain_sh
finish
