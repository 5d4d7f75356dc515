#!/usr/bin/env bash
# tern quantize: models of floats in both layouts, its figures against tern perplexity, and bad input.
. "$(dirname "$0")/lib.sh"

small=$ROOT/tests/data/golden/small/hf-bf16
cat >"$WORK/make.py" <<'END'
import json, os, random, shutil, struct, sys
kind, source, folder = sys.argv[1:]
random.seed(3)
hidden, ffn, vocab, layers = 128, 256, 277, 2
scaled = kind == "scaled" # ternary values with scales of their own by row and group of 256
llama = kind not in ("bitnet", "scaled")
if scaled:
    hidden, ffn, layers = 256, 512, 1
head_dim = 64 if llama or scaled else 32 # four heads of 64 are wider than the hidden size
q, kv = 4 * head_dim, 2 * head_dim
os.mkdir(folder)
shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
for i in range(layers):
    p = "model.layers.%d." % i
    shapes.update({p + "self_attn.q_proj.weight": (q, hidden), p + "self_attn.k_proj.weight": (kv, hidden),
                   p + "self_attn.v_proj.weight": (kv, hidden), p + "self_attn.o_proj.weight": (hidden, q),
                   p + "mlp.gate_proj.weight": (ffn, hidden), p + "mlp.up_proj.weight": (ffn, hidden),
                   p + "mlp.down_proj.weight": (hidden, ffn), p + "input_layernorm.weight": (hidden,),
                   p + "post_attention_layernorm.weight": (hidden,)})
    if not llama:
        shapes.update({p + "self_attn.attn_sub_norm.weight": (q,), p + "mlp.ffn_sub_norm.weight": (ffn,)})
head, data = {}, bytearray()
for name, shape in shapes.items():
    n = shape[0] * (shape[1] if len(shape) > 1 else 1)
    norm = len(shape) == 1
    values = [1.0 + 0.1 * random.gauss(0, 1) if norm else random.gauss(0, 0.05) for _ in range(n)]
    for at in range(0, n if scaled and ".weight" in name and "proj" in name else 0, 256):
        scale = random.choice((1.0, 2.0, 8.0)) / 64
        values[at:at + 256] = random.choices((-scale, 0.0, scale), k=256)
    if kind == "nan" and name.endswith("1.mlp.up_proj.weight"):
        values[5] = float("nan")
    bits = b"".join(struct.pack("<f", v)[2:] for v in values) # bf16, cut off
    head[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(bits)]}
    data += bits
text = json.dumps(head).encode()
with open(folder + "/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
with open(source + "/config.json") as f:
    config = json.load(f)
del config["quantization_config"]
config.update(hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=4,
              num_key_value_heads=2, head_dim=head_dim, vocab_size=vocab)
if llama:
    config.update(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                  rope_scaling={"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 32})
with open(folder + "/config.json", "w") as f:
    json.dump(config, f)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(source + "/" + name, folder)
END
for i in $(seq 40); do echo "Line $i of a text that says little: $((i * 37 % 101)) birds fly far, $((i * 7)) rest."; done >"$WORK/text"

value() { # key of the JSON object in $out
    sed -n "s/^ *\"$1\": \([^,]*\),*$/\1/p" <<<"$out"
}
same() { # two numbers, to a thousandth
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && d * d < 1e-6 * a * a) }' ||
        fail "$name: $1 is not $2"
}

for kind in bitnet llama; do
    model=$WORK/$kind
    python3 "$WORK/make.py" $kind "$small" "$model" || fail "make.py"
    run "quantize $kind" "$TERN" quantize "$model" -o "$WORK/$kind.gguf" --text "$WORK/text" -c 64 -t 2
    is "$status" 0
    has "$out" "absmean"
    has "$out" "perplexity before"
    has "$out" "loss "
    run "quantize $kind with calibration" "$TERN" quantize "$model" -o "$WORK/$kind-c.gguf" --calibrate "$WORK/text" \
        --calibrate-tokens 500 --text "$WORK/text" -c 64 --json --name "a $kind"
    is "$status" 0
    is "$(value method)" '"compensated"'
    is "$(value calibration_tokens)" 500
    before=$(value perplexity_before)
    after=$(value perplexity_after)
    tokens=$(value tokens)
    run "perplexity of the $kind file" "$TERN" perplexity "$WORK/$kind-c.gguf" "$WORK/text" -c 64 --json
    is "$(value perplexity)" "$after"
    is "$(value tokens)" "$tokens"
    if [ $kind = llama ]; then # it runs as floats, too
        run "perplexity of the floats" "$TERN" perplexity "$model" "$WORK/text" -c 64 --json
        same "$(value perplexity)" "$before"
    fi
    hasnt "$err" "was not measured"
    run "the same file with one thread" "$TERN" quantize "$model" -o "$WORK/again.gguf" --force --calibrate "$WORK/text" \
        --calibrate-tokens 500 --name "a $kind" -t 1
    cmp "$WORK/again.gguf" "$WORK/$kind-c.gguf" || fail "another file with one thread"
    run "the name" "$TERN" inspect "$WORK/$kind-c.gguf"
    has "$out" "a $kind"
    has "$out" "I2_S"
    fails 1 "ternary already" "quantize it again" "$TERN" quantize "$WORK/$kind.gguf" -o "$WORK/no.gguf"
done
# --- without --text: on the end of the calibration text, which does not calibrate; its figures are those of that text alone
model=$WORK/llama
run "measured on the end" "$TERN" quantize "$model" -o "$WORK/end.gguf" --calibrate "$WORK/text" -c 64 --json -t 1
is "$status" 0
is "$(value text)" "\"$WORK/text\""
is "$(value end_of_calibration_text)" true
before=$(value perplexity_before)
after=$(value perplexity_after)
n=$(value text_bytes)
tail -c "$n" "$WORK/text" >"$WORK/end"
head -c $(($(wc -c <"$WORK/text") - n)) "$WORK/text" >"$WORK/beginning"
has "$(head -c 5 "$WORK/end")" "Line "
[ "$n" -gt $(($(wc -c <"$WORK/text") / 8)) ] && [ "$n" -le $(($(wc -c <"$WORK/text") / 4)) ] ||
    fail "$n bytes are kept of $(wc -c <"$WORK/text")"
run "on that alone" "$TERN" quantize "$model" -o "$WORK/end2.gguf" --calibrate "$WORK/beginning" --text "$WORK/end" -c 64 --json -t 1
is "$(value end_of_calibration_text)" false
is "$(value perplexity_before)" "$before"
is "$(value perplexity_after)" "$after"
cmp "$WORK/end.gguf" "$WORK/end2.gguf" || fail "the end has calibrated"
for i in $(seq 60); do cat "$WORK/text"; done | tr '\n' ' ' >"$WORK/long" # no line begins in it
run "of a long text" "$TERN" quantize "$model" -o "$WORK/end.gguf" --force --calibrate "$WORK/long" --calibrate-tokens 64 -c 64
is "$status" 0
has "$out" "the last 32.8 KB of $WORK/long, kept from the calibration, "
has "$out" "loss "
printf 'a' >"$WORK/a"
run "of a text of one byte" "$TERN" quantize "$model" -o "$WORK/end.gguf" --force --calibrate "$WORK/a"
is "$status" 0
hasnt "$out" "loss "
has "$err" "what it loses was not measured: the calibration text is too short"
run "without any text" "$TERN" quantize "$model" -o "$WORK/end.gguf" --force
has "$err" "what it loses was not measured: there is no text"
# --- scales by row and group: the model's own, which calibration finds; the perplexity shows which were there
python3 "$WORK/make.py" scaled "$small" "$WORK/scaled" || fail "make.py"
last=
for scale in tensor row group; do
    run "quantize --scale $scale" "$TERN" quantize "$WORK/scaled" -o "$WORK/$scale.gguf" --scale $scale \
        --calibrate "$WORK/text" --text "$WORK/text" -c 64 --json
    is "$status" 0
    is "$(value scale)" "\"$scale\""
    after=$(value mean_nll_after)
    loss=$(awk -v a="$after" -v b="$(value mean_nll_before)" 'BEGIN { print a > b ? a - b : b - a }')
    [ -z "$last" ] || awk -v a="$loss" -v b="$last" 'BEGIN { exit !(a < b / 2) }' ||
        fail "scales by $scale lose $loss, those before $last"
    last=$loss
    run "perplexity of scales by $scale" "$TERN" perplexity "$WORK/$scale.gguf" "$WORK/text" -c 64 --json
    is "$(value mean_nll)" "$after"
done
run "inspect" "$TERN" inspect "$WORK/group.gguf" --json
has "$out" '"scale_columns": 256'
has "$out" '"type": "TQ2_0"'
run "inspect" "$TERN" inspect "$WORK/row.gguf"
has "$out" "a scale for each 512 weights of a row"
run "to tern's own layout" "$TERN" convert "$WORK/group.gguf" "$WORK/group-own.gguf"
is "$status" 0
run "inspect" "$TERN" inspect "$WORK/group-own.gguf"
has "$out" "a scale for each 256 weights of a row"
run "its perplexity" "$TERN" perplexity "$WORK/group-own.gguf" "$WORK/text" -c 64 --json
is "$(value mean_nll)" "$after"
run "and back" "$TERN" convert "$WORK/group-own.gguf" "$WORK/group-back.gguf" --type tq2_0
cmp "$WORK/group.gguf" "$WORK/group-back.gguf" || fail "another file"
run "TQ1_0" "$TERN" quantize "$WORK/scaled" -o "$WORK/tq1.gguf" --scale row --type tq1_0
is "$status" 0
has "$out" "scales by row"
fails 1 "scales by row or group" "to I2_S" "$TERN" convert "$WORK/row.gguf" "$WORK/no.gguf" --type i2_s
fails 1 "scales by row or group" "to a folder" "$TERN" convert "$WORK/row.gguf" "$WORK/no" --type hf-packed
fails 1 "pruning needs one scale" "prune it" "$TERN" prune "$WORK/row.gguf" -o "$WORK/no.gguf" --ffn 50% --text "$WORK/text"
run "a shard" "$TERN" train data "$WORK/text" --tokenizer "$small/tokenizer.json" -o "$WORK/text.shard"
is "$status" 0
fails 1 "training needs one scale" "an adapter for it" "$TERN" train lora "$WORK/row.gguf" "$WORK/text.shard" \
    -o "$WORK/adapter" --ctx 32 --steps 1
fails 2 "no place for scales by row" "I2_S" "$TERN" quantize "$WORK/scaled" -o "$WORK/no.gguf" --scale row --type i2_s
fails 2 "'column'" "an unknown scale" "$TERN" quantize "$WORK/scaled" -o "$WORK/no.gguf" --scale column
fails 1 "a multiple of 256" "rows too short" "$TERN" quantize "$WORK/llama" -o "$WORK/no.gguf" --scale group
# plain rounding of floats is what tern makes of a BitNet master
run "a master as it is run" "$TERN" perplexity "$WORK/bitnet" "$WORK/text" -c 64 --json
plain=$(value perplexity)
run "and quantized" "$TERN" perplexity "$WORK/bitnet.gguf" "$WORK/text" -c 64 --json
is "$(value perplexity)" "$plain"

# --- bad input: one line, and no file
model=$WORK/llama
fails 2 "-o is missing" "no output" "$TERN" quantize "$model"
fails 1 "exists already" "no --force" "$TERN" quantize "$model" -o "$WORK/llama.gguf"
fails 1 "directory" "onto a folder" "$TERN" quantize "$model" -o "$WORK"
fails 1 "No such file" "no calibration text" "$TERN" quantize "$model" -o "$WORK/no.gguf" --calibrate "$WORK/none"
: >"$WORK/empty"
fails 1 "is empty" "an empty text" "$TERN" quantize "$model" -o "$WORK/no.gguf" --text "$WORK/empty"
fails 1 "No such file" "no model" "$TERN" quantize "$WORK/none" -o "$WORK/no.gguf"
fails 1 "quantization_config" "a ternary master" "$TERN" quantize "$small" -o "$WORK/no.gguf"
fails 1 "ternary already" "the built-in model" "$TERN" quantize demo -o "$WORK/no.gguf"
fails 2 "type 'q9'" "an unknown type" "$TERN" quantize "$WORK/bitnet" -o "$WORK/no.gguf" --type q9
fails 2 "type 'tern'" "own layout" "$TERN" quantize "$model" -o "$WORK/no.gguf" --type tern
fails 2 "type 'b1'" "one bit" "$TERN" quantize "$model" -o "$WORK/no.gguf" --type b1
fails 2 "type 'f16'" "floats of a LLaMA model" "$TERN" quantize "$model" -o "$WORK/no.gguf" --type f16
fails 1 "multiple of 256 (I2_S one of 128)" "rows that do not fit" "$TERN" quantize "$model" -o "$WORK/no.gguf" --type tq2_0
fails 1 "No such file" "into no folder" "$TERN" quantize "$model" -o "$WORK/none/no.gguf"
fails 2 "window" "a window too long" "$TERN" quantize "$model" -o "$WORK/no.gguf" --text "$WORK/text" -c 9999
python3 "$WORK/make.py" nan "$small" "$WORK/nan"
fails 1 "NaN or infinite" "a damaged model" "$TERN" quantize "$WORK/nan" -o "$WORK/no.gguf"
fails 1 "blk.1.ffn_up.weight" "with calibration" "$TERN" quantize "$WORK/nan" -o "$WORK/no.gguf" --calibrate "$WORK/text"
cp "$ROOT/tests/data/golden/small/model-f16.gguf" "$WORK/floats.gguf"
fails 2 "another file" "output is input" "$TERN" quantize "$WORK/floats.gguf" -o "$WORK/floats.gguf" --force --type f16
cmp "$WORK/floats.gguf" "$ROOT/tests/data/golden/small/model-f16.gguf" || fail "the input was changed"
cp "$WORK/text" "$WORK/text.kept"
fails 1 "input and output at once" "onto the text" "$TERN" quantize "$model" -o "$WORK/text" --force --text "$WORK/text"
fails 1 "input and output at once" "onto the calibration" "$TERN" quantize "$model" -o "$WORK/text" --force \
    --calibrate "$WORK/text"
cmp "$WORK/text" "$WORK/text.kept" || fail "the text was changed"
cp -r "$model" "$WORK/short"
sed 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 1/' "$model/config.json" >"$WORK/short/config.json"
fails 1 "no room for a text" "a context of one token" "$TERN" quantize "$WORK/short" -o "$WORK/no.gguf" --calibrate "$WORK/text"
fails 2 "is a GGUF" "into the input" "$TERN" quantize "$model" -o "$model/model.safetensors" --force
sed 's/"llama"/"gpt2"/; s/LlamaForCausalLM/GPT2LMHeadModel/' "$model/config.json" >"$WORK/config.json"
mv "$WORK/config.json" "$WORK/nan/config.json"
fails 1 "not supported" "another architecture" "$TERN" quantize "$WORK/nan" -o "$WORK/no.gguf"
run "a full disk" bash -c 'trap "" XFSZ; ulimit -f 60; exec "$0" quantize "$1" -o "$2/no.gguf"' "$TERN" "$model" "$WORK"
is "$status" 1
has "$err" "no.gguf: cannot write"
is "$(ls "$WORK" | grep -c '^no\.gguf')" 0
finish
