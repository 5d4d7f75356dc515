"""The fault matrix of tern pull (docs/PULL.md), second part: processes that end, and several at once."""

import os
import random
import signal
import time
import unittest

from fake_hub import HubTest, sha256

REPO = "org/model-gguf"
NAME = "model-i2_s.gguf"
CHUNK = 256 << 10  # the smallest one (src/hub/fetch.c)
DATA = random.Random(2).randbytes(9 * CHUNK + 1)


class Processes(HubTest):
    def setUp(self):
        super().setUp()
        self.hub.add(REPO, {NAME: DATA})

    def slow_store(self):
        def fault(handler, kind, count):
            if kind == "store":
                time.sleep(0.25)
            return False
        self.hub.faults.append(fault)

    def start_and_stop(self, number):
        """A pull, ended when some of it is there -> bytes that the store had sent by then."""
        self.slow_store()
        process = self.start("pull", REPO, "--connections", "2")
        end = time.monotonic() + 60
        while self.hub.count("store") < 5 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        self.hub.faults.clear()
        self.assertEqual(self.models(), [])
        self.assertEqual(len(self.parts()), 1)
        return process.returncode, out, err

    def test_kill_and_resume(self):
        self.assertEqual(self.start_and_stop(signal.SIGKILL)[0], -signal.SIGKILL)
        self.hub.requests.clear()
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertIn("going on at", result[2])
        self.assertLess(self.hub.count("store"), 9)
        self.assertEqual(self.parts(), [])

    def test_interrupt_and_resume(self):
        status, out, err = self.start_and_stop(signal.SIGINT)
        self.assertEqual(status, 130)
        self.assertIn("goes on with it", err)
        self.hub.requests.clear()
        self.assert_pulled(self.pull(REPO, "--connections", "3"), DATA)
        self.assertLess(self.hub.count("store"), 9)

    def test_damaged_rest(self):
        """What a killed pull left was changed since: the digest finds it, and all of it comes again."""
        self.start_and_stop(signal.SIGKILL)
        with open(self.parts()[0], "r+b") as file:
            file.write(b"damage")
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertIn("beginning again", result[2])

    def test_rest_of_another_kind(self):
        """A part file that makes no sense is begun anew."""
        blobs = os.path.join(self.cache, "models--org--model-gguf", "blobs")
        os.makedirs(blobs)
        for rest in b"", b"x" * 1000, DATA, DATA + b"ternpart" + b"\xff" * 200, DATA + b"ternpart" + b"\0" * 200:
            with self.subTest(rest=rest[-20:]):
                with open(os.path.join(blobs, sha256(DATA) + ".tern-part"), "wb") as file:
                    file.write(rest)
                self.assert_pulled(self.pull(REPO), DATA)
                os.remove(os.path.join(blobs, sha256(DATA)))

    def test_two_at_once(self):
        """The second one waits, and finds it done."""
        self.slow_store()
        first, second = self.start("pull", REPO), self.start("pull", REPO)
        results = [(process.communicate(timeout=120), process.returncode) for process in (first, second)]
        for (out, err), status in results:
            self.assert_pulled((status, out, err), DATA)
        self.assertLessEqual(self.hub.count("store"), 12)
        self.assertEqual(self.parts(), [])

    def test_no_removal_while_pulling(self):
        self.slow_store()
        process = self.start("pull", REPO, "--connections", "1")
        end = time.monotonic() + 60
        while self.hub.count("store") < 2 and time.monotonic() < end:
            time.sleep(0.01)
        status, out, err = self.pull("--remove", REPO)
        self.assertEqual(status, 1)
        self.assertIn("by another process", err)
        out, err = process.communicate(timeout=120)
        self.assert_pulled((process.returncode, out, err), DATA)


if __name__ == "__main__":
    unittest.main()
