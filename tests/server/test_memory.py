"""Out of memory in a running server: the n-th allocation of a request fails, for many n, alone or with all that follow for
a while. Each time there is a whole answer, an error or a closed connection, and the server goes on: the next request gets
the very text that it got before, and no block of the KV cache stays taken.

TERN_FAULT_STEP=1 makes it every n; the default looks at the first ones and then at some.
"""
import http.client
import json
import mmap
import os
import random
import struct
import sys
import tempfile
import unittest

from harness import PATIENCE, Server, check_answer, parse_events

FAILING = os.environ.get("TERN_FAILING")
STEP = int(os.environ.get("TERN_FAULT_STEP", "0"))
FEW = 60  # failures of a request, if not all

STORY = "Once upon a time"
USER = [{"role": "user", "content": "Tell me a story about a bird that could not fly."}]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"enum": [1, 2, "three"]}},
          "required": ["name", "age"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks up a word in a book.",
                                         "parameters": {"type": "object", "properties": {"word": {"enum": ["bird", "sea"]}},
                                                        "required": ["word"], "additionalProperties": False}}}
GREEDY = {"temperature": 0, "max_tokens": 12}
CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{\"word\": \"sea\"}"}}

REQUESTS = {
    "completion": ("/v1/completions", {**GREEDY, "prompt": STORY}),
    "logprobs": ("/v1/completions", {**GREEDY, "prompt": [STORY, "The dog"], "logprobs": 5, "echo": True, "n": 2}),
    "stream": ("/v1/completions", {**GREEDY, "prompt": STORY, "stream": True, "logprobs": 2, "echo": True,
                                   "stop": ["nowhere"], "stream_options": {"include_usage": True}}),
    "sampled": ("/v1/completions", {"prompt": [5, 6, 7], "seed": 1, "max_tokens": 12, "top_k": 5, "logit_bias": {"5": -1},
                                    "frequency_penalty": 1, "repetition_penalty": 1.1}),
    "chat": ("/v1/chat/completions", {**GREEDY, "messages": USER}),
    "chat stream": ("/v1/chat/completions", {**GREEDY, "messages": USER, "stream": True, "logprobs": True,
                                             "top_logprobs": 3}),
    "grammar": ("/v1/completions", {**GREEDY, "prompt": STORY, "grammar": "root ::= \" \" word+\nword ::= [a-z]{1,5} \" \""}),
    "schema": ("/v1/chat/completions", {**GREEDY, "messages": USER, "max_tokens": 40, "response_format": {
        "type": "json_schema", "json_schema": {"name": "bird", "schema": SCHEMA}}}),
    "tools": ("/v1/chat/completions", {**GREEDY, "max_tokens": 90, "tools": [TOOL], "tool_choice": "required", "messages": [
        *USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "nothing"}]}),
    "tools stream": ("/v1/chat/completions", {**GREEDY, "max_tokens": 90, "tools": [TOOL], "tool_choice": {
        "type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}, "messages": USER, "stream": True}),
    "embeddings": ("/v1/embeddings", {"input": [STORY, "The dog"], "encoding_format": "base64"}),
    "tokenize": ("/tokenize", {"content": STORY * 20, "add_special": True}),
    "tokenize a chat": ("/tokenize", {"messages": USER}),
    "detokenize": ("/detokenize", {"tokens": list(range(100, 160))}),
    "bad JSON": ("/v1/completions", b'{"prompt": "a text that is longer than sixteen bytes", "max_tokens": 1,}'),
    "bad field": ("/v1/completions", {"prompt": STORY, "temperature": "warm"}),
    "models": ("/v1/models", None),
    "metrics": ("/metrics", None),
    "description": ("/openapi.json", None),
    "page": ("/", None),
}


class Faults:
    """The memory that the server and the test share: count, first, n, failed (tests/fault/failing_command.c)."""
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(suffix=".control")
        self.file.write(struct.pack("=4q", 0, -1, 0, 0))
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 32)

    def set(self, first, n):
        self.map[8:16] = struct.pack("=q", -1)
        self.map[0:8] = self.map[24:32] = struct.pack("=q", 0)
        self.map[16:24] = struct.pack("=q", n)
        self.map[8:16] = struct.pack("=q", first)

    def end(self):
        """-> how many allocations there were, and how many failed"""
        self.map[8:16] = struct.pack("=q", -1)
        return struct.unpack("=q", self.map[0:8])[0], struct.unpack("=q", self.map[24:32])[0]

    def close(self):
        self.map.close()
        self.file.close()


def ask(server, path, body):
    """-> status and bytes, or None if the connection was closed before the end."""
    method = "GET" if body is None else "POST"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body=data, headers={"Content-Type": "application/json", "Connection": "close"})
        response = connection.getresponse()
        answer = response.read()
    except TimeoutError as error:
        raise AssertionError(f"{path}: no answer") from error
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    kind = response.getheader("Content-Type", "")
    if kind.startswith("text/event-stream"):
        *events, error, done, rest = answer.split(b"\n\n")
        if error.startswith(b'data: {"error"'):
            assert (done, rest) == (b"data: [DONE]", b""), answer
            return 500, error[6:]
        parse_events(path, answer)
    elif path != "/":
        check_answer(method, path, response.status, kind, answer)
    return response.status, answer


def essence(path, answer):
    """What has to be the same each time."""
    status, data = answer
    if path == "/metrics":
        return status, [line.split(b" ")[0] for line in data.splitlines() if line.startswith(b"tern_kv")]
    if data.startswith(b"data: "):
        events = [line[6:] for line in data.split(b"\n\n") if line.startswith(b"data: {")]
        # How many tokens an event holds is a matter of speed
        texts = [json.dumps([c.get("text") or c.get("delta", {}).get("content") or "" for c in e["choices"]])
                 for e in map(json.loads, events)]
        calls = [c["delta"]["tool_calls"][0]["function"] for e in map(json.loads, events) for c in e["choices"]
                 if "tool_calls" in c.get("delta", {})]
        return status, "".join("".join(json.loads(text)) for text in texts), calls
    if not data.startswith(b"{"):
        return status, data
    value = json.loads(data)
    for choice in value.get("choices", []):
        for call in choice.get("message", {}).get("tool_calls", []):
            call["id"] = "any"
    for name in ("id", "created", "usage"):
        value.pop(name, None)
    return status, value


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.faults = Faults()
        cls.server = Server("--parallel", "4", "--read-timeout", "20", program=FAILING,
                            env={"TERN_FAULT_CONTROL": cls.faults.file.name})
        cls.good = {name: essence(path, ask(cls.server, path, body)) for name, (path, body) in REQUESTS.items()}

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        cls.faults.close()
        assert status == 0, (status, cls.server.lines[-20:])

    def places(self, name):
        """Numbers of allocations that are to fail."""
        path, body = REQUESTS[name]
        self.faults.set(-1, 0)
        ask(self.server, path, body)
        total, _ = self.faults.end()
        if STEP:
            return range(0, total, STEP)
        return [*range(min(FEW // 3, total)), *sorted(random.Random(name).choices(range(total), k=FEW - FEW // 3))]

    def check(self, name, first, n):
        path, body = REQUESTS[name]
        self.faults.set(first, n)
        got = ask(self.server, path, body)
        _, failed = self.faults.end()
        self.assertTrue(self.server.alive(), f"allocation {first} of {name}: {self.server.lines[-20:]}")
        if got and (got[0] < 500 or got[0] == self.good[name][0]):  # no error: then it has to be the whole answer
            self.assertEqual(essence(path, got), self.good[name], f"allocation {first}")
        elif got:
            self.assertIn(got[0], (500, 503), got)  # 503: no memory to know the connection by
        if failed == 0:
            self.assertIsNotNone(got)
        return bool(failed), got is None or got[0] >= 500

    def run_request(self, name):
        n_failed = n_refused = 0
        for first in self.places(name):
            for n in (1, 1 << 40):
                failed, refused = self.check(name, first, n)
                n_failed += failed
                n_refused += refused
        self.server.wait_idle()
        for other, (path, body) in REQUESTS.items():
            self.assertEqual(essence(path, ask(self.server, path, body)), self.good[other], f"{other} after {name}")
        self.assertGreater(n_failed, 1)
        self.assertGreater(n_refused, 1)


def make(name):
    return lambda self: self.run_request(name)


for request in REQUESTS:
    setattr(Memory, "test_" + request.replace(" ", "_"), make(request))


if __name__ == "__main__":
    if not FAILING:
        print("skipped: no program with failing allocations was built here")
        sys.exit(77)
    unittest.main()
