#!/usr/bin/env python3
r"""Generated answers, made up, judged by lm-evaluation-harness's own task files and recorded for tests/unit/test_answers.c.

    python3 answers.py --record answers.json        (pip install "lm-eval[api,math]")

Right answers, nearly right ones and wrong ones go through the filters, the normalisation and the comparison of the tasks
gsm8k, triviaqa and hendrycks_math500. Each row: what was said, the right answer(s), and by filter what was taken out of
the text and whether it counts.
"""
import argparse
import json
import pathlib
import random
import tempfile

# our filter -> the harness's; math500's "boxed" is the report's way, which the harness's task does not have
FILTERS = {"gsm8k": {"strict-match": "strict-match", "flexible-extract": "flexible-extract"},
           "triviaqa": {"": "remove_whitespace"}}


def number_answers(rng):
    """-> (text, the record's answer)"""
    forms = ["#### {}", "so it is\n#### {}", "#### {}.", "#### ${}", "#### {}\n\n", "####{}", "The answer is {}.", "{}", "${}",
             "She has {} of them.", "#### {} dollars", "1 and 2, so {}", "#### {}\n#### 7", "#### 7\n#### {}", "It is **{}**", "= {}%",
             "{}, I think", "\u20ac{}", "\u0664\u0662 {}", "-{}", "#### -{}", "#### {}.00", "#### {}.0", "none", "", "#### ", "####\n{}",
             "{} #### x", "$ {}", "...{}...", "#### {},", "#### .{}", "a{}b", "{}\u00a0kg"]
    for form in forms:
        for number in 5, 42, 1000, 1234567:
            written = [str(number), f"{number:,}", str(number + 1)]
            for said in written:
                right = rng.choice([str(number), f"{number:,}"])
                yield form.format(said), f"Some steps, {number} of them.\n#### {right}"
    for text, right in (("#### -3", "-3"), ("#### 3", "-3"), ("#### \u2212 3", "-3"), ("#### 0.5", "0.5"), ("#### 0.50", "0.5"), ("it is .5", "0.5")):
        yield text, f"#### {right}"


def name_answers():
    names = [["Paris", "City of Light"], ["K\u00f8benhavn", "Copenhagen"], ["\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3", "Ulysses"],
             ["St. John's"], ["U.S.A.", "USA", "United States"], ["\u0130stanbul", "Istanbul"], ["Stra\u00dfe"], ["rock 'n' roll"], ["7"],
             ["Beyonc\u00e9"], ["\u1ea4n \u0110\u1ed9", "India"], ["\u212bngstr\u00f6m"], ["A-ha"], ["Dr No", "Doctor No"]]
    changes = [str, str.upper, str.lower, str.title, lambda s: f" {s} ", lambda s: f"{s}!", lambda s: f"the {s}", lambda s: s + "s",
               lambda s: s.replace(" ", "  "), lambda s: f'"{s}"', lambda s: s.replace(".", ""), lambda s: s.replace("-", " "),
               lambda s: f"\t{s}\u00a0", lambda s: f"\u201c{s}\u201d", str.casefold, str.swapcase, lambda s: s[:-1], lambda s: ""]
    for aliases in names:
        for alias in aliases:
            for change in changes:
                yield change(alias), aliases


def math_answers():
    pairs = [(r"\frac{1}{2}", [r"\frac12", "0.5", "1/2", r"\dfrac{1}{2}", r"\tfrac12", ".5", r"\frac{2}{4}", r"\frac 1 2"]),
             (r"\left( 3, \frac{\pi}{2} \right)", [r"(3,\frac{\pi}{2})", r"(3, \pi/2)", r"\left(3,\frac\pi2\right)"]),
             ("90^\\circ", ["90", r"90^{\circ}", "90 degrees"]), (r"10\%", ["10", "10%", "0.1"]), ("x = 5", ["5", "x=5", "5.0", "y=5"]),
             (r"\sqrt{2}", [r"\sqrt2", r"\sqrt 2", "2^{1/2}"]), (r"\text{Evelyn}", ["Evelyn", r"\mbox{Evelyn}", r"\text{ Evelyn}"]),
             ("1,000", ["1000", r"1{,}000", r"1,\!000"]), (r"\$18.90", ["18.90", "18.9", r"18.90\text{ dollars}"]), ("-3", ["- 3", "3", "-3.0"]),
             (r"5\text{ cm}", ["5", r"5\mbox{ cm}", "5cm"]), ("p - q", ["p-q", "q-p"]), ("2k + 2", ["2k+2", "2+2k"]), ("0.25", [".25", r"\frac14"])]
    forms = ["{}", "${}$", "The answer is ${}$.", "So $a=1$ and ${}$", " {} ", "$${}$$", "cost $5, so {}", "", "{}."]
    for right, others in pairs:
        for said in [right, *others]:
            for form in forms:
                yield form.replace("{}", said), right


# ---------------------------------------------------------------------------- the harness

def make_task(name, document, folder):
    import lm_eval
    from lm_eval.tasks import TaskManager
    source = pathlib.Path(lm_eval.__file__).parent / "tasks" / {"gsm8k": "gsm8k/gsm8k.yaml", "triviaqa": "triviaqa/default.yaml"}[name]
    records = folder / f"{name}.jsonl"
    records.write_text(json.dumps(document) + "\n")
    (folder / f"{name}.yaml").write_text("\n".join((
        f"include: {source}", f"task: answers_{name}", "dataset_path: json", "dataset_name: null", "dataset_kwargs:",
        f"  data_files: {json.dumps({'test': str(records)})}", "test_split: test", "validation_split: null",
        "training_split: null", "fewshot_split: null")) + "\n")
    return next(iter(TaskManager(include_path=str(folder)).load_task_or_group(f"answers_{name}").values()))


def judge(task, document, text):
    """-> {filter: (what is taken out, whether it counts)}"""
    from lm_eval.api.instance import Instance
    instance = Instance(request_type="generate_until", doc=document, arguments=("", {}), idx=0, metadata=(None, 0, 1))
    instance.resps = [text]
    task._instances = [instance]
    task.apply_filters()
    return {name: (answer, bool(task.process_results(document, [answer])["exact_match"]))
            for name, answer in instance.filtered_resps.items()}


def judge_all():
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        task = make_task("gsm8k", {"question": "?", "answer": "#### 1"}, folder)
        for text, answer in number_answers(rng):
            yield "gsm8k", text, [answer], judge(task, {"question": "?", "answer": answer}, text)
        task = make_task("triviaqa", {"question": "?", "answer": {"aliases": ["a"]}}, folder)
        for text, aliases in name_answers():
            yield "triviaqa", text, aliases, judge(task, {"question": "?", "answer": {"aliases": aliases}}, text)
    from lm_eval.tasks.hendrycks_math import utils
    for text, right in math_answers():
        verdict = utils.process_results({"problem": "?", "solution": rf"\boxed{{{right}}}", "answer": right}, [text])
        yield "math500", text, [right], {"dollars": (None, bool(verdict["exact_match"]))}


def main(path):
    rows, n_right, n_all = [], 0, 0
    for task, text, targets, verdicts in judge_all():
        names = {theirs: ours for ours, theirs in FILTERS.get(task, {}).items()}
        verdicts = {names.get(name, name): verdict for name, verdict in verdicts.items()}
        rows.append({"task": task, "text": text, "targets": targets, "verdicts": verdicts})
        n_right += sum(right for _, right in verdicts.values())
        n_all += len(verdicts)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{len(rows)} answers, {n_all} verdicts, {n_right} of them right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--record", type=pathlib.Path, required=True)
    main(parser.parse_args().record)
