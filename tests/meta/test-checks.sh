#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each house check must complain of the input it is there for, and must be
# content with a tree that keeps the rules.  Trees are made here, case by case.
set -u
source=$1
. "$source/tests/meta/check-lib.sh"

# tree: a new empty tree in $tree.
tree() { tree=$(mktemp -d -p "$scratch"); }

# put PATH: a file of the tree, from standard input.
put() {
    mkdir -p "$tree/$(dirname "$1")"
    cat >"$tree/$1"
}

# c PATH: a C file with the licence line.
c() { { echo '/* SPDX-License-Identifier: Apache-2.0 */' && cat; } | put "$1"; }

check() {
    local name=$1
    shift
    "$source/tools/check-$name" --root "$tree" "$@"
}

# ------------------------------------------------------------- check-layers

a_lower_layer_may_not_include_a_higher_one() {
    tree
    c src/repo/publish.h </dev/null
    c src/image/copy.c <<<'#include "repo/publish.h"'
    complains 'src/image/copy.c:2: "repo/publish.h": image may include base' \
        check layers
}

a_layer_may_include_what_stands_below_it() {
    tree
    c src/base/error.h </dev/null
    c src/image/copy.h </dev/null
    c src/repo/publish.c <<<'#include "image/copy.h"
#include "base/error.h"
#include <stdio.h>
/* #include "api/server.h" is a comment */'
    check layers
}

the_command_line_sees_base_only() {
    tree
    c src/engine/job.h </dev/null
    c src/cli/main.c <<<'#include "engine/job.h"'
    complains 'cli may include base only' check layers
}

a_library_stays_in_its_folder() {
    tree
    c src/engine/job.c <<<'#include <libvirt/libvirt.h>'
    complains '<libvirt/libvirt.h> (libvirt) belongs to hv/libvirt only' \
        check layers || return
    tree
    c src/image/driver.c <<<'#include <libxml/parser.h>'
    complains 'belongs to hv only' check layers || return
    tree
    c src/hv/libvirt/domain.c <<<'#include <libvirt/libvirt.h>'
    check layers
}

a_library_without_an_owner_is_refused() {
    tree
    c src/image/copy.c <<<'#include <glib.h>'
    complains '<glib.h> has no fence' check layers
}

a_concrete_kind_is_known_to_the_daemon_alone() {
    tree
    c src/hv/fake/fake.h </dev/null
    c src/hv/open.c <<<'#include "hv/fake/fake.h"'
    complains 'is one concrete kind' check layers || return
    rm "$tree/src/hv/open.c"
    c src/daemon/main.c <<<'#include "hv/fake/fake.h"'
    check layers
}

an_internal_header_is_for_its_module_alone() {
    tree
    c src/image/chain_internal.h </dev/null
    c src/image/chain_commit.c <<<'#include "image/chain_internal.h"'
    check layers || return
    c src/image/copy.c <<<'#include "image/chain_internal.h"'
    complains 'is for the files of image/chain alone' check layers || return
    tree
    c src/engine/engine_internal.h </dev/null
    c src/engine/job.c <<<'#include "engine/engine_internal.h"'
    check layers
}

headers_are_named_from_the_top() {
    tree
    c src/base/error.h </dev/null
    c src/base/error.c <<<'#include "error.h"'
    complains 'include our headers by their path' check layers
}

a_folder_that_is_no_layer_is_refused() {
    tree
    c src/util/misc.c </dev/null
    complains 'no such layer' check layers
}

# ------------------------------------------------------------ check-headers

a_header_that_needs_another_first_is_refused() {
    tree
    c src/base/size.h <<'TEXT'
#ifndef BASE_SIZE_H
#define BASE_SIZE_H
uint64_t size_of(const char *path);
#endif
TEXT
    complains 'src/base/size.h: does not compile alone' check headers
}

a_guard_is_named_after_the_path() {
    tree
    c src/base/size.h <<'TEXT'
#ifndef SIZE_H
#define SIZE_H
#endif
TEXT
    complains "must start with '#ifndef BASE_SIZE_H'" check headers
}

a_header_that_stands_alone_is_fine() {
    tree
    c src/base/size.h <<'TEXT'
#ifndef BASE_SIZE_H
#define BASE_SIZE_H
#include <stdint.h>
uint64_t size_of(const char *path);
#endif
TEXT
    check headers
}

# -------------------------------------------------------------- check-style

the_licence_line_comes_first() {
    tree
    put src/base/a.c <<<'int a;'
    complains 'src/base/a.c:1: the first line must be' check style || return
    tree
    put tools/a <<<'#!/bin/bash'
    complains 'tools/a:1: the first line must be' check style
}

banned_functions_come_with_advice() {
    local call number=1
    tree
    for call in 'strcpy(a, b)' 'strcat(a, b)' 'sprintf(a, b)' \
        'strncpy(a, b, 1)' 'strtok(a, b)' 'atoi(a)' 'strtol(a, 0, 0)' \
        'gmtime(a)' 'localtime(a)' 'mktemp(a)' 'system(a)' 'popen(a, b)' \
        'sleep(1)' 'usleep(1)'; do
        c "src/image/a$number.c" <<<"    $call;"
        number=$((number + 1))
    done
    if check style >"$scratch/out"; then return 1; fi
    [[ $(grep -c 'is banned; use ' "$scratch/out") == $((number - 1)) ]]
}

a_banned_name_in_text_or_comment_is_fine() {
    tree
    c src/image/a.c <<'TEXT'
/* strcpy() is banned, sleep() too */
const char *const text = "sleep(1)";
int my_sleep(int count);
TEXT
    check style
}

only_main_programs_may_exit() {
    tree
    c src/engine/a.c <<<'    exit(1);'
    complains 'exit() is for daemon/ and cli/' check style || return
    tree
    c src/cli/a.c <<<'int a;'
    check style
}

offsets_are_not_off_t() {
    tree
    c src/image/a.c <<<'off_t a;'
    complains 'offsets and sizes are uint64_t' check style || return
    tree
    c src/image/a.c <<<'int a = (off_t)1;'
    check style
}

lower_layers_do_not_log() {
    local layer level number=0
    tree
    for layer in base image repo hv storage state; do
        for level in error warning info event; do
            c "src/$layer/$level.c" <<<"    log_$level (\"a-b\", \"x\");"
            number=$((number + 1))
        done
    done
    if check style >"$scratch/out"; then return 1; fi
    [[ $(grep -c 'never logs above debug' "$scratch/out") == "$number" ]] ||
        return
    tree
    c src/engine/a.c <<<'int a;'
    check style
}

notes_for_later_are_refused() {
    tree
    c src/base/a.c <<<"/* TO""DO: later */"
    complains 'no notes for later' check style
}

tabs_and_trailing_space_are_refused() {
    tree
    c src/base/a.c <<<$'\tint a;'
    complains 'a tab' check style || return
    tree
    c src/base/a.c <<<$'int a; '
    complains 'white space at the end' check style
}

a_file_has_at_most_1000_lines() {
    tree
    seq -f '/* %g */' 1000 | c src/base/a.c
    complains '1001 lines' check style || return
    tree
    seq -f '/* %g */' 999 | c src/base/a.c
    check style
}

a_function_has_at_most_80_lines() {
    function_of() {
        printf 'int\nlong_one(void)\n{\n'
        seq -f '    a(%g);' "$1"
        printf '}\n'
    }
    tree
    function_of 78 | c src/base/a.c
    complains 'long_one() has 81 lines' check style || return
    tree
    function_of 77 | c src/base/a.c
    check style
}

formatting_is_clang_formats() {
    if ! command -v clang-format >/dev/null; then return 0; fi
    tree
    cp "$source/.clang-format" "$tree"
    c src/base/a.c <<<'int  a ;'
    complains 'run clang-format -i' check style
}

# --------------------------------------------------------------- check-docs

every_folder_says_what_it_is() {
    tree
    c src/base/a.c </dev/null
    complains 'src/base: has no README.md' check docs || return
    put src/base/README.md </dev/null
    check docs
}

codes() {
    tree
    put src/base/README.md </dev/null
    put src/base/error-codes.def <<'TEXT'
/* ERROR_CODE(name, HTTP status, exit status, meaning) */
ERROR_CODE(NO_SPACE, 533, 5, "a file system, or a quota (any), is full")
TEXT
}

every_error_code_is_documented_as_it_is() {
    codes
    put docs/guide/errors.md </dev/null
    complains "error code 'NO_SPACE' is missing" check docs || return
    codes
    put docs/guide/errors.md \
        <<<'| `NO_SPACE` | 530 | 5 | a file system, or a quota (any), is full | free some |'
    complains "'NO_SPACE' must read: 533 | 5" check docs || return
    codes
    put docs/guide/errors.md \
        <<<'| `NO_SPACE` | 533 | 5 | a file system, or a quota (any), is full | free some |
| `GONE` | 533 | 5 | gone | none |'
    complains "'GONE' is not in" check docs || return
    codes
    put docs/guide/errors.md \
        <<<'| `NO_SPACE` | 533 | 5 | a file system, or a quota (any), is full | free some |'
    put docs/man/varve.1 <<<'.It 4'
    complains "exit status '5' is missing" check docs || return
    put docs/man/varve.1 <<<'.It 5'
    check docs
}

events() {
    tree
    put src/engine/README.md </dev/null
    c src/engine/job.c <<'TEXT'
    log_error(
        "job-failed", "job=%d", 1);
TEXT
}

every_event_is_listed_and_every_listed_event_is_used() {
    events
    put docs/guide/log-events.md </dev/null
    complains "event 'job-failed' is not in" check docs || return
    put docs/guide/log-events.md <<<'| `job-failed` | info | job | a job failed |'
    complains "is logged as error" check docs || return
    put docs/guide/log-events.md <<<'| `job-failed` | error | job | a job failed |
| `job-gone` | info | job | never |'
    complains "event 'job-gone' is logged nowhere" check docs || return
    put docs/guide/log-events.md \
        <<<'| `job-failed` | error | job | a job failed |'
    check docs
}

event_names_are_words_joined_by_hyphens() {
    tree
    put src/engine/README.md </dev/null
    c src/engine/job.c <<<'    log_info("Job failed", "x");'
    complains 'use words joined by' check docs
}

settings() {
    tree
    put src/engine/README.md </dev/null
    put src/engine/settings.def <<'TEXT'
SETTING("backup.chain.size", "8", GLOBAL, INTEGER,
        "length of a chain, by (offering), "
        "or global")
TEXT
}

every_setting_is_documented_with_its_default() {
    settings
    complains 'docs/guide/settings.md: is missing' check docs || return
    put docs/guide/settings.md </dev/null
    complains "setting 'backup.chain.size' is missing" check docs || return
    put docs/guide/settings.md <<<'| `backup.chain.size` | `16` | global | x |'
    complains "has the default '8'" check docs || return
    put docs/guide/settings.md <<<'| `backup.chain.size` | `8` | global | x |
| `backup.gone` | `8` | global | x |'
    complains "'backup.gone' is not in" check docs || return
    put docs/guide/settings.md <<<'| `backup.chain.size` | `8` | global | x |'
    check docs
}

every_command_and_option_is_in_the_man_page() {
    tree
    put src/cli/README.md </dev/null
    c src/cli/commands.def <<<'COMMAND("snapshot tree", "VM", tree)
OPTION("--json", NULL, "for programs")'
    put docs/man/varve.1 <<<'.It Fl -json'
    complains "command 'snapshot tree' is missing" check docs || return
    put docs/man/varve.1 <<<'.It Cm snapshot tree'
    complains "option '--json' is missing" check docs || return
    put docs/man/varve.1 <<<'.It Cm snapshot tree
.It Fl -json'
    check docs
}

every_key_of_the_configuration_is_shown_and_documented() {
    tree
    put src/daemon/README.md </dev/null
    c src/daemon/config.c <<<'{"socket", "/run/x", 1},'
    complains "key 'socket' is missing: add '#socket = /run/x'" check docs ||
        return
    put data/varve.conf <<<'#socket = /run/y'
    complains "'socket' has the default '/run/x'" check docs || return
    put data/varve.conf <<<'#socket = /run/x
#gone = 1'
    complains "'gone' is not in src/daemon/config.c" check docs || return
    put data/varve.conf <<<'#socket = /run/x'
    put docs/man/varve.conf.5 </dev/null
    complains "key 'socket' is missing" check docs || return
    put docs/man/varve.conf.5 <<<'.It Ic socket'
    check docs
}

live_tests_claim_rows_that_exist() {
    tree
    put docs/acceptance.md <<<'| DS-01 | create |'
    put tests/live/a.test <<<'# rows: DS-01 DS-99'
    complains "claims 'DS-99'" check docs || return
    put tests/live/a.test <<<'# rows: DS-01'
    check docs
}

every_kind_of_journal_entry_is_documented() {
    tree
    put src/engine/README.md </dev/null
    c src/engine/operation.h <<<'#define OPERATION_FOLD "fold"'
    c src/engine/converge.c <<<'    if (strcmp(row->kind, OPERATION_FOLD) == 0)'
    put docs/internals/journal.md <<<'| `merge` | what it does | its row | a |'
    complains "kind 'fold' is missing" check docs || return
    put docs/internals/journal.md <<<'| `fold` | what it does | its row | a |'
    check docs
}

links_lead_somewhere() {
    tree
    put README.md <<<'[a](docs/a.md) [b](https://example.org/)'
    complains "links to 'docs/a.md'" check docs || return
    put docs/a.md </dev/null
    check docs
}

for name in $(declare -F | cut -d' ' -f3); do
    case $name in
    run | complains | finish | tree | put | c | check | codes | events | \
        settings | function_of) ;;
    *) run "$name" ;;
    esac
done
finish
