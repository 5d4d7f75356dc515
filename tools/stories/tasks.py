"""
Exercises made from stories: conversations for supervised fine-tuning, which pairs.py makes pairs of. The answers are right
by construction, since the teller knows who found the key.
"""

import math
import random
import re

from facts import NOUN, NO_ADJECTIVE, NO_SUBJECT, NUMBERS, PIECE, count, in_short, name_facts, new_name, nouns_of, shortened, title_of
from lexicon import plural, read_sections
from plots import Unfit, tell
from wording import AGAIN, CONTINUE, GREETINGS, PLAIN_REQUESTS, REQUESTS, SHORTER, TITLE_QUESTIONS, WORD_REQUESTS, listing, phrase, pick, sentence, tidy
from world import capital

COMMON = 0.7  # of the wishes are made of the common kinds and things alone: asked for all alike, a small model learns none well
LONGEST = 1150  # characters of a story in a conversation, so that it fits into 512 tokens with its question


class Tasks:
    def __init__(self, lexicon, seed, accept=lambda text: True, written=()):
        """`accept`: which texts may be used. `written`: stories by others, which are asked for, too."""
        self.lexicon, self.seed, self.accept = lexicon, seed, accept
        self.held_out = {word for words in lexicon.held_out for noun in words for word in (noun, plural(noun))}
        written = [text for text in map(shortened, written) if text and accept(text)]
        self.nouns = nouns_of(written)
        common = count(word for text in written for word in set(re.findall(r"[a-z]{3,}", text.lower())))
        self.written = [(t, w) for t, w in ((t, self.main_words(t, common, len(written))) for t in written) if len(w) > 1]
        self.talk, self.lists = {}, {}
        sections = read_sections("questions.txt", comments=True)
        self.questions = [line.split(" => ") for line in sections.pop("questions")]
        for name, lines in sections.items():
            whole = " ".join(lines)
            self.lists[name] = whole.split(";") if ";" in whole and len(lines) == 1 else whole.split() if len(lines) == 1 and "[" not in whole else lines
        for topic, lines in read_sections("talk.txt").items():
            self.talk[topic] = ([l[2:] for l in lines if l[0] == "U"], [l[2:] for l in lines if l[0] == "A"])

    # ------------------------------------------------------------------ requests and stories

    def wish(self, rng, kinds=("thing", "trait", "place", "name", "food", "other")):
        """Something to ask for -> (wish, the words of it for a request)."""
        wish, lexicon = {}, self.lexicon
        common = rng.random() < COMMON
        kind = rng.choice([k for k in (lexicon.common_kinds if common else lexicon.kinds) if k.young or rng.random() < 0.4])
        wish["kind"], what = kind.name, kind.name
        if "trait" in kinds and rng.random() < 0.6:
            wish["trait"] = rng.choice(list(lexicon.traits) if common or rng.random() < 0.45 else [w for w in lexicon.other_traits if w not in what])
            what = wish["trait"] + " " + what
        what = phrase(what)
        roll = rng.random()
        if "name" in kinds and (roll < 0.15 or kind.sort in ("girl", "boy") and roll < 0.4) and kind.sort != "grown":
            pool = {"girl": "girls", "boy": "boys"}.get(kind.sort, "pets" if kind.animal else rng.choice(("girls", "boys")) if kind.gender == "any" else {"she": "girls", "he": "boys"}[kind.gender])
            wish["name"] = rng.choice(lexicon.names[pool]) if rng.random() < 0.7 else new_name(rng, self.held_out)
            what += rng.choice((" named ", " called ")) + wish["name"]
        roll = rng.random()
        if "thing" in kinds and roll < 0.55:
            wish["thing"] = rng.choice(lexicon.common_things if common else list(lexicon.things))
            thing = wish["thing"]
            if rng.random() < 0.6:
                others = [w for w in lexicon.other_adjectives if w not in thing]
                wish["adjective"] = rng.choice(lexicon.things[thing][0] if common or rng.random() < 0.5 else others)
                thing = wish["adjective"] + " " + thing
            what = phrase(thing) + " and " + what if rng.random() < 0.15 else what + " and " + phrase(thing)
        elif "food" in kinds and roll < 0.65:
            wish["food"] = rng.choice(lexicon.foods)[0]
            what += " and " + phrase(wish["food"])
        elif "other" in kinds and roll < 0.85:
            wish["other"] = rng.choice([k.name for k in (lexicon.common_kinds if common else lexicon.kinds) if k.name != kind.name])
            what += " and " + phrase(wish["other"])
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
                return (self.request(rng, what), wish) + told

    def request(self, rng, what):
        text = sentence(rng, pick(rng, rng.choice(REQUESTS)).replace("{what}", what))
        if rng.random() < 0.08 and not re.match("Now|This time|My|The|We|now|this", text):
            text = pick(rng, GREETINGS) + " " + text
        return capital(text) if rng.random() < 0.8 else text

    def told(self, rng, longest=LONGEST):
        while True:
            told = self.story(rng, None, longest)
            if told:
                return told

    # ------------------------------------------------------------------ conversations

    def about(self, rng):
        request, _, _, text = self.asked(rng)
        return [request, text]

    def main_words(self, text, common, total):
        """
        What a story by somebody else is about, the most likely first -> [(word, as it is asked for)]: nouns by how they
        stand in it ("the W was", "a big W."), that come often in it and in few others; and the names.
        """
        low = text.lower()
        if PIECE.match(text) or "\n\nOnce upon" in text or not re.match(r'"?(?!(?:She|He|They|It|And|But|Her|His|Then|So)\b)[A-Z]', text) or not re.search(r'[.!?]"?$', text):
            return []
        times = count(re.findall(r"[a-z]+", low))
        found = {}
        for noun in set(NOUN.findall(low)):
            one = noun[:-1] if noun.endswith("s") and noun[:-1] in times else noun
            if len(noun) < 3 or not self.nouns & {noun, one} or noun in NO_SUBJECT or one in NO_SUBJECT or noun in self.held_out:
                continue
            n = times[noun] + (times[one] if one != noun else times.get(noun + "s", 0))
            found[noun] = n * math.log(3 * total / (1 + common.get(noun, 0)))
        best = sorted(found, key=lambda noun: (-found[noun], noun))[:7]
        words = []
        for noun in best:
            if any(w != noun and (w + "s" == noun or noun + "s" == w) for w, _ in words):
                continue
            article_in_it = re.search(rf"\ban? {noun}\b", low)
            described = [m for m in re.findall(rf"\ban? ([a-z]+) {noun}\b", low) if m not in NO_ADJECTIVE]
            many = noun.endswith("s") and not noun.endswith("ss") and not article_in_it
            if many:
                forms = [noun]
            elif article_in_it or described:
                forms = [phrase(noun)] * bool(article_in_it) + [phrase(f"{d} {noun}") for d in described[:2]]
            else:
                forms = ["the " + noun]
            words.append((noun, forms))
        named = re.search(r"\b([a-z]+) (?:named|called) ([A-Z][a-z]+)\b", text)
        if named and re.search(rf"\ba [a-z ]*{named.group(1)} (?:named|called)", low) and named.group(1) not in self.held_out:
            words.insert(0, (named.group(1), [f"{phrase(named.group(1))} {w} {named.group(2)}" for w in ("named", "called")]))
        return words

    def others(self, rng):
        """A story that somebody else wrote, asked for by one to three of its words."""
        if not self.written:
            return self.words(rng)
        text, words = rng.choice(self.written)
        chosen = dict(rng.sample(words[:4], min(len(words), rng.choice((1, 1, 2, 2, 2, 2, 3)))))
        if rng.random() < 0.15:
            chosen.update(rng.sample(words, 1))
        if len(chosen) > 1 and rng.random() < 0.2:
            request = sentence(rng, pick(rng, rng.choice(WORD_REQUESTS)).replace("{words}", listing(list(chosen))))
        else:
            request = self.request(rng, listing([rng.choice(forms) for forms in chosen.values()]))
        return [request, text] + (self.line(rng, rng.choice(("thanks", "true", "bye"))) if rng.random() < 0.05 and len(text) < 1200 else [])

    def words(self, rng):
        _, wish, stage, text = self.asked(rng)
        words = [word for word in (wish.get("trait"), wish.get("thing"), wish["kind"], wish.get("food"), wish.get("place")) if word]
        words += [w for w in NOUN.findall(text) if len(w) > 3 and w in self.nouns and w not in NO_SUBJECT | self.held_out and w not in words][:1]
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
        facts = stage.facts + name_facts(stage)
        for questions, answers in rng.sample(facts, min(len(facts), rng.choice((1, 1, 2)))):
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
        """One or two lines of it; a story that was offered is told now and then."""
        turns = []
        topics = rng.sample(sorted(set(self.talk) - {"true", "thanks", "rude"}), rng.choice((1, 1, 1, 2)))
        for topic in sorted(topics, key=lambda topic: topic == "bye"):
            turns += self.line(rng, topic)
        offered = re.search(r"(?:Would you like|Shall I tell you|Would you like to hear) (?:a|another)(?: happy| funny| quiet)? story\?$", turns[-1])
        if offered and rng.random() < 0.4:
            turns += [pick(rng, self.lists["yes"][0]), self.told(rng, 900)[1]]
        return turns

    def fill(self, rng, texts, what=None):
        """The slots of some texts, the same in all of them; {what}: a creature, mostly with a thing."""
        kind, thing = rng.choice([k for k in self.lexicon.kinds if k.animal]).name, rng.choice(list(self.lexicon.things))
        numbers = [rng.choice((2, 2, rng.randrange(1, 13), rng.randrange(1, 100))) for _ in range(3)]
        if rng.random() < 0.25:
            numbers = [NUMBERS[n] if n < len(NUMBERS) else n for n in numbers]
        slots = {"kind": kind, "kinds": plural(kind), "a kind": phrase(kind), "thing": thing, "a thing": phrase(thing), "what": what}
        slots |= dict(zip("nmk", map(str, numbers))) | {key: rng.choice(words).strip() for key, words in self.lists.items() if "{" + key + "}" in " ".join(texts)}
        slots["name"] = rng.choice(self.lexicon.names[rng.choice(("girls", "boys"))]) if rng.random() < 0.7 else new_name(rng, self.held_out)
        if what is None:
            slots["what"] = self.wish(rng, ("thing", "trait"))[1]
        return [re.sub(r"\{([a-z ]+)\}", lambda found: slots[found.group(1)], text) for text in texts], slots

    def line(self, rng, topic):
        if topic == "unknown":
            return self.unknown(rng)[0]
        said, answered = self.talk[topic]
        return [tidy(text) for text in self.fill(rng, [pick(rng, rng.choice(said)), pick(rng, rng.choice(answered))])[0]]

    def unknown(self, rng):
        """A question that the model cannot answer -> ([question, admission], what story was offered as a wish, or None)."""
        question, known = (pick(rng, text) for text in rng.choice(self.questions))
        wish, what = self.wish(rng, ("thing", "trait"))
        (question, known), slots = self.fill(rng, [question, known], what)
        question = re.sub(r"\s+", " ", question).strip()
        if not re.search(r"[.?=!]$", question):
            question += rng.choice(("?", "?", "?", "")) if not re.match("(?:Write|Translate|Add|Solve|Send|Set|Find|Book|List|Name|Play|Draw|Make)", question) else rng.choice((".", ""))
        roll = rng.random()
        question = question.lower() if roll < 0.2 else question[:1].upper() + question[1:]
        if rng.random() < 0.06:
            question = pick(rng, rng.choice((GREETINGS, "[Please|Tell me|I have a question][:|,]"))) + " " + question
        answer = pick(rng, rng.choice(self.lists["admissions"])).replace("{x}", known).strip()
        offer = ""
        if rng.random() < 0.85:
            offer = " " + pick(rng, rng.choice(self.lists["offers"]))
            same = {"kind": slots["kind"]} if re.search(rf"\b(?:{slots['kind']}|{slots['kinds']})\b", question.lower()) else {}
            if same:
                wish, what = same, phrase(slots["kind"])
            elif re.search(rf"\b{slots['thing']}\b", question.lower()):
                wish, what = self.wish(rng, ())
                wish["thing"] = slots["thing"]
                what += " and " + phrase(slots["thing"])
            wish = wish if "{what}" in offer else {}
            offer = offer.replace("{what}", what)
        return [tidy(question), tidy(answer + offer)], wish if offer else None

    def cannot(self, rng):
        """A question that cannot be answered; after the offer of a story, often that story or a no."""
        turns, wish = self.unknown(rng)
        roll = rng.random()
        if wish is None or roll < 0.55:
            return turns + (self.unknown(rng)[0] if roll < 0.12 else [])
        if roll < 0.65:
            return turns + [pick(rng, self.lists["no"][0]), tidy(pick(rng, self.lists["all right"][0]))]
        told = self.story(rng, wish, 900)
        return turns + ([pick(rng, self.lists["yes"][0]), told[1]] if told else [])

    def evening(self, rng):
        """Several turns: a greeting, a story, thanks, another one."""
        turns = self.line(rng, rng.choice(("hello", "hello", "who", "can", "how", "name"))) if rng.random() < 0.6 else []
        while True:
            wish, what = self.wish(rng)
            told = self.story(rng, wish, 800)
            if told:
                break
        turns += [self.request(rng, what), told[1]]
        return turns + self.line(rng, rng.choice(("thanks", "thanks", "true", "bye", "unknown", "rude")))

    def go_round(self, rng):
        """A story, and then another one, the same in short, or who it was about."""
        while True:
            wish, what = self.wish(rng)
            told = self.story(rng, wish, 800)
            if told:
                break
        stage, text = told
        turns = [self.request(rng, what), text]
        short, roll = in_short(stage), rng.random()
        if short and roll < 0.4:
            return turns + [sentence(rng, pick(rng, SHORTER)), short]
        if name_facts(stage) and roll < 0.6:
            questions, answers = rng.choice(name_facts(stage))
            return turns + [rng.choice(questions), rng.choice(answers)]
        same = {"kind": wish["kind"]} if rng.random() < 0.4 else {}
        told = self.story(rng, same, 800)
        if not told:
            return turns
        again = pick(rng, AGAIN) + (rng.choice((" about ", " with ")) + phrase(wish["kind"]) if same else "")
        return turns + [again, told[1]]

    MIX = (("about", 40), ("others", 20), ("words", 6), ("anything", 3), ("question", 5), ("given", 4), ("title", 3), ("go_on", 3), ("small_talk", 5), ("cannot", 5), ("evening", 2), ("go_round", 4))

    def conversation(self, index):
        """Conversation number `index`: {"messages": [...]}."""
        rng = random.Random(f"{self.seed} sft {index}")
        names, weights = zip(*self.MIX)
        turns = getattr(self, rng.choices(names, weights)[0])(rng)
        roles = ("user", "assistant")
        return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


def grants(text, wish):
    """Whether the story has all that was asked for."""
    low = text.lower()
    return all(re.search(rf"\b{re.escape(str(value).lower())}\b", low) for key, value in (wish or {}).items() if value)
