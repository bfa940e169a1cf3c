# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev bench [NAME...]

Run the benchmarks bench/NAME.sh (all without a name).  Each prints ratios
against the peers it names, measured in the same run.
TEXT
}

main() {
    local name scripts=()
    if [[ $# == 0 ]]; then
        for name in bench/*.sh; do
            if [[ -f $name ]]; then scripts+=("$name"); fi
        done
    fi
    for name in "$@"; do
        [[ -f bench/$name.sh ]] || die "there is no benchmark '$name'"
        scripts+=("bench/$name.sh")
    done
    if [[ ${#scripts[@]} == 0 ]]; then
        say "there are no benchmarks yet"
        return 0
    fi
    build_gcc
    for name in "${scripts[@]}"; do
        VARVE_SOURCE=$root VARVE_BUILD=$root/build bash "$name"
    done
}
