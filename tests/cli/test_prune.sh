#!/usr/bin/env bash
# tern prune: what it writes, its table, bad input, and that nothing half-written stays behind.
. "$(dirname "$0")/lib.sh"

model=$WORK/small.gguf
text=$WORK/text.txt
"$TERN" synth "$model" --shape tiny --vocab 1024 --hidden 256 --ffn 512 --heads 4 --kv-heads 4 --layers 2 2>/dev/null ||
    fail "synth"
for i in $(seq 60); do echo "$i small birds fly over the sea, and $((i * i)) fish swim under it. What do they eat?"; done >"$text"
prune=("$TERN" prune "$model" --text "$text" -t 1)

run "prune" "${prune[@]}" --ffn 30% --heads 50% -o "$WORK/out.gguf" --eval "$text" --tokens 500
is "$status" 0
has "$out" "heads                   4 -> 2 a layer"
has "$out" "FFN channels            512 -> 384 a layer"
has "$out" "perplexity"
has "$err" "calibrated with 500 tokens"
has "$err" "no longer make its hidden size"
run "inspect" "$TERN" inspect "$WORK/out.gguf"
has "$out" "FFN size                384"
has "$out" "heads                   2"
run "run" "$TERN" run "$WORK/out.gguf" --ids 1,2,3 -n 4 --temp 0
is "$status" 0
[ "$(stat -c %s "$WORK/out.gguf" 2>/dev/null || stat -f %z "$WORK/out.gguf")" -lt \
    "$(stat -c %s "$model" 2>/dev/null || stat -f %z "$model")" ] || fail "the pruned file is no smaller"
# what is read for a token: so many bytes less as the channels and heads that went were packed in, and half the KV cache
for kind in "$model" "$WORK/out.gguf"; do
    run "bench" "$TERN" bench "$kind" --packing t2r16 -t 1 -p 4 -n 2 -r 1 --json
    is "$status" 0
    cp "$WORK/out" "$kind.json"
done
cat >"$WORK/bytes.py" <<'END'
import json, sys
before, after = (json.load(open(path))["results"][0] for path in sys.argv[1:])
def matrix(rows, cols): # of t2r16: docs/FORMAT.md
    return (rows + 15) // 16 * 64 * ((cols + 15) // 16)
def layer(ffn, heads): # hidden size 256, a KV head for each head of 64; the two SubLNs' gains
    q = 64 * heads
    return 2 * matrix(ffn, 256) + matrix(256, ffn) + 3 * matrix(q, 256) + matrix(256, q) + 4 * (ffn + q)
less = before["weight_bytes_per_token"] - after["weight_bytes_per_token"]
print(less == 2 * (layer(512, 4) - layer(384, 2)), before["kv_bytes_per_token"] == 2 * after["kv_bytes_per_token"])
END
run "bytes for a token" python3 "$WORK/bytes.py" "$model.json" "$WORK/out.gguf.json"
is "$out" "True True"
before=$(cksum <"$WORK/out.gguf")
# a file in tern's own layout, and another program's types, hold the same model
run "convert" "$TERN" convert "$WORK/out.gguf" "$WORK/own.gguf" -t 1
is "$status" 0
"$TERN" logits "$WORK/out.gguf" --ids 1,2,3 -o "$WORK/a.f32" 2>/dev/null || fail "logits"
"$TERN" logits "$WORK/own.gguf" --ids 1,2,3 -o "$WORK/b.f32" 2>/dev/null || fail "logits of the converted file"
cmp "$WORK/a.f32" "$WORK/b.f32" || fail "a converted model computes something else"
# ... and pruned in tern's own layout it is the same one, in that layout
logits() { "$TERN" logits "$1" --ids 1,2,3 -o "$2" 2>/dev/null || fail "logits of $1"; }
"$TERN" synth "$WORK/binary.gguf" --shape tiny --layers 1 --vocab 512 --ffn 512 --weights binary 2>/dev/null || fail "synth"
for packing in t5r16 t2r16 b1r16; do
    from=$model
    [ $packing = b1r16 ] && from=$WORK/binary.gguf
    own=("$TERN" prune "$WORK/own.gguf" --text "$text" -t 1 --tokens 500 --force)
    run "convert to $packing" "$TERN" convert "$from" "$WORK/own.gguf" --force --packing $packing
    is "$status" 0
    run "$packing: nothing cut" "${own[@]}" --ffn 0% -o "$WORK/same.gguf"
    cmp "$WORK/own.gguf" "$WORK/same.gguf" || fail "$name: 0% changes the model"
    run "$packing: FFN" "${own[@]}" --ffn 30% -o "$WORK/own-ffn.gguf"
    is "$status" 0
    run "the same pruned first" "$TERN" prune "$from" --text "$text" -t 1 --tokens 500 --ffn 30% -o "$WORK/ffn.gguf" --force
    run "and then converted" "$TERN" convert "$WORK/ffn.gguf" "$WORK/ffn-own.gguf" --force --packing $packing
    is "$status" 0
    cmp "$WORK/own-ffn.gguf" "$WORK/ffn-own.gguf" || fail "$packing: pruning and converting make another file than converting and pruning"
    python3 - "$ROOT" "$WORK/own.gguf" "$WORK/damaged.gguf" <<'END' || fail "damage"
import os, sys
sys.path.insert(0, os.path.join(sys.argv[1], "tests", "cli"))
from convert_matrix import read_gguf
data = bytearray(open(sys.argv[2], "rb").read())
codes = next(t[2] for name, t in read_gguf(sys.argv[2])[1].items() if name.startswith("blk.0.ffn_down"))
at = data.index(codes)
data[at:at + 400] = b"\xff" * 400
open(sys.argv[3], "wb").write(data)
END
    [ $packing = b1r16 ] || fails 1 "holds codes that are no ternary values" "$packing: damaged codes" \
        "$TERN" prune "$WORK/damaged.gguf" --text "$text" --ffn 30% -o "$WORK/no.gguf"
    run "$packing: heads" "${own[@]}" --heads 50% --unit groups -o "$WORK/own-heads.gguf"
    is "$status" 0
    run "heads of the source" "$TERN" prune "$from" --text "$text" -t 1 --tokens 500 --heads 50% --unit groups -o "$WORK/heads.gguf" --force
    logits "$WORK/own-heads.gguf" "$WORK/a.f32"
    logits "$WORK/heads.gguf" "$WORK/b.f32"
    cmp "$WORK/a.f32" "$WORK/b.f32" || fail "$packing: pruned heads compute something else"
done
rm -f "$WORK/same.gguf"
run "twice the same" "${prune[@]}" --ffn 0.3 --heads 0.5 -o "$WORK/out.gguf" --tokens 500 --force
is "$status" 0
is "$(cksum <"$WORK/out.gguf")" "$before"
run "nothing cut" "${prune[@]}" --ffn 0% -o "$WORK/same.gguf"
is "$status" 0
cmp "$model" "$WORK/same.gguf" || fail "0% changes the model"
run "json" "${prune[@]}" --ffn 25% --score taylor -o "$WORK/json.gguf" --json
is "$(python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(r["before"]["ffn_size"], r["after"]["ffn_size"])' "$WORK/out")" \
    "512 384"
run "one of two rounded to none" "${prune[@]}" --heads 5% --ffn 25% -o "$WORK/none.gguf"
is "$status" 0
has "$err" "5% of 4 heads is rounded to 0%"
run "far from what was asked for" "${prune[@]}" --ffn 99% -o "$WORK/far.gguf"
is "$status" 0
has "$err" "99% of 512 FFN channels is rounded to 75%"

run "sweep" "$TERN" prune "$model" --text "$text" -t 1 --sweep 0,25% --tokens 500
is "$status" 0
is "$(wc -l <"$WORK/out")" 4
has "$(tail -n 1 "$WORK/out")" " 384 "
run "sweep --json" env TMPDIR="$WORK" "$TERN" prune "$model" --text "$text" -t 1 --sweep 0.25 --only ffn --tokens 500 --json
is "$(python3 -c '
import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
print(row["heads"], row["ffn_size"], sorted(row["perplexity"]), row["decode_speedup"] > 0)' "$WORK/out")" \
    "4 384 ['activation', 'random', 'taylor'] True"
is "$(ls "$WORK" | grep -c '^tern-prune')" 0

# --- bad input: one line, nothing written
fails 2 "--text" "no text" "$TERN" prune "$model" --ffn 10% -o "$WORK/no.gguf"
fails 2 "-o names" "no output" "${prune[@]}" --ffn 10%
fails 2 "say how much" "no share" "${prune[@]}" -o "$WORK/no.gguf"
while IFS='|' read -r share; do
    fails 2 "--ffn $share: is no share" "share $share" "${prune[@]}" "--ffn=$share" -o "$WORK/no.gguf"
    fails 2 "--sweep" "sweep $share" "${prune[@]}" "--sweep=0,$share%,"
done <<'END'
100%
-5%
20
ten
1
20%%
nan

END
fails 2 "leave out -o" "sweep with an output" "${prune[@]}" --sweep 10% -o "$WORK/no.gguf"
fails 2 "--only" "--only alone" "${prune[@]}" --ffn 10% --only ffn -o "$WORK/no.gguf"
fails 2 "multiples of 128" "an odd multiple" bash -c '"$@" 2>&1 >/dev/null | grep -v ^calibrated >&2; exit ${PIPESTATUS[0]}' \
    - "${prune[@]}" --ffn 10% --multiple 96 -o "$WORK/no.gguf"
fails 2 "nothing would be cut: the smallest share that can be is 50% of the heads (4 in 4 KV groups), 25% of the 512 FFN channels" \
    "rounded to none" "${prune[@]}" --heads 5% -o "$WORK/no.gguf"
fails 1 "No such file" "no text file" "$TERN" prune "$model" --text "$WORK/none" --ffn 10% -o "$WORK/no.gguf"
fails 1 "No such file" "no model" "$TERN" prune "$WORK/missing.gguf" --text "$text" --ffn 10% -o "$WORK/no.gguf"
echo "too short" >"$WORK/short"
fails 1 "short: the text to calibrate with is too short" "a short text" \
    "$TERN" prune "$model" --text "$WORK/short" --ffn 25% -o "$WORK/no.gguf"
fails 1 "--force" "the output exists" "${prune[@]}" --ffn 10% -o "$WORK/out.gguf"
fails 1 "is the model that is to be pruned" "onto itself" "${prune[@]}" --ffn 10% --force -o "$model"
cp "$text" "$WORK/text.kept"
fails 1 "input and output at once" "onto the text" "${prune[@]}" --ffn 10% --force -o "$text"
cmp "$text" "$WORK/text.kept" || fail "the text was changed"
: >"$WORK/empty"
fails 1 "empty: is empty" "nothing to measure" "${prune[@]}" --ffn 10% --eval "$WORK/empty" -o "$WORK/no.gguf"
fails 1 "cannot write" "into no folder" "${prune[@]}" --ffn 10% -o "$WORK/none/no.gguf"
"$TERN" convert "$model" "$WORK/hf" --type hf-packed 2>/dev/null || fail "convert to a folder"
fails 1 "cannot make the folder" "a folder into no folder" "$TERN" prune "$WORK/hf" --text "$text" -t 1 --ffn 10% -o "$WORK/none/no"
run "a folder" "$TERN" prune "$WORK/hf" --text "$text" -t 1 --ffn 25% --tokens 300 -o "$WORK/pruned"
is "$status" 0
is "$(ls -d "$WORK"/pruned*)" "$WORK/pruned"
fails 1 "is a folder" "onto a folder" "${prune[@]}" --ffn 10% --force -o "$WORK"
"$TERN" synth "$WORK/llama.gguf" --shape tiny --layout llama 2>/dev/null || fail "synth --layout llama"
fails 1 "of the LLaMA layout; tern prunes models of BitNet's layout" "a LLaMA model" \
    "$TERN" prune "$WORK/llama.gguf" --text "$text" --ffn 10% -o "$WORK/no.gguf"
is "$(ls "$WORK" | grep -c '^no\.gguf')" 0
# a disk that is full half-way (a file size limit stands in for the disk)
run "a full disk" bash -c 'trap "" XFSZ; ulimit -f 100; exec "$@" -o "$0"' "$WORK/full.gguf" "${prune[@]}" --ffn 25%
is "$status" 1
has "$err" "full.gguf: cannot write"
is "$(ls "$WORK" | grep -c '^full\.gguf')" 0

finish
