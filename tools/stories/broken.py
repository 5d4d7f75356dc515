"""
The rejected stories of preference pairs: the one that was asked for with exactly one thing wrong.
"""

import re


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
