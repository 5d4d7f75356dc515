#!/usr/bin/env bash
# tern eval --tasks ifeval: what is generated, counted, left out, resumed. The checks themselves: tests/unit/test_instructions.c.
. "$(dirname "$0")/lib.sh"
model=$ROOT/tests/data/golden/small/model-f32.gguf
data=$ROOT/tests/eval/records

run "ifeval" "$TERN" eval "$model" --tasks ifeval --data "$data" --max-tokens 24 -t 1 -o "$WORK/one.jsonl"
is "$status" 0
hasnt "$out" "left out"
has "$out" "inst_level_loose_acc"
has "$out" " undecided: "
cat >"$WORK/check.py" <<'END'
import json, math, sys
results, scores = sys.argv[1:]
lines = {line["item"]: line for line in map(json.loads, open(results)) if "item" in line}
(task,) = json.load(open(scores))["tasks"]
metrics = {metric["metric"]: metric for metric in task["metrics"]}
assert len(lines) == 5 and task["records"] == 5 and task["not_judged"] == 0, task
# German or not is not decided, capitals are: one small letter will do
assert lines[1]["strict"][0] is None and lines[1]["strict"][1] == ("," not in lines[1]["text"]), lines[1]
capitals = False if any(c.islower() for c in lines[4]["text"]) or not any(c.isupper() for c in lines[4]["text"]) else None
assert lines[4]["strict"] == [capitals], lines[4]
kept = list(lines.values())
# what follows from the text
for line in kept:
    text = line["text"]
    assert text and len(line["strict"]) == len(line["loose"]) == line["instructions"], line
    assert all(loose is not False for strict, loose in zip(line["strict"], line["loose"]) if strict), line
assert lines[0]["strict"] == ["," not in lines[0]["text"], all(w in lines[0]["text"].lower() for w in ("sea", "bird"))]
assert lines[2]["strict"] == [bool(lines[2]["text"].strip())], lines[2]
text = lines[3]["text"].strip()
assert lines[3]["strict"][:2] == [text.lower().count("z") >= 4, len(text) > 1 and text[0] == text[-1] == '"'], lines[3]
# the harness's sums: a prompt counts if all its instructions do; instructions of all prompts count alike. What is not
# decided is counted beside that
for kind in "strict", "loose":
    prompts = [False if False in line[kind] else None if None in line[kind] else True for line in kept]
    each = [flag for line in kept for flag in line[kind]]
    assert len(each) == 9
    for name, flags in (f"prompt_level_{kind}_acc", prompts), (f"inst_level_{kind}_acc", each):
        got, known = metrics[name], [flag for flag in flags if flag is not None]
        mean, n_open = sum(known) / len(known), len(flags) - len(known)
        assert abs(got["value"] - mean) < 1e-12, got
        assert got.get("undecided", 0) == n_open, got
        if n_open:
            assert abs(got["least"] - sum(known) / len(flags)) < 1e-12, got
            assert abs(got["most"] - (sum(known) + n_open) / len(flags)) < 1e-12, got
        if name[0] == "p":
            error = math.sqrt(sum((p - mean) ** 2 for p in known) / (len(known) - 1) / len(known))
            assert abs(got["standard_error"] - error) < 1e-12 and got["n"] == len(known), (got, error)
        else:
            assert got["standard_error"] is None, got
assert metrics["inst_level_strict_acc"]["undecided"] >= 1
END
run "scores" "$TERN" eval "$model" --tasks ifeval --data "$data" --max-tokens 24 -t 1 -o "$WORK/one.jsonl" --json
is "$status" 0
printf '%s' "$out" >"$WORK/scores.json"
run "sums" python3 "$WORK/check.py" "$WORK/one.jsonl" "$WORK/scores.json"
is "$status" 0

# --- two halves are a whole, also the weights
for i in 1 2; do
    run "shard $i" "$TERN" eval "$model" --tasks ifeval --data "$data" --max-tokens 24 -t 1 --shard $i/2 -o "$WORK/s$i.jsonl"
    is "$status" 0
done
run "together" "$TERN" eval --report "$WORK/s1.jsonl" "$WORK/s2.jsonl" --json
is "$status" 0
printf '%s' "$out" >"$WORK/both.json"
run "same" python3 -c 'import json,sys; a,b=(json.load(open(p))["tasks"] for p in sys.argv[1:]); sys.exit(a!=b)' \
    "$WORK/scores.json" "$WORK/both.json"
is "$status" 0

# --- a letter that the harness draws at random: nothing is generated where there is nothing else
mkdir "$WORK/drawn"
printf '%s\n' '{"prompt": "a", "instruction_id_list": ["keywords:letter_frequency"], "kwargs": [{"letter": "#", "let_frequency": 2, "let_relation": "at least"}]}' \
    '{"prompt": "b", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}' >"$WORK/drawn/ifeval.jsonl"
run "a drawn letter" "$TERN" eval "$model" --tasks ifeval --data "$WORK/drawn" --max-tokens 4 -t 1 -o "$WORK/drawn.jsonl"
is "$status" 0
has "$out" "ifeval: 1 record is left out, without any verdict"
has "$out" ", 1 undecided: "
has "$(cat "$WORK/drawn.jsonl")" '"not_checked":"keywords:letter_frequency"'

# --- bad records
mkdir "$WORK/bad"
printf '%s\n' '{"prompt": "a", "instruction_id_list": ["startend:song"], "kwargs": [{}]}' >"$WORK/bad/ifeval.jsonl"
fails 1 "ifeval.jsonl: line 1: 'startend:song' is no instruction of IFEval" "unknown" \
    "$TERN" eval "$model" --tasks ifeval --data "$WORK/bad" -t 1
printf '%s\n' '{"prompt": "a", "instruction_id_list": ["startend:quotation"], "kwargs": []}' >"$WORK/bad/ifeval.jsonl"
fails 1 "one for each instruction" "arguments" "$TERN" eval "$model" --tasks ifeval --data "$WORK/bad" -t 1
cat >"$WORK/own.json" <<'END'
{"name": "own", "kind": "instructions", "metrics": ["inst_level_strict_acc"], "data": "ifeval.jsonl", "shots_data": "x.jsonl",
 "forms": [{"needs": ["prompt"], "prompt": "{prompt}"}]}
END
fails 1 "'shots_data' means nothing" "shots" "$TERN" eval "$model" --task-file "$WORK/own.json" --data "$data" -t 1

# --- all of IFEval's records are understood
if [ -f "$ROOT/../shared/data/eval/ifeval.jsonl" ]; then
    fails 1 "up to 1280 tokens" "all records" "$TERN" eval "$model" --tasks ifeval --data "$ROOT/../shared/data/eval" -t 1
else
    echo "skipped: no ../shared/data/eval/ifeval.jsonl"
fi
finish
