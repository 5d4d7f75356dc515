"""A server under test, on the built-in model; every JSON answer is held to docs/openapi.json. Standard library only."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TERN = os.environ.get("TERN", os.path.join(ROOT, "build", "tern"))
PATIENCE = float(os.environ.get("TERN_PATIENCE", "60"))  # seconds until something counts as hanging

with open(os.path.join(ROOT, "docs", "openapi.json"), encoding="utf-8") as file:
    OPENAPI = json.load(file)


# ---------------------------------------------------------------- JSON schema, as much of it as openapi.json uses
def is_type(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return {"object": dict, "array": list, "string": str, "null": type(None), "boolean": (), "integer": int,
            "number": (int, float)}[name] and isinstance(value, {
                "object": dict, "array": list, "string": str, "null": type(None), "boolean": (), "integer": int,
                "number": (int, float)}[name])


KNOWN = {"type", "properties", "required", "items", "enum", "anyOf", "$ref", "additionalProperties", "description",
         "default", "minimum", "maximum", "minItems", "maxItems", "pattern", "example", "minLength"}


def problems(value, schema, where="$"):
    """What is wrong with `value`, as a list of lines."""
    assert set(schema) <= KNOWN, f"the checker does not know {set(schema) - KNOWN}"
    if "$ref" in schema:
        return problems(value, OPENAPI["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], where)
    if "anyOf" in schema:
        tried = [problems(value, option, where) for option in schema["anyOf"]]
        return [] if any(not p for p in tried) else [f"{where}: fits none of anyOf: {tried}"]
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_type(value, name) for name in types):
        return [f"{where}: {value!r:.80} is no {types}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    found = []
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            found.append(f"{where}: {value} is out of range")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += problems(item, schema["items"], f"{where}[{i}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{where}: no {name}" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            if name in properties:
                found += problems(item, properties[name], f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{where}: {name} is not documented")
            elif isinstance(schema.get("additionalProperties"), dict):
                found += problems(item, schema["additionalProperties"], f"{where}.{name}")
    return found


def documented(path):
    """What the documentation has for a path: "/v1/models/{model}" stands for all that begin like it."""
    paths = OPENAPI["paths"]
    for pattern in paths:
        if "{" in pattern and path.startswith(pattern[:pattern.index("{")]) and len(path) > pattern.index("{"):
            return paths[pattern]
    return paths.get(path, {})


def check_answer(method, path, status, content_type, data):
    """Does the documentation have this answer?"""
    operation = documented(path).get(method.lower())
    if operation is None:  # a path that does not exist: errors have their shape all the same
        schema = {"$ref": "#/components/schemas/Error"}
    else:
        responses = operation["responses"]
        assert str(status) in responses, f"{method} {path}: status {status} is not documented: {data[:300]}"
        response = responses[str(status)]
        if "$ref" in response:
            response = OPENAPI["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        kind = content_type.split(";")[0]
        assert kind in response.get("content", {}), f"{method} {path} {status}: {kind} is not documented"
        schema = response["content"][kind].get("schema", {})
    if content_type.startswith("application/json"):
        found = problems(json.loads(data), schema)
        assert not found, f"{method} {path} {status}: " + "; ".join(found)


class Server:
    def __init__(self, *options, model="demo", env=None, prefix=(), program=TERN):
        environment = {**os.environ, **(env or {})}
        environment.pop("TERN_CPU", None)
        if "TERN_API_KEY" not in (env or {}):
            environment.pop("TERN_API_KEY", None)
        self.process = subprocess.Popen([*prefix, program, "serve", model, "--port", "0", "-t", "1", *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment)
        self.lines = []
        self.url = None
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self.ready.wait(PATIENCE) and self.url, f"the server does not start: {self.lines}"
        self.host, port = re.fullmatch(r"http://(.*):(\d+)", self.url).groups()
        self.port = int(port)
        self.host = self.host.strip("[]")

    def _read(self):
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(text)
            if text.startswith("listening on "):
                self.url = text.removeprefix("listening on ")
                self.ready.set()
        self.ready.set()

    def connect(self, timeout=PATIENCE):
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def request(self, method, path, body=None, headers=None, check=True):
        """-> status, headers, bytes"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if check and method != "HEAD" and response.status not in (204, 304):
            check_answer(method, path.split("?")[0], response.status, response.getheader("Content-Type", ""), data)
        return response.status, response.headers, data

    def post(self, path, body, headers=None):
        """-> status, object"""
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        status, _, answer = self.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
        return status, json.loads(answer)

    def good(self, path, body):
        status, answer = self.post(path, body)
        assert status == 200, (status, answer)
        return answer

    def stream(self, path, body, headers=None):
        """-> the events' objects; each is held to the documentation, and the stream has to end as it should."""
        status, head, data = self.request("POST", path, json.dumps({**body, "stream": True}),
                                          {"Content-Type": "application/json", **(headers or {})})
        assert status == 200, (status, data)
        assert head["Content-Type"].startswith("text/event-stream"), head["Content-Type"]
        return parse_events(path, data)

    def metrics(self):
        """-> {"name" or "name{labels}": value}"""
        _, _, data = self.request("GET", "/metrics")
        rows = [line.rsplit(" ", 1) for line in data.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in rows}

    def wait_idle(self):
        """Until no request holds anything -> the metrics."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            metrics = self.metrics()
            if not any(metrics[name] for name in
                       ("tern_requests_running", "tern_requests_waiting", "tern_kv_blocks_used")):
                return metrics
            time.sleep(0.01)
        raise AssertionError(f"requests are stuck: {metrics}")

    def log(self, wanted):
        """The log's first entry that `wanted` accepts; waits for it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for line in list(self.lines):
                if line.startswith("{") and wanted(json.loads(line)):
                    return json.loads(line)
            time.sleep(0.01)
        raise AssertionError(f"no such line in the log: {self.lines}")

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM):
        """-> exit status"""
        if self.alive():
            self.process.send_signal(how)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def parse_events(path, data):
    text = data.decode("utf-8")
    assert text.endswith("data: [DONE]\n\n"), text[-200:]
    lines = [line for line in text.split("\n\n") if not line.startswith(":")]  # a comment: the server was busy
    assert lines[-1] == "" and all(line.startswith("data: ") for line in lines[:-1]), text[:300]
    events = [json.loads(line[6:]) for line in lines[:-2]]
    schema = OPENAPI["components"]["schemas"]["ChatChunk" if "chat" in path else "CompletionChunk"]
    for event in events:
        found = problems(event, schema)
        assert not found, found
    return events


class ServerTest(unittest.TestCase):
    """One server for all tests of a class; it has to end with status 0, and with nothing but its log on stderr."""
    options = ()
    env = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, env=cls.env)

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert status == 0, (status, cls.server.lines[-20:])

    def refused(self, status, param, path, body, headers=None):
        got, answer = self.server.post(path, body, headers)
        self.assertEqual(got, status, answer)
        self.assertEqual(answer["error"]["param"], param, answer)
        self.assertTrue(answer["error"]["message"])
        return answer["error"]
