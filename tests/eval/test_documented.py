"""The table of docs/EVAL.md, "The same as the harness": its scores are what `tern eval` gives for that model today."""
import pathlib
import re
import sys
import tempfile
import unittest

import harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
MODEL, DATA = SHARED / "reference/story/model-i2_s.gguf", SHARED / "data/eval"
N_CTX, LIMIT = 512, 25
ROW = re.compile(r"^\| (\w+) \| (\d+)(?:, chat)? \| (.*?) \| [^|]+ \|$", re.M)


def rows():
    """-> (task, shots, {metric: value as written})"""
    section = (ROOT / "docs/EVAL.md").read_text(encoding="utf-8").partition("## The same as the harness")[2]
    return [(task, int(shots), dict(score.rsplit(" ", 1) for score in scores.split(", ")))
            for task, shots, scores in ROW.findall(section.split("\n## ")[0])]


class Documented(unittest.TestCase):
    def test_rows(self):
        found = rows()
        self.assertGreaterEqual(len(found), 14)
        self.assertGreaterEqual(len({task for task, _, _ in found}), 14)

    def test_scores(self):
        for task, n_shots, wanted in rows():
            if task in harness.GENERATED:
                continue  # a minute of generation; tests/eval/recorded.json and answers.json hold what matters of it
            with self.subTest(task=task, shots=n_shots), tempfile.TemporaryDirectory() as folder:
                ours, _ = harness.ask_tern(MODEL, DATA, task, N_CTX, n_shots, LIMIT, pathlib.Path(folder))
                scores = {m["metric"]: f"{m['value']:.0f}" if m["metric"] == "perplexity" else f"{100 * m['value']:.2f}"
                          for m in ours["metrics"]}
                self.assertEqual(scores, wanted)


if __name__ == "__main__":
    if not (MODEL.exists() and DATA.exists()):
        print("skipped: no ../shared with the story model and the samples")
        sys.exit(77)
    unittest.main()
