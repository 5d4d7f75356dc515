#!/usr/bin/env bash
# bench/train.sh, with another trainer that is one line of shell.
. "$(dirname "$0")/lib.sh"

command -v python3 >/dev/null || exit 77
bench() { run "$1" bash "$ROOT/bench/train.sh" --tern "$TERN" "${@:2}"; }

bench "a table" --shapes tern-tiny --batch 1 -t 1 -r 1 --steps 3 --command 'echo 1 tok/s; echo step 50 {threads}5.5 tok/s 9%' --name other
is "$status" 0
has "$out" "| model | threads | tern | GFLOP/s | of the float32 peak | other | tern / other |"
has "$out" "| tern-tiny | 1 | "
grep -qE '^\| tern-tiny \| 1 \| [1-9][0-9]* \| [1-9][0-9]* \| [1-9][0-9]*% \| 16 \| [0-9.]+ \|$' "$WORK/out" || fail "no such row: $out"
bench "a peer that fails" --shapes tern-tiny --batch 1 -t 1 -r 1 --steps 3 --command 'echo broken >&2; false'
is "$status" 0
has "$out" "peer failed 1 times"
has "$err" "broken"
bench "unknown shape" --shapes huge
is "$status" 1
has "$err" "unknown shape 'huge'"
bench "too few steps" --steps 2
is "$status" 1
bench "no list" -t 1,x
is "$status" 1
finish
