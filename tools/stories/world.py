"""
The world of one story: who is there, what things there are and who has them, and the text so far.

A plot (plots.py) says its steps with say() and changes the world with give(), lose(), find(). These check what must be
true before: a story in which somebody gives away what he has not got is an error of the plot, not a bad story. Names,
pronouns and possessions in the text come from here alone, and so they agree.
"""

import re

from lexicon import article, split_choices

PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}
TIMES = (
    "one day;one morning;one afternoon;one evening;one sunny day;one rainy morning;one windy afternoon;one cold morning;"
    "one warm afternoon;one fine day;early one morning;late one afternoon;on Monday;on Tuesday morning;on Wednesday;"
    "on Thursday afternoon;on Friday;on Saturday;on Sunday morning;one day after breakfast;one day in spring;"
    "one day in summer;one day in autumn;one day after lunch;one cloudy day;one bright morning"
).split(";")
NOW = "before long;that very day;not long afterwards;soon after that;a little later;after a while".split(";")
LATER = "the next morning;the next day;the following day;soon afterwards;a little later;that afternoon;after a while;two days later;before long".split(
    ";"
)


class Contradiction(Exception):
    """A plot did what the world does not allow."""


def capital(text):
    return text[:1].upper() + text[1:]


class Character:
    def __init__(self, kind, gender, name, trait, adjective):
        self.kind, self.gender, self.given, self.trait, self.adjective = kind, gender, name, trait, adjective
        self.known = False  # was introduced in the text

    @property
    def name(self):
        return self.given or "the " + self.kind.name

    @property
    def described(self):
        words = [word for word in (self.trait or self.adjective, self.kind.name) if word]
        return article(words[0]) + " " + " ".join(words)

    def introduction(self, rng):
        if not self.given:
            return self.described
        if self.kind.animal and not self.trait and rng.random() < 0.5:
            return f"{self.given} the {self.kind.name}"
        return f"{self.described} {rng.choice(('named', 'called'))} {self.given}"

    def full(self):
        if not self.given:
            return "the " + self.described.split(" ", 1)[1]
        if self.kind.animal:
            return f"{self.given} the {self.described.split(' ', 1)[1]}"
        return f"{self.given}, {self.described},"

    def address(self):
        if self.given:
            return self.given
        return "kind " + self.kind.name if not self.kind.animal else capital(self.kind.name)

    def field(self, key, rng):
        """The text of {A.key}; None: no such key."""
        if key in PRONOUNS[self.gender]:
            return PRONOUNS[self.gender][key]
        if key in ("intro", "full", "a"):
            first, self.known = not self.known, True
            if key == "a":
                return article(self.kind.name) + " " + self.kind.name
            if not first:
                return self.name
            return self.introduction(rng) if key == "intro" else self.full()
        if key == "skill":
            return self.kind.skill or None
        return getattr(self.kind, key, None)


class Thing:
    def __init__(self, adjective, noun, bit=""):
        self.adjective, self.noun, self.bit = adjective, noun, bit
        self.owner = self.spot = None
        self.mentioned = False

    @property
    def full(self):
        return f"{self.adjective} {self.noun}".strip()

    def text(self, form, rng):
        if form == "a":
            self.mentioned = True
            return article(self.full) + " " + self.full
        if form == "n":
            return self.noun
        short = self.mentioned and self.adjective and rng.random() < 0.65
        self.mentioned = True
        words = self.noun if short else self.full
        return "the " + words if form == "the" else words


class World:
    def __init__(self, lexicon, rng, place):
        self.lexicon, self.rng = lexicon, rng
        self.place, self.preposition, self.spots, self.details = place
        self.spots = rng.sample(self.spots, len(self.spots))
        self.people, self.things, self.words = {}, {}, {}
        self.paragraphs = [""]
        self.used, self.beginnings = set(), set()
        self.timed = False  # the text has said when it is
        self.placed = False  # and where
        self.facts = []  # (questions, answers)
        self.title_words = []

    # ------------------------------------------------------------------ effects

    def give(self, thing, to, by=None):
        """`thing` comes to `to`, from `by`, who must have it."""
        thing, to = self.things[thing], self.people[to]
        if by is not None and thing.owner is not self.people[by]:
            raise Contradiction(f"{by} gives away {thing.full}, but has not got it")
        thing.owner, thing.spot = to, None

    def lose(self, thing, owner, spot):
        """`owner` has it, and leaves it at a spot."""
        if self.things[thing].owner is not self.people[owner]:
            raise Contradiction(f"{owner} loses {self.things[thing].full}, but has not got it")
        self.things[thing].owner, self.things[thing].spot = None, spot

    def find(self, thing, finder):
        """It lies somewhere, and nobody has it: now the finder has."""
        thing = self.things[thing]
        if thing.owner is not None or thing.spot is None:
            raise Contradiction(f"{finder} finds {thing.full}, but it is not lost")
        thing.owner, thing.spot = self.people[finder], None

    def fact(self, questions, answers):
        self.facts.append((questions, answers))

    # ------------------------------------------------------------------ text

    def say(self, step, chance=1.0):
        """One way of the step, which this story has not used, at the end of the text (or, by chance, nothing)."""
        if chance < 1.0 and self.rng.random() >= chance:
            return
        lines = self.lexicon.beats[step]
        fresh = [i for i in range(len(lines)) if (step, i) not in self.used]
        index = self.rng.choice(fresh or range(len(lines)))
        for _ in range(4):  # not the beginning of an earlier sentence again
            if not fresh or self.beginning(lines[index]) not in self.beginnings:
                break
            index = self.rng.choice(fresh)
        self.used.add((step, index))
        line = lines[index]
        self.beginnings.add(self.beginning(line))
        if line.startswith("# "):
            self.paragraph()
            line = line[2:]
        text = capital(self.expand(line))
        if text.startswith('"') and '"' in self.paragraphs[-1]:
            self.paragraph()  # somebody else speaks
        self.paragraphs[-1] = (self.paragraphs[-1] + " " + text).strip()

    def paragraph(self):
        if self.paragraphs[-1]:
            self.paragraphs.append("")

    @staticmethod
    def beginning(line):
        return " ".join(line.lstrip("# ").split(" ")[:2])

    def expand(self, text):
        return self.fill(self.choose(text))

    def choose(self, text):
        """Replace each [x|y|z], innermost first, by one of its choices."""
        while True:
            found = re.search(r"\[([^\[\]]*)\]", text)
            if not found:
                return text
            choice = self.rng.choice(split_choices_keep(found.group(1)))
            text = text[: found.start()] + choice + text[found.end() :]

    def fill(self, text):
        """Replace the slots from left to right: who is mentioned first is introduced first."""
        return re.sub(r"\{([^{}]+)\}", lambda found: self.slot(found.group(1)), text)

    def slot(self, key):
        if key[0] == "^":
            return capital(self.slot(key[1:]))
        head, _, rest = key.partition(".")
        if head.rstrip("'s!") in self.people and len(head.rstrip("'s!")) == 1:
            return self.character_slot(head, rest)
        words = key.split(" ", 1)
        if len(words) == 2 and words[1] in self.things and words[0].lower() in ("a", "the"):
            text = self.things[words[1]].text(words[0].lower(), self.rng)
        elif key in self.things:
            text = self.things[key].text("", self.rng)
        elif head in self.things and rest in ("n", "bit"):
            text = self.things[head].noun if rest == "n" else self.things[head].bit
        elif key in ("Time", "time_low"):
            text = self.time() + ("," if key == "Time" and self.rng.random() < 0.6 else "")
        elif key == "Laterday":
            text = self.rng.choice(LATER)
        elif words[-1] == "place" and len(words) == 2:
            preposition = {"in": self.preposition, "to": "to", "over": "over"}[words[0].lower()]
            text = f"{preposition} the {self.place}"
            self.placed = True
        elif key == "detail":
            return self.expand(self.rng.choice(self.details))
        elif key.startswith("spot"):
            return self.spots[int(key[4:]) - 1]
        elif key.startswith("trait "):
            return self.expand(self.trait_line(key[6:]))
        elif key in self.words:
            return self.expand(self.words[key])
        else:
            raise Contradiction(f"a slot that nothing fills: {{{key}}}")
        return capital(text) if key[0].isupper() else text

    def time(self):
        """When something happens, as far as it was not said before."""
        if self.timed:
            return self.rng.choice(NOW)
        self.timed = True
        winter = "snow" in self.place
        return self.rng.choice([t for t in TIMES if not (winter and re.search("summer|spring|autumn|warm|sunny", t))])

    def trait_line(self, role):
        line = self.rng.choice(self.lexicon.traits[self.people[role].trait])
        return re.sub(r"\{A\b", "{" + role, line)

    def character_slot(self, head, key):
        role, suffix = head[0], head[1:]
        person = self.people[role]
        if suffix == "!":
            return person.address()
        if suffix == "'s":
            if not person.known:
                raise Contradiction(f"{role} is not known yet, and something of {role}'s is named")
            return person.name + "'s"
        if not key:
            key = "intro"  # the first time; later that is the name
        text = person.field(key[:1].lower() + key[1:], self.rng)
        if text is None:
            raise Contradiction(f"a slot that nothing fills: {role}.{key}")
        if key.lower() in PRONOUNS["he"] and not person.known:
            raise Contradiction(f"{role} is not known yet, and a pronoun is used")
        return capital(text) if key[0].isupper() else text

    def story(self):
        return "\n\n".join(polish(p) for p in self.paragraphs if p)


def split_choices_keep(text):
    """The choices of a bracket, with their spaces."""
    return text.split("|")


def polish(text):
    """Spaces, articles, and capitals at the beginnings of sentences."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.!?])", r"\1", text)
    text = re.sub(r",([.!?,])", r"\1", text)
    text = re.sub(r"\b([Aa])n? (?=([a-z]+))", lambda m: fix_article(m), text)
    text = re.sub(r"^(\"?)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    return re.sub(r"((?:[.!?]|\.\") \"?)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


def fix_article(found):
    right = article(found.group(2))
    return (capital(right) if found.group(1) == "A" else right) + " "
