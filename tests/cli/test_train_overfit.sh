#!/usr/bin/env bash
# A tiny model learns a paragraph by heart and recites it: tokenizer, shard, training, export and tern run together.
. "$(dirname "$0")/lib.sh"

cd "$WORK" || exit 1
printf '%s' "The tern is a small white bird. Each year it flies from the far north to the far south and back again, \
and so it sees more daylight than any other living thing. It does not hurry. It eats little fish, rests on the wind, \
and spends less on every mile than a gull spends on looking for crumbs." >text.txt
cat >run.json <<'END'
{"data": "text.shard", "tokenizer": "tok.json", "out": "run", "layers": 2, "hidden": 128, "ffn": 256, "heads": 2,
 "kv_heads": 1, "context": 256, "batch": 1, "steps": 120, "warmup_steps": 10, "lr": 0.004, "lr_stage2": 0.003,
 "weight_decay": 0, "eval_every": 0, "save_every": 0}
END
run tokenizer "$TERN" train tokenizer text.txt --vocab-size 300 -o tok.json
is "$status" 0
run data "$TERN" train data text.txt --tokenizer tok.json --held-out 0 -o text.shard
is "$status" 0
run pretrain "$TERN" train pretrain run.json
is "$status" 0
hasnt "$out" "validation" # nothing is held out
for model in run/model.gguf run/master run/packed; do
    run "recital of $model" "$TERN" run $model -p "The tern is" --echo --temp 0 -n 250
    is "$status" 0
    is "$out" "$(cat text.txt)"
done
finish
