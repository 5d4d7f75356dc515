#!/usr/bin/env python3
"""
Example:
  python3 tools/stories stories -n 20000 --seed 1 -o stories.txt
  python3 tools/stories sft -n 8000 --seed 1 --texts tinystories.txt -o sft.jsonl
  python3 tools/stories dpo -n 2000 --seed 1 -o dpo.jsonl
  python3 tools/stories check -n 2000 --seed 1

Short children's stories, made from plots, a lexicon and many ways to say each step: as plain text (stories are
separated by a line "<|endoftext|>"), as conversations ({"messages": [...]} on each line), or as pairs of a good and a
broken answer ({"prompt", "chosen", "rejected", "why"} on each line). The same seed gives the same output. `check` looks
for faults in the stories and says how varied they are; its exit status is 1 if there is a fault.
"""

import argparse
import json
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from check import Cap, problems, variety  # noqa: E402
from lexicon import Lexicon  # noqa: E402
from pairs import pair  # noqa: E402
from plots import tell  # noqa: E402
from tasks import Tasks  # noqa: E402

SEPARATOR = "<|endoftext|>"
RUN = 60  # characters: a story that shares that many in a row with a text to be avoided is left out


def runs_of(path):
    """The runs of RUN characters in a text, for avoiding them."""
    if not path:
        return set()
    with open(path, encoding="utf-8") as file:
        text = " ".join(file.read().split())
    return {text[i : i + RUN] for i in range(len(text) - RUN + 1)}


def shares(text, runs):
    text = " ".join(text.split())
    return bool(runs) and any(text[i : i + RUN] in runs for i in range(len(text) - RUN + 1))


class Teller:
    """Stories that were not told before and do not wear a phrase out."""

    def __init__(self, lexicon, seed, cap, runs):
        self.lexicon, self.seed, self.cap, self.runs = lexicon, seed, Cap(cap), runs
        self.signatures, self.left_out = set(), 0
        self.index = 0

    def next(self):
        while True:
            stage = tell(self.lexicon, f"{self.seed} {self.index}")
            self.index += 1
            text = stage.story()
            things = tuple(sorted(thing.noun for thing in stage.things.values()))
            kinds = tuple(person.kind.name for person in stage.people.values())
            signature = (stage.plot, tuple(sorted(stage.used)), things, kinds)
            if signature not in self.signatures and not shares(text, self.runs) and self.cap.take(text):
                self.signatures.add(signature)
                return stage, text
            self.left_out += 1
            if self.left_out > 1000 + 4 * len(self.signatures):
                raise SystemExit("stories: the cap on repeated phrases is reached: ask for fewer stories or raise --cap")


def stories(args, lexicon, runs, write):
    teller = Teller(lexicon, args.seed, args.cap or max(20, args.n // 60), runs)
    for i in range(args.n):
        text = teller.next()[1]
        write((SEPARATOR + "\n" if i else "") + text + "\n")
    print(f"{args.n} stories, {teller.left_out} left out as worn out or too similar", file=sys.stderr)


def texts_of(paths):
    texts = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            texts += [text.strip() for text in file.read().split(SEPARATOR)]
    return texts


def lines(args, lexicon, runs, write):
    tasks = Tasks(lexicon, args.seed, lambda text: not shares(text, runs), texts_of(args.texts))
    make = tasks.conversation if args.what == "sft" else lambda index: pair(tasks, index)
    made, seen = [], set()
    index = 0
    while len(made) < args.n:
        line = json.dumps(make(index), ensure_ascii=True)
        index += 1
        if line not in seen or index > 3 * args.n + 100:  # small talk comes twice now and then
            seen.add(line)
            made.append(line)
    replayed = [text for text in texts_of(args.replay) if text and not shares(text, runs)]
    if replayed:
        made += [json.dumps({"text": text}, ensure_ascii=True) for text in replayed]
        random.Random(f"{args.seed} replay").shuffle(made)
    for line in made:
        write(line + "\n")


def check(args, lexicon, runs, write):
    texts, bad = [], 0
    teller = Teller(lexicon, args.seed, args.cap or max(20, args.n // 60), runs)
    for _ in range(args.n):
        stage, text = teller.next()
        texts.append(text)
        for fault in problems(text, stage):
            bad += 1
            print(f"{stage.plot}: {fault}", file=sys.stderr)
    for name, value, unit in variety(texts):
        write(f"{name}: {value:.4g} {unit}".rstrip() + "\n" if isinstance(value, float) else f"{name}: {value}\n")
    write(f"words that can be used: {len(lexicon.words())}\nfaults: {bad}\n")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(
        prog="stories", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("stories", "sft", "dpo", "check"))
    parser.add_argument("-n", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", default="1", help="any text or number (default: 1)")
    parser.add_argument("--cap", type=int, default=0, help="stories that may share eight words in a row (default: 1 in 60, at least 20)")
    parser.add_argument("--avoid", metavar="FILE", help=f"leave out what shares {RUN} characters in a row with this text")
    parser.add_argument("--texts", metavar="FILE", action="append", default=[], help="sft, dpo: stories by others, which are asked for as well")
    parser.add_argument("--replay", metavar="FILE", action="append", default=[], help='sft: texts of pre-training that go, as {"text"}, among the conversations')
    parser.add_argument("-o", metavar="FILE", help="output (default: standard output)")
    args = parser.parse_args()
    if args.n < 1:
        parser.error("-n is to be 1 or more")
    work = {"stories": stories, "sft": lines, "dpo": lines, "check": check}[args.what]
    lexicon, runs = Lexicon(), runs_of(args.avoid)
    if not args.o:
        return work(args, lexicon, runs, sys.stdout.write) or 0
    folder = os.path.dirname(os.path.abspath(args.o))
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        try:
            status = work(args, lexicon, runs, file.write) or 0
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, args.o)
    return status


if __name__ == "__main__":
    sys.exit(main())
