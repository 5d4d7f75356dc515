"""Tests of tools/stories and models/corpus.py; the first argument is the repository. Called by test_stories.sh."""

import io
import json
import lzma
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout

ROOT = os.path.abspath(sys.argv.pop(1))
STORIES = os.path.join(ROOT, "tools", "stories")
sys.dont_write_bytecode = True
sys.path[:0] = [STORIES, os.path.join(ROOT, "models")]

import ask  # noqa: E402
import check  # noqa: E402
import corpus  # noqa: E402
import lexicon  # noqa: E402
import plots  # noqa: E402
import pairs  # noqa: E402
import tasks  # noqa: E402
import world  # noqa: E402

LEXICON = lexicon.Lexicon()


def stories(*arguments, seed="0"):
    """Standard output of the generator."""
    environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([sys.executable, STORIES, *arguments], env=environment, capture_output=True, check=True).stdout


class Generator(unittest.TestCase):
    def test_reproducible(self):
        for what in ("stories", "sft", "dpo"):
            first = stories(what, "-n", "20", "--seed", "3", seed="1")
            self.assertEqual(first, stories(what, "-n", "20", "--seed", "3", seed="2"), what)
            self.assertNotEqual(first, stories(what, "-n", "20", "--seed", "4"), what)

    def test_no_fault_in_many(self):
        seen = set()
        for i in range(2000):
            name = list(plots.PLOTS)[i % len(plots.PLOTS)]
            stage = plots.tell(LEXICON, f"test {i}", plot=name)
            text = stage.story()
            self.assertEqual(check.problems(text, stage), [], f"{name} {i}: {text}")
            self.assertGreater(len(text), 250)
            self.assertTrue(stage.facts)
            seen.add(text)
        self.assertEqual(len(seen), 2000)

    def test_size(self):
        self.assertGreaterEqual(len(plots.PLOTS), 20)
        self.assertGreater(len(LEXICON.words()), 2500)
        self.assertGreater(len(LEXICON.kinds), 250)
        self.assertGreater(len(LEXICON.things), 280)

    def test_held_out_words_are_none_of_the_lexicon(self):
        for held in LEXICON.held_out:
            self.assertEqual(len(set(held)), 40)
            for word in held:
                pattern = re.compile(rf"\b(?:{word}|{lexicon.plural(word)})\b")
                names = [kind.name for kind in LEXICON.kinds] + list(LEXICON.things) + [food for food, _ in LEXICON.foods]
                self.assertEqual([name for name in names if pattern.search(name)], [])

    def test_plurals(self):
        for one, many in (("fox", "foxes"), ("mouse", "mice"), ("field mouse", "field mice"), ("fairy", "fairies"), ("monkey", "monkeys"), ("wolf", "wolves"), ("sheep", "sheep"), ("fisherman", "fishermen"), ("bunch of grapes", "bunches of grapes"), ("witch", "witches")):
            self.assertEqual(lexicon.plural(one), many)

    def test_every_way_of_every_step_can_be_said(self):
        """No line has a slot that its plots do not fill: the plots are told until all lines have come."""
        unsaid = {(step, i) for step, lines in LEXICON.beats.items() for i in range(len(lines))}
        for i in range(12000):
            unsaid -= plots.tell(LEXICON, f"all {i}").used
            if not unsaid:
                return
        self.fail(f"never said: {sorted(unsaid)[:10]}")

    def test_checker_finds_faults(self):
        good = plots.tell(LEXICON, 1).story()
        self.assertEqual(check.problems(good), [])
        for bad in (
            good.replace(" ", "  ", 1),
            good + " It was a honest owl.",
            good + " It was an unicorn.",
            good + ' "Hello, said the fox.',
            good + " {A} left.",
            good + " He went . Home.",
            good + " it began again.",
            good + " The the end.",
            good + ' "Stop!" he ran away.',
            good + " And then",
        ):
            self.assertNotEqual(check.problems(bad), [], bad[-60:])

    def test_checker_finds_wrong_pronouns(self):
        for i in range(200):
            stage = plots.tell(LEXICON, i, plot="storm")
            if {p.gender for p in stage.people.values()} == {"he"}:
                break
        self.assertNotEqual(check.problems(stage.story() + " She smiled.", stage), [])

    def test_articles(self):
        for word in ("apple", "honest", "hour", "owl", "umbrella", "orange", "heir"):
            self.assertEqual(lexicon.article(word), "an", word)
        for word in ("fox", "unicorn", "useful", "one", "honey", "hedgehog", "yellow", "university"):
            self.assertEqual(lexicon.article(word), "a", word)

    def test_world_refuses_contradictions(self):
        stage = plots.tell(LEXICON, 5, plot="lost_found")  # the end: A has o, nobody lost it
        with self.assertRaises(world.Contradiction):
            stage.give("o", "A", by="B")
        with self.assertRaises(world.Contradiction):
            stage.find("o", "B")
        with self.assertRaises(world.Contradiction):
            stage.lose("o", "B", "in the sea")
        with self.assertRaises(world.Contradiction):
            stage.expand("{nothing}")

    def test_wishes_are_granted(self):
        wish = {"kind": "fox", "trait": "shy", "thing": "kite", "adjective": "red", "name": "Bracken"}
        for i in range(50):
            text = plots.tell(LEXICON, i, wish).story()
            for part in ("fox", "shy", "red kite", "Bracken"):
                self.assertIn(part, text)
        with self.assertRaises(plots.Unfit):
            plots.tell(LEXICON, 1, {"thing": "ladder"}, plot="broken")
        with self.assertRaises(plots.Unfit):  # by no plot at all
            plots.tell(LEXICON, 1, {"thing": "no such thing"})

    def test_every_word_can_be_asked_for(self):
        """Each creature, thing, food and adjective is in a story without a fault."""
        made = tasks.Tasks(LEXICON, 1)
        rng = random.Random(1)
        wishes = [{"kind": kind.name} for kind in LEXICON.kinds] + [{"kind": "fox", "thing": thing} for thing in LEXICON.things]
        wishes += [{"kind": "fox", "food": food} for food, _ in LEXICON.foods] + [{"kind": "hen", "trait": trait} for trait in LEXICON.other_traits]
        wishes += [{"kind": "fox", "other": kind.name} for kind in LEXICON.kinds if kind.name != "fox"]
        for wish in wishes:
            told = made.story(rng, wish)
            self.assertIsNotNone(told, wish)
            self.assertEqual(check.problems(told[1], told[0]), [], f"{wish}: {told[1]}")

    def test_cap(self):
        cap = check.Cap(2)
        text = "one two three four five six seven eight nine"
        self.assertTrue(cap.take(text) and cap.take("zero " + text))
        self.assertFalse(cap.take(text + " ten"))
        self.assertTrue(cap.take("quite another text that shares no eight words with it"))

    def test_avoids_a_text(self):
        story = stories("stories", "-n", "1", "--seed", "9").decode()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(story)
            file.flush()
            other = stories("stories", "-n", "3", "--seed", "9", "--avoid", file.name).decode()
        self.assertNotIn(story.strip(), other)


class Exercises(unittest.TestCase):
    def test_conversations(self):
        made = tasks.Tasks(LEXICON, 1, written=["Once upon a time a cat found a boat. " * 8])
        lengths = set()
        for i in range(300):
            messages = made.conversation(i)["messages"]
            self.assertEqual([m["role"] for m in messages], ["user", "assistant"] * (len(messages) // 2))
            self.assertTrue(all(m["content"].strip() == m["content"] != "" for m in messages), messages)
            self.assertIsNone(re.search(r"[\[\]{}|]", " ".join(m["content"] for m in messages)), messages)
            self.assertLess(sum(len(m["content"]) for m in messages), 2000)
            lengths.add(len(messages))
        self.assertTrue({2, 4} <= lengths)

    def test_texts_by_others_are_asked_for_by_their_nouns(self):
        text = (
            "Once there was a %s named Zuri who found a purple trombone. The trombone was old. The %s played the trombone in the"
            " barn, and an octopus heard it. The octopus was glad. It ran to the barn. \"What a trombone!\" said the octopus."
        )
        made = tasks.Tasks(LEXICON, 1, written=[text % (a, a) for a in ("girl", "boy", "zebra", "wizard")])
        self.assertEqual(len(made.written), 4)
        asked = set()
        for i in range(200):
            request, answer = made.others(random.Random(i))[:2]
            asked |= set(re.findall(r"[a-z]+", request.lower()))
            self.assertIn(answer, [story for story, _ in made.written])
            if "wizard" in request.lower():
                self.assertIn("wizard", answer)
        self.assertTrue({"trombone", "barn", "zebra", "wizard"} <= asked)
        self.assertFalse({"octopus", "played", "heard", "glad", "ran"} & asked)

    def test_nothing_held_out_is_asked_for(self):
        text = "One day, a walrus found a violin. The walrus saw a cat. The cat liked the violin and the drum. The drum was loud. " * 3
        made = tasks.Tasks(LEXICON, 2, written=[text])
        held = re.compile(r"\b(?:" + "|".join(sorted(made.held_out)) + r")\b", re.I)
        questions = {re.sub(r"\W+", " ", text).strip().lower() for text in ask.QUESTIONS + ask.GREETINGS}
        for i in range(1500):
            for turn in made.conversation(i)["messages"]:
                if turn["role"] == "user" and "\n" not in turn["content"]:  # that has no story in it, which a question is about
                    self.assertIsNone(held.search(turn["content"]), turn)
                    self.assertNotIn(re.sub(r"\W+", " ", turn["content"]).strip().lower(), questions)

    def test_small_talk(self):
        made, followed = tasks.Tasks(LEXICON, 1), 0
        for i in range(300):
            rng = random.Random(i)
            question, answer = made.line(rng, "unknown")
            self.assertRegex(answer, ask.ADMITS)
            self.assertTrue(ask.GREETS.match(made.line(rng, "hello")[1]))
            for topic in sorted(set(made.talk) - {"hello", "name", "bye"}):
                self.assertFalse(ask.GREETS.match(made.line(rng, topic)[1]))
            turns = made.cannot(rng)
            offered = re.search(r"story about ([\w' -]+)[?,]", turns[1])
            if len(turns) == 4 and offered and len(turns[3]) > 250:
                followed += 1
                for word in offered.group(1).split():
                    self.assertIn(word, turns[3] + " a an and")
            self.assertEqual(check.problems(answer), [])
        self.assertGreater(followed, 0)

    def test_a_story_in_short(self):
        for i in range(60):
            stage = plots.tell(LEXICON, i, plot="finder")
            short = tasks.in_short(stage)
            self.assertEqual(check.problems(short), [])
            self.assertIn(stage.people["A"].given or stage.people["A"].kind.name, short)
            self.assertLess(len(short), 300)

    def test_answers_are_right(self):
        for i in range(50):
            stage = plots.tell(LEXICON, i, plot="finder")
            text = stage.story()
            self.assertEqual(stage.facts[0][1][0], f"{stage.who('A')} found the {stage.things['o'].noun}.")
            self.assertIn(stage.spots[0], text)
            self.assertIs(stage.things["o"].owner, stage.people["B"])

    def test_pairs(self):
        made, kinds = tasks.Tasks(LEXICON, 1), set()
        for i in range(200):
            pair = pairs.pair(made, i)
            self.assertNotEqual(pair["chosen"], pair["rejected"])
            self.assertEqual(check.problems(pair["chosen"]), [])
            kinds.add(pair["why"])
            if pair["why"] == "no ending":
                self.assertTrue(pair["chosen"].startswith(pair["rejected"]))
            if pair["why"] == "repeated sentence":
                self.assertNotIn(pair["rejected"], pair["chosen"])
            if pair["why"].startswith("another"):
                self.assertEqual(len(pair["chosen"].split("\n\n")), len(pair["rejected"].split("\n\n")))
        self.assertEqual(kinds, set(pairs.BREAKS) | {"other talk"})

    def test_another_word_all_through(self):
        text = "An owl had a kite. The owl loved kites! \"Owls?\" A big owl, Owlet."
        self.assertEqual(pairs.exchanged(text, "owl", "fox"), "A fox had a kite. The fox loved kites! \"Foxes?\" A big fox, Owlet.")
        self.assertEqual(pairs.exchanged(text, "kite", "apple"), text.replace("a kite", "an apple").replace("kites", "apples"))


GUTENBERG = """The Project Gutenberg eBook of A Tale, by Nobody

*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***

Produced by Somebody and the Online Distributed Proofreading Team

CONTENTS

I. The Fox  3
II. The Hare  17

CHAPTER I

THE FOX

There was once a _very_ old fox who lived
under a hill, and [Illustration: The Fox] whose fur was as grey as
the stones of the wall.[1] He never \u201chunted\u201d any more\u2014not he.

[Transcriber's Note: the fox is missing on page 5.]

   Round and round,
   Over the ground,
   Never a sound.

CHAPTER II

The hare ran over the hill and did not look back at all,
for she was in a great hurry to be at home before dark.

Printed in Great Britain by A. Printer & Co.

*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***

Section 1. General Terms of Use and Redistributing Project Gutenberg works
"""


class Cleaning(unittest.TestCase):
    def test_book(self):
        pieces = corpus.clean_document(GUTENBERG, shortest=20)
        self.assertEqual(len(pieces), 2)
        self.assertEqual(
            pieces[0],
            "There was once a very old fox who lived under a hill, and whose fur was as grey as the stones of the wall."
            ' He never "hunted" any more--not he.\n\nRound and round,\nOver the ground,\nNever a sound.',
        )
        self.assertTrue(pieces[1].startswith("The hare ran") and pieces[1].endswith("before dark."))

    def test_paragraphs(self):
        for gone in ("Copyright 1907 by Somebody.", "See www.example.org", "Cf. the notes, p. 240", "* * * * *", "12 34 56 78 90"):
            self.assertEqual(corpus.clean_paragraph(gone), "", gone)
        self.assertEqual(corpus.clean_paragraph("She ate a cr\u00eape."), "She ate a crepe.")
        self.assertEqual(corpus.clean_paragraph("\u4e00 fox"), "")
        self.assertEqual(corpus.clean_paragraph("The [Pg 12] sniggering darkness."), "The sniggering darkness.")

    def test_split(self):
        parts = corpus.split_long(["x" * 999] * 20, 8000)
        self.assertEqual([len(p) for p in parts], [7, 7, 6])
        self.assertEqual(sum(parts, []), ["x" * 999] * 20)

    def test_held_out_is_cut_off(self):
        documents = ["One fox ran.", "Two hares sat there. They slept.", "Three owls flew."]
        self.assertEqual(corpus.cut_held_out(documents, "They slept.\nThree owls\n\nflew.\n"), documents[:1])
        self.assertEqual(corpus.cut_held_out(documents, "Three owls flew."), documents[:2])
        self.assertIsNone(corpus.cut_held_out(documents, "Four crows cried."))

    def test_shared_runs(self):
        rng = random.Random(1)
        noise = lambda n: "".join(rng.choice("abcdefghij ") for _ in range(n))
        held = noise(3000)
        runs = corpus.HeldOut(held)
        squeezed = corpus.squeeze(held)
        for at in range(0, 2000, 37):
            part = squeezed[at : at + corpus.RUN]
            self.assertNotEqual(runs.shared(f"{noise(rng.randrange(90))}\n{part}{noise(40)}"), "")
            self.assertEqual(runs.shared(f"{noise(50)}#{part[:-1]}#{noise(50)}"), "")

    def test_commands(self):
        with tempfile.TemporaryDirectory() as folder:
            text, path = os.path.join(folder, "text"), lambda *parts: os.path.join(folder, *parts)
            os.mkdir(text)
            tale = "The %s came to the old bridge in the evening and waited there until the %s had gone by. " * 4
            tales = [(tale % ((a, b) * 4)).strip() for a, b in (("fox", "cart"), ("hen", "rain"), ("owl", "wind"), ("cat", "moon"))]
            last = [t.replace("old bridge", "high tower").replace("came to", "ran to").replace("waited", "slept") for t in tales[2:]]
            held = last[0][100:] + "\n" + last[1]
            for name, content in (("tinystories-sample.txt", tales[:2] + last), ("storybooks-ccby.txt", tales[:1])):
                corpus.write_documents(path("text", name), content)
            for name in ("children-books.txt.xz", "classic-fiction.txt.xz"):
                with lzma.open(path("text", name), "wt") as file:
                    file.write("\n<|endoftext|>\n".join([tales[1], "Once upon a time. " + last[1]]))
            with open(path("heldout.txt"), "w") as file:
                file.write(held)

            def run(*arguments):
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as err:
                    sys.argv[1:] = arguments
                    return corpus.main(), err.getvalue()

            status, err = run("clean", folder, "--heldout", path("heldout.txt"), "-o", path("out"))
            self.assertEqual(status, 0)
            self.assertIn("children: 1 documents left out", err)
            self.assertEqual(len(corpus.read_documents(path("out", "tinystories.txt"))), 2)
            self.assertEqual(len(corpus.read_documents(path("out", "children.txt"))), 1)
            files = [path("out", name + ".txt") for name in ("tinystories", "storybooks", "children", "classic")]
            self.assertEqual(run("check", path("heldout.txt"), *files)[0], 0)
            # and it fails when it should: text or a string in a line of JSON
            with open(path("bad.txt"), "w") as file:
                file.write("A story. " + held[200:280])
            self.assertEqual(run("check", path("heldout.txt"), *files, path("bad.txt"))[0], 1)
            with open(path("bad.jsonl"), "w") as file:
                file.write(json.dumps({"messages": [{"role": "user", "content": "Hm. " + held[150:240]}]}) + "\n")
            self.assertEqual(run("check", path("heldout.txt"), path("bad.jsonl"))[0], 1)
            with open(path("short.txt"), "w") as file:
                file.write("too short")
            with self.assertRaises(SystemExit):
                run("check", path("short.txt"), *files)
            with self.assertRaises(SystemExit):
                run("clean", folder, "--heldout", path("bad.txt"), "-o", path("out2"))

    def test_plan(self):
        given = corpus.plan({"small": 50, "big": 50}, {"small": 1, "big": 1000}, 100)
        self.assertEqual(given, {"small": corpus.MAX_PASSES, "big": 100 - corpus.MAX_PASSES})
        self.assertEqual(corpus.plan({"a": 30, "b": 70}, {"a": 100, "b": 100}, 100), {"a": 30, "b": 70})


if __name__ == "__main__":
    unittest.main()
