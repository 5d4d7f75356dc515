#!/usr/bin/env bash
# tern eval: scores against `tern logits`, results files, shards, bad input.
. "$(dirname "$0")/lib.sh"
model=$ROOT/tests/data/golden/small/model-f32.gguf
data=$WORK/data
mkdir "$data"

# --- records of several shapes
cat >"$data/arc_easy.jsonl" <<'END'
{"question": "What do birds have?", "choices": {"text": ["wings", "wheels", "a sail"], "label": ["A", "B", "C"]}, "answerKey": "A"}

{"question": "Where do fish swim?", "choices": {"text": ["in a tree", "in the sea"], "label": ["1", "2"]}, "answerKey": "2"}
{"question": "What is ice?", "choices": {"text": ["water", "wood", "iron", "air"], "label": ["A", "B", "C", "D"]}, "answerKey": "A"}
END
cat >"$data/winogrande.jsonl" <<'END'
{"sentence": "The cup did not fit in the bag as the _ was too big.", "option1": "cup", "option2": "bag", "answer": "1"}
{"sentence": "Tom gave Jim a coat, so _ was warm.", "option1": "Tom", "option2": "Jim", "answer": "2"}
END
cat >"$WORK/short.json" <<'END'
{
  "name": "short", "kind": "choice", "metrics": ["acc"], "data": "short.jsonl", "shots": 1, "first_shots": true,
  "shots_data": "short-shots.jsonl", "shots_by": "subject", "description": "On {subject|spaces}.\n\n",
  "forms": [{"needs": ["subject"], "prompt": "{q|strip}\nA. {c.0}\nB. {c.1}\n=", "choices": ["A", "B"], "gold": "right"}]
}
END
cat >"$data/short.jsonl" <<'END'
{"subject": "sea_birds", "q": " Who dives? ", "c": ["a", "b"], "right": 1}
{"subject": "sea_birds", "q": "Who sings?", "c": ["a", "b"], "right": "0"}
END
cat >"$data/short-shots.jsonl" <<'END'
{"subject": "land_birds", "q": "Who?", "c": ["p", "q"], "right": 0}
{"subject": "sea_birds", "q": "How?", "c": ["p", "q"], "right": 1}
END
cat >"$data/lambada.jsonl" <<'END'
{"text": "The tern flew over the wide sea"}
{"text": "She opened the door"}
END

# --- scores: log-likelihoods as `tern logits` has them, for context and continuation encoded together
cat >"$WORK/check.py" <<'END'
import array, json, math, subprocess, sys
tern, model, results, folder = sys.argv[1:]
def log_likelihood(context, continuation):
    ids = [json.loads(subprocess.run([tern, "tokenize", model, "-p", text, "--json"], stdout=subprocess.PIPE,
                                     check=True).stdout) for text in (context, context + continuation)]
    (short, whole) = [x if isinstance(x, list) else x["ids"] for x in ids]
    subprocess.run([tern, "logits", model, "--ids", ",".join(map(str, whole)), "-o", folder + "/logits"], check=True,
                   stderr=subprocess.DEVNULL)
    logits = array.array("f", open(folder + "/logits", "rb").read())
    n, total = len(logits) // len(whole), 0
    for at in range(len(short), len(whole)):
        row = logits[(at - 1) * n:at * n]
        top = max(row)
        total += row[whole[at]] - top - math.log(sum(math.exp(x - top) for x in row))
    return total
lines = [json.loads(line) for line in open(results)]
lines = {(line["task"], line["item"]): line for line in lines if "item" in line}
def check(task, item, contexts, continuations, **metrics):
    line = lines[task, item]
    for got, context, continuation in zip(line["log_likelihoods"], contexts, continuations, strict=True):
        wanted = log_likelihood(context, continuation)
        assert abs(got - wanted) < 1e-4, (task, item, continuation, got, wanted)
    for name, value in metrics.items():
        assert line[name] == value, (task, item, name, line)
def norm(task, item, texts, gold):
    values = [x / len(t) for x, t in zip(lines[task, item]["log_likelihoods"], texts)]
    return float(values.index(max(values)) == gold)
ice = ["water", "wood", "iron", "air"]
check("arc_easy", 2, ["Question: What is ice?\nAnswer:"] * 4, [" " + x for x in ice], acc_norm=norm("arc_easy", 2, ice, 0))
sea = ["in a tree", "in the sea"]
check("arc_easy", 1, ["Question: Where do fish swim?\nAnswer:"] * 2, [" " + x for x in sea],
      acc_norm=norm("arc_easy", 1, sea, 1))
check("winogrande", 1, ["Tom gave Jim a coat, so Tom", "Tom gave Jim a coat, so Jim"], [" was warm."] * 2)
check("short", 0, ["On sea birds.\n\nHow?\nA. p\nB. q\n= B\n\nWho dives?\nA. a\nB. b\n="] * 2, [" A", " B"])
check("lambada", 0, ["The tern flew over the wide"], [" sea"])
END
run "eval" "$TERN" eval "$model" --tasks arc_easy,winogrande,lambada --data "$data" -t 1 -o "$WORK/one.jsonl"
is "$status" 0
has "$out" "74.79 %"
has "$out" "2504.12285"
has "$err" "were there already"
run "examples" "$TERN" eval "$model" --task-file "$WORK/short.json" --data "$data" -t 1 -o "$WORK/one.jsonl" --json
is "$status" 0
has "$out" '"task": "short"'
hasnt "$out" winogrande
run "log-likelihoods" python3 "$WORK/check.py" "$TERN" "$model" "$WORK/one.jsonl" "$WORK"
is "$status" 0

# --- nothing of that depends on what was in the context before, nor on threads
run "no reuse" "$TERN" eval "$model" --tasks arc_easy,winogrande,lambada --data "$data" -t 2 --no-reuse -o "$WORK/anew.jsonl"
is "$status" 0
has "$err" " 0.0% were there already"
run "same" cmp "$WORK/anew.jsonl" <(head -n 10 "$WORK/one.jsonl")
is "$status" 0

# --- a second start goes on, also behind half a line
head -n 3 "$WORK/one.jsonl" >"$WORK/half.jsonl"
printf '{"task":"arc_easy","item":2,"ac' >>"$WORK/half.jsonl"
run "resume" "$TERN" eval "$model" --tasks arc_easy,winogrande,lambada --data "$data" -t 1 -o "$WORK/half.jsonl"
is "$status" 0
run "same after" cmp "$WORK/half.jsonl" <(head -n 10 "$WORK/one.jsonl")
is "$status" 0
run "nothing left" "$TERN" eval "$model" --tasks arc_easy --data "$data" -t 1 -o "$WORK/half.jsonl"
is "$status" 0
is "$(wc -l <"$WORK/half.jsonl")" 10
run "limit" "$TERN" eval "$model" --tasks arc_easy --limit 2 --data "$data" -t 1 -o "$WORK/half.jsonl" --json
has "$out" '"n": 2'
fails 1 "another model, data or settings" "other settings" "$TERN" eval "$model" --tasks arc_easy --data "$data" -t 1 \
    -c 100 -o "$WORK/half.jsonl"
fails 1 "another model, data or settings" "other model" "$TERN" eval "$ROOT/tests/data/golden/plain/model-i2_s.gguf" \
    --tasks arc_easy --data "$data" -t 1 -o "$WORK/half.jsonl"

# --- shards, by hand and by a launcher's variables, are together what one run gives
for i in 1 2; do
    run "shard $i" "$TERN" eval "$model" --tasks arc_easy --data "$data" -t 1 --shard $i/2 -o "$WORK/s$i.jsonl"
    is "$status" 0
    run "rank $i" env OMPI_COMM_WORLD_RANK=$((i - 1)) OMPI_COMM_WORLD_SIZE=2 \
        "$TERN" eval "$model" --tasks arc_easy --data "$data" -t 1 --shard auto -o "$WORK/m.jsonl"
    is "$status" 0
    run "same $i" cmp "$WORK/s$i.jsonl" "$WORK/m.jsonl.$i-of-2"
    is "$status" 0
done
run "report" "$TERN" eval --report "$WORK/s1.jsonl" "$WORK/s2.jsonl" --json
is "$status" 0
together=$out
run "whole" "$TERN" eval "$model" --tasks arc_easy --data "$data" -t 1 -o "$WORK/w.jsonl"
run "report of the whole" "$TERN" eval --report "$WORK/w.jsonl" --json
is "$out" "$together"
has "$out" '"n": 3'

# --- the report's tasks, shots and chat template; an average of what has a published score
mkdir "$WORK/group"
cp "$ROOT"/tests/eval/records/{arc_easy,gsm8k,gsm8k-fewshot,truthfulqa}.jsonl "$WORK/group"
report=("$TERN" eval "$model" --data "$WORK/group" -t 1 --max-tokens 4)
fails 1 "truthfulqa.jsonl: 2 examples, but 10 shots are wanted, and one more is drawn" "too few others" \
    "${report[@]}" --tasks truthfulqa_mc2 --as-report
cat "$ROOT"/tests/eval/records/truthfulqa.jsonl >>"$WORK/group/truthfulqa.jsonl"
fails 1 "2 records are not the one that is asked" "copies of the record" "${report[@]}" --tasks truthfulqa_mc2 --shots 3
python3 - "$WORK/group" <<'END'
import json, sys
folder = sys.argv[1]
with open(folder + "/truthfulqa.jsonl", "w") as file:
    for i in range(12):
        targets = {"choices": ["no %d" % i, "yes"], "labels": [1, 0]}
        file.write(json.dumps({"question": "Is it %d?" % i, "mc1_targets": targets, "mc2_targets": targets}) + "\n")
with open(folder + "/gsm8k-fewshot.jsonl", "a") as file:
    file.write(json.dumps({"question": "2+2?", "answer": "#### 4"}) + "\n")
END
run "report" "${report[@]}" --tasks report -o "$WORK/report.jsonl" --json
is "$status" 0
has "$err" "piqa is left out: there is no"
python3 - "$WORK/out" "$WORK/report.jsonl" <<'END' || fail "the report's tasks"
import json, sys
shown = json.load(open(sys.argv[1]))
tasks = {task["task"]: task for task in shown["tasks"]}
assert {name: task["shots"] for name, task in tasks.items()} == {"arc_easy": 0, "gsm8k": 4, "truthfulqa_mc2": 10}, tasks
rows = [m for task in tasks.values() for m in task["metrics"] if "published" in m]
assert len(rows) == 3 == shown["average"]["tasks"]
for key in "value", "published":
    assert abs(shown["average"][key] - 100 * sum(m[key] for m in rows) / 3) < 1e-9, (key, shown["average"], rows)
END
run "report as table" "$TERN" eval --report "$WORK/report.jsonl"
has "$out" "average "
has "$out" "of 3 published ones"
gsm=("$TERN" eval "$model" --data "$WORK/group" -t 1 --max-tokens 4 --tasks gsm8k -o "$WORK/gsm.jsonl")
run "as the report" "${gsm[@]}" --as-report
is "$status" 0
is "$(grep -c gsm8k "$WORK/gsm.jsonl")" "$(grep -c gsm8k "$WORK/report.jsonl")"
run "the same" cmp "$WORK/gsm.jsonl" <(grep '"task":"gsm8k"' "$WORK/report.jsonl")
is "$status" 0
run "the same in other words" "${gsm[@]}" --chat --shots 4
is "$status" 0
fails 1 "another model, data or settings" "one message" "${gsm[@]}" --as-report --one-message
fails 1 "another model, data or settings" "no template" "${gsm[@]}" --shots 4
fails 2 "about the chat template" "one message without a template" "${gsm[@]}" --shots 4 --one-message

# --- examples are turns in front of the question, or all is one message: as many tokens as the template gives of that
mkdir "$WORK/turns"
echo '{"question": "1+1?", "answer": "#### 2"}' >"$WORK/turns/gsm8k-fewshot.jsonl"
echo '{"question": "3+2?", "answer": "#### 5"}' >"$WORK/turns/gsm8k.jsonl"
cat >"$WORK/turns.py" <<'END'
import json, subprocess, sys
tern, model, folder = sys.argv[1:]
first, answer, second = "Question: 1+1?\nAnswer:", "#### 2", "Question: 3+2?\nAnswer:"
turns = [{"role": "user", "content": first}, {"role": "assistant", "content": answer}, {"role": "user", "content": second}]
one = [{"role": "user", "content": f"{first} {answer}\n\n{second}"}]
lines = [{"kind": "chat", "messages": messages, "generation_prompt": True} for messages in (turns, one)]
open(folder + "/chat.jsonl", "w").write("".join(json.dumps(line) + "\n" for line in lines))
ids = subprocess.run([tern, "tokenize", model, "--jsonl", folder + "/chat.jsonl"], stdout=subprocess.PIPE, check=True).stdout
wanted = [len(json.loads(line)) for line in ids.splitlines()]
got = []
for how in [], ["--one-message"]:
    run = subprocess.run([tern, "eval", model, "--tasks", "gsm8k", "--shots", "1", "--chat", "--data", folder, "--max-tokens", "4",
                          "-t", "1", "--json", *how], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    got.append(json.loads(run.stdout)["run"]["tokens"])
assert got == wanted and wanted[0] != wanted[1], (got, wanted)
END
run "turns" python3 "$WORK/turns.py" "$TERN" "$model" "$WORK/turns"
is "$status" 0

# --- bad input
good=("$TERN" eval "$model" --data "$data" -t 1)
fails 2 "no task 'arc'" "unknown task" "${good[@]}" --tasks arc
fails 2 "stands there twice" "twice" "${good[@]}" --tasks arc_easy,arc_easy
fails 2 "--tasks LIST" "no tasks" "${good[@]}"
fails 2 "--data FOLDER" "no data" "$TERN" eval "$model" --tasks arc_easy
fails 1 "piqa.jsonl" "no such file" "${good[@]}" --tasks piqa
fails 1 "arc_easy-fewshot.jsonl" "no examples' file" "${good[@]}" --tasks arc_easy --shots 2
fails 1 "1 examples for sea_birds, but 5 shots" "too few examples" "${good[@]}" --task-file "$WORK/short.json" --shots 5
fails 2 "like 1/4" "shard" "${good[@]}" --tasks arc_easy --shard 3/2 -o x
fails 2 "needs --out" "shard without a file" "${good[@]}" --tasks arc_easy --shard 1/2
fails 2 "no launcher" "auto without a launcher" env -u OMPI_COMM_WORLD_RANK -u PMI_RANK -u SLURM_PROCID \
    "${good[@]}" --tasks arc_easy --shard auto -o x
# an expression that was given up is told
printf '%s\n' '{"task":"mine","title":"Mine","model":"m","config":"c","shots":0,"n_records":3,"metrics":["exact_match"]}' \
    '{"task":"mine","item":0,"exact_match":1.0}' '{"task":"mine","item":1,"exact_match":0.0,"expression_gave_up":true}' >"$WORK/given.jsonl"
run "report of a given-up expression" "$TERN" eval --report "$WORK/given.jsonl"
is "$status" 0
has "$out" "mine: on 1 answer an expression gave up after too many steps; it counts as not found there"
run "report of a given-up expression, JSON" "$TERN" eval --report "$WORK/given.jsonl" --json
has "$out" '"gave_up": 1'
fails 1 "line 1 is no line of results" "report of something else" "$TERN" eval --report "$data/lambada.jsonl"
fails 1 "input and output at once" "records as results" "${good[@]}" --tasks arc_easy -o "$data/arc_easy.jsonl"
fails 2 "more than the model's context" "context" "${good[@]}" --tasks arc_easy -c 100000
bad=$WORK/bad
mkdir "$bad"
: >"$bad/boolq.jsonl"
printf '{"goal": "x", "sol1": "a", "sol2": "b", "label": 0}\n\n\n\n\n\n{"goal": "x", "sol1": "a", "label": 0}\n' >"$bad/piqa.jsonl"
printf '{"text": "a b"}\n{"text": \n' >"$bad/lambada.jsonl"
printf '{"stem": "a"}\n' >"$bad/openbookqa.jsonl"
printf '{"sentence": "a _ b", "option1": "x", "option2": "y", "answer": "3"}\n' >"$bad/winogrande.jsonl"
worse=("$TERN" eval "$model" --data "$bad" -t 1)
fails 1 "boolq.jsonl: there are no records" "empty file" "${worse[@]}" --tasks boolq
fails 1 "piqa.jsonl: line 7: field 'sol2' is missing" "missing field" "${worse[@]}" --tasks piqa
fails 1 "lambada.jsonl: line 2" "no JSON" "${worse[@]}" --tasks lambada
fails 1 "openbookqa.jsonl: line 1 has none of the sets of fields" "other fields" "${worse[@]}" --tasks openbookqa
fails 1 "names none of the 2 choices" "no such answer" "${worse[@]}" --tasks winogrande

# --- generated answers: compared here, or written for somebody else to judge
cat >"$WORK/words.json" <<'END'
{
  "name": "words", "kind": "generate", "metrics": ["exact_match"], "data": "words.jsonl", "max_tokens": 12,
  "forms": [{"needs": ["q"], "prompt": "{q}", "targets": "a"}], "until": ["\n"], "ignore_case": true, "ignore": [" +"],
  "filters": [{"name": "all"}, {"name": "one", "regex": "(.)"}, {"name": "none", "regex": "never in it"}]
}
END
echo '{"q": "Once upon a", "a": ["x"]}' >"$data/words.jsonl"
words=("${good[@]}" --task-file "$WORK/words.json")
run "what is said" "${words[@]}" -o "$WORK/words.jsonl"
is "$status" 0
said=$("$TERN" run "$model" -p "Once upon a" -n 12 --temp 0 -t 1 --kv-type f32 2>/dev/null)
python3 - "$data/words.jsonl" "${said%%$'\n'*}" <<'END'
import json, sys
said = sys.argv[2]
line = {"q": "Once upon a", "a": ["no", " " + said.upper() + " "] + [said[:1]] * (said[:1] != " ")}
open(sys.argv[1], "w").write(json.dumps(line) + "\n")
END
run "exact match" "${words[@]}" -o "$WORK/words2.jsonl" --json
is "$status" 0
is "$(grep -c '"value": 1' "$WORK/out")" 2
is "$(grep -c '"value": 0' "$WORK/out")" 1
has "$(cat "$WORK/words2.jsonl")" '"[invalid]"'
has "$(cat "$WORK/out")" '"cut": '
for limit in 1 12; do # cut off where it is shorter than what would be said
    run "cut at $limit" "${words[@]}" --max-tokens $limit -o "$WORK/cut$limit.jsonl" --json
    is "$status" 0
    cut=$(grep -c '"cut":true' "$WORK/cut$limit.jsonl")
    has "$out" "\"cut\": $cut"
    run "cut at $limit, from the file" "$TERN" eval --report "$WORK/cut$limit.jsonl" --json
    has "$out" "\"cut\": $cut"
done
has "$(cat "$WORK/cut1.jsonl")" '"cut":true'
run "in the chat template" "${words[@]}" --chat -o "$WORK/words3.jsonl"
is "$status" 0
fails 1 "another model, data or settings" "with another prompt" "${words[@]}" -o "$WORK/words3.jsonl"
fails 1 "--max-tokens N for fewer" "no room" "${words[@]}" --max-tokens 128

printf '{"task_id": "t/%s", "prompt": "def f():"}\n' 0 1 2 >"$data/humaneval.jsonl"
cat >"$WORK/hook" <<'END'
#!/bin/sh
[ "$(wc -l <"$1")" = 3 ] && grep -q '"prompt"' "$2" && ! grep -v '^{"task_id":"t/[012]","completion":".*"}$' "$1" || exit 5
echo "talk"
echo '{"id": "t/0", "value": true}'
echo '{"id": "t/1", "value": false}'
END
chmod +x "$WORK/hook"
code=("${good[@]}" --tasks humaneval --max-tokens 5 --out "$WORK/code.jsonl" --samples "$WORK/samples.jsonl")
run "samples" "${code[@]}"
is "$status" 0
is "$(wc -l <"$WORK/samples.jsonl")" 3
run "hook" "${code[@]}" --hook "$WORK/hook" --json
is "$status" 0
has "$out" '"metric": "pass@1"'
has "$(tr -d ' \n' <"$WORK/out")" '"value":0.5,'
fails 1 "failed with status 3" "a hook that fails" "${code[@]}" --hook "exit 3 #"
cat >"$WORK/interrupt.py" <<'END'
import os, signal, subprocess, sys, time
work, command = sys.argv[1], sys.argv[2:]
hook = "sh -c 'touch %s/started; sleep 15; touch %s/ended' -; true" % (work, work)
tern = subprocess.Popen(command + ["--hook", hook])
while not os.path.exists(work + "/started") and tern.poll() is None:
    time.sleep(0.05)
tern.send_signal(signal.SIGINT)
status = tern.wait()
assert status == 130, status
assert not os.path.exists(work + "/ended"), "waited for what the hook had started"
END
run "interrupt while a hook works" python3 "$WORK/interrupt.py" "$WORK" "${code[@]}"
is "$status" 0
fails 1 "judged none" "a hook that says nothing" "${code[@]}" --hook true
fails 2 "go on with the prompt itself" "a program in a chat template" "${good[@]}" --tasks humaneval --chat
fails 2 "--samples needs" "samples of choices" "${good[@]}" --tasks arc_easy --samples x
fails 2 "--hook needs" "a hook without samples" "${good[@]}" --tasks humaneval --hook true
echo '{"question_id": 81, "turns": ["Hi", "Go on"]}' >"$data/mtbench-questions.jsonl"
run "conversation" "${good[@]}" --tasks mtbench --max-tokens 4 --out "$WORK/talk.jsonl" --samples "$WORK/talk-answers.jsonl" \
    --hook "echo '{\"id\": 81, \"value\": 7.5}' #" --json
is "$status" 0
has "$(tr -d ' \n' <"$WORK/out")" '"unit":"points","value":7.5,'
has "$(tr -d ' \n' <"$WORK/out")" '"published":5.85}' # points, too
has "$(tr -d ' \n' <"$WORK/out")" '"cut":1,'
run "points" "$TERN" eval --report "$WORK/talk.jsonl"
has "$out" " 5.85 points"
has "$out" "mtbench: 1 answers were cut off at the limit of tokens"
run "answers" python3 -c 'import json, sys
line, = map(json.loads, open(sys.argv[1]))
assert line["question_id"] == 81 and len(line["choices"][0]["turns"]) == 2, line' "$WORK/talk-answers.jsonl"
is "$status" 0

# --- a chart
if command -v gnuplot >/dev/null; then
    run "chart" "$TERN" eval --report "$WORK/w.jsonl" --chart "$WORK/chart.svg"
    is "$status" 0
    has "$(cat "$WORK/chart.svg")" "arc_easy"
    has "$(cat "$WORK/chart.svg")" "published"
    # 7.5 and 5.85 points of 10, beside a task in percent
    run "chart of points" "$TERN" eval --report "$WORK/w.jsonl" "$WORK/talk.jsonl" --chart "$WORK/points.svg"
    is "$status" 0
    run "heights" python3 -c 'import re, sys
svg = open(sys.argv[1]).read()
def boxes(colour):
    found = re.findall(r"<polygon fill = .rgb\(\s*%d,\s*%d,\s*%d\).[^>]* points = .([^\x27]*)" % colour, svg)
    corners = [[tuple(map(float, p.split(","))) for p in points.split()] for points in found]
    heights = [(min(x for x, y in c), max(y for x, y in c) - min(y for x, y in c)) for c in corners[1:]]  # [0]: the key
    return [height for x, height in sorted(heights)]
frame = max((abs(float(b) - float(a)) for a, b in re.findall(r"M[\d.]+,([\d.]+) L[\d.]+,([\d.]+)", svg)), default=0)
ours, published = boxes((0, 114, 178)), boxes((213, 94, 0))
shares = [h / frame for h in ours[-1:] + published]
assert len(published) == 2 and all(abs(s - w) < 0.003 for s, w in zip(shares, (0.75, 0.748, 0.585))), (shares, frame)
assert "score in points" in svg' "$WORK/points.svg"
    is "$status" 0
else
    echo "no gnuplot: charts not tested"
fi

# --- a task of one's own
cat >"$WORK/mine.json" <<'END'
{
  "name": "mine", "kind": "choice", "metrics": ["acc"], "data": "mine.jsonl",
  "forms": [{"needs": ["q"], "prompt": "Q: {q}\nA:", "choices": ["yes", "no"], "gold": "right"}]
}
END
echo '{"q": "Is it?", "right": true}' >"$data/mine.jsonl"
run "task file" "${good[@]}" --task-file "$WORK/mine.json"
is "$status" 0
has "$out" "mine"
sed 's/"prompt"/"promt"/' "$WORK/mine.json" >"$WORK/wrong.json"
fails 1 "'promt' is no key" "misspelt key" "${good[@]}" --task-file "$WORK/wrong.json"
sed 's/{q}/{q/' "$WORK/mine.json" >"$WORK/wrong.json"
fails 1 "brace" "open brace" "${good[@]}" --task-file "$WORK/wrong.json"
sed 's/"acc"/"mc3"/' "$WORK/mine.json" >"$WORK/wrong.json"
fails 1 "'mc3' is no metric" "no metric" "${good[@]}" --task-file "$WORK/wrong.json"

# --- task files, records and results that want to break something
# own NAME=VALUE...: the task above with these JSON values instead, to $WORK/own.json
own() {
    python3 -c 'import json, sys
task = json.load(open(sys.argv[1]))
for part in sys.argv[2:]:
    key, value = part.split("=", 1)
    task[key] = json.loads(value)
json.dump(task, sys.stdout)' "$WORK/mine.json" "$@" >"$WORK/own.json"
}
mine=("${good[@]}" --task-file "$WORK/own.json")
python3 -c 'print("{\"q\": \"x\", \"right\": 0, \"c\": %s}" % ["a%d" % i for i in range(256)])' | tr "'" '"' >"$data/many.jsonl"
own data='"many.jsonl"' forms='[{"prompt": "{q}", "choices": "c", "continuation": " z", "gold": "right"}]'
fails 1 "many.jsonl: line 1: there are more than 256 texts" "a choice too many" "${mine[@]}"
echo '{"q": "x", "c": [], "t": ["x"], "l": []}' >"$data/none.jsonl"
own data='"none.jsonl"' metrics='["mc2"]' forms='[{"prompt": "{q}", "choices": "c", "true_labels": "l"}]'
fails 1 "there are no choices" "no choices" "${mine[@]}"
own data='"none.jsonl"' shots_data='"none.jsonl"' metrics='["mc2"]' \
    forms='[{"prompt": "{q}", "choices": "c", "true_labels": "l"}]'
fails 1 "what answer an example has" "examples without answers" "${mine[@]}" --shots 1
own data='"none.jsonl"' shots_data='"none.jsonl"' kind='"samples"' metrics='["score"]' \
    forms='[{"turns": "t", "id": "{q}", "sample": {}}]'
fails 1 "what question an example has" "examples without questions" "${mine[@]}" --shots 1
own kind='"samples"' metrics='["pass@1", "score"]' forms='[{"prompt": "{q}", "id": "{q}", "sample": {}}]'
fails 1 "must be one" "two values of a judge" "${mine[@]}"
own kind='"generate"' metrics='["exact_match"]' forms='[{"prompt": "{q}", "target": "{q}"}]' \
    filters='[{"name": "a"}, {"name": "a", "strip": true}]'
fails 1 "different names" "two filters of one name" "${mine[@]}"
own title="\"$(printf 'x%.0s' {1..78})\u00e9\""
run "a title that does not fit" "${mine[@]}" -o "$WORK/title.jsonl"
is "$status" 0
own
fails 2 "two of them" "one task twice" "${mine[@]}" --task-file "$WORK/own.json"

# nothing is written over what is read, and nothing is cut off but a line of results
cp "$WORK/own.json" "$WORK/own.kept"
fails 1 "input and output at once" "the task file as results" "${mine[@]}" -o "$WORK/own.json"
is "$(cmp "$WORK/own.json" "$WORK/own.kept")" ""
cp "$data/humaneval.jsonl" "$WORK/records.kept"
fails 1 "input and output at once" "the records as samples" "${good[@]}" --tasks humaneval --max-tokens 5 \
    -o "$WORK/code2.jsonl" --samples "$data/humaneval.jsonl"
is "$(cmp "$data/humaneval.jsonl" "$WORK/records.kept")" ""
run "results" "${mine[@]}" -o "$WORK/own.jsonl"
is "$status" 0
fails 1 "input and output at once" "the results as chart" "${mine[@]}" -o "$WORK/own.jsonl" --chart "$WORK/own.jsonl"
fails 1 "input and output at once" "a report's file as chart" "$TERN" eval --report "$WORK/own.jsonl" --chart "$WORK/own.jsonl"
printf 'a note of one line' >"$WORK/note"
fails 1 "line 1 is no line of results" "a note as results" "${mine[@]}" -o "$WORK/note"
is "$(cat "$WORK/note")" "a note of one line"
fails 1 "no regular file" "a device as results" "${mine[@]}" -o /dev/null
fails 1 "another tern eval is writing" "two at once" python3 -c 'import fcntl, subprocess, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    sys.exit(subprocess.run(sys.argv[2:], pass_fds=()).returncode)' "$WORK/own.jsonl" "${mine[@]}" -o "$WORK/own.jsonl"
for i in 1 2; do
    printf '{"task":"t%s","config":"c","n_records":60000000,"metrics":["acc"]}\n' $i
done >"$WORK/huge.jsonl"
fails 1 "line 2: more than" "a report of what cannot be" "$TERN" eval --report "$WORK/huge.jsonl"
printf '{"task":"\\u001b[31m","config":"c","n_records":1,"metrics":["acc"]}\n' >"$WORK/odd.jsonl"
fails 1 "line 1 is no line of results" "a name that is none" "$TERN" eval --report "$WORK/odd.jsonl"
finish
