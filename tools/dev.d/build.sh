# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev build [asan|tsan|fuzz]...

Configure (once) and compile.  Without an argument: gcc into build/.

  asan   clang with the address and undefined-behaviour sanitizers,
         into build-asan/
  tsan   clang with the thread sanitizer, into build-tsan/
  fuzz   clang with the fuzzers, into build-fuzz/
TEXT
}

main() {
    local kind
    if [[ $# == 0 ]]; then set -- gcc; fi
    for kind in "$@"; do
        case $kind in
        gcc | asan | tsan | fuzz) "build_$kind" ;;
        *) usage >&2 && die "no build '$kind'" ;;
        esac
    done
}
