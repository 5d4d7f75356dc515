"""Generating: options, streams, chats, breaking off, Ctrl-C."""

import gc
import os
import signal
import threading
import time
import unittest

import support
import tern
from support import PROMPT


class Generating(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = tern.Model.from_pretrained(n_threads=1)
        cls.greedy = cls.model.generate(PROMPT, max_tokens=24, temperature=0)

    def test_result(self):
        result = self.greedy
        self.assertEqual(result.n_generated, 24)
        self.assertEqual(len(result.ids), 24)
        self.assertIs(result.reason, tern.StopReason.LENGTH)
        self.assertEqual(result.reason, "length")
        self.assertEqual(self.model.tokenizer.decode(result.ids), result.text)
        self.assertEqual(str(result), result.text)
        self.assertEqual(result.n_prompt, len(self.model.tokenizer.encode(PROMPT)))
        self.assertGreater(result.tokens_per_second, 0)
        self.assertGreaterEqual(result.first_token_seconds, result.prefill_seconds)

    def test_kinds_of_prompts(self):
        ids = self.model.tokenizer.encode(PROMPT)
        for prompt in (PROMPT, ids, tuple(ids)):
            self.assertEqual(self.model.generate(prompt, max_tokens=24, temperature=0).ids, self.greedy.ids)
        messages = [{"role": "user", "content": "Tell me a story."}]
        rendered = self.model.tokenizer.apply_chat_template(messages)
        by_ids = self.model.generate(rendered, max_tokens=8, temperature=0)
        self.assertEqual(self.model.generate(messages, max_tokens=8, temperature=0).ids, by_ids.ids)
        self.assertEqual(self.model.chat("Tell me a story.", max_tokens=8, temperature=0).ids, by_ids.ids)
        for prompt in ([], ""):
            if prompt == "" and self.model.tokenizer.bos is not None:
                continue  # BOS alone is a prompt
            with self.assertRaises(ValueError):
                self.model.generate(prompt)
        with self.assertRaises(ValueError):
            self.model.chat([])
        with self.assertRaises(ValueError):
            self.model.generate([10**6])

    def test_stream(self):
        stream = self.model.stream(PROMPT, max_tokens=24, temperature=0)
        pieces = list(stream)
        self.assertGreater(len(pieces), 1)
        self.assertEqual("".join(pieces), self.greedy.text)
        self.assertEqual(stream.result.ids, self.greedy.ids)
        self.assertEqual(list(stream), [])

    def test_seed(self):
        a = self.model.generate(PROMPT, max_tokens=24, temperature=2, top_k=0, top_p=1, min_p=0)
        b = self.model.generate(PROMPT, max_tokens=24, temperature=2, top_k=0, top_p=1, min_p=0, seed=a.seed)
        c = self.model.generate(PROMPT, max_tokens=24, temperature=2, top_k=0, top_p=1, min_p=0, seed=a.seed + 1)
        self.assertEqual(a.ids, b.ids)
        self.assertNotEqual(a.ids, c.ids)

    def test_stop(self):
        word = self.greedy.text.split()[-2]
        for stop in (word, ["never to be seen", word]):
            result = self.model.generate(PROMPT, max_tokens=24, temperature=0, stop=stop)
            self.assertIs(result.reason, tern.StopReason.STOP)
            self.assertEqual(result.text, self.greedy.text[: self.greedy.text.index(word)])

    def test_logit_bias(self):
        first = self.greedy.ids[0]
        banned = self.model.generate(PROMPT, max_tokens=1, temperature=0, logit_bias={first: -1000.0})
        self.assertNotEqual(banned.ids[0], first)
        other = banned.ids[0]
        self.assertEqual(self.model.generate(PROMPT, max_tokens=3, temperature=0, logit_bias={other: 1000}).ids, [other] * 3)
        with self.assertRaises(ValueError):
            self.model.generate(PROMPT, logit_bias={10**6: 1.0})

    def test_penalties(self):
        forced = {self.greedy.ids[0]: 30.0}
        alone = self.model.generate(PROMPT, max_tokens=24, temperature=0, logit_bias=forced)
        other = self.model.generate(PROMPT, max_tokens=24, temperature=0, logit_bias=forced, frequency_penalty=2.0)
        self.assertLess(len(set(alone.ids)), len(set(other.ids)))

    def test_options_are_checked(self):
        bad = [{"temperature": -1}, {"top_p": 2.0}, {"top_k": -5}, {"max_tokens": -7}, {"seed": -1}, {"top_k": 2**40}]
        bad += [{"stop": "a\0b"}, {"draft": 1000}, {"logit_bias": {2**40: 1}}, {"grammar": 'root ::= "a"', "json_schema": True}]
        for options in bad:
            with self.subTest(**options), self.assertRaises(ValueError):
                self.model.generate(PROMPT, **options)
        with self.assertRaisesRegex(TypeError, "unknown option 'temprature'.*temperature"):
            self.model.generate(PROMPT, temprature=1)
        with self.assertRaises(TypeError):
            self.model.generate(PROMPT, temperature="warm")

    def test_wrong_types_are_named(self):
        generate, embed, decode = self.model.generate, self.model.embed, self.model.tokenizer.decode
        for call, argument, wanted in (
            (generate, ["a", "b"], "several prompts: generate_many"),
            (generate, b"Once", "not bytes; .decode"),
            (generate, 5, "a str, messages or token ids, not int"),
            (generate, None, "not NoneType"),
            (generate, [1.5], "one of them is of type float"),
            (generate, [1, "a"], "one of them is of type str"),
            (generate, {"role": "user", "content": "x"}, "messages are a list"),
            (self.model.chat, b"Hi", "not bytes"),
            (embed, 5, "a str or a list of them, not int"),
            (embed, b"x", "a str or a list of them, not bytes"),
            (embed, [5], "a text is a str or bytes, not int"),
            (decode, "abc", "a sequence of integers, not str"),
            (decode, 5, "a sequence of integers, not int"),
            (self.model.generate_many, ["a", b"b"], "not bytes"),
        ):
            with self.subTest(argument=argument), self.assertRaisesRegex(TypeError, wanted):
                call(argument)
        self.assertEqual(len(generate(tuple(self.greedy.ids), max_tokens=1).ids), 1)

    def test_roles(self):
        system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        developer = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        template = self.model.tokenizer.apply_chat_template
        self.assertEqual(template(system), template(developer))
        for call in (self.model.chat, template, lambda messages: template(messages, tokenize=False)):
            with self.assertRaisesRegex(ValueError, "\"system\", \"user\" or \"assistant\", not 'robot'"):
                call([{"role": "robot", "content": "Hi"}])

    def test_zero_tokens(self):
        result = self.model.generate(PROMPT, max_tokens=0)
        self.assertEqual((result.text, result.ids, result.n_generated), ("", [], 0))

    def test_drafts_change_nothing(self):
        for draft in (0, 4):
            self.assertEqual(self.model.generate(PROMPT, max_tokens=24, temperature=0, draft=draft).ids, self.greedy.ids)

    def test_callback(self):
        pieces = []
        result = self.model.generate(PROMPT, max_tokens=24, temperature=0, on_text=pieces.append)
        self.assertEqual("".join(pieces), result.text)
        result = self.model.generate(PROMPT, ignore_end=True, on_text=lambda piece: False)
        self.assertIs(result.reason, tern.StopReason.CANCELLED)

    def test_callback_that_raises(self):
        def on_text(piece):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.model.generate(PROMPT, on_text=on_text)
        self.assertEqual(self.model.generate(PROMPT, max_tokens=24, temperature=0).ids, self.greedy.ids)

    def test_context(self):
        with tern.Model.from_pretrained(n_ctx=16) as small:
            result = small.generate(PROMPT, temperature=0, ignore_end=True)
            self.assertIs(result.reason, tern.StopReason.CONTEXT)
            self.assertEqual(result.ids, self.greedy.ids[: result.n_generated])
            with self.assertRaises(tern.ContextError):
                small.generate(PROMPT * 10)

    def test_prefix_cache(self):
        messages = [{"role": "user", "content": "Tell me a story about a dog who lost his ball in the park."}]
        with tern.Model.from_pretrained() as cached, tern.Model.from_pretrained(prefix_cache=False) as plain:
            for turn in range(3):
                a = cached.chat(messages, max_tokens=12, temperature=0, repeat_penalty=1.2)
                b = plain.chat(messages, max_tokens=12, temperature=0, repeat_penalty=1.2)
                self.assertEqual((a.ids, b.n_cached), (b.ids, 0))
                self.assertEqual(a.n_prompt, b.n_prompt)
                self.assertEqual(a.n_cached > 0, turn > 0)
                messages += [{"role": "assistant", "content": a.text}, {"role": "user", "content": "And then?"}]
            again = cached.generate(PROMPT, max_tokens=24, temperature=0)
            self.assertEqual(again.ids, self.greedy.ids)
            whole = cached.generate(PROMPT, max_tokens=24, temperature=0)
            self.assertEqual((whole.ids, whole.n_cached), (self.greedy.ids, whole.n_prompt - 1))

    @unittest.skipUnless(hasattr(tern._library._cdll, "tern_grammar_parse"), "this libtern has no grammars yet")
    def test_grammar(self):
        self.assertIn(self.model.generate(PROMPT, grammar='root ::= "yes" | "no"').text, ("yes", "no"))
        with tern.Grammar(self.model.tokenizer, 'root ::= [a-c] [a-c]') as grammar:
            for seed in range(3):
                self.assertRegex(self.model.generate(PROMPT, grammar=grammar, seed=seed).text, "^[a-c][a-c]$")
        import json

        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
        answer = json.loads(self.model.generate(PROMPT, json_schema=schema, max_tokens=200, temperature=0).text)
        self.assertIsInstance(answer["n"], int)
        with self.assertRaises(tern.FormatError):
            self.model.generate(PROMPT, grammar="root ::= (")


class Breaking(unittest.TestCase):
    """On the reference kernels, so that there is time to break something off."""

    @classmethod
    def setUpClass(cls):
        cls.model = tern.Model.from_pretrained(cpu="ref", n_threads=1)  # two would wait for each other on a busy machine
        cls.ids = (cls.model.tokenizer.encode(PROMPT) * 200)[:500]

    def wait_idle(self):
        for _ in range(2000):
            if not tern._session._RUNNING:
                return
            time.sleep(0.005)
        self.fail("the generation was not cancelled")

    def test_loop_left(self):
        for piece in self.model.stream(PROMPT, ignore_end=True):
            break
        self.wait_idle()

    def test_closed(self):
        with self.model.stream(PROMPT, ignore_end=True) as stream:
            next(stream)
        result = stream.result
        self.assertIs(result.reason, tern.StopReason.CANCELLED)
        self.assertLess(result.n_generated, 400)
        self.assertRaises(StopIteration, next, stream)

    def test_closed_within_the_prompt(self):
        session = self.model.session()
        stream = session.stream(self.ids, ignore_end=True)
        stream.close()
        self.assertEqual(stream.result.n_generated, 0)
        self.assertEqual(len(session), 0)
        session.eval([1, 2, 3])  # what was cancelled is over
        self.assertEqual(len(session), 3)

    def test_an_old_wish_is_not_for_the_next(self):
        session = self.model.session()
        for _ in range(20):  # closed at about the time at which it ends by itself
            stream = session.stream([1, 2], max_tokens=1)
            stream.ids
            stream.close()
            session.truncate()
            session.eval([1])
            session.truncate()

    def test_busy(self):
        session = self.model.session()
        with session.stream(PROMPT, ignore_end=True) as stream:
            next(stream)
            with self.assertRaises(tern.BusyError):
                session.eval([1])
            with self.assertRaises(tern.BusyError):
                session.tokens
        session.eval([1])

    def test_cancel_from_another_thread(self):
        session = self.model.session()
        threading.Timer(0.05, session.cancel).start()
        with self.assertRaises(tern.CancelledError):
            session.eval(self.ids)
        self.assertEqual(len(session), 0)

    def test_session_closed_under_a_stream(self):
        session = self.model.session()
        stream = session.stream(PROMPT, ignore_end=True)
        next(stream)
        session.close()
        with self.assertRaisesRegex(tern.CancelledError, "closed under it"):
            list(stream)
        self.assertRaises(StopIteration, next, stream)
        self.assertIs(stream.result.reason, tern.StopReason.CANCELLED)

    def interrupted(self, work, running):
        """Ctrl-C once work() has begun, as running() tells."""

        def send():
            while not running():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        heard = False
        try:
            sender.start()
            work()
            sender.join()
        except KeyboardInterrupt:
            heard = True
        sender.join()
        self.assertTrue(heard)

    def test_ctrl_c_in_eval(self):
        session = self.model.session()
        for _ in range(3):
            self.interrupted(lambda: session.eval(self.ids), lambda: session._running)
            self.assertEqual(len(session), 0)
        session.eval([1])

    def test_ctrl_c_in_generate(self):
        for _ in range(3):
            self.interrupted(lambda: self.model.generate(PROMPT, ignore_end=True), lambda: len(tern._session._RUNNING) > 0)
            self.wait_idle()
        self.assertEqual(len(self.model.generate(PROMPT, max_tokens=2, ignore_end=True).ids), 2)

    def test_a_thread_that_does_not_start(self):
        session, start = self.model.session(), threading.Thread.start

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        def start_and_raise(thread):
            start(thread)
            raise KeyboardInterrupt  # as when Ctrl-C comes within start()

        for replacement, error in ((refuse, RuntimeError), (start_and_raise, KeyboardInterrupt)):
            for call in (lambda: session.eval(self.ids), lambda: session.stream(self.ids), lambda: self.model.stream(self.ids)):
                threading.Thread.start = replacement
                try:
                    self.assertRaises(error, call)
                finally:
                    threading.Thread.start = start
                self.wait_idle()
                self.assertEqual(len(session), 0)
                session.eval([1])
                session.truncate()

    def test_ctrl_c_in_progress(self):
        def progress(done, total):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            tern.Model.from_pretrained(progress=progress)

    def test_exit_with_a_stream(self):
        import subprocess
        import sys

        code = f"import tern; s = tern.Model.from_pretrained(cpu='ref', n_threads=1).stream({PROMPT!r}, ignore_end=True); next(s)"
        environment = dict(os.environ, PYTHONPATH=support.PACKAGE)
        run = subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual((run.returncode, run.stderr), (0, b""))


class Memory(unittest.TestCase):
    def test_closed_model(self):
        model = tern.Model.from_pretrained()
        session = model.session()
        model.generate(PROMPT, max_tokens=2)
        model.close()
        model.close()
        self.assertTrue(model.closed and session.closed)
        for call in (lambda: model.generate(PROMPT), model.session, lambda: session.eval([1]), lambda: session.n_ctx):
            with self.assertRaisesRegex(ValueError, "closed"):
                call()

    def test_closed_while_it_generates(self):
        model = tern.Model.from_pretrained(cpu="ref")
        stream = model.stream(PROMPT, ignore_end=True)
        next(stream)
        model.close()
        with self.assertRaisesRegex(tern.CancelledError, "closed under it"):
            stream.finish()
        self.assertIs(stream.result.reason, tern.StopReason.CANCELLED)

    def test_freed_at_once(self):
        """Without the garbage collector: nothing of a model refers to itself in a circle."""
        gc.collect()
        gc.disable()
        try:
            model = tern.Model.from_pretrained()
            model.generate(PROMPT, max_tokens=2)
            list(model.stream(PROMPT, max_tokens=2))
            finalize = model._handle._finalize
            session = model.session()
            del model
            self.assertTrue(finalize.alive)  # the session needs it
            session.eval(PROMPT)
            del session
            self.assertFalse(finalize.alive)
        finally:
            gc.enable()

    def test_freed_in_order(self):
        """In a circle, the collector finds all at once; the model still goes last."""
        freed = []
        session_free, model_free = tern._library.lib.tern_session_free, tern._library.lib.tern_model_free

        def watch(name, free):
            def call(pointer):
                freed.append(name)
                free(pointer)

            return call

        tern._library.lib.tern_session_free = watch("session", session_free)
        tern._library.lib.tern_model_free = watch("model", model_free)
        try:
            for _ in range(5):
                circle = [tern.Model.from_pretrained()]
                circle += [circle[0].session(), circle]
                del circle
                gc.collect()
        finally:
            tern._library.lib.tern_session_free, tern._library.lib.tern_model_free = session_free, model_free
        self.assertEqual(freed, ["session", "model"] * 5)

    @unittest.skipUnless(os.path.exists("/proc/self/statm"), "no /proc/self/statm")
    def test_no_growth(self):
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def once():
            with tern.Model.from_pretrained() as model:
                model.generate(PROMPT, max_tokens=4)
                model.embed(PROMPT)
                model.tokenizer.apply_chat_template([{"role": "user", "content": "x" * 1000}], tokenize=False)
            tern.inspect()

        for _ in range(10):
            once()
        before = resident()
        for _ in range(40):
            once()
        self.assertLess(resident() - before, 10 << 20)  # a model has 3 MB: forty leaks would be 120

    def test_threads(self):
        with tern.Model.from_pretrained() as model:
            wanted = [model.generate(PROMPT, max_tokens=20, seed=seed).ids for seed in range(8)]
            got = [None] * 8

            def work(seed):
                got[seed] = model.generate(PROMPT, max_tokens=20, seed=seed).ids

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(got, wanted)


if __name__ == "__main__":
    support.main()
