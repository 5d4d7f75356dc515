"""A little of everything at the same time: answers of each kind, whole and streamed, clients that leave, and bytes changed at
random (test_fuzz.py), while there is hardly room for all. Each good answer is the one that it is alone. Short, so that it
runs under ThreadSanitizer, too (.ci/run): a race ends the server with another status than 0."""
import http.client
import json
import random
import threading
import unittest

from harness import PATIENCE, ServerTest
from test_fuzz import make_case, read_corpus, statuses, talk

CLIENTS, ROUNDS, FUZZERS, CASES = 6, 8, 3, 12
STORY = "Once upon a time, there was a little dog. "
GREEDY = {"temperature": 0, "max_tokens": 10}
USER = [{"role": "user", "content": "Tell me a story."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {
    "type": "object", "properties": {"at": {"enum": ["sky", "sea"]}}, "required": ["at"], "additionalProperties": False}}}
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
REQUESTS = [
    (COMPLETIONS, {**GREEDY, "prompt": STORY * 10}),
    (COMPLETIONS, {**GREEDY, "prompt": [STORY, "The cat"], "n": 3, "seed": 5, "temperature": 1}),
    (COMPLETIONS, {**GREEDY, "prompt": STORY, "echo": True, "logprobs": 2}),
    (COMPLETIONS, {**GREEDY, "prompt": STORY, "grammar": 'root ::= ("ab" | "cd"){2,4}'}),
    (CHAT, {**GREEDY, "messages": USER}),
    (CHAT, {**GREEDY, "messages": USER, "logprobs": True, "top_logprobs": 2}),
    (CHAT, {"messages": USER, "seed": 3, "max_tokens": 60, "tools": [TOOL], "tool_choice": "required"}),
    (CHAT, {"messages": USER, "seed": 3, "max_tokens": 20, "response_format": {"type": "json_object"}}),
    ("/v1/embeddings", {"input": [STORY, "The cat"]}),
    ("/tokenize", {"content": STORY * 20}),
    ("/detokenize", {"tokens": list(range(200))}),
    (COMPLETIONS, {"prompt": STORY, "temperature": 9}),
]


def essence(answer):
    """What is the same each time: not the id, nor what was found in the cache."""
    def keep(value):
        if isinstance(value, dict):
            return {name: keep(item) for name, item in value.items() if name not in ("id", "created", "usage")}
        return [keep(item) for item in value] if isinstance(value, list) else value
    status, body = answer
    return status, keep(body)


def texts(events):
    """A stream's choices: {index: text and arguments of calls}"""
    found = {}
    for choice in (c for e in events for c in e["choices"]):
        delta = choice.get("delta", {"content": choice.get("text")})
        pieces = [delta.get("content") or ""] + [call["function"]["arguments"] for call in delta.get("tool_calls", [])]
        found[choice["index"]] = found.get(choice["index"], "") + "".join(pieces)
    return found


class Short(ServerTest):
    options = ("-t", "2", "--parallel", "4", "--queue", "200", "--kv-bytes", "2000000", "--chunk", "32", "--read-timeout", "5",
               "--max-body", "20000", "--max-header", "4096", "--max-connections", "64", "--log-prompts")

    def leave(self, path, body):
        """Ask for a long stream, and read only the beginning of it."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE)
        connection.request("POST", path, json.dumps({**body, "max_tokens": 300, "stream": True}), {"Content-Type": "application/json"})
        connection.getresponse().read(20)
        connection.close()

    def client(self, chance):
        for _ in range(ROUNDS):
            number = chance.randrange(len(REQUESTS))
            path, body = REQUESTS[number]
            how = chance.choice(("whole", "whole", "stream", "stream", "leave"))
            if how == "whole" or number in self.refused_ones or not path.startswith("/v1/c"):
                assert essence(self.server.post(path, body)) == self.alone[number], body
            elif how == "stream":
                assert texts(self.server.stream(path, body)) == self.streams[number], body
            else:
                self.leave(path, body)
            assert self.server.request("GET", chance.choice(("/metrics", "/v1/models", "/openapi.json", "/health")))[0] == 200

    def fuzzer(self, chance):
        for _ in range(CASES):
            data, how = make_case(chance, self.corpus)
            for status in statuses(talk(self.server, data, how, chance), b"HEAD" in data):
                assert status < 500 or status in (501, 503, 505), (status, data)

    def test_all_at_once(self):
        self.corpus, failures = read_corpus(), []
        self.alone = [essence(self.server.post(path, body)) for path, body in REQUESTS]
        self.refused_ones = [i for i, (status, _) in enumerate(self.alone) if status != 200]
        self.assertEqual(self.refused_ones, [len(REQUESTS) - 1])
        self.streams = [texts(self.server.stream(path, body)) if path.startswith("/v1/c") and i not in self.refused_ones else None
                        for i, (path, body) in enumerate(REQUESTS)]

        def run(work, seed):
            try:
                work(random.Random(seed))
            except BaseException as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=run, args=(self.client, i)) for i in range(CLIENTS)]
        threads += [threading.Thread(target=run, args=(self.fuzzer, 100 + i)) for i in range(FUZZERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for failure in failures:
            raise failure
        metrics = self.server.wait_idle()
        self.assertGreater(metrics["tern_cached_tokens_total"], 0)
        self.assertEqual(essence(self.server.post(*REQUESTS[0])), self.alone[0])


if __name__ == "__main__":
    unittest.main()
