# SPDX-License-Identifier: Apache-2.0
# shellcheck source=tools/dev.d/deps.sh
. tools/dev.d/deps.sh

usage() {
    cat <<'TEXT'
usage: ./dev bench [NAME [ARGUMENT...]]

Run the benchmark bench/NAME.sh with its arguments (all of them without a
name).  Each prints ratios against the peers it names, measured in the same
run.  What only benchmarks need (tools/dev.d/bench-packages.txt) is installed
when it is missing and this is root; otherwise figures will be missing.

  image [--quick]      the data plane: CPU, instructions, system calls, bytes
                       and memory against the goals, on a disk of 1 GB
  image --goals        all of it on 4 GB, written into docs/performance.md
  image --scaling      disks of 10 GiB to 1 TiB, chains of 1 to 64 layers
  image --only G1,G5   some of the goals
  snapshot             snapshots of a guest: how long, and how long it waits
                       (root; --rounds N, --record)
TEXT
}

bench_packages() {
    local missing
    packages_file=$root/tools/dev.d/bench-packages.txt
    missing=$(missing_packages)
    if [[ -z $missing ]]; then return 0; fi
    if [[ $(id -u) != 0 ]]; then
        say "bench: missing, so some figures will be:" $missing
        return 0
    fi
    say "installing:" $missing
    # shellcheck disable=SC2086
    install_packages $missing >"$root/.deps.log" 2>&1 ||
        say "bench: they could not be installed"
    rm -f "$root/.deps.log"
}

main() {
    local name scripts=()
    if [[ $# == 0 ]]; then
        for name in bench/*.sh; do
            if [[ -f $name ]]; then scripts+=("$name"); fi
        done
    else
        name=$1
        shift
        [[ -f bench/$name.sh ]] || die "there is no benchmark '$name'"
        scripts=("bench/$name.sh")
    fi
    bench_packages
    build_gcc
    for name in "${scripts[@]}"; do
        VARVE_SOURCE=$root VARVE_BUILD=$root/build bash "$name" "$@"
    done
}
