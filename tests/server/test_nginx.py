"""contrib/nginx.conf: two servers behind a real nginx, one of them killed under load and under streams. Skipped where there
is no nginx."""
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, ROOT, Server, check_answer, parse_events

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PATH, CHAT, EMBEDDINGS = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
BODY = {"prompt": "Once upon a time", "max_tokens": 30, "temperature": 0}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Proxy:
    """nginx with the sample's text, but for its ports."""

    def __init__(self, servers, max_conns=None):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        with open(os.path.join(ROOT, "contrib", "nginx.conf"), encoding="utf-8") as file:
            site = file.read()
        for old, server in zip(("127.0.0.1:8081", "127.0.0.1:8082"), servers):
            assert old in site
            site = site.replace(old, f"{server.host}:{server.port}")
        assert "listen 8080;" in site
        site = site.replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
        if max_conns:
            site, n = re.subn(r" max_conns=\d+;", f" max_conns={max_conns};", site)
            assert n == len(servers)
        paths = "".join(f"{name}_temp_path {self.folder.name}/{name};\n"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(self.folder.name, "nginx.conf"), "w", encoding="utf-8") as file:
            file.write(f"pid {self.folder.name}/pid; daemon off; error_log stderr warn; worker_processes 1;\n"
                       f"events {{ worker_connections 512; }}\nhttp {{ access_log off;\n{paths}{site}\n}}\n")
        self.process = subprocess.Popen([NGINX, "-p", self.folder.name, "-c", "nginx.conf", "-e", "stderr"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.request("GET", "/health")
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, self.process.stderr.read()
                time.sleep(0.02)

    def exchange(self, method, path, body=None, headers=None, begun=None):
        """-> status, headers, the bytes that came, whether they are the whole answer. `begun` is called when it begins."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body,
                               {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            data = b""
            try:
                if begun:
                    data = response.read1()
                    begun()
                return response.status, response.headers, data + response.read(), True
            except http.client.IncompleteRead as cut:
                return response.status, response.headers, data + cut.partial, False
        finally:
            connection.close()

    def request(self, method, path, body=None, headers=None):
        status, _, data, whole = self.exchange(method, path, body, headers)
        assert whole, data
        return status, data

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.process.stderr.close()
        self.folder.cleanup()


class Holding(http.server.ThreadingHTTPServer):
    """In a server's place: it answers a POST when let_go() is called."""
    arrived = threading.Semaphore(0)
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def answer(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = answer

        def do_POST(self):
            self.server.n_held += 1
            Holding.arrived.release()
            self.server.may_go.wait(PATIENCE)
            self.answer()

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Holding.Handler)
        self.host, self.port = self.server_address
        self.n_held, self.may_go = 0, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def let_go(self):
        self.may_go.set()
        self.shutdown()
        self.server_close()


class Balance(unittest.TestCase):
    """Which server gets what."""

    @classmethod
    def setUpClass(cls):
        cls.servers = [Server(), Server()]
        cls.proxy = Proxy(cls.servers)

    @classmethod
    def tearDownClass(cls):
        cls.proxy.stop()
        for server in cls.servers:
            assert server.stop() == 0

    def counts(self):
        """How many answers each server has given."""
        every = [server.metrics() for server in self.servers]
        return [sum(metrics.get(f'tern_http_requests_total{{route="{path}",status="200"}}', 0)
                    for path in (PATH, CHAT, EMBEDDINGS)) for metrics in every]

    def places(self, requests):
        """-> which servers answer `requests`: (path, body, headers)"""
        found = []
        for path, body, headers in requests:
            before = self.counts()
            status, data = self.proxy.request("POST", path, body, headers)
            self.assertEqual(status, 200, data)
            grown = [b - a for a, b in zip(before, self.counts())]
            self.assertEqual(sorted(grown), [0, 1])
            found.append(grown.index(1))
        return found

    def sticky(self, group):
        """The requests group(i) go to one server for each i, and each server gets some of the groups."""
        used = set()
        for i in range(40):
            places = self.places(group(i))
            self.assertEqual(len(set(places)), 1, group(i))
            used.add(places[0])
            if i >= 3 and used == {0, 1}:
                return
        self.fail("one server gets everything")

    def test_system_prompt(self):
        """As any client sends it: without a header, whatever the questions and the other fields are."""
        def ask(system, question, **more):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
            return CHAT, {**more, "messages": messages, "max_tokens": 1}, {}

        def group(i):
            system = f"You answer {'very ' * (i % 3 * 60)}briefly, in {i} words at most."
            return [ask(system, "Who are you?"), ask(system, "Tell me of a dog."),
                    ask(system, "And then? " * 30, temperature=0, model="default")]

        self.sticky(group)

    def test_conversation(self):
        """Without a system prompt: a conversation's turns, also with contents in parts and bodies of several lines."""
        def group(i):
            turns, requests = [], []
            for question in (f"Tell me story {i}.", "And then?", "Why?"):
                turns.append({"role": "user", "content": [{"type": "text", "text": question}] if i % 2 else question})
                requests.append((CHAT, json.dumps({"max_tokens": 1, "messages": turns}, indent=2 if i % 3 else None), {}))
                turns.append({"role": "assistant", "content": "So it was."})
            return requests

        self.sticky(group)

    def test_prompt(self):
        def group(i):
            prompt, more = ([i, *range(100, 220)], [300, 301]) if i % 2 else (f"{i} dogs went out.\n" * 16, "And then")
            return [(PATH, {"prompt": text, "max_tokens": 1}, {}) for text in (prompt, prompt + more)]

        self.sticky(group)

    def test_header(self):
        """It decides over what is in the body."""
        self.sticky(lambda i: [(PATH, {"prompt": f"{k} birds", "max_tokens": 1}, {"X-Tern-Prefix": str(i)}) for k in range(3)])

    def test_spread(self):
        """What has no beginning to find again goes anywhere."""
        self.assertEqual(set(self.places([(EMBEDDINGS, {"input": "A dog."}, {})] * 24)), {0, 1})

    def test_stream_and_metrics(self):
        status, data = self.proxy.request("POST", PATH, {**BODY, "stream": True})
        self.assertEqual(status, 200)
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(self.proxy.request("GET", "/metrics")[0], 403)


class Spill(unittest.TestCase):
    def test_spill(self):
        """A server with max_conns requests passes further ones on; when all have them, 503 says when to come again."""
        servers = [Holding(), Holding()]
        proxy = Proxy(servers, max_conns=1)
        clients = [threading.Thread(target=proxy.request, args=("POST", PATH, BODY)) for _ in servers]
        try:
            for client in clients:
                client.start()
                self.assertTrue(Holding.arrived.acquire(timeout=PATIENCE))
            self.assertEqual([server.n_held for server in servers], [1, 1])
            status, headers, data, _ = proxy.exchange("POST", PATH, BODY)
            self.assertEqual((status, headers["Retry-After"]), (503, "2"), data)
            check_answer("POST", PATH, status, headers["Content-Type"], data)
        finally:
            for server in servers:
                server.let_go()
            for client in clients:
                client.join()
            proxy.stop()


class Killed(unittest.TestCase):
    """One of the servers is."""

    def setUp(self):
        self.servers = [Server(), Server()]
        self.proxy = Proxy(self.servers)

    def tearDown(self):
        self.proxy.stop()
        for server in self.servers:
            server.stop()

    def test_under_load(self):
        """Every request is answered, as if nothing had happened."""
        wanted = self.proxy.request("POST", PATH, BODY)
        text = json.loads(wanted[1])["choices"][0]["text"]
        wrong, done, killed = [], [0], threading.Event()

        def client(i):
            after = 0
            while after < 3:
                after += killed.is_set()
                status, data = self.proxy.request("POST", PATH, BODY, {"X-Tern-Prefix": f"client {i}"})
                if status != 200 or json.loads(data)["choices"][0]["text"] != text:
                    wrong.append((status, data))
                done[0] += 1

        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        while done[0] < 16:
            time.sleep(0.01)
        self.servers[0].process.kill()
        killed.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_in_a_stream(self):
        """A stream that has begun is cut off so that any client sees it; the same question gets its answer from the other."""
        # many answers, which take much longer than it takes to kill the server
        body = {**BODY, "max_tokens": 400, "n": 128, "ignore_eos": True, "stream": True}

        def kill():
            for server in self.servers:
                if server.metrics()["tern_requests_running"]:
                    server.process.kill()

        status, _, data, whole = self.proxy.exchange("POST", PATH, body, begun=kill)
        self.assertEqual((status, whole), (200, False))
        self.assertTrue(data.startswith(b"data: {"))
        self.assertNotIn(b"[DONE]", data)
        status, _, data, whole = self.proxy.exchange("POST", PATH, {**body, "n": 2})
        self.assertEqual((status, whole), (200, True))
        self.assertEqual(sum(1 for event in parse_events(PATH, data) if event["choices"][0]["finish_reason"]), 2)


if __name__ == "__main__":
    if not NGINX:
        print("skipped: no nginx")
        sys.exit(77)
    unittest.main()
