#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev counts what really ran, and `acceptance` says pass only of what was
# shown.  Live tests are made here, case by case.
set -u
source=$1
. "$source/tests/meta/check-lib.sh"
taps=$source/tools/dev.d/tap.py

# results COMMAND...: the verdicts that a program gets, in one line.
results() {
    "$taps" run stage name "$scratch/log" 5 "$@" | cut -f1 | tr '\n' ' '
}

same() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'" && return 1; }; }

every_line_counts() {
    same "$(results bash -c 'echo ok 1 - a; echo not ok 2 - b
        echo "ok 3 - c # SKIP no root"; echo 1..3; exit 1')" \
        'pass fail skip '
}

a_program_that_dies_after_its_last_line_has_failed() {
    same "$(results bash -c 'echo ok 1 - a; kill -9 $$')" 'pass fail '
}

a_missing_or_broken_plan_is_a_failure() {
    same "$(results bash -c 'echo ok 1 - a')" 'pass fail ' &&
        same "$(results bash -c 'echo ok 1 - a; echo 1..2')" 'pass fail '
}

a_program_that_hangs_is_ended() {
    "$taps" run stage name "$scratch/log" 1 bash -c 'echo ok 1; exec cat <(
        tail -f /dev/null)' | cut -f1,5 | tail -n 1 >"$scratch/last"
    grep -q 'fail.*killed after 1 s' "$scratch/last"
}

a_skipped_program_says_why() {
    same "$(results bash -c 'echo "1..0 # SKIP no root"')" 'skip ' || return
    "$taps" run s n "$scratch/log" 5 bash -c 'echo "1..0 # SKIP no root"' |
        grep -q 'no root'
}

a_program_without_lines_is_judged_by_its_status() {
    same "$(results true)" 'pass ' && same "$(results false)" 'fail '
}

the_last_line_counts_and_the_status_follows() {
    printf 'pass\t0\ts\ta\t\nskip\t0\ts\tb\twhy\n' >"$scratch/good"
    same "$("$taps" close "$scratch/good" | tail -n 1)" \
        '1 passed, 0 failed, 1 skipped' || return
    printf 'pass\t0\ts\ta\t\nfail\t0\ts\tb\twhy\n' >"$scratch/bad"
    if "$taps" close "$scratch/bad" >"$scratch/out"; then return 1; fi
    same "$(tail -n 1 "$scratch/out")" '1 passed, 1 failed, 0 skipped' &&
        grep -q 'FAILED: s: b: why' "$scratch/out"
}

nothing_run_is_not_success() {
    : >"$scratch/none"
    ! "$taps" close "$scratch/none"
}

a_testlog_of_meson_is_read_line_by_line() {
    cat >"$scratch/testlog.json" <<'TEXT'
{"name": "varve:unit / a", "stdout": "ok 1 - x\nok 2 - y\n1..2\n", "result": "OK", "duration": 1.0, "returncode": 0}
{"name": "varve:unit / b", "stdout": "ok 1 - x\n", "result": "ERROR", "duration": 1.0, "returncode": -6}
{"name": "varve:unit / c", "stdout": "", "result": "TIMEOUT", "duration": 30.0, "returncode": -15}
{"name": "varve:unit / d", "stdout": "", "result": "SKIP", "duration": 0.1, "returncode": 77}
TEXT
    same "$("$taps" testlog stage "$scratch/testlog.json" | cut -f1 |
        tr '\n' ' ')" 'pass pass pass fail fail skip '
}

counts_are_added_up() {
    printf '# count points 3\nok 1\n' >"$scratch/a"
    printf '# count points 4\n' >"$scratch/b"
    same "$("$taps" counts "$scratch/a" "$scratch/b")" 'points 7'
}

# live NAME ROWS: a live test of a small tree, from standard input.
live() {
    mkdir -p "$scratch/tree/tests/live" "$scratch/tree/docs"
    printf '| DS-01 | a |\n| DS-02 | b |\n| NB-A01 | c |\n' \
        >"$scratch/tree/docs/acceptance.md"
    { echo "# rows: $2" && cat; } >"$scratch/tree/tests/live/$1.test"
}

accept() {
    rm -f "$scratch/out"
    VARVE_LOGS=$scratch "$source/tools/dev.d/acceptance.py" "$scratch/tree" \
        "$@" 2>/dev/null >"$scratch/out"
}

# told N: the lines without their seconds.
told() { sed -E 's/  [0-9.]+$//' "$scratch/out" | tr '\n' ';'; }

forget() { rm -rf "$scratch/tree"; }

rows_pass_when_they_are_shown() {
    forget
    live a 'DS-01 NB-A01' <<<'echo "ok 1 - DS-01 x"; echo "ok 2 - NB-A01 y"
echo 1..2'
    accept DS-01 NB-A01 || return
    same "$(told)" 'DS-01 pass;NB-A01 pass;2 pass, 0 fail, 0 missing;'
}

a_line_may_show_several_rows() {
    forget
    live a 'DS-01 DS-02' <<<'echo "ok 1 - DS-01 DS-02 both"; echo 1..1'
    accept DS-01 DS-02
}

an_unclaimed_row_is_missing_and_all_rows_are_asked_by_default() {
    forget
    live a DS-01 <<<'echo "ok 1 - DS-01 x"; echo 1..1'
    if accept; then return 1; fi
    same "$(told)" \
        'DS-01 pass;DS-02 missing;NB-A01 missing;1 pass, 0 fail, 2 missing;'
}

a_claimed_row_that_is_not_shown_fails() {
    forget
    live a 'DS-01 DS-02' <<<'echo "ok 1 - DS-01 x"; echo 1..1'
    if accept DS-01 DS-02; then return 1; fi
    same "$(told)" 'DS-01 pass;DS-02 fail;1 pass, 1 fail, 0 missing;'
}

a_row_fails_when_any_line_of_it_fails() {
    forget
    live a DS-01 <<<'echo "ok 1 - DS-01 x"; echo "not ok 2 - DS-01 y"; echo 1..2'
    if accept DS-01; then return 1; fi
    same "$(told)" 'DS-01 fail;0 pass, 1 fail, 0 missing;'
}

a_row_fails_when_its_test_dies() {
    forget
    live a DS-01 <<<'echo "ok 1 - DS-01 x"; exit 3'
    if accept DS-01; then return 1; fi
    same "$(told)" 'DS-01 fail;0 pass, 1 fail, 0 missing;'
}

a_skipped_row_is_missing() {
    forget
    live a DS-01 <<<'echo "1..0 # SKIP no libvirt"'
    if accept DS-01; then return 1; fi
    same "$(told)" 'DS-01 missing;0 pass, 0 fail, 1 missing;'
}

an_unknown_row_is_refused() {
    forget
    live a DS-01 <<<'echo 1..0'
    ! accept DS-99
}

every_command_explains_itself() {
    local command
    for command in deps build demo test live acceptance bench fuzz lint \
        package; do
        "$source/dev" "$command" --help | grep -q "dev $command" || return
    done
    if "$source/dev" nonsense 2>/dev/null; then return 1; fi
}

every_package_has_a_reason() {
    if grep -vE '^(#|$)' "$source/tools/dev.d/packages.txt" |
        grep -vE '^[a-z0-9.+-]+ +[^ ]'; then
        return 1
    fi
}

for name in $(declare -F | cut -d' ' -f3); do
    case $name in
    run | complains | finish | results | same | live | accept | told | \
        forget) ;;
    *) run "$name" ;;
    esac
done
finish
