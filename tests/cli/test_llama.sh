# shellcheck shell=bash disable=SC2034,SC2154
# Models of the LLaMA layout through the commands: folders and GGUF files, of floats and ternary.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

plain=$WORK/plain packed=$WORK/packed text=$WORK/text.txt
for kind in plain packed; do
    cp -r "$ROOT/tests/data/llama/$kind" "$WORK/$kind"
    cp "$ROOT"/tests/data/golden/small/hf-bf16/tokenizer* "$WORK/$kind"
done
printf 'A fox and a bear went to the river.\nThe fox was quick, and the bear was not.\n' >"$text"

# logits NAME MODEL: of five tokens, to $WORK/NAME
logits() {
    run "logits of $2" "$TERN" logits "$2" --ids 1,39,91,157,237 -o "$WORK/$1" --kv-type f32
    is "$status" 0
}
same() { cmp -s "$WORK/$1" "$WORK/$2" || fail "$1 and $2: other logits"; }

# ---- floats
run "perplexity" "$TERN" perplexity "$plain" "$text" --json
is "$status" 0
has "$out" '"tokens"'
run "generation" "$TERN" run "$plain" -p "A fox" -n 4 --temp 0 --print-ids
is "$status" 0
run "inspect" "$TERN" inspect "$plain"
has "$out" "architecture            llama"
has "$out" "Hugging Face (bf16),"
run "bench" "$TERN" bench "$plain" -p 4 -n 2 -r 1 -t 1
is "$status" 0
has "$out" "none"
logits plain.f32 "$plain"
for type in f16 bf16 f32; do
    run "to $type" "$TERN" convert "$plain" "$WORK/plain-$type.gguf" --type "$type"
    is "$status" 0
    logits "plain-$type.f32" "$WORK/plain-$type.gguf"
    same plain.f32 "plain-$type.f32"
done
run "to another GGUF" "$TERN" convert "$WORK/plain-f32.gguf" "$WORK/again.gguf" --type f16 --name plain
run "to the same" "$TERN" convert "$plain" "$WORK/plain-f16.gguf" --type f16 --force --name plain
is "$status" 0
logits again.f32 "$WORK/again.gguf"
same plain.f32 again.f32
run "inspect GGUF" "$TERN" inspect "$WORK/again.gguf"
has "$out" "rope_freqs.weight"
has "$out" "llama.rope.freq_base"

# ---- ternary
logits packed.f32 "$packed"
run "to tern's layout" "$TERN" convert "$packed" "$WORK/packed.gguf"
is "$status" 0
logits own.f32 "$WORK/packed.gguf"
same packed.f32 own.f32

# ---- a ternary one with rows of 256, so that every type fits; its scales, 1/16, are exact in 16 bits
wide=$WORK/wide
mkdir "$wide"
cp "$packed"/tokenizer* "$wide"
python3 - "$packed/config.json" "$wide" <<'END'
import json, random, struct, sys
random.seed(5)
config = json.load(open(sys.argv[1]))
config.update(hidden_size=256, intermediate_size=256, num_hidden_layers=1, head_dim=64)
json.dump(config, open(sys.argv[2] + "/config.json", "w"))
header, data = {}, b""
def put(name, kind, shape, raw):
    global data
    header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
def floats(n, value):
    return b"".join(struct.pack("<f", value())[2:] for _ in range(n))
layer = "model.layers.0."
put("model.embed_tokens.weight", "BF16", [277, 256], floats(277 * 256, lambda: random.uniform(-1, 1)))
for name in ("model.norm", layer + "input_layernorm", layer + "post_attention_layernorm"):
    put(name + ".weight", "BF16", [256], floats(256, lambda: random.uniform(0.5, 1.5)))
codes = [a + 4 * b + 16 * c + 64 * d for a in range(3) for b in range(3) for c in range(3) for d in range(3)]
for name, rows in (("self_attn.q_proj", 256), ("self_attn.k_proj", 128), ("self_attn.v_proj", 128), ("self_attn.o_proj", 256),
                   ("mlp.gate_proj", 256), ("mlp.up_proj", 256), ("mlp.down_proj", 256)):
    put(layer + name + ".weight", "U8", [rows // 4, 256], bytes(random.choices(codes, k=rows // 4 * 256)))
    put(layer + name + ".weight_scale", "F32", [1], struct.pack("<f", 16))
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[2] + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
END
logits wide.f32 "$wide"
for type in i2_s tq1_0 tq2_0 tern; do
    run "wide to $type" "$TERN" convert "$wide" "$WORK/wide-$type.gguf" --type "$type"
    is "$status" 0
    logits "wide-$type.f32" "$WORK/wide-$type.gguf"
    same wide.f32 "wide-$type.f32"
done
run "and on" "$TERN" convert "$WORK/wide-tq2_0.gguf" "$WORK/wide-on.gguf" --type tern
is "$status" 0
logits wide-on.f32 "$WORK/wide-on.gguf"
same wide.f32 wide-on.f32

# ---- refused
fails 1 "which are not ternary" "floats as ternary" "$TERN" convert "$plain" "$WORK/no.gguf" --type tq2_0
fails 1 "which are not ternary" "floats in tern's layout" "$TERN" convert "$plain" "$WORK/no.gguf"
fails 1 "would be run as one of floats" "ternary as floats" "$TERN" convert "$packed" "$WORK/no.gguf" --type f16
[ ! -e "$WORK/no.gguf" ] || fail "a refused conversion left a file"
fails 1 "activations are not rounded" "int4" "$TERN" perplexity "$plain" "$text" --act int4
fails 1 "adapters on weights of floats" "an adapter" "$TERN" run "$plain" -p A -n 1 --lora "$WORK"
run "a data set" "$TERN" train data "$text" -o "$WORK/chat.shard" --tokenizer "$packed"
is "$status" 0
fails 1 "SiLU, no SubLN" "training" "$TERN" train lora "$packed" "$WORK/chat.shard" -o "$WORK/no-lora"
finish
