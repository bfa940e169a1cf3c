# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev fuzz [NAME [SECONDS]]
       ./dev fuzz --replay

Build the fuzzers with clang into build-fuzz/ and run fuzzer NAME for SECONDS
(60).  It starts from tests/fuzz/corpus/NAME; what it finds worth keeping goes
to build-fuzz/corpus/NAME, inputs that break us to build-fuzz/crashes/.
Without NAME: the names.

  --replay   run every fuzzer once over its corpus (./dev test does the same
             without libFuzzer, in suite 'fuzz')
TEXT
}

fuzzers() {
    local program
    for program in build-fuzz/tests/fuzz/fuzz_*; do
        if [[ -f $program && -x $program ]]; then
            basename "$program" | sed 's/^fuzz_//'
        fi
    done
}

run_fuzzer() {
    local name=$1 program=build-fuzz/tests/fuzz/fuzz_$1
    shift
    mkdir -p "build-fuzz/corpus/$name" build-fuzz/crashes
    local corpora=("build-fuzz/corpus/$name")
    if [[ -d tests/fuzz/corpus/$name ]]; then
        corpora+=("tests/fuzz/corpus/$name")
    fi
    "$program" -artifact_prefix="build-fuzz/crashes/$name-" \
        -rss_limit_mb=2048 -timeout=20 "$@" "${corpora[@]}"
}

main() {
    local name=${1:-} seconds=${2:-60}
    sanitizer_environment
    build_fuzz
    if [[ -z $name ]]; then
        fuzzers
        return 0
    fi
    if [[ $name == --replay ]]; then
        for name in $(fuzzers); do run_fuzzer "$name" -runs=0; done
        return 0
    fi
    [[ -x build-fuzz/tests/fuzz/fuzz_$name ]] || die "there is no fuzzer '$name'"
    run_fuzzer "$name" -max_total_time="$seconds" -print_final_stats=1
}
