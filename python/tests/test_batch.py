"""Many texts at once: the same as one by one, streams, breaking off, threads, the end."""

import gc
import os
import subprocess
import sys
import threading
import unittest

import support
import tern

PROMPTS = ["Once upon a time", "The dog", "One day, a bird", "Tom and Sam", "It was raining", "The cat"]
PATIENCE = 120  # seconds until something counts as hanging


class Many(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = tern.Model.from_pretrained(n_threads=1)
        cls.greedy = [cls.model.generate(p, max_tokens=16, temperature=0) for p in PROMPTS]

    def test_the_same_as_one_by_one(self):
        results = self.model.generate_many(PROMPTS, max_tokens=16, temperature=0)
        self.assertEqual([r.text for r in results], [r.text for r in self.greedy])
        self.assertEqual([r.ids for r in results], [r.ids for r in self.greedy])
        self.assertGreater(len({r.text for r in results}), 1)  # else mixing them up would not be seen
        for result, alone, prompt in zip(results, self.greedy, PROMPTS):
            self.assertEqual(result.n_prompt, len(self.model.tokenizer.encode(prompt)))
            self.assertEqual((result.reason, result.n_generated), (alone.reason, alone.n_generated))
            self.assertGreater(result.tokens_per_second, 0)
            self.assertGreaterEqual(result.first_token_seconds, result.prefill_seconds)

    def test_options(self):
        options = {"max_tokens": 12, "seed": 7, "temperature": 0.9, "repeat_penalty": 1.1, "logit_bias": {5: -2.0}}
        results = self.model.generate_many(PROMPTS[:3], **options)
        self.assertEqual([r.ids for r in results], [self.model.generate(p, **options).ids for p in PROMPTS[:3]])
        self.assertEqual({r.seed for r in results}, {7})
        self.assertEqual(len({r.seed for r in self.model.generate_many(["The dog"] * 4, max_tokens=1)}), 4)
        alone = self.greedy[0].text
        stop = ["no such text", alone[8]]
        for result in self.model.generate_many(PROMPTS[:1] * 2, max_tokens=16, temperature=0, stop=stop):
            self.assertEqual((result.text, str(result.reason)), (alone[: alone.index(alone[8])], "stop"))
        with tern.Grammar(self.model.tokenizer, 'root ::= "yes" | "no"') as grammar:
            for result in self.model.generate_many(PROMPTS, grammar=grammar):
                self.assertIn((result.text, str(result.reason)), (("yes", "end"), ("no", "end")))
        for result in self.model.generate_many(PROMPTS[:2], grammar='root ::= "maybe"'):
            self.assertEqual(result.text, "maybe")

    def test_kinds_of_prompts(self):
        ids = self.model.tokenizer.encode(PROMPTS[0])
        messages = [{"role": "user", "content": "Tell me a story."}]
        text, by_ids, chat = self.model.generate_many(iter([PROMPTS[0], ids, messages]), max_tokens=8, temperature=0)
        self.assertEqual(text.ids, by_ids.ids)
        self.assertEqual(chat.ids, self.model.chat(messages, max_tokens=8, temperature=0).ids)
        self.assertEqual(self.model.generate_many([]), [])

    def test_stream(self):
        texts = [""] * len(PROMPTS)
        order = []
        stream = self.model.stream_many(PROMPTS, max_tokens=16, temperature=0)
        for i, piece in stream:
            texts[i] += piece
            order.append(i)
        self.assertEqual(texts, [r.text for r in self.greedy])
        self.assertEqual([r.text for r in stream.results], texts)
        self.assertEqual(list(stream), [])
        self.assertNotEqual(order, sorted(order))  # they came beside each other

    def test_more_than_are_computed_at_a_time(self):
        with self.model.scheduler(max_running=2) as scheduler:
            results = scheduler.generate_many(PROMPTS * 3, max_tokens=16, temperature=0)
            self.assertEqual([r.text for r in results], [r.text for r in self.greedy] * 3)
            stats = scheduler.stats
            self.assertEqual((stats.n_finished, stats.n_running, stats.n_waiting), (18, 0, 0))
            self.assertEqual(stats.generated_tokens, sum(r.n_generated for r in results))
            self.assertLess(stats.n_steps, stats.generated_tokens)  # a pass was for more than one of them
            self.assertEqual(scheduler.generate(PROMPTS[1], max_tokens=16, temperature=0).text, self.greedy[1].text)

    def test_breaking_off(self):
        with self.model.scheduler(max_running=2) as scheduler:
            for _, piece in scheduler.stream_many(PROMPTS, max_tokens=200, ignore_end=True):
                self.assertTrue(piece)
                break
            gc.collect()
            with scheduler.stream_many(PROMPTS, max_tokens=200, ignore_end=True) as stream:
                i, piece = next(stream)
            results = stream.results
            self.assertEqual(len(results), len(PROMPTS))
            self.assertTrue(results[i].text.startswith(piece))
            self.assertEqual((results[5].text, str(results[5].reason)), ("", "cancelled"))  # not even begun
            self.assertEqual(scheduler.generate(PROMPTS[0], max_tokens=16, temperature=0).text, self.greedy[0].text)

    def test_one_of_them_stops(self):
        seen = []

        def on_text(i, piece):
            seen.append(i)
            return i != 1

        results = self.model.generate_many(PROMPTS[:3], on_text=on_text, max_tokens=16, temperature=0)
        self.assertEqual([results[i].text for i in (0, 2)], [self.greedy[i].text for i in (0, 2)])
        self.assertTrue(self.greedy[1].text.startswith(results[1].text))
        self.assertEqual(seen.count(1), 1)

    def test_what_the_callback_raises(self):
        def on_text(i, piece):
            raise KeyError(i)

        with self.assertRaises(KeyError):
            self.model.generate_many(PROMPTS, on_text=on_text, max_tokens=50)
        self.assertEqual(self.model.generate_many(PROMPTS[:1], max_tokens=16, temperature=0)[0].ids, self.greedy[0].ids)

    def test_threads(self):
        found = {}
        with self.model.scheduler(max_running=3) as scheduler:

            def ask(i):
                found[i] = scheduler.generate(PROMPTS[i], max_tokens=16, temperature=0).text

            threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(len(PROMPTS))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual([found.get(i) for i in range(len(PROMPTS))], [r.text for r in self.greedy])

    def test_prefixes_are_shared(self):
        prompt = self.model.tokenizer.encode("Once upon a time " * 40)[:200]
        with self.model.scheduler() as scheduler:
            first = scheduler.generate(prompt, max_tokens=1)
            again = scheduler.generate(prompt, max_tokens=1)
            self.assertEqual(first.n_cached, 0)
            self.assertGreaterEqual(again.n_cached, 128)

    def test_errors(self):
        with self.assertRaises(tern.ContextError):
            self.model.generate_many(["The dog", [5] * 100000], max_tokens=4)
        with self.assertRaises(ValueError):
            self.model.generate_many(["The dog", []])
        with self.assertRaises(ValueError):
            self.model.generate_many("The dog")
        with self.assertRaises(TypeError):
            self.model.generate_many(PROMPTS, temprature=0)
        for options in ({"max_running": 0}, {"n_ctx": -1}, {"kv_type": "int3"}, {"kv_bytes": 0}):
            with self.assertRaises(ValueError):
                self.model.scheduler(**options)
        scheduler = self.model.scheduler()
        scheduler.close()
        self.assertTrue(scheduler.closed)
        for call in (lambda: scheduler.stats, lambda: scheduler.generate_many(PROMPTS)):
            with self.assertRaises(ValueError):
                call()


class Ends(unittest.TestCase):
    def test_a_scheduler_is_closed_under_way(self):
        model = tern.Model.from_pretrained(n_threads=1)
        scheduler = model.scheduler(max_running=2)
        stream = scheduler.stream_many(PROMPTS[:2], max_tokens=400, ignore_end=True)
        next(stream)
        scheduler.close()
        self.assertEqual(len(stream.results), 2)
        model.close()

    def test_a_model_is_closed_under_way(self):
        model = tern.Model.from_pretrained(n_threads=1)
        stream = model.stream_many(PROMPTS[:2], max_tokens=400, ignore_end=True)
        next(stream)
        model.close()
        self.assertEqual(len(stream.results), 2)
        with self.assertRaises(ValueError):
            model.generate_many(PROMPTS)

    def test_everything_goes_at_once(self):
        for _ in range(3):
            model = tern.Model.from_pretrained(n_threads=1)
            stream = model.stream_many(PROMPTS[:2], max_tokens=400, ignore_end=True)
            next(stream)
            del model, stream
            gc.collect()

    def test_the_process_ends_under_way(self):
        program = (
            "import tern\n"
            "model = tern.Model.from_pretrained(n_threads=1)\n"
            "stream = model.stream_many(['The dog'] * 4, max_tokens=400, ignore_end=True)\n"
            "next(stream)\n"
            "print('bye')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": support.PACKAGE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"bye\n", b""))


if __name__ == "__main__":
    support.main()
