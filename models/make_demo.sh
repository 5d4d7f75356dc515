#!/usr/bin/env bash
# Make the built-in model again from its texts. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
Example:
  models/make_demo.sh --minutes 300
  models/make_demo.sh ../shared/data --minutes 300 --heldout heldout.txt
  models/make_demo.sh --dry-run

  DATA              folder with text/tinystories-sample.txt, text/storybooks-ccby.txt, text/children-books.txt.xz and
                    text/classic-fiction.txt.xz (default: ../shared/data)
  --heldout FILE    the text that the model is measured on and never sees; the end of tinystories-sample.txt
                    (default: DATA/../reference/story/heldout.txt, if it is there)
  --work FOLDER     everything that is made on the way (default: build/demo)
  --tern PATH       the command (default: build/tern)
  --minutes N       time for all of the training; steps are chosen by the speed of a few that are measured
                    (default: 240)
  --steps N         of pre-training, instead
  --config FILE     of pre-training (default: models/demo.json)
  --threads N       CPU threads (default: all)
  --stories N       generated stories (default: 24000)
  --conversations N generated conversations for pre-training (default: 26300)
  --quick           all of it once, but tiny: two stages, SFT, DPO, export, figures and plot of a model of one layer that
                    learns next to nothing; a minute with small texts (default of --work: build/demo-quick)
  --twin            at last also pre-train the same model in full precision, for comparison: as long again
  --until STEP      stop after it: text, generated, check, tokenizer, plan, mix, shards, pretrain, sft, dpo, eval
  --dry-run         only say what would be done

Each step is left out when what it makes is there and newer than what it is made of; a training run that was stopped
goes on where it was. At the end WORK/demo.gguf is the model, WORK/report holds its figures, samples and curves.
END
}

die() {
    echo "make_demo: $*" >&2
    exit 1
}
note() { echo "make_demo: $*" >&2; }

data=../shared/data heldout='' work='' tern=build/tern minutes=240 steps='' threads=0 stories=24000 conversations=26300 until='' dry=0 twin=0 quick=0
config=models/demo.json
tokenizer_mb=30 few_steps=() n_asked=200 few_tokens=() # what --quick makes small
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --dry-run) dry=1 ;;
    --twin) twin=1 ;;
    --quick) quick=1 ;;
    --heldout | --work | --tern | --minutes | --steps | --config | --threads | --stories | --conversations | --until)
        [ $# -gt 1 ] || die "$1 needs a value"
        declare "${1#--}=$2"
        shift
        ;;
    -*) die "unknown option $1; --help lists them" ;;
    *) data=$1 ;;
    esac
    shift
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || die "--minutes is to be a whole number, 1 or more"
[[ $stories =~ ^[1-9][0-9]*$ ]] || die "--stories is to be a whole number, 1 or more"
[[ $conversations =~ ^[1-9][0-9]*$ ]] || die "--conversations is to be a whole number, 1 or more"
[[ $threads =~ ^[0-9]+$ ]] || die "--threads is to be a whole number"
[[ $steps =~ ^([1-9][0-9]*)?$ ]] || die "--steps is to be a whole number, 1 or more"
steps_known=" text generated check tokenizer plan mix shards pretrain sft dpo eval "
[ -z "$until" ] || [[ $steps_known == *" $until "* ]] || die "--until: there is no step $until; --help lists them"
command -v python3 >/dev/null || die "python3 is needed to prepare the texts"
[ -x "$tern" ] || [ "$dry" = 1 ] || die "$tern is no program: build it first (make), or name it with --tern"
[ -f "$data/text/tinystories-sample.txt" ] || die "$data/text/tinystories-sample.txt is not there: name the folder of the texts"
if [ -z "$heldout" ] && [ -f "$data/../reference/story/heldout.txt" ]; then
    heldout=$data/../reference/story/heldout.txt
fi
[ -z "$heldout" ] || [ -f "$heldout" ] || die "$heldout is not there"
[ -n "$heldout" ] || note "no held-out text: nothing is kept out, and the model is not measured"
[ -n "$work" ] || work=$([ "$quick" = 1 ] && echo build/demo-quick || echo build/demo)
work=$(realpath -m "$work")
[ "$dry" = 1 ] || mkdir -p "$work"
text=$work/text

# fresh OUTPUT INPUT...: OUTPUT is there, and no input is newer
fresh() {
    local output=$1 input
    shift
    [ -e "$output" ] || return 1
    for input; do
        [ ! "$input" -nt "$output" ] || return 1
    done
}

# step NAME OUTPUT INPUT... -- COMMAND...: run it unless OUTPUT is fresh. A command that leaves no OUTPUT of its own
# leaves a marker: OUTPUT is touched when it has succeeded.
step() {
    local name=$1 output=$2 inputs=()
    shift 2
    while [ "$1" != -- ]; do
        inputs+=("$1")
        shift
    done
    shift
    if fresh "$output" "${inputs[@]}"; then
        note "$name: is there"
    elif [ "$dry" = 1 ]; then
        echo "$name: $*"
    else
        note "$name: $*"
        "$@"
        touch "$output"
    fi
}

stop_after() {
    [ "$until" != "$1" ] || exit 0
}

train() {
    if [ "$threads" -gt 0 ]; then
        "$tern" train "$@" --threads "$threads"
    else
        "$tern" train "$@"
    fi
}

# ---------------------------------------------------------------------- configuration

# config FILE KEY=VALUE...: the configuration with some keys changed (values are JSON)
write_config() {
    python3 - "$config" "$@" <<'END'
import json, os, sys
source, target, *changes = sys.argv[1:]
config = json.load(open(source))
for change in changes:
    key, value = change.split("=", 1)
    config[key] = json.loads(value)
with open(target + ".new", "w") as file:
    json.dump(config, file, indent=4)
os.replace(target + ".new", target)
END
}
from_config() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$config" "$1"; }

# --quick: all that follows, but small. TQ1_0 wants 256 values in a row, what is fine-tuned a context of 512 tokens.
if [ "$quick" = 1 ]; then
    quick_config() {
        write_config "$work/quick.json" layers=1 hidden=256 ffn=256 heads=4 kv_heads=2 vocab=600 batch=4 eval_every=8 \
            eval_tokens=1024 save_every=8 sample_every=0
    }
    step config "$work/quick.json" "$config" -- quick_config
    config=$work/quick.json
    stories=$((stories < 120 ? stories : 120)) conversations=$((conversations < 80 ? conversations : 80)) tokenizer_mb=0.2
    few_steps=(--steps 4) n_asked=2 few_tokens=(-n 8)
fi

# ---------------------------------------------------------------------- texts

held=() avoid=() exclude=()
if [ -n "$heldout" ]; then
    held=(--heldout "$heldout") avoid=(--avoid "$heldout") exclude=(--exclude "$heldout")
fi
sources=("$data"/text/tinystories-sample.txt "$data"/text/storybooks-ccby.txt "$data"/text/children-books.txt.xz
    "$data"/text/classic-fiction.txt.xz)
step text "$text/classic.txt" "${sources[@]}" models/corpus.py ${heldout:+"$heldout"} -- \
    python3 models/corpus.py clean "$data" "${held[@]}" -o "$text"
stop_after text

step generated "$text/generated.txt" tools/stories/* -- \
    python3 tools/stories stories -n "$stories" --seed 1 "${avoid[@]}" -o "$text/generated.txt"
# Conversations that are pre-trained on; those of SFT are others.
written=(--texts "$text/tinystories.txt" --texts "$text/storybooks.txt") # asked for by what they are about
step generated "$text/conversations.jsonl" tools/stories/* "$text/tinystories.txt" "$text/storybooks.txt" -- \
    python3 tools/stories sft -n "$conversations" --seed 2 "${written[@]}" "${avoid[@]}" -o "$text/conversations.jsonl"
stop_after generated

# Once more, of the files as they are: no training text may hold any part of the held-out one.
check_texts() {
    python3 models/corpus.py check "$heldout" "$text"/* >"$work/check.txt" || die "held-out text is in the training texts"
}
if [ -n "$heldout" ]; then
    step check "$work/check.txt" "$text"/* -- check_texts
fi
stop_after check

# ---------------------------------------------------------------------- tokenizer and budget

make_tokenizer() {
    python3 models/corpus.py mix --stage tokenizer --mb "$tokenizer_mb" --text "$text" -o "$work/tokenizer.jsonl"
    train tokenizer "$work/tokenizer.jsonl" --vocab-size "$(from_config vocab)" -o "$work/tokenizer.json"
}
step tokenizer "$work/tokenizer.json" "$text"/* -- make_tokenizer
stop_after tokenizer

# How many steps fit into the time: the median speed of some steps of the real run. Pre-training gets 85% of the time,
# the conversations 10%, the preferences 5%; bytes a token are measured on the texts of the tokenizer.
make_plan() {
    local probe=$work/probe bytes_per_token rate n
    train data "$work/tokenizer.jsonl" --tokenizer "$work/tokenizer.json" -o "$work/probe.shard" >"$work/probe.txt"
    bytes_per_token=$(sed -n 's/^training:.*, \([0-9.]*\) bytes a token$/\1/p' "$work/probe.txt")
    [ -n "$bytes_per_token" ] || die "tern train data did not say how many bytes a token has"
    n=$steps rate=0
    if [ -z "$n" ]; then
        rm -rf "$probe"
        write_config "$work/probe.json" "tokenizer=\"$work/tokenizer.json\"" "data=\"$work/probe.shard\"" data_stage2=[] \
            "out=\"$probe\"" steps=12 warmup_steps=1 eval_every=0 eval_tokens=1024 save_every=0 sample_every=0
        train pretrain "$work/probe.json"
        rate=$(python3 -c '
import json, statistics, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
print(statistics.median(line["tokens_per_second"] for line in lines[2:] if "tokens_per_second" in line))' "$probe/log.jsonl")
    fi
    python3 - "$work/plan.sh" "$rate" "$minutes" "${n:-0}" "$(from_config batch)" "$bytes_per_token" "$(from_config stage2_at)" "$quick" <<'END'
import os, sys
path, rate, minutes, steps, batch, ratio = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
stage1 = float(sys.argv[7])  # its share of the steps
per_step = batch * 512
tokens = rate * minutes * 60 if not steps else steps * per_step / 0.85
steps = steps or max(20, int(tokens * 0.85 / per_step))
steps += steps % 2
quick = int(sys.argv[8])
if quick and not int(sys.argv[4]):
    steps = 16
clamp = lambda x, low, high: max(low, min(high, int(x)))
mb = lambda share: clamp(share * steps * per_step * ratio / 1e6 + 1, 2, 120)
values = {
    "total_steps": steps,
    "warmup_steps": max(1, min(100, steps // 30)),
    "stage_mb": f"({mb(stage1)} {mb(1 - stage1)})",
    "n_sft": clamp(tokens * 0.10 / (230 * 2), 1000, 24000),  # with as much of the texts between them, some 230 tokens each
    "n_dpo": clamp(tokens * 0.05 / (450 * 1.5), 200, 6000),  # two answers; one pass, and one of the reference
}
if quick:
    values.update(stage_mb="(0.1 0.1)", n_sft=60, n_dpo=16)
with open(path + ".new", "w") as file:
    file.write(f"# {rate:.0f} tokens/s, {minutes} minutes, {ratio} bytes a token\n")
    file.writelines(f"{key}={value}\n" for key, value in values.items())
os.replace(path + ".new", path)
END
}
step plan "$work/plan.sh" "$work/tokenizer.json" "$config" -- make_plan
stop_after plan
if [ -f "$work/plan.sh" ]; then
    # shellcheck source=/dev/null
    . "$work/plan.sh"
    note "$(tr '\n' ' ' <"$work/plan.sh")"
else
    total_steps=N warmup_steps=N/30 stage_mb=(MB MB) n_sft=N n_dpo=N # --dry-run before the plan
fi

# ---------------------------------------------------------------------- shards

for stage in 1 2; do
    step mix "$work/stage$stage.jsonl" "$text"/* "$work/plan.sh" -- \
        python3 models/corpus.py mix --stage $stage --mb "${stage_mb[stage - 1]}" --text "$text" -o "$work/stage$stage.jsonl"
done
# The mixes once more, as they are trained on.
check_mixes() {
    python3 models/corpus.py check "$heldout" "$work"/stage?.jsonl >"$work/check-mixes.txt" ||
        die "held-out text is in the mixes"
}
if [ -n "$heldout" ]; then
    step check "$work/check-mixes.txt" "$work/stage1.jsonl" "$work/stage2.jsonl" -- check_mixes
fi
stop_after mix

make_chat() {
    python3 tools/stories sft -n "$n_sft" --seed 1 "${written[@]}" --replay "$text/tinystories.txt" \
        --replay "$text/storybooks.txt" "${avoid[@]}" -o "$work/sft.jsonl"
    python3 tools/stories dpo -n "$n_dpo" --seed 1 "${written[@]}" "${avoid[@]}" -o "$work/dpo.jsonl"
    if [ -n "$heldout" ]; then
        python3 models/corpus.py check "$heldout" "$work/sft.jsonl" "$work/dpo.jsonl" >>"$work/check.txt" ||
            die "held-out text is in the exercises"
    fi
}
step chat "$work/dpo.jsonl" tools/stories/* "$work/plan.sh" "$text/tinystories.txt" "$text/storybooks.txt" -- make_chat
shard() { train data "$1" --tokenizer "$work/tokenizer.json" "${@:3}" "${exclude[@]}" -o "$2"; }
for stage in 1 2; do
    step shard "$work/stage$stage.shard" "$work/stage$stage.jsonl" "$work/tokenizer.json" -- \
        shard "$work/stage$stage.jsonl" "$work/stage$stage.shard"
done
step shard "$work/sft.shard" "$work/sft.jsonl" "$work/tokenizer.json" -- shard "$work/sft.jsonl" "$work/sft.shard" --kind chat
step shard "$work/dpo.shard" "$work/dpo.jsonl" "$work/tokenizer.json" -- shard "$work/dpo.jsonl" "$work/dpo.shard" --kind pairs
stop_after shards

# ---------------------------------------------------------------------- training

pretrain() { # NAME KEY=VALUE...
    local name=$1
    write_config "$work/pretrain-$name.json" "tokenizer=\"$work/tokenizer.json\"" "data=\"$work/stage1.shard\"" \
        "data_stage2=\"$work/stage2.shard\"" "out=\"$work/$name\"" "steps=$total_steps" "warmup_steps=$warmup_steps" \
        "${@:2}"
    train pretrain "$work/pretrain-$name.json"
}
step pretrain "$work/pretrain.done" "$work/stage1.shard" "$work/stage2.shard" -- pretrain run
stop_after pretrain
sft() {
    train sft "$work/run" "$work/sft.shard" -o "$work/run-sft" --tokenizer "$work/tokenizer.json" --epochs 1 \
        --lr 1.2e-4 --batch 8 --ctx 512 "${few_steps[@]}"
}
step sft "$work/sft.done" "$work/pretrain.done" "$work/sft.shard" -- sft
stop_after sft
dpo() {
    train dpo "$work/run-sft" "$work/dpo.shard" -o "$work/run-dpo" --tokenizer "$work/tokenizer.json" --epochs 1 --lr 5e-6 \
        --beta 0.1 --batch 8 --ctx 512 "${few_steps[@]}"
    # what is shipped: small, and with an embedding that is not rounded further than 16 bits
    "$tern" convert "$work/run-dpo/model.gguf" "$work/demo.gguf" --type tq1_0 --embedding-type f16 --name tern-demo --force
}
step dpo "$work/demo.gguf" "$work/sft.done" "$work/dpo.shard" -- dpo
stop_after dpo

# ---------------------------------------------------------------------- figures and samples

requests=("Tell me a story about a shy fox and a red kite." "Write a short story that uses the words boat, rain and friend."
    "Tell me a story about a girl named Nora." "Hello!" "What is the capital of France?")
beginnings=("Once upon a time" "One day, a little boy named Tim" "\"Where is my hat?\" said the bear.")
report() {
    local model request context words
    rm -rf "$work/report.new"
    mkdir -p "$work/report.new"
    for model in run/model.gguf run-sft/model.gguf demo.gguf; do
        if [ -n "$heldout" ]; then
            for context in 256 512; do # the model before was measured with 256 tokens; these are trained with 512
                "$tern" perplexity "$work/$model" "$heldout" -c $context --json \
                    >"$work/report.new/heldout-${model//\//-}-c$context.json"
            done
        fi
    done
    for model in run-sft/model.gguf demo.gguf; do
        for words in common all held-out; do
            python3 models/ask.py "$tern" "$work/$model" -n $n_asked --words $words -- "${few_tokens[@]}" \
                >"$work/report.new/ask-$words-${model//\//-}.json"
        done
        python3 models/ask.py "$tern" "$work/$model" --talk -- "${few_tokens[@]}" >"$work/report.new/talk-${model//\//-}.json"
    done
    {
        for request in "${requests[@]}"; do
            printf '> %s\n\n' "$request"
            "$tern" run "$work/demo.gguf" --chat -p "$request" --seed 1 -n 400 "${few_tokens[@]}"
            printf '\n\n'
        done
        for request in "${beginnings[@]}"; do
            printf '> (go on) %s\n\n' "$request"
            "$tern" run "$work/run/model.gguf" -p "$request" --echo --seed 1 -n 300 "${few_tokens[@]}"
            printf '\n\n'
        done
    } >"$work/report.new/samples.txt"
    cp "$work/plan.sh" "$work/pretrain-run.json" "$work/report.new"
    [ -z "$heldout" ] || cat "$work/check.txt" "$work/check-mixes.txt" >"$work/report.new/check.txt"
    cp "$work/run/log.jsonl" "$work/report.new/pretrain.jsonl"
    cp "$work/run-sft/log.jsonl" "$work/report.new/sft.jsonl"
    cp "$work/run-dpo/log.jsonl" "$work/report.new/dpo.jsonl"
    if command -v gnuplot >/dev/null; then
        "$tern" train plot "$work/run/log.jsonl" -o "$work/report.new/loss.svg" --title "The built-in model"
    else
        note "gnuplot is not there: no plot"
    fi
    rm -rf "$work/report"
    mv "$work/report.new" "$work/report"
}
step eval "$work/report" "$work/demo.gguf" -- report
stop_after eval

# ---------------------------------------------------------------------- full-precision twin

# The same texts in the same order from the same first weights, but nothing is quantised. It bears less of a learning rate:
# 4.11 nats after 800 steps at 1e-3, 4.47 at 4e-3.
twin() {
    pretrain twin 'weights="float"' lr=1e-3 lr_stage2=7e-4
    cp "$work/twin/log.jsonl" "$work/report/twin.jsonl"
}
if [ "$twin" = 1 ]; then
    step twin "$work/report/twin.jsonl" "$work/stage1.shard" "$work/stage2.shard" -- twin
fi
[ "$dry" = 1 ] || note "$work/demo.gguf: copy it to models/demo.gguf, and build again"
