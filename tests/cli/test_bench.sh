#!/usr/bin/env bash
# tern bench: one measurement, series and their files, counters. Never a speed: only that figures agree with each other.
. "$(dirname "$0")/lib.sh"

json() { # FILTER: of $out, with python (jq need not be there)
    python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1], {"d": d, "abs": abs, "len": len}))' \
        "$1" <<<"$out"
}
model=$WORK/tiny.gguf
"$TERN" synth "$model" --shape tiny 2>"$WORK/synth.err" || fail "synth: $(cat "$WORK/synth.err")"

# --- one measurement
run "bench" "$TERN" bench "$model" -p 32 -n 8 -r 3 -t 1,2
is "$status" 0
for part in "prefill of 32 tok" "decode of 8 tok" "tok/s" "peak RSS" "load" "GB/s" "%" "read per token" "first token"; do
    has "$out" "$part"
done
run "bench as JSON" "$TERN" bench "$model" -p 32 -n 8 -r 3 -t 1,2 --json
is "$status" 0
is "$(json 'len(d["results"]), [r["threads"] for r in d["results"]], d["runs"], d["prompt_tokens"]')" "(2, [1, 2], 3, 32)"
is "$(json 'all(r[k]["min"] <= r[k]["median"] <= r[k]["max"] and r[k]["min"] > 0 for r in d["results"] for k in
    ("prefill_tokens_per_second", "decode_tokens_per_second", "first_token_seconds"))')" True
is "$(json 'abs(d["results"][0]["prefill_tokens_per_second"]["max"] * d["results"][0]["first_token_seconds"]["min"] - 32) < 0.01')" True
# 4 layers, 2 KV heads of 64 bytes and a scale, keys and values, 16 tokens before and 4.5 on average
is "$(json 'd["results"][0]["kv_bytes_per_token"]')" $((4 * 2 * (64 + 4) * 2 * 41 / 2))
is "$(json 'd["results"][0]["bytes_per_token"] - d["results"][0]["weight_bytes_per_token"]')" $((4 * 2 * (64 + 4) * 2 * 41 / 2))
is "$(json 'all(r["memory_read_spread_bytes_per_second"]["median"] == r["memory_read_bytes_per_second"] and
    r["peak_macs_per_second"]["median"] > 1e8 and r["decode_share_of_memory_read"]["median"] > 0 and
    r["achieved_share_of_memory_read"] == r["decode_share_of_memory_read"]["median"] for r in d["results"])')" True
# one run: its share is its rate over the limit around it
run "bench, one run" "$TERN" bench "$model" -p 32 -n 8 -r 1 -t 1 --json
is "$(json 'd["ternary_weights"]')" $((4 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 768)))
is "$(json '[abs(r["prefill_share_of_peak"]["median"] * r["peak_macs_per_second"]["median"] / r["prefill_macs_per_second"] - 1) < 1e-6
    for r in d["results"]]')" "[True]"
is "$(json '[abs(r["prefill_macs_per_second"] / r["prefill_tokens_per_second"]["median"] / d["ternary_weights"] - 1) < 1e-6
    for r in d["results"]]')" "[True]"
is "$(json '[abs(r["achieved_bytes_per_second"] / r["decode_tokens_per_second"]["median"] / r["bytes_per_token"] - 1) < 1e-4 and
    abs(r["achieved_bytes_per_second"] / r["memory_read_bytes_per_second"] / r["achieved_share_of_memory_read"] - 1) < 1e-4
    for r in d["results"]]')" "[True]"
is "$(json 'd["results"][0]["memory_read_bytes_per_second"] > 1e8 and d["results"][0]["peak_rss_bytes"] > 1e6')" True
run "bench without prefill" "$TERN" bench "$model" -p 0 -n 4 -d 100 -r 1 -t 1 --json --kv-type q8
is "$(json 'd["results"][0]["prefill_tokens_per_second"], d["depth_tokens"], d["kv_type"]')" "(None, 100, 'q8')"
run "bench without decode" "$TERN" bench "$model" -p 8 -n 0 -r 2 -t 1
is "$status" 0
fails 2 "nothing to measure" "bench of nothing" "$TERN" bench "$model" -p 0 -n 0
fails 2 "512 tokens" "prompt beyond the context" "$TERN" bench "$model" -p 513 -t 1
fails 2 "512 tokens" "decode beyond the context" "$TERN" bench "$model" -p 1 -n 510 -t 1
fails 2 "no list" "bad thread list" "$TERN" bench "$model" -t 1,x
fails 2 "no list" "empty thread list" "$TERN" bench "$model" -t ""
fails 1 "none.gguf" "bench of no model" "$TERN" bench "$WORK/none.gguf"
head -c 5000 "$model" >"$WORK/cut.gguf"
fails 1 "cut.gguf" "bench of a damaged model" "$TERN" bench "$WORK/cut.gguf"


# --- the model's options
run "bench, dense FFN, one packing" "$TERN" bench "$model" -p 0 -n 4 -r 1 -t 1 --dense-ffn --exact-head --packing t2r16 --json
is "$status" 0
is "$(json 'd["results"][0]["packing"], d["results"][0]["ffn_up_share_read"], d["results"][0]["ffn_down_share_read"]')" \
    "('t2r16', 1.0, 1.0)"
# 2 bits a weight and the F16 head, and the norms
is "$(json '0 < d["results"][0]["weight_bytes_per_token"] - d["ternary_weights"] // 4 - 1024 * 256 * 2 < 50000')" True
run "bench, low memory" "$TERN" bench "$model" -p 4 -n 4 -r 1 -t 1 --low-memory --json
is "$status" 0
fails 1 "t9" "unknown packing" "$TERN" bench "$model" -t 1 --packing t9
run "bench, all logits" "$TERN" bench "$model" -p 4 -n 4 -r 1 -t 1 --all-logits --json
is "$(json 'd["all_logits"]')" True

# --- several streams
run "bench of streams" "$TERN" bench "$model" -p 0 -n 6 -r 3 -t 1 -b 3 --json
is "$status" 0
is "$(json 'd["results"][0]["batch_streams"]')" 3
is "$(json 'd["results"][0]["batch_tokens_per_second"]["median"] > 0 and d["results"][0]["batch_ratio_to_one_stream"]["median"] > 0')" True
run "bench of streams, table" "$TERN" bench "$model" -p 0 -n 6 -r 1 -t 1 -b 3
has "$out" "decode of 3 streams"
has "$out" "times one stream"

# --- counters: a figure, or one line that says why not; the kernel's own counts are always there
run "bench with counters" "$TERN" bench "$model" -p 8 -n 4 -r 1 -t 2 --counters
is "$status" 0
is "$err" ""
has "$out" "page_faults"
has "$out" "context_switches"
case $out in
*" cycles"* | *"no hardware counters: "*) ;;
*) fail "$name: neither cycles nor the reason" ;;
esac
run "bench with counters as JSON" "$TERN" bench "$model" -p 8 -n 4 -r 1 -t 2 --counters --json
is "$(json 'd["results"][0]["decode_counters"]["page_faults_per_token"] >= 0')" True
is "$(json 'all((d["results"][0][part + "_counters"]["cycles_per_token"] is None) == (d["results"][0]["counters_unavailable"] is not None
    and "cycles" in d["results"][0]["counters_unavailable"] or "hardware" in (d["results"][0]["counters_unavailable"] or ""))
    for part in ("prefill", "decode"))')" True
run "bench without counters" "$TERN" bench "$model" -p 8 -n 4 -r 1 -t 1
hasnt "$out" "page_faults"

# --- series
mkdir "$WORK/tmp"
run "sweep" "$TERN" bench "$model" -p 16 -n 4 -r 2 -t 1,2 --sweep threads=1,2 --sweep context=8,32 --sweep batch=1,2 \
    --sweep shape=tiny --tmp "$WORK/tmp" -o "$WORK/s.svg" -o "$WORK/s.csv" -o "$WORK/s.json"
is "$status" 0
is "$err" ""
has "$out" "context"
has "$out" "times one stream"
is "$(ls "$WORK/tmp")" ""
out=$(cat "$WORK/s.json")
is "$(json '[(s["axis"], [(r["value"], r["threads"]) for r in s["results"]]) for s in d["sweeps"]]')" \
    "[('threads', [(1, 1), (2, 2)]), ('context', [(8, 1), (32, 1), (8, 2), (32, 2)]), ('batch', [(1, 1), (2, 1), (1, 2), (2, 2)]), ('shape', [('tiny', 1), ('tiny', 2)])]"
is "$(json '[(r["prompt_tokens"], r["depth_tokens"]) for r in d["sweeps"][1]["results"]]')" "[(8, 8), (32, 32), (8, 8), (32, 32)]"
is "$(python3 - "$WORK/s.csv" <<'END'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
print(len(rows), [r["axis"] + r["value"] for r in rows[:3]], all(None not in r and len(r) == len(rows[0]) for r in rows),
      all(float(r["decode_tokens_per_second_min"]) <= float(r["decode_tokens_per_second"]) for r in rows))
END
)" "12 ['threads1', 'threads2', 'context8'] True True"
# well-formed, with a panel's frame and points for every series
is "$(python3 - "$WORK/s.svg" <<'END'
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
svg = "{http://www.w3.org/2000/svg}"
points = [c for c in root.iter(svg + "circle") if c.find(svg + "title") is not None]
texts = [t.text for t in root.iter(svg + "text")]
width, height = float(root.get("width")), float(root.get("height"))
inside = all(0 <= float(c.get("cx")) <= width and 0 <= float(c.get("cy")) <= height for c in points)
print(len(points), inside, texts.count("measured limit"), "tokens per second" in texts, "tern, 2 threads" in texts)
END
)" "24 True 2 True True"
run "sweep as JSON" "$TERN" bench "$model" -p 0 -n 4 -r 1 --sweep threads=1 --json
is "$(json 'd["sweeps"][0]["results"][0]["prefill_tokens_per_second"]')" None
fails 2 "does not begin with" "unknown axis" "$TERN" bench "$model" --sweep colour=1
fails 2 "does not begin with" "axis cut short" "$TERN" bench "$model" --sweep thread
fails 2 "no list" "bad values" "$TERN" bench "$model" --sweep threads=1,x
fails 2 "does not rise" "falling values" "$TERN" bench "$model" --sweep context=32,16
fails 2 "is empty" "no values" "$TERN" bench "$model" --sweep batch=
fails 2 "2b4t" "unknown shape" "$TERN" bench --sweep shape=tiny,huge
fails 2 ".svg" "unknown format" "$TERN" bench "$model" --sweep threads -o "$WORK/s.png"
fails 2 "--sweep" "output of no series" "$TERN" bench "$model" -o "$WORK/s.svg"
fails 2 "512 tokens" "context beyond the model's" "$TERN" bench "$model" -r 1 -n 4 -t 1 --sweep context=16,510
fails 1 "--tmp" "no folder for models" "$TERN" bench --sweep shape=tiny --tmp "$WORK/none"
fails 1 "none/s.svg" "no folder for the plot" "$TERN" bench "$model" -p 0 -n 2 -r 1 --sweep threads=1 -o "$WORK/none/s.svg"
mkdir "$WORK/folder.svg"
fails 1 "is a directory" "a folder for the plot" "$TERN" bench "$model" -p 0 -n 2 -r 1 --sweep threads=1 -o "$WORK/folder.svg"
fails 2 "up to 1024" "too many threads" "$TERN" bench "$model" --sweep threads=1,1025
fails 2 "up to 256" "too many streams" "$TERN" bench "$model" --sweep batch=257
fails 1 "$WORK/none: cannot make a folder for models there: No such file" "the folder that was named" \
    "$TERN" bench --sweep shape=tiny --tmp "$WORK/none"
# a model that the disk cannot hold: one error before anything is written, and nothing left (a limit stands in)
run "sweep on a full disk" bash -c 'trap "" XFSZ; ulimit -f 300; exec "$0" bench --sweep shape=tiny -p 0 -n 2 -r 1 --tmp "$1/tmp"' \
    "$TERN" "$WORK"
is "$status" 1
is "$(ls "$WORK/tmp")" ""
# and so it says where nobody ignores the signal
run "sweep at a file size limit" bash -c 'ulimit -f 300; exec "$0" bench --sweep shape=tiny -p 0 -n 2 -r 1 --tmp "$1/tmp"' \
    "$TERN" "$WORK"
is "$status" 1
has "$err" "File too large"
# Ctrl-C, a kill and a closed terminal leave nothing either (0: it was done before)
for signal in INT/130 TERM/143 HUP/129; do
    name="sweep ended by $signal"
    timeout --preserve-status -s "${signal%/*}" 0.5 \
        "$TERN" bench --sweep shape=0.7b -p 0 -n 2 -r 1 --tmp "$WORK/tmp" >/dev/null 2>&1
    status=$?
    [ "$status" = 0 ] || is "$status" "${signal#*/}"
    is "$(ls "$WORK/tmp")" ""
done
# a closed terminal is told twice, by the kernel and by the shell, and timeout(1) tells its child twice: still one event
set -m # without job control, what runs in the background ignores SIGINT
for signal in INT/130 TERM/143 HUP/129; do
    name="sweep ended by $signal twice"
    "$TERN" bench --sweep shape=0.7b -p 0 -n 2 -r 1 --tmp "$WORK/tmp" >/dev/null 2>&1 &
    pid=$!
    for _ in {1..200}; do
        [ -n "$(ls "$WORK/tmp")" ] && break
        sleep 0.02
    done
    kill -s "${signal%/*}" $pid
    sleep 0
    kill -s "${signal%/*}" $pid 2>/dev/null
    wait $pid
    is "$?" "${signal#*/}"
    is "$(ls "$WORK/tmp")" ""
done
set +m
finish
