"""Anything may come to the port: tests/fuzz/corpus/http (what connections send: requests of each endpoint, pieces of them,
attempts at smuggling) is changed at random and sent whole, in drips, half closed, reset. What comes back has to be HTTP
with statuses that are not the server's fault; it closes what is finished, lives, and answers as before.

TERN_FUZZ_SECONDS=600 goes on for so long, TERN_FUZZ_SEED=7 does it differently.
"""
import os
import random
import re
import socket
import struct
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, ROOT, ServerTest

CORPUS = os.path.join(ROOT, "tests", "fuzz", "corpus", "http")
SECONDS = float(os.environ.get("TERN_FUZZ_SECONDS", "0"))
SEED = int(os.environ.get("TERN_FUZZ_SEED", "1"))
THREADS, BATCH, BATCHES = 8, 10, 5  # connections at the same time, and of each until the server is looked at

WORDS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"\xc3", b"\xf0\x9f", b"\xe2\x80\xa8", b"Content-Length: ",
         b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
         b"Expect: 100-continue\r\n", b"Host: a\r\n", b"GET /health HTTP/1.1\r\n", b"0\r\n\r\n", b"ffffffffffffffff", b"-1",
         b"18446744073709551616", b"9223372036854775807", b"1e999", b"0x10", b"[", b"{", b"]", b"}", b'"', b"\\", b"\\u0000",
         b"\\ud800", b"null", b"true", b'"stream":true,', b'"n":128,', b'"max_tokens":-1', b'"max_tokens":40,', b'"stop":[""],',
         b'"logprobs":20,', b'"prompt":[],', b'"grammar":"root ::= root",', b"%00", b"%", b"/", b"..", b"a" * 300]


def read_corpus():
    found = []
    for name in sorted(os.listdir(CORPUS)):
        with open(os.path.join(CORPUS, name), "rb") as file:
            found.append(file.read())
    return found


def change(chance, data, other):
    """One change of a bytearray."""
    at, to = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
    kind = chance.randrange(8)
    if kind == 0 and data:
        data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == 1 and data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        data[at:at] = chance.choice(WORDS)
    elif kind == 3:
        del data[at:min(to, at + 40)]
    elif kind == 4:
        data[at:at] = data[at:min(to, at + 200)] * chance.randrange(1, 4)
    elif kind == 5:
        data[at:] = other[chance.randrange(len(other)):]
    elif kind == 6:
        word = chance.choice(WORDS)
        data[at:at + len(word)] = word
    else:  # a number
        numbers = list(re.finditer(rb"\d+", data))
        if numbers:
            number = chance.choice(numbers)
            data[number.start():number.end()] = chance.choice([b"0", b"1", b"-1", b"99999", b"1.5", b"18446744073709551615"])


def make_case(chance, corpus):
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        change(chance, data, chance.choice(corpus))
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) + 1):]
    if chance.random() < 0.1:
        data += chance.choice(corpus)
    return bytes(data), chance.choice(("whole", "whole", "half closed", "drips", "reset", "left"))


def send(s, data, how, chance):
    if how != "drips":
        s.sendall(data)
        return
    size = max(1, len(data) // 20)
    for at in range(0, len(data), size):
        s.sendall(data[at:at + size])
        time.sleep(chance.random() * 0.004)


def talk(server, data, how, chance):
    """-> all that came until the server closed the connection"""
    got = b""
    with server.connect() as s:
        try:
            send(s, data, how, chance)
            if how == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how in ("reset", "left"):
                return got
            if how != "half closed":
                s.settimeout(0.05)
                try:
                    while part := s.recv(65536):
                        got += part
                except TimeoutError:
                    pass
            s.shutdown(socket.SHUT_WR)
            s.settimeout(PATIENCE)
            while part := s.recv(65536):
                got += part
        except TimeoutError as error:
            raise AssertionError(f"the server does not close: {got[:200]!r}") from error
        except OSError:
            pass
    return got


def statuses(got, heads):
    """Of the answers that `got` is; the last one may be cut. `heads`: those of HEAD may be among them, without a body."""
    found = []
    while got:
        match = re.match(rb"HTTP/1\.[01] (\d{3}) [ -~]*\r\n", got)
        assert match or b"\n" not in got[:100], f"no answer: {got[:200]!r}"
        if not match or b"\r\n\r\n" not in got:
            return found
        found.append(int(match[1]))
        head, got = got.split(b"\r\n\r\n", 1)
        length = re.search(rb"\r\nContent-Length: (\d+)", head, re.I)
        if heads or found[-1] in (100, 204, 304):
            if heads:
                return found
        elif length:
            got = got[int(length[1]):]
        elif re.search(rb"\r\nTransfer-Encoding: chunked", head, re.I):
            while chunk := re.match(rb"([0-9a-fA-F]+)\r\n", got):
                got = got[chunk.end() + int(chunk[1], 16) + 2:]
                if int(chunk[1], 16) == 0:
                    break
            else:
                return found
        else:
            return found
    return found


class Fuzz(ServerTest):
    options = ("--read-timeout", "3", "--max-body", "20000", "--max-header", "4096", "--parallel", "4", "--queue", "64",
               "--max-connections", "128", "--timeout", "60", "--log-prompts")
    good = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}

    def keep(self, cases):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="tern-fuzz-", delete=False) as file:
            for data, how in cases:
                print(repr((data, how)), file=file)
        return f"what was sent is in {file.name}"

    def run_batch(self, number, corpus):
        cases, failures = [], []

        def client(index):
            chance = random.Random(f"{SEED} {number} {index}")
            for _ in range(BATCH):
                data, how = make_case(chance, corpus)
                cases.append((data, how))
                try:
                    for status in statuses(talk(self.server, data, how, chance), b"HEAD" in data):
                        assert status < 500 or status in (501, 503, 505), status
                except Exception as error:  # pylint: disable=broad-except
                    failures.append((error, data, how))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(self.server.alive() or self.keep(cases) == 0, self.server.lines[-20:])
        if failures:
            self.fail(f"{failures[0]!r:.2000}; {self.keep(cases)}")
        return len(cases)

    def test_random(self):
        corpus, alone, n_cases, number = read_corpus(), self.server.good("/v1/completions", self.good), 0, 0
        self.assertGreater(len(corpus), 60)
        until = time.monotonic() + SECONDS
        while number < BATCHES or time.monotonic() < until:
            n_cases += self.run_batch(number, corpus)
            number += 1
            self.server.wait_idle()
            self.assertEqual(self.server.good("/v1/completions", self.good)["choices"], alone["choices"])
        self.assertGreaterEqual(n_cases, BATCHES * BATCH * THREADS)
        end = time.monotonic() + PATIENCE
        while (n := self.server.metrics()["tern_http_connections"]) > 1:
            self.assertLess(time.monotonic(), end, f"{n} connections are left")
            time.sleep(0.02)
        if SECONDS:
            print(f"{n_cases} connections, seed {SEED}")

    def test_corpus(self):
        """Unchanged: what is good is answered, so that there is something to change; what is not is not taken for good."""
        found = {}

        def ask(name):
            with open(os.path.join(CORPUS, name), "rb") as file:
                data = file.read()
            with self.server.connect() as s:
                s.sendall(data)
                found[name] = (statuses(s.recv(65536), b"HEAD" in data) or [None])[0]

        names = sorted(os.listdir(CORPUS))
        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bad = [name for name in names if re.match("smuggle-|length-|truncated-|json-(?!keys)|chunked-|tls|http2|form", name)]
        good = [name for name in names if re.match("completion|chat|grammar|embed|(de)?tokenize|description|pipelined|chunked$|models", name)]
        self.assertEqual((len(bad), len(good)), (28, 21))
        self.assertEqual([name for name in bad if found[name] in (100, 200)], [])
        self.assertEqual({name: found[name] for name in good}, {name: 200 for name in good})


if __name__ == "__main__":
    unittest.main()
