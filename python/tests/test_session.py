"""Sessions, samplers, logits, embeddings, perplexity; with and without numpy."""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import support
import tern
from support import PROMPT

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 3


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = tern.Model.from_pretrained(n_threads=1)
        cls.ids = cls.model.tokenizer.encode(PROMPT)

    def test_timeline(self):
        with self.model.session(n_ctx=64) as session:
            self.assertEqual((session.n_ctx, len(session), bool(session)), (64, 0, True))
            session.eval(PROMPT)
            self.assertEqual(session.tokens, self.ids)
            session.eval(" there")
            self.assertEqual(session.tokens, self.ids + self.model.tokenizer.encode(" there", bos=False))
            session.truncate(2)
            self.assertEqual(session.tokens, self.ids[:2])
            self.assertGreater(session.kv_bytes, 0)
            with self.assertRaises(tern.ContextError):
                session.eval([1] * 64)
            with self.assertRaises(ValueError):
                session.truncate(3)
            with self.assertRaises(ValueError):
                session.truncate(-1)
            with self.assertRaises(ValueError):
                session.eval([-1])
        with self.assertRaises(ValueError):
            session.eval([1])
        for bad in ({"n_ctx": 0}, {"n_ctx": 10**6}, {"kv_type": "q4"}, {"chunk": -1}):
            with self.assertRaises(ValueError):
                self.model.session(**bad)

    def test_logits(self):
        logits = self.model.logits(PROMPT)
        self.assertEqual((len(logits), len(logits[0])), (len(self.ids), self.model.info.vocab_size))
        with self.model.session() as session:
            with self.assertRaises(ValueError):
                session.logits()
            for at, id in enumerate(self.ids):
                session.eval([id])
                self.assertEqual(list(session.logits()), list(logits[at]))

    def test_sample(self):
        greedy = self.model.generate(PROMPT, max_tokens=8, temperature=0).ids
        with self.model.session() as session:
            session.eval(PROMPT)
            got = []
            for _ in range(8):
                logits = session.logits()
                id = session.sample()
                self.assertEqual(id, max(range(len(logits)), key=logits.__getitem__))
                self.assertEqual(id, self.model.sampler(temperature=0).sample(logits))
                got.append(id)
                session.eval([id])
        self.assertEqual(got, greedy)

    def test_sampler_is_that_of_generate(self):
        options = {"temperature": 1.5, "seed": 7, "frequency_penalty": 0.5}
        wanted = self.model.generate(PROMPT, max_tokens=8, ignore_end=True, **options).ids
        sampler = self.model.sampler(**options)
        got = []
        with self.model.session() as session:
            session.eval(PROMPT)
            for id in self.ids:
                sampler.accept(id)
            for _ in range(8):
                got.append(session.sample(sampler))
                sampler.accept(got[-1])
                session.eval(got[-1:])
        self.assertEqual(got, wanted)
        with self.assertRaises(ValueError):
            sampler.sample([0.0])
        sampler.close()
        with self.assertRaisesRegex(ValueError, "closed"):
            sampler.accept(1)
        with self.assertRaises(TypeError):
            self.model.sampler(max_tokens=3)

    def test_generate_goes_on(self):
        whole = self.model.generate(PROMPT, max_tokens=10, temperature=0, ignore_end=True).ids
        with self.model.session() as session:
            first = session.generate(PROMPT, max_tokens=4, temperature=0, ignore_end=True).ids
            # all but the last one were evaluated
            rest = session.generate(first[-1:], max_tokens=6, temperature=0, ignore_end=True).ids
        self.assertEqual(first + rest, whole)

    def test_embedding(self):
        last = self.model.embed(PROMPT, pooling="last", normalize=False)
        with self.model.session() as session:
            hidden = session.eval_hidden(PROMPT)
            self.assertEqual(list(session.embedding()), list(hidden[-1]))
        self.assertEqual(list(last), list(hidden[-1]))
        self.assertEqual(len(hidden), len(self.ids))
        mean = self.model.embed(PROMPT, normalize=False)
        for at in range(self.model.info.hidden_size):
            self.assertAlmostEqual(float(mean[at]), math.fsum(float(row[at]) for row in hidden) / len(hidden), places=4)
        several = self.model.embed([PROMPT, "Another"])
        self.assertEqual(len(several), 2)
        self.assertEqual(list(several[0]), list(self.model.embed(PROMPT)))
        self.assertAlmostEqual(math.fsum(float(x) ** 2 for x in several[1]), 1.0, places=4)
        with self.assertRaises(ValueError):
            self.model.embed(PROMPT, pooling="max")
        with self.assertRaises(tern.ContextError):
            self.model.embed("word " * 10000)

    def test_embedding_that_is_no_number(self):
        sys.path.append(os.path.join(support.ROOT, "tests", "server"))
        from damaged import damage

        with open(os.path.join(support.ROOT, "models", "demo.gguf"), "rb") as file:
            data = damage(file.read(), self.model.tokenizer.encode("dog", bos=False)[-1])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "damaged.gguf")
            with open(path, "wb") as file:
                file.write(data)
            with tern.Model.from_pretrained(path, n_threads=1) as model:
                model.embed("A cat.")
                for pooling in ("mean", "last"):
                    with self.assertRaisesRegex(tern.FormatError, "weights are damaged"):
                        model.embed("dog", pooling=pooling)
                with self.assertRaisesRegex(tern.FormatError, "damaged"):
                    model.generate("dog", max_tokens=1)

    def test_perplexity(self):
        got = self.model.perplexity(TEXT, window=32)
        ids = self.model.tokenizer.encode(TEXT, bos=False)
        self.assertEqual((got.tokens, got.bytes), (len(ids), len(TEXT)))
        self.assertAlmostEqual(got.perplexity, math.exp(got.mean_nll))
        self.assertNotEqual(got.mean_nll, self.model.perplexity(TEXT, window=16).mean_nll)
        for bad in (1, 10**6):
            with self.assertRaises(ValueError):
                self.model.perplexity(TEXT, window=bad)
        with self.assertRaises(ValueError):
            self.model.perplexity("")
        with self.assertRaises(ZeroDivisionError):
            self.model.perplexity(TEXT, progress=lambda done, total: 1 / 0)

    @unittest.skipUnless(os.environ.get("TERN"), "the command, $TERN, is not given")
    def test_perplexity_is_the_command_s(self):
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            file.write(TEXT.encode())
            file.flush()
            command = [os.environ["TERN"], "perplexity", "demo", file.name, "-c", "32", "--json"]
            wanted = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
        with tern.Model.from_pretrained(kv_type=wanted.get("kv_type")) as model:
            got = model.perplexity(TEXT, window=32)
        self.assertEqual(got.tokens, wanted["tokens"])
        self.assertAlmostEqual(got.mean_nll, wanted["mean_nll"], places=6)
        self.assertAlmostEqual(got.bits_per_byte, wanted["bits_per_byte"], places=6)

    def test_numpy(self):
        if tern._memory.np is None:
            self.skipTest("no numpy")
        import numpy

        logits = self.model.logits(numpy.array(self.ids))
        self.assertIsInstance(logits, numpy.ndarray)
        self.assertEqual((logits.dtype, logits.shape), (numpy.float32, (len(self.ids), self.model.info.vocab_size)))
        self.assertEqual(self.model.embed([PROMPT, "a"]).shape, (2, self.model.info.hidden_size))
        self.assertEqual(self.model.embed(PROMPT).dtype, numpy.float32)
        with self.model.session() as session:
            session.eval(numpy.array(self.ids, numpy.int64))
            mine = session.logits()
            mine[:] = 0  # a copy
            self.assertNotEqual(float(session.logits().max()), 0.0)

    @unittest.skipIf(os.environ.get("TERN_TEST_NO_NUMPY"), "this is it")
    def test_without_numpy(self):
        if tern._memory.np is None:
            self.skipTest("there is no numpy anyway")
        code = "import sys, runpy; sys.modules['numpy'] = None; sys.argv[1:] = []; runpy.run_path(%r, run_name='__main__')"
        run = subprocess.run(
            [sys.executable, "-c", code % os.path.abspath(__file__)],
            env=dict(os.environ, TERN_TEST_NO_NUMPY="1", PYTHONPATH=support.HERE),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.assertEqual(run.returncode, 0, run.stdout.decode())
        self.assertIn("no numpy", run.stdout.decode())


if __name__ == "__main__":
    support.main()
