#!/usr/bin/env bash
# tern convert, and what the other commands make of its files.
. "$(dirname "$0")/lib.sh"

model=$WORK/tiny.gguf
own=$WORK/own.gguf
"$TERN" synth "$model" --shape tiny --vocab 16400 2>/dev/null || fail "synth"

run "convert says what it wrote" "$TERN" convert "$model" "$own"
is "$status" 0
is "$out" ""
has "$err" "own.gguf: GGUF v3"
before=$(cksum <"$own")
fails 1 "--force" "convert does not overwrite" "$TERN" convert demo "$own"
is "$(cksum <"$own")" "$before"
run "convert --force" "$TERN" convert "$model" "$own" --force -t 1
is "$status" 0
is "$(cksum <"$own")" "$before"
fails 2 "another file" "convert onto itself" "$TERN" convert "$model" "$model" --force
fails 2 "--packing t9: " "unknown packing" "$TERN" convert "$model" "$WORK/no.gguf" --packing t9
fails 2 "TERN_PACKING=t9: " "unknown packing in the environment" env TERN_PACKING=t9 "$TERN" convert "$model" "$WORK/no.gguf"
fails 1 "too long" "a name too long" "$TERN" convert "$model" "$WORK/$(printf 'n%.0s' {1..300})"
fails 2 "type 'q4_0'" "unknown type" "$TERN" convert "$model" "$WORK/no.gguf" --type q4_0
fails 1 "directory" "convert onto a folder" "$TERN" convert "$model" "$WORK"
fails 1 "No such file" "convert nothing" "$TERN" convert "$WORK/none.gguf" "$WORK/no.gguf"
fails 2 "convert" "convert to nowhere" "$TERN" convert "$model"
is "$(ls "$WORK" | grep -c '^no\.gguf')" 0
# a disk that is full half-way: one error, nothing left (a file size limit stands in for the disk)
run "convert on a full disk" bash -c 'trap "" XFSZ; ulimit -f 300; exec "$0" convert "$1" "$2/full.gguf"' \
    "$TERN" "$model" "$WORK"
is "$status" 1
has "$err" "full.gguf: cannot write"
is "$(ls "$WORK" | grep -c '^full\.gguf')" 0

run "convert into a pipe" bash -c '"$0" convert "$1" /dev/stdout --force | cksum' "$TERN" "$model"
is "$out" "$before"
has "$err" "/dev/stdout: written"

# --- what could not be loaded is not written, and no good file is replaced
cat >"$WORK/damage.py" <<'END'
import struct, sys
kind, source, target = sys.argv[1:]
data = bytearray(open(source, "rb").read())
def end_of(name):
    return data.rindex(name) + len(name)
def offset_of(name, n_dims):
    return struct.unpack_from("<Q", data, end_of(name) + 4 + n_dims * 8 + 4)[0]
start = (end_of(b"tern.scales") + 4 + 2 * 8 + 4 + 8 + 63) // 64 * 64 if b"tern.scales" in data else 0
if kind == "codes":
    at = start + offset_of(b"blk.0.attn_q.t5r16", 2)
    data[at : at + 4096] = b"\xff" * 4096
elif kind == "norm":
    at = start + offset_of(b"blk.0.attn_norm.weight", 1)
    data[at : at + 4] = struct.pack("<f", float("nan"))
else: # a key, and one that fills up to the alignment
    def text(key, value):
        return struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    keys = text(kind.encode(), b"((((")
    keys += text(b"x", b"y" * (-(len(keys) + len(text(b"x", b""))) % 64))
    data[16:24] = struct.pack("<Q", struct.unpack_from("<Q", data, 16)[0] + 2)
    data[24:24] = keys
open(target, "wb").write(data)
END
damage() { python3 "$WORK/damage.py" "$1" "$2" "$WORK/bad.gguf"; }
"$TERN" convert "$model" "$own" --force --packing t5r16 2>/dev/null || fail "convert --packing t5r16"
before=$(cksum <"$own")
cp "$own" "$WORK/good.gguf"
for packing in t5r16 t2r16; do
    damage codes "$own"
    fails 1 "no ternary values" "damaged codes to $packing" \
        "$TERN" convert "$WORK/bad.gguf" "$WORK/good.gguf" --force --packing $packing
done
damage norm "$own"
fails 1 "not finite" "damaged norm" "$TERN" convert "$WORK/bad.gguf" "$WORK/good.gguf" --force
damage tokenizer.tern.pattern "$model"
fails 1 "regular expression" "damaged pattern" "$TERN" convert "$WORK/bad.gguf" "$WORK/good.gguf" --force
cmp -s "$WORK/good.gguf" "$own" || fail "a good file was replaced"
damage tern.layout.source "$model" # which only means something in tern's own layout
run "a key of ours" "$TERN" convert "$WORK/bad.gguf" "$WORK/good.gguf" --force --packing t5r16
run "is not copied" "$TERN" inspect "$WORK/good.gguf"
is "$status" 0
hasnt "$out" "(((("
run "from our layout to our layout" "$TERN" convert "$own" "$WORK/good.gguf" --force --packing t5r16
is "$(cksum <"$WORK/good.gguf")" "$before"

# --- the same text from both, with either packing and either head
run "text of the original" "$TERN" run "$model" -p "Once upon" -n 12 --temp 0
wanted=$out
for packing in t5r16 t2r16; do
    run "convert --packing $packing" "$TERN" convert "$model" "$own" --force --packing $packing --no-screen
    is "$status" 0
    run "text of $packing" "$TERN" run "$own" -p "Once upon" -n 12 --temp 0
    is "$out" "$wanted"
    run "text of $packing by the reference" env TERN_CPU=ref "$TERN" run "$own" -p "Once upon" -n 12 --temp 0
    is "$out" "$wanted"
    run "text of $packing in little memory" "$TERN" run "$own" -p "Once upon" -n 12 --temp 0 --low-memory
    is "$out" "$wanted"
    run "inspect $packing" "$TERN" inspect "$own"
    has "$out" "blk.0.attn_q.$packing"
    has "$out" "tern.layout.packing"
    has "$out" "screen, scales"
    hasnt "$out" "screen.coarse"
done
# --- other programs' types: the same ternary values; a scale that 16 bits hold stays what it is
run "logits of the original" "$TERN" logits demo -p "Once upon a time" -o "$WORK/wanted.f32"
is "$status" 0
for type in i2_s tq1_0 tq2_0 f16 bf16 f32; do
    run "convert --type $type" "$TERN" convert demo "$WORK/$type.gguf" --type $type
    is "$status" 0
    run "inspect $type" "$TERN" inspect "$WORK/$type.gguf"
    has "$out" "  ${type^^} "
    hasnt "$out" "tern.layout"
    run "logits of $type" "$TERN" logits "$WORK/$type.gguf" -p "Once upon a time" -o "$WORK/out.f32"
    if [ $type = bf16 ]; then # 8 bits of a scale of 11
        is "$status" 0
    else
        cmp -s "$WORK/out.f32" "$WORK/wanted.f32" || fail "$name: other logits"
    fi
    [ $type = bf16 ] && continue
    run "$type and back" "$TERN" convert "$WORK/$type.gguf" "$WORK/back.gguf" --type tq1_0 --force
    cmp -s "$WORK/back.gguf" "$WORK/tq1_0.gguf" || [ $type = i2_s ] || fail "$name: another file"
done
run "from our layout" "$TERN" convert "$WORK/tq1_0.gguf" "$WORK/own.gguf" --force
run "and back" "$TERN" convert "$WORK/own.gguf" "$WORK/back.gguf" --type tq1_0 --force
cmp -s "$WORK/back.gguf" "$WORK/tq1_0.gguf" || fail "$name: another file"
for type in f16 bf16 f32 q8_0 q6_k q4_0; do
    run "embedding $type" "$TERN" convert demo "$WORK/e.gguf" --type i2_s --embedding-type $type --force
    is "$status" 0
    run "inspect embedding $type" "$TERN" inspect "$WORK/e.gguf"
    has "$out" "  ${type^^} "
    run "text of embedding $type" "$TERN" run "$WORK/e.gguf" -p "Once upon a time" -n 2 --temp 0
    is "$status" 0
done
# --- one bit a weight, for models without zeros
"$TERN" synth "$WORK/binary.gguf" --shape tiny --layers 2 --weights binary 2>/dev/null || fail "synth --weights binary"
greedy=(-p "Once upon a time" -n 8 --temp 0 --print-ids)
run "tokens of ternary" "$TERN" run "$WORK/binary.gguf" "${greedy[@]}" --packing t2r16
is "$status" 0
wanted=$out
run "tokens of binary" "$TERN" run "$WORK/binary.gguf" "${greedy[@]}"
is "$out" "$wanted"
run "convert --type b1" "$TERN" convert "$WORK/binary.gguf" "$WORK/b1.gguf" --type b1
is "$status" 0
run "inspect b1" "$TERN" inspect "$WORK/b1.gguf"
has "$out" "blk.0.ffn_up.b1r16"
run "tokens of b1" "$TERN" run "$WORK/b1.gguf" "${greedy[@]}"
is "$out" "$wanted"
run "b1 back to i2_s" "$TERN" convert "$WORK/b1.gguf" "$WORK/again.gguf" --type i2_s
is "$status" 0
run "tokens of i2_s again" "$TERN" run "$WORK/again.gguf" "${greedy[@]}"
is "$out" "$wanted"
fails 1 "holds zeros: not binary" "b1 of a ternary model" "$TERN" convert "$model" "$WORK/no.gguf" --type b1
fails 1 "holds zeros: not binary" "b1r16 for a ternary model" "$TERN" run "$model" -n 1 --packing b1r16
fails 1 "only master weights" "binarising what is no master" "$TERN" convert "$model" "$WORK/no.gguf" --binarize
fails 2 "not as t2r16" "b1 in another packing" "$TERN" convert "$WORK/binary.gguf" "$WORK/no.gguf" --type b1 --packing t2r16
run "another name" "$TERN" convert demo "$WORK/named.gguf" --type tq1_0 --name "A bird's model"
is "$status" 0
run "inspect another name" "$TERN" inspect "$WORK/named.gguf"
has "$out" "A bird's model"
run "another name of our layout" "$TERN" convert "$WORK/named.gguf" "$WORK/named.gguf2" --name tern
run "inspect another name of our layout" "$TERN" inspect "$WORK/named.gguf2"
has "$out" "tern.layout.packing"
hasnt "$out" "A bird's model"
fails 2 "is empty" "no name" "$TERN" convert demo "$WORK/no.gguf" --name ""
fails 2 "one line of UTF-8" "bad name" "$TERN" convert demo "$WORK/no.gguf" --name $'a\xff'
fails 2 "embedding type 'i2_s'" "bad embedding type" "$TERN" convert demo "$WORK/no.gguf" --type i2_s --embedding-type i2_s
fails 2 "goes with the types" "embedding type of our layout" "$TERN" convert demo "$WORK/no.gguf" --embedding-type q6_k
fails 2 "goes with tern's own layout" "packing of I2_S" "$TERN" convert demo "$WORK/no.gguf" --type i2_s --packing t5r16
fails 2 "goes with tern's own layout" "no screen in I2_S" "$TERN" convert demo "$WORK/no.gguf" --type i2_s --no-screen
"$TERN" synth "$WORK/odd.gguf" --shape tiny --ffn 384 2>/dev/null || fail "synth --ffn 384"
fails 1 "multiple of 256" "rows that do not divide" "$TERN" convert "$WORK/odd.gguf" "$WORK/no.gguf" --type tq1_0
"$TERN" synth "$WORK/odd.gguf" --shape tiny --hidden 128 --heads 2 --kv-heads 1 --force 2>/dev/null || fail "synth --hidden 128"
fails 1 "multiple of 256" "rows of an embedding" "$TERN" convert "$WORK/odd.gguf" "$WORK/no.gguf" --type i2_s --embedding-type q6_k
is "$(ls "$WORK" | grep -c '^no\.gguf')" 0

# --- Hugging Face folders
folder=$WORK/folder
run "convert --type hf-packed" "$TERN" convert demo "$folder" --type hf-packed
is "$status" 0
is "$out" ""
has "$err" "folder: Hugging Face (packed)"
run "logits of a folder" "$TERN" logits "$folder" -p "Once upon a time" -o "$WORK/out.f32"
cmp -s "$WORK/out.f32" "$WORK/wanted.f32" || fail "$name: other logits"
before=$(cat "$folder"/* | cksum)
fails 1 "--force" "a folder is not overwritten" "$TERN" convert "$model" "$folder" --type hf-packed
fails 1 "directory" "a file onto a folder" "$TERN" convert demo "$folder" --type i2_s --force
fails 2 "another file" "a folder onto itself" "$TERN" convert "$folder" "$folder" --type hf-packed --force
fails 1 "cannot be replaced by a folder" "a folder onto a file" "$TERN" convert demo "$own" --type hf-packed --force
is "$(cat "$folder"/* | cksum)" "$before"
run "a folder from a folder" "$TERN" convert "$folder" "$WORK/folder2" --type hf-packed
diff -r "$folder" "$WORK/folder2" >/dev/null || fail "$name: another folder"
run "a folder with --force" "$TERN" convert "$model" "$WORK/folder2" --type hf-packed --force -t 1
is "$status" 0
run "its text" "$TERN" run "$WORK/folder2" -p "Once upon" -n 12 --temp 0
is "$status" 0
wanted=$out
run "the text of what it was made of" "$TERN" run "$model" -p "Once upon" -n 12 --temp 0
is "$out" "$wanted"
echo mine >"$folder/notes.txt"
fails 2 "notes.txt" "a folder with something else in it" "$TERN" convert demo "$folder" --type hf-packed --force
is "$(cat "$folder/notes.txt")" mine
fails 2 "takes no other" "a folder's embedding" "$TERN" convert demo "$WORK/no" --type hf-packed --embedding-type f16
fails 2 "takes no other" "a folder's name" "$TERN" convert demo "$WORK/no" --type hf-packed --name bird
fails 2 "goes with tern's own layout" "a folder's packing" "$TERN" convert demo "$WORK/no" --type hf-packed --packing t5r16
damage norm "$own"
fails 1 "not finite" "a folder of a damaged norm" "$TERN" convert "$WORK/bad.gguf" "$WORK/no" --type hf-packed
"$TERN" convert "$model" "$own" --force --packing t5r16 2>/dev/null || fail "convert --packing t5r16"
damage codes "$own"
fails 1 "no ternary values" "a folder of damaged codes" "$TERN" convert "$WORK/bad.gguf" "$WORK/no" --type hf-packed
run "a folder on a full disk" bash -c 'trap "" XFSZ; ulimit -f 300; exec "$0" convert "$1" "$2" --type hf-packed' \
    "$TERN" "$model" "$WORK/no"
is "$status" 1
has "$err" ": cannot write"
is "$(ls -d "$WORK"/no* 2>/dev/null)" ""
run "inspect --json" "$TERN" inspect "$own" --json
has "$out" '"packing":'
finish
