"""What is refused: with which status, naming which field; and the server lives on."""
import json
import os
import random
import socket
import tempfile
import threading
import time
import unittest

from damaged import damage
from evaluation import tokenize
from harness import OPENAPI, PATIENCE, ROOT, Server, ServerTest

COMPLETIONS, CHAT, EMBEDDINGS = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
USER = [{"role": "user", "content": "Hi"}]
GOOD = {COMPLETIONS: {"prompt": "Hi", "max_tokens": 1}, CHAT: {"messages": USER, "max_tokens": 1}}
MANY = 10 ** 30


class Fields(ServerTest):
    def test_sampling(self):
        wrong = [("temperature", "warm"), ("temperature", -1), ("temperature", 2.1), ("temperature", True),
                 ("top_p", 2), ("top_p", []), ("top_k", 1.5), ("top_k", -2), ("min_p", "x"), ("min_p", 7),
                 ("frequency_penalty", 3), ("presence_penalty", "a"), ("repeat_penalty", 0),
                 ("repetition_penalty", {}), ("seed", "x"), ("seed", 1.5), ("n", 0), ("n", "1"), ("n", 129),
                 ("n", True), ("stream", "yes"), ("stream", 1), ("stream_options", []),
                 ("stream_options", {"include_usage": True}), ("stop", 3), ("stop", [1]), ("stop", ""),
                 ("stop", ["a"] * 17), ("stop", "a\0b"), ("logit_bias", []), ("logit_bias", {"x": 1}),
                 ("logit_bias", {"99999": 1}), ("logit_bias", {"-1": 1}), ("logit_bias", {"5": 101}),
                 ("logit_bias", {"5": "1"}), ("logit_bias", {" 5": 1}), ("ignore_eos", 1), ("model", 3),
                 ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", "9"), ("best_of", 2)]
        for path, good in GOOD.items():
            for param, value in wrong:
                with self.subTest(path=path, param=param, value=value):
                    error = self.refused(400, param, path, {**good, param: value})
                    self.assertEqual(error["type"], "invalid_request_error")

    def test_numbers(self):
        for path, good in GOOD.items():
            for field in ("max_tokens", "seed", "top_k", "n"):
                self.assertEqual(self.server.post(path, {**good, field: 1.0})[0], 200)
            message = self.refused(400, "max_tokens", path, {**good, "max_tokens": 2.5})["message"]
            self.assertEqual(message, "'max_tokens' is 2.5, but must be a whole number")
            self.refused(400, "max_tokens", path, {**good, "max_tokens": 1e30})
            self.assertEqual(self.server.post(path, {**good, "seed": 2 ** 63 - 1})[0], 200)
            error = self.refused(400, None, path, {**good, "seed": 2 ** 63})
            self.assertEqual(error["code"], "invalid_value")
            self.assertIn("2^63 - 1", error["message"])

    def test_what_would_change_the_answer_is_refused(self):
        both = [("min_tokens", 5, 0), ("stop_token_ids", [1], []), ("guided_regex", "a+", ""), ("typical_p", 0.9, 1.0),
                ("use_beam_search", True, False), ("n_predict", 9, -1), ("mirostat", 2, 0), ("bad_words", ["a"], [])]
        chat = [("functions", [{}], []), ("continue_final_message", True, False), ("add_generation_prompt", False, True),
                ("echo", True, False), ("audio", {"voice": "a"}, {})]
        cases = [(path, *row) for path in GOOD for row in both] + [(CHAT, *row) for row in chat]
        for path, param, value, neutral in cases + [("/tokenize", "tools", [{}], [])]:
            good = GOOD.get(path, {"content": "a"})
            self.assertEqual(self.refused(400, param, path, {**good, param: value})["code"], "unsupported_value")
            self.assertEqual(self.server.post(path, {**good, param: neutral})[0], 200, param)
            self.assertEqual(self.server.post(path, {**good, param: None})[0], 200, param)

    def test_what_is_ignored_is_in_the_log(self):
        for path, good in GOOD.items():
            body = {**good, "temprature": 0, "wings\n\u00e9": {"a": 1}, "none": None}
            self.assertEqual(self.server.post(path, body)[0], 200)
            entry = self.server.log(lambda e, path=path: e["path"] == path and "temprature" in e.get("ignored", ()))
            self.assertEqual(entry["ignored"], ["temprature", "wings\n\u00e9"])
        many = {"content": "a", **{f"{i:03}" * 50: i for i in range(100)}}
        self.assertEqual(self.server.post("/tokenize", many)[0], 200)
        entry = self.server.log(lambda e: e["path"] == "/tokenize" and len(e.get("ignored", ())) > 1)
        self.assertEqual([len(name) for name in entry["ignored"]], [64] * 8)

    def test_what_is_documented_is_not_ignored(self):
        schemas = OPENAPI["components"]["schemas"]
        tried = {COMPLETIONS: "CompletionRequest", CHAT: "ChatRequest", EMBEDDINGS: "EmbeddingRequest",
                 "/tokenize": "TokenizeRequest", "/detokenize": "DetokenizeRequest"}
        begun = len(self.server.lines)
        for path, name in tried.items():
            self.server.post(path, {field: {"x": 0} for field in schemas[name]["properties"]})
            self.server.post(path, {"no such field": 1})
        self.server.log(lambda e: e["path"] == "/detokenize" and "ignored" in e)
        for line in self.server.lines[begun:]:
            self.assertIn(json.loads(line).get("ignored", []), ([], ["no such field"]))

    def test_model(self):
        for path, good in GOOD.items():
            error = self.refused(404, "model", path, {**good, "model": "gpt-9"})
            self.assertEqual(error["code"], "model_not_found")
            self.assertEqual(self.server.post(path, {**good, "model": "default"})[0], 200)

    def test_prompts(self):
        for value in (None, 3, {}, [], [[]], [None], ["a", 3], [1, "a"], [1, -1], [1, 99999], [1.5], [[1], ["a"]], [1, MANY]):
            with self.subTest(value=value):
                status, answer = self.server.post(COMPLETIONS, {"prompt": value})
                self.assertEqual(status, 400, answer)
        error = self.refused(400, "prompt", COMPLETIONS, {"prompt": "word " * 600})
        self.assertEqual(error["code"], "context_length_exceeded")
        self.refused(400, "suffix", COMPLETIONS, {"prompt": "a", "suffix": "b"})
        self.refused(400, "logprobs", COMPLETIONS, {"prompt": "a", "logprobs": 21})
        self.refused(400, "logprobs", COMPLETIONS, {"prompt": "a", "logprobs": True})
        self.refused(400, "echo", COMPLETIONS, {"prompt": "a", "echo": 1})
        self.refused(400, None, COMPLETIONS, {"prompt": ["a"] * 1000, "n": 100})

    def test_messages(self):
        wrong = [(None, "messages"), ("Hi", "messages"), ([], "messages"), (["Hi"], "messages[0].role"),
                 ([{}], "messages[0].role"), ([{"role": "pilot", "content": ""}], "messages[0].role"),
                 ([{"role": 3, "content": ""}], "messages[0].role"),
                 (USER + [{"role": "user"}], "messages[1].content"),
                 (USER + [{"role": "user", "content": 3}], "messages[1].content"),
                 (USER + [{"role": "user", "content": None}], "messages[1].content"),
                 ([{"role": "user", "content": "a\0b"}], "messages[0].content"),
                 ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content"),
                 ([{"role": "user", "content": ["Hi"]}], "messages[0].content")]
        for messages, param in wrong:
            with self.subTest(messages=messages):
                self.refused(400, param, CHAT, {"messages": messages})
        error = self.refused(400, "messages", CHAT, {"messages": [{"role": "user", "content": "word " * 600}]})
        self.assertEqual(error["code"], "context_length_exceeded")
        self.refused(400, "logprobs", CHAT, {"messages": USER, "logprobs": 3})
        self.refused(400, "top_logprobs", CHAT, {"messages": USER, "top_logprobs": 3})
        self.refused(400, "max_completion_tokens", CHAT, {"messages": USER, "max_completion_tokens": 0})

    def test_others(self):
        self.refused(400, "input", EMBEDDINGS, {})
        self.refused(400, "encoding_format", EMBEDDINGS, {"input": "a", "encoding_format": "hex"})
        self.refused(400, "encoding_format", EMBEDDINGS, {"input": "a", "encoding_format": 3})
        self.refused(400, "dimensions", EMBEDDINGS, {"input": "a", "dimensions": 3})
        self.assertIn("there is no text", self.refused(400, "content", "/tokenize", {})["message"])
        self.refused(400, "prompt", "/tokenize", {"prompt": ["a"]})
        self.refused(400, "messages", "/tokenize", {"messages": []})
        self.refused(400, "messages[0].role", "/tokenize", {"messages": [{}]})
        self.refused(400, "content", "/tokenize", {"messages": USER, "content": "a"})
        self.refused(400, "add_special", "/tokenize", {"messages": USER, "add_special": True})
        self.refused(400, "content", "/tokenize", {"content": 3})
        self.refused(400, "add_special", "/tokenize", {"content": "a", "add_special": 3})
        self.refused(400, "tokens", "/detokenize", {})
        self.refused(400, "tokens", "/detokenize", {"tokens": "1"})
        self.refused(400, "tokens", "/detokenize", {"tokens": [-1]})
        self.refused(400, "tokens", "/detokenize", {"tokens": [1, "2"]})

    def test_json(self):
        deep = "[" * 100000
        for body in (b"", b"{", b"[]", b"3", b"null", b'"text"', b'{"prompt": "a",}', b'{"prompt": nan}', deep,
                     '{"prompt": ' + deep, '{"prompt":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}",
                     b'{"prompt": "\xff"}', b'{"prompt": "\xc0\xaf"}', b'{"prompt": "\xed\xa0\x80"}',
                     b'{"prompt": "\\ud800"}', b'{"prompt": "a"} x', b'{"max_tokens": 1' + b"0" * 400 + b"}",
                     b"\x00" * 100, b'{"prompt": "a\nb"}'):
            status, answer = self.server.post(COMPLETIONS, body)
            self.assertEqual(status, 400, body[:50])
            self.assertEqual(answer["error"]["type"], "invalid_request_error")
        self.assertEqual(self.server.post(COMPLETIONS, '{"prompt": "a\\u0000b", "max_tokens": 1}')[0], 200)

    def test_paths_and_methods(self):
        for path in ("/v1", "/v1/chat", "/v1/completions/", "/..", "/index.html", "/v1/engines", "//"):
            status, _, _ = self.server.request("GET", path)
            self.assertEqual(status, 404, path)
        for path, meant in (("/chat/completions", CHAT), ("/completions", COMPLETIONS), ("/v1/v1/models", "/v1/models"),
                            (CHAT + "/", CHAT), ("/v1/health", "/health"), ("/v1/responses", None), ("/v1", None), ("/x", None)):
            status, _, data = self.server.request("GET", path)
            message = json.loads(data)["error"]["message"]
            self.assertEqual(status, 404)
            self.assertIn(f"{path} here{', but ' + meant if meant else ''}; /openapi.json", message)
        for method, path, allowed in (("GET", COMPLETIONS, "POST"), ("DELETE", "/v1/models", "GET"),
                                      ("PUT", CHAT, "POST"), ("POST", "/health", "GET"), ("OPTIONS", CHAT, "POST")):
            status, headers, _ = self.server.request(method, path)
            self.assertEqual((status, headers["Allow"]), (405, allowed))
        self.assertEqual(self.server.request("GET", "/health?a=b")[0], 200)

    def test_content_type(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
            status, _ = self.server.post(COMPLETIONS, GOOD[COMPLETIONS], {"Content-Type": kind})
            self.assertEqual(status, 415, kind)
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;charset=utf-8"):
            self.assertEqual(self.server.post(COMPLETIONS, GOOD[COMPLETIONS], {"Content-Type": kind})[0], 200, kind)
        self.assertEqual(self.server.post(COMPLETIONS, GOOD[COMPLETIONS], {"Content-Encoding": "gzip"})[0], 415)


class Damaged(unittest.TestCase):
    def test_nan(self):
        """What is no number is the server's failure: no vector of zeros, no blame on the request."""
        with open(os.path.join(ROOT, "models", "demo.gguf"), "rb") as file, tempfile.NamedTemporaryFile(suffix=".gguf") as model:
            model.write(damage(file.read(), tokenize("dog")[-1]))
            model.flush()
            server = Server(model=model.name)
            try:
                self.assertEqual(server.post(EMBEDDINGS, {"input": "A cat."})[0], 200)
                for path, body in ((EMBEDDINGS, {"input": ["A cat.", "dog"]}), (COMPLETIONS, {"prompt": "dog"}),
                                   (CHAT, {"messages": USER, "logprobs": True})):
                    status, answer = server.post(path, body)
                    self.assertEqual((status, answer["error"]["code"]), (500, "model_damaged"), answer)
                    self.assertIn("damaged", answer["error"]["message"])
                    self.assertIsNone(answer["error"]["param"])
                self.assertEqual(server.post(EMBEDDINGS, {"input": "A cat."})[0], 200)
                server.wait_idle()
            finally:
                self.assertEqual(server.stop(), 0)


class Sockets(ServerTest):
    """What arrives need not be HTTP."""
    options = ("--read-timeout", "1", "--max-body", "100000", "--max-header", "4096")

    def tearDown(self):
        self.assertTrue(self.server.alive())
        self.assertEqual(self.server.post(COMPLETIONS, GOOD[COMPLETIONS])[0], 200)

    def talk(self, data, half_close=False):
        """Send, then read all that comes."""
        with self.server.connect() as s:
            try:
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
                answer = b""
                while part := s.recv(65536):
                    answer += part
            except OSError:
                return b""
            return answer

    def test_large_body(self):
        for size in (100001, 10 ** 6, 20 * 10 ** 6):
            body = b'{"prompt": "' + b"a" * size + b'"}'
            status, answer = self.server.post(COMPLETIONS, body)
            self.assertEqual((status, answer["error"]["code"]), (413, "body_too_large"))
        with self.server.connect() as s:  # 100 MB, and nothing of it is kept
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                      b"Content-Length: 100000000\r\n\r\n")
            piece = b"a" * 10 ** 6
            before = self.server.metrics().get("process_resident_memory_bytes", 0)
            try:
                for _ in range(100):
                    s.sendall(piece)
                self.assertTrue(s.recv(1000).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 408 ")))
            except OSError:  # slower than --read-timeout here: cut off
                pass
            self.assertLess(self.server.metrics().get("process_resident_memory_bytes", 0) - before, 50e6)
        # in chunks, so that no length says so
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        answer = self.talk(head + b"10000\r\n" + b"a" * 65536 + b"\r\n" + b"10000\r\n" + b"a" * 65536 + b"\r\n0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:100])
        # one that asks first does not have to send
        answer = self.talk(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:100])

    def test_large_headers(self):
        status, _, _ = self.server.request("GET", "/health", headers={"X-Large": "a" * 5000})
        self.assertEqual(status, 431)
        flood = b"".join(b"X-%d: a\r\n" % i for i in range(100000))
        answer = self.talk(b"GET /health HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n")
        self.assertTrue(answer == b"" or answer.split()[1] in (b"431", b"413"), answer[:100])
        answer = self.talk(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(answer == b"" or answer.split()[1] in (b"414", b"431"), answer[:100])

    def test_slow_clients(self):
        """Whoever drips is cut off; together they take the time of one."""
        beginnings = (b"", b"GE", b"GET /health HTTP/1.1\r\nX-A", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                      b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        answers = {}

        def drip(beginning):
            with self.server.connect() as s:
                got = b""
                try:
                    s.sendall(beginning)
                    s.settimeout(0.1)
                    end = time.monotonic() + PATIENCE
                    while time.monotonic() < end:
                        try:
                            part = s.recv(1000)
                            if not part:
                                break
                            got += part
                        except TimeoutError:
                            if beginning:
                                s.sendall(b"a")
                    else:
                        got = b"never"
                except OSError:
                    pass
            answers[beginning] = got

        threads = [threading.Thread(target=drip, args=(b,)) for b in beginnings]
        for thread in threads:
            thread.start()
        self.assertEqual(self.server.post(COMPLETIONS, GOOD[COMPLETIONS])[0], 200)  # meanwhile
        for thread in threads:
            thread.join()
        self.assertNotIn(b"never", answers.values())
        self.assertEqual(answers[b""], b"")
        self.assertTrue(answers[beginnings[3]].startswith(b"HTTP/1.1 408 "), answers)

    def test_half_closed(self):
        answer = self.talk(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") or answer == b"", answer[:100])
        body = json.dumps({"prompt": "Once", "max_tokens": 400, "ignore_eos": True}).encode()
        self.talk(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body, half_close=True)
        self.server.wait_idle()

    def test_odd_requests(self):
        for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
                     b"GET /health HTTP/1.1\r\n\r\n",  # without Host
                     b"GET /health HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: -5\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 99999999999999999999999\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 50\r\n\r\n{"):
            self.talk(data, half_close=True)

    def test_random_bytes(self):
        chance = random.Random(5)
        good = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n"
                b'{"prompt": "Hi", "max_tokens": 1, "n": 1    }')
        for i in range(60):
            if i % 3 == 0:
                data = chance.randbytes(chance.randrange(1, 3000))
            else:  # a request with some bytes changed
                data = bytearray(good)
                for _ in range(chance.randrange(1, 6)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            self.talk(bytes(data), half_close=True)

    def test_keep_alive_and_pipelining(self):
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.talk(request * 9 + last).count(b"HTTP/1.1 200 OK"), 10)
        self.assertTrue(self.talk(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1."))


if __name__ == "__main__":
    unittest.main()
