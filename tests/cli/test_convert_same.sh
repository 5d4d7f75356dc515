#!/usr/bin/env bash
# tern convert keeps a GGUF's keys and tensors in their order: a round trip that changes nothing gives the same file,
# byte for byte, whoever wrote it.
. "$(dirname "$0")/lib.sh"

# there_and_back FILE TYPE WAY...: from the file, of that type, to each way and back to the type
there_and_back() {
    local file=$1 type=$2 way
    shift 2
    for way; do
        run "$(basename "$file") as $way" "$TERN" convert "$file" "$WORK/there.gguf" --type "$way" --force -t 1
        is "$status" 0
        run "$(basename "$file") as $way and back" "$TERN" convert "$WORK/there.gguf" "$WORK/back.gguf" --type "$type" \
            --force -t 1
        is "$status" 0
        cmp "$file" "$WORK/back.gguf" || fail "$name: another file"
    done
}

there_and_back "$ROOT/tests/data/golden/plain/model-i2_s.gguf" i2_s i2_s tern f32

"$TERN" synth "$WORK/i2_s.gguf" --shape tiny --layers 3 --vocab 512 --head untied 2>/dev/null || fail "synth"
"$TERN" convert "$WORK/i2_s.gguf" "$WORK/tq1_0.gguf" --type tq1_0 --embedding-type q8_0 2>/dev/null || fail "convert"
python3 "$ROOT/tests/cli/shuffle_gguf.py" "$WORK/i2_s.gguf" "$WORK/shuffled.gguf" 1 || fail "shuffle"
there_and_back "$WORK/shuffled.gguf" i2_s i2_s tern f32
cmp -s "$WORK/i2_s.gguf" "$WORK/shuffled.gguf" && fail "shuffle_gguf.py shuffles nothing"
for seed in 2 3; do
    python3 "$ROOT/tests/cli/shuffle_gguf.py" "$WORK/tq1_0.gguf" "$WORK/shuffled.gguf" $seed $((32 * seed)) || fail "shuffle"
    [ $seed = 2 ] && there_and_back "$WORK/shuffled.gguf" tq1_0 tq1_0 tern tq2_0 f16
done
fails 1 "power of two" "an alignment of 96" "$TERN" convert "$WORK/shuffled.gguf" "$WORK/no.gguf" --type tq1_0

"$TERN" synth "$WORK/llama.gguf" --shape tiny --layers 2 --vocab 512 --layout llama 2>/dev/null || fail "synth --layout llama"
python3 "$ROOT/tests/cli/shuffle_gguf.py" "$WORK/llama.gguf" "$WORK/shuffled.gguf" 5 || fail "shuffle"
there_and_back "$WORK/shuffled.gguf" f16 f16 f32

# tern's own layout to itself, and what its keys keep of the source
python3 "$ROOT/tests/cli/shuffle_gguf.py" "$WORK/tq1_0.gguf" "$WORK/shuffled.gguf" 4 128 || fail "shuffle"
run "to our layout" "$TERN" convert "$WORK/shuffled.gguf" "$WORK/own.gguf"
is "$status" 0
there_and_back "$WORK/own.gguf" tern tern
run "what it says" "$TERN" inspect "$WORK/own.gguf" --json
is "$status" 0
python3 - "$WORK/out" <<'END' || fail "$name: other keys"
import json, sys
keys = {entry["key"]: entry["value"] for entry in json.load(open(sys.argv[1]))["metadata"]}
wanted = {"general.alignment": "64", "tern.layout.source_alignment": "128", "tern.layout.source": "TQ1_0"}
sys.exit(f"{keys}" if any(str(keys.get(key)) != value for key, value in wanted.items()) else 0)
END
run "another name" "$TERN" convert "$WORK/shuffled.gguf" "$WORK/named.gguf" --type tq1_0 --name "$(printf 'n%.0s' {1..40})"
is "$status" 0
"$TERN" inspect "$WORK/shuffled.gguf" --json >"$WORK/a.json"
"$TERN" inspect "$WORK/named.gguf" --json >"$WORK/b.json"
python3 - "$WORK/a.json" "$WORK/b.json" <<'END' || fail "$name: keys in another order"
import json, sys
a, b = ([entry["key"] for entry in json.load(open(path))["metadata"]] for path in sys.argv[1:])
sys.exit(0 if a == b else f"{a}\n{b}")
END

# Hugging Face folders have no order; by way of tern's own layout or straight it is the same file all the same
hf=$ROOT/tests/data/golden/small/hf-bf16
for type in f32 f16; do
    run "a folder as $type" "$TERN" convert "$hf" "$WORK/straight.gguf" --type $type --force -t 1
    is "$status" 0
    run "a folder in our layout" "$TERN" convert "$hf" "$WORK/own.gguf" --force -t 1
    run "and then as $type" "$TERN" convert "$WORK/own.gguf" "$WORK/round.gguf" --type $type --force -t 1
    cmp "$WORK/straight.gguf" "$WORK/round.gguf" || fail "$name: another file"
done
finish
