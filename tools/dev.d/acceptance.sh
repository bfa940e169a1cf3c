# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: sudo ./dev acceptance [ROW...]

Run the live tests of the named rows of docs/acceptance.md (of all rows
without a name) and print for each row

  ROW pass|fail|missing  SECONDS

then "P pass, F fail, M missing".  The status is 0 only if every asked row
passes.  What the tests printed stands in build/live/.

  VARVE_BUILD   another build directory, such as build-asan
TEXT
}

main() {
    local build=${VARVE_BUILD:-build}
    build=${build#"$root"/}
    if [[ $build == build ]]; then build_gcc; fi
    mkdir -p "$build/live"
    VARVE_SOURCE=$root VARVE_BUILD=$root/$build VARVE_LOGS=$build/live \
        tools/dev.d/acceptance.py "$root" "$@"
}
