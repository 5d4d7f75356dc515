#!/usr/bin/env bash
# Tokens a second of the training step against threads and model size, with the fraction of the float32 peak that was
# measured in the same run; and against another trainer, both in turn. See --help.
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
Example:
  bench/train.sh
  bench/train.sh --shapes tern-tiny,wide -t 1,2,4 -r 5
  bench/train.sh --command 'T={threads} python3 ../train_story.py /tmp/peer 0.5 stories.txt' --shapes story -t 2

  --shapes LIST    of tern-tiny, tern-small (docs/TRAINING.md), wide (tern-small with hidden 1024, FFN 4096, 4 layers),
                   medium (12 layers, hidden 1024, FFN 2816, 16/4 heads, context 512: 140 M parameters),
                   story (6 layers, hidden 256, FFN 768, 4/2 heads, context 256, 16 sequences: train_story.py's)
                   (default: tern-tiny,tern-small,wide)
  -t LIST          threads (default: 1 and all CPUs)
  -r N             runs of each, in turn (default: 3)
  --steps N        optimiser steps of a run, of which the first two do not count (default: 8)
  --batch N        sequences of a step, but for story (default: 16)
  --text FILE      to train on (default: tern's own source)
  --command TEXT   another trainer, for the same shape: run by bash with {threads} replaced, in turn with tern; what
                   counts is the last "N tok/s" that it prints
  --name NAME      of it in the table (default: peer)
  --tern PATH      the command (default: build/tern, else tern)

A table in Markdown goes to standard output: medians, the slowest and the fastest run. FLOPs are 6 N + 6 L T d a token
(docs/TRAINING.md).
END
}

shapes=tern-tiny,tern-small,wide threads=1,$(getconf _NPROCESSORS_ONLN) runs=3 steps=8 batch=16
text='' template='' name=peer tern=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --shapes | -t | -r | --steps | --batch | --text | --command | --name | --tern)
        [ $# -ge 2 ] || die "$1 needs a value (see --help)"
        ;;
    *) die "unknown option '$1' (see --help)" ;;
    esac
    case $1 in
    --shapes) shapes=$2 ;;
    -t) threads=$2 ;;
    -r) runs=$2 ;;
    --steps) steps=$2 ;;
    --batch) batch=$2 ;;
    --text) text=$2 ;;
    --command) template=$2 ;;
    --name) name=$2 ;;
    --tern) tern=$2 ;;
    esac
    shift 2
done
for number in "$runs" "$steps" "$batch"; do
    case $number in *[!0-9]* | '' | 0) die "-r, --steps and --batch take whole numbers from 1 on, not '$number'" ;; esac
done
[ "$steps" -ge 3 ] || die "--steps must be at least 3: the first two do not count"
case $threads in *[!0-9,]* | ,* | *, | '') die "-t takes a list like 1,2" ;; esac
threads=$(tr ',' '\n' <<<"$threads" | sort -nu | paste -sd,)
root=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$tern" ] || { [ -x "$root/build/tern" ] && tern=$root/build/tern || tern=tern; }
need python3 "$tern"
[ -z "$text" ] || [ -r "$text" ] || die "$text: cannot be read"

# Keys of a shape's configuration.
keys_of() {
    case $1 in
    tern-tiny | tern-small) echo "\"shape\": \"$1\", \"batch\": $batch" ;;
    wide) echo "\"shape\": \"tern-small\", \"hidden\": 1024, \"ffn\": 4096, \"layers\": 4, \"heads\": 16, \"kv_heads\": 4, \"batch\": $batch" ;;
    medium) echo "\"shape\": \"tern-small\", \"hidden\": 1024, \"ffn\": 2816, \"layers\": 12, \"heads\": 16, \"kv_heads\": 4, \"batch\": $batch" ;;
    story) echo '"shape": "tern-tiny", "layers": 6, "context": 256, "batch": 16' ;;
    *) die "unknown shape '$1' (see --help)" ;;
    esac
}
for shape in ${shapes//,/ }; do keys_of "$shape" >/dev/null || exit 1; done

note "preparing the data"
if [ -z "$text" ]; then
    text=$WORK/text.txt
    find "$root/src" "$root/tests" "$root/docs" -name '*.[ch]' -o -name '*.md' | sort | xargs cat >"$text"
fi
"$tern" train tokenizer "$text" --vocab-size 4096 -o "$WORK/tok.json" >"$WORK/log" 2>&1 &&
    "$tern" train data "$text" --tokenizer "$WORK/tok.json" --held-out 0 --split-on '\n\n\n' -o "$WORK/text.shard" \
        >"$WORK/log" 2>&1 || die "no data: $(tail -n 1 "$WORK/log")"

own_run() { # SHAPE THREADS PREFIX
    rm -rf "$WORK/run"
    printf '{%s, "data": "text.shard", "tokenizer": "tok.json", "out": "run", "steps": %d, "warmup_steps": 2,
        "eval_every": 0, "save_every": 0}' "$(keys_of "$1")" "$steps" >"$WORK/run.json"
    "$tern" train pretrain "$WORK/run.json" -t "$2" >"$WORK/log" 2>&1 || die "tern: $(tail -n 1 "$WORK/log")"
    python3 -c '
import json, statistics, sys
lines = [json.loads(line) for line in open(sys.argv[1])][2:]
with open(sys.argv[2], "a") as out:
    for key, scale in ("tokens_per_second", 1), ("flops", 1e-9), ("peak_share", 100):
        print("%s.%s\t%.9g" % (sys.argv[3], key, statistics.median(l[key] for l in lines) * scale), file=out)
' "$WORK/run/log.jsonl" "$SAMPLES" "$3" || die "the log of tern cannot be read"
}

peer_run() { # THREADS PREFIX
    local rate
    rate=$(bash -c "${template//'{threads}'/$1}" 2>"$WORK/peer.err" | grep -oE '[0-9.]+ tok/s' | tail -n 1)
    if [ -n "$rate" ]; then
        sample "$2.tokens_per_second" "${rate% tok/s}"
    else
        note "$name printed no 'N tok/s': $(tail -n 1 "$WORK/peer.err" | cut -c1-120)"
        sample "$2.failed" 1
    fi
}

for shape in ${shapes//,/ }; do
    for t in ${threads//,/ }; do
        for run in $(seq "$runs"); do
            note "$shape, threads $t, run $run of $runs"
            [ -z "$template" ] || peer_run "$t" "peer.$shape.$t"
            own_run "$shape" "$t" "tern.$shape.$t"
        done
    done
done

python3 -c "$STATISTICS"'
shapes, threads, runs, name, peer = sys.argv[2:7]
print("Tokens a second of the training step, median of %s runs (slowest-fastest)\n" % runs)
print("| model | threads | tern | GFLOP/s | of the float32 peak |" + (" %s | tern / %s |" % (name, name) if peer else ""))
print("|---|---|---|---|---|" + ("---|---|" if peer else ""))
for shape in shapes.split(","):
    for t in threads.split(","):
        own, other = "tern.%s.%s." % (shape, t), "peer.%s.%s." % (shape, t)
        row = "| %s | %s | %s | %s | %s%% |" % (shape, t, spread(own + "tokens_per_second", 0), spread(own + "flops", 0),
                                                spread(own + "peak_share", 0))
        if peer:
            row += " %s | %s |" % (spread(other + "tokens_per_second", 0),
                                   text(ratios(own + "tokens_per_second", other + "tokens_per_second"), 2))
        print(row)
failed = sum(len(v) for k, v in samples.items() if k.endswith(".failed"))
if failed:
    print("\n%s failed %d times; such runs are left out." % (name, failed))
' "$SAMPLES" "$shapes" "$threads" "$runs" "$name" "$template"
