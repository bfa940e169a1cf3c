# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tap.sh -- results of a live test, as TAP.  A row is a function; it fails
# when one of its checks fails or when it returns other than 0.

TAP_ROWS=0     # rows printed
TAP_FAILED=0   # of these, failed
ROW_FAILED=0   # checks of this row that failed

# row ID TEXT FUNCTION [ARGUMENT...]: run it and print its line.
row() {
    local id=$1 text=$2 started took verdict='ok'

    shift 2
    started=$(now_ms)
    ROW_FAILED=0
    rm -f "$LAB/tmp/trouble"
    "$@" || failed "$1 returned $?"
    [ ! -s "$LAB/tmp/trouble" ] || failed "$(<"$LAB/tmp/trouble")"
    took=$(($(now_ms) - started))
    TAP_ROWS=$((TAP_ROWS + 1))
    if [ "$ROW_FAILED" -gt 0 ]; then
        TAP_FAILED=$((TAP_FAILED + 1))
        verdict='not ok'
    fi
    printf '%s %d - %s %s (%d ms)\n' "$verdict" "$TAP_ROWS" "$id" "$text" \
        "$took"
}

# note TEXT...: a comment; lines stay lines.
note() {
    printf '%s\n' "$*" | sed 's/^/# /'
}

# failed TEXT...: this row has failed, and why.
failed() {
    ROW_FAILED=$((ROW_FAILED + 1))
    note "failed: $*"
    return 0
}

# trouble TEXT...: a helper could not do its work, perhaps in a subshell whose
# status nobody looks at; the row fails, lest two empty texts be "the same".
trouble() {
    printf '%s\n' "$*" >>"$LAB/tmp/trouble"
}

# check TEXT COMMAND...: the command must succeed; what it prints is shown only
# when it does not.
check() {
    local text=$1

    shift
    "$@" >"$LAB/tmp/check" 2>&1 || failed "$text: $(<"$LAB/tmp/check")"
}

# refute TEXT COMMAND...: the command must not succeed.
refute() {
    local text=$1

    shift
    ! "$@" >"$LAB/tmp/check" 2>&1 || failed "$text: $(<"$LAB/tmp/check")"
}

# same TEXT WANTED FOUND: the two are the same text.
same() {
    [ "$2" = "$3" ] && return 0
    failed "$1"
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") |
        sed -n 's/^</#   wanted:/p; s/^>/#   found: /p'
}

# differs TEXT A B: the two are not the same text.
differs() {
    [ "$2" != "$3" ] || failed "$1: both are '$2'"
}

# matches TEXT PATTERN FOUND: the extended regular expression is found in it.
matches() {
    [[ $3 =~ $2 ]] || failed "$1: '$2' does not match: $3"
}

# at_most TEXT LIMIT FOUND; at_least TEXT LIMIT FOUND: integers.
at_most() {
    [ "$3" -le "$2" ] || failed "$1: $3 is more than $2"
}

at_least() {
    [ "$3" -ge "$2" ] || failed "$1: $3 is less than $2"
}

# done_testing: the plan; the script's status.
done_testing() {
    printf '1..%d\n' "$TAP_ROWS"
    [ "$TAP_FAILED" = 0 ]
}

# skip_all REASON: nothing here can run on this host.
skip_all() {
    printf '1..0 # SKIP %s\n' "$*"
    exit 0
}

# bail_out REASON: the rest makes no sense.
bail_out() {
    note "$*"
    printf 'Bail out! %s\n' "${*//$'\n'/ }"
    exit 1
}
