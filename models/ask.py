#!/usr/bin/env python3
"""Ask a model for stories as `tern chat` would, and count what comes.

Example:
  python3 models/ask.py build/tern build/demo/demo.gguf -n 100

Each request names a creature and a thing of the lexicon that the training conversations are made from, in sentences that
those do not have. Counted are the answers that have both, that end by themselves, and that say no sentence twice.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tools", "stories"))
from lexicon import Lexicon, article  # noqa: E402

FORMS = (
    "Tell me a story about {a} and {b}.",
    "Write a story in which {a} finds {b}.",
    "I would love a story about {a} and {b}!",
    "Please make up a story with {b} and {a}.",
)


def requests(n, seed):
    rng, lexicon = random.Random(seed), Lexicon()
    for i in range(n):
        kind = rng.choice([k.name for k in lexicon.kinds if k.young])
        thing = rng.choice(list(lexicon.things))
        text = FORMS[i % len(FORMS)].format(a=f"{article(kind)} {kind}", b=f"{article(thing)} {thing}")
        yield text, (kind, thing)


def sentences(text):
    return [s for s in (re.sub(r"\W+", " ", s).strip().lower() for s in re.split(r"[.!?]", text)) if len(s) > 25]


def ask(tern, model, request, seed, arguments):
    command = [tern, "run", model, "--chat", "-p", request, "--seed", str(seed), "-n", "450", "--stats", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"ask: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip(), "the model ended its text" in done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tern", help="the command")
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=100, help="requests (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="answers to print on standard error")
    parser.add_argument("run_arguments", nargs="*", help="for tern run, behind --")
    args = parser.parse_args()
    count = {"both": 0, "creature": 0, "thing": 0, "ended": 0, "no_sentence_twice": 0}
    words = 0
    for i, (request, wanted) in enumerate(requests(args.n, args.seed)):
        answer, ended = ask(args.tern, args.model, request, i + 1, args.run_arguments)
        has = [re.search(rf"\b{word}", answer, re.IGNORECASE) is not None for word in wanted]
        told = sentences(answer)
        count["creature"] += has[0]
        count["thing"] += has[1]
        count["both"] += all(has)
        count["ended"] += ended
        count["no_sentence_twice"] += len(set(told)) == len(told)
        words += len(answer.split())
        if i < args.show:
            print(f"> {request}\n\n{answer}\n", file=sys.stderr)
    shares = {key: round(value / args.n, 3) for key, value in count.items()}
    print(json.dumps({"requests": args.n, **shares, "words": round(words / args.n, 1)}))


if __name__ == "__main__":
    main()
