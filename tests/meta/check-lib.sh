# SPDX-License-Identifier: Apache-2.0
# check-lib.sh -- TAP for tests in bash: the sister of tests/lib/check.h.
#
#     . check-lib.sh
#     a_promise() { ...; }          # fails by its status
#     run a_promise
#     finish
#
# `scratch` is an empty folder of this test, removed at its end.

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tests=0
failed=0

run() {
    local output
    tests=$((tests + 1))
    if output=$("$@" 2>&1); then
        echo "ok $tests - $*"
    else
        failed=$((failed + 1))
        sed 's/^/# /' <<<"$output"
        echo "not ok $tests - $*"
    fi
}

# complains TEXT COMMAND...: the command fails, and its output holds TEXT.
complains() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "did not fail: $*"
        echo "$output"
        return 1
    fi
    if ! grep -qF -- "$text" <<<"$output"; then
        echo "does not say: $text"
        echo "$output"
        return 1
    fi
}

finish() {
    echo "1..$tests"
    [[ $failed == 0 ]]
}
