"""EleutherAI's lm-evaluation-harness on the tasks in examples/lm-eval, through the server; its scores are held to
`tern logits` and `tern perplexity`. Needs the harness (pip install "lm-eval[api]"), which LM_EVAL may name, and curl;
else it is skipped. With TERN_RECORD=1 it writes the transcript that test_lm_eval_replay.py replays.
"""
import glob
import http.client
import http.server
import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

from evaluation import OPTIONS, TASKS, TOLERANCE, TRANSCRIPT, log_likelihood, read_lines, tern, tokenize
from harness import PATIENCE, TERN, Server

BOS = "<|begin_of_text|>"


def find_harness():
    """-> the command, its version"""
    if "LM_EVAL" in os.environ:
        command = shlex.split(os.environ["LM_EVAL"])
        python = command[0]
        if "-m" not in command:  # the script that pip writes
            with open(shutil.which(python), encoding="utf-8") as script:
                python = script.readline().removeprefix("#!").strip()
        return command, subprocess.run([python, "-c", "import importlib.metadata as m; print(m.version('lm-eval'))"],
                                       stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    try:
        import aiohttp, lm_eval, tenacity  # noqa: F401
    except ImportError:
        return None, None
    return [sys.executable, "-m", "lm_eval"], importlib.metadata.version("lm-eval")


class Recorder(http.server.ThreadingHTTPServer):
    """Hands requests on to the server and keeps them."""

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = server
        self.seen = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        status, head, data = self.server.behind.request(self.command, self.path, body, headers)
        request = {"method": self.command, "path": self.path, "body": json.loads(body) if body else None}
        self.server.seen.add(json.dumps(request, sort_keys=True, ensure_ascii=False))
        self.send_response(status)
        self.send_header("Content-Type", head["Content-Type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Harness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(*OPTIONS)
        cls.recorder = Recorder(cls.server)
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.recorder.shutdown()
        cls.recorder.server_close()
        status = cls.server.stop()
        cls.folder.cleanup()
        assert status == 0

    def evaluate(self, name, *options, url=None):
        """-> {task: {metric: value}}, {task: [sample]}"""
        output = os.path.join(self.folder.name, name)
        environment = {**os.environ, "TERN": TERN, "LM_EVAL": shlex.join(COMMAND), "HF_HUB_OFFLINE": "1",
                       "HF_DATASETS_OFFLINE": "1", "HF_HOME": os.path.join(self.folder.name, "cache")}
        environment.pop("URL", None)
        if url:
            environment["URL"] = url
        run = subprocess.run([os.path.join(TASKS, "run.sh"), "--output_path", output, "--log_samples", *options],
                             env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=20 * PATIENCE)
        self.assertEqual(run.returncode, 0, run.stdout[-4000:])
        results, = glob.glob(os.path.join(output, "*", "results_*.json"))
        with open(results, encoding="utf-8") as file:
            scores = json.load(file)["results"]
        samples = {task: read_lines(path) for task in scores
                   for path in glob.glob(os.path.join(output, "*", f"samples_{task}_*.jsonl"))}
        return scores, samples

    def check_choices(self, samples):
        for sample in samples:
            for arguments, response in zip(sample["arguments"].values(), sample["resps"]):
                context, continuation = arguments["arg_0"], arguments["arg_1"]
                self.assertTrue(context.startswith(BOS + sample["doc"]["context"]), context)
                ids, n = tokenize(context + continuation), len(tokenize(context))
                value, greedy = log_likelihood(ids[:n], ids[n:])
                self.assertAlmostEqual(float(response[0][0]), value, delta=TOLERANCE)
                self.assertEqual(str(response[0][1]), str(greedy))

    def check_texts(self, samples):
        bos, = tokenize(BOS)
        windows = 511 - 1  # tokens of a text that are predicted behind one of context; the server adds one more
        longest = 0
        for sample in samples:
            ids, value = tokenize(sample["doc"]["text"]), float(sample["resps"][0][0])
            longest = max(longest, len(ids))
            if len(ids) <= windows:
                wanted, _ = log_likelihood([bos], ids)
                path = os.path.join(self.folder.name, "text")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(sample["doc"]["text"])
                measured = json.loads(tern("perplexity", "demo", path, "-t", "1", "-c", "512", "--json"))
                self.assertAlmostEqual(value, -measured["mean_nll"] * measured["tokens"], delta=TOLERANCE)
            else:  # a second window: as much context as fits in front of what is left
                self.assertLess(len(ids), 2 * windows)
                left = len(ids) - windows
                wanted = log_likelihood([bos], ids[:windows])[0]
                wanted += log_likelihood(ids[len(ids) - windows - 1:-left], ids[-left:])[0]
            self.assertAlmostEqual(value, wanted, delta=TOLERANCE)
        self.assertGreater(longest, windows)

    def check(self, scores, samples):
        self.assertEqual({task: len(s) for task, s in samples.items()},
                         {"tern_choice": 12, "tern_text": 4, "tern_word": 5})
        self.check_choices(samples["tern_choice"])
        self.check_texts(samples["tern_text"])
        self.assertGreater(scores["tern_choice"]["acc,none"], 0.8)  # the built-in model knows what beds are for
        self.assertGreater(scores["tern_word"]["exact_match,first-word"], 0.5)
        texts = [s["doc"]["text"] for s in samples["tern_text"]]
        total = sum(float(s["resps"][0][0]) for s in samples["tern_text"])
        self.assertAlmostEqual(scores["tern_text"]["bits_per_byte,none"],
                               -total / sum(len(t.encode()) for t in texts) / 0.6931471805599453, places=6)

    def test_scores(self):
        one = self.evaluate("one", url=self.recorder.url)
        self.check(*one)
        batched = self.evaluate("batched", "--model_args", "num_concurrent=1", "--batch_size", "4",
                                url=self.recorder.url)
        for task in one[0]:
            for metric, value in one[0][task].items():
                if "stderr" not in metric and isinstance(value, float):
                    self.assertAlmostEqual(batched[0][task][metric], value, places=5, msg=f"{task} {metric}")
        self.compare_with_transcript()

    def compare_with_transcript(self):
        seen = sorted(self.recorder.seen)
        if os.environ.get("TERN_RECORD"):
            with open(TRANSCRIPT, "w", encoding="utf-8") as file:
                file.write(json.dumps({"lm-eval": VERSION}) + "\n" + "\n".join(seen) + "\n")
        with open(TRANSCRIPT, encoding="utf-8") as file:
            version, *lines = file.read().splitlines()
        if json.loads(version) == {"lm-eval": VERSION}:  # other versions may ask in other ways
            self.assertEqual(seen, lines)

    def test_server_of_its_own(self):
        scores, samples = self.evaluate("own", "--tasks", "tern_choice", "--limit", "2")
        self.check_choices(samples["tern_choice"])
        self.assertEqual(list(scores), ["tern_choice"])


if __name__ == "__main__":
    COMMAND, VERSION = find_harness()
    if not COMMAND or not shutil.which("curl"):
        print("skipped: no lm-evaluation-harness, or no curl")
        sys.exit(77)
    unittest.main()
