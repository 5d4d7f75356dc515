#!/usr/bin/env python3
r"""The same benchmarks through lm-evaluation-harness and through `tern eval`: equal log-likelihoods and scores.

    python3 harness.py MODEL --data FOLDER --tasks arc_easy,piqa --limit 100
    python3 harness.py ../data/golden/small/model-f32.gguf --data records --record recorded.json --tasks \
        arc_easy,arc_easy:3,openbookqa,boolq,hellaswag,piqa,piqa:2,winogrande,commonsenseqa,truthfulqa_mc1,\
        truthfulqa_mc2,truthfulqa_mc2:1,mmlu:1,lambada,gsm8k:1:chat

The harness (pip install "lm-eval[api]") asks `tern serve`, with its own task files; only where the records are is told
to it. Exit status 77: it is not installed. TERN is the command.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

TERN = os.environ.get("TERN", "tern")
TOLERANCE = 2e-3  # of a log-likelihood: the server sums float32 logarithms, tern eval double ones

# tern's task -> the harness's file, the number of its metrics' values that are compared by item
TASKS = {
    "arc_easy": "arc/arc_easy.yaml", "arc_challenge": "arc/arc_challenge.yaml", "openbookqa": "openbookqa/openbookqa.yaml",
    "boolq": "super_glue/boolq/default.yaml", "hellaswag": "hellaswag/hellaswag.yaml", "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml", "commonsenseqa": "commonsense_qa/default.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml", "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
    "mmlu": "mmlu/default/mmlu_anatomy.yaml", "lambada": "lambada/lambada_openai.yaml",
    "triviaqa": "triviaqa/default.yaml", "gsm8k": "gsm8k/gsm8k.yaml",
}
GENERATED = {"triviaqa", "gsm8k"}
# those whose task file has no test split and no fewshot_split: there the harness draws one more example and drops the
# record itself
NO_TEST_SPLIT = {"boolq", "hellaswag", "piqa", "winogrande", "commonsenseqa", "truthfulqa_mc1", "truthfulqa_mc2", "triviaqa"}


# ------------------------------------------------------------------ records as the hub has them

def question_of(context):
    return re.fullmatch(r"Question: (.*)\nAnswer:", context, re.S).group(1)


def lettered(texts, gold):
    labels = [chr(ord("A") + i) for i in range(len(texts))]
    return {"choices": {"text": texts, "label": labels}, "answerKey": labels[gold]}


def boolq(r):
    passage, question = re.fullmatch(r"(.*)\nQuestion: (.*)\?\nAnswer:", r["context"], re.S).groups()
    return {"passage": passage, "question": question, "label": r["gold"]}


def commonsense(r):
    parts = re.fullmatch(r"Question: (.*)\nA\. (.*)\nB\. (.*)\nC\. (.*)\nD\. (.*)\nE\. (.*)\nAnswer:", r["context"], re.S)
    gold = r["gold"] if "gold" in r else "ABCDE".index(r["target"])
    return {"question": parts.group(1), **lettered(list(parts.groups()[1:]), gold)}


def winogrande(r):
    a, b = r["contexts"]
    n = len(os.path.commonprefix([a, b]))
    return {"sentence": f"{a[:n]}_ {r['continuation']}", "option1": a[n:], "option2": b[n:], "answer": str(r["gold"] + 1)}


def hellaswag(r):
    label, _, context = r["context"].partition(": ")
    return {"activity_label": label, "ctx_a": context, "ctx_b": "", "endings": r["choices"], "label": str(r["gold"])}


def truthful(r):
    false = [c for c, label in zip(r["choices"], r["labels"]) if label == 0]
    return {"question": r["question"], "mc1_targets": {"choices": [r["best"]] + false, "labels": [1] + [0] * len(false)},
            "mc2_targets": {"choices": r["choices"], "labels": r["labels"]}}


def piqa(r):
    return {"goal": question_of(r["context"]), "sol1": r["choices"][0], "sol2": r["choices"][1], "label": r["gold"]}


# for records whose contexts are made already
CONVERT = {
    "arc_easy": lambda r: {"question": question_of(r["context"]), **lettered(r["choices"], r["gold"])},
    "openbookqa": lambda r: {"question_stem": r["context"], **lettered(r["choices"], r["gold"])},
    "boolq": boolq, "hellaswag": hellaswag, "piqa": piqa, "winogrande": winogrande, "commonsenseqa": commonsense,
    "truthfulqa_mc1": truthful, "truthfulqa_mc2": truthful,
    "mmlu": lambda r: {"subject": r["subject"], "question": r["question"], "choices": r["choices"], "answer": r["gold"]},
    "triviaqa": lambda r: {"question": r["question"], "answer": {"aliases": r["answers"]}},
}
CONVERT["arc_challenge"] = CONVERT["arc_easy"]
MADE = {"context", "contexts", "gold", "best", "answers"}  # fields that tell such records


def convert(task, path, folder):
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    out = folder / path.name
    with out.open("w", encoding="utf-8") as file:
        for record in records:
            if MADE & set(record):
                record = CONVERT[task](record)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return out


# ---------------------------------------------------------------------------- the harness

def write_task(folder, task, name, records, shots, extra):
    import lm_eval
    source = pathlib.Path(lm_eval.__file__).parent / "tasks" / TASKS[task]
    no_test = task in NO_TEST_SPLIT
    split = "validation" if no_test else "test"
    files = {split: str(records), **({"train": str(shots)} if shots else {})}
    lines = [f"include: {source}", f"task: {name}", "dataset_path: json", "dataset_name: null", "dataset_kwargs:",
             f"  data_files: {json.dumps(files)}", f"test_split: {'null' if no_test else 'test'}",
             f"validation_split: {'validation' if no_test else 'null'}",
             f"training_split: {'train' if shots else 'null'}",
             f"fewshot_split: {'train' if shots and not no_test else 'null'}", *extra]
    (folder / f"{name}.yaml").write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")


def ask_harness(url, n_ctx, bos, folder, names, n_shots, limit, chat):
    import lm_eval
    from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
    from lm_eval.tasks import TaskManager

    class Model(LocalCompletionsAPI):
        """With a BOS in front of each text, as models have it whose tokenizer the harness runs itself."""

        def tok_encode(self, string, **kwargs):
            ids = super().tok_encode(string, **{k: v for k, v in kwargs.items() if k != "left_truncate_len"})
            keep = kwargs.get("left_truncate_len") or 0
            if isinstance(string, str):
                return ([bos] + ids)[-keep:]
            return [([bos] + part)[-keep:] for part in ids]

    if chat:
        model = LocalChatCompletion(base_url=f"{url}/v1/chat/completions", num_concurrent=1)
    else:
        model = Model(base_url=f"{url}/v1/completions", tokenizer_backend="remote", max_length=n_ctx + 1, num_concurrent=4)
    found = lm_eval.simple_evaluate(model, tasks=names, apply_chat_template=chat,
                                    gen_kwargs={"max_gen_toks": max_tokens(n_ctx)} if chat else None, num_fewshot=n_shots, limit=limit, log_samples=True,
                                    task_manager=TaskManager(include_path=str(folder)), bootstrap_iters=0)
    return found["results"], found["samples"]


def by_item(task, samples):
    """-> for each record its log-likelihoods, or its text"""
    items = {}
    for sample in samples:
        responses = sample["resps"]
        items[sample["doc_id"]] = responses[0][0] if task in GENERATED else [float(r[0][0]) for r in responses]
    return [items[i] for i in sorted(items)]


def max_tokens(n_ctx):
    """The server takes no prompt that leaves no room for the answer, so answers in the chat template are short."""
    return n_ctx // 8


def harness_scores(task, url, n_ctx, bos, folder, n_shots, limit, chat):
    records = convert(task, ARGUMENTS.data / FILES[task]["data"], folder)
    shots = convert(task, ARGUMENTS.data / FILES[task]["shots_data"], folder) if n_shots else None
    if shots == records:
        shots = None  # which leaves the harness no others to draw from
    if task != "mmlu":
        write_task(folder, task, f"tern_{task}", records, shots, [])
        results, samples = ask_harness(url, n_ctx, bos, folder, [f"tern_{task}"], n_shots, limit, chat)
        return results[f"tern_{task}"], by_item(task, samples[f"tern_{task}"])
    lines = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()][:limit]
    examples = [json.loads(line) for line in shots.read_text(encoding="utf-8").splitlines()] if shots else []
    subjects = list(dict.fromkeys(line["subject"] for line in lines))
    for subject in subjects:
        parts = []
        for kind, all_lines in ("test", lines), ("dev", examples):
            parts.append(folder / f"{subject}-{kind}.jsonl")
            parts[-1].write_text("".join(json.dumps(line) + "\n" for line in all_lines if line["subject"] == subject))
        about = json.dumps(f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n")
        write_task(folder, task, f"tern_mmlu_{subject}", parts[0], parts[1] if shots else None, [f"description: {about}"])
    results, samples = ask_harness(url, n_ctx, bos, folder, [f"tern_mmlu_{s}" for s in subjects], n_shots, None, chat)
    items = {s: iter(by_item(task, samples[f"tern_mmlu_{s}"])) for s in subjects}
    weights = {s: sum(line["subject"] == s for line in lines) for s in subjects}
    acc = sum(results[f"tern_mmlu_{s}"]["acc,none"] * weights[s] for s in subjects) / len(lines)
    return {"acc,none": acc}, [next(items[line["subject"]]) for line in lines]


# ------------------------------------------------------------------------------------ tern

def ask_tern(model, data, task, n_ctx, n_shots, limit, folder, chat=False):
    out = folder / f"{task}.results"
    # the server scores one token less than the context has
    ctx = n_ctx if task in GENERATED else n_ctx - 1
    command = [TERN, "eval", str(model), "--tasks", task, "--data", str(data), "--json", "-t", "1",
               "-c", str(ctx), "--out", str(out), "--shots", str(n_shots)]
    if task in GENERATED:
        command += ["--max-tokens", str(max_tokens(n_ctx) if chat else min(256, n_ctx // 2))]
    if chat:
        command += ["--chat"]
    if limit:
        command += ["--limit", str(limit)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        sys.exit(f"{task}: {run.stderr}")
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()][1:]
    return json.loads(run.stdout)["tasks"][0], lines


def compare(task, ours, lines, scores, items):
    """-> what differs, the largest difference of a log-likelihood"""
    different, largest = [], 0.0
    if len(lines) != len(items):
        return [f"{len(lines)} records, the harness has {len(items)}"], 0.0
    for line, item in zip(sorted(lines, key=lambda l: l["item"]), items):
        if task in GENERATED:
            if line["text"] != item:
                different.append(f"record {line['item']}: {line['text']!r}, the harness has {item!r}")
            continue
        apart = max(abs(a - b) for a, b in zip(line["log_likelihoods"], item))
        largest = max(largest, apart)
        if len(line["log_likelihoods"]) != len(item) or apart > TOLERANCE:
            different.append(f"record {line['item']}: {line['log_likelihoods']}, the harness has {item}")
    for metric in ours["metrics"]:
        name = metric["metric"]
        theirs = {"mc2": "acc,none", "exact_match": "exact_match,remove_whitespace"}.get(name, name)
        theirs = scores.get(theirs, scores.get(f"{theirs},none"))
        limit = 1e-3 * theirs if name == "perplexity" else 1e-4 if name == "mc2" else 1e-9
        if abs(theirs - metric["value"]) > limit:
            different.append(f"{name} {metric['value']}, the harness has {theirs}")
    return different, largest


def start_server():
    server = subprocess.Popen([TERN, "serve", ARGUMENTS.model, "--port", "0", "--kv-type", "f32", "-t", "1"],
                              stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if line.startswith("listening on "):
            threading.Thread(target=server.stderr.read, daemon=True).start()  # else it stops when the pipe is full
            return server, line.split()[-1]
    sys.exit("tern serve did not start")


def describe_model():
    info = json.loads(subprocess.run([TERN, "inspect", ARGUMENTS.model, "--json"], stdout=subprocess.PIPE, check=True,
                                     text=True).stdout)
    bos = subprocess.run([TERN, "tokenize", ARGUMENTS.model, "-p", ""], stdout=subprocess.PIPE, check=True, text=True)
    return info, int(bos.stdout.split()[0])


def main():
    listed = json.loads(subprocess.run([TERN, "eval", "--list", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    FILES.update({task["task"]: task for task in listed["tasks"]})
    info, bos = describe_model()
    n_ctx = info["dimensions"]["n_ctx"]
    server, url = start_server()
    recorded, failed = {}, False
    try:
        for key in ARGUMENTS.tasks.split(","):
            task, shots, how = (key.split(":") + ["", ""])[:3]
            n_shots = int(shots) if shots else FILES[task]["shots"]
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                scores, items = harness_scores(task, url, n_ctx, bos, folder, n_shots, ARGUMENTS.limit, how == "chat")
                ours, lines = ask_tern(ARGUMENTS.model, folder, task, n_ctx, n_shots, ARGUMENTS.limit, folder,
                                       how == "chat")
            different, largest = compare(task, ours, lines, scores, items)
            failed |= bool(different)
            values = ", ".join(f"{m['metric']} {m['value']:.4f}" for m in ours["metrics"])
            print(f"{task:15} {n_shots} shots{' in the chat template' * (how == 'chat')}, {len(items):4} records: {values}; "
                  + (f"{len(different)} DIFFER: {different[0]}" if different else
                     f"equal (log-likelihoods within {largest:.1e})"), flush=True)
            names = {m["metric"].split(",")[0] for m in ours["metrics"]} | {"acc"}
            kept = {name: value for name, value in scores.items() if name.split(",")[0] in names}
            recorded[f"{task}:{n_shots}" + f":{how}" * bool(how)] = {"scores": kept, "items": items}
    finally:
        server.terminate()
        server.wait()
    if ARGUMENTS.record and not failed:
        ARGUMENTS.record.write_text(json.dumps({"lm-eval": VERSION, "n_ctx": n_ctx, "tasks": recorded}) + "\n")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS), help="arc_easy,mmlu:3: three shots; gsm8k:1:chat")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--record", type=pathlib.Path, help="write what the harness says, if all is equal")
    ARGUMENTS = parser.parse_args()
    FILES = {}
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        try:
            import importlib.metadata
            VERSION = importlib.metadata.version("lm-eval")
        except importlib.metadata.PackageNotFoundError:
            print('skipped: no lm-evaluation-harness (pip install "lm-eval[api]")')
            sys.exit(77)
        sys.exit(main())
