"""A Hugging Face hub for the tests: the paths that tern pull asks, on the loopback, and a store on another port to which
large files are redirected. Faults are put in by functions (hub.faults) that see each request first."""

import glob
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

TERN = os.path.abspath(os.environ.get("TERN", "build/tern"))
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOKEN = "hf_testtoken"
with open(sorted(glob.glob(os.path.join(ROOT, "models", "*.gguf")))[0], "rb") as _story:  # the built-in model
    STORY = _story.read()


signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it, and children inherit


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.handle_request()

    do_HEAD = do_GET

    def handle_request(self):
        hub, kind = self.server.hub, self.server.kind
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if kind == "hub":
            kind = "api" if path.startswith("/api/") else "resolve"
        with hub.lock:
            hub.requests.append((self.command, kind, path, dict(self.headers)))
            count = hub.counts[kind] = hub.counts.get(kind, 0) + 1
        try:
            for fault in hub.faults:
                if fault(self, kind, count):
                    return
            getattr(self, "answer_" + kind)(hub, path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self):
        """End the connection at once."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)

    def answer_api(self, hub, path):
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        repo = match and hub.repos.get(match[1])
        if not repo:
            return self.reply(404, b'{"error":"Repository not found"}', X_Error_Code="RepoNotFound")
        commit = repo["revisions"].get(match[2]) or (match[2] if match[2] in repo["revisions"].values() else None)
        if not commit:
            return self.reply(404, b"{}", X_Error_Code="RevisionNotFound")
        siblings = []
        for name, data in repo["files"].items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_id(data)}
            if len(data) >= hub.lfs_from:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        body = {"id": match[1], "sha": commit, "siblings": siblings}
        hub.edit_listing(body)
        self.reply(200, json.dumps(body).encode(), Content_Type="application/json")

    def answer_resolve(self, hub, path):
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = match and hub.repos.get(match[1])
        data = repo and repo["files"].get(match[3])
        if data is None:
            return self.reply(404, X_Error_Code="EntryNotFound")
        commit = repo["revisions"].get(match[2], match[2])
        if len(data) < hub.lfs_from:
            return self.serve(data, ETag='"%s"' % git_id(data), X_Repo_Commit=commit)
        location = "http://localhost:%d/%s?signature=%d" % (hub.store_port, sha256(data), hub.counts["resolve"])
        self.reply(302, Location=location, X_Linked_ETag='"%s"' % sha256(data), X_Linked_Size=str(len(data)),
                   X_Repo_Commit=commit)

    def answer_store(self, hub, path):
        data = next((data for repo in hub.repos.values() for data in repo["files"].values()
                     if sha256(data) == path.strip("/")), None)
        if data is None:
            return self.reply(404)
        self.serve(data)

    def serve(self, data, **headers):
        """All of it, or the range that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.reply(200, data, **headers)
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first >= len(data):
            return self.reply(416, Content_Range="bytes */%d" % len(data))
        self.reply(206, data[first:last + 1], Content_Range="bytes %d-%d/%d" % (first, last, len(data)), **headers)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class Hub:
    lfs_from = 100_000  # bytes

    def __init__(self):
        self.repos, self.faults, self.requests, self.counts = {}, [], [], {}
        self.lock = threading.Lock()
        self.edit_listing = lambda body: None
        self.servers = []
        for kind in "hub", "store":
            server = Server(("127.0.0.1", 0), Handler)
            server.hub, server.kind = self, kind
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers.append(server)
        self.port, self.store_port = (server.server_address[1] for server in self.servers)
        self.endpoint = "http://127.0.0.1:%d" % self.port

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, repo, files, commit="1" * 40, **revisions):
        self.repos[repo] = {"files": files, "revisions": {"main": commit, **revisions}}

    def count(self, kind, method="GET"):
        return sum(request[0] == method and request[1] == kind for request in self.requests)


class HubTest(unittest.TestCase):
    """A hub and an empty cache for each test."""

    def setUp(self):
        self.hub = Hub()
        self.addCleanup(self.hub.close)
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.cache = os.path.join(self.folder, "hub")
        hidden = ("HF_", "HUGGING", "TRANSFORMERS_", "XDG_", "BITNET_")
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(hidden) and "proxy" not in name.lower()}
        self.environment.update(HF_ENDPOINT=self.hub.endpoint, HF_HOME=self.folder, HOME=self.folder, LC_ALL="C")

    def start(self, *arguments, **environment):
        return subprocess.Popen([TERN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**self.environment, **environment})

    def run_tern(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def pull(self, *arguments, **environment):
        return self.run_tern("pull", *arguments, **environment)

    def assert_pulled(self, result, data):
        status, out, err = result
        self.assertEqual(status, 0, err)
        with open(out.strip(), "rb") as file:
            self.assertEqual(file.read(), data)
        return out.strip()

    def assert_fails(self, result, *parts, status=1):
        """One last line that says what is wrong, nothing on stdout, nothing that looks like a model in the cache."""
        self.assertEqual(result[0], status, result)
        self.assertEqual(result[1], "")
        self.assertEqual(result[2][:6], "tern: ")
        for part in parts:
            self.assertIn(part, result[2].splitlines()[-1])
        self.assertEqual(self.models(), [])

    def files(self, *suffixes):
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.cache) for name in names
                      if name.endswith(suffixes))

    def models(self):
        return [path for path in self.files("") if "/snapshots/" in path]

    def parts(self):
        return self.files(".tern-part")
