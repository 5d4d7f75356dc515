"""OpenAI's own Python client, unchanged, against the server: pip install openai, or $OPENAI_PYTHON names a Python that has it.
Skipped without."""
import asyncio
import json
import os
import sys
import time
import unittest

from harness import Server

try:
    import openai
    import pydantic
except ImportError:
    openai = None
    python = os.environ.get("OPENAI_PYTHON")
    if __name__ == "__main__" and python and os.path.exists(python) and not os.environ.get("TERN_TRIED_PYTHON"):
        os.environ["TERN_TRIED_PYTHON"] = "yes"
        os.execv(python, [python, "-B", *sys.argv])
    if __name__ == "__main__":
        print("skipped: no Python package openai ($OPENAI_PYTHON may name a Python that has it)")
        sys.exit(77)

KEY = "a-key-for-the-test"
ASK = [{"role": "user", "content": "Tell me a story about a dog."}]
FREE = {"model": "default", "messages": ASK, "max_tokens": 24, "temperature": 0}
SHORT = {**FREE, "extra_body": {"ignore_eos": True}}  # there is an answer, whatever the model says
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "the weather at a place",
    "parameters": {"type": "object", "properties": {"place": {"type": "string", "maxLength": 12},
                                                    "unit": {"enum": ["celsius", "fahrenheit"]}},
                   "required": ["place", "unit"], "additionalProperties": False}}}


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--queue", "1", "--parallel", "1", env={"TERN_API_KEY": KEY})
        cls.address = {"base_url": cls.server.url + "/v1", "api_key": KEY, "max_retries": 0}
        cls.client = openai.OpenAI(**cls.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.stop() == 0

    def test_models(self):
        model, = self.client.models.list().data
        self.assertEqual(model.object, "model")
        answer = self.client.chat.completions.create(**{**SHORT, "model": model.id})
        self.assertEqual(answer.model, model.id)

    def test_chat(self):
        answer = self.client.chat.completions.create(**SHORT)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        raw = self.client.chat.completions.with_raw_response.create(**SHORT)
        self.assertTrue(raw.headers["x-request-id"])
        self.assertEqual(raw.parse().choices[0].message.content, answer.choices[0].message.content)
        parts = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."},
                 {"role": "user", "content": [{"type": "text", "text": "Hello."}]}]
        self.client.chat.completions.create(**{**SHORT, "messages": parts}, max_completion_tokens=2, user="someone", stop=["\n"],
                                            presence_penalty=0.5, frequency_penalty=0.5, logit_bias={"5": -100})

    def test_stream(self):
        whole = self.client.chat.completions.create(**SHORT)
        chunks = list(self.client.chat.completions.create(**SHORT, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        ask = {**SHORT, "extra_body": {"grammar": 'root ::= "A dog ran away."'}}
        with self.client.chat.completions.stream(**ask) as stream:  # what the client puts together itself
            kinds = {event.type for event in stream}
            self.assertEqual(stream.get_final_completion().choices[0].message.content, "A dog ran away.")
        self.assertLessEqual({"chunk", "content.delta", "content.done"}, kinds)

    def test_stop_reading(self):
        """A stream that is closed early takes no more of the server."""
        stream = self.client.chat.completions.create(**{**SHORT, "max_tokens": 400}, stream=True)
        next(iter(stream))
        stream.close()
        self.idle()

    def idle(self):
        status, _, _ = self.server.request("GET", "/metrics", headers={"Authorization": f"Bearer {KEY}"})
        self.assertEqual(status, 200)
        for _ in range(6000):
            _, _, data = self.server.request("GET", "/metrics", headers={"Authorization": f"Bearer {KEY}"})
            if "\ntern_requests_running 0\n" in data.decode():
                return
            time.sleep(0.01)
        self.fail("the request goes on")

    def test_n(self):
        ask = {**SHORT, "temperature": 1.5, "seed": 3, "n": 3}
        answers = [self.client.chat.completions.create(**ask) for _ in range(2)]
        texts = [[choice.message.content for choice in answer.choices] for answer in answers]
        self.assertEqual([choice.index for choice in answers[0].choices], [0, 1, 2])
        self.assertEqual(texts[0], texts[1])
        self.assertGreater(len(set(texts[0])), 1)
        got = ["", "", ""]
        for chunk in self.client.chat.completions.create(**ask, stream=True):
            for choice in chunk.choices:
                got[choice.index] += choice.delta.content or ""
        self.assertEqual(got, texts[0])

    def test_logprobs(self):
        ask = {**FREE, "logprobs": True, "top_logprobs": 3}
        choice = self.client.chat.completions.create(**ask).choices[0]
        whole = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
        self.assertTrue(whole.startswith(choice.message.content.rstrip("\ufffd").encode()), choice)
        for token in choice.logprobs.content:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.logprob, max(top.logprob for top in token.top_logprobs))  # greedy
        choices = [c for chunk in self.client.chat.completions.create(**ask, stream=True) for c in chunk.choices]
        streamed = [token.logprob for c in choices if c.logprobs for token in c.logprobs.content or []]
        self.assertEqual(streamed, [token.logprob for token in choice.logprobs.content])

    def test_tools(self):
        """Both ways a client gets a call, and the function's result on its way back."""
        ask = {**FREE, "max_tokens": 100, "tools": [WEATHER],
               "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
        choice = self.client.chat.completions.create(**ask).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        call, = choice.message.tool_calls
        self.assertEqual((call.type, call.function.name), ("function", "get_weather"))
        arguments = json.loads(call.function.arguments)
        self.assertEqual(set(arguments), {"place", "unit"})
        self.assertIn(arguments["unit"], ("celsius", "fahrenheit"))
        name, text = "", ""
        for chunk in self.client.chat.completions.create(**ask, stream=True):
            for part in chunk.choices[0].delta.tool_calls or []:
                self.assertEqual(part.index, 0)
                name += part.function.name or ""
                text += part.function.arguments or ""
        self.assertEqual((name, json.loads(text)), ("get_weather", arguments))
        strict = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
        with self.client.chat.completions.stream(**{**ask, "tools": [strict]}) as stream:  # what the client puts together itself
            events = list(stream)
            done, = stream.get_final_completion().choices[0].message.tool_calls
        parts = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
        self.assertGreater(len(parts), 2)
        self.assertEqual("".join(event.arguments_delta for event in parts), done.function.arguments)
        self.assertEqual(done.function.name, "get_weather")
        # "strict" stands in the prompt, too, so it may be another place
        self.assertEqual(set(done.function.parsed_arguments), {"place", "unit"})
        self.assertIn("tool_calls.function.arguments.done", {event.type for event in events})
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "get_weather"}}]}}
        choice = self.client.chat.completions.create(**{**ask, "tool_choice": allowed}, parallel_tool_calls=False).choices[0]
        self.assertEqual(choice.message.tool_calls[0].function.name, "get_weather")
        messages = [*ASK, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        answer = self.client.chat.completions.create(**{**SHORT, "messages": messages}, tools=[WEATHER], tool_choice="none")
        self.assertTrue(answer.choices[0].message.content)
        self.assertIsNone(answer.choices[0].message.tool_calls)

    def test_parse(self):
        class Animal(pydantic.BaseModel):
            kind: str = pydantic.Field(max_length=12)
            legs: int = pydantic.Field(ge=0, le=8)

        class Animals(pydantic.BaseModel):
            animals: list[Animal] = pydantic.Field(min_length=1, max_length=2)

        got = self.client.chat.completions.parse(**{**FREE, "max_tokens": 200}, response_format=Animals).choices[0].message.parsed
        self.assertIsInstance(got, Animals)
        self.assertIn(len(got.animals), (1, 2))
        answer = self.client.chat.completions.create(**FREE, extra_body={"grammar": 'root ::= "yes" | "no"'})
        self.assertIn(answer.choices[0].message.content, ("yes", "no"))

    def test_completions(self):
        ask = {"model": "default", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
        choice = self.client.completions.create(**ask, logprobs=2, echo=True).choices[0]
        self.assertTrue(choice.text.startswith(ask["prompt"]))
        self.assertIn(choice.logprobs.token_logprobs[0], (None,))
        self.assertEqual(len(choice.logprobs.tokens), len(choice.logprobs.token_logprobs))
        text = "".join(chunk.choices[0].text for chunk in self.client.completions.create(**ask, stream=True))
        self.assertEqual(ask["prompt"] + text, choice.text)
        several = self.client.completions.create(**{**ask, "prompt": ["A cat", "A dog"], "n": 2, "temperature": 1, "seed": 1})
        self.assertEqual([c.index for c in several.choices], [0, 1, 2, 3])

    def test_embeddings(self):
        """The client asks for base64 by itself, unless told otherwise."""
        texts = ["A dog ran.", "A puppy ran."]
        packed = self.client.embeddings.create(model="default", input=texts)
        plain = self.client.embeddings.create(model="default", input=texts, encoding_format="float")
        self.assertEqual([v.index for v in packed.data], [0, 1])
        for a, b in zip(packed.data, plain.data):
            self.assertAlmostEqual(sum(x * x for x in a.embedding), 1, places=4)
            self.assertEqual(len(a.embedding), len(b.embedding))
            self.assertLess(max(abs(x - y) for x, y in zip(a.embedding, b.embedding)), 1e-6)

    def test_errors(self):
        chat = self.client.chat.completions.create
        with self.assertRaises(openai.BadRequestError) as caught:
            chat(**{**SHORT, "temperature": 9})
        self.assertEqual((caught.exception.param, caught.exception.code), ("temperature", "invalid_value"))
        self.assertTrue(caught.exception.request_id)
        with self.assertRaises(openai.BadRequestError) as caught:
            chat(**{**SHORT, "messages": [{"role": "user", "content": "word " * 2000}]})
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.NotFoundError):
            chat(**{**SHORT, "model": "gpt-4o"})
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(**{**self.address, "api_key": "another"}).models.list()
        with self.assertRaises(openai.LengthFinishReasonError):
            class Long(pydantic.BaseModel):
                words: list[str] = pydantic.Field(min_length=50)
            self.client.chat.completions.parse(**{**FREE, "max_tokens": 5}, response_format=Long)
        with self.assertRaises(openai.APITimeoutError):
            chat(**{**SHORT, "max_tokens": 400}, n=100, timeout=0.05)
        self.idle()

    def test_async(self):
        """Several at once; of more than the queue takes, those that are refused come again by themselves."""
        wanted = self.client.chat.completions.create(**SHORT).choices[0].message.content

        async def one(client):
            text = ""
            async for chunk in await client.chat.completions.create(**SHORT, stream=True):
                text += chunk.choices[0].delta.content or ""
            return text

        async def every():
            async with openai.AsyncOpenAI(**{**self.address, "max_retries": 60}) as client:
                return await asyncio.gather(*(one(client) for _ in range(6)))

        self.assertEqual(asyncio.run(every()), [wanted] * 6)


if __name__ == "__main__":
    unittest.main()
