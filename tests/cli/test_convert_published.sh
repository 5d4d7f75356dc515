#!/usr/bin/env bash
# tern convert --type hf-packed --dtype bf16 against packed folders that others made of the same masters, in the form that
# is published for BitNet b1.58 2B4T: every tensor, byte for byte.
. "$(dirname "$0")/lib.sh"

reference=$ROOT/../shared/reference
if [ ! -d "$reference/tiny-a/hf-packed" ]; then
    echo "$reference is not there: packed folders of others are not compared"
    exit 77
fi
cat >"$WORK/compare.py" <<'END'
"""compare.py ROOT OURS THEIRS [TENSOR...]: all tensors but those, and what config.json says."""
import json, os, sys
sys.path.insert(0, os.path.join(sys.argv[1], "tests", "cli"))
from convert_matrix import read_safetensors

ours, theirs = (read_safetensors(folder) for folder in sys.argv[2:4])
assert ours.keys() == theirs.keys() and len(ours) > 20, ours.keys() ^ theirs.keys()
for name in ours:
    assert ours[name][:2] == theirs[name][:2], (name, ours[name][:2], theirs[name][:2])
    assert ours[name] == theirs[name] or name in sys.argv[4:], f"{name}: other values"
configs = []
for folder in sys.argv[2:4]:
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        configs.append(json.load(file))
for key, value in configs[1].items():
    assert configs[0].get(key) == value, (key, configs[0].get(key), value)
END
for model in tiny-a tiny-b tiny-c story; do
    for source in hf-bf16 model-i2_s.gguf; do
        rm -rf "$WORK/ours"
        run "$model/$source" "$TERN" convert "$reference/$model/$source" "$WORK/ours" --type hf-packed --dtype bf16 -t 1
        is "$status" 0
        # the GGUF's embedding is F16, which has no room for the smallest of the masters' bf16
        lost=()
        [ $source = hf-bf16 ] || lost=(model.embed_tokens.weight lm_head.weight)
        run "$model/$source: tensors" python3 "$WORK/compare.py" "$ROOT" "$WORK/ours" "$reference/$model/hf-packed" "${lost[@]}"
        is "$status" 0
    done
done
finish
