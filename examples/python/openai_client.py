"""Talk to `tern serve` with OpenAI's own client (pip install openai); nothing of it needs to know about tern.

    tern serve MODEL &
    python3 openai_client.py [http://127.0.0.1:8080/v1]

Another address, and a key if the server was given one: also by OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import os
import sys

import openai
import pydantic

QUESTION = [{"role": "user", "content": "Tell me a story about a dog."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["place", "unit"],
            "additionalProperties": False,
        },
    },
}


class Animal(pydantic.BaseModel):
    kind: str = pydantic.Field(max_length=20)
    legs: int = pydantic.Field(ge=0, le=8)


def chat(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=40, temperature=0)
    print(f"chat: {answer.choices[0].message.content!r} ({answer.choices[0].finish_reason})")


def stream(client: openai.OpenAI, model: str) -> None:
    print("stream: ", end="")
    chunks = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        max_tokens=40,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    tokens = 0
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    print(f" ({tokens} tokens)")


def call_a_function(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=100,
        temperature=0,
    )
    call = answer.choices[0].message.tool_calls[0].function
    print(f"call: {call.name} {call.arguments}")


def answer_as_an_object(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Name an animal, and how many legs it has."}],
        response_format=Animal,
        max_tokens=100,
        temperature=0,
    )
    print(f"object: {answer.choices[0].message.parsed}")


def complete(client: openai.OpenAI, model: str) -> None:
    completion = client.completions.create(model=model, prompt="Once upon a time", max_tokens=20, temperature=0)
    print(f"completion: {completion.choices[0].text!r}")


def embed(client: openai.OpenAI, model: str) -> None:
    vectors = client.embeddings.create(model=model, input=["A dog ran.", "A puppy ran."]).data
    cosine = sum(a * b for a, b in zip(vectors[0].embedding, vectors[1].embedding))
    print(f"embeddings: {len(vectors[0].embedding)} numbers, likeness {cosine:.2f}")


def ask_wrongly(client: openai.OpenAI, model: str) -> None:
    try:
        client.chat.completions.create(model=model, messages=QUESTION, temperature=9)
    except openai.BadRequestError as error:
        print(f"a wrong request: {error.param}: {error.body['message']}")


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1")
    client = openai.OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    try:
        model = client.models.list().data[0].id
        print(f"model: {model}")
        for show in (chat, stream, call_a_function, answer_as_an_object, complete, embed, ask_wrongly):
            show(client, model)
    except openai.OpenAIError as error:
        print(f"openai_client: {url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
