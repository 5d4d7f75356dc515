"""
The plots. Each is a function that casts its characters and things, says its steps, and changes the world; the table at
the end says what a plot needs, so that a story about a shy fox and a red kite can be asked for.
"""

import random

from world import Character, Contradiction, Thing, World

FRIENDLY = ("friendly", "old", "young", "wise", "little", "cheerful", "kind", "", "", "")
SKILLS = "whistle;juggle;dance;skip stones;stand on one leg;catch a ball;ride a bicycle;skate;sing in tune;climb a rope;swing high;tie a bow;walk on stilts;turn a somersault".split(
    ";"
)
BUILDS = "raft;tree house;boat;cart;bridge;tower;hut;windmill;swing".split(";")
PETS = "goat;piglet;duckling;calf;lamb;goose;rooster;little donkey".split(";")

# Things that suit a step: what the wind can carry, what can break, what one hugs in bed ...
BIG = set("ladder;wheelbarrow;wagon;sled;scooter;broom;fishing rod;wooden horse;walking stick;bucket".split(";"))
LIGHT = set("kite;feather;balloon;hat;cap;scarf;ribbon;letter;map;umbrella;ball;mitten;star;blanket;apron".split(";"))
FRAGILE = set("cup;teapot;mirror;jar;lamp;lantern;clock;music box;flower pot;snow globe;doll;fiddle;flute;kite;toy train;puppet;wooden boat;wooden horse;robot;drum;umbrella".split(";"))
CUDDLY = set("teddy bear;doll;pillow;blanket;puppet;cushion;robot;star;book;music box;snow globe;scarf".split(";"))
WEAPONS = set("umbrella;broom;lantern;spoon;candle;lamp;hammer;walking stick;pillow;teddy bear;flute;trumpet".split(";"))
RATTLES = set("bell;drum;doll;teddy bear;ball;puppet;music box;spinning top;whistle;robot;balloon;toy train;hat".split(";"))
POST = set("letter;box;book;map;basket;key;clock;ring;bell;scarf;music box;compass;jar;necklace".split(";"))
FOR_MOTHER = "blanket;pillow;scarf;cushion;teapot;cup;lamp;shell;flower pot;music box;clock;candle;book".split(";")
LIGHTS = "lantern;lamp;candle".split(";")
TOOLS = "hammer;rope;ladder".split(";")
STOOLS = set("bucket;box;basket;cushion;drum;flower pot;pillow".split(";"))


SUITS = {"big": BIG, "light": LIGHT, "fragile": FRAGILE, "cuddly": CUDDLY, "weapon": WEAPONS, "rattle": RATTLES, "post": POST}
BABIES = set("girl;boy;prince;princess;puppy;kitten;lamb;gosling;foal;bear cub;lion cub;wolf cub;tiger cub;fox cub;leopard cub;fawn;kid;calf;piglet;chick;duckling;owlet;baby;child;twin;schoolgirl;schoolboy;baby rabbit;baby dragon;baby elephant;little dinosaur;grandmother;grandfather".split(";"))


def toy(lexicon):
    return {noun for noun, (_, sort) in lexicon.things.items() if sort == "toy"}


class Stage(World):
    """A world with the means to cast a plot, minding what was asked for."""

    def __init__(self, lexicon, rng, wish):
        place = next((p for p in lexicon.places if p[0] == wish.get("place")), None) or rng.choice(lexicon.places)
        super().__init__(lexicon, rng, place)
        self.wish = wish
        self.named = wish["name"] is not None if "name" in wish else rng.random() < 0.8

    def suits(self, tag):
        """The things for such a step."""
        return SUITS[tag] | self.lexicon.tags.get(tag, set())

    def cast(self, role, test=None, trait=None):
        kinds = [kind for kind in self.lexicon.kinds if test is None or test(kind)]
        taken = {person.kind.name for person in self.people.values()}
        if role == "A" and "kind" in self.wish:
            kinds = [kind for kind in kinds if kind.name == self.wish["kind"]]
        elif role == "B" and "other" in self.wish:
            kinds = [kind for kind in kinds if kind.name == self.wish["other"]]
        else:
            kinds = [k for k in kinds if k.name not in taken | {self.wish.get("other")}]
            if role == "A":  # children and animals more often than grown people
                kinds = [k for k in kinds if k.young] or kinds
                if self.rng.random() < 0.3:
                    kinds = [k for k in kinds if k.sort in ("girl", "boy")] or kinds
            elif self.people["A"].kind.animal and self.rng.random() < 0.85:
                kinds = [k for k in kinds if k.animal] or kinds
            elif self.rng.random() < 0.3:
                kinds = [k for k in kinds if k.sort in ("girl", "boy")] or kinds
        if not kinds:
            raise Unfit()
        kind = self.rng.choice(kinds)
        gender = kind.gender
        if gender == "any":
            other = self.people["A"].gender if role != "A" else None
            gender = self.rng.choice(("he", "she"))
            if other == gender and self.rng.random() < 0.7:
                gender = "he" if other == "she" else "she"
        if kind.sort == "girl":
            gender = "she"
        if kind.sort == "boy":
            gender = "he"
        if role == "A" and kind.gender == "any" and self.wish.get("name"):
            named = [g for g, names in (("she", "girls"), ("he", "boys")) if self.wish["name"] in self.lexicon.names[names]]
            gender = gender if kind.sort in ("girl", "boy") or len(named) != 1 else named[0]
        name = self.name_of(kind, gender, role)
        if role == "A" and "trait" in self.wish:
            trait = self.wish["trait"]
        elif role == "A" and trait is None and self.rng.random() < 0.75:
            trait = self.rng.choice(list(self.lexicon.traits))
        adjective = self.rng.choice(FRIENDLY)
        if role == "A" and not trait:
            adjective = self.rng.choice(("little", "young", "small", "")) if kind.size != "big" else ""
        if adjective in ("old", "wise") and kind.name in BABIES:
            adjective = "friendly"
        if adjective in ("young", "little") and (kind.sort == "grown" or kind.size == "big"):
            adjective = "friendly"
        self.people[role] = Character(kind, gender, name, trait if role == "A" else None, adjective)
        return self.people[role]

    def name_of(self, kind, gender, role):
        if kind.sort == "grown":
            return None
        if role == "A" and self.wish.get("name"):
            return self.wish["name"]
        named = self.named or kind.name in ("girl", "boy")
        if not named:
            return None
        if kind.animal:
            names = self.lexicon.names["pets"]
            if self.rng.random() < 0.4:
                names = self.lexicon.names["girls" if gender == "she" else "boys"]
        else:
            names = self.lexicon.names["girls" if gender == "she" else "boys"]
        taken = {person.given for person in self.people.values()}
        first = {name[0] for name in taken if name}
        return self.rng.choice([n for n in names if n not in taken and n[0] not in first])

    def thing(self, role, owner=None, spot=None, fit=None, unfit=()):
        """`role` is a thing (one of `fit`, none of `unfit`) that somebody owns, or that lies at a spot."""
        taken = {thing.noun for thing in self.things.values()}
        nouns = [n for n in self.lexicon.things if (fit is None or n in fit) and n not in unfit and n not in taken]
        if role == "o" and "thing" in self.wish:
            nouns = [noun for noun in nouns if noun == self.wish["thing"]]
        if not nouns:
            raise Unfit()
        noun = self.rng.choice(nouns)
        adjective = self.rng.choice(self.lexicon.things[noun][0])
        if role == "o" and self.wish.get("adjective"):
            adjective = self.wish["adjective"]
        self.things[role] = Thing(adjective, noun)
        if owner:
            self.things[role].owner = self.people[owner]
        self.things[role].spot = spot
        return self.things[role]

    def food(self, role="f"):
        taken = {thing.noun for thing in self.things.values()}
        noun, bit = self.rng.choice([f for f in self.lexicon.foods if f[0] not in taken])
        if role == "f" and "food" in self.wish:
            noun, bit = next(f for f in self.lexicon.foods if f[0] == self.wish["food"])
        self.things[role] = Thing("", noun, bit)
        return self.things[role]

    def begin(self, now=0.4):
        """The opening: who and where; with the chance `now` in the middle of a day."""
        self.timed = self.rng.random() < now
        self.say("open_now" if self.timed else "open")
        if self.people["A"].trait in self.lexicon.traits:
            self.say("trait", 0.75)
        self.say("detail", 0.35 if self.placed else 0.0)
        if self.rng.random() < 0.5:
            self.paragraph()

    def end(self, *steps):
        """One of the lessons or endings."""
        self.say(self.rng.choice(steps))

    def who(self, role):
        return self.people[role].name


class Unfit(Exception):
    """The plot cannot be told with what was asked for."""


def young(kind):
    return kind.young


def lost_found(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="A", unfit=s.suits("big"))
    s.begin(), s.say("lost_own"), s.lose("o", "A", s.spots[2]), s.say("lost_notice"), s.say("lost_search")
    s.say("sadly", 0.5), s.say("meet"), s.say("whatswrong"), s.say("tellsall", 0.85)
    s.say("lost_ask"), s.say("lost_remember"), s.say("lost_found"), s.find("o", "B"), s.give("o", "A", by="B")
    s.say("gladly", 0.6), s.say("thanks", 0.7), s.say("welcome", 0.35), s.say("lost_end", 0.75)
    s.end("friends", "lesson_help", "endhappy")
    o = s.things["o"]
    s.fact((f"What did {s.who('A')} lose?", f"What was lost in the story?"), (f"{s.who('A')} lost the {o.full}.",))
    s.fact((f"Where was the {o.noun}?", f"Where did they find the {o.noun}?"), (f"The {o.noun} was {s.spots[2]}.", f"They found it {s.spots[2]}."))
    s.fact((f"Who helped {s.who('A')} to find the {o.noun}?", f"Who helped {s.who('A')}?"), (f"{s.who('B')} helped {s.who('A')}.", f"It was {s.who('B')}."))


def out_of_reach(s):
    s.cast("A", lambda k: k.young and k.size != "big" and not k.flies and not k.climbs)
    s.cast("B"), s.thing("o", owner="A", fit=s.suits("light"))
    b = s.people["B"].kind
    s.begin(), s.say("reach_want"), s.lose("o", "A", "in the tree"), s.say("reach_try"), s.say("reach_try", 0.3), s.say("sadly", 0.4)
    s.say("meet"), s.say("whatswrong"), s.say("tellsall", 0.6), s.say("idea", 0.5)
    s.paragraph()
    how = "fly" if b.flies else "climb" if b.climbs else "tall" if b.size == "big" else "think"
    s.say("reach_plan_" + how)
    s.find("o", "B"), s.give("o", "A", by="B")
    s.say("gladly", 0.6), s.say("thanks", 0.7), s.say("welcome", 0.4), s.end("friends", "lesson_help", "endhappy")
    o = s.things["o"]
    s.fact((f"Where was the {o.noun}?", f"Where did the {o.noun} land?"), ("It was high up in a tree.", f"The {o.noun} was in a tall tree."))
    s.fact((f"Who helped {s.who('A')}?", f"Who helped to get the {o.noun}?"), (f"{s.who('B')} helped.", f"It was {s.who('B')}."))


def afraid(s):
    s.cast("A", young, trait=s.rng.choice(("timid", "worried", "gentle", "quiet", None))), s.cast("B")
    s.words["fear"], s.words["fearwhy"] = s.rng.choice(s.lexicon.fears)
    s.begin(), s.say("fear_is"), s.say("fear_need"), s.say("fear_doubt"), s.say("fear_act")
    s.paragraph(), s.say("fear_rescue"), s.say("fear_end")
    s.end("lesson_brave", "friends", "endhappy")
    s.fact((f"What was {s.who('A')} afraid of?",), (f"{s.who('A')} was afraid of {s.words['fear']}.",))
    s.fact(("Who needed help?", f"Whom did {s.who('A')} help?"), (f"{s.who('B')} needed help.", f"It was {s.who('B')}."))


def share(s):
    s.cast("A", young), s.cast("B"), s.food("f"), s.food("f2")
    s.begin(), s.say("share_have"), s.say("meet"), s.say("share_ask"), s.paragraph(), s.say("share_no"), s.say("share_yes")
    s.say("share_back", 0.7), s.say("gladly", 0.3), s.end("lesson_kind", "friends", "endhappy")
    f = s.things["f"]
    s.fact((f"What did {s.who('A')} have to eat?", f"What did {s.who('A')} share?"), (f"It was {f.text('a', s.rng)}.",))
    s.fact(("Who was hungry?", f"Who asked {s.who('A')} for food?"), (f"{s.who('B')} was hungry.", f"It was {s.who('B')}."))


def promise(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="B", unfit=s.suits("big")), s.thing("p", owner="B")
    s.begin(), s.say("promise_make"), s.say("promise_tempt"), s.paragraph(), s.say("promise_keep"), s.say("promise_reward")
    s.give("p", "A", by="B"), s.say("gladly", 0.5), s.say("promise_end"), s.say("endhappy", 0.3)
    s.fact((f"What did {s.who('B')} give to {s.who('A')}?", "What was the present?"), (f"{s.who('B')} gave {s.who('A')} the {s.things['p'].full}.",))
    s.fact((f"Did {s.who('A')} keep the promise?",), (f"Yes, {s.who('A')} kept the promise.",))


def broken(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="B", fit=s.suits("fragile"))
    s.begin(), s.say("friend"), s.say("broke_do"), s.say("broke_hide"), s.say("broke_seek"), s.say("broke_tell"), s.paragraph()
    s.say("broke_forgive"), s.say("broke_mend"), s.say("lesson_truth", 0.7), s.say("endhappy", 0.3)
    o = s.things["o"]
    s.fact((f"What did {s.who('A')} break?", "What was broken?"), (f"{s.who('A')} broke the {o.full}.",))
    s.fact((f"Where did {s.who('A')} hide the pieces?",), (f"The pieces were {s.spots[0]}.",))
    s.fact((f"Whose {o.noun} was it?",), (f"It was {s.who('B')}'s {o.noun}.",))


def newcomer(s):
    s.cast("A", young, trait=s.rng.choice(("lonely", "shy", "kind", None))), s.cast("B", young), s.thing("o", owner="A", fit=toy(s.lexicon))
    s.begin(), s.say("new_lonely"), s.say("new_come"), s.paragraph(), s.say("new_hello"), s.paragraph(), s.say("new_play"), s.say("new_all", 0.5)
    s.end("friends", "lesson_kind", "endhappy")
    s.fact(("Who was new?", "Who came from far away?"), (f"{s.who('B')} was new.",))


def stuck(s):
    s.cast("A"), s.cast("B"), s.cast("C")
    s.begin(), s.say("weather", 0.4), s.say("stuck_cry"), s.paragraph(), s.say("stuck_try"), s.say("stuck_third"), s.paragraph(), s.say("stuck_rope")
    s.say("stuck_end"), s.end("lesson_help", "friends", "endhappy")
    s.fact(("Who was stuck?", "Who cried for help?"), (f"{s.who('B')} was stuck.", f"It was {s.who('B')}."))
    s.fact((f"Who helped {s.who('A')} to pull?", f"Who came to help?"), (f"{s.who('C')} came to help.",))


def race(s):
    s.cast("A", lambda k: k.ran in ("dashed", "bounded", "raced", "galloped", "ran"), trait=s.rng.choice(("boastful", "proud", "boastful", "noisy")))
    s.cast("B", lambda k: k.name in ("turtle", "snail", "mole", "hedgehog", "duck", "porcupine", "frog", "ant", "badger", "gosling"))
    s.cast("C"), s.thing("o")
    s.begin(), s.say("race_boast"), s.say("race_start"), s.paragraph(), s.say("race_slack"), s.say("race_pass"), s.say("race_end"), s.say("race_learn")
    s.give("o", "B")
    s.fact(("Who won the race?",), (f"{s.who('B')} won the race.", f"{s.who('B')} did."))
    s.fact((f"Why did {s.who('A')} lose the race?",), (f"{s.who('A')} stopped on the way, and {s.who('B')} did not.",))


def build(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="B", fit=TOOLS)
    s.words["thing"] = s.rng.choice(BUILDS)
    s.begin(), s.say("build_want"), s.say("build_first"), s.say("sadly", 0.3), s.say("build_second"), s.say("build_laugh"), s.paragraph()
    s.say("build_third"), s.say("gladly", 0.4), s.say("build_end"), s.say("lesson_try", 0.5)
    s.fact((f"What did {s.who('A')} build?",), (f"{s.who('A')} built a {s.words['thing']}.",))
    s.fact((f"Who helped {s.who('A')}?",), (f"{s.who('B')} helped {s.who('A')}.",))


def storm(s):
    s.cast("A"), s.cast("B"), s.cast("C")
    s.begin(), s.say("storm_come"), s.say("storm_knock"), s.paragraph(), s.say("storm_doubt", 0.8), s.say("storm_in"), s.say("storm_more"), s.say("storm_night")
    s.say("storm_after"), s.end("lesson_kind", "friends", "endhappy")
    s.fact(("Who knocked at the door first?",), (f"{s.who('B')} knocked first.",))
    s.fact(("Who came second?", "Who was the second guest?"), (f"{s.who('C')} came second.",))
    s.fact(("What was the weather like?",), ("There was a great storm.",))


def gift(s):
    s.cast("A", young), s.cast("B", young), s.cast("C", lambda k: not k.young), s.thing("o", fit=toy(s.lexicon) | s.suits("cuddly") | s.suits("light"), unfit=("letter", "feather", "music box", "snow globe")), s.thing("p")
    s.begin(), s.say("friend"), s.say("gift_day"), s.say("gift_look"), s.paragraph(), s.say("ownidea", 0.5), s.say("gift_make"), s.give("o", "A")
    s.say("gift_doubt"), s.say("gift_love"), s.give("o", "B", by="A"), s.say("gladly", 0.4), s.say("gift_end"), s.say("endhappy", 0.3)
    o = s.things["o"]
    s.fact((f"What did {s.who('A')} make?", f"What did {s.who('A')} give to {s.who('B')}?"), (f"{s.who('A')} made {o.text('a', s.rng)}.", f"It was {o.text('a', s.rng)}."))
    s.fact(("Whose birthday was it?",), (f"It was {s.who('B')}'s birthday.",))


def lost_way(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="B", fit=LIGHTS)
    s.begin(), s.say("way_go"), s.say("way_lost"), s.say("way_lost", 0.4), s.say("way_meet"), s.paragraph(), s.say("way_advice"), s.say("way_walk"), s.say("way_home")
    s.say("thanks", 0.6), s.end("friends", "endhappy", "lesson_help")
    s.fact(("Who was lost?", "Who could not find the way home?"), (f"{s.who('A')} was lost.",))
    s.fact((f"Who showed {s.who('A')} the way home?", f"Who helped {s.who('A')}?"), (f"{s.who('B')} showed {s.who('A')} the way.",))


def noise(s):
    s.cast("A"), s.cast("B", lambda k: k.animal and k.size == "small"), s.thing("o", owner="A", fit=s.suits("weapon"))
    s.begin(now=0), s.say("noise_hear"), s.say("noise_guess"), s.say("noise_go"), s.say("noise_see"), s.paragraph(), s.say("noise_laugh"), s.say("noise_in")
    s.end("friends", "lesson_brave", "endhappy")
    s.fact(("Who made the noise?", "What was the strange sound?"), (f"{s.who('B')} made the noise.", f"It was {s.who('B')}."))
    s.fact((f"What did {s.who('A')} take along?",), (f"{s.who('A')} took the {s.things['o'].full}.",))


def wish(s):
    s.cast("A", young), s.cast("B"), s.thing("o", spot=s.spots[0], unfit=s.suits("big"))
    s.begin(), s.say("friend"), s.say("wish_find"), s.find("o", "A"), s.say("wish_one"), s.say("wish_two"), s.say("wish_three"), s.say("wish_end"), s.say("endhappy", 0.4)
    o = s.things["o"]
    s.fact(("What was magic?", "What did the voice come from?"), (f"The {o.full} was magic.",))
    s.fact(("How many wishes were there?",), ("There were three wishes.",))
    s.fact(("Who was the last wish for?",), (f"It was for {s.who('B')}.",))


def seed(s):
    s.cast("A", young, trait=s.rng.choice(("impatient", "eager", "curious", None))), s.cast("B"), s.thing("o", fit=("flower pot", "bucket", "jar", "cup", "teapot", "box"))
    s.begin(), s.say("friend"), s.say("seed_get"), s.say("seed_plant"), s.say("seed_wait"), s.say("seed_wait", 0.4), s.say("seed_advice"), s.paragraph(), s.say("seed_grow"), s.say("seed_end")
    s.say("endhappy", 0.4)
    s.fact((f"What did {s.who('A')} plant?",), (f"{s.who('A')} planted a seed.",))
    s.fact((f"Who told {s.who('A')} to be patient?", f"Who told {s.who('A')} to wait?"), (f"It was {s.who('B')}.",))


def sick(s):
    s.cast("A"), s.cast("B"), s.cast("C", young), s.thing("o", owner="A", fit=s.suits("cuddly")), s.food("f")
    s.begin(), s.say("friend"), s.say("sick_know"), s.say("sick_take"), s.paragraph(), s.say("sick_way"), s.say("sick_visit"), s.say("sick_well"), s.say("lesson_kind", 0.4)
    s.fact(("Who was ill?",), (f"{s.who('B')} was ill.",))
    s.fact((f"What did {s.who('A')} put in the basket?", f"What did {s.who('A')} bring?"), (f"{s.who('A')} brought {s.things['f'].text('a', s.rng)} and the {s.things['o'].full}.",))


def finder(s):
    s.cast("A"), s.cast("B"), s.cast("C"), s.thing("o", spot=s.spots[0], unfit=s.suits("big")), s.thing("p", owner="B"), s.food("f")
    s.begin(), s.say("finder_find"), s.find("o", "A"), s.say("finder_want"), s.say("finder_ask"), s.paragraph(), s.say("finder_give")
    s.give("o", "B", by="A"), s.say("finder_reward"), s.end("lesson_truth", "friends", "endhappy")
    o = s.things["o"]
    s.fact((f"Who found the {o.noun}?",), (f"{s.who('A')} found the {o.noun}.",))
    s.fact((f"Whose {o.noun} was it?", f"Who had lost the {o.noun}?"), (f"It was {s.who('B')}'s {o.noun}.",))
    s.fact((f"Where was the {o.noun}?",), (f"The {o.noun} was {s.spots[0]}.",))


def trick(s):
    s.cast("A", trait=s.rng.choice(("clever", "quiet", "careful", None))), s.cast("B", lambda k: k.animal), s.food("f")
    s.begin(), s.say("trick_want"), s.say("trick_try"), s.say("trick_try", 0.3), s.paragraph(), s.say("trick_turn"), s.say("trick_after"), s.say("trick_end")
    s.say("friends", 0.3)
    s.fact(("Who tried to play a trick?",), (f"{s.who('B')} tried to play a trick.",))
    s.fact((f"What did {s.who('A')} carry?", f"What did {s.who('B')} want?"), (f"It was {s.things['f'].text('a', s.rng)}.",))


def too_much(s):
    s.cast("A", young, trait=s.rng.choice(("greedy", "impatient", "greedy", None))), s.cast("B"), s.food("f"), s.food("f2")
    s.begin(), s.say("friend"), s.say("much_have"), s.say("much_warn"), s.paragraph(), s.say("much_trouble"), s.say("much_help"), s.say("much_end"), s.say("endhappy", 0.3)
    s.fact((f"Who helped {s.who('A')}?",), (f"{s.who('B')} helped {s.who('A')}.",))
    s.fact(("Who took too much?",), (f"{s.who('A')} took too much.",))


def heavy(s):
    s.cast("A"), s.cast("B"), s.cast("C"), s.food("f")
    s.begin(), s.say("heavy_find"), s.say("heavy_one"), s.say("heavy_two"), s.say("heavy_small"), s.say("gladly", 0.3), s.say("heavy_end"), s.end("lesson_help", "endhappy")
    s.fact(("Who came first to help?",), (f"{s.who('B')} came first.",))
    s.fact(("Who came after that?", "Who came second to help?"), (f"Then {s.who('C')} came.",))


def learn(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="B")
    s.words["skill"] = s.rng.choice(SKILLS)
    s.begin(), s.say("learn_want"), s.say("learn_fall"), s.say("sadly", 0.4), s.say("learn_teach"), s.paragraph(), s.say("learn_practice"), s.say("learn_can"), s.say("learn_end")
    s.say("lesson_try", 0.4)
    s.fact((f"What did {s.who('A')} want to learn?", f"What did {s.who('A')} learn?"), (f"{s.who('A')} wanted to {s.words['skill']}.",))
    s.fact((f"Who taught {s.who('A')}?",), (f"{s.who('B')} taught {s.who('A')}.",))


def no_sleep(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="A", fit=s.suits("cuddly"))
    s.begin(now=0), s.say("sleep_cannot"), s.say("sleep_try"), s.say("sleep_try", 0.4), s.paragraph(), s.say("sleep_out"), s.paragraph(), s.say("sleep_listen"), s.say("sleep_end")
    s.fact(("Who could not sleep?",), (f"{s.who('A')} could not sleep.",))
    s.fact((f"Whom did {s.who('A')} meet at night?",), (f"{s.who('A')} met {s.who('B')}.",))


def spoiled_day(s):
    s.cast("A", young), s.cast("B"), s.thing("o", owner="A", fit=("kite",)), s.food("f")
    s.begin(now=0), s.say("friend"), s.say("spoil_plan"), s.say("spoil_rain"), s.paragraph(), s.say("spoil_sulk"), s.say("spoil_idea"), s.paragraph(), s.say("spoil_fun"), s.say("spoil_end")
    s.say("endhappy", 0.4)
    s.fact(("What spoiled the plan?", "What was the weather like?"), ("It rained.", "It began to rain."))
    s.fact(("Who had a good idea?",), (f"{s.who('B')} had a good idea.",))


def swaps(s):
    s.cast("A", young), s.cast("B"), s.cast("C"), s.thing("o", owner="A"), s.thing("p", owner="B"), s.thing("q", owner="C", fit=FOR_MOTHER)
    s.begin(), s.say("swap_have"), s.say("journey", 0.6), s.say("swap_one"), s.give("o", "B", by="A"), s.give("p", "A", by="B"), s.say("swap_two"), s.paragraph()
    s.say("swap_joy"), s.give("p", "C", by="A"), s.give("q", "A", by="C"), s.say("swap_end"), s.say("endhappy", 0.3)
    s.fact((f"What did {s.who('A')} need?",), (f"{s.who('A')} needed {s.things['q'].text('a', s.rng)}.",))
    s.fact((f"Who got the {s.things['o'].noun}?",), (f"{s.who('B')} got it.",))
    s.fact((f"Who got the {s.things['p'].noun} in the end?",), (f"{s.who('C')} got it in the end.",))


def baby(s):
    s.cast("A", lambda k: k.animal or k.name in ("girl", "boy")), s.cast("B"), s.thing("o", owner="A", fit=s.suits("rattle"))
    s.words["sibling"] = "brother" if s.people["A"].gender == "he" else "sister"
    s.begin(now=0), s.say("baby_come"), s.say("baby_sad"), s.say("baby_talk"), s.paragraph(), s.say("baby_home"), s.say("baby_end"), s.say("endhappy", 0.3)
    s.fact((f"Why was {s.who('A')} cross?", f"Why was {s.who('A')} sad?"), ("Everyone looked only at the new baby.",))
    s.fact((f"Whom did {s.who('A')} meet?",), (f"{s.who('A')} met {s.who('B')}.",))


def moon(s):
    s.cast("A", lambda k: k.young and not k.flies), s.cast("B"), s.thing("o", owner="A", fit=STOOLS), s.thing("p", owner="B", fit=("bucket", "cup", "jar", "flower pot"))
    s.begin(now=0), s.say("moon_want"), s.say("moon_try"), s.say("moon_try", 0.5), s.say("moon_meet"), s.paragraph(), s.say("moon_water"), s.say("moon_end"), s.say("endhappy", 0.3)
    s.fact((f"What did {s.who('A')} want?",), (f"{s.who('A')} wanted the moon.",))
    s.fact((f"Who helped {s.who('A')}?",), (f"{s.who('B')} helped {s.who('A')}.",))


def small_saves(s):
    s.cast("A", lambda k: k.animal and k.size == "big", trait=s.rng.choice(("proud", "grumpy", None)))
    s.cast("B", lambda k: k.name in ("mouse", "squirrel", "mole", "bee", "ant", "robin", "sparrow", "cricket", "bat", "lizard"))
    s.begin(), s.say("small_catch"), s.paragraph(), s.say("small_laugh"), s.say("small_trap"), s.say("small_help"), s.say("small_end"), s.say("friends", 0.5)
    s.fact((f"Who saved {s.who('A')}?", f"Who helped {s.who('A')} in the net?"), (f"{s.who('B')} saved {s.who('A')}.",))
    s.fact((f"What did {s.who('B')} promise?",), (f"{s.who('B')} promised to help {s.who('A')}.",))


def delivery(s):
    s.cast("A", young), s.cast("B"), s.cast("C", young), s.thing("o", owner="A", fit=s.suits("post")), s.food("f")
    s.begin(), s.say("mail_job"), s.say("journey", 0.4), s.paragraph(), s.say("mail_obst"), s.say("mail_obst", 0.4), s.say("mail_obst2"), s.say("mail_give"), s.give("o", "B", by="A")
    s.say("gladly", 0.3), s.say("mail_end")
    o = s.things["o"]
    s.fact((f"What did {s.who('A')} carry?", f"What did {s.who('A')} bring to {s.who('B')}?"), (f"It was the {o.full}.",))
    s.fact((f"Who got the {o.noun}?",), (f"{s.who('B')} got the {o.noun}.",))


def runaway(s):
    s.cast("A", young), s.cast("B"), s.cast("C"), s.food("f")
    s.words["pet"] = s.rng.choice([pet for pet in PETS if pet not in {p.kind.name for p in s.people.values()}])
    s.begin(), s.say("friend"), s.say("run_open"), s.say("run_gone"), s.say("run_chase"), s.say("run_chase", 0.4), s.paragraph(), s.say("run_stop"), s.say("run_back"), s.say("endhappy", 0.4)
    s.fact(("What ran away?", f"What was {s.who('A')} looking after?"), (f"It was the {s.words['pet']}.",))
    s.fact((f"Whose {s.words['pet']} was it?",), (f"It was {s.who('B')}'s {s.words['pet']}.",))


def quarrel(s):
    s.cast("A", young), s.cast("B", young), s.thing("o", spot=s.spots[0], unfit=s.suits("big"))
    s.begin(), s.say("quarrel_start"), s.paragraph(), s.say("quarrel_pull"), s.say("quarrel_apart"), s.say("sadly", 0.3), s.say("quarrel_peace"), s.say("quarrel_end"), s.say("endhappy", 0.3)
    s.fact(("What did they quarrel about?",), (f"They quarrelled about the {s.things['o'].full}.",))


def show(s):
    s.cast("A", lambda k: k.animal), s.cast("B"), s.thing("o", owner="A"), s.thing("p", owner="B")
    s.begin(), s.say("show_plan"), s.say("show_try"), s.say("sadly", 0.5), s.say("show_friend"), s.say("show_trouble"), s.paragraph(), s.say("show_end"), s.say("endhappy", 0.3)
    s.fact((f"What is {s.who('A')} good at?",), (f"{s.who('A')} is good at {s.people['A'].kind.skill}.",))


def chores(s):
    s.cast("A", lambda k: k.animal or k.name in ("girl", "boy")), s.cast("B"), s.thing("o", owner="A", fit=toy(s.lexicon))
    s.begin(), s.say("friend", 1.0), s.say("chore_job"), s.say("chore_help"), s.paragraph(), s.say("chore_do"), s.say("chore_end"), s.say("endhappy", 0.3)
    s.fact((f"Who helped {s.who('A')}?",), (f"{s.who('B')} helped {s.who('A')}.",))


# name -> (function, whether it is told with a thing that can be asked for, whether with food)
PLOTS = {
    "lost_found": (lost_found, True, False),
    "out_of_reach": (out_of_reach, True, False),
    "afraid": (afraid, False, False),
    "share": (share, False, True),
    "promise": (promise, False, False),
    "broken": (broken, True, False),
    "newcomer": (newcomer, True, False),
    "stuck": (stuck, False, False),
    "race": (race, False, False),
    "build": (build, False, False),
    "storm": (storm, False, False),
    "gift": (gift, True, False),
    "lost_way": (lost_way, False, False),
    "noise": (noise, True, False),
    "wish": (wish, True, False),
    "seed": (seed, False, False),
    "sick": (sick, True, True),
    "finder": (finder, True, False),
    "trick": (trick, False, True),
    "too_much": (too_much, False, True),
    "heavy": (heavy, False, False),
    "learn": (learn, False, False),
    "no_sleep": (no_sleep, True, False),
    "spoiled_day": (spoiled_day, False, True),
    "swaps": (swaps, True, False),
    "baby": (baby, True, False),
    "moon": (moon, False, False),
    "small_saves": (small_saves, False, False),
    "delivery": (delivery, True, False),
    "runaway": (runaway, False, False),
    "quarrel": (quarrel, True, False),
    "show": (show, False, False),
    "chores": (chores, True, False),
}


def tell(lexicon, seed, wish=None, plot=None):
    """
    One story -> the Stage it was told on (story(), facts, people, things, plot). `seed`: any value that str() tells
    apart; the same gives the same story. wish: {"kind", "trait", "thing", "adjective", "place", "name", "food", "other"} (the second one's kind).
    """
    wish = wish or {}
    rng = random.Random(str(seed))
    names = [n for n, (_, thing, food) in PLOTS.items() if ("thing" not in wish or thing) and ("food" not in wish or food)]
    while True:
        if not names:
            raise Unfit()
        name = plot or rng.choice(names)
        stage = Stage(lexicon, rng, wish)
        try:
            PLOTS[name][0](stage)
        except Unfit:
            if plot:
                raise
            names.remove(name)
            continue
        stage.plot = name
        return stage


__all__ = ["PLOTS", "Contradiction", "Unfit", "tell"]
