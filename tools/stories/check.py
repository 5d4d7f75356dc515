"""What must be true of every story, looked for in the text alone; and how varied many of them are."""

import re
import zlib
from array import array

from lexicon import article

SAY = set(
    "said asked cried called shouted whispered thought wondered begged hissed answered hear heard say word".split()
)
NGRAM = 8


def problems(text, stage=None):
    """The faults of one story, as text; [] if none was found."""
    found = []
    if re.search(r"  |\t| \n|\n ", text):
        found.append("odd spaces")
    if re.search(r"[{}\[\]|#^~]", text):
        found.append("a slot or a choice is left over")
    if re.search(r"[^\x20-\x7e\n]", text):
        found.append("not ASCII")
    if re.search(r" [,.!?]|[,;][.!?,]|\.\.", text):
        found.append("odd punctuation")
    for wrong in re.finditer(r"\b([Aa]n?) ([a-z]+)", text):
        if article(wrong.group(2)) != wrong.group(1).lower():
            found.append(f"article: {wrong.group(0)}")
    for paragraph in text.split("\n\n"):
        if not re.match(r"\"?[A-Z]", paragraph):
            found.append(f"small letter at the start: {paragraph[:30]}")
        if paragraph.count('"') % 2:
            found.append(f"quote that is not closed: {paragraph[:40]}")
        if not re.search(r"[.!?]\"?$", paragraph):
            found.append(f"no full stop: {paragraph[-30:]}")
    for wrong in re.finditer(r"(?:[a-z][.!?]|\.\") [a-z]\w*", text):
        found.append(f"small letter after a full stop: {wrong.group(0)}")
    for after in re.finditer(r"[!?,]\" ([a-z][\w' ]*)", text):
        if not SAY & set(after.group(1).split()[:7]):
            found.append(f"no verb of speech: {after.group(0)[:40]}")
    if re.search(r"\b(\w+) \1\b", text, re.I) and not re.search(r"\b(had|that) \1\b", text):
        doubled = [m.group(1).lower() for m in re.finditer(r"\b(\w+) \1\b", text, re.I)]
        found += [f"word twice: {word}" for word in doubled if word not in ("waited", "that", "her")]
    if stage is not None:
        found += wrong_pronouns(text, stage)
    return found


def wrong_pronouns(text, stage):
    """A sentence with one character alone has no pronoun of the other gender, outside of what is said."""
    if {p.gender for p in stage.people.values()} != {"he"} and {p.gender for p in stage.people.values()} != {"she"}:
        return []
    gender = next(iter(stage.people.values())).gender
    wrong = r"\b(she|her|hers|herself)\b" if gender == "he" else r"\b(he|him|his|himself)\b"
    outside = re.sub(r"\"[^\"]*\"", " ", text)
    for person in ("mother", "father", "grandmother", "aunt", "old woman", "postman", "sister", "brother"):
        outside = re.sub(rf"[^.!?\n]*\b{person}\b[^\n]*", " ", outside)
    return [f"pronoun: {m.group(0)}" for m in re.finditer(wrong, outside, re.I)]


def words_of(text):
    return re.findall(r"[a-z']+", text.lower())


class Cap:
    """
    Counts how many stories hold each run of eight words, and refuses a story that would bring one over the cap. Counts
    are kept by a hash of 22 bits or more: two runs that share a place only make it stricter.
    """

    def __init__(self, cap, bits=24):
        self.cap, self.mask = cap, (1 << bits) - 1
        self.counts = array("H", bytes(2 << bits))

    def places(self, text):
        words = words_of(text)
        return {zlib.crc32(" ".join(words[i : i + NGRAM]).encode()) & self.mask for i in range(len(words) - NGRAM + 1)}

    def take(self, text):
        places = self.places(text)
        if any(self.counts[p] >= self.cap for p in places):
            return False
        for p in places:
            self.counts[p] += 1
        return True


def variety(texts):
    """Figures on many stories, as (name, value, unit)."""
    words = [words_of(text) for text in texts]
    total = sum(map(len, words)) or 1
    rows = [
        ("stories", len(texts), ""),
        ("mean length", sum(map(len, texts)) / max(1, len(texts)), "characters"),
        ("words", total, ""),
        ("distinct words", len({w for ws in words for w in ws}), ""),
    ]
    for n in (1, 2, 3, 4):
        grams = [tuple(ws[i : i + n]) for ws in words for i in range(len(ws) - n + 1)]
        rows.append((f"distinct-{n}", len(set(grams)) / max(1, len(grams)), "of all"))
    rows.append(("distinct first sentences", len({t.split(". ")[0] for t in texts}) / max(1, len(texts)), "of all"))
    rows.append(("distinct last paragraphs", len({t.rsplit("\n\n", 1)[-1] for t in texts}) / max(1, len(texts)), "of all"))
    return rows
