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
fails 2 "t5r16" "unknown packing" "$TERN" convert "$model" "$WORK/no.gguf" --packing t9
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
run "inspect --json" "$TERN" inspect "$own" --json
has "$out" '"packing":'
finish
