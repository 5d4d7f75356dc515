"""
How people ask for a story, another one or its title: phrases with [choices|of words], and what makes sentences of them.
"""

import re

from lexicon import article

REQUESTS = (
    "[Tell me|Tell|Please tell me|Can you tell me|I would like to hear|Could you tell me] [a|a short|a little|a nice|another] story about {what}",
    "[Write|Please write|Make up|Can you write|Invent|Write me|Please make up] [a|a short|a little|a very short] story [about|with] {what}",
    "[A|A short] story about {what}[, please|]",
    "[Do you know|I want|Give me|I need|May I have|Have you got|Let me hear] a story about {what}",
    "[Tell me|Please tell me] [something|a tale|a bedtime story|a fairy tale|a funny story] about {what}",
    "[I would like|I'd like|I would love|We want] [to hear |]a story [about|with] {what}[, please|]",
    "{what}[, please|]",
    "[Now|This time] [tell me one|one] about {what}",
    "[Story|story][:| about] {what}",
    "[Can you|Could you|Will you|Would you] [make up|tell|write|tell us] [a story|one] [about|with] {what}",
    "[My little girl|My son|My sister|The baby] wants [to hear |]a story about {what}",
    "[Tell me|Write|Make up] a [short |little |]story that has {what} in it",
)
WORD_REQUESTS = (
    "[Write|Tell me|Make up|Give me] a [short |little |]story that uses the words {words}",
    "[Write|Tell me] a [short |]story with [these words|the words]: {words}",
    "Use the words {words} in a [short |]story",
    "[Can you make|Make] a story [out of|from] these words: {words}",
    "[A story with the words|Words:] {words}",
)
PLAIN_REQUESTS = (
    "[Tell me a story|Tell me a short story|Please tell me a story|A story, please|I want to hear a story|Once upon a time|Make up a story|Can you tell me a story]",
    "[Tell me another story|Another one, please|One more story, please|Tell me something|story|Tell us a story|I want a story|Any story|You choose]",
    "[Tell me a bedtime story|Tell me a children's story|Tell my little [sister|brother] a story|Surprise me|Tell me anything|What story do you have]",
)
GREETINGS = "[Hello|Hi|Hey|Good morning|Good evening][!|.]"
AGAIN = "[Another one|Another one, please|another one|One more|One more, please|Again|Tell me another one|Another story, please|More|more|And another|A different one, please|Next]"
SHORTER = "[Make it shorter|make it shorter|Can you make it shorter|Shorter, please|Too long|Tell it again, but shorter|Say it in a few words|What happened, in short|Sum it up|Give me a short version|Can you tell it in two sentences]"
TITLE_QUESTIONS = (
    "[Give this story a title|Give it a title|What would be a good title for this story|Find a title for this story|What should this story be called]",
)
CONTINUE = ("[Continue this story|Finish this story|Go on with this story|How does this story end|Tell the rest of this story]",)


def pick(rng, text):
    """One of the choices of each [x|y], innermost first."""
    while True:
        found = re.search(r"\[([^\[\]]*)\]", text)
        if not found:
            return text
        text = text[: found.start()] + rng.choice(found.group(1).split("|")) + text[found.end() :]


def sentence(rng, text, mark="."):
    """A request as people type it: with or without the full stop, now and then all in small letters."""
    text = tidy(text)
    if rng.random() < 0.15:
        return text.lower()
    return text + (("?" if re.match("Can|Could|Will|Would|May|Have|Do |What|How|Who", text) else mark) if rng.random() < 0.75 else "")


def tidy(text):
    return re.sub(r" ([.,!?])(?![.=])", r"\1", re.sub(r"\s+", " ", text)).strip()


def listing(words):
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]


def phrase(words):
    return article(words) + " " + words
