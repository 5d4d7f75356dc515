"""docs/openapi.json's requests are the server's: what the schema of a field does not allow is refused, naming the field, and
the limits it states are allowed."""
import json
import os
import re
import unittest

from harness import OPENAPI, ROOT, ServerTest, problems

SCHEMAS = OPENAPI["components"]["schemas"]
GOOD = {
    "/v1/completions": {"prompt": "Hi", "max_tokens": 1},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    "/v1/embeddings": {"input": "Hi"},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [72]},
}


def schema_of(path):
    return SCHEMAS[OPENAPI["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]]


def resolved(schema):
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def parts(schema):
    """The schema, and the ones it is an anyOf of."""
    schema = resolved(schema)
    return [schema, *(part for option in schema.get("anyOf", []) for part in parts(option))]


def limits(schema):
    """Values at and beyond each limit that the schema states -> (allowed, not allowed)"""
    at, beyond = [], []
    for part in parts(schema):
        step = 1 if "integer" in part.get("type", []) else 0.001
        for name, sign in (("minimum", -1), ("maximum", 1)):
            if name in part:
                at.append(part[name])
                beyond.append(part[name] + sign * step)
                beyond.append(sign * 1e300)
        if "maxItems" in part:
            beyond.append([example(part["items"])] * (part["maxItems"] + 1))
        if "minLength" in part:
            beyond.append("")
        if "enum" in part:
            at += part["enum"]
        if "items" in part:
            allowed, refused = limits(part["items"])
            beyond += [[value] for value in refused]
        if isinstance(part.get("additionalProperties"), dict):
            allowed, refused = limits(part["additionalProperties"])
            at += [{"5": value} for value in allowed]
            beyond += [{"5": value} for value in refused]
    return at, beyond


def example(schema):
    """Something that the schema allows."""
    schema = parts(schema)[-1]
    if "enum" in schema:
        return "assistant" if "assistant" in schema["enum"] else schema["enum"][-1]  # with which most other fields mean something
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    return {"string": "a", "integer": schema.get("minimum", 1), "number": 1, "boolean": True, "null": None, "array": [],
            "object": {name: example(schema.get("properties", {}).get(name, {"type": "string"}))
                       for name in schema.get("required", [])}}[kind]


def broken(schema):
    """Objects with one property wrong."""
    for part in parts(schema):
        if "object" not in part.get("type", []):
            continue
        whole = example(part)
        for name in part.get("required", []):
            yield {key: value for key, value in whole.items() if key != name}
        for name, inner in part.get("properties", {}).items():
            for value in KINDS:
                yield {**whole, name: value}


KINDS = [True, 7, -7, 2.5, "x y", [], ["x y"], [7], [2.5], [True], [None], [[]], [{}], {}, {"x y": 1}, {"5": "x y"}, {"5": {}}]


class Description(ServerTest):
    def test_is_served(self):
        status, headers, data = self.server.request("GET", "/openapi.json")
        self.assertEqual((status, headers["Content-Type"], json.loads(data)), (200, "application/json", OPENAPI))
        known = self.server.request("GET", "/openapi.json", headers={"If-None-Match": headers["ETag"]})
        self.assertEqual((known[0], known[2]), (304, b""))
        status, headers, body = self.server.request("HEAD", "/openapi.json")
        self.assertEqual((status, headers["Content-Length"], body), (200, str(len(data)), b""))

    def test_has_every_route(self):
        with open(os.path.join(ROOT, "src", "server", "route.c"), encoding="utf-8") as file:
            routes = re.findall(r'^    \{"([A-Z]+)", "([^"]+)",', file.read(), re.M)
        self.assertEqual({(method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item}, set(routes))
        for method, path in routes:
            status, headers, _ = self.server.request("PUT", path.replace("{model}", "default"))
            self.assertEqual((status, headers["Allow"]), (405, method))


class Requests(ServerTest):
    def test_what_is_not_allowed(self):
        tried = 0
        for path, good in GOOD.items():
            for name, schema in schema_of(path)["properties"].items():
                wrong = [*KINDS, *limits(schema)[1], *broken(schema), *([value] for part in parts(schema) if "items" in part
                                                                      for value in broken(part["items"]))]
                for value in (v for v in wrong if problems(v, schema)):
                    tried += 1
                    with self.subTest(path=path, name=name, value=f"{value!r:.100}"):
                        status, answer = self.server.post(path, {name: value} if name == "prompt" else {**good, name: value})
                        self.assertEqual(status, 400, answer)
                        self.assertRegex(answer["error"]["param"] or "", rf"^{name}\b")
        self.assertGreater(tried, 400)

    def test_limits_are_allowed(self):
        tried = 0
        for path, good in GOOD.items():
            for name, schema in schema_of(path)["properties"].items():
                if name == "tool_choice":  # wants tools
                    continue
                whole = {**good, "logprobs": True} if name == "top_logprobs" else good
                for value in (None, *limits(schema)[0]):
                    if problems(value, schema):
                        continue
                    tried += 1
                    with self.subTest(path=path, name=name, value=value):
                        status, answer = self.server.post(path, {**whole, name: value})
                        self.assertEqual(status, 200, answer)
        self.assertGreater(tried, 80)

    def test_required(self):
        for path, good in GOOD.items():
            for name in schema_of(path).get("required", []):
                body = {key: value for key, value in good.items() if key != name}
                with self.subTest(path=path, name=name):
                    self.refused(400, name, path, body)


if __name__ == "__main__":
    unittest.main()
