#!/usr/bin/env bash
# tern train data --shard-size: several shards of one list of texts, which training takes as the one they would be; a
# command that fails, is stopped or killed leaves none of them.
. "$(dirname "$0")/lib.sh"

tokenizer=$ROOT/tests/data/golden/small/hf-bf16/tokenizer.json
cd "$WORK" || exit 1
for i in {1..400}; do
    printf 'Story %d: the fox barks, the owl hoots, and bear %d sits by the %d trees.\n<|endoftext|>\n' "$i" $((i * 7 % 13)) "$i"
done >text.txt
data() { # NAME INPUT SHARD OPTION...
    local input=$2 shard=$3
    run "$1" "$TERN" train data "$input" --tokenizer "$tokenizer" -o "$shard" --held-out 0.1 "${@:4}"
}
count() { # shards of that name
    local files=("$1"*.shard)
    [ -e "${files[0]}" ] || files=()
    echo ${#files[@]}
}

# --- whole shards of at most that size, of all documents; the same for any number of threads
data "one" text.txt one.shard
is "$status" 0
of_one=$(grep -e '^training:' -e '^held out:' <<<"$out")
data "several" text.txt web.shard --shard-size 8K -t 1
is "$status" 0
is "$err" ""
is "$(grep -e '^training:' -e '^held out:' <<<"$out")" "$of_one"
n=$(count web)
[ "$n" -ge 4 ] || fail "only $n shards"
has "$out" "$n shards in"
last=$(printf 'web-%05d-of-%05d.shard' "$n" "$n")
has "$out" "$last: "
is "$(grep -c '^web-0.*tokens$' <<<"$out")" "$n"
[ ! -e web.shard ] || fail "one of all was written, too"
for file in web-*.shard; do
    [ "$(wc -c <"$file")" -le 8192 ] || fail "$file is larger than 8 KiB"
done
cat web-*.shard | cksum >first
data "several, three threads" text.txt web.shard --shard-size 8K -t 3
is "$(cat web-*.shard | cksum)" "$(cat first)"
data "all in one" text.txt alone --shard-size 1G
is "$out" "alone-00001-of-00001: $(sed -n 's/^alone.*shard: //p;s/^alone-00001-of-00001: //p' <<<"$out")
1 shards in $(sed -n 's/^1 shards in //p' <<<"$out")
$of_one"
cmp -s one.shard alone-00001-of-00001 || fail "the only shard of a set is another than one alone"

# --- pre-training takes a list of them, and fine-tuning several: with the losses of the one
config() { # FOLDER SHARD...
    local folder=$1 list
    shift
    list=$(printf ', "%s"' "$@")
    cat >"$folder.json" <<JSON
{"data": [${list:2}], "tokenizer": "$tokenizer", "out": "$folder", "layers": 1, "hidden": 128, "ffn": 128, "heads": 2,
 "kv_heads": 1, "context": 64, "batch": 4, "micro_batch": 2, "steps": 6, "warmup_steps": 1, "eval_every": 0, "eval_tokens": 0,
 "save_every": 0}
JSON
}
losses() { sed 's/.*"loss": \([^,]*\).*/\1/' "$1/log.jsonl"; }
for folder in one web; do
    config $folder $folder*.shard
    run "pretrain $folder" "$TERN" train pretrain $folder.json --threads 1
    is "$status" 0
    is "$(wc -l <"$folder/log.jsonl")" 6
done
is "$(losses web)" "$(losses one)"
has "$("$TERN" train pretrain web.json --plan --restart 2>&1)" "$n shards"
for i in {1..60}; do
    echo "{\"prompt\": \"The fox $i?\", \"completion\": \"It barks $i.\"}" >&3
    echo "{\"prompt\": \"The fox $i?\", \"chosen\": \"It barks $i.\", \"rejected\": \"No, never.\"}" >&4
done 3>chat.jsonl 4>pairs.jsonl
for kind in chat:sft pairs:dpo; do
    command=${kind#*:} kind=${kind%:*}
    for set in one many; do
        size=2000
        [ $set = many ] || size=0
        data "$set $kind" "$kind.jsonl" "$kind-$set.shard" --kind "$kind" --shard-size $size
        run "$command of $set" "$TERN" train "$command" one "$kind-$set"*.shard -o "$command-$set" --ctx 64 --batch 4 --steps 4 --lr 1e-3 --threads 1
        is "$status" 0
    done
    [ "$(count "$kind-many")" -ge 3 ] || fail "$kind: only $(count "$kind-many") shards"
    is "$(losses "$command-many")" "$(losses "$command-one")"
done
fails 1 "is of another kind" "shards of two kinds" "$TERN" train sft one chat-one.shard pairs-one.shard -o no
fails 1 "none.shard" "one of several is not there" "$TERN" train sft one chat-one.shard none.shard -o no
[ ! -e no ] || fail "a refused command left a folder behind"

# --- what is refused, and leaves nothing
for size in -1 1.5 many 1T 2000000000G ""; do
    fails 2 "--shard-size" "a size of '$size'" "$TERN" train data text.txt --tokenizer "$tokenizer" -o no.shard --shard-size "$size"
done
fails 1 "cannot stand for several shards" "shards to a device" "$TERN" train data text.txt --tokenizer "$tokenizer" -o /dev/null --shard-size 1K
fails 1 "nowhere/no-00001" "no such folder" "$TERN" train data text.txt --tokenizer "$tokenizer" -o nowhere/no.shard --shard-size 1K
seq -f '{"text": "number %.0f and some more words of it"}' 3000 >good.jsonl
cp good.jsonl bad.jsonl
echo '{"text": 5}' >>bad.jsonl
fails 1 "bad.jsonl: line 3001" "a bad line behind many shards" "$TERN" train data bad.jsonl --tokenizer "$tokenizer" -o no.shard --shard-size 2K
if [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 1100 ]; then
    fails 1 "allow each of them more bytes" "too many" bash -c "ulimit -n 1100; exec '$TERN' train data good.jsonl --tokenizer '$tokenizer' -o no.shard --shard-size 1"
fi
fails 1 "Too many open files" "more than the system opens" bash -c "ulimit -n 40; exec '$TERN' train data good.jsonl --tokenizer '$tokenizer' -o no.shard --shard-size 1"
fails 1 "File too large" "a full disk" bash -c "trap '' XFSZ; ulimit -f 4; exec '$TERN' train data text.txt --tokenizer '$tokenizer' -o no.shard --shard-size 8K"
is "$(count no)" 0

# --- an input is never the output, though the output's name is known only at the end
cp text.txt in-00001-of-00001.txt
before=$(cksum <in-00001-of-00001.txt)
fails 1 "in-00001-of-00001.txt: is input and output at once" "a shard onto its text" "$TERN" train data in-00001-of-00001.txt --tokenizer "$tokenizer" -o in.txt --shard-size 1M
is "$(cksum <in-00001-of-00001.txt)" "$before"

# --- killed or stopped in the middle: no shard at all, or all of them
for _ in {1..40}; do cat text.txt; done >long.txt
whole=0 none=0
for signal in KILL INT; do
    for delay in 0.01 0.04 0.1 0.2 0.4; do
        rm -f cut-*
        "$TERN" train data long.txt --tokenizer "$tokenizer" -o cut.shard --shard-size 20K -t 1 >/dev/null 2>&1 &
        pid=$!
        sleep $delay
        kill -$signal $pid 2>/dev/null
        wait $pid 2>/dev/null
        shards=(cut-*.shard)
        if [ ! -e "${shards[0]}" ]; then
            none=$((none + 1))
            continue
        fi
        whole=$((whole + 1))
        all=${shards[0]#*-of-} # a kill may fall between the first name and the last
        [ $signal = KILL ] || is "${#shards[@]}" $((10#${all%.shard}))
        config cut "${shards[@]}"
        run "what SIG$signal left" "$TERN" train pretrain cut.json --plan --restart
        is "$status" 0
    done
done
echo "killed or stopped: $none times before the end, $whole times behind it"
finish
