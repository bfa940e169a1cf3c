#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# varved --install-hook puts the hook where libvirt finds it, and no other
# file out of its way.
set -u
source=$1
varved=$2
. "$source/tests/meta/check-lib.sh"
hook=$scratch/hooks/qemu.d/varve
uuid=4dea22b3-1d52-d8f3-2516-782e98ab3fa0

# with DIRECTORY OPTION: varved with that state-dir.
with() {
    printf 'state-dir = %s\nhook-dir = %s\n' "$1" "$scratch/hooks" \
        >"$scratch/varve.conf"
    "$varved" --config "$scratch/varve.conf" "$2"
}

start() {
    echo "<domain><uuid>$uuid</uuid></domain>" |
        env -i PATH=/usr/bin:/bin "$hook" web prepare begin -
}

it_refuses_what_this_daemon_holds() {
    with "$scratch/state" --install-hook | grep -q "systemctl reload" || return
    [[ $(stat -c %a "$hook") == 755 ]] || return
    start || return
    mkdir -p "$scratch/state/hold" && touch "$scratch/state/hold/$uuid"
    complains "'web' is held" start
}

it_is_brought_up_to_date() {
    with "$scratch/other" --install-hook >"$scratch/out" || return
    ! grep -q reload "$scratch/out" || return
    start || return
    with "$scratch/state" --install-hook >/dev/null || return
    complains "'web' is held" start
}

somebody_else_s_file_stays() {
    echo '#!/bin/sh' >"$hook.mine" && mv "$hook.mine" "$hook"
    complains "not varve's" with "$scratch/state" --install-hook || return
    complains "not varve's" with "$scratch/state" --remove-hook || return
    [[ $(cat "$hook") == '#!/bin/sh' ]] && rm "$hook"
}

a_folder_that_means_something_to_a_shell_is_refused() {
    complains "choose another" with "/tmp/a\$(id)b" --install-hook &&
        [[ ! -e $hook ]]
}

it_is_removed() {
    with "$scratch/state" --install-hook >/dev/null || return
    complains "the hook stays" with "$scratch/state" --remove-hook || return
    rm "$scratch/state/hold/$uuid"
    with "$scratch/state" --remove-hook || return
    [[ ! -e $hook ]] || return
    with "$scratch/state" --remove-hook
}

run it_refuses_what_this_daemon_holds
run it_is_brought_up_to_date
run somebody_else_s_file_stays
run a_folder_that_means_something_to_a_shell_is_refused
run it_is_removed
finish
