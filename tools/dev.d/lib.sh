# SPDX-License-Identifier: Apache-2.0
# lib.sh -- what the commands of ./dev share.  `root` is the source tree.

jobs=$(nproc)
taps=$root/tools/dev.d/tap.py

say() { printf '%s\n' "$*" >&2; }

die() {
    say "dev: $*"
    exit 1
}

# Files that root made in a clone of somebody else become theirs.
give_back() {
    local owner dir
    owner=$(stat -c %u:%g "$root")
    if [[ $(id -u) == 0 && $owner != 0:0 ]]; then
        for dir in "$root"/build*; do
            if [[ -d $dir ]]; then chown -R -h "$owner" "$dir"; fi
        done
    fi
}

# quietly LOG COMMAND...: run it; show the end of its output if it fails.
quietly() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if "$@" >"$log" 2>&1; then return 0; fi
    tail -n 60 "$log" >&2
    die "failed: $* (all of it in $log)"
}

# build_into DIR [MESON-OPTION...]: configure once, compile.  CC is honoured.
build_into() {
    local dir=$1
    shift
    if [[ ! -f $dir/build.ninja ]]; then
        rm -rf "$dir"
        quietly "$root/$dir.configure.log" meson setup "$dir" "$@"
        mv "$root/$dir.configure.log" "$dir/configure.log"
    fi
    quietly "$dir/compile.log" ninja -C "$dir" -j "$jobs"
}

build_gcc() { CC=gcc build_into build; }

build_asan() {
    CC=clang build_into build-asan -Db_sanitize=address,undefined \
        -Db_lundef=false
}

build_tsan() {
    CC=clang build_into build-tsan -Db_sanitize=thread -Db_lundef=false
}

build_fuzz() {
    CC=clang build_into build-fuzz -Dfuzzers=true \
        -Db_sanitize=address,undefined -Db_lundef=false
}

# What a sanitizer finds must end the process, with a stack.
sanitizer_environment() {
    export ASAN_OPTIONS=halt_on_error=1:abort_on_error=1:detect_leaks=1
    export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
    TSAN_OPTIONS=halt_on_error=1:abort_on_error=1:second_deadlock_stack=1
    export TSAN_OPTIONS=$TSAN_OPTIONS:suppressions=$root/tests/tsan.supp
}

seconds_since() { printf '%d' $((SECONDS - $1)); }
