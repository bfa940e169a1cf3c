# SPDX-License-Identifier: Apache-2.0
# shellcheck source=tools/dev.d/live.sh
. tools/dev.d/live.sh

usage() {
    cat <<'TEXT'
usage: sudo ./dev test [--quick | --all [PIECE...]]

What CI runs: installs what is missing, builds with gcc and with clang and
its sanitizers, runs every suite in both, the 'tsan' suite under the thread
sanitizer, the package's scripts, and all live tests.  Says why a test was skipped, names what
failed, and ends with the line

  N passed, N failed, N skipped

  --quick   gcc only; suites unit, conformance, golden, meta
  --all     exhaustive: every fault point, long random sequences; the counts
            go to docs/reliability.md (VARVE_TEST_ALL=1 for the tests).  With
            a sanitizer that would take days: asan and tsan try several times
            as much as usual instead (VARVE_TEST_DENSITY).
            It takes hours: what has run at this commit is not run again, and
            PIECE (of: gcc fault model asan tsan package live kills) runs only
            those; kills alone, at every step of the live machine, takes most
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
        run_suites gcc build "$1" 2 \
            --no-suite live --no-suite bench --no-suite tsan-only
    fi
}

suites_asan() {
    build_asan
    sanitizer_environment
    run_suites asan build-asan "$1" "$(multiplier 4)" \
        --no-suite live --no-suite bench --no-suite meta --no-suite tsan-only
}

# The thread sanitizer needs its own build; only where a test asks for it.
suites_tsan() {
    if ! meson test -C build --list --suite tsan 2>/dev/null |
        grep -Eq '^varve:([a-z]+\+)*tsan(\+[a-z]+)* / '; then
        return 0
    fi
    build_tsan
    run_suites tsan build-tsan "$1" "$(multiplier 8)" --suite tsan
}

# The package is made, and its scripts run in a throw-away root.
suites_package() {
    local start=$SECONDS
    ./dev package >/dev/null
    "$taps" run package package build-package/package.log 300 \
        bash tests/package/package.test "$root" build-package/varve_*.deb \
        >>"$1" || true
    say "package: $(seconds_since "$start") s"
}

# live_names KIND: any, sanitized, kills (which strike at every step) or
# any_but_kills.
live_names() {
    live_tests | awk -v kind="$1" '
        kind == "any" || $3 == kind ||
        kind == "kills" && $1 ~ /-kills$/ ||
        kind == "any_but_kills" && $1 !~ /-kills$/ { print $1 }'
}

# shellcheck disable=SC2046
suites_live() {
    run_live live build "$1" $(live_names "${2:-any}")
    sanitizer_environment
    run_live live-asan build-asan "$1" $(live_names sanitized)
}

logs() { ls build/meson-logs/*.json build*/live/*.log 2>/dev/null || true; }

# -- exhaustive, piece by piece -------------------------------------------------

pieces="gcc fault model asan tsan package live kills"

# How many times as much as usual the sanitizers' pieces try: each takes less
# than an hour on two processors then.  Everything is what `fault` and `model`
# try.
asan_density=4
tsan_density=4

# densely TIMES COMMAND...
densely() {
    (
        unset VARVE_TEST_ALL
        export VARVE_TEST_DENSITY=$1
        shift
        "$@"
    )
}

# What a piece tries, for docs/reliability.md.
piece_tries() {
    case $1 in
    asan) echo "$asan_density times what \`./dev test\` tries" ;;
    tsan) echo "$tsan_density times what \`./dev test\` tries" ;;
    package | live) echo "what \`./dev test\` tries" ;;
    *) echo "everything" ;;
    esac
}

all_gcc() {
    run_suites gcc build "$1" 50 --no-suite live --no-suite bench \
        --no-suite fault --no-suite model --no-suite tsan-only
}
all_fault() { run_suites fault build "$1" 50 --suite fault; }
all_model() { run_suites model build "$1" 50 --suite model; }
all_asan() { densely "$asan_density" suites_asan "$1"; }
all_tsan() { densely "$tsan_density" suites_tsan "$1"; }
all_package() { suites_package "$1"; }
all_live() { build_asan && densely 1 suites_live "$1" any_but_kills; }

# shellcheck disable=SC2046
all_kills() { run_live kills build "$1" $(live_names kills); }

head_commit() {
    git -c safe.directory="$root" rev-parse --short=12 HEAD || true
}

# run_piece NAME: unless it has run at this commit.  What it found is kept in
# build/all/NAME.tsv, where and when in NAME.ran.
run_piece() {
    local start=$SECONDS commit
    commit=$(head_commit)
    if [[ -f build/all/$1.ran && $(cut -f 1 "build/all/$1.ran") == "$commit" ]]
    then
        say "$1: has run at $commit"
        return 0
    fi
    : >"build/all/$1.tsv"
    rm -f "build/all/$1.ran"
    "all_$1" "build/all/$1.tsv"
    printf '%s\t%s\t%s\n' "$commit" "$(date -u +%Y-%m-%d)" \
        $((SECONDS - start)) >"build/all/$1.ran"
}

# What is known of a piece that did not run here: its lines on the page, with
# so many columns.
known_rows() {
    awk -F ' *[|] *' -v piece="$1" -v columns="$2" \
        '$2 == piece && NF == columns + 2' docs/reliability.md 2>/dev/null || true
}

piece_row() {
    local commit date seconds known
    if [[ ! -f build/all/$1.ran ]]; then
        known=$(known_rows "$1" 6)
        echo "${known:-| $1 | $(piece_tries "$1") | not run | | | |}"
        return 0
    fi
    IFS=$'\t' read -r commit date seconds <"build/all/$1.ran"
    printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$(piece_tries "$1")" \
        "$commit" "$date" \
        $(((seconds + 59) / 60)) \
        "$("$taps" close "build/all/$1.tsv" 2>/dev/null | tail -n 1)"
}

piece_logs() {
    local name
    if [[ $1 == kills ]]; then
        for name in $(live_names kills); do echo "build/live/$name.log"; done
    else
        echo "build/meson-logs/$1.json"
    fi
}

count_rows() {
    if [[ ! -f build/all/$1.ran ]]; then
        known_rows "$1" 3
        return 0
    fi
    # shellcheck disable=SC2046
    "$taps" counts $(piece_logs "$1") |
        awk -v piece="$1" '{ printf "| %s | %s | %s |\n", piece, $1, $2 }'
}

page() {
    local piece
    echo "# Reliability"
    echo
    echo "Written by \`./dev test --all\`: what each piece of it tried when it"
    echo "ran last. A piece that did not run is not proved by this page."
    echo "\"Everything\" is every fault point, every kill and whole sequences,"
    echo "without a sanitizer; with one a test takes several times as long, so"
    echo "that those pieces sample, more densely than \`./dev test\`."
    echo
    echo "| piece | tries | commit | date | minutes | result |"
    echo "|---|---|---|---|---|---|"
    for piece in $pieces; do piece_row "$piece"; done
    echo
    echo "| piece | counted | number |"
    echo "|---|---|---|"
    for piece in $pieces; do count_rows "$piece"; done
}

# record: what the exhaustive pieces found and counted, as they ran last, here
# or, as the page says, elsewhere.
record() {
    page >build/reliability.md
    cp build/reliability.md docs/reliability.md
}

# main_all [PIECE...]
main_all() {
    local piece results=build/results.tsv
    local wanted=${*:-$pieces}
    mkdir -p build/all
    for piece in $wanted; do
        case " $pieces " in
        *" $piece "*) run_piece "$piece" ;;
        *) usage >&2 && die "no piece '$piece'" ;;
        esac
    done
    : >"$results"
    for piece in $wanted; do cat "build/all/$piece.tsv" >>"$results"; done
    record
    say "all of it took $(seconds_since 0) s"
    "$taps" close "$results"
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
    if [[ $mode == all ]]; then
        shift
        main_all "$@"
        return
    fi
    : >"$results"
    suites_gcc "$results"
    if [[ $mode != quick ]]; then
        suites_asan "$results"
        suites_tsan "$results"
        suites_package "$results"
        suites_live "$results"
    fi
    # shellcheck disable=SC2046
    "$taps" counts $(logs) | sed 's/^/counted: /'
    say "all of it took $(seconds_since 0) s"
    "$taps" close "$results"
}
