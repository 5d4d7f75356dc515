"""examples/mqtt-log-watcher against a real mosquitto: test_mqtt_log_watcher.py WATCHER. Skipped without a broker."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PATIENCE = float(os.environ.get("TERN_PATIENCE", "120"))
BROKER = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
SUBSCRIBER = shutil.which("mosquitto_sub")


def free_port():
    """Below those that systems give to clients: it has to be free once more when the broker comes back."""
    while True:
        port = random.randrange(15000, 30000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            pass


class Broker:
    """Keeps what it has for clients that come back, also from one life to the next."""

    def __init__(self, folder):
        self.port = free_port()
        self.config = os.path.join(folder, "mosquitto.conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
                       f"persistence_location {folder}/\n" + ("user root\n" if os.getuid() == 0 else ""))
        self.start()

    def start(self):
        self.process = subprocess.Popen([BROKER, "-c", self.config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "the broker does not start"
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Subscriber:
    """Everything below log/, in order; a client that the broker remembers."""

    def __init__(self, port):
        self.messages = []
        self.process = subprocess.Popen([SUBSCRIBER, "-h", "127.0.0.1", "-p", str(port), "-c", "-i", "test", "-q", "1",
                                         "-t", "log/#", "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            topic, _, payload = line.decode().rstrip("\n").partition(" ")
            self.messages.append((topic, payload))

    def alerts(self):
        return [json.loads(payload) for topic, payload in list(self.messages) if topic == "log/alert"]

    def wait(self, wanted):
        """Until wanted() is true"""
        end = time.monotonic() + PATIENCE
        while not wanted():
            assert time.monotonic() < end, self.messages
            time.sleep(0.02)

    def wait_for_line(self, part):
        self.wait(lambda: any(part in a["line"] for a in self.alerts()))
        return next(a for a in self.alerts() if part in a["line"])

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdout.close()


class LogWatcher(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.log = os.path.join(self.folder.name, "app.log")
        self.append("error: this was before")
        self.broker = Broker(self.folder.name)
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(lambda: self.broker.stop())
        self.subscriber = Subscriber(self.broker.port)
        self.addCleanup(self.subscriber.stop)

    def append(self, *lines):
        with open(self.log, "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))

    def begin(self, *options):
        self.watcher = subprocess.Popen([WATCHER, "--host", "127.0.0.1", "--port", str(self.broker.port), "--threads",
                                         "1", *options, self.log], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.watcher.stderr.close)
        self.addCleanup(self.watcher.wait)
        self.addCleanup(self.watcher.kill)
        self.subscriber.wait(lambda: ("log/status", "online") in self.subscriber.messages)

    def end(self):
        self.watcher.send_signal(signal.SIGTERM)
        self.assertEqual(self.watcher.wait(PATIENCE), 0, self.watcher.stderr.read())
        self.subscriber.wait(lambda: ("log/status", "offline") in self.subscriber.messages)

    def test_alerts_by_a_model(self):
        self.begin()
        self.append("10:00:01 all is well", "10:00:02 finished with 0 errors", "10:00:03 \x1b[31mERROR\x1b[0m: disk "
                    "full, cannot write ü\r", "10:00:04 kernel panic")
        self.subscriber.wait_for_line("panic")
        disk, panic = self.subscriber.alerts()
        self.assertIn("disk full, cannot write ü", disk["line"])
        self.assertEqual((disk["rule"], disk["file"], panic["severity"]), ("error", self.log, "critical"))
        self.assertIn(disk["severity"], ("error", "critical"))
        for alert in (disk, panic):  # held to its form by the grammar, whatever the built-in model makes of it
            self.assertTrue(1 <= len(alert["summary"]) <= 60, alert)
            self.assertNotEqual(alert["summary"], alert["line"])
        self.subscriber.wait(lambda: self.subscriber.messages[-1][0] == "log/last")
        self.assertEqual(json.loads(self.subscriber.messages[-1][1]), panic)
        self.end()

    def test_repetitions_and_floods(self):
        self.begin("--no-model", "--rate", "3")
        self.append(*(f"{i}: error at 0x{i:04x}" for i in range(5)), *(f"error {w}" for w in "abcdefgh"))
        self.subscriber.wait_for_line("error b")
        self.end()
        self.assertEqual([a["line"] for a in self.subscriber.alerts()][:3], ["0: error at 0x0000", "error a", "error b"])

    def test_broker_that_comes_back(self):
        self.begin("--no-model")
        self.append("error one")
        self.subscriber.wait_for_line("one")
        self.broker.stop()
        self.append(*(f"error while nobody listens: {w}" for w in ("two", "three")))
        time.sleep(1)  # long enough to be read and handed to libmosquitto; if not, it is the easier case
        self.broker.start()
        self.append("error four")
        for word in ("two", "three", "four"):
            self.subscriber.wait_for_line(word)
        self.assertEqual(self.subscriber.alerts()[-1]["line"], "error four")  # in order, though maybe not once
        self.end()

    def test_rotation_and_truncation(self):
        self.begin("--no-model")
        self.append("error before")
        self.subscriber.wait_for_line("before")
        with open(self.log, "a", encoding="utf-8") as old:
            os.rename(self.log, self.log + ".1")
            old.write("error into the old file\n")
            old.flush()
            self.append("error into the new file, which is long enough to be cut")
            self.subscriber.wait_for_line("new file")
        with open(self.log, "w", encoding="utf-8"):
            pass
        self.append("error after")
        self.subscriber.wait_for_line("after")
        self.assertEqual([a["line"].split()[-1] for a in self.subscriber.alerts()], ["before", "file", "cut", "after"])
        self.end()

    def test_watcher_that_dies_leaves_its_will(self):
        self.begin("--no-model")
        self.watcher.kill()
        self.subscriber.wait(lambda: ("log/status", "offline") in self.subscriber.messages)

    def test_wrong_use(self):
        for options, status in ((["--rate", "x", "f"], 2), ([], 2), (["--wings", "f"], 2), (["--match", "(", "f"], 1),
                                (["--model", "/nowhere.gguf", "f"], 1), (["--help"], 0)):
            run = subprocess.run([WATCHER, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, timeout=PATIENCE)
            self.assertEqual(run.returncode, status, (options, run.stderr))
            self.assertTrue(run.stdout if status == 0 else run.stderr)


if __name__ == "__main__":
    WATCHER = sys.argv.pop(1)
    if not BROKER or not SUBSCRIBER:
        print("skipped: no mosquitto or no mosquitto_sub")
        sys.exit(77)
    unittest.main()
