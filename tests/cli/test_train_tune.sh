#!/usr/bin/env bash
# Training from a model there is: the losses that are reported are those of `tern perplexity`, a toy chat is learnt by
# heart, preferences are taken up, and what cannot be is refused before anything is written.
. "$(dirname "$0")/lib.sh"

tokenizer=$ROOT/tests/data/golden/small/hf-bf16/tokenizer.json
cd "$WORK" || exit 1
for type in F32 I2_S; do
    "$TERN" synth "$type.gguf" --vocab 277 --hidden 128 --ffn 128 --layers 2 --heads 2 --kv-heads 1 --ctx 96 \
        --type "$type" --embedding-type F32 --tokenizer "$tokenizer" 2>"$WORK/err" || fail "synth: $(cat "$WORK/err")"
done

# --- shards
words=(fox owl bear hare frog wolf crow toad duck goat)
sounds=(barks hoots growls runs croaks howls caws sits quacks bleats)
for i in "${!words[@]}"; do
    echo "{\"prompt\": \"The ${words[i]}?\", \"completion\": \"It ${sounds[i]}.\"}" >&3
    echo "{\"prompt\": \"The ${words[i]}?\", \"chosen\": \"It ${sounds[i]}.\", \"rejected\": \"No $i no.\"}" >&4
    printf 'The %s %s. <|endoftext|>' "${words[i]}" "${sounds[i]}" >&5
done 3>chat.jsonl 4>pairs.jsonl 5>text.txt
printf "The fox hoots and the owl barks, and then the bear runs. The duck howls." >held.txt # no newline: part of no document
make_shard() { # KIND FILE OPTION...
    local kind=$1 file=$2
    shift 2
    run "data $kind" "$TERN" train data "$file" --kind "$kind" --tokenizer "$tokenizer" -o "$kind.shard" "$@"
    is "$status" 0
}
make_shard chat chat.jsonl --held-out 0
make_shard pairs pairs.jsonl --held-out 0
make_shard text text.txt --held-out-file held.txt

# tune NAME COMMAND ARGUMENT...: its last validation loss in $loss
tune() {
    name=$1
    shift
    run "$name" "$TERN" train "$@" --threads 2
    is "$status" 0
    loss=$(sed -n 's/^validation loss *\([0-9.]*\) nats$/\1/p' "$WORK/out")
}
# perplexity ARGUMENT...: mean loss of held.txt in the windows that training has
perplexity() { "$TERN" perplexity "$@" -c 64 --json | sed -n 's/.*"mean_nll": *\([0-9.]*\).*/\1/p'; }
close_to() { # what training said, what the model on disk gives
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && b > 0 && a - b < 2e-4 * b && b - a < 2e-4 * b) }' ||
        fail "$name: training reported '$1' nats, tern perplexity '$2'"
}

# --- adapters: beside the model, and merged
tune "lora" lora I2_S.gguf text.shard -o adapter --ctx 64 --rank 4 --targets q,v,up --lr 5e-3 --epochs 20 --batch 4
has "$err" "memory plan"
has "$err" "Adam's moments"
close_to "$loss" "$(perplexity I2_S.gguf held.txt --lora adapter)"
[ "$loss" != "$(perplexity I2_S.gguf held.txt)" ] || fail "the adapter changes nothing"
tune "lora --merge" lora F32.gguf text.shard -o merged --merge --tokenizer "$tokenizer" --ctx 64 --rank 4 --lr 5e-3 \
    --epochs 20 --batch 4
close_to "$loss" "$(perplexity merged/model.gguf held.txt)"
run "the merged model's packed form" "$TERN" inspect merged/packed
is "$status" 0

# --- pre-training goes on
tune "continue" continue F32.gguf text.shard -o more --tokenizer "$tokenizer" --ctx 64 --lr 2e-3 --steps 30 --batch 4
close_to "$loss" "$(perplexity more/model.gguf held.txt)"

# --- a toy chat, by heart
tune "sft" sft F32.gguf chat.shard -o chat --tokenizer "$tokenizer" --ctx 64 --lr 3e-3 --epochs 250 --batch 2
right=0
for i in "${!words[@]}"; do
    run "chat ${words[i]}" "$TERN" run chat/model.gguf --chat -p "The ${words[i]}?" --temp 0 -n 24
    [ "$out" = "It ${sounds[i]}." ] && right=$((right + 1))
done
[ $right -ge 9 ] || fail "sft: $right of 10 answers are right, the last one is '$out'"
# the loss is that of answers alone, and went from much to almost nothing
awk -F'"loss": ' '{ last = $2 + 0; if (NR == 1) first = last } END { exit !(last < first / 20) }' \
    chat/log.jsonl || fail "sft: the loss did not fall: $(sed -n '1p;$p' chat/log.jsonl)"

# --- samples on the way: conversations are asked, texts are begun
name="the log"
has "$(tail -n 1 chat/log.jsonl)" '"peak_share"'
tune "samples of sft" sft chat chat.shard -o asked --ctx 64 --lr 1e-6 --steps 3 --batch 2 --sample-every 2 \
    --sample-prompt "The fox?"
has "$err" "sample of step 2: The fox? > It barks." # as it had learnt
hasnt "$err" "sample of step 1"
hasnt "$err" "sample of step 3"
hasnt "$err" "warning"
tune "samples of lora" lora I2_S.gguf text.shard -o told --ctx 64 --rank 4 --steps 2 --batch 4 --sample-every 2
has "$err" "sample of step 2: Once upon a time"
hasnt "$err" "warning"
tune "samples of lora --merge" lora F32.gguf chat.shard -o merged2 --merge --tokenizer "$tokenizer" --ctx 64 --rank 4 \
    --steps 2 --batch 4 --sample-every 1
has "$err" "sample of step 1: Tell me a story. > "
hasnt "$err" "warning"
for left in asked/sample.gguf told/sample merged2/sample.gguf; do
    [ ! -e $left ] || fail "$left was left behind"
done

# --- preferences, from the run's state
tune "dpo" dpo chat pairs.shard -o dpo --ctx 64 --lr 1e-4 --epochs 4 --batch 4
is "$(sed -n '1s/.*"loss": \([0-9.]*\),.*/\1/p' dpo/log.jsonl)" 0.693147181
accuracy() { sed 's/.*"accuracy": \([0-9.]*\),.*/\1/' dpo/log.jsonl; }
is "$(accuracy | head -n 1)" 0
is "$(accuracy | tail -n 5 | sort -u)" 1
has "$(tail -n 1 dpo/log.jsonl)" '"logp_chosen": -'

# --- a run that is over is not begun anew, and other settings are noticed
tune "again" lora I2_S.gguf text.shard -o adapter --ctx 64 --rank 4 --targets q,v,up --lr 5e-3 --epochs 20 --batch 4
has "$out" "written"
fails_last() { # PART NAME ARGUMENT...: as fails, but there is a plan in front of the error
    local part=$1
    shift
    run "$1" "$TERN" train "${@:2}"
    is "$status" 1
    has "$(tail -n 1 "$WORK/err")" "tern: "
    has "$(tail -n 1 "$WORK/err")" "$part"
}
fails_last '"lr"' "another rate" lora I2_S.gguf text.shard -o adapter --ctx 64 --rank 4 --targets q,v,up --lr 1e-3 \
    --epochs 20 --batch 4

# --- killed at any moment, each kind ends as it would have
# killed NAME FILE COMMAND ARGUMENT...: FILE of the run that is not killed, and of the one that is, three times
killed() {
    local label=$1 file=$2 lines kills=0 pid
    shift 2
    run "$label, whole" "$TERN" train "$@" -o "whole/$label" --threads 2
    is "$status" 0
    for lines in 3 20 45; do
        "$TERN" train "$@" -o "cut/$label" --threads 2 >/dev/null 2>&1 &
        pid=$!
        while kill -0 $pid 2>/dev/null && [ "$(cat "cut/$label/log.jsonl" 2>/dev/null | wc -l)" -lt $lines ]; do :; done
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        [ $? -eq 137 ] && kills=$((kills + 1))
    done
    [ $kills -gt 0 ] || fail "$label: was over before it could be killed"
    run "$label, after $kills kills" "$TERN" train "$@" -o "cut/$label" --threads 2
    is "$status" 0
    cmp -s "whole/$label/$file" "cut/$label/$file" || fail "$name: $file is not that of an unbroken run"
    is "$(sed 's/, "seconds".*//' "cut/$label/log.jsonl" | cksum)" "$(sed 's/, "seconds".*//' "whole/$label/log.jsonl" | cksum)"
}
often=(--ctx 64 --batch 4 --steps 80 --save-every 7 --eval-every 20)
killed sft model.gguf sft F32.gguf chat.shard --tokenizer "$tokenizer" "${often[@]}"
killed dpo model.gguf dpo F32.gguf pairs.shard --tokenizer "$tokenizer" --lr 1e-4 "${often[@]}"
killed continue model.gguf continue F32.gguf text.shard --tokenizer "$tokenizer" "${often[@]}"
killed lora adapter_model.safetensors lora I2_S.gguf chat.shard "${often[@]}"

# --- a run's state as the model, from another folder, when the tokenizer it was given is no longer there
mkdir sub
cp "$tokenizer" tok.json
tune "tokenizer beside it" sft F32.gguf chat.shard -o moved --tokenizer tok.json --ctx 64 --steps 2
cd sub || exit 1
tune "from another folder" sft ../moved ../chat.shard -o one --ctx 64 --steps 2
rm ../tok.json
tune "the run's own copy" sft ../moved ../chat.shard -o two --ctx 64 --steps 2
rm -r ../moved/master
fails 1 "--tokenizer" "no tokenizer at all" "$TERN" train sft ../moved ../chat.shard -o three --ctx 64 --steps 2
cd .. || exit 1

# --- a damaged state: a model that is read stays as it is, as does what --plan looks at; a run that goes on sets it aside
cp -r chat hurt
printf 'x' | dd of=hurt/state.tern bs=1 seek=4000 conv=notrunc 2>/dev/null
before=$(find hurt -type f -exec cksum {} + | sort)
tune "a damaged base" sft hurt chat.shard -o from-hurt --ctx 64 --steps 2
has "$err" "warning: hurt/state.tern: is damaged (its checksum is wrong); the state before it is taken, step 1"
is "$(find hurt -type f -exec cksum {} + | sort)" "$before"
tune "a second state" sft F32.gguf chat.shard -o hurt-run --tokenizer "$tokenizer" --ctx 64 --steps 8 --save-every 3
: >hurt-run/state.tern
tune "the plan of a damaged run" sft F32.gguf chat.shard -o hurt-run --tokenizer "$tokenizer" --ctx 64 --steps 8 --plan
[ -e hurt-run/state.tern ] || fail "--plan moved a state"
tune "a damaged run" sft F32.gguf chat.shard -o hurt-run --tokenizer "$tokenizer" --ctx 64 --steps 8 --save-every 3
is "$(grep -c warning "$WORK/err")" 1
has "$err" "it is now state.bad.tern, and the run goes on from the state before it, step 6"

# --- a base that is not over is told
"$TERN" train sft F32.gguf chat.shard -o early --tokenizer "$tokenizer" --ctx 64 --steps 200000 --save-every 2 \
    --threads 2 >/dev/null 2>&1 &
early=$!
while kill -0 $early && [ ! -e early/state.prev.tern ]; do sleep 0.05; done
kill -9 $early
wait $early 2>/dev/null
tune "an unfinished base" sft early chat.shard -o later --ctx 64 --steps 2
has "$err" "of 200000"

# --- two processes; and one goes on with what two began
if command -v mpirun >/dev/null && [ -e "$(dirname "$TERN")/tern_mpi.so" ]; then
    two() { # ARGUMENT...
        LSAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n 2 "$TERN" train "$@" --threads 1
    }
    both() { # KIND ARGUMENT...: the losses of the first steps and the last one, alone and shared
        run "$1 alone" "$TERN" train "$@" -o "ranks/$1-one" --threads 2
        is "$status" 0
        run "$1 by two" two "$@" -o "ranks/$1-two"
        is "$status" 0
        is "$(grep -c 'written' "$WORK/out")" 3
        paste -d ' ' <(sed 's/.*"loss": \([0-9.]*\),.*/\1/' "ranks/$1-one/log.jsonl") \
            <(sed 's/.*"loss": \([0-9.]*\),.*/\1/' "ranks/$1-two/log.jsonl") |
            awk '{ d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > (NR <= 3 ? 1e-4 : 5e-2)) bad = 1 }
                 END { exit bad || NR != 12 }' || fail "$1: two processes have other losses than one"
        run "$1, two again" two "$@" -o "ranks/$1-two" # the state, shared
        is "$status" 0
        run "$1, one after two" "$TERN" train "$@" -o "ranks/$1-two" --threads 2
        is "$status" 0
    }
    run "by three, too many" env LSAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n 3 "$TERN" \
        train dpo F32.gguf pairs.shard -o ranks/none --tokenizer "$tokenizer" --ctx 64 --steps 1 --batch 2 --threads 1
    [ "$status" != 0 ] || fail "one pair was shared by three processes"
    has "$err" "tern: a batch of 1 pairs is too small for 3 processes"
    run "no shard, by two" two sft F32.gguf none.shard -o ranks/none --tokenizer "$tokenizer"
    [ "$status" != 0 ] || fail "two processes trained on nothing"
    has "$err" "tern: none.shard: cannot open"
    both sft F32.gguf chat.shard --tokenizer "$tokenizer" --ctx 64 --steps 12 --batch 4
    both dpo F32.gguf pairs.shard --tokenizer "$tokenizer" --ctx 64 --steps 12 --batch 4 --lr 1e-5
else
    echo "no mpirun, or built without MPI: several processes not tested"
fi

# --- what the context has no room for is told
tune "short rows" lora I2_S.gguf chat.shard -o short --ctx 26 --steps 2
has "$err" "warning: of 10 conversations, "
has "$err" "are cut"

# --- the plan alone
run "plan" "$TERN" train continue F32.gguf text.shard -o never --tokenizer "$tokenizer" --plan
is "$status" 0
has "$out" "memory plan"
has "$out" "available"
[ ! -e never ] || fail "--plan wrote something"
if bash -c "ulimit -v 500000 && '$TERN' --version" >/dev/null 2>&1; then # not under a sanitizer
    "$TERN" synth big.gguf --vocab 277 --hidden 512 --ffn 2048 --layers 9 --heads 8 --kv-heads 8 --type BF16 \
        --embedding-type BF16 --tokenizer "$tokenizer" 2>/dev/null || fail "synth of a larger model"
    run "too large a model" bash -c "ulimit -v 500000; exec '$TERN' train continue big.gguf text.shard -o never \
        --ctx 64 --tokenizer '$tokenizer'"
    is "$status" 1
    has "$(tail -n 1 "$WORK/err")" "0.5 GB are available"
    [ ! -e never ] || fail "a run that does not fit wrote something"
fi

# --- what would only show when the trained model is written, at the end
run "shard by the model itself" "$TERN" train data chat.jsonl --kind chat --tokenizer F32.gguf --held-out 0 -o own.shard
is "$status" 0
echo "no JSON" >junk.json
fails 1 "junk.json: is no tokenizer.json" "no tokenizer" "$TERN" train sft F32.gguf own.shard -o x --tokenizer junk.json
fails 1 "F32.gguf: is no tokenizer.json" "a GGUF as the tokenizer" "$TERN" train sft F32.gguf own.shard -o x --tokenizer F32.gguf
cp -r chat/master odd
sed -i 's/"chat_template": "/&{% frobnicate %}/' odd/tokenizer_config.json
fails 1 "frobnicate" "a chat template that cannot be parsed" "$TERN" train sft odd chat.shard -o x --ctx 64
[ ! -e x ] || fail "a run that could not have been exported was begun"
mkdir -p taken/packed
echo mine >taken/packed/notes.txt
fails 1 "taken/packed: holds notes.txt" "somebody's folder" "$TERN" train sft chat chat.shard -o taken --ctx 64
is "$(ls taken)" "packed"
mkdir -p taken_too/adapter_model.safetensors
fails 1 "adapter_model.safetensors: is a folder, where the adapter" "a folder for the adapter" "$TERN" train lora I2_S.gguf chat.shard -o taken_too --ctx 64
fails 1 "5 steps of warm-up are more than all 4 steps" "a rate that never comes up" "$TERN" train sft chat chat.shard -o x --ctx 64 --steps 4 --warmup 5

# --- nothing that a run begins with is written over by it
cp -r chat whole_chat && rm whole_chat/state*.tern
before=$(find whole_chat adapter -type f -exec cksum {} + | sort)
for begun in "" --restart --accept-changes; do
    fails 1 "over the one it begins with" "over its master $begun" "$TERN" train sft whole_chat/master chat.shard -o whole_chat --ctx 64 --steps 1 $begun
    fails 1 "over the one it begins with" "over its GGUF $begun" "$TERN" train lora whole_chat/model.gguf chat.shard -o whole_chat/. --merge --tokenizer "$tokenizer" --ctx 64 --steps 1 $begun
    fails 1 "is the adapter to begin with" "over its adapter $begun" "$TERN" train lora I2_S.gguf text.shard -o adapter --from ./adapter --ctx 64 --steps 1 $begun
done
is "$(find whole_chat adapter -type f -exec cksum {} + | sort)" "$before"

# --- an adapter that cannot be written whole leaves the old one whole
cp -r short short_before
run "no room for the adapter" bash -c 'trap "" XFSZ; ulimit -f 20; exec "$@"' - "$TERN" train lora I2_S.gguf chat.shard -o short --ctx 26 --steps 2
is "$status" 1
has "$(tail -n 1 "$WORK/err")" "adapter_model.safetensors: cannot write: File too large"
is "$(ls short)" "$(ls short_before)"
for file in adapter_config.json adapter_model.safetensors state.tern log.jsonl; do
    cmp "short/$file" "short_before/$file" || fail "$name: $file is another"
done

# --- what cannot be
fails 2 "-o FOLDER" "no folder" "$TERN" train sft F32.gguf chat.shard
fails 2 "too few" "no shard" "$TERN" train sft F32.gguf -o x
fails 2 "--targets" "unknown matrix" "$TERN" train lora I2_S.gguf chat.shard -o x --targets q,w
for option in "--rank 4" "--alpha 8" "--targets q"; do
    # shellcheck disable=SC2086 # two words
    fails 2 "--from" "an adapter with other settings" "$TERN" train lora I2_S.gguf chat.shard -o x --from adapter $option
done
fails 1 "learns from preference pairs" "conversations for DPO" "$TERN" train dpo F32.gguf chat.shard -o x
fails 1 "--tokenizer" "no tokenizer" "$TERN" train sft F32.gguf chat.shard -o x
fails_last "no master weight" "packed weights" sft I2_S.gguf chat.shard -o x --tokenizer "$tokenizer"
fails 1 "--merge" "adapters of a run's state" "$TERN" train lora chat chat.shard -o x
fails 1 "vocabulary" "another model's shard" "$TERN" train lora demo chat.shard -o x
fails 1 "adapter_config.json" "no adapter" "$TERN" run I2_S.gguf --lora chat -p x
fails 1 "another base model" "another model's adapter" "$TERN" run demo --lora adapter -p x
finish
