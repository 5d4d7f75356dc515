"""examples/python run, as a user would run them, on the built-in model."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import unittest
import urllib.request

import support
import tern

EXAMPLES = os.path.join(support.ROOT, "examples", "python")
TERN = os.environ.get("TERN")


def python_with_openai():
    """This Python, or the one $OPENAI_PYTHON names; None if neither has OpenAI's client."""
    named = os.environ.get("OPENAI_PYTHON")
    if importlib.util.find_spec("openai"):
        return sys.executable
    if named and os.path.exists(named) and subprocess.run([named, "-c", "import openai"], stderr=subprocess.DEVNULL).returncode == 0:
        return named
    return None


OPENAI = python_with_openai()


def serves():
    """Has $TERN a server?"""
    if not TERN:
        return False
    return subprocess.run([TERN, "serve", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def run(name, *arguments, stdin="", python=sys.executable):
    """-> (exit status, standard output, standard error)"""
    command = [python, os.path.join(EXAMPLES, name), *arguments]
    done = subprocess.run(
        command,
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=support.PACKAGE),
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@unittest.skipUnless(os.path.isdir(EXAMPLES), "no examples: not in a checkout")
class Examples(unittest.TestCase):
    def test_generate(self):
        status, out, err = run("generate.py", "demo", "Once upon a time")
        self.assertEqual(status, 0, err)
        self.assertTrue(out.startswith("Once upon a time"), out)
        self.assertRegex(err, r"^\d+ tokens, \d+ tokens/s, (length|end)\n$")

    def test_stream(self):
        status, out, err = run("stream.py")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("Once upon a time"), out)

    def test_chat(self):
        status, out, err = run("chat.py", stdin="Tell me a story.\nAnd then?\n")
        self.assertEqual((status, err), (0, ""))
        self.assertNotEqual(out.strip(), "")

    def test_embed_search(self):
        status, out, err = run("embed_search.py", "A dog ran.")
        self.assertEqual((status, err), (0, ""))
        likeness = [float(line.split()[0]) for line in out.splitlines()]
        self.assertEqual(len(likeness), 3)
        self.assertEqual(likeness, sorted(likeness, reverse=True))

    def test_failures(self):
        for name in ("generate.py", "stream.py", "chat.py"):
            status, out, err = run(name, "/nowhere.gguf")
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, r"^\w+: /nowhere.gguf: .*\n$")


@unittest.skipUnless(serves(), "no command with a server in $TERN")
class WithServer(unittest.TestCase):
    def setUp(self):
        environment = {name: value for name, value in os.environ.items() if name != "TERN_API_KEY"}
        command = [TERN, "serve", "demo", "--port", "0"]
        self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        self.addCleanup(self.stop)
        for line in self.server.stderr:
            found = re.search(rb"http://[\w.:]+", line)
            if found:
                self.url = found.group().decode()
                break
        else:
            self.fail("the server ended without saying where it listens")
        threading.Thread(target=self.server.stderr.read, daemon=True).start()  # its log, so that it never waits

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(30)
        self.server.stderr.close()

    @unittest.skipUnless(os.path.isdir(EXAMPLES), "no examples: not in a checkout")
    @unittest.skipUnless(OPENAI, "no openai package ($OPENAI_PYTHON may name a Python that has it)")
    def test_openai_client(self):
        status, out, err = run("openai_client.py", self.url + "/v1", python=OPENAI)
        self.assertEqual((status, err), (0, ""))
        for pattern in (
            r"^model: .+",
            r"^chat: .+ \((length|stop)\)",
            r"^stream: .*\([1-9]\d* tokens\)$",
            r"^call: get_weather {.*}$",
            r"^object: kind=.* legs=\d$",
            r"^embeddings: \d+ num",
            r"^a wrong request: temperature: .*0 to 2",
        ):
            self.assertTrue(re.search(pattern, out, flags=re.M | re.S), (pattern, out))

    def ask(self, path, **body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def test_same_as_the_server(self):
        """The package and the server give the same texts and vectors."""
        messages = [{"role": "user", "content": "Tell me a story about a dog."}]
        with tern.Model.from_pretrained() as model:
            text = model.generate("Once upon a time", max_tokens=20, temperature=0).text
            chat = model.chat(messages, max_tokens=20, temperature=0).text
            vector = model.embed("A dog ran.")
        served = self.ask("/v1/completions", prompt="Once upon a time", max_tokens=20, temperature=0)
        self.assertEqual(served["choices"][0]["text"], text)
        served = self.ask("/v1/chat/completions", messages=messages, max_tokens=20, temperature=0)
        self.assertEqual(served["choices"][0]["message"]["content"], chat)
        served = self.ask("/v1/embeddings", input="A dog ran.", encoding_format="float")["data"][0]["embedding"]
        self.assertEqual(len(served), len(vector))
        for a, b in zip(served, vector):
            self.assertAlmostEqual(a, float(b), places=4)


if __name__ == "__main__":
    support.main()
