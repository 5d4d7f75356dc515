#!/usr/bin/env bash
# tern run on the built-in model: prompts, output, limits, pipes, interruption.
. "$(dirname "$0")/lib.sh"

prompt="Once upon a time, there was a little girl named"
greedy() { "$TERN" run demo -p "$prompt" -n 24 --temp 0 "$@" 2>>"$WORK/err2"; }

# --- text: streamed text and ids agree, and nothing but the arithmetic decides
text=$(greedy)
ids=$(greedy --print-ids)
name="greedy" err=
[ "${#text}" -gt 40 ] || fail "greedy text is short: '$text'"
is "$(grep -c '^[0-9]\+\(,[0-9]\+\)*$' <<<"$ids")" 1
is "$(tr , '\n' <<<"$ids" | wc -l)" 24
is "$("$TERN" tokenize demo --decode -p "$ids")" "$text"
is "$(greedy -t 1)" "$text"
is "$(greedy -t 3 --chunk 1)" "$text"
is "$(greedy --chunk 7)" "$text"
is "$(BITNET_CHUNK_SIZE=5 greedy)" "$text"
f32=$(greedy --kv-type f32 --print-ids)
is "$(TERN_CPU=ref greedy --kv-type f32 --print-ids)" "$f32"
is "$(BITNET_KV_CACHE_DTYPE=float32 greedy --print-ids)" "$f32"
is "$(greedy --echo)" "$prompt$text"
is "$(cat "$WORK/err2")" ""
has "$(greedy --kv-type q8)" " "

# --- where the prompt comes from: all the same prompt
printf '%s\n' "$prompt" >"$WORK/prompt"
name="prompt from a file"
is "$("$TERN" run demo -f "$WORK/prompt" -n 24 --temp 0)" "$text"
name="prompt from standard input"
is "$("$TERN" run demo -f - -n 24 --temp 0 <"$WORK/prompt")" "$text"
is "$("$TERN" run demo - -n 24 --temp 0 <"$WORK/prompt")" "$text"
is "$("$TERN" run - -n 24 --temp 0 <"$WORK/prompt")" "$text"
is "$("$TERN" run demo -n 24 --temp 0 <"$WORK/prompt")" "$text"
is "$("$TERN" run -n 24 --temp 0 <"$WORK/prompt")" "$text"
is "$("$TERN" run demo -f <(cat "$WORK/prompt") -n 24 --temp 0 </dev/null)" "$text"
name="prompt as ids"
prompt_ids=$("$TERN" tokenize demo -p "$prompt" | tr ' ' ',')
is "$("$TERN" run demo --ids "$prompt_ids" -n 24 --temp 0)" "$text"
name="-p and -f"
both=$("$TERN" run demo -p "One day" -f "$WORK/prompt" -n 8 --temp 0)
is "$("$TERN" run demo -p "One day"$'\n'"$prompt" -n 8 --temp 0)" "$both"
run "no prompt, empty input" "$TERN" run -n 8 --seed 1
is "$status" 0
has "$out" "Once upon a time"
run "no prompt, closed input" bash -c '"$0" run -n 8 --seed 1 <&-' "$TERN"
is "$status" 0
has "$out" "Once upon a time"
run "empty prompt" "$TERN" run demo -p "" -n 8 --temp 0
is "$status" 0
[ -n "$out" ] || fail "$name: no text from BOS alone"
run "empty prompt, as ids" "$TERN" run demo --ids "$("$TERN" tokenize demo -p "")" -n 8 --temp 0
bos=$out
run "empty prompt" "$TERN" run demo -p "" -n 8 --temp 0
is "$out" "$bos"
fails 1 "prompt is empty" "nothing at all" "$TERN" run demo -p "" --no-bos
fails 1 "at least one id" "no ids" "$TERN" run demo --ids ""
fails 1 "vocabulary" "unknown id" "$TERN" run demo --ids 1,2,60000
run "invalid UTF-8 prompt" "$TERN" run demo -p $'caf\xe9 \xff' -n 4 --seed 1
is "$status" 0

# --- how much
run "-n 0" "$TERN" run demo -p "$prompt" -n 0
is "$status/$out/$err" "0//"
run "-n 0 --echo" "$TERN" run demo -p "$prompt" -n 0 --echo
is "$status/$out/$err" "0/$prompt/"
run "-n 0 --stats" "$TERN" run demo -p "$prompt" -n 0 --stats
is "$status/$out" "0/"
has "$err" "generated:      0 tokens"
long=$(yes "the cat sat on the mat" | head -n 200)
run "-n 0 with a prompt that does not fit" "$TERN" run demo -p "$long" -n 0
is "$status/$out/$err" "0//"
fails 1 "the context holds 512" "prompt longer than the context" "$TERN" run demo -p "$long"
n=$("$TERN" tokenize demo -p "$long" --count | cut -d' ' -f1)
has "$err" "$n tokens"
fails 1 "-c" "prompt longer than -c" "$TERN" run demo -p "$prompt" -c 8
fails 1 "512" "more context than the model has" "$TERN" run demo -p "$prompt" -c 100000
# A long prompt is evaluated in parts, with a progress line on a terminal once it has taken a second.
long=$(yes "the cat sat on the mat" | head -n 70)
n=$("$TERN" tokenize demo -p "$long" --count | cut -d' ' -f1)
run "a prompt in parts" "$TERN" run demo -p "$long" -n 4 --temp 0 --stats
[ "$n" -gt 256 ] || fail "$name: only $n tokens"
has "$err" "prompt:         $n tokens"
run "a prompt in parts, by ids" "$TERN" run demo -n 4 --temp 0 --print-ids \
    --ids "$("$TERN" tokenize demo -p "$long" | tr ' ' ,)"
is "$err" ""
if python3 -c "import pty" 2>/dev/null; then
    name="progress"
    "$TERN" synth "$WORK/long.gguf" --shape tiny --ctx 16384 2>/dev/null
    for n in 400 1600 6400 16000; do # until it takes long enough
        ids=$(yes 7 | head -n $n | paste -sd,)
        out=$(TERN_CPU=ref python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' \
            "$TERN" run "$WORK/long.gguf" -t 1 --ids "$ids" -n 1 </dev/null)
        [[ $out == *"prompt ["* ]] && break
    done
    has "$out" "prompt ["
    has "$out" " tok/s"
    has "$out" " left"
fi
run "context gets full" "$TERN" run demo -p "$prompt" -c 24 -n -1 --ignore-eos --temp 0
is "$status" 0
has "$err" "context of 24 tokens is full"
[ -n "$out" ] || fail "$name: no text"
run "-n -1 ends" "$TERN" run demo -p "$prompt" -n -1 --temp 0
is "$status" 0

# --- sampling
sampled() { "$TERN" run demo -p "$prompt" -n 40 --temp 1.5 --top-k 0 --top-p 1 --min-p 0 "$@"; }
name="seed" err=
is "$(sampled --seed 7)" "$(sampled --seed 7 -t 1 --chunk 3)"
[ "$(sampled --seed 7)" != "$(sampled --seed 8)" ] || fail "seeds 7 and 8 give the same text"
[ "$(sampled)" != "$(sampled)" ] || fail "without --seed every text is the same"
name="top-k 1"
is "$(sampled --seed 9 --top-k 1 -n 24)" "$text"
name="logit bias"
first=${ids%%,*}
next=$(greedy --print-ids -n 1 --logit-bias "$first=-inf")
[ "$next" != "$first" ] || fail "a forbidden token came: $next"
is "$(greedy --print-ids -n 3 --logit-bias 5=-1 --logit-bias "$first=1000")" "$first,$first,$first"
name="penalties"
[ "$(greedy --print-ids -n 40 --repeat-penalty 2 --penalty-window -1)" != "$(greedy --print-ids -n 40)" ] ||
    fail "a repetition penalty changes nothing"
name="stop string"
word=$(cut -d' ' -f4 <<<"$text")
stopped=$(greedy --stop "never to be seen" --stop "$word")
hasnt "$stopped" "$word"
is "${text#"$stopped"}" "${text:${#stopped}}"
[ "${text#"$stopped$word"}" != "$text" ] || fail "$name: '$stopped' is not what stands before '$word' in '$text'"
run "--chat" "$TERN" run demo --chat -p "Tell me a story." --system "Be kind." -n 8 --seed 1
is "$status" 0
run "--special" "$TERN" run demo -p "" -n 3 --special --logit-bias "$("$TERN" tokenize demo --no-bos -p '<|eot_id|>')=1000" --ignore-eos
is "$out" "<|eot_id|><|eot_id|><|eot_id|>"
run "special tokens are not shown" "$TERN" run demo -p "" -n 3 --logit-bias "$("$TERN" tokenize demo --no-bos -p '<|eot_id|>')=1000" --ignore-eos
is "$status/$out" "0/"

# --- statistics: on stderr, every number with its unit
run "--stats" "$TERN" run demo -p "$prompt" -n 24 --temp 0 --stats --seed 5
is "$out" "$text"
for line in 'load time: *[0-9.]* m\?s$' "prompt: *$(tr , '\n' <<<"$prompt_ids" | wc -l) tokens, [0-9.]* tok/s\$" \
    'first token: *[0-9.]* m\?s ' 'generated: *24 tokens, [0-9.]* tok/s$' 'KV cache: *[0-9.]* [KMG]\?B$' \
    'peak RSS: *[0-9.]* [MG]B$' 'seed: *5$' 'stopped: *-n reached$'; do
    grep -q "^$line" "$WORK/err" || fail "--stats: no line '$line' in: $err"
done
hasnt "$err" $'\r'
hasnt "$err" $'\033'

# --- pipes and disks
name="closed pipe"
"$TERN" run demo -p "$prompt" -n -1 --ignore-eos --seed 1 2>"$WORK/err" | head -c 10 >"$WORK/out"
status=${PIPESTATUS[0]}
err=$(cat "$WORK/err")
is "$status" 0
is "$err" ""
is "$(wc -c <"$WORK/out")" 10
name="closed pipe before the first token"
"$TERN" run demo -p "$prompt" --seed 1 2>"$WORK/err" | true
status=${PIPESTATUS[0]}
is "$status/$(cat "$WORK/err")" "0/"
if [ -c /dev/full ]; then
    name="full disk"
    "$TERN" run demo -p "$prompt" --seed 1 >/dev/full 2>"$WORK/err" </dev/null
    status=$? err=$(cat "$WORK/err")
    is "$status" 1
    is "$(wc -l <"$WORK/err")" 1
    has "$err" "tern: standard output: cannot write: No space left on device"
fi

# --- Ctrl-C: the text so far stays, the status says so. The context is full after a while, so the signal must come
# as soon as there is text (and the slow kernels leave time for it); should it come too late, try again.
name="interrupt"
for try in 1 2 3 4 5; do
    mkfifo "$WORK/fifo$try"
    set -m # without job control, what runs in the background ignores SIGINT
    TERN_CPU=ref "$TERN" run demo -p "$prompt" -n -1 --ignore-eos --seed 1 >"$WORK/fifo$try" 2>"$WORK/err" &
    pid=$!
    set +m
    exec 3<"$WORK/fifo$try"
    read -r -N 1 -u 3 first
    kill -INT $pid
    rest=$(cat <&3)
    exec 3<&-
    wait $pid
    status=$?
    [ "$status" = 130 ] && break
done
err=$(cat "$WORK/err")
is "$status" 130
hasnt "$err" "tern:"
[ -n "$first$rest" ] || fail "interrupt: no text"
finish
