"""examples/python run, as a user would run them, on the built-in model."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request

import support

EXAMPLES = os.path.join(support.ROOT, "examples", "python")
TERN = os.environ.get("TERN")


def serves():
    """Has $TERN a server?"""
    if not TERN:
        return False
    return subprocess.run([TERN, "serve", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def run(name, *arguments, stdin=""):
    """-> (exit status, standard output, standard error)"""
    command = [sys.executable, os.path.join(EXAMPLES, name), *arguments]
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
    @unittest.skipUnless(importlib.util.find_spec("openai"), "no openai package")
    def test_openai_client(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen([TERN, "serve", "demo", "--port", str(port)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    self.assertIsNone(server.poll(), "the server ended")
                    time.sleep(0.05)
            status, out, err = run("openai_client.py", f"http://127.0.0.1:{port}/v1")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        self.assertEqual((status, err), (0, ""))
        for pattern in (r"^model: .+", r"^chat: '.+' \((length|stop)\)", r"^stream: .*\(\d+ tokens\)$", r"^embeddings: \d+ num"):
            self.assertTrue(re.search(pattern, out, flags=re.M | re.S), (pattern, out))


if __name__ == "__main__":
    support.main()
