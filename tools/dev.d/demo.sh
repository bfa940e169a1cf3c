# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: sudo ./dev demo [ARGUMENT...]

Install what is missing, build, and run tests/live/demo.sh, which gets the
arguments.
TEXT
}

main() {
    local demo=$root/tests/live/demo.sh
    [[ -f $demo ]] || die "there is no demo yet (tests/live/demo.sh)"
    [[ $(id -u) == 0 ]] || die "the demo starts a libvirtd: run it with sudo"
    ./dev deps
    build_gcc
    VARVE_SOURCE=$root VARVE_BUILD=$root/build bash "$demo" "$@"
}
