"""
What can be told of a story besides itself: its title, who is in it, the whole in short; and the nouns of stories by others.
"""

import re

from plots import PLOTS
from world import capital

LONGEST_WRITTEN = 1650  # of one by others

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


# A noun stands behind an article or the like, perhaps with an adjective, and in front of a verb, a preposition or a full stop.
BEHIND = r"(?=[.,;!?]|'s| (?:was|were|is|are|had|has|and|or|in|on|at|to|of|with|from|for|said|could|would|did|that|who|went|came|looked|ran|so|but|because|he|she|they|it)\b)"
NOUN = re.compile(r"\b(?:a|an|the|his|her|their|my|your|some|many|two|three|big|little|old|new) (?:[a-z]+ )??([a-z]+)" + BEHIND)
DIRECT = re.compile(r"\b(?:a|an|the|his|her|their|my|your|some|many) ([a-z]+)" + BEHIND)
# What begins like this is the middle or the end of a story.
PIECE = re.compile(
    r"(?:[A-Z]\w+(?: and [A-Z]\w+)?|The \w+(?: \w+)?) (?:(?:was|were|felt) (?:so |very |really |too )?(?:happy|sad|shocked|surprised|excited|hurt|confused|tired|amazed|proud|scared|sorry|angry|relieved|delighted)"
    r"|had an idea|loved it|decided|agreed|nodded|smiled|laughed|thanked|replied|said|asked|looked|stopped|learned|was so|were so)\b|[^.!?]{200}"
)
NO_SUBJECT = set(
    "day days time times thing things way ways one ones other others rest lot lots end morning evening night afternoon week year years hour minutes moment while"
    " bit piece side top middle part parts kind sort name names idea word words place side fun home head hand hands eye eyes face feet foot back front life world"
    " all both each much more most some many any few two three four five first second next last same only very too also even just still now then there here"
    " big small little old new good bad nice happy sad long short great best better own red blue green yellow white black loud soft wrong right lost tired scared hungry"
    " friend friends people man men woman everyone everybody someone something nothing anything everything him her them his their she they you we it that this these those"
    " what who when where why how not was were are had has have been being said went came got made look going back outside inside up down away out off over around"
    " story stories moral beginning amount area family couple number pair group set bottom rush hurry inside such top surface thought feeling feelings hair mind air"
    " mom dad mommy daddy mum mummy"
    " hug smile laugh help try care sure lesson problem trouble matter reason heart love joy tears voice mouth legs arms arm"
    " and but for the with from into onto under near until than upon about after before"
    " amazed beautiful pretty special different important careful excited proud surprised angry afraid brave kind smart clever strong funny shiny bright dark cold hot warm".split()
)
NO_ADJECTIVE = set("of and the very lot in on to for with at from was is had his her new's other few little more same".split())
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
SYLLABLES = ("b br d f fl g gr h j k l m n p pl r s st t tr v w z".split(), "a e i o u a o ee oo".split(), "b d f g l m n p r s t v z ll nn mb nd lk".split(), "a o i y e en in ar us le er ".split(" "))


def new_name(rng, held_out):
    """A name that nobody has, so that names have to be read and not known."""
    name = next(iter(held_out))
    while name in held_out:
        name = "".join(rng.choice(part) for part in SYLLABLES)
    return name.capitalize()


def count(words):
    times = {}
    for word in words:
        times[word] = times.get(word, 0) + 1
    return times


def nouns_of(texts):
    """Words that stand often enough between an article and what follows a noun."""
    low = "\n".join(texts).lower()
    times, direct = count(re.findall(r"[a-z]+", low)), count(DIRECT.findall(low))
    return {word for word, n in direct.items() if n >= 0.1 * times[word] and not (word.endswith(("ed", "ing", "ly")) and n < 0.4 * times[word])}


def shortened(text):
    """A text by others that is neither too short nor too long for a conversation; else None."""
    text = text.strip()
    return text if 200 < len(text) <= LONGEST_WRITTEN and text.isascii() else None


def name_facts(stage):
    """Questions about who is who."""
    person = stage.people["A"]
    if not person.given:
        return []
    he, his = person.field("he", None), person.field("his", None)
    who = f"the {person.kind.name}"
    first = (f"What was {his} name?", f"What was the name of {who}?", f"What was {who} called?", f"What was {who}'s name?", f"what was {his} name", f"What is {his} name?", f"How was {who} called?")
    return [(first, (f"{capital(his)} name was {person.given}.", f"{capital(who)} was called {person.given}.", f"{capital(he)} was called {person.given}.")),
            (("Who was the story about?", "Who was in the story?", "Whom was it about?"), (f"It was about {person.described} called {person.given}.",))]


def in_short(stage):
    """The story in a few sentences; "" if the facts do not give it."""
    told = [capital(answers[0]) for _, answers in stage.facts if not answers[0].startswith(("It ", "Yes", "They ", "Everyone", "There", "Then"))]
    if len(told) < 2:
        return ""
    person = stage.people["A"]
    return f"There once was {person.described}{' called ' + person.given if person.given else ''}. " + " ".join(told)


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

assert set(TITLES) == set(PLOTS)
