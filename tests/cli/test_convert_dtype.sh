#!/usr/bin/env bash
# tern convert --type hf-packed --dtype: embedding, norms and scales as bf16, as the published folder has them, or F32;
# and what convert says of heads that other programs do not expect.
. "$(dirname "$0")/lib.sh"

cat >"$WORK/compare.py" <<'END'
"""compare.py ROOT FOLDER-OF-F32 FOLDER-OF-BF16: the second is the first, rounded to the nearest, ties to even."""
import json, os, struct, sys
sys.path.insert(0, os.path.join(sys.argv[1], "tests", "cli"))
from convert_matrix import read_safetensors

def bf16(word):
    return (word + 0x7fff + (word >> 16 & 1)) >> 16

wide, narrow = (read_safetensors(folder) for folder in sys.argv[2:])
assert wide.keys() == narrow.keys(), wide.keys() ^ narrow.keys()
rounded = 0
for name, (kind, shape, data) in wide.items():
    if kind == "U8":
        assert narrow[name] == (kind, shape, data), name
        continue
    assert kind == "F32" and narrow[name][:2] == ("BF16", shape), (name, kind, narrow[name][:2])
    words = struct.unpack(f"<{len(data) // 4}I", data)
    rounded += sum(word & 0xffff != 0 for word in words)
    assert narrow[name][2] == struct.pack(f"<{len(words)}H", *map(bf16, words)), f"{name}: other values"
assert rounded, "nothing had to be rounded"
for folder, dtype in zip(sys.argv[2:], ("float32", "bfloat16")):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        assert json.load(file)["torch_dtype"] == dtype, folder
END
"$TERN" synth "$WORK/wide.gguf" --shape tiny --layers 2 --vocab 512 --embedding-type f32 2>/dev/null || fail "synth"
for model in "$WORK/wide.gguf" "$ROOT/tests/data/golden/small/hf-bf16"; do
    for dtype in f32 BF16; do
        rm -rf "${WORK:?}/$dtype"
        run "$model as $dtype" "$TERN" convert "$model" "$WORK/$dtype" --type hf-packed --dtype $dtype
        is "$status" 0
    done
    run "compare" python3 "$WORK/compare.py" "$ROOT" "$WORK/f32" "$WORK/BF16"
    is "$status" 0
    run "logits" "$TERN" logits "$WORK/BF16" --ids 1,2,3 -o "$WORK/logits"
    is "$status" 0
    rm -rf "$WORK/auto"
    run "by itself" "$TERN" convert "$model" "$WORK/auto" --type hf-packed
    cmp "$WORK/auto/model.safetensors" "$WORK/f32/model.safetensors" || fail "$name: no F32, though bf16 rounds"
done
run "a bf16 folder by itself" "$TERN" convert "$WORK/BF16" "$WORK/again" --type hf-packed
cmp "$WORK/again/model.safetensors" "$WORK/BF16/model.safetensors" || fail "$name: another file"

fails 2 "dtype 'f16' is not one of" "a dtype of no folder" "$TERN" convert demo "$WORK/no" --type hf-packed --dtype f16
fails 2 "goes with type hf-packed" "a dtype of a GGUF" "$TERN" convert demo "$WORK/no" --type i2_s --dtype bf16
python3 - "$ROOT" "$WORK/wide.gguf" "$WORK/large.gguf" <<'END' || fail "damage"
import os, struct, sys
sys.path.insert(0, os.path.join(sys.argv[1], "tests", "cli"))
from convert_matrix import read_gguf
data = open(sys.argv[2], "rb").read()
at = data.index(read_gguf(sys.argv[2])[1]["token_embd.weight"][2][:4096])
open(sys.argv[3], "wb").write(data[:at] + struct.pack("<f", 3.4028234e38) + data[at + 4:])
END
fails 1 "too large for bf16" "a value that bf16 has not" "$TERN" convert "$WORK/large.gguf" "$WORK/no" --type hf-packed --dtype bf16
[ ! -e "$WORK/no" ] || fail "a refused conversion left something"

# --- heads that do not make the hidden size
"$TERN" synth "$WORK/model.gguf" --shape tiny --layers 2 --hidden 256 --ffn 512 --heads 4 --kv-heads 2 --vocab 512 2>/dev/null
seq 1 400 | tr '\n' ' ' >"$WORK/text.txt"
run "prune" "$TERN" prune "$WORK/model.gguf" --heads 50% --text "$WORK/text.txt" --tokens 256 -o "$WORK/pruned.gguf" -t 1
is "$status" 0
for type in hf-packed i2_s; do
    run "pruned heads to $type" "$TERN" convert "$WORK/pruned.gguf" "$WORK/pruned-$type" --type $type
    is "$status" 0
    has "$err" "pruned-$type: its heads do not make its hidden size"
    run "whole heads to $type" "$TERN" convert "$WORK/model.gguf" "$WORK/whole-$type" --type $type
    is "$status" 0
    hasnt "$err" "hidden size"
done
run "pruned heads to tern's layout" "$TERN" convert "$WORK/pruned.gguf" "$WORK/pruned-tern"
is "$status" 0
hasnt "$err" "hidden size"
finish
