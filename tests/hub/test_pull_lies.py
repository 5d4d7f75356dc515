"""The fault matrix of tern pull (docs/PULL.md): answers that are not what they should be, redirects, this machine."""

import os
import random
import resource
import subprocess
import unittest

from fake_hub import TERN, TOKEN, HubTest, git_id, sha256

REPO = "org/model-gguf"
NAME = "model-i2_s.gguf"
CHUNK = 256 << 10  # the smallest one (src/hub/fetch.c)
DATA = random.Random(1).randbytes(9 * CHUNK + 1)

SEEDS = range(int(os.environ.get("TERN_PULL_SEEDS", "3")))


class Lies(HubTest):
    def setUp(self):
        super().setUp()
        self.hub.add(REPO, {NAME: DATA, "README.md": b"# model\n"})

    def fail_always(self, where, status, **headers):
        self.hub.faults.append(lambda handler, kind, count: kind == where and
                               (handler.reply(status, b"no", **headers) or True))

    # --- what is not what it should be

    def test_list_is_no_list(self):
        for body in b"<html>", b"", b"[]", b"{}", b'{"sha":"../../x","siblings":[]}', b"\xff\xfe", b"[" * 100_000:
            with self.subTest(body=body[:40]):
                self.setUp()
                self.hub.faults.append(lambda handler, kind, count, body=body: kind == "api" and
                                       (handler.reply(200, body) or True))
                self.assert_fails(self.pull(REPO), REPO, "HF_ENDPOINT")

    def test_list_lies_about_names(self):
        """Names that lead out of the cache are not there."""
        for name in "../../../../evil.gguf", "/tmp/evil.gguf", "a/../../evil.gguf", "evil\n.gguf", "./evil.gguf":
            with self.subTest(name=name):
                self.setUp()
                self.hub.edit_listing = lambda body, name=name: body.update(
                    siblings=[dict(body["siblings"][0], rfilename=name)])
                self.assert_fails(self.pull(REPO), "no model that tern reads")

    def edit_file(self, **changes):
        def edit(body):
            for entry in body["siblings"]:
                if entry["rfilename"] == NAME:
                    entry["lfs"].update(changes)
        self.hub.edit_listing = edit

    def test_list_lies_about_digests(self):
        self.edit_file(sha256="../../../x")
        self.assert_fails(self.pull(REPO), "impossible")

    def test_list_lies_about_sizes(self):
        for size in -1, 2**63 - 1:
            with self.subTest(size=size):
                self.setUp()
                self.edit_file(size=size)
                self.assert_fails(self.pull(REPO), "impossible")

    def test_list_and_file_disagree(self):
        """Another digest in the list than in X-Linked-ETag."""
        self.edit_file(sha256=sha256(b"other"))
        self.assert_fails(self.pull(REPO), "different digests")
        self.assertEqual(self.hub.count("store"), 0)

    def test_wrong_length(self):
        for size in len(DATA) - 1, len(DATA) + 1, len(DATA) // 2, 0:
            with self.subTest(size=size):
                self.setUp()
                self.edit_file(size=size)
                self.assert_fails(self.pull(REPO), REPO + ":" + NAME)
                self.assertEqual(self.files(sha256(DATA)), [])

    def test_too_short(self):
        """The whole file comes, it says, but it ends early."""
        def fault(handler, kind, count):
            if kind != "store":
                return False
            handler.send_response(206)
            handler.send_header("Content-Range", "bytes 0-%d/%d" % (CHUNK - 1, len(DATA)))
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(DATA[:100])
            return True
        self.hub.faults.append(fault)
        self.assert_fails(self.pull(REPO, "--retries", "1", "--connections", "1"), REPO)

    def test_too_long(self):
        def fault(handler, kind, count):
            if kind != "store":
                return False
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(DATA + b"more")
            handler.drop()
            return True
        self.hub.faults.append(fault)
        self.assert_fails(self.pull(REPO), "more bytes")

    def test_wrong_bytes(self):
        wrong = DATA[:1_000_000] + b"\x00\x01" + DATA[1_000_002:]
        self.hub.faults.append(lambda handler, kind, count: kind == "store" and (handler.serve(wrong) or True))
        self.assert_fails(self.pull(REPO), REPO + ":" + NAME, "digest", sha256(DATA)[:12], "thrown away")
        self.assertEqual(self.files(".tern-part", sha256(DATA)), [])
        self.hub.faults.clear()
        self.assert_pulled(self.pull(REPO), DATA)

    def test_wrong_bytes_of_a_small_file(self):
        """Small files have no SHA-256, but the id of a git blob."""
        self.hub.faults.append(lambda handler, kind, count: kind == "resolve" and handler.command == "GET" and
                               (handler.serve(b"# MODEL\n") or True))
        self.assert_fails(self.pull(REPO + ":README.md"), "digest", git_id(b"# model\n")[:12])

    def test_no_ranges(self):
        def fault(handler, kind, count):
            if kind != "store":
                return False
            handler.reply(200, DATA)
            return True
        self.hub.faults.append(fault)
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertIn("in one piece", result[2])

    def test_no_ranges_and_drops(self):
        """Without ranges a broken download begins again."""
        def fault(handler, kind, count):
            if kind != "store":
                return False
            if count % 3:
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(DATA)))
                handler.end_headers()
                handler.wfile.write(DATA[:700_000])
                handler.drop()
            else:
                handler.reply(200, DATA)
            return True
        self.hub.faults.append(fault)
        self.assert_pulled(self.pull(REPO, "--connections", "1"), DATA)

    def test_other_range(self):
        """Another range than was asked for."""
        def fault(handler, kind, count):
            if kind != "store" or "Range" not in handler.headers or handler.headers["Range"].startswith("bytes=0-"):
                return False
            handler.reply(206, DATA[:1000], Content_Range="bytes 0-999/%d" % len(DATA))
            return True
        self.hub.faults.append(fault)
        self.assert_pulled(self.pull(REPO), DATA)

    # --- redirects

    def test_token_stays(self):
        """The hub sees the token, the host to which it redirects does not."""
        self.assert_pulled(self.pull(REPO, HF_TOKEN=TOKEN), DATA)
        for method, kind, path, headers in self.hub.requests:
            self.assertEqual(headers.get("Authorization"), None if kind == "store" else "Bearer " + TOKEN, path)
        self.assertGreater(self.hub.count("store"), 4)

    def test_token_stays_after_a_redirected_list(self):
        self.hub.faults.append(lambda handler, kind, count: kind == "api" and (handler.reply(
            307, Location="http://localhost:%d/elsewhere" % self.hub.store_port) or True))
        self.assert_fails(self.pull(REPO, HF_TOKEN=TOKEN), "404")
        self.assertEqual([headers.get("Authorization") for _, kind, _, headers in self.hub.requests if kind == "store"],
                         [None])

    def test_renamed(self):
        """The hub redirects to itself: the token goes along."""
        self.hub.add("org/new-name", self.hub.repos.pop(REPO)["files"])

        def fault(handler, kind, count):
            if kind == "store" or REPO not in handler.path:
                return False
            handler.reply(307, Location=handler.path.replace(REPO, "org/new-name"))
            return True
        self.hub.faults.append(fault)
        self.assert_pulled(self.pull(REPO, HF_TOKEN=TOKEN), DATA)
        self.assertTrue(all(headers.get("Authorization") for _, kind, _, headers in self.hub.requests if kind != "store"))

    def test_circle(self):
        for where in "api", "resolve", "store":
            with self.subTest(where=where):
                self.setUp()
                self.hub.faults.append(lambda handler, kind, count, where=where: kind == where and
                                       (handler.reply(302, Location=handler.path) or True))
                self.assert_fails(self.pull(REPO), "circle")

    def test_odd_redirects(self):
        for place in "ftp://localhost/x", "file:///etc/passwd", None:
            with self.subTest(place=place):
                self.setUp()
                self.hub.faults.append(lambda handler, kind, count, place=place: kind == "resolve" and
                                       (handler.reply(302, Location=place) or True))
                self.assert_fails(self.pull(REPO), REPO)

    def test_expired_address(self):
        """The store's address is good for a while: then the hub is asked for another."""
        def fault(handler, kind, count):
            if kind != "store" or count < 4 or not handler.path.endswith("signature=1"):
                return False
            handler.reply(403)
            return True
        self.hub.faults.append(fault)
        self.assert_pulled(self.pull(REPO), DATA)
        self.assertEqual(self.hub.count("resolve", "HEAD"), 2)

    def test_store_refuses(self):
        self.fail_always("store", 403)
        self.assert_fails(self.pull(REPO, "--retries", "1"), "localhost", "403")

    # --- this machine

    def test_disk_too_small(self):
        self.edit_file(size=2**60)
        self.assert_fails(self.pull(REPO), "needs", "MB free", "HF_HUB_CACHE")
        self.assertEqual(self.hub.count("store"), 0)
        self.assertEqual(self.parts(), [])

    def test_write_fails(self):
        """As on a full disk: here by the limit on files' sizes."""
        limit = (1_000_000, 1_000_000)
        result = subprocess.run([TERN, "pull", REPO], env=self.environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        self.assert_fails((result.returncode, result.stdout, result.stderr), "cannot write", "HF_HUB_CACHE")
        self.assertEqual(self.parts(), [])
        self.assert_pulled(self.pull(REPO), DATA)

    def test_cache_is_no_folder(self):
        with open(self.cache, "w", encoding="ascii") as file:
            file.write("x")
        self.assert_fails(self.pull(REPO), self.cache)


class Chaos(HubTest):
    """Everything at once, by dice: what comes out is the file or an error, and a quiet pull afterwards mends it."""

    def answer(self, handler, dice, kind):
        what = dice.choice(("drop", "short", "status", "other range", "whole", "garbage", "headers", "fine", "fine", "fine"))
        if what == "drop":
            handler.drop()
        elif what == "status":
            handler.reply(dice.choice((204, 301, 302, 400, 403, 404, 408, 416, 429, 500, 503)), b"x" * dice.randrange(99))
        elif what == "headers":
            handler.reply(dice.choice((200, 206, 302)), b"x" * dice.randrange(3000), Location=dice.choice(("", "::", "/", "?")),
                          Content_Range=dice.choice(("bytes 5", "bytes -", "bytes 0-1/0", "bytes 9-1/*", "x", "")),
                          Retry_After=dice.choice(("-1", "x", "0", "99999999999999999999")), ETag="W/" + "x" * 999)
        elif kind != "store" or what == "fine":
            return False
        elif what == "whole":
            handler.reply(200, DATA)
        elif what == "garbage":
            handler.serve(dice.randbytes(len(DATA)))
        elif what == "other range":
            handler.reply(206, DATA[7:900], Content_Range="bytes 7-899/%d" % len(DATA))
        else:
            handler.send_response(206)
            handler.send_header("Content-Range", (handler.headers.get("Range") or "bytes=0-").replace("=", " ") +
                                "/%d" % len(DATA))
            handler.send_header("Content-Length", str(dice.randrange(CHUNK)))
            handler.end_headers()
            handler.wfile.write(DATA[:dice.randrange(1000)])
            handler.drop()
        return True

    def test_dice(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.setUp()
                self.hub.add(REPO, {NAME: DATA})
                dice = random.Random(seed)
                self.hub.faults.append(lambda handler, kind, count, dice=dice: (kind == "store" or dice.random() < 0.3) and
                                       self.answer(handler, dice, kind))
                status, out, err = self.pull(REPO, "--retries", "2", "--timeout", "5")
                self.assertIn(status, (0, 1), err)
                if status == 0:
                    self.assert_pulled((status, out, err), DATA)
                else:
                    self.assertEqual(self.models(), [])
                self.hub.faults.clear()
                self.assert_pulled(self.pull(REPO), DATA)


if __name__ == "__main__":
    unittest.main()
