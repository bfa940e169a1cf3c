# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# varved.sh -- the daemon under test: its life, its API, its CLI.
#
# The names that the product chooses (programs, configuration keys, options)
# stand here once, so that the tests do not know them.

: "${lab_top:?source lab.sh}"
VARVED=$VARVE_BUILD/src/daemon/varved
VARVE_CLI=$VARVE_BUILD/src/cli/varve
VARVED_PID=  # the daemon while we believe that it runs
VARVED_REAP= # what it runs under
API_REPLY=   # file: the last reply of api, as it came
API_WAIT=60  # seconds that api_job waits for a job

# Where the daemon is killed; see src/base/fault.h for the syntax.
# shellcheck disable=SC2034
FAULT_MERGE_OFFLINE=merge.committed:kill
# shellcheck disable=SC2034
FAULT_MERGE_PIVOTED=merge.pivoted:kill

# varved_paths: where everything of it lies in this lab.
varved_paths() {
    VARVE_HOME=$LAB/varve
    VARVE_STATE=$VARVE_HOME/state
    VARVE_RUN=$VARVE_HOME/run
    VARVE_SOCKET=$VARVE_RUN/varved.sock
    VARVE_REPOSITORY=$LAB/repository
    VARVE_CONF=$VARVE_HOME/varve.conf
    VARVED_LOG=$LAB/log/varved.log
    API_REPLY=$LAB/tmp/reply.json
    mkdir -p "$VARVE_STATE" "$VARVE_RUN" "$VARVE_REPOSITORY"
}

# varved_install_hook: as the package does, before libvirtd starts (it looks
# for hooks when it starts and on SIGHUP).  It passes no variables to hooks.
# Without a daemon (the lab alone) the script of the source is wrapped.
varved_install_hook() {
    if [ -x "$VARVED" ]; then
        printf 'state-dir = %s\nhook-dir = %s\n' "$VARVE_STATE" \
            "$LAB_HOOKS" >"$LAB/tmp/hook.conf"
        "$VARVED" --config "$LAB/tmp/hook.conf" --install-hook >/dev/null
        return
    fi
    mkdir -p "$LAB_HOOKS/qemu.d"
    cat >"$LAB_HOOKS/qemu.d/varve" <<HOOK
#!/bin/sh
VARVE_HOLD_DIR='$VARVE_STATE/hold' exec '$lab_top/data/hooks/varve-hook' "\$@"
HOOK
    chmod 755 "$LAB_HOOKS/qemu.d/varve"
}

# varved_configure: write its configuration file, once for each lab.
varved_configure() {
    VARVE_PORT=$(free_port)
    cat >"$VARVE_CONF" <<CONF
state-dir = $VARVE_STATE
run-dir = $VARVE_RUN
libvirt-uri = $LIBVIRT_DEFAULT_URI
listen = 127.0.0.1:$VARVE_PORT
socket = $VARVE_SOCKET
repository = $VARVE_REPOSITORY
hook-dir = $LAB_HOOKS
CONF
}

# free_port: one that nobody listens on now.
free_port() {
    local port

    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

# varved_start [NAME=VALUE...]: the daemon runs, with these variables in its
# environment (VARVE_FAULT=...), and answers.  With VARVED_REAP_FLAGS=-k what
# it has started lives on when it dies (else it ends with it).
varved_start() {
    [ -e "$VARVE_CONF" ] || varved_configure
    if [ ! -x "$VARVED" ]; then
        note "no daemon at $VARVED"
        return 1
    fi
    rm -f "$VARVE_RUN/pid"
    # shellcheck disable=SC2086
    env "$@" "$VARVE_LAB_CACHE/reap" ${VARVED_REAP_FLAGS:-} \
        -o "$LAB_OWNER" -p "$VARVE_RUN/pid" \
        "$VARVED" --config "$VARVE_CONF" >>"$VARVED_LOG" 2>&1 </dev/null &
    VARVED_REAP=$!
    if until_true 15 varved_answers_or_ended && varved_answers; then
        VARVED_PID=$(cat "$VARVE_RUN/pid")
        return 0
    fi
    note "varved does not answer:" "$(tail -n 5 "$VARVED_LOG")"
    return 1
}

varved_answers() {
    curl -sf --max-time 2 --unix-socket "$VARVE_SOCKET" -o /dev/null \
        'http://localhost/client/api?command=listCapabilities&response=json'
}

varved_answers_or_ended() {
    varved_answers || is_gone "$VARVED_REAP"
}

varved_is_gone() {
    is_gone "${VARVED_PID:-0}"
}

# varved_stands: a fault has stopped it (":stop"); kill -CONT lets it go on.
varved_stands() {
    local stat

    { read -r stat <"/proc/$VARVED_PID/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    [ "${stat%% *}" = T ]
}

# varved_wait_dead SECONDS: until a fault has killed it.
varved_wait_dead() {
    until_true "$1" varved_is_gone || return 1
    varved_forget
}

varved_forget() {
    [ -z "$VARVED_REAP" ] || wait "$VARVED_REAP" 2>/dev/null
    VARVED_PID=
    VARVED_REAP=
}

# varved_stop: the orderly way.
varved_stop() {
    [ -n "$VARVED_REAP" ] || return 0
    end_process "$VARVED_REAP" 15
    varved_forget
}

# varved_kill9: no instruction of it runs any more.
varved_kill9() {
    [ -n "$VARVED_PID" ] || return 0
    kill -9 "$VARVED_PID" 2>/dev/null
    varved_wait_dead 5
}

# varve ARGUMENT...: the command line.
varve() {
    VARVE_SOCKET=$VARVE_SOCKET "$VARVE_CLI" "$@"
}

# api COMMAND [NAME=VALUE...]: one request over the socket; prints what is
# inside "<command>response".  1 when the reply is an error, which it prints.
api() {
    local command=$1 status arguments=() argument

    shift
    for argument in "$@"; do
        arguments+=(--data-urlencode "$argument")
    done
    status=$(curl -sS --max-time "${API_SECONDS:-60}" \
        --unix-socket "$VARVE_SOCKET" --get \
        -o "$API_REPLY" -w '%{http_code}' 'http://localhost/client/api' \
        --data-urlencode "command=$command" --data-urlencode response=json \
        "${arguments[@]}") || return 1
    jq -c 'to_entries[0].value' "$API_REPLY" || return 1
    [ "$status" = 200 ]
}

# api_job COMMAND [NAME=VALUE...]: an asynchronous command, waited for; prints
# its jobresult.  1 when it was refused or has failed; the error is printed.
api_job() {
    local reply job

    reply=$(api "$@") || {
        printf '%s\n' "$reply"
        return 1
    }
    job=$(jq -r '.jobid // empty' <<<"$reply")
    if [ -z "$job" ]; then
        echo "{\"errortext\":\"no jobid in the reply to $1\"}"
        return 1
    fi
    job_wait "$job"
}

# job_wait JOB: until it has ended; as api_job.
job_wait() {
    local reply

    until_true "$API_WAIT" job_has_ended "$1" || {
        echo "{\"errortext\":\"job $1 still runs after $API_WAIT s\"}"
        return 1
    }
    reply=$(api queryAsyncJobResult jobid="$1") || return 1
    jq -c '.jobresult // {}' <<<"$reply"
    [ "$(jq -r .jobstatus <<<"$reply")" = 1 ]
}

job_has_ended() {
    local status

    status=$(api queryAsyncJobResult jobid="$1" | jq -r .jobstatus) &&
        [ "$status" != 0 ]
}

# job_start COMMAND [NAME=VALUE...]: an asynchronous command; prints its job.
job_start() {
    local reply

    reply=$(api "$@") && jq -er .jobid <<<"$reply"
}

# job_progress JOB: "done total" in bytes, while it merges or copies.
job_progress() {
    api queryAsyncJobResult jobid="$1" |
        jq -r '"\(.bytesdone // 0) \(.bytestotal // 0)"'
}

# held_machines: how many domains may not be started now.
held_machines() {
    find "$VARVE_STATE/hold" -type f 2>/dev/null | wc -l
}

# refused TEXT CODE PATTERN COMMAND...: the command fails with that errorcode
# (a regular expression) and a text that matches the pattern.
refused() {
    local text=$1 code=$2 pattern=$3 reply

    shift 3
    if reply=$("$@"); then
        failed "$text: it was done: $reply"
        return 0
    fi
    matches "$text: error code" "^($code)\$" \
        "$(jq -r '.errorcode // "none"' <<<"$reply" 2>/dev/null)"
    matches "$text: error text" "$pattern" \
        "$(jq -r '.errortext // ""' <<<"$reply" 2>/dev/null)"
}
