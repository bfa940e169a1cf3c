# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev lint [FILE.c...]

The house's own checks (tools/check-*), the man pages by mandoc, and
clang-tidy on the named files (all of src/ without names), on the clang build.
TEXT
}

tidy_files() {
    if [[ $# -gt 0 ]]; then
        printf '%s\n' "$@"
    else
        find src -name '*.c' | sort
    fi
}

# One file a process: a big one at the end must not be waited for alone.
tidy() {
    local log=build-asan/tidy.log
    if tidy_files "$@" | xargs -P "$jobs" -n 1 clang-tidy --quiet \
        -p build-asan >"$log" 2>&1; then
        return 0
    fi
    grep -v '^[0-9]* warnings\? generated' "$log"
    return 1
}

main() {
    local check page failed=0
    for check in tools/check-*; do
        "$check" || failed=1
    done
    for page in docs/man/*.[1-8]; do
        if [[ -f $page ]]; then
            mandoc -Tlint -Wwarning "$page" || failed=1
        fi
    done
    build_asan
    tidy "$@" || failed=1
    if [[ $failed != 0 ]]; then die "lint found something"; fi
    say "lint: nothing to complain of"
}
