"""The words (lexicon.txt) and the ways to say things (beats_*.txt), read once."""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))

FLYING = {"flew", "fluttered", "flitted", "swooped", "buzzed", "glided"}
VOWEL_SOUND = re.compile(r"(?i)^(?:[aeio]|u(?!ni|se|su|ti)|honou?r|honest|hour|heir)")
ONE_SOUND = re.compile(r"(?i)^(?:one\b|once\b|eu|ewe)")


def article(word):
    """The indefinite article in front of `word`."""
    return "an" if VOWEL_SOUND.match(word) and not ONE_SOUND.match(word) else "a"


def read_sections(name, comments=False):
    """A file of "= NAME" headings -> {name: [lines]}, without empty lines and what stands in front of the first one.
    "# " at the start of a line is a comment (`comments`) or, in the steps, a new paragraph."""
    sections, lines = {}, None
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("= "):
                if line[2:] in sections:
                    raise ValueError(f"{name}: section {line[2:]!r} comes twice")
                lines = sections[line[2:]] = []
            elif comments and line.startswith("#"):
                continue
            elif line.strip() and lines is not None:
                lines.append(line.rstrip() if line.startswith("# ") else line.strip())
            elif line.strip() and not line.startswith("#"):
                raise ValueError(f"{name}: text in front of the first section: {line!r}")
    return sections


def fields(line):
    return [field.strip() for field in line.split("|")]


class Kind:
    """What a character is: "fox", "girl", "baker"."""

    def __init__(self, line, animal):
        self.animal = animal
        if animal:
            self.name, size, self.hand, self.went, self.ran, self.home, self.eats, self.skill = fields(line)
            self.size, self.sort = size, "animal"
            self.gender = "she" if self.name in ("hen", "cow") else "any"
        else:
            self.name, self.sort, self.hand, self.went, self.ran, self.home, self.gender = fields(line)
            self.size, self.eats, self.skill = "middle", "pancakes", ""
        self.young = animal or self.sort in ("girl", "boy", "small")
        self.flies = self.went in FLYING
        self.climbs = animal and self.skill == "climbing"


class Lexicon:
    def __init__(self):
        words = read_sections("lexicon.txt", comments=True)
        self.names = {key: " ".join(words[key]).split() for key in ("girls", "boys", "pets")}
        self.kinds = [Kind(line, True) for line in words["animals"]] + [Kind(line, False) for line in words["people"]]
        self.kind_of = {kind.name: kind for kind in self.kinds}
        self.traits = {}
        for line in words["traits"]:
            name, rest = line.split(" ", 1)
            self.traits[name.strip()] = split_choices(rest.strip().lstrip("|").strip())
        self.places = []
        for line in words["places"]:
            name, preposition, spots, *details = split_choices(line)
            self.places.append((name, preposition, [s.strip() for s in spots.split(";")], details))
        self.things = {}
        for line in words["things"]:
            noun, adjectives, sort = fields(line)
            self.things[noun] = ([a.strip() for a in adjectives.split(",")], sort)
        self.foods = [tuple(fields(line)) for line in words["foods"]]
        self.fears = [split_choices(line) for line in words["fears"]]
        self.beats = {}
        for name in ("beats_common.txt", "beats_1.txt", "beats_2.txt", "beats_3.txt"):
            for key, lines in read_sections(name).items():
                if key in self.beats:
                    raise ValueError(f"{name}: step {key!r} comes twice")
                self.beats[key] = lines

    def words(self):
        """Every word that a story may hold."""
        texts = [line for lines in self.beats.values() for line in lines]
        texts += [word for names in self.names.values() for word in names]
        with open(os.path.join(HERE, "lexicon.txt"), encoding="utf-8") as file:
            texts.append(file.read())
        return set(re.findall(r"[a-z']+", re.sub(r"\{[^}]*\}", " ", " ".join(texts)).lower()))


def split_choices(text):
    """Split at "|" outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "[") - (c == "]")
        if c == "|" and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return parts + [text[start:].strip()]
