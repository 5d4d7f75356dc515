"""The fault matrix of tern pull (docs/PULL.md): connections and statuses."""

import random
import time
import unittest

from fake_hub import TOKEN, HubTest

REPO = "org/model-gguf"
NAME = "model-i2_s.gguf"
CHUNK = 256 << 10  # the smallest one (src/hub/fetch.c)
DATA = random.Random(1).randbytes(9 * CHUNK + 1)


class Faults(HubTest):
    def setUp(self):
        super().setUp()
        self.hub.add(REPO, {NAME: DATA, "README.md": b"# model\n"})

    # --- connections

    def test_drops(self):
        """Every answer of the store breaks off, after more and more bytes."""
        def fault(handler, kind, count):
            if kind != "store" or count % 3 == 0:
                return False
            first = int(handler.headers["Range"][6:].split("-")[0])
            last = int(handler.headers["Range"].split("-")[1])
            handler.send_response(206)
            handler.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, len(DATA)))
            handler.send_header("Content-Length", str(last - first + 1))
            handler.end_headers()
            handler.wfile.write(DATA[first:min(first + 50_000 * (count % 7), last + 1)])
            handler.drop()
            return True
        self.hub.faults.append(fault)
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertIn("going on in", result[2])
        self.assertEqual(self.parts(), [])

    def test_never_comes_back(self):
        self.hub.faults.append(lambda handler, kind, count: kind == "store" and (handler.drop() or True))
        self.assert_fails(self.pull(REPO, "--retries", "1"), REPO + ":" + NAME, "try again later")
        self.hub.faults.clear()
        self.assert_pulled(self.pull(REPO), DATA)

    def test_nobody_there(self):
        self.assert_fails(self.pull(REPO, "--retries", "0", HF_ENDPOINT="http://127.0.0.1:9"), REPO, "127.0.0.1:9",
                          "try again later")

    def test_silent(self):
        """The store falls silent in the middle of an answer, once."""
        def fault(handler, kind, count):
            if kind != "store" or count != 1:
                return False
            handler.send_response(206)
            handler.send_header("Content-Range", "bytes 0-%d/%d" % (CHUNK - 1, len(DATA)))
            handler.send_header("Content-Length", str(CHUNK))
            handler.end_headers()
            handler.wfile.write(DATA[:1000])
            handler.wfile.flush()
            time.sleep(6)
            handler.close_connection = True
            return True
        self.hub.faults.append(fault)
        result = self.pull(REPO, "--timeout", "2", "--connections", "1")
        self.assert_pulled(result, DATA)
        self.assertIn("going on in", result[2])

    # --- statuses

    def fail_once(self, where, status, **headers):
        self.hub.faults.append(lambda handler, kind, count: kind == where and count == 1 and
                               (handler.reply(status, b"no", **headers) or True))

    def fail_always(self, where, status, **headers):
        self.hub.faults.append(lambda handler, kind, count: kind == where and
                               (handler.reply(status, b"no", **headers) or True))

    def test_out_of_order_once(self):
        for where, status in ("api", 500), ("resolve", 503), ("store", 502):
            with self.subTest(where=where, status=status):
                self.setUp()
                self.fail_once(where, status)
                result = self.pull(REPO)
                self.assert_pulled(result, DATA)
                self.assertIn(" in 0.5 s", result[2])

    def test_out_of_order_always(self):
        for where in "api", "resolve", "store":
            with self.subTest(where=where):
                self.setUp()
                self.fail_always(where, 503)
                self.assert_fails(self.pull(REPO, "--retries", "1"), REPO, "out of order (503)", "try again later")

    def test_too_many_requests(self):
        self.fail_once("api", 429, Retry_After="2")
        begin = time.monotonic()
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertGreaterEqual(time.monotonic() - begin, 1.9)
        self.assertIn("429", result[2])

    def test_too_many_requests_for_long(self):
        self.fail_always("api", 429, Retry_After="3600")
        self.assert_fails(self.pull(REPO), "429", "3600 s", "HF_TOKEN")
        self.assertEqual(self.hub.count("api"), 1)

    def test_too_many_requests_always(self):
        self.fail_always("store", 429)
        self.assert_fails(self.pull(REPO, "--retries", "1"), "429", "try again later")

    def test_unknown(self):
        self.assert_fails(self.pull("org/none"), "org/none", "404", self.hub.endpoint + "/org/none")

    def test_unknown_revision(self):
        self.assert_fails(self.pull(REPO + "@none"), REPO + "@none", "no such revision")

    def test_unknown_file(self):
        self.assert_fails(self.pull(REPO + ":none.gguf"), REPO, "none.gguf")

    def test_refused_without_token(self):
        self.fail_always("api", 401, X_Error_Code="RepoNotFound")
        self.assert_fails(self.pull(REPO), REPO, "401", "set HF_TOKEN", self.hub.endpoint + "/settings/tokens")

    def test_refused_with_token(self):
        self.fail_always("api", 401)
        self.assert_fails(self.pull(REPO, HF_TOKEN=TOKEN), REPO, "does not take this token")
        self.setUp()
        self.fail_always("resolve", 403)
        self.assert_fails(self.pull(REPO, HF_TOKEN=TOKEN), REPO, "may not read it (403)")

    def test_gated(self):
        self.fail_always("resolve", 403, X_Error_Code="GatedRepo")
        self.assert_fails(self.pull(REPO, HF_TOKEN=TOKEN), "gated", self.hub.endpoint + "/" + REPO, "conditions")


if __name__ == "__main__":
    unittest.main()
