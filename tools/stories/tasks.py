"""
Exercises made from stories: conversations for supervised fine-tuning and pairs for preference optimisation. The answers
are right by construction, since the teller knows who found the key; the rejected story of a pair is the asked-for one
with exactly one thing wrong.
"""

import random
import re

from lexicon import article, read_sections
from plots import PLOTS, Unfit, tell
from world import capital

LONGEST = 1150  # characters of a story in a conversation, so that it fits into 512 tokens with its question

REQUESTS = (
    "[Tell me|Tell|Please tell me|Can you tell me|I would like to hear] [a|a short|a little] story about {what}",
    "[Write|Please write|Make up|Can you write] [a|a short|a little] story [about|with] {what}",
    "[A|A short] story about {what}[, please|]",
    "[Do you know|I want|Give me] a story about {what}",
)
WORD_REQUESTS = (
    "[Write|Tell me|Make up] a [short |]story that uses the words {words}",
    "[Write|Tell me] a [short |]story with these words: {words}",
    "Use the words {words} in a [short |]story",
)
PLAIN_REQUESTS = (
    "[Tell me a story|Tell me a short story|Please tell me a story|A story, please|I want to hear a story|Once upon a time|Make up a story|Can you tell me a story]",
    "[Tell me another story|Another one, please|One more story, please|Tell me something]",
    "[Tell me a bedtime story|Tell me a children's story|Tell my little [sister|brother] a story]",
)
TITLE_QUESTIONS = (
    "[Give this story a title|What would be a good title for this story|Find a title for this story|What should this story be called]",
)
CONTINUE = ("[Continue this story|Finish this story|Go on with this story|How does this story end|Tell the rest of this story]",)

TITLES = {
    "lost_found": ("The Lost {Noun}", "{Name} Looks for the {Noun}"),
    "out_of_reach": ("The {Noun} in the Tree", "Too High for {Name}"),
    "afraid": ("{Name} Is Brave", "How {Name} Was Brave"),
    "share": ("Half for You", "{Name} Learns to Share"),
    "promise": ("{Name} Keeps a Promise", "A Promise Is a Promise"),
    "broken": ("The Broken {Noun}", "{Name} Tells the Truth"),
    "newcomer": ("A New Friend", "{Name} and the New Friend"),
    "stuck": ("One, Two, Three, Pull", "Nobody Gets Left Behind"),
    "race": ("The Race", "Slow but Sure"),
    "build": ("The Third {Thing}", "{Name} Builds a {Thing}"),
    "storm": ("Room for One More", "The Storm"),
    "gift": ("The Best Present", "A {Noun} for {Other}"),
    "lost_way": ("The Way Home", "{Name} Is Lost"),
    "noise": ("A Noise in the Night", "Who Is There?"),
    "wish": ("Three Wishes", "The Magic {Noun}"),
    "seed": ("The Seed", "{Name} Waits"),
    "sick": ("A Visit to {Other}", "The Best Medicine"),
    "finder": ("The Found {Noun}", "An Honest Friend"),
    "trick": ("Too Clever for a Trick", "The Trick"),
    "too_much": ("Too Much", "One Piece Is Enough"),
    "heavy": ("All Together", "The Smallest Helper"),
    "learn": ("One More Time", "{Name} Learns Something"),
    "no_sleep": ("{Name} Cannot Sleep", "Listening to the Night"),
    "spoiled_day": ("The Picnic in the Rain", "A Rainy Day"),
    "swaps": ("A Lucky Swap", "{Name} Goes Swapping"),
    "baby": ("The New Baby", "The Best Big {Sibling}"),
    "moon": ("{Name} and the Moon", "The Moon in the Water"),
    "small_saves": ("A Small Friend", "Small but Brave"),
    "delivery": ("{Name} Brings the {Noun}", "Over the Hill"),
    "runaway": ("The Open Gate", "Catch the {Pet}!"),
    "quarrel": ("One {Noun} for Two", "{Name} and {Other} Make Peace"),
    "show": ("The Great Show", "Everyone Is Good at Something"),
    "chores": ("Before the First Star", "First the Work"),
}


def pick(rng, text):
    """One of the choices of each [x|y], innermost first."""
    while True:
        found = re.search(r"\[([^\[\]]*)\]", text)
        if not found:
            return text
        text = text[: found.start()] + rng.choice(found.group(1).split("|")) + text[found.end() :]


def sentence(rng, text, mark="."):
    """A request as people type it: with or without the full stop, now and then all in small letters."""
    text = re.sub(r"\s+", " ", text).strip()
    if rng.random() < 0.15:
        return text.lower()
    return text + (("?" if re.match("Can|Do |What|How|Who", text) else mark) if rng.random() < 0.75 else "")


def listing(words):
    return ", ".join(words[:-1]) + " and " + words[-1]


def phrase(words):
    return article(words) + " " + words


class Tasks:
    def __init__(self, lexicon, seed, accept=lambda text: True, written=()):
        """`accept`: which texts may be used. `written`: stories by others, which are asked for, too."""
        self.lexicon, self.seed, self.accept = lexicon, seed, accept
        self.written = [(t, w) for t, w in ((t, self.asked_words(t)) for t in written if accept(t)) if len(w) > 1]
        self.talk = {}
        for topic, lines in read_sections("talk.txt").items():
            self.talk[topic] = ([l[2:] for l in lines if l[0] == "U"], [l[2:] for l in lines if l[0] == "A"])

    # ------------------------------------------------------------------ requests and stories

    def wish(self, rng, kinds=("thing", "trait", "place", "name", "food")):
        """Something to ask for -> (wish, the words of it for a request)."""
        wish, lexicon = {}, self.lexicon
        kind = rng.choice([k for k in lexicon.kinds if k.young])
        wish["kind"], what = kind.name, kind.name
        if "trait" in kinds and rng.random() < 0.6:
            wish["trait"] = rng.choice(list(lexicon.traits))
            what = wish["trait"] + " " + what
        what = phrase(what)
        roll = rng.random()
        if "name" in kinds and (roll < 0.15 or kind.name in ("girl", "boy") and roll < 0.4):
            pool = "girls" if kind.name in ("girl", "princess") else "boys" if kind.name in ("boy", "prince") else "pets"
            wish["name"] = rng.choice(lexicon.names[pool])
            what += rng.choice((" named ", " called ")) + wish["name"]
        roll = rng.random()
        if "thing" in kinds and roll < 0.55:
            wish["thing"] = rng.choice(list(lexicon.things))
            thing = wish["thing"]
            if rng.random() < 0.6:
                wish["adjective"] = rng.choice(lexicon.things[thing][0])
                thing = wish["adjective"] + " " + thing
            what += " and " + phrase(thing)
        elif "food" in kinds and roll < 0.65:
            wish["food"] = rng.choice(lexicon.foods)[0]
            what += " and " + phrase(wish["food"])
        if "place" in kinds and rng.random() < 0.15:
            place = rng.choice(lexicon.places)
            wish["place"] = place[0]
            what += f" {place[1]} the {place[0]}"
        return wish, what

    def story(self, rng, wish=None, longest=LONGEST):
        """A story that grants the wish -> (stage, text); None: no plot can."""
        for _ in range(12):
            try:
                stage = tell(self.lexicon, rng.random(), wish)
            except Unfit:
                return None
            text = stage.story()
            if len(text) <= longest and grants(text, wish) and self.accept(text):
                return stage, text
        return None

    def asked(self, rng):
        """(request, wish, stage, story)"""
        while True:
            wish, what = self.wish(rng)
            told = self.story(rng, wish)
            if told:
                request = sentence(rng, pick(rng, rng.choice(REQUESTS)).replace("{what}", what))
                return (request, wish) + told

    def told(self, rng, longest=LONGEST):
        while True:
            told = self.story(rng, None, longest)
            if told:
                return told

    # ------------------------------------------------------------------ conversations

    def about(self, rng):
        request, _, _, text = self.asked(rng)
        return [request, text]

    def asked_words(self, text):
        """Words of a story by which one would ask for it; [] if it does not suit."""
        if not 200 < len(text) <= LONGEST or not re.match(r'"?(?!(?:She|He|They|It|And|But|Her|His|Then|So)\b)[A-Z]', text) or not re.search(r'[.!?]"?$', text):
            return []
        nouns = [w for w in re.findall(r"[a-z]{3,}", text) if w in self.lexicon.kind_of or w in self.lexicon.things or w in EASY_WORDS]
        return list(dict.fromkeys(nouns))

    def others(self, rng):
        """A story that somebody else wrote, asked for by two or three of its words."""
        if not self.written:
            return self.about(rng)
        text, words = rng.choice(self.written)
        words = rng.sample(words, min(len(words), rng.choice((2, 2, 3))))
        if rng.random() < 0.5:
            request = pick(rng, rng.choice(REQUESTS)).replace("{what}", " and ".join(phrase(w) for w in words))
        else:
            request = pick(rng, rng.choice(WORD_REQUESTS)).replace("{words}", listing(words))
        return [sentence(rng, request), text]

    def words(self, rng):
        _, wish, stage, text = self.asked(rng)
        words = [word for word in (wish.get("trait"), wish.get("thing"), wish["kind"], wish.get("food"), wish.get("place")) if word]
        words += [w for w in re.findall(r"[a-z]{5,8}", text) if w in EASY_WORDS and w not in words][:1]
        words = list(dict.fromkeys(words))
        rng.shuffle(words)
        if len(words) == 1:
            return self.about(rng)
        return [sentence(rng, pick(rng, rng.choice(WORD_REQUESTS)).replace("{words}", listing(words))), text]

    def anything(self, rng):
        return [sentence(rng, pick(rng, PLAIN_REQUESTS[rng.choice((0, 0, 2))])), self.told(rng)[1]]

    def question(self, rng):
        """A story was told; the user asks about it."""
        request, _, stage, text = self.asked(rng)
        if not stage.facts:
            return [request, text]
        turns = [request, text]
        for questions, answers in rng.sample(stage.facts, min(len(stage.facts), rng.choice((1, 1, 2)))):
            turns += [capital(rng.choice(questions)), capital(rng.choice(answers))]
        return turns

    def given(self, rng):
        """The user tells the story and asks about it."""
        stage, text = self.told(rng, 1000)
        questions, answers = rng.choice(stage.facts)
        question, answer = capital(rng.choice(questions)), capital(rng.choice(answers))
        return [f"{text}\n\n{question}" if rng.random() < 0.7 else f"{question}\n\n{text}", answer]

    def title(self, rng):
        stage, text = self.told(rng)
        title = title_of(stage, rng)
        if rng.random() < 0.6:
            return [pick(rng, TITLE_QUESTIONS[0]) + ":\n\n" + text, title]
        request, _, stage, text = self.asked(rng)
        return [request, text, sentence(rng, pick(rng, TITLE_QUESTIONS[0]), "."), title_of(stage, rng)]

    def go_on(self, rng):
        while True:
            stage, text = self.told(rng)
            paragraphs = text.split("\n\n")
            if len(paragraphs) >= 3:
                break
        cut = rng.randrange(1, len(paragraphs) - 1)
        start, rest = "\n\n".join(paragraphs[:cut]), "\n\n".join(paragraphs[cut:])
        return [pick(rng, CONTINUE[0]) + ":\n\n" + start, rest]

    def small_talk(self, rng):
        turns = []
        for topic in rng.sample(sorted(set(self.talk) - {"true", "thanks"}), rng.choice((1, 1, 1, 2))):
            turns += self.line(rng, topic)
        return turns

    def line(self, rng, topic):
        said, answered = self.talk[topic]
        tidy = lambda text: re.sub(r"\s+", " ", pick(rng, text)).strip()
        return [tidy(rng.choice(said)), tidy(rng.choice(answered))]

    def evening(self, rng):
        """Several turns: a greeting, a story, thanks, another one."""
        turns = self.line(rng, rng.choice(("hello", "who", "can", "how"))) if rng.random() < 0.6 else []
        while True:
            wish, what = self.wish(rng)
            told = self.story(rng, wish, 800)
            if told:
                break
        turns += [sentence(rng, pick(rng, rng.choice(REQUESTS)).replace("{what}", what)), told[1]]
        return turns + self.line(rng, rng.choice(("thanks", "thanks", "true", "bye", "unknown")))

    MIX = (("about", 30), ("others", 20), ("words", 10), ("anything", 8), ("question", 10), ("given", 8), ("title", 6), ("go_on", 7), ("small_talk", 9), ("evening", 6))

    def conversation(self, index):
        """Conversation number `index`: {"messages": [...]}."""
        rng = random.Random(f"{self.seed} sft {index}")
        names, weights = zip(*self.MIX)
        turns = getattr(self, rng.choices(names, weights)[0])(rng)
        roles = ("user", "assistant")
        return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}

    # ------------------------------------------------------------------ preferences

    def pair(self, index):
        """Pair number `index`: {"prompt", "chosen", "rejected", "why"}."""
        rng = random.Random(f"{self.seed} dpo {index}")
        while True:
            request, wish, stage, text = self.asked(rng)
            why = rng.choice(list(BREAKS))
            rejected = BREAKS[why](self, rng, wish, stage, text)
            if rejected and rejected != text:
                return {"prompt": request, "chosen": text, "rejected": rejected, "why": why}


def grants(text, wish):
    """Whether the story has all that was asked for."""
    low = text.lower()
    return all(str(value).lower() in low for key, value in (wish or {}).items() if value)


EASY_WORDS = set("doll ball tree boat car house cake bird fish truck train cookie hat dress bear puppy hill pond bridge stream flower morning evening window garden winter summer branch basket friend promise secret present thunder blanket butterfly".split())


def title_of(stage, rng):
    name, other = (stage.people[r].given or "the " + stage.people[r].kind.name for r in ("A", "B"))
    words = {
        "Name": name,
        "Other": other,
        "Noun": stage.things["o"].noun if "o" in stage.things else "",
        "Thing": stage.words.get("thing", ""),
        "Pet": stage.words.get("pet", ""),
        "Sibling": stage.words.get("sibling", ""),
    }
    choices = list(TITLES[stage.plot])
    person = stage.people["A"]
    choices.append(f"The {person.trait} {person.kind.name}" if person.trait else f"{{Name}} and {other}")
    if "o" in stage.things:
        choices.append("{Name} and the " + stage.things["o"].full)
    title = re.sub(r"\{(\w+)\}", lambda m: words[m.group(1)], rng.choice(choices))
    small = {"the", "a", "an", "and", "of", "in", "for", "to", "but"}
    return " ".join(w if i and w in small else capital(w) for i, w in enumerate(title.split()))


# ---------------------------------------------------------------------- one thing wrong


def sentences(text):
    return re.findall(r"[^.!?]+[.!?]+\"?\s*", text)


def wrong_name(tasks, rng, wish, stage, text):
    """The hero has another name in the second half."""
    person = stage.people["A"]
    if not person.given:
        return None
    pool = [n for names in tasks.lexicon.names.values() for n in names if n not in text]
    half = len(text) // 2
    return text[:half] + re.sub(rf"\b{person.given}\b", rng.choice(pool), text[half:])


def ignored(tasks, rng, wish, stage, text):
    """Another story, of somebody else."""
    for _ in range(20):
        told = tasks.story(rng)
        if told and wish["kind"] not in told[1] and wish.get("thing", "\0") not in told[1]:
            return told[1]
    return None


def no_ending(tasks, rng, wish, stage, text):
    """It breaks off in the middle of a sentence."""
    cut = rng.randrange(int(len(text) * 0.35), int(len(text) * 0.75))
    return text[:cut].rsplit(" ", 1)[0]


def repeated(tasks, rng, wish, stage, text):
    """One sentence again and again."""
    parts = sentences(text)
    i = rng.randrange(len(parts) // 3, len(parts))
    times = rng.randrange(2, 6)
    return "".join(parts[: i + 1] + [parts[i].rstrip() + " "] * times + parts[i + 1 :] * (rng.random() < 0.5)).strip()


def off_format(tasks, rng, wish, stage, text):
    """Not a story, or more than one turn."""
    cut = text[: text.find(". ", len(text) // 3) + 1]
    return rng.choice(
        (
            f"User: {cut}\nAssistant: {cut}",
            cut + "\nUser: Tell me more.\nAssistant: " + text[len(cut) :].strip(),
            "A story about " + " and ".join(str(v) for v in wish.values()) + ".",
            "\n".join("- " + s.strip() for s in sentences(text)[:6]),
        )
    )


def swapped_thing(tasks, rng, wish, stage, text):
    """The thing turns into another in the middle."""
    if "thing" not in wish:
        return None
    other = rng.choice([n for n in tasks.lexicon.things if n not in text])
    half = len(text) // 2
    return text[:half] + re.sub(rf"\b{wish['thing']}\b", other, text[half:])


def shuffled(tasks, rng, wish, stage, text):
    """What happened last comes first."""
    paragraphs = text.split("\n\n")
    if len(paragraphs) < 4:
        return None
    rng.shuffle(paragraphs)
    return "\n\n".join(paragraphs)


BREAKS = {
    "wrong name": wrong_name,
    "ignored request": ignored,
    "no ending": no_ending,
    "repeated sentence": repeated,
    "off format": off_format,
    "another thing": swapped_thing,
    "order": shuffled,
}

assert set(TITLES) == set(PLOTS)
