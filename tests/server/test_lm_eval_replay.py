"""The requests that lm-evaluation-harness makes of the tasks in examples/lm-eval, as they were recorded by
test_lm_eval.py: their answers give the log-likelihoods that `tern logits` gives."""
import unittest

from evaluation import OPTIONS, TOLERANCE, TRANSCRIPT, read_lines, tern, token_logprobs, tokenize
from harness import ServerTest


class Replay(ServerTest):
    options = OPTIONS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.requests = [line for line in read_lines(TRANSCRIPT) if "path" in line]

    def completions(self, echo):
        found = [r["body"] for r in self.requests if r["path"] == "/v1/completions" and bool(r["body"].get("echo")) == echo]
        self.assertGreater(len(found), 5)
        return found

    def check_echo(self, ids, choice):
        logs = choice["logprobs"]
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            self.assertEqual(len(logs[name]), len(ids) + 1, name)  # the harness leaves the last one out
        values, tops = logs["token_logprobs"][1:-1], logs["top_logprobs"][1:-1]
        wanted = token_logprobs(tuple(ids))
        for value, top, (logprob, best) in zip(values, tops, wanted):
            self.assertAlmostEqual(value, logprob, delta=TOLERANCE / 10)
            self.assertAlmostEqual(max(top.values()), best, delta=TOLERANCE / 10)
            self.assertEqual(value == max(top.values()), logprob == best)  # what is_greedy is made of
        self.assertAlmostEqual(sum(values), sum(v for v, _ in wanted), delta=TOLERANCE)

    def test_log_likelihoods(self):
        sizes = set()
        for body in self.completions(echo=True):
            self.assertEqual((body["max_tokens"], body["logprobs"], body["temperature"]), (1, 1, 0))
            choices = self.server.good("/v1/completions", body)["choices"]
            self.assertEqual([c["index"] for c in choices], list(range(len(body["prompt"]))))
            for ids, choice in zip(body["prompt"], choices):
                self.check_echo(ids, choice)
            sizes.add(len(choices))
            none = self.server.good("/v1/completions", {**body, "max_tokens": 0})["choices"]  # others' way to ask
            for one, other in zip(choices, none):
                self.assertEqual(one["logprobs"]["token_logprobs"][:-1], other["logprobs"]["token_logprobs"])
        self.assertIn(1, sizes)
        self.assertIn(4, sizes)  # batches of different lengths

    def test_texts_that_end_at_a_stop_string(self):
        stopped = 0
        for body in self.completions(echo=False):
            choices = self.server.good("/v1/completions", body)["choices"]
            self.assertEqual(len(choices), len(body["prompt"]))
            for ids, choice in zip(body["prompt"], choices):
                whole = tern("run", "demo", "-t", "1", "--kv-type", "f32", "--temp", "0", "-n", str(body["max_tokens"]),
                             "--ids", ",".join(map(str, ids))).decode().removesuffix("\n")
                cuts = [whole.index(stop) for stop in body["stop"] if stop in whole]
                self.assertEqual(choice["text"].rstrip("\n"), whole[:min(cuts)] if cuts else whole)
                self.assertEqual(choice["finish_reason"], "stop" if cuts else "length")
                stopped += bool(cuts)
        self.assertGreater(stopped, 0)

    def test_tokenizer(self):
        texts = set()
        for request in self.requests:
            if request["path"] == "/tokenize":
                texts.add(request["body"]["prompt"])
                answer = self.server.good("/tokenize", request["body"])
                self.assertEqual(self.server.good("/detokenize", {"tokens": answer["tokens"]})["prompt"],
                                 request["body"]["prompt"])
            elif request["path"] == "/tokenizer_info":
                self.assertEqual(self.server.request("GET", request["path"])[0], 200)
        self.assertGreater(len(texts), 20)
        for text in sorted(texts)[::8]:
            self.assertEqual(self.server.good("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"],
                             tokenize(text), text)


if __name__ == "__main__":
    unittest.main()
