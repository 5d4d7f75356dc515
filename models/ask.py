#!/usr/bin/env python3
"""Ask a model for stories as `tern chat` would, and count what comes.

Example:
  python3 models/ask.py build/tern build/demo/demo.gguf -n 100
  python3 models/ask.py build/tern build/demo/demo.gguf -n 100 --words held-out
  python3 models/ask.py build/tern build/demo/demo.gguf --talk

Each request names a creature and a thing, of all that the training conversations ask for or, with --words, of the most
common ones or of those that no conversation asks for. Counted are the answers that have both, that end by themselves, and
that say no sentence twice. With --talk it asks 60 questions that the model cannot know, and greets it 20 times, in other
words than the conversations have, and counts the answers that admit it, and those that greet.
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

QUESTIONS = """
Which city is France's capital?
Name the capital city of Japan, please.
Is Madrid the capital of Portugal?
Do you happen to know Kenya's capital?
On which continent does Peru lie?
How do I get from Rome to Naples by train?
Who painted the Mona Lisa?
Which author gave us The Three Musketeers?
Who came up with the light bulb?
Whose idea was the steam engine?
In which century did Beethoven compose?
What can you tell me about Napoleon's wife?
Give me a short biography of Marie Curie.
Who sits on the throne in Denmark right now?
Which party rules Canada?
What's seven and eight together?
Sum up 14 and 29 for me.
Could you work out 12 x 12?
If I have three apples and eat one, how many are left?
How much is half of ninety?
What do I get when I subtract 5 from 20?
What's 15 percent of 200?
Is 91 a prime number?
Count backwards from twenty.
Do I need an umbrella tomorrow?
What's the temperature outside?
Any chance of snow tonight?
Could you tell me the time?
Which weekday is it?
How many days until Christmas?
I need a Python function that reverses a string.
Show me how to write a for loop in C.
Why does my C++ program crash?
What is a pointer in Rust?
Fix this bug: int x = "a";
How would a German say good morning?
What is the Italian word for bread?
Turn this into Spanish: the house is red.
What's the recipe for pancakes?
How long must I boil potatoes?
My car won't start, what should I do?
What is the best way to learn the piano?
Which medicine helps against a headache?
Should I buy shares now?
How much does a new phone cost?
Can you order me a taxi?
Remind me to call Anna at five.
Read me my emails.
Who won the last World Cup?
What was in the newspaper this morning?
Why do stars twinkle?
What makes the wind blow?
What goes on inside a computer?
What are atoms made of?
How far away is Saturn?
How long is the Amazon?
How many bones are in the human body?
When did the Titanic sink?
What is the chemical formula of water?
What's the largest desert on Earth?
""".strip().split("\n")

GREETINGS = """
Hiya!
Howdy!
Hello, my friend!
Hi, little storyteller!
Good morning to you.
Good evening, dear model!
A very good day to you!
Hey, good to see you.
Hello hello!
Well, hello there.
Hi everyone
heya
Good afternoon, how nice to see you.
Salutations!
Hi, I wanted to say hello.
Hello from my house!
hello you
Oh, hi!
Hey hey!
Morning!
""".strip().split("\n")

ADMITS = re.compile(r"\b(?:(?:do not|don't|cannot|can not|can't|am not able|never) (?:know|say|tell|answer|help|do|learned)|only know|are all I know|too hard for me|no idea)\b", re.I)
GREETS = re.compile(r"\W*(?:hello|hi|hey|good (?:morning|evening|day|afternoon)|greetings|welcome|nice to meet)\b", re.I)


def requests(n, seed, words):
    rng, lexicon = random.Random(seed), Lexicon()
    kinds = {"all": lexicon.kinds, "common": lexicon.common_kinds}.get(words)
    kinds = [k.name for k in kinds if k.young] if kinds else lexicon.held_out[0]
    things = {"all": list(lexicon.things), "common": lexicon.common_things, "held-out": lexicon.held_out[1]}[words]
    for i in range(n):
        kind, thing = rng.choice(kinds), rng.choice(things)
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


def show(i, args, request, answer):
    if i < args.show:
        print(f"> {request}\n\n{answer}\n", file=sys.stderr)


def stories(args):
    count = {"both": 0, "creature": 0, "thing": 0, "ended": 0, "no_sentence_twice": 0}
    words = 0
    for i, (request, wanted) in enumerate(requests(args.n, args.seed, args.asked)):
        answer, ended = ask(args.tern, args.model, request, i + 1, args.run_arguments)
        has = [re.search(rf"\b{word}", answer, re.IGNORECASE) is not None for word in wanted]
        told = sentences(answer)
        count["creature"] += has[0]
        count["thing"] += has[1]
        count["both"] += all(has)
        count["ended"] += ended
        count["no_sentence_twice"] += len(set(told)) == len(told)
        words += len(answer.split())
        show(i, args, request, answer)
    shares = {key: round(value / args.n, 3) for key, value in count.items()}
    return {"requests": args.n, "asked": args.asked, **shares, "words": round(words / args.n, 1)}


def talk(args):
    count = {}
    for name, asked, rule in (("admitted", QUESTIONS, ADMITS.search), ("greeted", GREETINGS, GREETS.match)):
        count[name] = 0
        for i, request in enumerate(asked):
            answer = ask(args.tern, args.model, request, i + 1, args.run_arguments)[0]
            count[name] += rule(answer) is not None
            show(i, args, request, answer)
    return {"questions": len(QUESTIONS), "admitted": count["admitted"], "greetings": len(GREETINGS), "greeted": count["greeted"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tern", help="the command")
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=100, help="requests (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--words", dest="asked", choices=("common", "all", "held-out"), default="all", help="creatures and things: the common ones, all that conversations ask for, or those that none does (default: all)")
    parser.add_argument("--talk", action="store_true", help="questions that it cannot answer, and greetings, instead of stories")
    parser.add_argument("--show", type=int, default=0, help="answers to print on standard error")
    parser.epilog = "What stands behind -- goes to tern run: -- -n 100 --temp 0.5"
    # argparse takes a list behind "--" for empty where options stand in front of it
    given, at = sys.argv[1:], sys.argv.index("--") - 1 if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(given[:at])
    args.run_arguments = given[at + 1 :]
    print(json.dumps(talk(args) if args.talk else stories(args)))


if __name__ == "__main__":
    main()
