"""Models of the hub in other commands and for other tools, the question on a terminal, tokens, and bad input."""

import os
import pty
import select
import subprocess
import sys
import time
import unittest

from fake_hub import STORY, TERN, TOKEN, HubTest


class Use(HubTest):
    # --- tokens

    def test_token_file(self):
        self.hub.add("org/small", {"a.gguf": b"a" * 1000})
        with open(os.path.join(self.folder, "token"), "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")
        for variables, token in (({}, TOKEN), ({"HF_TOKEN": "hf_other"}, "hf_other"),
                                 ({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, None)):
            self.hub.requests.clear()
            self.pull("org/small", **variables)
            self.assertEqual({headers.get("Authorization") for *_, headers in self.hub.requests},
                             {token and "Bearer " + token})

    def test_bad_tokens(self):
        for token in "hf_a\r\nX-Evil: 1", "hf a", "hf_\x7f":
            self.assert_fails(self.pull("org/small", HF_TOKEN=token), "HF_TOKEN", status=2)
        self.assertEqual(self.hub.requests, [])

    # --- other commands

    def test_commands(self):
        self.hub.add("org/story", {"story.gguf": STORY})
        self.assert_fails(self.run_tern("run", "org/story", "-p", "Once"), "tern pull org/story")
        path = self.pull("org/story")[1].strip()
        self.hub.requests.clear()
        want = self.run_tern("run", path, "-p", "Once", "-n", "3", "--temp", "0")
        self.assertEqual(want[0], 0, want)
        self.assertEqual(self.run_tern("run", "org/story", "-p", "Once", "-n", "3", "--temp", "0")[:2], want[:2])
        self.assertEqual(self.run_tern("run", "org/story@main:story", "-p", "Once", "-n", "3", "--temp", "0")[:2], want[:2])
        for command in (["inspect"], ["tokenize", "-p", "Once"], ["fit"]):
            result = self.run_tern(command[0], "org/story", *command[1:])
            self.assertEqual(result[0], 0, result)
        out = os.path.join(self.folder, "out.gguf")
        self.assertEqual(self.run_tern("convert", "org/story", out, "--type", "tq2_0")[0], 0)
        self.assertIn("none.shard", self.run_tern("train", "continue", "org/story", "none.shard", "-o", "run")[2])
        self.assertIn("ternary", self.run_tern("quantize", "org/story", "-o", "q.gguf")[2])
        self.assertEqual(self.hub.requests, [])

    def test_files_go_first(self):
        os.makedirs(os.path.join(self.folder, "org"))
        with open(os.path.join(self.folder, "org", "story"), "wb") as file:
            file.write(b"GGUF but not really")
        process = subprocess.run([TERN, "inspect", "org/story"], cwd=self.folder, env=self.environment, text=True,
                                 capture_output=True, check=False)
        self.assertEqual(process.returncode, 1)
        self.assertIn("tern: org/story:", process.stderr)
        self.assertNotIn("pull", process.stderr)
        self.assertNotIn("pull", self.run_tern("inspect", "org/story.gguf")[2])

    def talk(self, answer, *arguments):
        """On a terminal: -> exit status, what it wrote."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(TERN, [TERN, *arguments], {**self.environment, "TERM": "xterm"})
        text, end = "", time.monotonic() + 90
        while time.monotonic() < end:
            if not select.select([fd], [], [], 1)[0]:
                continue
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            text += data.decode("utf-8", "replace")
            if answer is not None and "[Y/n]" in text:
                os.write(fd, answer)
                answer = None
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text

    def test_question(self):
        self.hub.add("org/story", {"story.gguf": STORY})
        status, text = self.talk(b"n\n", "inspect", "org/story")
        self.assertEqual(status, 1, text)
        self.assertRegex(text, r"Pull [\d.]+ MB into .*\[Y/n\]")
        self.assertAlmostEqual(float(text.split("Pull ")[1].split()[0]), len(STORY) / 1e6, delta=0.06)
        self.assertEqual(self.hub.count("store"), 0)
        status, text = self.talk(b"\n", "run", "org/story", "-p", "Once", "-n", "1")
        self.assertEqual(status, 0, text)
        status, text = self.talk(None, "run", "org/story", "-p", "Once", "-n", "1")
        self.assertEqual(status, 0, text)
        self.assertNotIn("[Y/n]", text)

    def test_no_network(self):
        """On a terminal a model that is not here is not waited for where nobody can be asked."""
        self.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
        status, text = self.talk(None, "run", "org/story", "-p", "Once", "-n", "1")
        self.assertEqual(status, 1, text)
        lines = text.splitlines()
        self.assertEqual(len(lines), 1, text)
        self.assertIn("org/story: http://127.0.0.1:9 cannot be reached: ", lines[0])
        self.assertIn("is there a network? try again later (org/story is no file, nor in the cache)", lines[0])
        self.assertFalse(os.path.exists(self.cache))

    def test_progress(self):
        """A bar on a terminal, with the rate of what comes now."""
        self.hub.add("org/story", {"story.gguf": STORY})

        def slow(handler, kind, count):
            if kind == "store":
                time.sleep(0.4)
            return False
        self.hub.faults.append(slow)
        status, text = self.talk(None, "pull", "org/story", "--connections", "1")
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"story\.gguf \[#*\.*\] +\d+%  [\d.]+ [KM]B/s")

    # --- bad input

    def test_bad_names(self):
        for name in ("org/", "/name", "../name", "org/../x", "org/name/more", "org//name", "org/na me", "org/na\nme", "@main",
                     ":x", "org/name@", "org/name@../x", "org/name@/x", "org/name:", "org/name:../x", "org/name:/etc/passwd",
                     "org/name:a//b", "-", ".", "..", "org/..", "org--x/name", "org/" + "n" * 500, "org/name:" + "f" * 5000,
                     "org/é", "org/.git", "%2e%2e/x"):
            with self.subTest(name=name[:40]):
                self.assert_fails(self.pull("--", name), "no model of the hub", status=2)
        self.assertEqual(self.hub.requests, [])

    def test_bad_usage(self):
        for arguments, part in (([], "too few"), (["--list", "org/x"], "alone"), (["--list", "--remove"], "alone"),
                                (["--json", "org/x"], "--list"), (["--remove"], "too few"), (["--remove", "org/x:y"], "whole"),
                                (["--remove", "org/x@y"], "whole"), (["--remove", "../x"], "no model"),
                                (["--connections", "0", "org/x"], "range"), (["--connections", "17", "org/x"], "range"),
                                (["--timeout", "0", "org/x"], "range"), (["--retries", "-1", "org/x"], "range")):
            with self.subTest(arguments=arguments):
                self.assert_fails(self.pull(*arguments), part, status=2)
        for endpoint in "huggingface.co", "ftp://x", "https://user@host", "http://a b", "http://h?x":
            self.assert_fails(self.pull("org/x", HF_ENDPOINT=endpoint), "HF_ENDPOINT", status=2)

    def test_several(self):
        """One after another; the first failure ends it."""
        self.hub.add("org/a", {"a.gguf": b"a" * 1000})
        self.hub.add("org/b", {"b.gguf": b"b" * 1000})
        status, out, _ = self.pull("org/a", "https://huggingface.co/org/b")
        self.assertEqual((status, len(out.splitlines())), (0, 2))
        status, out, err = self.pull("org/none", "org/a")
        self.assertEqual((status, out), (1, ""))

    # --- the hub's own tools

    def run_hub_tool(self, code, **environment):
        python = os.environ.get("HF_PYTHON", sys.executable)
        if subprocess.run([python, "-c", "import huggingface_hub"], capture_output=True, check=False).returncode:
            self.skipTest("no huggingface_hub ($HF_PYTHON names a Python that has it)")
        process = subprocess.run([python, "-c", code], env={**self.environment, **environment}, text=True,
                                 capture_output=True, check=False)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout.strip()

    def test_their_cache_is_ours(self):
        self.hub.add("org/story", {"story.gguf": STORY})
        path = self.run_hub_tool("from huggingface_hub import hf_hub_download\n"
                                 "print(hf_hub_download('org/story', 'story.gguf'))")
        self.hub.requests.clear()
        self.assertEqual(self.pull("--offline", "org/story"), (0, path + "\n", ""))
        self.assertEqual(self.pull("org/story")[1], path + "\n")
        self.assertEqual(self.hub.count("store"), 0)

    def test_our_cache_is_theirs(self):
        self.hub.add("org/story", {"story.gguf": STORY})
        path = self.pull("org/story")[1].strip()
        self.assertEqual(self.run_hub_tool("from huggingface_hub import hf_hub_download\n"
                                           "print(hf_hub_download('org/story', 'story.gguf'))", HF_HUB_OFFLINE="1"), path)


if __name__ == "__main__":
    unittest.main()
