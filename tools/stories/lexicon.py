"""The words (lexicon.txt) and the ways to say things (beats_*.txt), read once."""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))

GENDERS = dict.fromkeys(("hen", "cow", "ewe", "mare"), "she") | dict.fromkeys(("rooster", "bull", "ram", "stag", "stallion", "tomcat"), "he")
FLYING = {"flew", "fluttered", "flitted", "swooped", "buzzed", "glided"}
PLURALS = {"mouse": "mice", "dormouse": "dormice", "goose": "geese", "wolf": "wolves", "calf": "calves", "elf": "elves", "dwarf": "dwarves", "sheep": "sheep", "deer": "deer", "bison": "bison", "ox": "oxen", "child": "children", "woodlouse": "woodlice", "thief": "thieves", "leaf": "leaves", "-man": "men", "knife": "knives", "spacecraft": "spacecraft"}
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


def grouped(line):
    """A group's line -> (its fields, the names at the end)."""
    group, names = line.rsplit("|", 1)
    return group.strip(), [name.strip() for name in names.split(",")]


class Kind:
    """What a character is: "fox", "girl", "baker"."""

    def __init__(self, line, animal):
        self.animal = animal
        if animal:
            self.name, size, self.hand, self.went, self.ran, self.home, self.eats, self.skill = fields(line)
            self.size, self.sort = size, "animal"
            self.gender = GENDERS.get(self.name, "any")
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
        animals = words["animals"] + [f"{name} | {group}" for group, names in map(grouped, words["animal groups"]) for name in names]
        self.kinds = [Kind(line, True) for line in animals] + [Kind(line, False) for line in words["people"] + words["more people"]]
        self.common_kinds = self.kinds[: len(words["animals"])] + self.kinds[len(animals) : len(animals) + len(words["people"])]
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
        self.common_things = list(self.things)
        self.tags = {}  # "light": the things of the groups that the wind can carry ...
        for line in words["thing groups"]:
            adjectives, sort, tags, nouns = fields(line)
            for noun in nouns.split(", "):
                if noun in self.things:
                    raise ValueError(f"lexicon.txt: {noun!r} comes twice")
                self.things[noun] = ([a.strip() for a in adjectives.split(",")], sort)
                for tag in tags.split():
                    self.tags.setdefault(tag, set()).add(noun)
        if len(self.kind_of) != len(self.kinds):
            raise ValueError("lexicon.txt: a kind comes twice")
        self.other_traits, self.other_adjectives = (" ".join(words[key]).split() for key in ("other traits", "other adjectives"))
        self.held_out = tuple([w.replace("-", " ") for w in " ".join(words["held-out " + key]).split()] for key in ("creatures", "things"))
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


def plural(noun):
    """Of a creature or a thing; what follows the noun ("bunch of grapes") stays."""
    head, of, rest = noun.partition(" of ")
    first, space, last = head.rpartition(" ")
    for end, many in PLURALS.items():
        if last == end or end.startswith("-") and last.endswith(end[1:]):
            return first + space + last[: len(last) - len(end.lstrip("-"))] + many + of + rest
    if re.search(r"(?:s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return first + space + last + of + rest


def split_choices(text):
    """Split at "|" outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "[") - (c == "]")
        if c == "|" and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return parts + [text[start:].strip()]
