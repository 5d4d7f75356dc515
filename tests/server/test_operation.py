"""Keys, origins, limits, clients that leave, and the end of the server."""
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, TERN, Server, ServerTest, check_answer, parse_events

PATH = "/v1/completions"
SHORT = {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
LONG = {"prompt": "Once upon a time", "max_tokens": 480, "temperature": 0, "ignore_eos": True}


def open_request(server, body, path=PATH):
    """A request under way: its socket, nothing read."""
    data = json.dumps(body).encode()
    s = server.connect()
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
              % (path.encode(), len(data)) + data)
    return s


# 2.7 MB that take long to read: many small objects, in a field that nobody knows
HEAVY = b'{"content": "a bird", "unknown": [' + b",".join([b'{"k":{}}'] * 300000) + b"]}"


def open_heavy(server):
    """A request of which only the last byte, "}", is not yet sent."""
    s = server.connect()
    s.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
              b"Connection: close\r\n\r\n" % len(HEAVY) + HEAVY[:-1])
    return s


def read_all(s):
    data = b""
    try:
        while part := s.recv(65536):
            data += part
    except OSError:
        pass
    return data


def wait_for(server, name, value):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        got = server.metrics()[name]
        if got >= value:
            return
        time.sleep(0.005)
    raise AssertionError(f"{name} stays at {got}")


class Keys(ServerTest):
    env = {"TERN_API_KEY": "third"}

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("first\n\nsecond-key\n")
            file.flush()
            cls.options = ("--api-key", "zeroth", "--api-key-file", file.name)
            super().setUpClass()

    def test_keys(self):
        for key in ("zeroth", "first", "second-key", "third"):
            for header in (f"Bearer {key}", f"bearer  {key}"):
                self.assertEqual(self.server.post(PATH, SHORT, {"Authorization": header})[0], 200, header)
        for header in ("Bearer", "Bearer ", "Bearer firs", "Bearer first2", "Bearer FIRST", "first", "Basic Zmlyc3Q=",
                       "Bearer first second-key", "Bearer " + "first" * 200):
            status, answer = self.server.post(PATH, SHORT, {"Authorization": header})
            self.assertEqual((status, answer["error"]["code"]), (401, "invalid_api_key"), header)

    def test_what_needs_one(self):
        for path in ("/v1/models", "/metrics"):
            status, headers, _ = self.server.request("GET", path)
            self.assertEqual((status, headers["WWW-Authenticate"]), (401, "Bearer"))
        for path in (PATH, "/v1/chat/completions", "/v1/embeddings", "/tokenize", "/detokenize"):
            self.assertEqual(self.server.post(path, {})[0], 401)
        for path in ("/health", "/openapi.json", "/"):
            self.assertEqual(self.server.request("GET", path)[0], 200)
        # what one has sent, another one cannot find out by how long it takes
        body = {**SHORT, "prompt": "A secret prompt. " * 40}
        for key in ("zeroth", "first"):
            cached = [self.server.post(PATH, body, {"Authorization": f"Bearer {key}"})[1]["usage"]
                      ["prompt_tokens_details"]["cached_tokens"] for _ in range(2)]
            self.assertEqual(cached[0], 0, key)
            self.assertGreater(cached[1], 0)
        for number, key in enumerate(("zeroth", "third", "first"), 1):
            with self.subTest(key=key):
                self.server.post(PATH, SHORT, {"Authorization": f"Bearer {key}"})
                self.server.log(lambda e, number=number: e.get("key") == number and e["status"] == 200)
        # with a key, pages of any origin may ask, for they cannot know it; but they may not read
        status, headers, _ = self.server.request("GET", "/v1/models", headers={"Authorization": "Bearer first",
                                                                               "Origin": "https://example.org"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, None))


class Origins(ServerTest):
    def test_pages_of_others_are_refused(self):
        for origin in ("http://example.org", "null", "https://127.0.0.1.example.org", "http://localhost.example.org",
                       "http://1a.2", "http://[example", ""):
            status, headers, _ = self.server.request("GET", "/v1/models", headers={"Origin": origin})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (403, None), origin)
        for origin in (self.server.url, "http://localhost:8080", "http://[::1]:80", "http://app.localhost",
                       "http://192.168.1.2:8080"):
            status, headers, _ = self.server.request("GET", "/v1/models", headers={"Origin": origin})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, None), origin)

    def test_page(self):
        status, headers, data = self.server.request("GET", "/", check=False)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertNotIn("unsafe", headers["Content-Security-Policy"])
        self.assertIn(b"<!doctype html>", data)
        again = self.server.request("GET", "/", headers={"If-None-Match": headers["ETag"]})
        self.assertEqual((again[0], again[2]), (304, b""))
        self.assertEqual(self.server.request("GET", "/", headers={"If-None-Match": '"other"'})[0], 200)
        status, headers, _ = self.server.request("GET", "/style.css", check=False)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/css; charset=utf-8"))
        self.assertEqual(self.server.request("POST", "/style.css", check=False)[0], 405)


class Hosts(unittest.TestCase):
    def test_names_that_anybody_can_point_here(self):
        public = ("evil.example.org", "evil.example:80", "127.0.0.1.example.org", "localhost.example.org.", "a.b.c",
                  "xlocal.org", "1a.2b")
        own = ("localhost", "localhost:8080", "127.0.0.1", "10.0.0.7:80", "[::1]:8080", "tern", "printer.local",
               "a.localhost.", "tern.prod.svc.cluster.local", "HOST.LAN:1")
        server = Server("--cors", "https://chat.example.com")
        for method, path, body in (("GET", "/v1/models", None), ("GET", "/", None), ("POST", PATH, json.dumps(SHORT))):
            for hosts, wanted in ((public, 403), (own + ("chat.example.com", "Chat.Example.com:8080"), 200)):
                for host in hosts:
                    headers = {"Host": host, "Content-Type": "application/json"}
                    status, _, data = server.request(method, path, body, headers, check=path != "/")
                    self.assertEqual(status, wanted, (host, data))
        self.assertEqual(json.loads(server.request("GET", "/health", headers={"Host": "a.b"})[2])["error"]["code"],
                         "forbidden_host")
        self.assertEqual(server.stop(), 0)
        for options in (("--api-key", "k"), ("--cors", "*")):  # a page does not know the key
            server = Server(*options)
            self.assertEqual(server.request("GET", "/health", headers={"Host": "evil.example.org"})[0], 200)
            self.assertEqual(server.stop(), 0)


class Cors(ServerTest):
    options = ("--cors", "https://example.org")

    def test_allowed(self):
        origin = {"Origin": "https://example.org"}
        status, headers, _ = self.server.request("OPTIONS", PATH, headers={**origin, "Access-Control-Request-Method": "POST"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, "https://example.org"))
        self.assertIn("authorization", headers["Access-Control-Allow-Headers"])
        _, headers, _ = self.server.request("GET", "/v1/models", headers=origin)
        self.assertEqual(headers["Access-Control-Allow-Origin"], "https://example.org")
        self.assertEqual(headers["Vary"], "Origin")
        self.assertIn("Retry-After", headers["Access-Control-Expose-Headers"])
        self.assertIn("X-Request-Id", headers["Access-Control-Expose-Headers"])

    def test_headers_that_clients_send(self):
        ask = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
        stainless = ("authorization,content-type,x-stainless-arch,x-stainless-helper-method,x-stainless-lang,"
                     "x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
                     "x-stainless-runtime-version,x-stainless-timeout")
        usual = "authorization, content-type"
        for asked, allowed in ((stainless, stainless), ("x-a, x-b", "x-a, x-b"), ("", usual), ("x-a: b", usual),
                               ("x-(a)", usual), ("x" * 600, usual)):
            status, headers, _ = self.server.request("OPTIONS", PATH,
                                                     headers={**ask, "Access-Control-Request-Headers": asked})
            self.assertEqual((status, headers["Access-Control-Allow-Headers"]), (204, allowed), asked)

    def test_others(self):
        other = {"Origin": "https://example.com"}
        self.assertEqual(self.server.request("GET", "/v1/models", headers=other)[0], 403)
        status, headers, _ = self.server.request("OPTIONS", PATH, headers={**other, "Access-Control-Request-Method": "POST"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (403, None))
        self.assertIsNone(headers["Access-Control-Expose-Headers"])


class Clients(ServerTest):
    options = ("--parallel", "2", "--queue", "2", "--max-connections", "20")

    def test_disconnected_clients_free_their_requests(self):
        for body in (LONG, {**LONG, "stream": True}, {**LONG, "n": 4}, {**LONG, "prompt": ["a"] * 30}):
            cancelled = self.server.metrics()["tern_requests_cancelled_total"]
            s = open_request(self.server, body)
            wait_for(self.server, "tern_requests_running", 1)
            s.close()
            metrics = self.server.wait_idle()
            self.assertGreater(metrics["tern_requests_cancelled_total"], cancelled)
        self.server.log(lambda entry: entry.get("status") == 499)

    def test_slow_reader(self):
        # 1 MiB of unread stream, with a socket that takes little
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((self.server.host, self.server.port))
        body = json.dumps({**LONG, "n": 8, "logprobs": 20, "stream": True}).encode()
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                  % (PATH.encode(), len(body)) + body)
        wait_for(self.server, "tern_http_slow_readers_total", 1)
        self.server.wait_idle()
        s.close()

    def test_full_queue(self):
        streams = [open_request(self.server, {**LONG, "stream": True}) for _ in range(4)]
        wait_for(self.server, "tern_requests_waiting", 2)
        status, headers, data = self.server.request("POST", PATH, json.dumps(SHORT), {"Content-Type": "application/json"})
        self.assertEqual(status, 429, data)
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        self.assertEqual(json.loads(data)["error"]["type"], "rate_limit_error")
        for s in streams:
            s.close()
        self.server.wait_idle()
        # more prompts than the queue holds, of one client, are no reason
        self.assertEqual(len(self.server.good(PATH, {**SHORT, "prompt": ["Once"] * 12})["choices"]), 12)

    def test_many_connections(self):
        idle = [self.server.connect() for _ in range(20)]
        time.sleep(0.1)
        status, headers, _ = self.server.request("GET", "/health")
        self.assertEqual(status, 503)
        self.assertTrue(headers["Retry-After"])
        for s in idle:
            s.close()
        end = time.monotonic() + PATIENCE
        while self.server.request("GET", "/health")[0] != 200:
            self.assertLess(time.monotonic(), end)

    def test_connections_that_came_first_go_on(self):
        kept = [http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE) for _ in range(20)]

        def ask(connection):
            connection.request("GET", "/health")
            response = connection.getresponse()
            return response.status, response.headers, response.read()

        end = time.monotonic() + PATIENCE
        for connection in kept:  # those of other tests may still be closing
            while ask(connection)[0] != 200:
                self.assertLess(time.monotonic(), end)
        for _ in range(3):  # more of those that come too late than the server has places for them
            late = [self.server.connect() for _ in range(30)]
            for connection in kept:
                self.assertEqual(ask(connection)[0], 200)
            for s in late:
                s.close()
        late = [http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE) for _ in range(30)]
        for connection in late:  # each gets an answer, one after the other, for each place is free at once
            status, headers, data = ask(connection)
            self.assertEqual((status, json.loads(data)["error"]["code"]), (503, "too_many_connections"))
            self.assertEqual((headers["Connection"].lower(), headers["Retry-After"]), ("close", "1"))
        kept.pop().close()
        while ask(late[0])[0] != 200:
            self.assertLess(time.monotonic(), end)
        for connection in kept + late:
            connection.close()

    def test_answers_are_not_mixed_up(self):
        prompts = ["Once upon a time", "The dog", "One day, a bird", "Tom and Sam", "It was raining"]
        alone = [self.server.good(PATH, {**SHORT, "prompt": p, "max_tokens": 20})["choices"][0]["text"] for p in prompts]
        failures = []

        def client(i):
            for _ in range(3):
                body = {**SHORT, "prompt": prompts[i], "max_tokens": 20}
                while (answer := self.server.post(PATH, body))[0] == 429:
                    time.sleep(0.02)
                if answer[1]["choices"][0]["text"] != alone[i]:
                    failures.append((i, answer))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class Heavy(ServerTest):
    def test_a_large_request_does_not_hold_up_others(self):
        heavy = open_heavy(self.server)
        kept = http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE)

        def ask(method, path, body=None):
            kept.request(method, path, body, {"Content-Type": "application/json"})
            response = kept.getresponse()
            self.assertEqual(response.status, 200, response.read())
            response.read()

        ask("GET", "/health")
        heavy.sendall(HEAVY[-1:])
        meanwhile = 0
        while not select.select([heavy], [], [], 0)[0]:
            ask("GET", "/health")  # the HTTP thread is free
            ask("POST", "/tokenize", b'{"content": "a bird"}')  # and so is somebody who reads small requests
            meanwhile += 1
        answer = read_all(heavy)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:300])
        self.assertGreater(meanwhile, 3)
        heavy.close()
        kept.close()

    def test_clients_leave_meanwhile(self):
        for _ in range(3):
            heavy = open_heavy(self.server)
            heavy.sendall(HEAVY[-1:])
            heavy.close()
        self.server.log(lambda entry: entry["path"] == "/tokenize" and entry["status"] == 499)
        self.server.wait_idle()

    def test_the_server_ends_meanwhile(self):
        for options in ((), ("--drain", "0")):
            server = Server(*options)
            heavy = [open_heavy(server) for _ in range(3)]
            for s in heavy:
                s.sendall(HEAVY[-1:])
            self.assertEqual(server.request("GET", "/health")[0], 200)
            self.assertEqual(server.stop(), 0)
            for s in heavy:
                self.assertIn(read_all(s)[:12], (b"HTTP/1.1 200", b"HTTP/1.1 503", b""))
                s.close()


class Full(unittest.TestCase):
    def test_retry_after_is_what_the_queue_takes(self):
        for queue in (2, 40):
            server = Server("--parallel", "1", "--queue", str(queue))
            server.good(PATH, LONG)
            seconds = server.log(lambda e: e["event"] == "request")["total_ms"] / 1000
            flood = [open_request(server, {**LONG, "max_tokens": 400}) for _ in range(2 * queue + 10)]
            found = None
            while not found:
                for s in select.select(flood, [], [], PATIENCE)[0]:
                    found = found or re.match(rb"HTTP/1.1 429 (?s:.*)\r\nRetry-After: (\d+)\r\n", s.recv(65536))
            for s in flood:
                s.close()
            wait = int(found[1])
            self.assertGreaterEqual(wait, max(1, min(60, int(0.3 * queue * seconds))))
            self.assertLessEqual(wait, min(60, 2 + 3 * queue * seconds))
            self.assertEqual(server.stop(), 0)


class Deadline(unittest.TestCase):
    def test_nothing_is_there(self):
        server = Server("--timeout", "0.05")
        texts = [[1 + i] * 500 for i in range(64)]
        for path, body in ((PATH, {"prompt": texts, "max_tokens": 0, "echo": True, "logprobs": 0}),
                           ("/v1/embeddings", {"input": texts})):
            status, headers, data = server.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            self.assertEqual((status, json.loads(data)["error"]["type"]), (408, "timeout_error"), data[:300])
            self.assertEqual(headers["X-Should-Retry"], "false")
        server.wait_idle()
        self.assertEqual(server.stop(), 0)

    def test_what_is_there_is_the_answer(self):
        texts = {**LONG, "prompt": ["Once upon a time"] * 8, "n": 128}  # half a million tokens
        chat = {"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": True, "temperature": 0, "n": 128}
        asked = [(PATH, texts), (PATH, {**texts, "stream": True}), ("/v1/chat/completions", chat)]
        for seconds in ("0.5", "4", "20"):  # until something is there, on a slow machine, too
            server = Server("--timeout", seconds)
            answers = [server.request("POST", path, json.dumps(body), {"Content-Type": "application/json"}, check=False)
                       for path, body in asked]
            server.wait_idle()
            self.assertEqual(server.stop(), 0)
            if all(status == 200 for status, _, _ in answers):
                break
        choices = json.loads(answers[0][2])["choices"]
        check_answer("POST", PATH, 200, "application/json", answers[0][2])
        self.assertEqual(len(choices), 1024)
        self.assertTrue(any(c["text"] for c in choices))
        self.assertEqual(choices[-1]["text"], "")
        self.assertEqual((choices[-1]["finish_reason"], choices[-1]["stop_reason"]), ("length", "timeout"))
        events = parse_events(PATH, answers[1][2])
        ends = [c for e in events for c in e["choices"] if c["finish_reason"]]
        self.assertEqual(sorted(c["index"] for c in ends), list(range(1024)))
        self.assertIn("timeout", [c.get("stop_reason") for c in ends])
        check_answer("POST", "/v1/chat/completions", 200, "application/json", answers[2][2])
        last = json.loads(answers[2][2])["choices"][-1]
        self.assertEqual((last["finish_reason"], last["stop_reason"]), ("length", "timeout"))


class Waiting(unittest.TestCase):
    def test_a_stream_that_waits_says_so(self):
        server = Server("--parallel", "1", "--ping", "0.2")
        busy = [open_request(server, {**LONG, "n": 128}) for _ in range(10)]
        wait_for(server, "tern_requests_waiting", 100)  # a quick machine is busy with that for seconds, too
        s = open_request(server, {**SHORT, "stream": True})
        data = b""
        while data.count(b": waiting\n\n") < 2:
            part = s.recv(65536)
            self.assertTrue(part)
            data += part
        self.assertTrue(data.startswith(b"HTTP/1.1 200 "), data)
        self.assertNotIn(b"data:", data)
        for other in busy:
            other.close()
        while b"data: [DONE]\n\n" not in data:
            part = s.recv(65536)
            self.assertTrue(part)
            data += part
        self.assertEqual(data.count(b'"finish_reason":"length"'), 1)
        s.close()
        self.assertEqual(server.stop(), 0)


class Log(unittest.TestCase):
    def test_who_asked_and_how_long_it_took(self):
        server = Server()
        server.good(PATH, SHORT)
        entry = server.log(lambda e: e["event"] == "request")
        self.assertEqual(entry["client"], "127.0.0.1")
        self.assertNotIn("key", entry)
        self.assertGreaterEqual(entry["queue_ms"], 0)
        self.assertLessEqual(entry["queue_ms"], entry["first_token_ms"])
        self.assertLessEqual(entry["first_token_ms"], entry["total_ms"])
        server.post(PATH, {**SHORT, "temperature": "secret"})
        entry = server.log(lambda e: e.get("status") == 400)
        self.assertEqual((entry["code"], entry["param"]), ("invalid_type", "temperature"))
        self.assertEqual(server.stop(), 0)
        self.assertFalse(any("secret" in line for line in server.lines))

    def test_prompts_only_if_asked_for(self):
        for options, wanted in ((), False), (("--log-prompts",), True):
            server = Server(*options)
            server.good(PATH, {**SHORT, "prompt": "A very secret bird"})
            entry = server.log(lambda e: e["event"] == "request")
            self.assertEqual(entry["path"], PATH)
            self.assertEqual((entry["status"], entry["completion_tokens"]), (200, 4))
            self.assertEqual(server.stop(), 0)
            self.assertEqual(any("secret" in line for line in server.lines), wanted)
            for line in server.lines:
                self.assertTrue(line.startswith(("serving ", "listening on ")) or json.loads(line), line)
            self.assertIn("serving tern-demo: 7.35 M parameters, a context of 512 tokens, 16 requests at a time", server.lines)


class End(unittest.TestCase):
    def test_drain(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            server = Server()
            s = open_request(server, {**LONG, "stream": True, "n": 3})
            wait_for(server, "tern_requests_running", 1)
            kept = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE)
            kept.request("GET", "/health")
            self.assertEqual(kept.getresponse().read(), b'{"status":"ok"}')
            server.process.send_signal(how)
            end = time.monotonic() + PATIENCE
            while server.request("GET", "/health")[0] != 503:
                self.assertLess(time.monotonic(), end)
            status, answer = server.post(PATH, SHORT)
            self.assertEqual((status, answer["error"]["code"]), (503, "draining"))
            data = read_all(s)
            self.assertEqual(data.count(b'"finish_reason":"length"'), 3)
            self.assertIn(b"data: [DONE]", data)
            s.close()
            kept.close()
            self.assertEqual(server.stop(), 0)

    def test_second_signal_and_limit(self):
        for options, signals in ((), 2), (("--drain", "0"), 1):
            server = Server("--parallel", "4", *options)
            s = open_request(server, {**LONG, "n": 100})
            wait_for(server, "tern_requests_running", 1)
            for _ in range(signals):
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            self.assertEqual(server.process.wait(PATIENCE), 0)
            data = read_all(s)
            self.assertTrue(data.startswith(b"HTTP/1.1 503 "), data[:200])
            s.close()
            self.assertEqual(server.stop(), 0)

    def test_idle(self):
        server = Server()
        held = server.connect()
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, PATIENCE)
        held.close()


class Usage(unittest.TestCase):
    def fails(self, status, part, *options, env=None):
        done = subprocess.run([TERN, "serve", *options], capture_output=True, stdin=subprocess.DEVNULL, text=True,
                              timeout=PATIENCE, env={**os.environ, **(env or {})}, check=False)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertIn(part, done.stderr)
        return done.stderr

    def test_open_to_others_needs_a_key(self):
        self.fails(2, "--api-key-file", "demo", "--host", "0.0.0.0", "--port", "0")
        self.fails(2, "--api-key-file", "demo", "--host", "::", "--port", "0")
        for options in (("--insecure",), ("--api-key", "k")):
            server = Server("--host", "0.0.0.0", *options)
            self.assertEqual(server.stop(), 0)

    def test_keys(self):
        secret = self.fails(2, "TERN_API_KEY", "demo", env={"TERN_API_KEY": "sec ret"})
        self.assertNotIn("sec ret", secret)
        self.fails(2, "empty key", "demo", "--api-key", "")
        self.fails(1, "no key in it", "demo", "--api-key-file", os.devnull)
        self.fails(1, "/nowhere", "demo", "--api-key-file", "/nowhere")

    def test_warnings_of_keys(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("a-key-that-nobody-guesses\nabc\n")
            file.flush()
            for mode, host, wanted in ((0o600, "127.0.0.1", []), (0o644, "127.0.0.1", ["chmod 600"]),
                                       (0o600, "0.0.0.0", ["key 2 has fewer"])):
                os.chmod(file.name, mode)
                server = Server("--host", host, "--api-key-file", file.name)
                self.assertEqual(server.stop(), 0)
                warnings = [line for line in server.lines if line.startswith("tern: warning: ")]
                self.assertEqual(len(warnings), len(wanted), server.lines)
                for part in wanted:
                    self.assertIn(part, warnings[0])

    def test_bytes(self):
        for wrong in ("2T", "G", "1.5G", "-1K", "2 G", "9999999999G", "1KK", "0G"):
            self.fails(2, "--kv-bytes", "demo", "--kv-bytes=" + wrong)
        server = Server("--kv-bytes", "64M", "--max-body", "2K")
        self.assertLessEqual(server.metrics()["tern_kv_bytes"], 64 << 20)
        self.assertGreater(server.metrics()["tern_kv_bytes"], 32 << 20)
        for size, status in ((2048, 200), (2049, 413)):
            body = '{"prompt": "a", "max_tokens": 1, "user": "'
            body += "a" * (size - len(body) - 2) + '"}'
            self.assertEqual(server.post(PATH, body)[0], status)
        self.assertEqual(server.stop(), 0)

    def test_addresses(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.fails(1, "cannot listen on 127.0.0.1 port", "demo", "--port", str(s.getsockname()[1]))
        self.fails(1, "no such host", "demo", "--host", "no.such.host.invalid", "--api-key", "k")
        self.fails(2, "out of range", "demo", "--port", "65536")

    def test_bad_model(self):
        self.fails(1, "/nowhere.gguf", "/nowhere.gguf", "--port", "0")

    def test_ipv6(self):
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError:
            self.skipTest("no IPv6 here")
        server = Server("--host", "::1")
        self.assertTrue(server.url.startswith("http://[::1]:"))
        self.assertEqual(server.request("GET", "/health")[0], 200)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
