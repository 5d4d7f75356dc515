"""`tern eval` on the small records beside this file gives what lm-evaluation-harness gave (recorded by harness.py)."""
import json
import pathlib
import tempfile
import unittest

import harness

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "data" / "golden" / "small" / "model-f32.gguf"


class Recorded(unittest.TestCase):
    def test_equal(self):
        recorded = json.loads((HERE / "recorded.json").read_text())
        self.assertGreaterEqual(len(recorded["tasks"]), 15)
        for key, wanted in recorded["tasks"].items():
            task, n_shots, how = (key.split(":") + [""])[:3]
            with self.subTest(task=key), tempfile.TemporaryDirectory() as folder:
                ours, lines = harness.ask_tern(MODEL, HERE / "records", task, recorded["n_ctx"], int(n_shots), None,
                                               pathlib.Path(folder), how == "chat")
                different, _ = harness.compare(task, ours, lines, wanted["scores"], wanted["items"])
                self.assertEqual(different, [])

    def test_can_differ(self):
        """What is compared is not nothing."""
        recorded = json.loads((HERE / "recorded.json").read_text())
        wanted = recorded["tasks"]["piqa:0"]
        with tempfile.TemporaryDirectory() as folder:
            ours, lines = harness.ask_tern(MODEL, HERE / "records", "piqa", recorded["n_ctx"], 0, None, pathlib.Path(folder))
        wanted["items"][1][0] += 0.01
        wanted["scores"]["acc,none"] += 0.1
        different, _ = harness.compare("piqa", ours, lines, wanted["scores"], wanted["items"])
        self.assertGreaterEqual(len(different), 2)


if __name__ == "__main__":
    unittest.main()
