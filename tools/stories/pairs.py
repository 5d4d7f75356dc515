"""
Pairs for preference optimisation: a request, the story that grants it, and the same story with exactly one thing wrong.
Most often that is the creature or the thing that was asked for, all through the story, since taking these from the
request is what a small model finds hardest.
"""

import random
import re

from lexicon import article, plural
from world import capital


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


def exchanged(text, noun, other):
    """The text with every `noun` an `other`, with the article and the plural that it takes."""

    def change(match):
        word = plural(other) if match[2].lower() == plural(noun) else other
        word = capital(word) if match[2][0].isupper() else word
        if not match[1]:
            return word
        return (capital(article(other)) if match[1][0] == "A" else article(other)) + " " + word

    return re.sub(rf"\b((?:[Aa]n? )?)({re.escape(noun)}|{re.escape(plural(noun))})\b", change, text, flags=re.I)


def another_thing(tasks, rng, wish, stage, text):
    """The story that was asked for, of another thing all through."""
    if "thing" not in wish:
        return None
    return exchanged(text, wish["thing"], rng.choice([n for n in tasks.lexicon.common_things if n not in text]))


def another_kind(tasks, rng, wish, stage, text):
    """The story that was asked for, about somebody else all through."""
    return exchanged(text, wish["kind"], rng.choice([k.name for k in tasks.lexicon.common_kinds if k.name not in text]))


def shuffled(tasks, rng, wish, stage, text):
    """What happened last comes first."""
    paragraphs = text.split("\n\n")
    if len(paragraphs) < 4:
        return None
    rng.shuffle(paragraphs)
    return "\n\n".join(paragraphs)


# What may be wrong, and how often. Wishes without a thing, and stories without a name, are drawn again.
BREAKS = {
    "wrong name": (wrong_name, 1),
    "another creature": (another_kind, 3),
    "ignored request": (ignored, 1),
    "no ending": (no_ending, 1),
    "repeated sentence": (repeated, 1),
    "off format": (off_format, 1),
    "another thing": (another_thing, 8),
    "order": (shuffled, 1),
}


def pair(tasks, index):
    """Pair number `index`: {"prompt", "chosen", "rejected", "why"}."""
    rng = random.Random(f"{tasks.seed} dpo {index}")
    roll = rng.random()
    if roll < 0.1:
        return talk_pair(tasks, rng)
    if roll < 0.2 and tasks.written:
        return written_pair(tasks, rng)
    while True:
        request, wish, stage, text = tasks.asked(rng)
        why = rng.choices(list(BREAKS), [weight for _, weight in BREAKS.values()])[0]
        rejected = BREAKS[why][0](tasks, rng, wish, stage, text)
        if rejected and rejected != text:
            return {"prompt": request, "chosen": text, "rejected": rejected, "why": why}


def talk_pair(tasks, rng):
    """A right answer to what somebody says or asks, and one that belongs to something else."""
    own = rng.choice(("unknown", "unknown", "hello", "how", "who", "can", "bye", "thanks", "name"))
    other = rng.choice([t for t in ("unknown", "hello", "how", "who", "can", "bye", "thanks") if t != own])
    said, chosen = tasks.line(rng, own)
    return {"prompt": said, "chosen": chosen, "rejected": tasks.line(rng, other)[1] if rng.random() < 0.8 else tasks.told(rng, 600)[1], "why": "other talk"}


def written_pair(tasks, rng):
    """The story by somebody else that was asked for, and another one that has nothing of it."""
    while True:
        request, text = tasks.others(rng)[:2]
        asked = set(re.findall(r"[a-z]{3,}", request.lower()))
        other, words = rng.choice(tasks.written)
        if other != text and not asked & {word for word, _ in words} and text not in request:
            return {"prompt": request, "chosen": text, "rejected": other if rng.random() < 0.6 else tasks.told(rng)[1], "why": "ignored request"}
