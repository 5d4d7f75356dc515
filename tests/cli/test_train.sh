#!/usr/bin/env bash
# tern train pretrain and plot: configurations, a run that is killed again and again, what is exported, plots.
# test_train_mpi.sh has several processes.
. "$(dirname "$0")/lib.sh"

cd "$WORK" || exit 1
name="making the data" err=
cat "$ROOT"/README.md "$ROOT"/docs/ARCHITECTURE.md >text.txt
head -c 3000 "$ROOT/docs/MODEL.md" | tr -s '\n' >held.txt # one document
"$TERN" train tokenizer text.txt --vocab-size 512 -o tok.json >/dev/null 2>&1 || fail "no tokenizer"
"$TERN" train data text.txt --tokenizer tok.json --held-out-file held.txt --split-on '\n\n' -o text.shard \
    >/dev/null 2>&1 || fail "no shard"

# config NAME MORE-JSON: a tiny run of 40 steps
config() {
    cat >"$1.json" <<END
{"data": "text.shard", "tokenizer": "tok.json", "out": "$1", "layers": 2, "hidden": 128, "ffn": 128, "heads": 2,
 "kv_heads": 1, "context": 32, "batch": 4, "micro_batch": 2, "steps": 40, "warmup_steps": 4, "eval_every": 8,
 "eval_tokens": 100, "save_every": 5, "fp_steps": 10${2:-}}
END
}
# stops STATUS PART NAME COMMAND...: the last line on stderr begins with "tern: " and holds PART; nothing on stdout
stops() {
    local want=$1 part=$2
    shift 2
    run "$@"
    is "$status" "$want"
    is "$out" ""
    has "$(tail -n 1 "$WORK/err" | grep '^tern: ')" "$part"
}
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; } # without times

# --- configurations
run "example" "$TERN" train pretrain --example-config
is "$status" 0
printf '%s\n' "$out" >example.json
fails 1 "story.shard: cannot open" "the example is a configuration" "$TERN" train pretrain example.json
run "keys" "$TERN" train pretrain --list-keys
is "$status" 0
for key in $(sed -n 's/^ *"\([a-z0-9_]*\)": .*/\1/p' example.json); do
    grep -q "^$key " "$WORK/out" || fail "--list-keys does not explain $key"
    grep -q "^| \`$key\` " "$ROOT/docs/TRAINING.md" || fail "docs/TRAINING.md does not explain $key"
done
fails 2 "too few" "no configuration" "$TERN" train pretrain
fails 1 "none.json" "no such configuration" "$TERN" train pretrain none.json
config bad ', "learning_rat": 1'
fails 1 'bad.json: unknown key "learning_rat"; the nearest known one is' "unknown key" "$TERN" train pretrain bad.json
config bad ', "lr": 3'
fails 1 '"lr" is 3, but must be 0 to 1' "a value out of range" "$TERN" train pretrain bad.json
config bad ', "vocab": 300'
fails 1 'with 10 "fp_steps" none of the 10 "steps"' "never ternary" "$TERN" train pretrain bad.json --steps 10
fails 1 'more than "vocab" 300' "a vocabulary that is too small" "$TERN" train pretrain bad.json
head -c 3000 text.shard >short.shard
config bad ', "out": "bad"'
fails 1 "duplicate" "a key twice" "$TERN" train pretrain bad.json
sed 's/text.shard/short.shard/; s/, "out": "bad"//2' bad.json | tr -d '\n' | sed 's/, "out": "bad"}/}/' >bad2.json
fails 1 "short.shard" "a shard that is cut off" "$TERN" train pretrain bad2.json
"$TERN" train tokenizer text.txt held.txt --vocab-size 512 -o other.json >/dev/null 2>&1
config bad
sed -i 's/tok.json/other.json/' bad.json
fails 1 "not the tokenizer that" "another tokenizer" "$TERN" train pretrain bad.json
# what would only show when the model is written, at the end: llm.c's files name no tokenizer to compare with
python3 -c 'import struct, sys
ids = ([50256] + list(range(1, 300))) * 4
sys.stdout.buffer.write(struct.pack("<256i", 20240520, 1, len(ids), *[0] * 253) + struct.pack("<%dH" % len(ids), *ids))' >llmc.bin
config bad
sed -i 's/text.shard/llmc.bin/; s/tok.json/text.txt/' bad.json
fails 1 "text.txt: is no tokenizer.json, which the trained model will need" "a text as the tokenizer" "$TERN" train pretrain bad.json
echo '{"model": 1}' >broken.json
sed -i 's/text.txt/broken.json/' bad.json
fails 1 "broken.json: " "half a tokenizer" "$TERN" train pretrain bad.json
# nor is a place that the model cannot take: told before the first step
config taken
mkdir -p taken/model.gguf
fails 1 "taken/model.gguf: is a folder, where the trained model" "a folder for the file" "$TERN" train pretrain taken.json
rmdir taken/model.gguf
for place in master packed; do
    echo mine >taken/$place
    fails 1 "taken/$place: cannot be replaced by a folder" "a file for the folder" "$TERN" train pretrain taken.json
    rm taken/$place
done
mkdir taken/master
echo mine >taken/master/notes.txt
fails 1 "taken/master: holds notes.txt" "somebody's folder" "$TERN" train pretrain taken.json
is "$(find taken -type f)" "taken/master/notes.txt"
config taken ', "weights": "binary"'
rm -r taken/*
mkdir taken/model-b1.gguf
fails 1 "taken/model-b1.gguf: is a folder" "a folder for the binary model" "$TERN" train pretrain taken.json
config whole
run "plan" "$TERN" train pretrain whole.json --plan
is "$status" 0
for part in "2 layers" "parameters" "40 steps of 128 tokens" "FLOP" "activations" "GFLOP/s" " tokens/s"; do has "$out" "$part"; done
[ -e whole ] && fail "--plan made the folder of the run"

config huge ', "seed": 3'
sed -i 's/"layers": 2/"layers": 400/; s/"hidden": 128/"hidden": 16384/; s/"ffn": 128/"ffn": 65536/; s/"heads": 2/"heads": 128/' huge.json
run "plan of too much" "$TERN" train pretrain huge.json --plan
is "$status" 0
has "$out" "B: too little"
stops 1 "GB of memory, of which" "a model that no machine holds" "$TERN" train pretrain huge.json
[ -e huge ] && fail "a run that cannot begin made its folder"

# --- an unbroken run
run "a run" "$TERN" train pretrain whole.json
is "$status" 0
has "$out" "validation loss"
has "$err" "step 40/40: loss"
is "$(wc -l <whole/log.jsonl)" 40
is "$(grep -c '"validation"' whole/log.jsonl)" 5
has "$(sed -n 8p whole/log.jsonl)" '"ffn_zeros": [0.'
has "$(sed -n 40p whole/log.jsonl)" '"tokens_per_second"'
has "$(sed -n 40p whole/log.jsonl)" '"peak_share"'
loss=$(sed -n 's/^validation loss  *\([0-9.]*\) nats.*/\1/p' "$WORK/out")
cp "$WORK/out" whole.out

# the exported files are the model that was validated: to 4 digits, and the GGUF's numbers are training's own
for model in model.gguf master packed; do
    run "perplexity of $model" "$TERN" perplexity "whole/$model" held.txt -c 32 --json
    is "$status" 0
    nll=$(sed -n 's/.*"mean_nll": \([0-9.]*\).*/\1/p' "$WORK/out")
    awk -v a="$loss" -v b="$nll" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a > 0 && d < 5e-4 * a) }' ||
        fail "validation loss $loss, but $model has $nll"
    [ "$model" != model.gguf ] || awk -v a="$loss" -v b="$nll" 'BEGIN { d = a - b; exit !(d < 2e-6 && d > -2e-6) }' ||
        fail "validation loss $loss, but the GGUF has $nll"
done

# --- a run that is over only exports again
rm whole/model.gguf
run "once more" "$TERN" train pretrain whole.json
is "$status" 0
is "$(grep -v written "$WORK/out")" "$(grep -v written whole.out)"
[ -s whole/model.gguf ] || fail "the model was not written again"

# --- killed again and again: the same losses, the same files
same_as() { # RUN UNBROKEN
    is "$(losses "$1")" "$(losses "$2")"
    for file in model.gguf master/model.safetensors packed/model.safetensors; do
        cmp -s "$2/$file" "$1/$file" || fail "$name: $file differs from the unbroken run's"
    done
}
same_as_whole() { same_as "$1" whole; }
# kill_at RUN LINE...: start it, and kill it when its log has so many lines; $kills counts those that were at work
kill_at() {
    local run=$1 line pid
    shift
    kills=0
    for line; do
        "$TERN" train pretrain "$run.json" >/dev/null 2>&1 </dev/null &
        pid=$!
        until [ "$(cat "$run/log.jsonl" 2>/dev/null | wc -l)" -ge "$line" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.003; done
        kill -9 $pid 2>/dev/null && kills=$((kills + 1))
        wait $pid 2>/dev/null
    done
}
config killed
kill_at killed 1 3 8 14 16 21 30 33 39 40
[ "$kills" -ge 5 ] || fail "only $kills kills found the run at work"
run "killed $kills times" "$TERN" train pretrain killed.json
is "$status" 0
is "$err" "$(grep -v 'warning' "$WORK/err")"
same_as_whole killed

# --- several shards, and other ones in stage 2: one run
"$TERN" train data "$ROOT/docs/MODEL.md" "$ROOT/docs/FORMAT.md" --tokenizer tok.json --held-out 0.1 --split-on '\n\n' \
    -o more.shard >/dev/null 2>&1 || fail "no second shard"
"$TERN" train data "$ROOT/docs/SPEED.md" --tokenizer tok.json --held-out 0.1 --split-on '\n\n' -o best.shard \
    >/dev/null 2>&1 || fail "no third shard"
config listed
sed -i 's/"text.shard"/["text.shard"]/' listed.json
run "a list of one shard" "$TERN" train pretrain listed.json
is "$status" 0
same_as_whole listed
config first ', "stage2_at": 0.5' # stage 1's texts all the way
sed -i 's/"text.shard"/["text.shard", "more.shard"]/' first.json
run "two shards" "$TERN" train pretrain first.json
is "$status" 0
[ "$(losses first)" != "$(losses whole)" ] || fail "the second shard is not trained on"
config two ', "stage2_at": 0.5, "data_stage2": ["best.shard", "text.shard"]'
sed -i 's/"text.shard", "tok/["text.shard", "more.shard"], "tok/' two.json
run "two stages" "$TERN" train pretrain two.json
is "$status" 0
has "$err" "2 shards: "
has "$err" "from step 21 on stage 2"
# the first stage is the run that has its texts alone; what is held out, and so the validation, is another
trained() { sed 's/.*"loss": \([0-9.]*\),.*/\1/' "$1/log.jsonl"; }
is "$(trained two | head -n 20)" "$(trained first | head -n 20)"
[ "$(trained two | sed -n 21p)" != "$(trained first | sed -n 21p)" ] || fail "stage 2 has the texts of stage 1"
# killed in both stages, and where one state is of stage 1 and the next step of stage 2
config broken ', "stage2_at": 0.5, "data_stage2": ["best.shard", "text.shard"]'
sed -i 's/"text.shard", "tok/["text.shard", "more.shard"], "tok/' broken.json
kill_at broken 7 18 20 21 23 36
[ "$kills" -ge 3 ] || fail "only $kills kills found the run of two stages at work"
run "two stages, killed $kills times" "$TERN" train pretrain broken.json
is "$status" 0
same_as broken two
# asked in either stage to go on with other texts of either
sed -i 's/"best.shard", "text.shard"/"best.shard"/' broken.json
stops 1 "other data than" "other data in stage 2" "$TERN" train pretrain broken.json
stages() { # NAME DATA STAGE2 [MORE]
    config "$1" ", \"data_stage2\": $3${4:-}"
    sed -i "s|\"text.shard\", \"tok|$2, \"tok|" "$1.json"
}
stages bad '["text.shard", "text2.shard"]' '"best.shard"'
fails 1 "text2.shard: cannot open" "a shard that is not there" "$TERN" train pretrain bad.json
stages bad '"text.shard"' '["best.shard", "none.shard"]'
fails 1 "none.shard: cannot open" "a shard of stage 2 that is not there" "$TERN" train pretrain bad.json
stages bad '"text.shard"' '"best.shard"' ', "stage2_at": 1'
fails 1 '"data_stage2" would never be used: by "stage2_at" 1 all 40 "steps" are stage 1' "no stage 2" "$TERN" train pretrain bad.json
stages bad '"text.shard"' '"best.shard"'
fails 1 "would never be used" "too few steps for two stages" "$TERN" train pretrain bad.json --steps 1
"$TERN" train tokenizer text.txt --vocab-size 600 -o tok600.json >/dev/null 2>&1
"$TERN" train data held.txt --tokenizer tok600.json -o wide.shard >/dev/null 2>&1
stages bad '"text.shard"' '"wide.shard"'
fails 1 "wide.shard: has a vocabulary of 600, but" "a stage of another vocabulary" "$TERN" train pretrain bad.json
"$TERN" train data held.txt --tokenizer other.json -o other.shard >/dev/null 2>&1
stages bad '"text.shard"' '"other.shard"'
fails 1 "other.shard: was made with another tokenizer than" "a stage of another tokenizer" "$TERN" train pretrain bad.json
echo '{"prompt": "a", "completion": "b"}' >chat.jsonl
"$TERN" train data chat.jsonl --kind chat --tokenizer tok.json --held-out 0 -o chat.shard >/dev/null 2>&1
stages bad '"text.shard"' '"chat.shard"'
fails 1 "chat.shard: holds conversations" "a stage of conversations" "$TERN" train pretrain bad.json

# --- asked to stop: saved, and it goes on
config stopped
"$TERN" train pretrain stopped.json >/dev/null 2>stop.err </dev/null &
pid=$!
until [ -s stopped/log.jsonl ] || ! kill -0 $pid 2>/dev/null; do sleep 0.003; done
kill -TERM $pid
wait $pid
name="SIGTERM" status=$? err=$(cat stop.err)
if [ -e stopped/model.gguf ]; then echo "note: the run was faster than the signal"; else
    is "$status" 143
    has "$err" "the state is saved"
fi
run "after SIGTERM" "$TERN" train pretrain stopped.json
is "$status" 0
same_as_whole stopped

# --- a state that is damaged, twice; a disk that is full
config hurt
"$TERN" train pretrain hurt.json >/dev/null 2>&1
rm -r hurt/model.gguf hurt/master hurt/packed
printf 'x' | dd of=hurt/state.tern bs=1 seek=4000 conv=notrunc 2>/dev/null
run "a damaged state" "$TERN" train pretrain hurt.json
is "$status" 0
has "$err" "warning: "
has "$err" "state.tern: is damaged (its checksum is wrong); it is now state.bad.tern, and the run goes on from the state before it, step 35"
same_as_whole hurt
: >hurt/state.tern
: >hurt/state.prev.tern
stops 1 "--restart" "no good state" "$TERN" train pretrain hurt.json
run "--restart" "$TERN" train pretrain hurt.json --restart
is "$status" 0
same_as_whole hurt
config full
stops 1 "full/state.tern: cannot write" "a full disk" bash -c 'ulimit -f 100; exec "$@"' - "$TERN" train pretrain full.json
run "with room again" "$TERN" train pretrain full.json
is "$status" 0
same_as_whole full

# --- what may not change behind a run's back
config whole ', "lr": 0.001'
stops 1 'this run has "lr": 0.003, the configuration 0.001' "a changed configuration" "$TERN" train pretrain whole.json
stops 1 'this run has "steps": 40, the configuration 60' "more steps" "$TERN" train pretrain killed.json --steps 60
run "--accept-changes" "$TERN" train pretrain killed.json --steps 44 --accept-changes
is "$status" 0
is "$(wc -l <killed/log.jsonl)" 44
# another shape of as many weights is no change that could be accepted
config killed
sed -i 's/"heads": 2/"heads": 4/; s/"kv_heads": 1/"kv_heads": 2/; s/"steps": 40/"steps": 48/' killed.json
stops 1 'this run has "heads": 2, the configuration 4; its weights cannot change their shape' "another shape" \
    "$TERN" train pretrain killed.json --accept-changes
is "$(wc -l <killed/log.jsonl)" 44
config much
sed -i 's/"steps": 40/"steps": 1000000000000000/; s/"batch": 4/"batch": 1048576/' much.json
fails 1 "more tokens than can be counted" "too many tokens" "$TERN" train pretrain much.json --plan
# every step makes the matrices 9 times larger: past float's range after some 40
config nan ', "lr": 1, "lr_stage2": 1, "final_lr": 1, "weight_decay": 10, "weight_decay_stage2": 10'
sed -i 's/"steps": 40/"steps": 90/' nan.json
stops 1 "is not finite; the first tensor with such a value" "a run that blows up" "$TERN" train pretrain nan.json
[ -s nan/state.tern ] || fail "the state before it blew up is gone"

# --- data that is cut off while a run reads it
config cut ', "save_every": 0'
sed -i 's/"save_every": 5, //; s/"steps": 40/"steps": 1000000/; s/text.shard/cut.shard/' cut.json
cp text.shard cut.shard
"$TERN" train pretrain cut.json >/dev/null 2>"$WORK/err" </dev/null &
pid=$!
until [ -s cut/log.jsonl ] || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
: >cut.shard
wait $pid
name="a shard that is cut off" status=$? err=$(cat "$WORK/err")
is "$status" 1
has "$(tail -n 1 "$WORK/err")" "tern: a file that was read has become shorter"

# --- binary weights, and the full-precision twin
for weights in binary float; do
    config $weights ", \"weights\": \"$weights\", \"steps\": 12"
    sed -i 's/"steps": 40, //' $weights.json
    run "$weights weights" "$TERN" train pretrain $weights.json
    is "$status" 0
    cp "$WORK/err" $weights.err
    loss=$(sed -n 's/^validation loss  *\([0-9.]*\) nats.*/\1/p' "$WORK/out")
    if [ $weights = binary ]; then # tern runs no full-precision models
        run "perplexity" "$TERN" perplexity binary/model.gguf held.txt -c 32 --json
        nll=$(sed -n 's/.*"mean_nll": \([0-9.]*\).*/\1/p' "$WORK/out")
        awk -v a="$loss" -v b="$nll" 'BEGIN { d = a - b; exit !(a > 0 && d < 2e-6 && d > -2e-6) }' ||
            fail "validation loss $loss, but the binary model has $nll"
        hasnt "$(cat binary.err)" "weights stay float"
        run "perplexity at one bit a weight" "$TERN" perplexity binary/model-b1.gguf held.txt -c 32 --json
        is "$(sed -n 's/.*"mean_nll": \([0-9.]*\).*/\1/p' "$WORK/out")" "$nll"
        run "inspect" "$TERN" inspect binary/model-b1.gguf
        has "$out" "b1r16"
    else
        has "$(cat float.err)" "weights stay float"
    fi
done

# --- activations computed again: the same run
config again ', "recompute": true'
run "recompute" "$TERN" train pretrain again.json
is "$status" 0
same_as_whole again

# --- samples
config samples ', "sample_every": 4, "sample_prompt": "The tern"'
run "samples" "$TERN" train pretrain samples.json
is "$status" 0
has "$err" "sample of step 4 (made ternary): The tern"
has "$err" "sample of step 20: The tern"
has "$err" "sample of step 40: The tern"
[ -e samples/sample.gguf ] && fail "a sample's model was left behind"

# --- plots
if command -v gnuplot >/dev/null; then
    run "plot" "$TERN" train plot whole/log.jsonl killed -o loss.svg --title "A tern's <loss>"
    is "$status" 0
    is "$err" ""
    for part in "<svg" "whole" "killed" "learning rate" "tokens a second" "&lt;loss"; do
        grep -q -- "$part" loss.svg || fail "plot: no '$part'"
    done
    run "plot by tokens" "$TERN" train plot whole --by tokens --from 10 -o by-tokens.svg
    is "$status" 0
    fails 1 "$WORK/nowhere/tern-plot-" "no folder for the plot" env TMPDIR="$WORK/nowhere" "$TERN" train plot whole -o none.svg
    mkdir "$WORK/a place"
    # logs that are short of something, and odd names: the rest is drawn
    echo '{"step": 1, "loss": 2}' >one.jsonl
    printf '{"step": 1, "loss": 2}\n{"step": 2, "loss": 1e308}\n{"step": 3, "loss": 3, "lr": 1e-3}\n' >three.jsonl
    for title in "'a' first" "; system('touch x')" "$(printf 'no \377 UTF-8')" '`touch x`' '\\'; do
        run "plot, title $title" "$TERN" train plot one.jsonl three.jsonl whole -o odd.svg --title "$title"
        is "$status" 0
        python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' odd.svg 2>"$WORK/err" ||
            fail "$name: no SVG: $(tail -n 1 "$WORK/err")"
    done
    [ ! -e x ] || fail "a title was run"
    printf '{"step": 1, "loss": 1e308}\n' >large.jsonl
    fails 1 "large.jsonl: no losses to draw" "a loss beyond all numbers" "$TERN" train plot large.jsonl -o none.svg
    cp whole/log.jsonl copy.jsonl
    fails 1 "copy.jsonl: is input and output at once" "a plot onto its log" "$TERN" train plot copy.jsonl -o ./copy.jsonl
    fails 1 "is input and output at once" "a plot onto a folder's log" "$TERN" train plot whole -o whole/log.jsonl
    cmp -s copy.jsonl whole/log.jsonl || fail "the log is gone"
    run "plot by way of TMPDIR" env TMPDIR="$WORK/a place" "$TERN" train plot whole -o placed.svg
    is "$status" 0
    is "$(ls "$WORK/a place")" ""
else
    echo "no gnuplot: plots not tested"
fi
mkdir bin
ln -s "$(command -v sh)" bin/sh
fails 1 "gnuplot is not installed" "no gnuplot" env PATH="$WORK/bin" "$TERN" train plot whole -o none.svg
[ -e none.svg ] && fail "a plot without gnuplot"
fake() { # SCRIPT: a gnuplot that does this
    printf '#!/bin/sh\n%s\n' "$1" >bin/gnuplot
    chmod +x bin/gnuplot
}
fake 'printf "\n\nplot x\n     ^\n line 0: all wrong\n\n" >&2; exit 3'
fails 1 "gnuplot failed with status 3:  line 0: all wrong" "a gnuplot that fails" env PATH="$WORK/bin" "$TERN" train plot whole -o none.svg
fake 'kill -9 $$'
fails 1 "gnuplot was ended by signal 9" "a gnuplot that is killed" env PATH="$WORK/bin" "$TERN" train plot whole -o none.svg
chmod -x bin/gnuplot
fails 1 "gnuplot cannot be started: " "a gnuplot that cannot be started" env PATH="$WORK/bin" "$TERN" train plot whole -o none.svg
fake 'exec /bin/sleep 20'
mkdir place
for signal in INT TERM HUP; do
    env TMPDIR="$WORK/place" PATH="$WORK/bin" "$(command -v python3)" -c 'import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"): signal.signal(getattr(signal, name), signal.SIG_DFL) # a shell ignores SIGINT for &
os.execv(sys.argv[1], sys.argv[1:])' "$TERN" train plot whole -o none.svg 2>"$WORK/err" &
    pid=$!
    until [ -e place/tern-plot-*/messages ] || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -$signal $pid
    wait $pid
    name="plot and SIG$signal" status=$? err=$(cat "$WORK/err")
    [ "$status" -gt 128 ] || fail "$name: status $status"
    is "$(ls place)" ""
done
[ -e none.svg ] && fail "a plot without gnuplot"
printf '\3757zXZ\0\0' >packed.jsonl.xz
fails 1 "packed.jsonl.xz: is compressed; unpack it first: xz -d packed.jsonl.xz" "a packed log" \
    "$TERN" train plot packed.jsonl.xz -o none.svg
fails 1 "none/log.jsonl" "no such log" "$TERN" train plot none/log.jsonl
echo "no JSON" >bad.jsonl
fails 1 "bad.jsonl: line 1" "no log" "$TERN" train plot bad.jsonl
: >empty.jsonl
fails 1 "no losses" "an empty log" "$TERN" train plot empty.jsonl

finish
