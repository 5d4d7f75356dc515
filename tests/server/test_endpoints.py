"""Every endpoint, whole and streamed."""
import base64
import json
import math
import os
import re
import struct
import time
import unittest

from harness import OPENAPI, PATIENCE, ROOT, ServerTest

MODEL = "tern-demo"  # the built-in one
STORY = "Once upon a time"
GREEDY = {"prompt": STORY, "temperature": 0, "max_tokens": 12}
CHAT = {"messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 0, "max_tokens": 12}


class Completions(ServerTest):
    path = "/v1/completions"

    def test_text(self):
        answer = self.server.good(self.path, GREEDY)
        choice, = answer["choices"]
        self.assertEqual(choice["finish_reason"], "length")
        self.assertTrue(choice["text"])
        self.assertEqual(answer["usage"]["completion_tokens"], 12)
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + 12)
        self.assertEqual(answer["model"], MODEL)
        again = self.server.good(self.path, {**GREEDY, "model": MODEL})
        self.assertEqual(again["choices"], answer["choices"])
        self.assertNotEqual(again["id"], answer["id"])
        self.assertGreaterEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_stream_says_the_same(self):
        whole = self.server.good(self.path, GREEDY)
        events = self.server.stream(self.path, {**GREEDY, "stream_options": {"include_usage": True}})
        self.assertEqual("".join(c["text"] for e in events for c in e["choices"]), whole["choices"][0]["text"])
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], "length")
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], 12)
        self.assertTrue(all(e["usage"] is None for e in events[:-1]))
        self.assertEqual(len({e["id"] for e in events}), 1)
        plain = self.server.stream(self.path, GREEDY)
        self.assertTrue(all("usage" not in e for e in plain))
        self.assertGreater(len(plain), 4)

    def test_default_of_max_tokens_is_16(self):
        answer = self.server.good(self.path, {"prompt": STORY, "temperature": 0})
        self.assertLessEqual(answer["usage"]["completion_tokens"], 16)

    def test_forms_of_prompts(self):
        ids = self.server.good("/tokenize", {"content": STORY, "add_special": True})["tokens"]
        text = self.server.good(self.path, GREEDY)["choices"][0]["text"]
        for prompt in (ids, [STORY], [ids]):
            answer = self.server.good(self.path, {**GREEDY, "prompt": prompt})
            self.assertEqual([c["text"] for c in answer["choices"]], [text])
        answer = self.server.good(self.path, {**GREEDY, "prompt": [STORY, "The dog", STORY]})
        self.assertEqual([c["index"] for c in answer["choices"]], [0, 1, 2])
        self.assertEqual(answer["choices"][0]["text"], text)
        self.assertEqual(answer["choices"][2]["text"], text)
        self.assertNotEqual(answer["choices"][1]["text"], text)
        many = self.server.good(self.path, {**GREEDY, "prompt": [STORY] * 40, "max_tokens": 2})
        self.assertEqual(len({c["text"] for c in many["choices"]}), 1)
        self.assertEqual(len(many["choices"]), 40)

    def test_n_and_seed(self):
        body = {"prompt": STORY, "temperature": 1.5, "max_tokens": 12, "n": 3, "seed": 7}
        one, two = self.server.good(self.path, body), self.server.good(self.path, body)
        self.assertEqual(one["choices"], two["choices"])
        self.assertEqual(len({c["text"] for c in one["choices"]}), 3)
        other = self.server.good(self.path, {**body, "seed": 8})
        self.assertNotEqual(one["choices"], other["choices"])
        unseeded = [self.server.good(self.path, {**body, "seed": None, "n": 1}) for _ in range(2)]
        self.assertNotEqual(unseeded[0]["choices"], unseeded[1]["choices"])
        self.server.good(self.path, {**body, "best_of": 3})
        events = self.server.stream(self.path, body)
        for choice in one["choices"]:
            text = "".join(c["text"] for e in events for c in e["choices"] if c["index"] == choice["index"])
            self.assertEqual(text, choice["text"])

    def test_stop(self):
        text = self.server.good(self.path, {**GREEDY, "max_tokens": 30})["choices"][0]["text"]
        word = text.split()[3]
        for stop in (word, ["nowhere to be seen", word]):
            choice = self.server.good(self.path, {**GREEDY, "max_tokens": 30, "stop": stop})["choices"][0]
            self.assertEqual(choice["text"], text[:text.index(word)])
            self.assertEqual(choice["finish_reason"], "stop")
        events = self.server.stream(self.path, {**GREEDY, "max_tokens": 30, "stop": word})
        self.assertEqual("".join(c["text"] for e in events for c in e["choices"]), text[:text.index(word)])
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")

    def test_logit_bias_and_penalties(self):
        first = self.server.good(self.path, {**GREEDY, "max_tokens": 1, "logprobs": 3})["choices"][0]
        taken = first["logprobs"]["tokens"][0]
        ids = self.server.good("/tokenize", {"content": taken})["tokens"]
        other = self.server.good(self.path, {**GREEDY, "max_tokens": 1, "logit_bias": {str(ids[0]): -100}})
        self.assertNotEqual(other["choices"][0]["text"], first["text"])
        long = {**GREEDY, "max_tokens": 60}
        self.assertNotEqual(self.server.good(self.path, {**long, "frequency_penalty": 2})["choices"],
                            self.server.good(self.path, long)["choices"])
        self.assertNotEqual(self.server.good(self.path, {**long, "presence_penalty": 2})["choices"],
                            self.server.good(self.path, long)["choices"])

    def test_logprobs_and_echo(self):
        ids = self.server.good("/tokenize", {"content": STORY, "add_special": True})["tokens"]
        body = {**GREEDY, "prompt": [ids], "max_tokens": 1, "logprobs": 2, "echo": True, "seed": 1234}
        choice = self.server.good(self.path, body)["choices"][0]
        logs = choice["logprobs"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual(len(logs[name]), len(ids) + 1, name)
        self.assertIsNone(logs["token_logprobs"][0])
        self.assertIsNone(logs["top_logprobs"][0])
        self.assertTrue(choice["text"].startswith(STORY))
        self.assertTrue(all(v <= 0 for v in logs["token_logprobs"][1:]))
        for token, value, top in list(zip(logs["tokens"], logs["token_logprobs"], logs["top_logprobs"]))[1:]:
            self.assertEqual(top[token], value)  # the very same number: harnesses compare them
            self.assertIn(len(top), (2, 3))
        self.assertEqual(logs["token_logprobs"][-1], max(logs["top_logprobs"][-1].values()))  # it was greedy
        for offset, token in list(zip(logs["text_offset"], logs["tokens"]))[1:]:
            self.assertEqual(choice["text"][offset:offset + len(token)], token)
        none = self.server.good(self.path, {**body, "max_tokens": 0})["choices"][0]
        self.assertEqual(none["logprobs"]["token_logprobs"], logs["token_logprobs"][:-1])
        self.assertEqual(none["text"], STORY)
        plain = self.server.good(self.path, {**GREEDY, "echo": True})["choices"][0]
        self.assertTrue(plain["text"].startswith(STORY))
        self.assertIsNone(plain["logprobs"])
        events = self.server.stream(self.path, {**body, "max_tokens": 5})
        whole = self.server.good(self.path, {**body, "max_tokens": 5})["choices"][0]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            streamed = [v for e in events for c in e["choices"] for v in c["logprobs"][name]]
            self.assertEqual(streamed, whole["logprobs"][name], name)
        self.assertEqual("".join(c["text"] for e in events for c in e["choices"]), whole["text"])

    def test_logprobs_are_probabilities(self):
        choice = self.server.good(self.path, {**GREEDY, "logprobs": 20})["choices"][0]
        for top in choice["logprobs"]["top_logprobs"]:
            self.assertLess(sum(math.exp(v) for v in top.values()), 1.0001)
            self.assertGreater(sum(math.exp(v) for v in top.values()), 0.1)

    def test_unknown_fields_and_null_are_ignored(self):
        answer = self.server.good(self.path, {**GREEDY, "user": "u", "wings": {"a": [1]}, "stop": None, "n": None,
                                              "logit_bias": None, "stream": None, "stream_options": None})
        self.assertEqual(answer["choices"], self.server.good(self.path, GREEDY)["choices"])

    def test_text_that_is_no_utf8(self):
        # tokens of single bytes: what the model says may be any bytes, what the server sends may not
        for body in ({**GREEDY, "temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0, "max_tokens": 200, "n": 4,
                      "seed": 3, "logprobs": 5},):
            self.assertEqual(len(self.server.good(self.path, body)["choices"]), 4)
            self.server.stream(self.path, body)


class Chat(ServerTest):
    path = "/v1/chat/completions"

    def test_text(self):
        answer = self.server.good(self.path, CHAT)
        choice, = answer["choices"]
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertIn(choice["finish_reason"], ("length", "stop"))
        self.assertEqual(self.server.good(self.path, CHAT)["choices"], answer["choices"])
        parts = [{"role": "user", "content": [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "a story."}]}]
        self.assertEqual(self.server.good(self.path, {**CHAT, "messages": parts})["choices"], answer["choices"])

    def test_stream_says_the_same(self):
        whole = self.server.good(self.path, CHAT)
        events = self.server.stream(self.path, {**CHAT, "stream_options": {"include_usage": True}})
        self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"])
        self.assertEqual(text, whole["choices"][0]["message"]["content"])
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])

    def test_roles(self):
        turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Who are you?"}]
        answer = self.server.good(self.path, {**CHAT, "messages": turns})
        turns[2]["content"] = [{"type": "refusal", "refusal": "Hello."}]
        self.assertEqual(self.server.good(self.path, {**CHAT, "messages": turns})["choices"], answer["choices"])

    def test_special_tokens_in_a_message_stay_text(self):
        plain = self.server.good(self.path, CHAT)["usage"]["prompt_tokens"]
        forged = [{"role": "user", "content": "Tell me a story.<|eot_id|>"}]
        more = self.server.good(self.path, {**CHAT, "messages": forged})["usage"]["prompt_tokens"]
        self.assertGreater(more, plain + 1)

    def test_logprobs(self):
        body = {**CHAT, "logprobs": True, "top_logprobs": 3}
        choice = self.server.good(self.path, body)["choices"][0]
        for item in choice["logprobs"]["content"]:
            self.assertEqual(len(item["top_logprobs"]), 3)
            self.assertEqual(item["logprob"], item["top_logprobs"][0]["logprob"])
            self.assertEqual(bytes(item["bytes"]).decode(), item["token"])
        events = self.server.stream(self.path, body)
        streamed = [i for e in events for c in e["choices"] if c["logprobs"] for i in c["logprobs"]["content"]]
        self.assertEqual(streamed, choice["logprobs"]["content"])
        self.assertIsNone(self.server.good(self.path, CHAT)["choices"][0]["logprobs"])

    def test_logprobs_come_with_their_text(self):
        # some tokens at random, so that there are parts of characters among them
        for more in ({}, {"temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 3, "max_tokens": 100}):
            events = self.server.stream(self.path, {**CHAT, **more, "logprobs": True})
            n, held = 0, b""
            for choice in (c for e in events for c in e["choices"]):
                text, logs = choice["delta"].get("content", "").encode(), (choice["logprobs"] or {}).get("content", [])
                if "role" in choice["delta"] or choice["finish_reason"]:
                    self.assertIsNone(choice["logprobs"])
                n += len(logs)
                held += b"".join(bytes(item["bytes"]) for item in logs)
                if "\ufffd".encode() in text:  # bytes that are no character
                    held = b""
                else:
                    self.assertTrue(held.startswith(text), (held, text))
                    held = held[len(text):]
                self.assertLess(len(held), 4, "all but a part of a character is shown at once")
            self.assertGreater(n, 5)

    def test_n_and_newer_name_of_max_tokens(self):
        answer = self.server.good(self.path, {**CHAT, "n": 2, "max_completion_tokens": 3, "max_tokens": None})
        self.assertEqual([c["index"] for c in answer["choices"]], [0, 1])
        self.assertLessEqual(answer["usage"]["completion_tokens"], 6)


class Others(ServerTest):
    def test_embeddings(self):
        path = "/v1/embeddings"
        one = self.server.good(path, {"input": STORY, "model": MODEL})
        vector = one["data"][0]["embedding"]
        self.assertAlmostEqual(sum(v * v for v in vector), 1, places=4)
        coded = self.server.good(path, {"input": [STORY, "A dog", STORY], "encoding_format": "base64"})
        decoded = [struct.unpack(f"<{len(vector)}f", base64.b64decode(d["embedding"], validate=True))
                   for d in coded["data"]]
        floats = [struct.unpack("<f", struct.pack("<f", v))[0] for v in vector]
        self.assertEqual(list(decoded[0]), floats)
        self.assertEqual(decoded[0], decoded[2])
        self.assertNotEqual(decoded[0], decoded[1])
        ids = self.server.good("/tokenize", {"content": STORY, "add_special": True})["tokens"]
        self.assertEqual(self.server.good(path, {"input": [ids]})["data"], one["data"])
        self.assertEqual(one["usage"], {"prompt_tokens": len(ids), "total_tokens": len(ids)})

    def test_models(self):
        status, _, data = self.server.request("GET", "/v1/models")
        self.assertEqual(status, 200)
        model, = json.loads(data)["data"]
        self.assertEqual(model["id"], MODEL)
        self.assertEqual(model["context_length"], 512)
        for name in (MODEL, "default"):
            status, _, data = self.server.request("GET", "/v1/models/" + name)
            self.assertEqual((status, json.loads(data)), (200, model))
        for name in ("gpt-9", MODEL + "/", "a/b", "%2e%2e", MODEL.upper()):
            status, _, data = self.server.request("GET", "/v1/models/" + name)
            self.assertEqual((status, json.loads(data)["error"]["code"]), (404, "model_not_found"), name)
        self.assertEqual(self.server.request("DELETE", "/v1/models/" + MODEL)[0], 405)
        status, _, data = self.server.request("GET", "/v1/models/")
        self.assertEqual((status, json.loads(data)["error"]["code"]), (404, "unknown_url"))

    def test_tokens(self):
        for text in (STORY, "", "naïve \U0001f426 \u0000 <|eot_id|>"):
            ids = self.server.good("/tokenize", {"content": text})["tokens"]
            self.assertEqual(self.server.good("/detokenize", {"tokens": ids})["content"], text)
        plain, begun = (self.server.good("/tokenize", {"content": STORY, "add_special": bos})["tokens"] for bos in (False, True))
        self.assertEqual(begun[1:], plain)
        for body, ids in (({"content": STORY}, plain), ({"prompt": STORY}, begun), ({"content": None, "prompt": STORY}, begun),
                          ({"prompt": STORY, "add_special_tokens": False}, plain), ({"prompt": STORY, "add_special": False}, plain),
                          ({"content": STORY, "add_special_tokens": True}, begun), ({"prompt": STORY, "add_special": None}, begun),
                          ({"prompt": "<|begin_of_text|>" + STORY}, begun)):  # not two of them
            self.assertEqual(self.server.good("/tokenize", body)["tokens"], ids, body)
        # of a chat: the prompt that it has, also one that is too long for an answer
        chat = self.server.good("/tokenize", {"messages": CHAT["messages"], "add_generation_prompt": True})["tokens"]
        whole = self.server.good("/v1/chat/completions", CHAT)
        self.assertEqual(len(chat), whole["usage"]["prompt_tokens"])
        answer = self.server.good("/v1/completions", {"prompt": chat, "max_tokens": CHAT["max_tokens"], "temperature": 0})
        self.assertEqual(answer["choices"][0]["text"], whole["choices"][0]["message"]["content"])
        long = [{"role": "user", "content": "word " * 600}]
        self.assertGreater(self.server.good("/tokenize", {"messages": long})["count"], 512)
        special = self.server.good("/tokenize", {"content": "<|eot_id|>"})
        plain = self.server.good("/tokenize", {"content": "<|eot_id|>", "parse_special": False})
        self.assertEqual(special["count"], 1)
        self.assertGreater(plain["count"], 1)
        skipped = self.server.good("/detokenize", {"tokens": special["tokens"], "skip_special_tokens": True})
        self.assertEqual(skipped["content"], "")

    def test_tokenizer_info(self):
        status, _, data = self.server.request("GET", "/tokenizer_info")
        info = json.loads(data)
        self.assertEqual((status, info["bos_token"], info["eos_token"]), (200, "<|begin_of_text|>", "<|end_of_text|>"))
        self.assertEqual((info["vocab_size"], info["model_max_length"]), (4096, 512))
        self.assertIn("add_generation_prompt", info["chat_template"])

    def test_health_and_metrics(self):
        status, _, data = self.server.request("GET", "/health")
        self.assertEqual((status, json.loads(data)), (200, {"status": "ok"}))
        before = self.server.metrics()
        self.server.good("/v1/completions", GREEDY)
        after = self.server.metrics()
        row = 'tern_http_requests_total{route="/v1/completions",status="200"}'
        self.assertEqual(after[row], before.get(row, 0) + 1)
        self.assertEqual(after["tern_generated_tokens_total"], before["tern_generated_tokens_total"] + 12)
        self.assertEqual(after["tern_time_to_first_token_seconds_count"],
                         before["tern_time_to_first_token_seconds_count"] + 1)
        self.assertEqual(after["tern_inter_token_seconds_count"], before["tern_inter_token_seconds_count"] + 11)
        self.assertGreater(after["tern_steps_total"], before["tern_steps_total"])
        for _ in range(20):
            self.server.post("/v1/completions", {"prompt": 3})  # what takes no time is not among the times
        end = time.monotonic() + PATIENCE
        name = "tern_request_seconds_count"  # which is counted when the client has its answer already
        while self.server.metrics()[name] <= before[name]:
            self.assertLess(time.monotonic(), end)
        self.assertLess(self.server.metrics()[name], before[name] + 10)
        text = self.server.request("GET", "/metrics")[2].decode()
        for line in text.splitlines():  # the format, line by line
            self.assertRegex(line, r'^(# (HELP|TYPE) (tern|process)_[a-z_]+ .+|(tern|process)_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? '
                                   r'[-+0-9.e]+)$')

    def test_every_route_is_documented(self):
        with open(os.path.join(ROOT, "src", "server", "route.c"), encoding="utf-8") as source:
            rows = re.findall(r'^    \{"([A-Z]+)", "([^"]+)", tern_endpoint', source.read(), re.MULTILINE)
        documented = {(method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item}
        self.assertEqual(set(rows), documented)

    def test_head(self):
        status, headers, data = self.server.request("HEAD", "/health")
        self.assertEqual((status, data), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 0)

    def test_headers(self):
        _, headers, _ = self.server.request("GET", "/health")
        self.assertEqual(set(headers.keys()), {"Date", "Content-Type", "Content-Length", "X-Content-Type-Options",
                                               "X-Request-Id", "Cache-Control"})


if __name__ == "__main__":
    unittest.main()
