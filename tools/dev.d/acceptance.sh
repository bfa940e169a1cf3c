# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: sudo ./dev acceptance [--sanitized] [ROW...]

Run the live tests of the named rows of docs/acceptance.md (of all rows
without a name) and print for each row

  ROW pass|fail|missing  SECONDS

then "P pass, F fail, M missing".  The status is 0 only if every asked row
passes.  What the tests printed stands in build/live/.

  --sanitized   with the daemon of build-asan/
TEXT
}

main() {
    local build=build
    if [[ ${1:-} == --sanitized ]]; then
        shift
        build=build-asan
        sanitizer_environment
        build_asan
    else
        build_gcc
    fi
    mkdir -p "$build/live"
    VARVE_SOURCE=$root VARVE_BUILD=$root/$build VARVE_LOGS=$build/live \
        tools/dev.d/acceptance.py "$root" "$@"
}
