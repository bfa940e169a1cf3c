# SPDX-License-Identifier: Apache-2.0
# shellcheck source=tools/dev.d/live.sh
. tools/dev.d/live.sh

usage() {
    cat <<'TEXT'
usage: sudo ./dev test [--quick | --all]

What CI runs: installs what is missing, builds with gcc and with clang and
its sanitizers, runs every suite in both, the 'tsan' suite under the thread
sanitizer, and all live tests.  Says why a test was skipped, names what
failed, and ends with the line

  N passed, N failed, N skipped

  --quick   gcc only; suites unit, conformance, golden, meta
  --all     exhaustive: every fault point, long random sequences; the counts
            go to docs/reliability.md (VARVE_TEST_ALL=1 for the tests)
TEXT
}

# run_suites STAGE BUILD-DIR RESULTS MULTIPLIER MESON-ARGUMENT...
run_suites() {
    local stage=$1 build=$2 results=$3 multiplier=$4 before after start=$SECONDS
    local log=$build/meson-logs/$stage.json
    shift 4
    rm -f "$log"
    before=$(wc -l <"$results")
    meson test -C "$build" --no-rebuild --logbase "$stage" \
        --num-processes "$jobs" --timeout-multiplier "$multiplier" "$@" \
        >"$build/$stage.log" 2>&1 || true
    if [[ -f $log ]]; then
        "$taps" testlog "$stage" "$log" >>"$results"
    elif ! grep -q 'No tests defined\|No suitable tests' "$build/$stage.log"
    then
        tail -n 20 "$build/$stage.log" >&2
        printf 'fail\t0\t%s\tmeson test\tno test log\n' "$stage" >>"$results"
    fi
    after=$(wc -l <"$results")
    say "$stage: $((after - before)) results in $(seconds_since "$start") s"
}

# Exhaustive runs take as long as they take.
multiplier() { if [[ $mode == all ]]; then echo 50; else echo "$1"; fi; }

suites_gcc() {
    build_gcc
    if [[ $mode == quick ]]; then
        run_suites gcc build "$1" 1 --suite unit --suite conformance \
            --suite golden --suite meta
    else
        run_suites gcc build "$1" "$(multiplier 2)" --no-suite tsan \
            --no-suite live --no-suite bench
    fi
}

suites_asan() {
    build_asan
    sanitizer_environment
    run_suites asan build-asan "$1" "$(multiplier 4)" --no-suite tsan \
        --no-suite live --no-suite bench --no-suite meta
}

# The thread sanitizer needs its own build; only where a test asks for it.
suites_tsan() {
    if ! meson test -C build --list --suite tsan 2>/dev/null |
        grep -q '^varve:tsan / '; then
        return 0
    fi
    build_tsan
    run_suites tsan build-tsan "$1" "$(multiplier 8)" --suite tsan
}

live_names() {
    live_tests | awk -v kind="$1" '$3 == kind || kind == "any" { print $1 }'
}

# shellcheck disable=SC2046
suites_live() {
    run_live live build "$1" $(live_names any)
    sanitizer_environment
    run_live live-asan build-asan "$1" $(live_names sanitized)
}

logs() { ls build/meson-logs/*.json build*/live/*.log 2>/dev/null || true; }

# record RESULTS: what an exhaustive run counted.
record() {
    local commit
    commit=$(git -c safe.directory="$root" rev-parse --short=12 HEAD || true)
    {
        echo "# Reliability"
        echo
        echo "Written by \`./dev test --all\`; the last exhaustive run."
        echo
        echo "- commit: $commit"
        echo "- date: $(date -u +%Y-%m-%d)"
        echo "- duration: $((SECONDS / 60)) min on $jobs cores"
        echo "- result: $("$taps" close "$1" | tail -n 1)"
        echo
        echo "| counted | number |"
        echo "|---|---|"
        # shellcheck disable=SC2046
        "$taps" counts $(logs) | awk '{ printf "| %s | %s |\n", $1, $2 }'
    } >docs/reliability.md
}

main() {
    local results=build/results.tsv
    mode=usual
    case ${1:-} in
    --quick) mode=quick ;;
    --all) mode=all && export VARVE_TEST_ALL=1 ;;
    "") ;;
    *) usage >&2 && die "no option '$1'" ;;
    esac
    ./dev deps
    build_gcc
    : >"$results"
    suites_gcc "$results"
    if [[ $mode != quick ]]; then
        suites_asan "$results"
        suites_tsan "$results"
        suites_live "$results"
    fi
    if [[ $mode == all ]]; then record "$results"; fi
    # shellcheck disable=SC2046
    "$taps" counts $(logs) | sed 's/^/counted: /'
    say "all of it took $(seconds_since 0) s"
    "$taps" close "$results"
}
