"""contrib/nginx.conf: two servers behind a real nginx, one of them killed under load. Skipped where there is no nginx."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, ROOT, Server

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PATH = "/v1/completions"
BODY = {"prompt": "Once upon a time", "max_tokens": 30, "temperature": 0}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Proxy:
    """nginx with the sample's text, but for its ports."""

    def __init__(self, servers):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        with open(os.path.join(ROOT, "contrib", "nginx.conf"), encoding="utf-8") as file:
            site = file.read()
        for old, server in zip(("127.0.0.1:8081", "127.0.0.1:8082"), servers):
            assert old in site
            site = site.replace(old, f"{server.host}:{server.port}")
        assert "listen 8080;" in site
        site = site.replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
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

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, json.dumps(body) if body else None,
                               {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.process.stderr.close()
        self.folder.cleanup()


@unittest.skipUnless(NGINX, "no nginx here")
class Replicas(unittest.TestCase):
    def setUp(self):
        self.servers = [Server(), Server()]
        self.proxy = Proxy(self.servers)

    def tearDown(self):
        self.proxy.stop()
        for server in self.servers:
            server.stop()

    def counts(self):
        row = 'tern_http_requests_total{route="/v1/completions",status="200"}'
        return [server.metrics().get(row, 0) for server in self.servers]

    def test_sticky(self):
        used = set()
        for name in "abcdefgh":
            before = self.counts()
            for _ in range(3):
                self.assertEqual(self.proxy.request("POST", PATH, {**BODY, "max_tokens": 1}, {"X-Tern-Prefix": name})[0], 200)
            grown = [b - a for a, b in zip(before, self.counts())]
            self.assertEqual(sorted(grown), [0, 3], name)
            used.add(grown.index(3))
        self.assertEqual(used, {0, 1})

    def test_stream_and_metrics(self):
        status, data = self.proxy.request("POST", PATH, {**BODY, "stream": True})
        self.assertEqual(status, 200)
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(self.proxy.request("GET", "/metrics")[0], 403)

    def test_one_is_killed_under_load(self):
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


if __name__ == "__main__":
    unittest.main()
