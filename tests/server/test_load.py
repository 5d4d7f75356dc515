"""bench/serve_load.py: no answer of a busy server is lost or mixed up, and the script would see it if one were."""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import PATIENCE, ROOT, ServerTest

SCRIPT = os.path.join(ROOT, "bench", "serve_load.py")


def load(url, *options):
    """-> exit status, result, standard error"""
    done = subprocess.run([sys.executable, SCRIPT, "--url", url, "--json", "-", *options], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=10 * PATIENCE, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


class Busy(ServerTest):
    """More requests than are computed at a time or wait, on more connections than there are."""
    options = ("--parallel", "4", "--queue", "4", "--max-connections", "12")

    def good(self, *options):
        status, result, problems = load(self.server.url, *options)
        self.assertEqual((status, result["errors"], problems), (0, {}, ""))
        return result

    def test_streams(self):
        result = self.good("--streams", "10", "--requests", "60", "--tokens", "24", "--duration", "1000")
        self.assertEqual((result["requests"], result["prompts"]), (60, 32))
        self.assertGreater(result["distinct_answers"], 16)  # else mixing them up would not be seen
        self.assertGreaterEqual(result["tokens"], 60 * 12)
        self.assertGreater(result["rss_bytes"][0], 1 << 20)
        self.assertGreater(result["first_token_ms"]["p99"], 0)
        self.server.wait_idle()

    def test_connections_take_turns(self):
        result = self.good("--streams", "3", "--connections", "9", "--requests", "18", "--tokens", "8", "--duration", "1000")
        self.assertEqual(result["requests"], 18)

    def test_prefix(self):
        result = self.good("--prefix", "--rounds", "2", "--tokens", "8")
        for first, second in result["rounds"]:
            self.assertGreater(first["prompt_tokens"], 256)
            self.assertEqual(first["cached_tokens"], 0)
            self.assertGreater(second["cached_tokens"], first["prompt_tokens"] // 2)

    def test_table(self):
        done = subprocess.run([sys.executable, SCRIPT, "--url", self.server.url, "--requests", "4", "--tokens", "4"],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=True)
        self.assertIn("| 8 | 8 | 4 |", done.stdout)


class Liar(http.server.BaseHTTPRequestHandler):
    """What a bad server would do, once each prompt was answered well."""
    protocol_version = "HTTP/1.1"
    good, how = 0, None

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        how = None if Liar.good > 0 else Liar.how
        Liar.good -= 1
        if how == "silent":
            self.close_connection = True
            return
        self.send_response(500 if how == "fails" else 200)
        self.send_header("X-Request-Id", "1-2" if how == "id" else "1-1")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = "the same" if how == "swaps" else prompt[::-1]
        usage = {"completion_tokens": 1, "prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
        event = {"id": "cmpl-1-1", "choices": [{"text": text}], "usage": usage}
        self.piece(b"data: " + json.dumps(event).encode() + b"\n\n")
        if how == "error":
            self.piece(b'data: {"error": {"message": "broken"}}\n\n')
        if how == "cuts":
            self.close_connection = True
            return
        if how != "no end":
            self.piece(b"data: [DONE]\n\n")
        self.piece(b"")

    def piece(self, data):
        self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")


class Liars(unittest.TestCase):
    def test_each_is_seen(self):
        kinds = {None: {}, "swaps": {"mixed up": 4}, "id": {"mixed up": 4}, "cuts": {"lost": 4}, "no end": {"lost": 4},
                 "silent": {"connection": 4}, "fails": {"status 500": 4}, "error": {"error": 4}}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("one\ntwo\n\nthree\n")
            file.flush()
            for how, errors in kinds.items():
                with self.subTest(how=how):
                    Liar.good, Liar.how = 3, how
                    status, result, problems = load(f"http://127.0.0.1:{server.server_address[1]}", "--prompts", file.name,
                                                    "--streams", "2", "--requests", "4")
                    self.assertEqual((status, result["errors"]), (1 if how else 0, errors), problems)
                    self.assertEqual(problems.count("\n"), 5 if how else 0)
        server.shutdown()
        server.server_close()


class Usage(unittest.TestCase):
    def test_no_server(self):
        status, result, problems = load("http://127.0.0.1:1")
        self.assertEqual((status, result), (1, None))
        self.assertIn("serve_load.py: http://127.0.0.1:1: no answer", problems)

    def test_options(self):
        self.assertEqual(load("x", "--streams", "0")[0], 2)
        self.assertEqual(load("x", "--streams", "9", "--connections", "4")[0], 2)
        done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
        self.assertTrue(done.stdout.startswith("Example:"), done.stdout[:100])


if __name__ == "__main__":
    unittest.main()
