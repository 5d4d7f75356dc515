#!/usr/bin/env bash
# bench/compare.sh with peers that are a few lines of shell.
. "$(dirname "$0")/lib.sh"

model=$WORK/tiny.gguf
"$TERN" synth "$model" --shape tiny 2>"$WORK/synth.err" || fail "synth: $(cat "$WORK/synth.err")"
compare() { run "$1" bash "$ROOT/bench/compare.sh" --tern "$TERN" "${@:2}"; }

# one that prints what llama-bench prints, a line of its own before; with 13 prompt tokens it crashes
cat >"$WORK/llama-bench" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$(dirname "$0")/calls"
while [ $# -gt 0 ]; do
    case $1 in
    -p) prompt=$2 ;;
    -n) decode=$2 ;;
    esac
    shift
done
[ "$prompt" = 13 ] && kill -SEGV $$
echo "a warning"
printf '[\n  {"n_prompt": %d, "n_gen": %d, "avg_ts": %d.5}\n]\n' "$prompt" "$decode" $((prompt + 100 * decode))
END
chmod +x "$WORK/llama-bench"
compare "compare" --llama-bench "$WORK/llama-bench" --model "$model" -p 32 -n 4 -t 1,2 -r 2 --peer-args "-fa 1"
is "$status" 0
for part in "| 1 | prefill of 32 | 32.5 (32.5-32.5) |" "| 2 | decode of 4 | 400.5 (400.5-400.5) |" "llama-bench" "GMAC/s" "GB/s"; do
    has "$out" "$part"
done
hasnt "$out" "failed"
is "$(grep -c -- '-p 32 -n 0 .*-fa 1' "$WORK/calls") $(grep -c -- '-p 0 -n 4 .*-fa 1' "$WORK/calls")" "6 6" # 2 x (1 + 2)
compare "a peer that crashes" --llama-bench "$WORK/llama-bench" --model "$model" -p 13 -n 4 -t 1 -r 1
is "$status" 0
has "$out" "| 1 | prefill of 13 | - |"
has "$out" "| 1 | decode of 4 | 400.5 |"
has "$out" "failed 2 times"
has "$err" "failed (status 139)"
compare "a template" --command 'echo starting; echo {prompt}.25 {threads}; test -e {model}' --model "$model" -p 32 -n 4 -t 2 -r 1 --name other
is "$status" 0
has "$out" "| 2 | prefill of 32 | 32.2 |"
has "$out" "| 2 | decode of 4 | 2.0 |"
has "$out" "tern / other"
compare "no prefill" --command 'echo 1 2' --model "$model" -p 0 -n 4 -t 1 -r 1
hasnt "$out" "prefill"
compare "a peer that prints no figures" --command 'echo soon' --model "$model" -p 4 -n 4 -t 1 -r 1
has "$out" "failed 2 times"
is "$status" 1
compare "figures that are none" --command 'echo 1.2.3 4' --model "$model" -p 4 -n 4 -t 1 -r 1
is "$status" 1
compare "a figure of 0, and one with an exponent" --command 'echo 0.0 1.5e1' --model "$model" -p 4 -n 4 -t 1 -r 1
is "$status" 0
has "$out" "| 1 | decode of 4 | 15.0 |"
has "$out" "failed 2 times"

wrong() { # PART NAME ARGUMENT...
    local part=$1
    compare "${@:2}"
    is "$status" 1
    is "$out" ""
    has "$err" "$part"
}
wrong "--llama-bench or --command" "no peer" --model "$model"
wrong "--model" "no model" --command 'echo 1 2'
wrong "no such file" "a model that is not there" --command 'echo 1 2' --model "$WORK/none"
wrong "cannot" "a peer that is not there" --llama-bench "$WORK/none" --model "$model"
wrong "unknown option" "an unknown option" --fast
wrong "list" "bad threads" --command 'echo 1 2' --model "$model" -t 1,x
wrong "list" "no threads" --command 'echo 1 2' --model "$model" -t ''
wrong "whole numbers" "no runs" --command 'echo 1 2' --model "$model" -r ''
wrong "needs a value" "no value" --command
finish
