"""What an evaluation harness should be told: the same log-likelihoods, computed with `tern logits`."""
import array
import functools
import json
import math
import os
import subprocess
import sys

from harness import PATIENCE, ROOT, TERN

TASKS = os.path.join(ROOT, "examples", "lm-eval")
TRANSCRIPT = os.path.join(ROOT, "tests", "server", "lm_eval.jsonl")
OPTIONS = ("--kv-type", "f32", "-c", "512")  # of the server
TOLERANCE = 1e-3


def tern(*arguments):
    """-> bytes; not -t, which not every command has"""
    return subprocess.run([TERN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True,
                          timeout=10 * PATIENCE).stdout


def tokenize(text):
    return [int(n) for n in tern("tokenize", "demo", "--no-bos", "-p", text).split()]


@functools.lru_cache(maxsize=None)
def token_logprobs(ids):
    """ids, a tuple -> of each but the first: its log-probability, the largest one at its place"""
    data = array.array("f", tern("logits", "demo", "-t", "1", "--ids", ",".join(map(str, ids)), "-o", "-"))
    if sys.byteorder == "big":
        data.byteswap()
    vocab = len(data) // len(ids)
    found = []
    for i, token in enumerate(ids[1:]):
        row = data[i * vocab:(i + 1) * vocab]
        top = max(row)
        log_sum = math.log(sum(math.exp(v - top) for v in row))
        found.append((row[token] - top - log_sum, -log_sum))
    return found


def log_likelihood(context, continuation):
    """Token ids -> the sum over the continuation's, and whether greedy decoding would have given it"""
    values = token_logprobs(tuple(context) + tuple(continuation))[-len(continuation):]
    return sum(v for v, _ in values), all(v == best for v, best in values)


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
