#!/usr/bin/env bash
# Several processes train as one does: the same curve, steps of full precision and ternary ones; one of them is killed,
# and the run goes on with as many processes, and with others.
. "$(dirname "$0")/lib.sh"

module=$(dirname "$TERN")/tern_mpi.so
if ! command -v mpirun >/dev/null || [ ! -e "$module" ]; then
    echo "no mpirun, or built without MPI: several processes not tested"
    exit 77
fi
cd "$WORK" || exit 1
name="making the data" err=
"$TERN" train tokenizer "$ROOT"/README.md "$ROOT"/docs/MODEL.md --vocab-size 512 -o tok.json >/dev/null 2>&1 || fail "no tokenizer"
"$TERN" train data "$ROOT"/README.md --tokenizer tok.json --held-out 0.1 --split-on '\n\n' -o text.shard >/dev/null 2>&1 &&
    "$TERN" train data "$ROOT"/docs/MODEL.md --tokenizer tok.json --held-out 0.1 --split-on '\n\n' -o more.shard \
        >/dev/null 2>&1 || fail "no shards"

# config NAME STEPS MORE-JSON: a tiny run, ternary from the first step, the second half with other texts
config() {
    cat >"$1.json" <<END
{"data": ["text.shard", "more.shard"], "data_stage2": "more.shard", "tokenizer": "tok.json", "out": "$1", "layers": 2,
 "hidden": 128, "ffn": 128, "heads": 2, "kv_heads": 1, "context": 32, "batch": 4, "micro_batch": 2, "steps": $2,
 "warmup_steps": 4, "eval_every": 8, "eval_tokens": 100, "save_every": 4${3:-}}
END
}
mpi() { # PROCESSES ARGUMENTS...
    LSAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n "$1" "$TERN" train pretrain -t 1 "${@:2}"
}
losses() { sed 's/, "seconds".*//' "$1/log.jsonl"; } # without times
# within FROM TO BOUND A B: figures of lines FROM to TO of two runs' logs; BOUND is relative
within() { # FIELD FROM TO BOUND A B
    paste -d ' ' <(figures "$1" "$5") <(figures "$1" "$6") | sed -n "$2,$3p" | awk -v bound="$4" -v n=$(($3 - $2 + 1)) '
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > bound) { print "line", NR ":", $0; bad = 1 } }
        END { exit bad || NR != n }' || fail "$name: $1 of $6 is not within $4 of $5"
}
figures() { sed 's/.*"'"$1"'": \([0-9.e-]*\).*/\1/' "$2/log.jsonl"; }

# --- the same curve
config one 24
run "one process" "$TERN" train pretrain -t 1 one.json
is "$status" 0
config four 24
run "four processes" mpi 4 four.json
is "$status" 0
is "$(grep -c 'validation loss' "$WORK/out")" 1
is "$(wc -l <four/log.jsonl)" 24
# The first step has the same weights everywhere, and a token's loss is the same bits in every process: only sums
# differ. Later a weight on the edge of a ternary bucket falls to another side, and the runs drift apart slowly
# (docs/TRAINING.md, "Several processes").
within loss 1 1 1e-6 one four
within grad_norm 1 1 1e-4 one four
within loss 2 24 1e-2 one four
# full precision has no such edges
config floats 12 ', "weights": "float"'
run "full precision" "$TERN" train pretrain -t 1 floats.json
config floats4 12 ', "weights": "float"'
run "full precision, four processes" mpi 4 floats4.json
within loss 1 12 1e-3 floats floats4

# --- from the same state, a ternary step of four processes is that of one
mkdir later
cp one/state.prev.tern later/state.tern
head -n 20 one/log.jsonl >later/log.jsonl
config later 24
run "four processes from step 20 on" mpi 4 later.json
is "$status" 0
is "$(losses later | head -n 20)" "$(losses one | head -n 20)"
within loss 21 21 1e-6 one later
within grad_norm 21 21 1e-4 one later
within loss 22 24 1e-2 one later

# --- one of the processes is killed in the middle
# kill_rank RUN PROCESSES RANK LINE: SIGKILL for that process when the log has so many lines; all others end, too
kill_rank() {
    local run=$1 n=$2 rank=$3 line=$4 pid try
    for try in 1 2 3 4 5; do
        rm -rf "$run" pid.*
        # shellcheck disable=SC2016 # for the bash of each process
        LSAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n "$n" \
            bash -c 'echo $$ >"pid.$OMPI_COMM_WORLD_RANK"; exec "$@"' - "$TERN" train pretrain -t 1 "$run.json" \
            >/dev/null 2>&1 </dev/null &
        pid=$!
        until [ "$(cat "$run/log.jsonl" 2>/dev/null | wc -l)" -ge "$line" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.003; done
        kill -9 "$(cat "pid.$rank")" 2>/dev/null
        wait $pid
        status=$?
        [ ! -e "$run/model.gguf" ] && [ "$status" != 0 ] && [ -s "$run/state.tern" ] && return
    done
    fail "no kill found process $rank of $run at work, or the others went on: status $status after try $try"
}
config two 24
run "two processes" mpi 2 two.json
is "$status" 0
config broken 24
for line in 7 14; do # in both stages
    kill_rank broken 2 1 $line
    run "killed after line $line, two processes again" mpi 2 broken.json
    is "$status" 0
    # two numbers have one sum, in whatever order: the same bits
    is "$(losses broken)" "$(losses two)"
    cmp -s broken/model.gguf two/model.gguf || fail "$name: another model than the unbroken run's"
done
config lost 24
kill_rank lost 4 0 9 # the one that writes
for n in 2 1; do
    rm -rf "go$n"
    cp -r lost "go$n"
    config "go$n" 24
    run "four processes of which one was killed, then $n" mpi $n "go$n.json"
    is "$status" 0
    is "$(wc -l <"go$n/log.jsonl")" 24
    within loss 1 24 1e-2 one "go$n"
done
run "four processes of which one was killed, then four" mpi 4 lost.json
is "$status" 0
is "$(wc -l <lost/log.jsonl)" 24
within loss 1 24 1e-2 four lost

# --- what cannot be
config odd 24 ', "seed": 2'
run "three processes" mpi 3 odd.json
[ "$status" != 0 ] || fail "a batch of 4 was shared by 3 processes"
has "$err" "cannot be shared evenly by 3 processes"
run "a launcher that MPI does not know" env PMI_SIZE=5 PMI_RANK=0 OMPI_ALLOW_RUN_AS_ROOT=1 \
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LSAN_OPTIONS=detect_leaks=0 "$TERN" train pretrain four.json
is "$status" 1
is "$out" ""
has "$(tail -n 1 "$WORK/err" | grep '^tern: ')" "5 processes were started together, but MPI sees only this one"
finish
