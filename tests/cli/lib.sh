# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the tests of the command. Usage of each: test_X.sh [TERN [ROOT]];
# defaults: $TERN and the current folder. Sourced; needs bash.
set -u
# Whoever started the tests may ignore signals (nohup does), and a shell cannot undo that: begin again without
if [ -z "${TERN_TEST_SIGNALS:-}" ]; then
    export TERN_TEST_SIGNALS=default
    exec python3 -c 'import os, signal, sys
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGTERM", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
os.execvp("bash", ["bash", *sys.argv[1:]])' "$0" "$@"
fi
TERN=${1:-${TERN:-build/tern}}
ROOT=${2:-$PWD}
TERN=$(cd "$(dirname "$TERN")" && pwd)/$(basename "$TERN")
ROOT=$(cd "$ROOT" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
unset TERN_CPU TERN_BACKEND BITNET_BACKEND BITNET_KV_CACHE_DTYPE BITNET_CHUNK_SIZE
export XDG_STATE_HOME=$WORK/state
failures=0

fail() {
    echo "FAIL: $*"
    failures=$((failures + 1))
}

# run NAME COMMAND...: its status in $status, output in $out, messages in $err
run() {
    name=$1
    shift
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    status=$?
    case $status in # SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV
    132 | 133 | 134 | 135 | 136 | 139) fail "$name: crashed with status $status" ;;
    esac
    out=$(cat "$WORK/out" | tr '\0' '?')
    err=$(cat "$WORK/err")
}

is() { # what came, what was wanted
    [ "$1" = "$2" ] || fail "$name: got '$1', wanted '$2' (stderr: $err)"
}

has() { # text, part
    case $1 in
    *"$2"*) ;;
    *) fail "$name: '$2' is not in '$1'" ;;
    esac
}

hasnt() {
    case $1 in
    *"$2"*) fail "$name: '$2' is in '$1'" ;;
    esac
}

# fails STATUS PART NAME COMMAND...: one line on stderr that begins with "tern: " and holds PART; nothing on stdout
fails() {
    local want=$1 part=$2
    shift 2
    run "$@"
    is "$status" "$want"
    is "$out" ""
    is "$(wc -l <"$WORK/err")" 1
    case $err in
    "tern: "*) ;;
    *) fail "$name: stderr is not 'tern: ...' but '$err'" ;;
    esac
    has "$err" "$part"
}

finish() {
    if [ "$failures" -gt 0 ]; then
        echo "$failures failed"
        exit 1
    fi
    echo "all passed"
}
