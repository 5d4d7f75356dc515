#!/usr/bin/env bash
# tern perplexity, logits, inspect and synth.
. "$(dirname "$0")/lib.sh"

json() { # FILTER: of $out, with python (jq need not be there)
    python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1], {"d": d, "abs": abs, "len": len}))' \
        "$1" <<<"$out"
}
synth() { "$TERN" synth "$@" 2>"$WORK/synth.err" || fail "synth $*: $(cat "$WORK/synth.err")"; }
model=$WORK/tiny.gguf
synth "$model" --shape tiny

# --- synth
name="synth" err=
run "synth says what it wrote" "$TERN" synth "$WORK/said.gguf" --shape tiny --layers 1 --seed 5
is "$status" 0
is "$out" ""
has "$err" "1 layers, hidden 256"
before=$(cksum <"$model")
fails 1 "--force" "synth does not overwrite" "$TERN" synth "$model" --shape tiny --seed 2
is "$(cksum <"$model")" "$before"
run "synth --force" "$TERN" synth "$model" --shape tiny --force
is "$status" 0
is "$(cksum <"$model")" "$before"
synth "$WORK/seed.gguf" --shape tiny --seed 2
[ "$(cksum <"$WORK/seed.gguf")" != "$before" ] || fail "another seed gives the same file"
fails 2 "2b4t" "unknown shape" "$TERN" synth "$WORK/no.gguf" --shape huge
fails 2 "weight type" "unknown type" "$TERN" synth "$WORK/no.gguf" --shape tiny --type q5_k
fails 2 "embedding type" "unknown embedding type" "$TERN" synth "$WORK/no.gguf" --shape tiny --embedding-type i2_s
fails 2 "multiple of 128" "width that does not fit" "$TERN" synth "$WORK/no.gguf" --shape tiny --ffn 700
fails 2 "heads" "heads that do not divide" "$TERN" synth "$WORK/no.gguf" --shape tiny --heads 3
fails 2 "sparsity" "sparsity out of reach" "$TERN" synth "$WORK/no.gguf" --shape tiny --ffn-sparsity 0.1
fails 2 "out of range" "sparsity out of range" "$TERN" synth "$WORK/no.gguf" --shape tiny --ffn-sparsity 1
fails 2 "1024" "vocabulary of another size" "$TERN" synth "$WORK/no.gguf" --shape tiny --vocab 2048 --tokenizer "$model"
fails 1 "directory" "synth onto a folder" "$TERN" synth "$WORK" --shape tiny
fails 1 "MB free" "synth of a model that no disk holds" \
    "$TERN" synth "$WORK/no.gguf" --shape tiny --hidden 262144 --ffn 262144 --layers 4096
fails 1 "$WORK/none/x.gguf" "synth into no folder" "$TERN" synth "$WORK/none/x.gguf" --shape tiny
is "$(ls "$WORK" | grep -c '^no\.gguf')" 0
# a disk that is full half-way: one error, nothing left (a file size limit stands in for the disk)
run "synth on a full disk" bash -c 'trap "" XFSZ; ulimit -f 300; exec "$0" synth "$1/full.gguf" --shape tiny' "$TERN" "$WORK"
is "$status" 1
has "$err" "full.gguf: cannot write"
is "$(ls "$WORK" | grep -c '^full\.gguf')" 0
# ended by a signal half-way: nothing left (the status is 0 if the machine is so fast that it was done)
for signal in INT TERM KILL; do
    name="synth ended by SIG$signal"
    timeout --preserve-status -s "$signal" 0.3 "$TERN" synth "$WORK/int.gguf" --shape 0.7b >/dev/null 2>&1
    case $?/$signal in
    130/INT | 0/*) ;;
    143/TERM | 137/KILL)
        # a file system without nameless files cannot do it
        python3 -c 'import os, sys; os.open(sys.argv[1], os.O_TMPFILE | os.O_WRONLY)' "$WORK" 2>/dev/null || continue
        ;;
    *) fail "$name: status $?" ;;
    esac
    is "$(compgen -G "$WORK/int.gguf.tmp*")" ""
    rm -f "$WORK/int.gguf"
done
rm -f "$WORK"/int.gguf*

# --- every type runs, and a float master is the same model as its trits
name="types"
for type in tq1_0 tq2_0 f16 bf16 f32; do
    synth "$WORK/t.gguf" --shape tiny --layers 1 --type "$type" --force
    run "run $type" "$TERN" run "$WORK/t.gguf" -p "hello there" -n 4 --temp 0
    is "$status" 0
done
for type in bf16 f32 q8_0 q6_k q4_0; do
    synth "$WORK/t.gguf" --shape tiny --layers 1 --embedding-type "$type" --head untied --force
    run "run with $type head" "$TERN" run "$WORK/t.gguf" -p "hello there" -n 4 --temp 0
    is "$status" 0
done

# --- logits
ids=$("$TERN" tokenize "$model" -p "the rain in spain" | tr ' ' ',')
n_ids=$(tr ',' '\n' <<<"$ids" | wc -l)
run "logits by ids" "$TERN" logits "$model" --ids "$ids" -o "$WORK/a.f32"
is "$status" 0
is "$out" ""
is "$(wc -c <"$WORK/a.f32")" $((n_ids * 1024 * 4))
same() { # NAME ARGUMENTS...: the same bytes as a.f32
    run "$@" >/dev/null
    is "$status" 0
    cmp -s "$WORK/a.f32" "$WORK/b.f32" || fail "$name: other logits"
}
same "logits of a text" "$TERN" logits "$model" -p "the rain in spain" -o "$WORK/b.f32"
same "logits in chunks of 1" "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32" --chunk 1
same "logits in chunks of 3, 3 threads" "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32" --chunk 3 -t 3
same "logits by the reference" env TERN_CPU=ref "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32"
same "logits to standard output" bash -c '"$0" logits "$1" --ids "$2" -o - >"$3"' "$TERN" "$model" "$ids" "$WORK/b.f32"
run "logits with an f16 cache" "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32" --kv-type f16
cmp -s "$WORK/a.f32" "$WORK/b.f32" && fail "the default KV type of logits is not f32"
same "environment" env BITNET_KV_CACHE_DTYPE=float32 "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32"
run "environment f16" env BITNET_KV_CACHE_DTYPE=f16 "$TERN" logits "$model" --ids "$ids" -o "$WORK/b.f32"
cmp -s "$WORK/a.f32" "$WORK/b.f32" && fail "BITNET_KV_CACHE_DTYPE is ignored by logits"
run "little-endian numbers" "$TERN" logits "$model" --ids 1 -o "$WORK/b.f32"
is "$(python3 -c 'import struct, sys; v = struct.unpack("<1024f", open(sys.argv[1], "rb").read())
print(all(abs(x) < 60 for x in v), max(v) - min(v) > 3)' "$WORK/b.f32")" "True True"
fails 2 "either" "neither ids nor prompt" "$TERN" logits "$model" -o "$WORK/c.f32"
fails 2 "either" "both ids and prompt" "$TERN" logits "$model" --ids 1 -p x -o "$WORK/c.f32"
fails 2 "--output" "no output" "$TERN" logits "$model" --ids 1
fails 2 "0 to 1023" "id out of range" "$TERN" logits "$model" --ids 1,1024 -o "$WORK/c.f32"
fails 2 "0 to 1023" "bad ids" "$TERN" logits "$model" --ids 1,x -o "$WORK/c.f32"
fails 2 "no token ids" "empty ids" "$TERN" logits "$model" --ids "" -o "$WORK/c.f32"
fails 1 "context of 512" "too many ids" "$TERN" logits "$model" --ids "$(seq -s, 1 513)" -o "$WORK/c.f32"
fails 1 "$WORK/none/c.f32" "output into no folder" "$TERN" logits "$model" --ids 1 -o "$WORK/none/c.f32"
is "$(ls "$WORK" | grep -c '^c\.f32')" 0

# --- perplexity
printf 'the rain in spain stays mainly in the plain. %.0s' $(seq 20) >"$WORK/text"
run "perplexity" "$TERN" perplexity "$model" "$WORK/text" -c 64
is "$status" 0
has "$out" "perplexity "
has "$out" "bits per byte"
run "perplexity as JSON" "$TERN" perplexity "$model" "$WORK/text" -c 64 --json
is "$status" 0
is "$err" ""
is "$(json 'sorted(d)')" \
    "['bits_per_byte', 'bytes', 'kv_type', 'mean_nll', 'perplexity', 'tokens', 'window_tokens']"
is "$(json 'd["tokens"]')" "$("$TERN" tokenize "$model" -f "$WORK/text" --no-bos --no-special | wc -w)"
is "$(json 'd["bytes"]')" "$(wc -c <"$WORK/text")"
is "$(json 'abs(2.718281828459045 ** d["mean_nll"] / d["perplexity"] - 1) < 1e-6')" True
is "$(json 'abs(d["mean_nll"] * d["tokens"] / 0.6931471805599453 / d["bytes"] - d["bits_per_byte"]) < 1e-6')" True
first=$out
run "perplexity, other chunks and threads" "$TERN" perplexity "$model" "$WORK/text" -c 64 --json --chunk 5 -t 3
is "$out" "$first"
run "perplexity from standard input" bash -c '"$0" perplexity "$1" - -c 64 --json <"$2"' "$TERN" "$model" "$WORK/text"
is "$out" "$first"
run "perplexity, another window" "$TERN" perplexity "$model" "$WORK/text" -c 32 --json
[ "$out" != "$first" ] || fail "the window does not matter"
: >"$WORK/empty"
fails 1 "empty" "empty text" "$TERN" perplexity "$model" "$WORK/empty"
fails 1 "none.txt" "no text" "$TERN" perplexity "$model" "$WORK/none.txt"
fails 2 "context of 512" "window beyond the context" "$TERN" perplexity "$model" "$WORK/text" -c 513
fails 2 "out of range" "window of one" "$TERN" perplexity "$model" "$WORK/text" -c 1

# --- inspect
run "inspect" "$TERN" inspect "$model"
is "$status" 0
is "$err" ""
for part in "GGUF v3" "bitnet-b1.58" "hidden size             256" "1024 tokens, 256 of them special" \
    "<|begin_of_text|>" "<|eot_id|>" "capitalize" "blk.0.attn_q.weight" "I2_S" "[256, 256]" "--tensors"; do
    has "$out" "$part"
done
hasnt "$out" "blk.3."
run "inspect --tensors" "$TERN" inspect "$model" --tensors
has "$out" "blk.3.ffn_down.weight"
run "inspect as JSON" "$TERN" inspect "$model" --json
is "$(json 'd["parameters"]')" $((1024 * 256 + 256 + 4 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 768 + 3 * 256 + 768)))
is "$(json 'd["dimensions"]["hidden_size"], d["dimensions"]["n_kv_heads"], len(d["tensors"]), len(d["metadata"])')" \
    "(256, 2, 46, 24)"
is "$(json 'd["tokenizer"]["bos_id"], d["tokenizer"]["end_ids"]')" "(768, [769, 777])"
is "$(json '[t for t in d["tensors"] if t["name"] == "blk.0.ffn_down.weight"][0]["shape"]')" "[256, 768]"
is "$(json 'd["file_bytes"]')" "$(wc -c <"$model")"
run "inspect the built-in model" "$TERN" inspect
is "$status" 0
has "$out" "demo"
head -c 5000 "$model" >"$WORK/short.gguf"
fails 1 "short.gguf" "inspect a cut file" "$TERN" inspect "$WORK/short.gguf"
fails 1 "none" "inspect nothing" "$TERN" inspect "$WORK/none"
fails 1 "inspect" "inspect an empty folder" bash -c 'mkdir "$1/inspect"; exec "$0" inspect "$1/inspect"' "$TERN" "$WORK"

# --- the trained story model: perplexity of every form to 4 digits, where the files are there
story=$ROOT/../shared/reference/story
if [ -e "$story/heldout.txt" ]; then
    while read -r form key; do
        run "perplexity of $form" "$TERN" perplexity "$story/$form" "$story/heldout.txt" -c 256 --json
        is "$status" 0
        wanted=$(python3 -c 'import json, sys; g = json.load(open(sys.argv[1])); p = g["perplexity"][sys.argv[2]]
print("%.2f %.3f" % (p["perplexity"], p["bits_per_byte"]), g["tokens"])' "$story/golden.json" "$key")
        is "$(json '"%.2f %.3f" % (d["perplexity"], d["bits_per_byte"]), d["tokens"]' | tr -d "',()")" "$wanted"
    done <<'END'
hf-bf16 master
hf-packed packed
model-i2_s.gguf i2_s
model-tq1_0.gguf tq2_0
model-tq2_0.gguf tq2_0
END
    run "inspect a packed folder" "$TERN" inspect "$story/hf-packed" --json
    is "$(json 'd["parameters"]')" 5778944 # as the master's: packed bytes hold four each
else
    echo "skipped: ../shared/reference/story is not there"
fi
finish
