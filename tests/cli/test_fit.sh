#!/usr/bin/env bash
# tern fit: the published page, devices by name, own devices, this machine; and what it says is read is what bench reads.
. "$(dirname "$0")/lib.sh"

json() { # EXPRESSION: of $out as d
    python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1], {"d": d, "abs": abs, "len": len, "round": round}))' \
        "$1" <<<"$out"
}
model=$WORK/tiny.gguf
"$TERN" synth "$model" --shape tiny 2>"$WORK/synth.err" || fail "synth: $(cat "$WORK/synth.err")"

# --- the page
run "list" "$TERN" fit --list
is "$status" 0
is "$err" ""
page=$out
[ "$(awk '{ if (length($0) > 100) n++ } END { print n + 0 }' "$WORK/out")" = 0 ] || fail "list: lines of more than 100 columns"
has "$page" "$(printf 'published        4.0 GB           -    0.3 GB  f16     4.5 GB       4.5 GB     4.6 GB       4.6 GB')"
while read -r device rate; do
    grep -q "^${device//_/ }  *[0-9]* GB .* $rate tok/s, fits" <<<"$page" || fail "list: no $rate tok/s for $device"
done <<'END'
MI300X 654
RTX_4090 147
H100_SXM 489
MI250X 404
END
for part in "I2_S" "TQ1_0" "TQ2_0" "t2r16" "t5r16" "Q6_K" "q8" "GPUs" "unified memory" "CPUs" "Raspberry Pi 5"; do
    has "$page" "$part"
done
# docs/FIT.md shows it as it is
sed -n '/^    \$ tern fit --list$/,/^```\|^[^ ]/p' "$ROOT/docs/FIT.md" | sed -n '2,$p' | sed -n '/^    /s/^    //p; /^$/p' >"$WORK/shown"
is "$(sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' "$WORK/shown")" "$page"

run "no option" "$TERN" fit
is "$status" 0
has "$out" "LM head"
hasnt "$out" "MI300X"
run "some columns" "$TERN" fit --list --type TQ1_0,bf16 --context 100 --batch 8
is "$status" 0
has "$out" "8 streams"
has "$out" "TQ1_0              BF16"
hasnt "$out" "I2_S"

# --- one device
run "device" "$TERN" fit --device 4090 --device "m4 m" -c 2048
is "$status" 0
has "$out" "RTX 4090: 24.0 GB of memory"
has "$out" "M4 Max: "
has "$out" "https://"
has "$out" "147 tok/s"
run "does not fit" "$TERN" fit 8b --device m1
is "$status" 0
has "$out" "does not fit"
has "$out" "fits with"
run "nothing fits" "$TERN" fit 70b --device m1
has "$out" "no form of this model fits"
fails 2 "RTX 5090, RTX 4090" "ambiguous device" "$TERN" fit --device rtx
fails 2 "the nearest names are RTX 4090," "unknown device" "$TERN" fit --device "rtx 4091"
fails 2 "is empty" "no device" "$TERN" fit --device ""

# --- own devices
cat >"$WORK/mine.json" <<'END'
{"devices": [{"name": "my laptop", "kind": "cpu", "class": "cpu", "memory_gb": 2, "bandwidth_gb_s": 40},
             {"name": "box", "memory_gb": 1000, "bandwidth_gb_s": 1000, "efficiency": 1.0}]}
END
run "own devices" "$TERN" fit --devices "$WORK/mine.json" --device laptop --device box --json --context 2048
is "$status" 0
is "$(json '[(x["name"], x["kind"], x["memory_bytes"], x["usable_bytes"]) for x in d["devices"]]')" \
    "[('my laptop', 'cpu', 2000000000.0, 1700000000.0), ('box', 'gpu', 1000000000000.0, 950000000000.0)]"
is "$(json '[(e["type"], e["verdict"]) for e in d["devices"][0]["estimates"] if e["type"] in ("BF16", "I2_S", "t5r16")]')" \
    "[('BF16', 'does not fit'), ('I2_S', 'tight'), ('t5r16', 'fits')]"
is "$(json '["reason" in e for e in d["devices"][0]["estimates"] if e["type"] in ("BF16", "I2_S", "t5r16")]')" "[True, True, False]"
# bandwidth x efficiency / bytes
is "$(json 'all(abs(e["tokens_per_second"] * f["contexts"][0]["read_bytes_per_step"] / 1e12 - 1) < 1e-6
    for e, f in zip(d["devices"][1]["estimates"], d["forms"]) if e["runs"] and e["type"] == f["type"])')" True
is "$(json '[e["type"] for e in d["devices"][1]["estimates"] if not e["runs"]]')" "['t2r16', 't5r16']"
echo '{"devices": [{"name": "x", "memory_gb": 2}]}' >"$WORK/bad.json"
fails 1 "bad.json: device 1 (x): 'bandwidth_gb_s' is missing" "bad devices" "$TERN" fit --devices "$WORK/bad.json"
echo 'name,memory' >"$WORK/bad.csv"
fails 1 "bad.csv: no JSON: line 1" "devices that are no JSON" "$TERN" fit --devices "$WORK/bad.csv"
fails 1 "none.json" "no such devices" "$TERN" fit --devices "$WORK/none.json"

# --- what bench really reads, on any machine: the reference kernels have both packings
for packing in t2r16 t5r16; do
    for kv in q8 f16; do
        [ "$packing $kv" = "t5r16 f16" ] && continue # the cache does not depend on the packing
        run "bench $packing $kv" env TERN_CPU=ref "$TERN" bench "$model" -p 0 -n 3 -d 99 -r 1 -t 1 --dense-ffn \
            --packing $packing --kv-type $kv --json
        is "$status" 0
        weights=$(json 'd["results"][0]["weight_bytes_per_token"]')
        loaded=$(json 'd["results"][0]["loaded_bytes"]')
        cache=$(json 'd["results"][0]["kv_bytes_per_token"]')
        run "fit $packing $kv" "$TERN" fit "$model" --type $packing --kv-type $kv --context 101 --json
        is "$status" 0
        is "$(json 'd["forms"][0]["weight_bytes_per_step"]')" "$weights"
        is "$(json 'd["forms"][0]["matrix_bytes"] + d["forms"][0]["embedding_bytes"] + d["forms"][0]["rest_bytes"] - 50000000')" \
            "$loaded"
        # 100, 101 and 102 tokens: 101 in the mean
        is "$(json 'round(101 * d["forms"][0]["kv_bytes_per_token"])')" "$cache"
        is "$(json 'd["forms"][0]["contexts"][0]["read_bytes_per_step"]')" $((weights + cache))
    done
done

# --- other models than ternary ones: binary, and LLaMA's with floats
"$TERN" synth "$WORK/binary.gguf" --shape tiny --weights binary 2>/dev/null || fail "synth --weights binary failed"
"$TERN" synth "$WORK/llama.gguf" --shape tiny --layout llama 2>/dev/null || fail "synth --layout llama failed"
for scale in row group; do # and scales by row and group, which are read, too
    "$TERN" quantize "$WORK/llama.gguf" -o "$WORK/$scale.gguf" --scale $scale >/dev/null 2>&1 || fail "quantize --scale $scale failed"
done
while read -r file form; do
    packing= # which of two is chosen for ternary matrices is a matter of speed
    [ "$form" != t5r16 ] || packing=$form
    run "bench $file" env TERN_CPU=ref TERN_PACKING=$packing "$TERN" bench "$WORK/$file.gguf" -p 0 -n 3 -d 99 -r 1 -t 1 --dense-ffn --json
    is "$status" 0
    weights=$(json 'd["results"][0]["weight_bytes_per_token"]')
    loaded=$(json 'd["results"][0]["loaded_bytes"]')
    run "fit $file" "$TERN" fit "$WORK/$file.gguf" --json
    is "$status" 0
    is "$(json "[f['weight_bytes_per_step'] for f in d['forms'] if f['type'] == '$form']")" "[$weights]"
    is "$(json "[f['matrix_bytes'] + f['embedding_bytes'] + f['rest_bytes'] - 50000000 for f in d['forms'] if f['type'] == '$form']")" \
        "[$loaded]"
done <<'END'
binary b1r16
llama stored
row t5r16
group t5r16
END
run "fit group" "$TERN" fit "$WORK/group.gguf" --json
is "$(json 'd["model"]["scale_columns"]')" "[256, 256, 256, 256, 256, 256, 256]"
is "$(json '[f["type"] for f in d["forms"]]')" "['BF16', 'TQ2_0', 'TQ1_0', 't2r16', 't5r16']"
run "fit row" "$TERN" fit "$WORK/row.gguf"
has "$out" "stored as TQ2_0, a scale for each 256 to 768 weights of a row, "
has "$out" "rows or scales cannot be stored so: I2_S"
fails 2 "scales by row or group cannot be stored as I2_S" "one scale a matrix" "$TERN" fit "$WORK/row.gguf" --type I2_S
run "fit llama" "$TERN" fit "$WORK/llama.gguf" --json
is "$(json 'd["model"]["layout"], d["model"]["floats"], [f["type"] for f in d["forms"]]')" \
    "('llama', True, ['BF16', 'Q8_0', 'Q4_0', 'stored', 'F16'])"
run "fit of floats" "$TERN" fit "$WORK/llama.gguf"
has "$out" "parameters, matrices of floats"
has "$out" "LLaMA's layout, stored as F16"
run "fit of floats, made ternary" "$TERN" fit "$WORK/llama.gguf" --type I2_S,t5r16
is "$status" 0
run "fit of a binary model" "$TERN" fit "$WORK/binary.gguf" --list
has "$out" "of them binary"
has "$out" "b1r16"
run "fit of a shape with one bit" "$TERN" fit 2b4t --type t2r16,b1r16
is "$status" 0
fails 2 "not all -1 or 1" "one bit for a ternary model" "$TERN" fit "$model" --type b1r16
fails 2 "whose matrices are floats" "floats of a ternary model" "$TERN" fit "$model" --type stored

# --- files, shapes and what is neither
run "file" "$TERN" fit "$model"
is "$status" 0
has "$out" "stored as I2_S, embedding F16"
hasnt "$out" "published"
run "the built-in model" "$TERN" fit demo --embedding-type q6_k --json
is "$(json 'd["model"]["from_file"], d["model"]["weight_type"], d["model"]["context_tokens"]')" "(True, 'TQ1_0', 512)"
run "shape" "$TERN" fit 0.7b --json
is "$(json 'd["model"]["from_file"], d["streams"], len(d["devices"])')" "(False, 1.0, 0)"
"$TERN" convert "$model" "$WORK/own.gguf" --packing t2r16 2>/dev/null || fail "convert failed"
run "tern's own layout" "$TERN" fit "$WORK/own.gguf" --json
is "$(json 'd["model"]["weight_type"]')" t2r16
fails 1 "there are tiny" "neither a file nor a shape" "$TERN" fit nothing
fails 1 "none.gguf" "no such file" "$TERN" fit "$WORK/none.gguf"
head -c 1000 "$model" >"$WORK/short.gguf"
fails 1 "short.gguf" "truncated file" "$TERN" fit "$WORK/short.gguf"
fails 2 "not one of" "unknown type" "$TERN" fit --type Q9
fails 2 "no list" "empty place in the types" "$TERN" fit --type I2_S,,t5r16
fails 2 "not of this model" "published figures of another shape" "$TERN" fit 8b --type published
fails 2 "not one of" "unknown embedding type" "$TERN" fit --embedding-type I2_S
fails 2 "context is 4096" "context beyond the model's" "$TERN" fit --context 4097
fails 2 "no list" "bad contexts" "$TERN" fit --context 1,x
fails 2 "no list" "no context" "$TERN" fit --context ""
fails 2 "out of range" "no streams" "$TERN" fit --batch 0

# --- this machine: only that figures are there and agree
run "here" "$TERN" fit tiny --here -t 1
is "$status" 0
has "$out" "this machine: "
has "$out" "measured now"
run "here as JSON" "$TERN" fit tiny --here -t 1 --device h100 --json
is "$(json '[x["name"] for x in d["devices"]], d["devices"][0]["class"]')" "(['this machine', 'H100 SXM'], 'measured')"
is "$(json 'd["devices"][0]["memory_bytes"] > 1e8 and d["devices"][0]["bandwidth_bytes_per_second"] > 1e7')" True
is "$(json '0 < d["devices"][0]["cpu_share"] < 1.1, 0 < d["devices"][0]["slowest_pass_share"] <= 1')" "(True, True)"
is "$(json '"first_hand" in d["devices"][0], d["devices"][1]["first_hand"]')" "(False, False)"
run "where figures are from" "$TERN" fit --device mi250x --device h100
has "$out" "first-hand: https://www.amd.com/"
has "$out" "second-hand: https://"
# with three others on the same CPU it says that it is no measure of the machine
cpu=$(taskset -cp $$ 2>/dev/null | sed 's/.*[:,-] *//')
if [ "$cpu" ]; then
    hogs=()
    for i in 1 2 3; do
        taskset -c "$cpu" bash -c 'echo runs >"$0"; while :; do :; done' "$WORK/hog$i" &
        hogs+=($!)
    done
    until [ -s "$WORK/hog1" ] && [ -s "$WORK/hog2" ] && [ -s "$WORK/hog3" ]; do sleep 0.05; done
    run "a busy machine" taskset -c "$cpu" "$TERN" fit tiny --here -t 1
    is "$status" 0
    has "$err" "this machine is busy: other programs had the CPUs"
    has "$out" "this machine was busy"
    kill "${hogs[@]}"
    wait "${hogs[@]}" 2>/dev/null
else
    echo "skipped: no taskset to keep a CPU busy with"
fi
finish
