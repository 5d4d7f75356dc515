"""The curl commands in docs/SERVER.md and `tern serve --help`, as they stand there. Skipped without curl."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import OPENAPI, PATIENCE, ROOT, TERN, Server, check_answer, parse_events


def commands_of(text):
    """Indented lines that begin with curl, and those that go on with them."""
    found, current = [], None
    for line in text.splitlines():
        start = re.match(r" +(?:\$ )?(curl .*)", line) or re.match(r"()(curl .*)", line)
        if current is not None:
            current += "\n" + line
        elif start:
            current = start.group(start.lastindex)
        else:
            continue
        if not current.endswith("\\") and current.count("'") % 2 == 0:
            found.append(current)
            current = None
    assert current is None, current
    return found


class Curl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, "docs", "SERVER.md"), encoding="utf-8") as file:
            cls.commands = commands_of(file.read())
        cls.server = Server()
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        cls.folder.cleanup()
        assert status == 0

    def run_command(self, command, server):
        """-> the path that it asked for"""
        with open(os.path.join(self.folder.name, ".curlrc"), "w", encoding="utf-8") as file:
            for address in ("127.0.0.1", "host"):  # curl goes there instead; the command stays as it is
                file.write(f'connect-to = "{address}:8080:{server.host}:{server.port}"\n')
            file.write(f'silent\nshow-error\nnoproxy = "*"\nmax-time = {int(5 * PATIENCE)}\n'
                       'write-out = "\\n%{http_code} %{content_type}"\n')
        environment = {**os.environ, "CURL_HOME": self.folder.name, "HOME": self.folder.name}
        run = subprocess.run(["sh", "-c", command], cwd=self.folder.name, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10 * PATIENCE)
        self.assertEqual((run.returncode, run.stderr), (0, b""), command)
        data, _, last = run.stdout.rpartition(b"\n")
        status, _, kind = last.decode().partition(" ")
        self.assertEqual(status, "200", (command, data[:500]))
        path = re.search(r"http://[^/]*(/[a-z0-9_/.]*)", command).group(1)
        if kind.startswith("text/event-stream"):
            self.assertTrue(parse_events(path, data))
        else:
            check_answer("POST" if " -d " in command else "GET", path, 200, kind, data)
        if "json_schema" in command:
            self.assertIn("name", json.loads(json.loads(data)["choices"][0]["message"]["content"]))
        if "grammar" in command:
            self.assertIn(json.loads(data)["choices"][0]["message"]["content"], ("yes", "no"))
        return path

    def test_commands_of_the_page(self):
        paths = {self.run_command(c, self.server) for c in self.commands if "Authorization" not in c}
        wanted = {path.replace("{model}", "default") for path in OPENAPI["paths"]}
        self.assertEqual(paths, wanted - {"/"})  # an example for each

    def test_command_with_a_key(self):
        key = "5" * 64
        with open(os.path.join(self.folder.name, "key"), "w", encoding="utf-8") as file:
            file.write(key + "\n")
        server = Server("--api-key-file", os.path.join(self.folder.name, "key"))
        try:
            for command in self.commands:
                if "Authorization" in command:
                    self.assertEqual(self.run_command(command, server), "/v1/models")
        finally:
            self.assertEqual(server.stop(), 0)
        self.assertEqual(sum("Authorization" in c for c in self.commands), 1)

    def test_command_of_the_help(self):
        text = subprocess.run([TERN, "serve", "--help"], stdout=subprocess.PIPE, check=True, text=True).stdout
        command, = commands_of(text)
        self.assertEqual(self.run_command(command, self.server), "/v1/chat/completions")


if __name__ == "__main__":
    if not shutil.which("curl"):
        print("skipped: no curl")
        sys.exit(77)
    unittest.main()
