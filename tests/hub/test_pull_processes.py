"""The fault matrix of tern pull (docs/PULL.md): processes that end, and several at once."""

import os
import random
import signal
import threading
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

    def hold_store(self, after):
        """All requests of the store behind the first so many wait -> the event that lets them go on."""
        event = threading.Event()
        self.addCleanup(event.set)

        def fault(handler, kind, count):
            if kind == "store" and count > after:
                event.wait(100)
            return False
        self.hub.faults.append(fault)
        return event

    def wait_for_requests(self, process, count):
        end = time.monotonic() + 100
        while self.hub.count("store") < count:
            self.assertTrue(time.monotonic() < end and process.poll() is None, "the requests do not come")
            time.sleep(0.01)

    def start_and_stop(self, number):
        """A pull, ended when four of ten chunks are there -> status, stdout, stderr."""
        event = self.hold_store(4)
        process = self.start("pull", REPO)  # over four connections
        self.wait_for_requests(process, 8)
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
        event.set()
        self.hub.faults.clear()
        self.assertEqual(self.models(), [])
        self.assertEqual(len(self.parts()), 1)
        return process.returncode, out, err

    def test_kill_and_resume(self):
        self.assertEqual(self.start_and_stop(signal.SIGKILL)[0], -signal.SIGKILL)
        self.hub.requests.clear()
        result = self.pull(REPO)
        self.assert_pulled(result, DATA)
        self.assertIn("going on at 44%", result[2])
        self.assertEqual(self.hub.count("store"), 6)
        self.assertEqual(self.parts(), [])

    def test_interrupt_and_resume(self):
        status, out, err = self.start_and_stop(signal.SIGINT)
        self.assertEqual(status, 130)
        self.assertIn("goes on with it", err)
        self.hub.requests.clear()
        self.assert_pulled(self.pull(REPO, "--connections", "3"), DATA)
        self.assertEqual(self.hub.count("store"), 6)

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
        event = self.hold_store(3)
        first = self.start("pull", REPO)
        self.wait_for_requests(first, 4)
        second = self.start("pull", REPO)
        self.assertIn("another process fetches it", second.stderr.readline())
        event.set()
        for process in first, second:
            out, err = process.communicate(timeout=100)
            self.assert_pulled((process.returncode, out, err), DATA)
        self.assertEqual(self.hub.count("store"), 10)
        self.assertEqual(self.parts(), [])

    def test_no_removal_while_pulling(self):
        event = self.hold_store(0)
        process = self.start("pull", REPO, "--connections", "1")
        self.wait_for_requests(process, 1)
        status, out, err = self.pull("--remove", REPO)
        self.assertEqual(status, 1)
        self.assertIn("by another process", err)
        event.set()
        out, err = process.communicate(timeout=120)
        self.assert_pulled((process.returncode, out, err), DATA)


if __name__ == "__main__":
    unittest.main()
