"""Answers that have to look like something: grammars, JSON, calls of functions."""
import json
import unittest

from harness import ServerTest

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
USER = [{"role": "user", "content": "How is the weather?"}]
SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}, "wings": {"type": "integer", "minimum": 0, "maximum": 9}},
          "required": ["colour", "wings"], "additionalProperties": False}


def tool(name, *values):
    return {"type": "function", "function": {"name": name, "description": f"The {name}.", "parameters": {
        "type": "object", "properties": {"place": {"enum": list(values)}}, "required": ["place"],
        "additionalProperties": False}}}


TOOLS = [tool("weather", "Oslo", "Rome"), tool("time_of-day.2", "here", "there")]


def streamed_call(events):
    """The call of a stream, put together as clients do it -> its delta's id, function, and the pieces of the arguments"""
    deltas = [part for e in events for c in e["choices"] for part in c["delta"].get("tool_calls", [])]
    first, *rest = deltas
    assert first["index"] == 0 and first["type"] == "function" and first["function"]["arguments"] == "", first
    assert all(part == {"index": 0, "function": {"arguments": part["function"]["arguments"]}} for part in rest), rest
    pieces = [part["function"]["arguments"] for part in rest]
    return first["id"], {"name": first["function"]["name"], "arguments": "".join(pieces)}, pieces


class Constraint(ServerTest):
    def test_grammar(self):
        body = {"prompt": "Once", "max_tokens": 20, "temperature": 1, "grammar": 'root ::= ("ab" | "cd")+ "!"'}
        for seed in range(5):
            choice = self.server.good(COMPLETIONS, {**body, "seed": seed, "max_tokens": 100})["choices"][0]
            self.assertRegex(choice["text"], r"^(ab|cd)*[!ac]?$")
            if choice["finish_reason"] == "stop":
                self.assertTrue(choice["text"].endswith("!"))
        both = {**body, "n": 3, "seed": 1}
        self.assertEqual(self.server.good(COMPLETIONS, both)["choices"], self.server.good(COMPLETIONS, both)["choices"])
        chat = self.server.good(CHAT, {"messages": USER, "grammar": 'root ::= "yes" | "no"'})["choices"][0]
        self.assertIn(chat["message"]["content"], ("yes", "no"))
        self.assertEqual(chat["finish_reason"], "stop")

    def test_json_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "bird", "schema": SCHEMA, "strict": True}}
        for path, start in ((CHAT, {"messages": USER}), (COMPLETIONS, {"prompt": "A bird:"})):
            for seed in range(3):
                answer = self.server.good(path, {**start, "response_format": form, "max_tokens": 200, "seed": seed})
                choice = answer["choices"][0]
                value = json.loads(choice["message"]["content"] if path == CHAT else choice["text"])
                self.assertIn(value["colour"], ("red", "green"))
                self.assertIn(value["wings"], range(10))
                self.assertEqual(choice["finish_reason"], "stop")

    def test_json_object(self):
        body = {"messages": USER, "response_format": {"type": "json_object"}, "max_tokens": 300}
        for seed in range(4):
            choice = self.server.good(CHAT, {**body, "seed": seed})["choices"][0]
            self.assertTrue(choice["message"]["content"].lstrip().startswith("{"))
            if choice["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(choice["message"]["content"]), dict)
        text = {**body, "response_format": {"type": "text"}, "temperature": 0, "max_tokens": 5}
        plain = {"messages": USER, "temperature": 0, "max_tokens": 5}
        self.assertEqual(self.server.good(CHAT, text)["choices"], self.server.good(CHAT, plain)["choices"])

    def test_names_of_other_servers(self):
        text = json.dumps(SCHEMA)
        for body in ({"json_schema": SCHEMA}, {"guided_json": SCHEMA}, {"guided_json": text},
                     {"structured_outputs": {"json": SCHEMA, "regex": None}}, {"structured_outputs": {"json": text}}):
            choice = self.server.good(COMPLETIONS, {"prompt": "A bird:", "max_tokens": 200, **body})["choices"][0]
            self.assertEqual(set(json.loads(choice["text"])), {"colour", "wings"}, body)
        words = ["yes", 'n"o\\', "\u00fc\n"]
        for body in ({"guided_choice": words}, {"structured_outputs": {"choice": words}}):
            seen = {self.server.good(CHAT, {"messages": USER, "temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0,
                                            "seed": seed, **body})["choices"][0]["message"]["content"] for seed in range(8)}
            self.assertLessEqual(seen, set(words), body)
        gbnf = 'root ::= "ab"'
        for body in ({"guided_grammar": gbnf}, {"structured_outputs": {"grammar": gbnf}}):
            self.assertEqual(self.server.good(COMPLETIONS, {"prompt": "A", **body})["choices"][0]["text"], "ab")
        body = {"prompt": "A", "structured_outputs": {"json_object": True}, "max_tokens": 3}
        self.assertTrue(self.server.good(COMPLETIONS, body)["choices"][0]["text"].startswith("{"))
        self.server.good(COMPLETIONS, {"prompt": "A", "max_tokens": 2, "structured_outputs": {"json_object": False}})
        for body, param in (({"guided_json": "{"}, "guided_json"), ({"guided_json": [1]}, "guided_json"),
                            ({"json_schema": True}, "json_schema"), ({"guided_choice": []}, "guided_choice"),
                            ({"guided_choice": "a"}, "guided_choice"), ({"guided_choice": ["a\0"]}, "guided_choice"),
                            ({"guided_choice": ["a", 3]}, "guided_choice"), ({"guided_grammar": 3}, "guided_grammar"),
                            ({"structured_outputs": []}, "structured_outputs"),
                            ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
                            ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object"),
                            ({"grammar": gbnf, "guided_json": SCHEMA}, "guided_json"),
                            ({"json_schema": SCHEMA, "response_format": {"type": "json_object"}}, "response_format")):
            self.refused(400, param, COMPLETIONS, {"prompt": "A", **body})

    def check_call(self, message, names):
        call, = message["tool_calls"]
        self.assertIn(call["function"]["name"], names)
        values = {t["function"]["name"]: t["function"]["parameters"]["properties"]["place"]["enum"] for t in TOOLS}
        arguments = json.loads(call["function"]["arguments"])
        self.assertIn(arguments["place"], values[call["function"]["name"]])
        return call

    def test_forced_calls(self):
        names = [t["function"]["name"] for t in TOOLS]
        for choice, allowed in (("required", names), ({"type": "function", "function": {"name": names[1]}}, names[1:])):
            body = {"messages": USER, "tools": TOOLS, "tool_choice": choice, "max_tokens": 200, "seed": 1}
            answer = self.server.good(CHAT, body)["choices"][0]
            self.assertEqual(answer["finish_reason"], "tool_calls")
            self.assertIsNone(answer["message"]["content"])
            call = self.check_call(answer["message"], allowed)
            events = self.server.stream(CHAT, body)
            deltas = [c["delta"] for e in events for c in e["choices"]]
            self.assertFalse(any(d.get("content") for d in deltas))
            self.assertEqual(deltas[0], {"role": "assistant", "content": None})
            name, function, pieces = streamed_call(events)
            self.assertEqual(function, call["function"])
            self.assertRegex(name, "^call_")
            self.assertGreater(len([p for p in pieces if p]), 2)  # as they are made
            self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")
            # and on with what the function returned
            turns = USER + [answer["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
            self.server.good(CHAT, {"messages": turns, "tools": TOOLS, "max_tokens": 3})

    def test_free_calls(self):
        body = {"messages": USER, "tools": TOOLS, "temperature": 0, "max_tokens": 20}
        told = self.server.good(CHAT, body)
        untold = self.server.good(CHAT, {**body, "tool_choice": "none"})
        self.assertGreater(told["usage"]["prompt_tokens"], untold["usage"]["prompt_tokens"])
        text = "".join(c["delta"].get("content", "") for e in self.server.stream(CHAT, body) for c in e["choices"])
        self.assertEqual(text, told["choices"][0]["message"]["content"])
        # a text that begins as a call does, and is none
        body["grammar"] = 'root ::= "{ not a call"'
        choice = self.server.good(CHAT, body)["choices"][0]
        self.assertEqual((choice["message"]["content"], choice["finish_reason"]), ("{ not a call", "stop"))
        text = "".join(c["delta"].get("content", "") for e in self.server.stream(CHAT, body) for c in e["choices"])
        self.assertEqual(text, "{ not a call")
        # an answer that begins as a call becomes one, and a text stays what it is
        del body["grammar"]
        brace = self.server.good("/tokenize", {"content": "{"})["tokens"][0]
        called = {**body, "logit_bias": {str(brace): 100}, "max_tokens": 200, "temperature": 1, "seed": 1}
        choice = self.server.good(CHAT, called)["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.check_call(choice["message"], [t["function"]["name"] for t in TOOLS])
        events = self.server.stream(CHAT, called)
        _, function, pieces = streamed_call(events)
        self.assertEqual(function, choice["message"]["tool_calls"][0]["function"])
        self.assertGreater(len([p for p in pieces if p]), 2)
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")
        # arguments by a schema with definitions; by one with keywords that are not known: any object
        place = {"$defs": {"Place": {"enum": ["Oslo"]}}, "type": "object", "properties": {"place": {"$ref": "#/$defs/Place"}},
                 "required": ["place"], "additionalProperties": False}
        for parameters, wanted in ((place, {"place": "Oslo"}), ({**place, "not": {}}, None)):
            tools = [{"type": "function", "function": {"name": "go", "parameters": parameters}}]
            for how in ("auto", "required"):
                asked = {**called, "tools": tools, "tool_choice": how, "max_tokens": 300}
                if wanted is None and how == "required":
                    self.refused(400, "tools", CHAT, asked)
                    continue
                choice = self.server.good(CHAT, asked)["choices"][0]
                self.assertTrue((choice["message"]["content"] or "{").startswith("{"))
                if choice["finish_reason"] == "tool_calls":
                    arguments = json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])
                    self.assertEqual(arguments, wanted or arguments)
                else:
                    self.assertEqual((choice["finish_reason"], wanted), ("length", None))
        # the client's grammar goes before: the model chooses to call
        body["grammar"] = 'root ::= "{\\"name\\": \\"weather\\", \\"arguments\\": {\\"place\\": \\"Rome\\"}}"'
        body["max_tokens"] = 100
        choice = self.server.good(CHAT, body)["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        call = self.check_call(choice["message"], ["weather"])
        events = self.server.stream(CHAT, body)  # until its end it might be another text
        self.assertEqual(streamed_call(events)[1:], (call["function"], [call["function"]["arguments"]]))
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")

    def test_awkward_arguments(self):
        values = ['}"\\{', "{\"name\": \"x\"}", "\u00fc]\n[", ""]
        parameters = {"type": "object", "properties": {
            "arguments": {"type": "array", "items": {"enum": values}, "minItems": 2, "maxItems": 3},
            "name": {"type": "object", "properties": {"name": {"enum": values}}, "required": ["name"], "additionalProperties": False}},
            "required": ["arguments", "name"], "additionalProperties": False}
        tools = [{"type": "function", "function": {"name": "name", "parameters": parameters}}]
        for seed in range(3):
            body = {"messages": USER, "tools": tools, "tool_choice": "required", "max_tokens": 300, "seed": seed, "temperature": 1.5}
            choice = self.server.good(CHAT, body)["choices"][0]
            call, = choice["message"]["tool_calls"]
            arguments = json.loads(call["function"]["arguments"])
            self.assertEqual(list(arguments), ["arguments", "name"])
            self.assertEqual(choice["finish_reason"], "tool_calls")
            events = self.server.stream(CHAT, body)
            self.assertEqual(streamed_call(events)[1], call["function"])

    def test_cut_calls(self):
        """At max_tokens: as much of the call as there is, the same whole and streamed."""
        body = {"messages": USER, "tools": TOOLS, "tool_choice": "required", "seed": 1, "logprobs": True}
        whole = self.server.good(CHAT, {**body, "max_tokens": 200})
        function = whole["choices"][0]["message"]["tool_calls"][0]["function"]
        kinds = set()
        for n in range(1, whole["usage"]["completion_tokens"] - 1):  # the last one is the end's
            choice = self.server.good(CHAT, {**body, "max_tokens": n})["choices"][0]
            events = self.server.stream(CHAT, {**body, "max_tokens": n})
            text = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
            self.assertEqual(text, choice["message"]["content"] or "")
            self.assertEqual(events[-1]["choices"][0]["finish_reason"], choice["finish_reason"])
            if calls := choice["message"].get("tool_calls"):
                self.assertEqual(streamed_call(events)[1], calls[0]["function"])
                self.assertTrue(function["arguments"].startswith(calls[0]["function"]["arguments"]))
            kinds.add((choice["finish_reason"], bool(calls)))
            streamed = [i for e in events for c in e["choices"] if c["logprobs"] for i in c["logprobs"]["content"]]
            self.assertEqual(streamed, choice["logprobs"]["content"])
        self.assertLessEqual({("length", False), ("length", True)}, kinds)
        self.assertLessEqual(kinds, {("length", False), ("length", True), ("tool_calls", True)})

    def test_several_answers(self):
        body = {"messages": USER, "tools": TOOLS, "tool_choice": "required", "max_tokens": 200, "seed": 4, "n": 3}
        choices = self.server.good(CHAT, body)["choices"]
        events = self.server.stream(CHAT, body)
        ids = set()
        for choice in choices:
            own = [{"choices": [c for c in e["choices"] if c["index"] == choice["index"]]} for e in events]
            name, function, _ = streamed_call(own)
            ids.add(name)
            self.assertEqual(function, choice["message"]["tool_calls"][0]["function"])
        self.assertEqual(len(ids), 3)
        self.assertEqual(len({c["message"]["tool_calls"][0]["id"] for c in choices}), 3)

    def test_allowed_tools(self):
        brace = self.server.good("/tokenize", {"content": "{"})["tokens"][0]
        body = {"messages": USER, "tools": TOOLS, "max_tokens": 200, "logit_bias": {str(brace): 100}}
        told = self.server.good(CHAT, {**body, "max_tokens": 1})["usage"]["prompt_tokens"]
        for mode in ("required", "auto"):
            for allowed in (TOOLS[:1], TOOLS[1:], [TOOLS[1], TOOLS[1]]):
                for seed in range(3):
                    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [
                        {"type": "function", "function": {"name": t["function"]["name"]}} for t in allowed]}}
                    answer = self.server.good(CHAT, {**body, "tool_choice": choice, "seed": seed})
                    self.assertEqual(answer["usage"]["prompt_tokens"], told)
                    self.check_call(answer["choices"][0]["message"], [t["function"]["name"] for t in allowed])
        # a call of another one is none
        free = {**body, "grammar": 'root ::= "{\\"name\\": \\"weather\\", \\"arguments\\": {\\"place\\": \\"Rome\\"}}"'}
        for allowed, reason in ((TOOLS, "tool_calls"), (TOOLS[1:], "stop")):
            choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}}
            self.assertEqual(self.server.good(CHAT, {**free, "tool_choice": choice})["choices"][0]["finish_reason"], reason)
        part = "tool_choice.allowed_tools"
        for param, allowed in ((part + ".tools", {"mode": "auto"}), (part + ".tools", {"mode": "auto", "tools": []}),
                               (part + ".tools", {"mode": "auto", "tools": [tool("other", "here")]}),
                               (part + ".tools", {"mode": "auto", "tools": ["weather"]}),
                               (part + ".mode", {"tools": TOOLS}), (part + ".mode", {"mode": "none", "tools": TOOLS}),
                               ("tool_choice", None), ("tool_choice", [])):
            self.refused(400, param, CHAT, {**body, "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}})
        self.refused(400, "tool_choice", CHAT, {"messages": USER, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS}}})

    def test_parallel_calls(self):
        """An answer has one call, whether several are allowed or not."""
        body = {"messages": USER, "tools": TOOLS, "tool_choice": "required", "max_tokens": 200, "seed": 1}
        answers = [self.server.good(CHAT, {**body, "parallel_tool_calls": value})["choices"][0] for value in (True, False, None)]
        functions = [[call["function"] for call in answer["message"]["tool_calls"]] for answer in answers]
        self.assertEqual(functions, functions[:1] * 3)
        self.assertEqual(len(functions[0]), 1)
        self.refused(400, "parallel_tool_calls", CHAT, {**body, "parallel_tool_calls": "yes"})
        self.refused(400, "parallel_tool_calls", CHAT, {"messages": USER, "parallel_tool_calls": True})

    def test_refused(self):
        good = {"messages": USER, "max_tokens": 1}
        form = "response_format"
        for param, fields in (("grammar", {"grammar": "root ::= ("}), ("grammar", {"grammar": 3}),
                              ("grammar", {"grammar": 'top ::= "a"'}), (form, {form: "json"}),
                              (form + ".type", {form: {}}), (form + ".type", {form: {"type": "xml"}}),
                              (form + ".json_schema", {form: {"type": "json_schema"}}),
                              (form + ".json_schema", {form: {"type": "json_schema", "json_schema": {"schema": {"type": "bird"}}}}),
                              (form, {form: {"type": "json_object"}, "grammar": 'root ::= "a"'}),
                              ("tools", {"tools": {}}), ("tools[0]", {"tools": [3]}),
                              ("tools[0]", {"tools": [{"type": "function", "function": {}}]}),
                              ("tools[1]", {"tools": [TOOLS[0], {"type": "function", "function": {"name": "a b"}}]}),
                              ("tool_choice", {"tool_choice": "required"}),
                              ("tool_choice", {"tools": TOOLS, "tool_choice": "always"}),
                              ("tool_choice", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}),
                              ("tools", {"tools": TOOLS, "tool_choice": "required", "grammar": 'root ::= "a"'}),
                              ("messages[1].tool_calls", {"messages": USER + [{"role": "assistant", "tool_calls": [{}]}]})):
            with self.subTest(fields=fields):
                self.refused(400, param, CHAT, {**good, **fields})


if __name__ == "__main__":
    unittest.main()
