#!/usr/bin/env bash
# What tern train exports and tern convert writes for Hugging Face's transformers, loaded by it: the same ids and logits.
. "$(dirname "$0")/lib.sh"

python=
for candidate in "${PYTHON:-python3}" python3; do
    "$candidate" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "transformers"))))' \
        2>/dev/null && python=$candidate && break
done
if [ -z "$python" ]; then
    echo "torch and transformers are not installed (PYTHON names another python3): what they load is not tested"
    exit 77
fi
cd "$WORK" || exit 1
text="Once upon a time there was a tern."
name="training" err=
"$TERN" train tokenizer "$ROOT"/README.md --vocab-size 512 -o tok.json >/dev/null 2>&1 || fail "no tokenizer"
"$TERN" train data "$ROOT"/README.md --tokenizer tok.json --held-out 0 --split-on '\n\n' -o text.shard >/dev/null 2>&1 ||
    fail "no shard"
cat >run.json <<END
{"data": "text.shard", "tokenizer": "tok.json", "out": "run", "layers": 2, "hidden": 128, "ffn": 256, "heads": 2,
 "kv_heads": 1, "context": 64, "batch": 8, "steps": 60, "warmup_steps": 4, "eval_every": 0, "save_every": 0}
END
run "a model" "$TERN" train pretrain run.json
is "$status" 0
ids=$("$TERN" tokenize run/master -p "$text" | tr -s ', \n' ',' | sed 's/^,//; s/,$//')
run "packed by tern convert" "$TERN" convert run/master run/bf16 --type hf-packed --dtype bf16
is "$status" 0
for folder in master packed bf16; do
    run "logits of $folder" "$TERN" logits "run/$folder" --ids "$ids" -o $folder.f32
    is "$status" 0
done
# compiling what is run once takes longer than running it
run "transformers" env TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 "$python" "$ROOT/tests/cli/transformers_check.py" "$ids" \
    run/master master.f32 float32 run/packed packed.f32 bfloat16 run/bf16 bf16.f32 bfloat16
if [ "$status" = 77 ]; then
    echo "transformers is short of something: $out"
    exit 77
fi
is "$status" 0
is "$(grep -c . "$WORK/out")" 3
# float32: sums in another order, and an activation on the edge of two int8 values may fall to the other one (2e-6 of 4.5
# without such); bfloat16, which transformers computes with where that is what the file holds: 8 bits (0.02 of 4.5)
bound=0.02
while read -r difference largest first theirs; do
    awk -v d="$difference" -v l="$largest" -v f="$first" -v b=$bound 'BEGIN { exit !(l > 0.1 && d < b * l && f >= 0.8) }' ||
        fail "the logits differ by $difference, of at most $largest; $first of the tokens have the same first choice"
    is "$theirs" "$ids"
    bound=0.05
done <"$WORK/out"
finish
