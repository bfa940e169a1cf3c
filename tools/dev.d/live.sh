# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: sudo ./dev live [--sanitized] [NAME...]

Run the live tests tests/live/NAME.test (all without a name): a private
libvirtd, a real QEMU guest, real image files.  What each printed stands in
build/live/NAME.log.  Ends with "N passed, N failed, N skipped".

  --sanitized   with the daemon of build-asan/

A test is a bash script that prints TAP; each line starts with the rows of
docs/acceptance.md that it shows: "ok 1 - DS-01 create, VM running".  It gets
VARVE_SOURCE and VARVE_BUILD, and says in comments what it claims:

  # rows: DS-01 DS-02
  # seconds: 900           the limit, 600 without this line
  # sanitized: yes         ./dev test runs it on the sanitized daemon too
TEXT
}

# live_tests: lines "NAME SECONDS plain|sanitized".
live_tests() { tools/dev.d/acceptance.py "$root" --list; }

# run_live STAGE BUILD-DIR RESULTS NAME...: results are appended.  Exhaustive
# runs take as long as they take.
run_live() {
    local stage=$1 build=$2 results=$3 name limit kind patience=1
    shift 3
    if [[ ${VARVE_TEST_ALL:-0} == 1 ]]; then patience=50; fi
    mkdir -p "$build/live"
    export VARVE_SOURCE=$root VARVE_BUILD=$root/$build
    while read -r name limit kind; do
        if [[ " $* " != *" $name "* ]]; then continue; fi
        say "live: $name"
        "$taps" run "$stage" "$name" "$build/live/$name.log" \
            $((limit * patience)) \
            bash "tests/live/$name.test" >>"$results" || true
    done < <(live_tests)
}

main() {
    local build=build stage=live results names
    if [[ ${1:-} == --sanitized ]]; then
        shift
        build=build-asan stage=live-asan
        sanitizer_environment
        build_asan
    else
        build_gcc
    fi
    names=$*
    for name in $names; do
        [[ -f tests/live/$name.test ]] || die "there is no live test '$name'"
    done
    if [[ -z $names ]]; then
        names=$(live_tests | cut -d' ' -f1 | tr '\n' ' ')
    fi
    results=$build/live.tsv
    : >"$results"
    # shellcheck disable=SC2086
    run_live "$stage" "$build" "$results" $names
    if [[ ! -s $results ]]; then
        say "there are no live tests yet"
        return 0
    fi
    "$taps" close "$results"
}
