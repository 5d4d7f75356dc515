#!/usr/bin/env python3
"""Example:
  tern serve model.gguf --parallel 64 &
  bench/serve_load.py --streams 8 --duration 60
  bench/serve_load.py --streams 1000 --duration 600 --json load.json
  bench/serve_load.py --prefix

Put load on a server and hold it to its answers. Before, each of the prompts is asked alone, greedily; then, while many
ask at the same time, each answer has to be the very same text, whole, under the id of its own request. Prints a table
in Markdown on standard output: tokens a second, median and 99th percentile of the time to the first token and between
tokens, the server's memory. Exit status 1 if an answer was lost or mixed up, or failed. Python's standard library only.
"""
import argparse
import array
import asyncio
import contextlib
import json
import os
import resource
import sys
import time
import urllib.parse

PATH = "/v1/completions"
ANIMALS = ("a bird", "a small dog", "an old cat", "a brown bear", "a fox", "a frog", "a duck", "a mouse")
PLACES = ("in the forest", "near the sea", "in a big house", "under a tree")


class Refused(Exception):
    """429 or 503: ask again after `seconds`."""
    def __init__(self, status, seconds):
        super().__init__(f"status {status}")
        self.status, self.seconds = status, seconds


class Unanswered(Exception):
    """A connection that was kept is closed before a byte of the answer came: the request may be sent again."""


class Wrong(Exception):
    """What must not happen."""
    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


# ------------------------------------------------------------------------- HTTP
async def joined(pieces):
    return b"".join([piece async for piece in pieces])


class Client:
    """One connection, opened when it is needed and kept."""
    def __init__(self, url, key, patience):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.base, self.key, self.patience = parts.path.rstrip("/"), key, patience
        self.reader = self.writer = None
        self.used = False
        self.head = {}

    async def close(self):
        if self.writer:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        self.reader = self.writer = None

    async def send(self, method, path, body):
        if not self.writer:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
            self.used = False
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {self.base}{path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {len(data)}"]
        lines += ["Content-Type: application/json"] if data else []
        lines += [f"Authorization: Bearer {self.key}"] if self.key else []
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self.writer.drain()

    async def read_head(self):
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError("closed")
        status = int(line.split()[1])
        self.head = {}
        while (line := await self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            self.head[name.lower()] = value.strip()
        self.used = True
        return status

    async def read_body(self):
        """The body's pieces, as they come."""
        if "chunked" not in self.head.get("transfer-encoding", ""):
            yield await self.reader.readexactly(int(self.head["content-length"]))
            return
        while True:
            line = await self.reader.readline()
            size = int(line, 16) if line.endswith(b"\r\n") else -1
            if size < 0:
                raise ConnectionResetError("closed in the middle of an answer")
            data = await self.reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]

    async def pieces(self, method, path, body):
        """The body of a good answer; Refused, Unanswered or Wrong otherwise."""
        was_used = self.writer is not None and self.used
        try:
            await self.send(method, path, body)
            status = await self.read_head()
        except OSError as error:
            await self.close()
            if was_used:
                raise Unanswered() from error
            raise Wrong("connection", f"no answer: {error}") from error
        try:
            if status != 200:
                text = await joined(self.read_body())
                if status in (429, 503):
                    raise Refused(status, float(self.head.get("retry-after", 1)))
                raise Wrong(f"status {status}", " ".join(text.decode("utf-8", "replace").split())[:200])
            async with contextlib.aclosing(self.read_body()) as pieces:
                async for piece in pieces:
                    yield piece
        except (OSError, EOFError, ValueError) as error:
            await self.close()
            raise Wrong("lost", f"the answer is not whole: {error!r}") from error
        finally:
            if self.head.get("connection", "").lower() == "close":
                await self.close()

    async def ask(self, method, path, body=None):
        """A whole answer -> bytes."""
        while True:
            try:
                return await asyncio.wait_for(joined(self.pieces(method, path, body)), self.patience)
            except Unanswered:
                pass
            except Refused as refusal:
                await asyncio.sleep(refusal.seconds)

    async def events(self, path, body):
        """A stream's events as objects; it has to end with [DONE]."""
        rest, done = b"", False
        async with contextlib.aclosing(self.pieces("POST", path, body)) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n\n")
                for line in lines:
                    if done or not line.startswith(b"data: "):
                        raise Wrong("lost", f"no event of this stream: {line[:100]!r}")
                    done = line == b"data: [DONE]"
                    if not done:
                        yield json.loads(line[6:])
        if rest or not done:
            raise Wrong("lost", f"the stream does not end with [DONE]: {rest[:100]!r}")


# --------------------------------------------------------------------- one answer
class Answer:
    """What a stream said, and when."""
    def __init__(self):
        self.text, self.times, self.usage = "", [], {}

    async def take(self, client, path, body):
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        async with contextlib.aclosing(client.events(path, body)) as events:
            async for event in events:
                self.add(event, client.head.get("x-request-id", ""))
        return self

    def add(self, event, request_id):
        if "error" in event:
            raise Wrong("error", json.dumps(event["error"])[:200])
        if not event["id"].endswith("-" + request_id):
            raise Wrong("mixed up", f"an event of {event['id']} in the stream of {request_id}")
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            text = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
            if text:
                self.times.append(time.perf_counter())
            self.text += text


async def answer(client, path, body, counts):
    """Ask until it is answered; times are from the first attempt."""
    began = time.perf_counter()
    while True:
        left = client.patience - (time.perf_counter() - began)
        try:
            return began, await asyncio.wait_for(Answer().take(client, path, body), left)
        except Refused as refusal:
            counts[refusal.status] = counts.get(refusal.status, 0) + 1
            await asyncio.sleep(refusal.seconds)
        except Unanswered:
            counts["reopened"] = counts.get("reopened", 0) + 1


# ------------------------------------------------------------------------- memory
async def memory(client, pid):
    """Bytes that the server has in memory; None if it does not say."""
    if pid:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for line in (await client.ask("GET", "/metrics")).decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return int(float(line.split()[1]))
    return None


async def watch_memory(client, pid, samples, seconds):
    while True:
        await asyncio.sleep(seconds)
        with contextlib.suppress(Wrong, asyncio.TimeoutError):
            samples.append(await memory(client, pid))


# --------------------------------------------------------------------------- load
class Load:
    def __init__(self, options, key):
        self.options, self.key = options, key
        self.first, self.between = array.array("d"), array.array("d")
        self.counts, self.problems, self.kinds = {}, [], {}
        self.tokens = self.cached = self.prompt_tokens = self.finished = 0
        self.left = options.requests or 1 << 62
        self.until = None
        self.bodies = [self.body(i, prompt) for i, prompt in enumerate(prompts(options))]
        self.alone = []

    def body(self, i, prompt):
        """Lengths differ, so that requests join and leave at different times."""
        most = self.options.tokens
        return {"prompt": prompt, "temperature": 0, "max_tokens": most - i * 7 % (most // 2 + 1), "ignore_eos": True}

    def client(self):
        return Client(self.options.url, self.key, self.options.patience)

    async def ask_alone(self):
        client = self.client()
        for body in self.bodies:
            self.alone.append((await answer(client, PATH, body, {}))[1].text)
        await client.close()

    def wrong(self, kind, text):
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if len(self.problems) < 20:
            self.problems.append(f"{kind}: {text}")

    def take(self, i, began, got):
        if got.text != self.alone[i]:
            other = self.alone.index(got.text) if got.text in self.alone else None
            self.wrong("mixed up", f"prompt {i}: {got.text[:100]!r} is " +
                       (f"the answer to prompt {other}" if other is not None else f"not {self.alone[i][:100]!r}"))
            return
        self.finished += 1
        self.tokens += got.usage["completion_tokens"]
        self.prompt_tokens += got.usage["prompt_tokens"]
        self.cached += got.usage["prompt_tokens_details"]["cached_tokens"]
        if got.times:
            self.first.append(got.times[0] - began)
            self.between.extend(b - a for a, b in zip(got.times, got.times[1:]))

    async def work(self, number, connections):
        """A stream after the other; each worker starts at a prompt of its own and goes round."""
        i = number
        while self.left > 0 and time.perf_counter() < self.until:
            self.left -= 1
            client = await connections.get()
            try:
                began, got = await answer(client, PATH, self.bodies[i % len(self.bodies)], self.counts)
                self.take(i % len(self.bodies), began, got)
            except Wrong as problem:
                self.wrong(problem.kind, str(problem))
                await client.close()
            except asyncio.TimeoutError:
                self.wrong("lost", f"no answer in {client.patience:g} s")
                await client.close()
            connections.put_nowait(client)
            i += 1

    async def run(self):
        options, watcher = self.options, self.client()
        await self.ask_alone()
        clients = [self.client() for _ in range(options.connections)]
        connections = asyncio.Queue()
        for client in clients:
            connections.put_nowait(client)
        rss = [await memory(watcher, options.pid)]
        began = time.perf_counter()
        self.until = began + options.duration
        watching = asyncio.create_task(watch_memory(watcher, options.pid, rss, max(1, options.duration / 20)))
        await asyncio.gather(*(self.work(n, connections) for n in range(options.streams)))
        seconds = time.perf_counter() - began
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        for client in [*clients, watcher]:
            await client.close()
        watcher = self.client()
        rss.append(await memory(watcher, options.pid))
        await watcher.close()
        return self.result(seconds, rss)

    def result(self, seconds, rss):
        return {"streams": self.options.streams, "connections": self.options.connections, "seconds": seconds,
                "requests": self.finished, "prompts": len(self.alone), "distinct_answers": len(set(self.alone)),
                "tokens": self.tokens, "tokens_per_second": self.tokens / seconds,
                "prompt_tokens": self.prompt_tokens, "cached_tokens": self.cached,
                "first_token_ms": percentiles(self.first), "between_tokens_ms": percentiles(self.between),
                "asked_again": {str(name): n for name, n in self.counts.items()},
                "rss_bytes": rss, "errors": self.kinds, "problems": self.problems}


def prompts(options):
    if options.prompts:
        with open(options.prompts, encoding="utf-8") as file:
            return list(dict.fromkeys(line.rstrip("\n") for line in file if line.strip()))
    return [f"Once upon a time there was {animal} {place}. One day" for place in PLACES for animal in ANIMALS]


def percentiles(seconds):
    values = sorted(seconds)
    if not values:
        return {"p50": None, "p99": None}
    return {f"p{p}": values[min(len(values) - 1, len(values) * p // 100)] * 1e3 for p in (50, 99)}


# ------------------------------------------------------------------------- prefix
async def long_text(client, wanted, number):
    """About `wanted` tokens that begin like no other round's."""
    text = f"This is story number {number} of {time.time_ns()}."
    while True:
        body = {"content": text, "add_special": False}
        n = len(json.loads(await client.ask("POST", "/tokenize", body))["tokens"])
        if n >= wanted:
            return text
        sentence = [f" Then {animal} went for a walk {place} and found {n} stones." for animal in ANIMALS for place in PLACES]
        text += "".join(sentence[:max(1, (wanted - n) // 24)])


async def second_turns(options, key):
    """Time to the first token of a chat's first turn, and of its second, which repeats the first and its answer."""
    client, rounds = Client(options.url, key, options.patience), []
    context = json.loads(await client.ask("GET", "/v1/models"))["data"][0]["context_length"]
    wanted = min(options.prefix_tokens, context - 2 * options.tokens - 128)
    if wanted < 32:
        raise Wrong("context", f"a context of {context} tokens has no room for two turns; give fewer --tokens")
    for number in range(options.rounds):
        messages, turns = [{"role": "user", "content": await long_text(client, wanted, number)}], []
        for _ in range(2):
            body = {"messages": messages, "temperature": 0, "max_tokens": options.tokens, "ignore_eos": True}
            began, got = await answer(client, "/v1/chat/completions", body, {})
            turns.append({"first_token_ms": (got.times[0] - began) * 1e3, "prompt_tokens": got.usage["prompt_tokens"],
                          "cached_tokens": got.usage["prompt_tokens_details"]["cached_tokens"]})
            messages = [*messages, {"role": "assistant", "content": got.text}, {"role": "user", "content": "And then?"}]
        rounds.append(turns)
    await client.close()
    ratios = sorted(second["first_token_ms"] / first["first_token_ms"] for first, second in rounds)
    errors = {"no reuse": n for n in [sum(r[1]["cached_tokens"] < r[0]["prompt_tokens"] // 2 for r in rounds)] if n}
    return {"rounds": rounds, "ratio": ratios[len(ratios) // 2], "errors": errors, "problems": []}


# ------------------------------------------------------------------------- report
def number(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def mebibytes(value):
    return "-" if value is None else f"{value / 1048576:.1f}"


def print_load(result):
    first, between, rss = result["first_token_ms"], result["between_tokens_ms"], result["rss_bytes"]
    print("| streams | connections | requests | tokens | tokens/s | first token p50, p99 ms | between tokens p50, p99 ms |"
          " memory begin, middle, end MiB | asked again | errors |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    print(f"| {result['streams']} | {result['connections']} | {result['requests']} | {result['tokens']} |"
          f" {number(result['tokens_per_second'])} | {number(first['p50'])}, {number(first['p99'])} |"
          f" {number(between['p50'], 2)}, {number(between['p99'], 2)} |"
          f" {mebibytes(rss[0])}, {mebibytes(rss[len(rss) // 2])}, {mebibytes(rss[-1])} |"
          f" {sum(result['asked_again'].values())} | {sum(result['errors'].values())} |")
    share = result["cached_tokens"] / max(1, result["prompt_tokens"])
    print(f"\n{result['seconds']:.1f} s; {result['prompts']} prompts with {result['distinct_answers']} different answers;"
          f" {share:.0%} of the prompts' tokens came from the cache")


def print_prefix(result):
    print("| turn | prompt tokens | of them cached | first token ms |\n|--:|--:|--:|--:|")
    for turns in result["rounds"]:
        for i, turn in enumerate(turns):
            print(f"| {i + 1} | {turn['prompt_tokens']} | {turn['cached_tokens']} | {turn['first_token_ms']:.2f} |")
    print(f"\nthe second turn takes {result['ratio']:.1%} of the first's time to the first token (median of"
          f" {len(result['rounds'])})")


def parse(arguments):
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8080", help="of the server (default: %(default)s)")
    add("--api-key-file", metavar="FILE", help="its first line is the key; or the variable TERN_API_KEY")
    add("--streams", type=int, default=8, metavar="N", help="requests at the same time (default: 8)")
    add("--connections", type=int, metavar="N", help="they take turns on so many connections (default: one each)")
    add("--duration", type=float, default=60, metavar="SECONDS",
        help="no request begins later (default: 60)")
    add("--requests", type=int, metavar="N", help="end after so many requests")
    add("--tokens", type=int, default=48, metavar="N", help="longest answer; the shortest is half of it (default: 48)")
    add("--prompts", metavar="FILE", help="prompts, one a line (default: 32 beginnings of stories)")
    add("--pid", type=int, help="the server's process, to read its memory from /proc (default: from /metrics)")
    add("--patience", type=float, default=600, metavar="SECONDS", help="an answer that takes longer is lost (default: 600)")
    add("--prefix", action="store_true", help="measure the second turn of a long chat against the first instead")
    add("--prefix-tokens", type=int, default=2000, metavar="N",
        help="of the first turn, if the context has room (default: 2000)")
    add("--rounds", type=int, default=5, metavar="N", help="chats of --prefix (default: 5)")
    add("--json", metavar="FILE", help="write all that was measured to FILE; -: to standard output, without the table")
    options = parser.parse_args(arguments)
    options.connections = options.connections or options.streams
    if min(options.streams, options.tokens, options.rounds) < 1 or options.connections < options.streams:
        parser.error("--streams, --tokens and --rounds are at least 1, --connections at least --streams")
    return options


def raise_file_limit(wanted):
    """Each connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"serve_load.py: this process may open {hard} files, but needs {wanted}; allow more with ulimit -Hn {wanted}"
                 f" (as root), or ask for fewer --connections")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def read_key(path):
    if not path:
        return os.environ.get("TERN_API_KEY")
    with open(path, encoding="ascii") as file:
        return file.readline().strip()


def main():
    options = parse(sys.argv[1:])
    raise_file_limit(options.connections + 32)
    key = read_key(options.api_key_file)
    try:
        result = asyncio.run(second_turns(options, key) if options.prefix else Load(options, key).run())
    except (Wrong, OSError, asyncio.TimeoutError) as error:
        sys.exit(f"serve_load.py: {options.url}: {error or type(error).__name__}")
    if options.json == "-":
        print(json.dumps(result))
    else:
        (print_prefix if options.prefix else print_load)(result)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=1)
    for problem in result["problems"]:
        print(f"serve_load.py: {problem}", file=sys.stderr)
    for kind, n in result["errors"].items():
        print(f"serve_load.py: {n} x {kind}", file=sys.stderr)
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
