#!/usr/bin/env python3
"""Answers made up of pieces, judged by lm-evaluation-harness's own checks of IFEval and by tern's: equal verdicts.

    python3 instructions.py --checker build/test_instructions --rows 6000
    python3 instructions.py --checker build/test_instructions --rows 480 --record instructions.json
    python3 instructions.py --checker build/test_instructions --rows 480 --record instructions_open.json --open

--open: the kinds that tern can decide of some answers only. Their verdicts have to be the harness's or none; those of
sentences come from NLTK's splitter with two sets of parameters, none and every small word an abbreviation.

Exit status 77: the harness (pip install "lm-eval[ifeval]") is not installed. Without the data of NLTK's sentence
splitter (punkt_tab) sentences are split behind a full stop, ? or ! and white space, for words in capitals alone.
"""
import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

PIECES = [
    "the", "Tern", "sea", "SEA", "sea-birds", "birdsong", "I", "A", "fly", "flies", "FLY", "Ärger", "ÄRGER", "été", "ÉTÉ", "naïve",
    "straße", "море", "МОРЕ", "ΘΑΛΑΣΣΑ", "海", "हिन्दी", "IT'S", "it's", "DON'T", "don't", "WE'LL", "THEY'VE", "CANNOT", "cannot",
    "GONNA", "WANNA", "GIMME", "'TIS", "'tis", "D'YE", "O'NEIL", "DOGS'", "ROCK 'N' ROLL", "A.B.C", "U.S.A.", "E-MAIL", "X--Y", "A...B",
    "A:B", "A:1", "10:30AM", "1,000", "A,B", "$USD", "100%", "R&D", "C#", "snake_case", "B2B", "_", "x_Y", "Ⅳ", "ª", "3.14", "٣", "½",
    ".", ",", "!", "?", ";", ":", "...", "--", "—", "–", "'", "\"", "''", "``", "“HI”", "‘YES’", "«NON»", "(ABC)", "[NAME]", "[address]",
    "[]", "[a\nb]", "[[x]]", "*", "**", "***", "******", "*high*", "**bold**", "** **", "* *", "*a* *b*", "***x***", "<<title>>", "<< >>",
    "<<<a>>>", "<>", "<<a\nb>>", "\n", "\n\n", "\n\n\n", " ", "  ", "\t", "\u00a0", "\u2003", "\u3000", "\x1c", "\x0b", "\n* point", "\n*  point",
    "\n- point", "\n  - point", "\n** no", "\n*", "\n-", "\n• dot", "Section 1", "SECTION 2", "Section3", "Section  4", "Section x", "section 5",
    "Day 1", "Section ٣", "P.S.", "p.s. more", "P. S.", "P.P.S", "P. P. S. x", "p.p.s", "PS", "My answer is yes.", "My answer is no.",
    "My answer is maybe.", "my answer is yes.", "Any questions?", "ANY QUESTIONS?", "weekend", "Weekend,", "'weekend'", "\"Weekend\"", "Say it.",
    "SAY IT.", "say it", "\u212a", "kKk", "İi", "zzz", "!", "{\"a\": 1}", "[1, 2]", "```", "```json", "null", "NaN", "-Infinity", "01", "1.",
    "1e5", "\"\\ud800\"", "\"\\x\"", "true", "{", "}", "{\"a\": [1, {\"b\": \"\\n\"}]}", "1e999", "123456789012345678901234567890",
]

RELATIONS = ["less than", "at least"]


def kinds(draw):
    """-> an instruction and arguments for it"""
    relation, small = draw.choice(RELATIONS), draw.randint(1, 4)
    word = draw.choice(["sea", "fly", "ärger", "Море", "birds", "IT", "ROCK", "1", "été", "yes"])
    return draw.choice([
        ("keywords:existence", {"keywords": draw.sample(["sea", "fly", "ärger", "море", "tern", "а", "i"], draw.randint(1, 2))}),
        ("keywords:frequency", {"keyword": draw.choice(["", " "]) + word, "frequency": small, "relation": relation}),
        ("keywords:forbidden_words", {"forbidden_words": draw.sample(["sea", "fly", "море", "birds", "it", "x", "naïve"], draw.randint(1, 2))}),
        ("keywords:letter_frequency", {"letter": draw.choice("akizEB"), "let_frequency": small, "let_relation": relation}),
        ("length_constraints:number_paragraphs", {"num_paragraphs": small}),
        ("length_constraints:number_words", {"num_words": draw.randint(1, 14), "relation": relation}),
        ("length_constraints:nth_paragraph_first_word",
         {"num_paragraphs": max(small, 2), "nth_paragraph": draw.randint(1, 2), "first_word": draw.choice(["weekend", "Tern", "sea", "море"])}),
        ("detectable_content:number_placeholders", {"num_placeholders": small}),
        ("detectable_content:postscript", {"postscript_marker": draw.choice(["P.S.", "P.P.S", "PS", " P.S. "])}),
        ("detectable_format:number_bullet_lists", {"num_bullets": small}),
        ("detectable_format:constrained_response", {}),
        ("detectable_format:number_highlighted_sections", {"num_highlights": small}),
        ("detectable_format:multiple_sections", {"section_spliter": draw.choice(["Section", "SECTION", "Day", " Section "]), "num_sections": min(small, 2)}),
        ("detectable_format:json_format", {}),
        ("detectable_format:title", {}),
        ("combination:two_responses", {}),
        ("combination:repeat_prompt", {"prompt_to_repeat": draw.choice(["Say it.", "The Tern", "МОРЕ море", " Fly? "])}),
        ("startend:end_checker", {"end_phrase": draw.choice(["Any questions?", "say it.", "fly", "МОРЕ"])}),
        ("startend:quotation", {}),
        ("change_case:capital_word_frequency", {"capital_frequency": draw.randint(1, 9), "capital_relation": relation}),
        ("punctuation:no_comma", {}),
    ])


LANGUAGES = ["hi", "ar", "fa", "ja", "ko", "mr", "ne", "ur", "bn", "pa", "gu", "te", "kn", "ml", "de", "en", "ru", "ta"]
ALPHABETS = ["abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "IVXLCDM", "ಅಆಇಈಉಊಕಖಗಘತದನಪಬಮಯರಲವಶಸಹಾಿೀುೂೆೇೊೋ್", "అఆఇఈకగచజటడతదనపబమయరలవశసహాిీుూెేొో్",
             "অআইঈউকখগঘচছজটডতদনপবমযরলশষসহািীুূেৈোৌ্", "અઆઇઈકખગઘચછજટડતદનપબમયરલવશસહાિીુૂેૈોૌ્", "ਅਆਇਈਕਖਗਘਚਜਟਡਤਦਨਪਬਮਯਰਲਵਸਹਾਿੀੁੂੇੈੋੌ",
             "അആഇഈകഖഗചജടഡതദനപബമയരലവശഷസഹാിീുൂെേൈൊോ്", "अआइईकखगचजटडतदनपबमयरलवशसहािीुूेैोौ्", "абвгдежз", "0123456789 .,!?-+/@:()"]
SENTENCES = ["I see a bird.", "Is it a tern?", "Yes!", "Mr. Tern flies.", "It is approx. 3.5 m long.", "\"Go!\" he said.", "Wait... what?", "No?! No!!", "(It did.)",
             "e.g. this", "The U.S. is big.", "See http://a.b/c?d=e.", "“So.” Then", "a.b.c", "ok", "1. One", "- Two.", "¿Qué? Nada.", "end", "Etc.)", "!", "..."]


def open_kinds(draw):
    """-> an instruction that is not always decided, arguments for it, and an answer"""
    kind = draw.randint(0, 3)
    if kind == 0:
        alphabets = draw.sample(ALPHABETS, draw.choice([1, 1, 1, 2]))
        text = " ".join("".join(draw.choice(draw.choice(alphabets)) for _ in range(draw.randint(1, 9))) for _ in range(draw.randint(1, 12)))
        return "language:response_language", {"language": draw.choice(LANGUAGES)}, text
    if kind == 1:
        text = draw.choice(["", " "]).join(draw.choice(SENTENCES) + draw.choice([" ", " ", "  ", "\n", "\u00a0"]) for _ in range(draw.randint(0, 6)))
        return "length_constraints:number_sentences", {"num_sentences": draw.randint(1, 7), "relation": draw.choice(RELATIONS)}, text
    text = draw.choice(["", " "]).join(draw.choice(PIECES) for _ in range(draw.randint(0, 8)))
    text = draw.choice([str, str.upper, str.lower])(text)
    return draw.choice(["change_case:english_capital", "change_case:english_lowercase"]), {}, text


def make_open_row(draw):
    name, arguments, text = open_kinds(draw)
    if draw.random() < 0.2:
        text = "Sure, here it is:\n" + text + draw.choice(["", "\nI hope, this helps."])
    return {"id": name, "kwargs": arguments, "response": text}


def towards(draw, name, arguments, text):
    """The text, half of the time made to follow the instruction, nearly or so; blind chance seldom does."""
    n = next((v for v in arguments.values() if isinstance(v, int)), 1) + draw.choice([0, 0, 0, -1, 1])
    piece = {
        "existence": lambda: text + " ".join(arguments["keywords"]),
        "frequency": lambda: text + f" {arguments['keyword']}" * n,
        "letter_frequency": lambda: f"{arguments['letter']} " * n + draw.choice(["", text]),
        "number_paragraphs": lambda: draw.choice([" *** ", "\n***\n", "***"]).join([draw.choice(PIECES[:20]) for _ in range(n)]),
        "nth_paragraph_first_word": lambda: "\n\n".join([draw.choice(["", "'", "\""]) + arguments["first_word"] + draw.choice(["", ",", "'s", "s"])
                                                         + " sea"] * arguments["num_paragraphs"]),
        "number_placeholders": lambda: text + " [a]" * n,
        "postscript": lambda: text + f"\n{arguments['postscript_marker'].lower()} x",
        "number_bullet_lists": lambda: draw.choice(["\n* a", "\n- a", "\n *b"]) * n,
        "constrained_response": lambda: text + "My answer is maybe.",
        "number_highlighted_sections": lambda: draw.choice(["*a* ", "**a** "]) * n,
        "multiple_sections": lambda: f"{arguments['section_spliter']} 1 a " * n,
        "json_format": lambda: draw.choice(["", "```json\n", "```"]) + draw.choice(
            ['{"a": [1, 2.5e3, "\\u00e4"]}', "[NaN]", '"\\ud83d"', "1e999", '{"a": 1,}', "[01]", '"\t"', "-", "{}", " [ ] ", "'a'", '{"a" : null , "a":2}',
             "-Infinity", "9" * 30, '["\\q"]', "[1 2]", "tru", '{"a"}']) + draw.choice(["", "\n```", "```", " x"]),
        "title": lambda: draw.choice(["<<", "<<<", "<< "]) + draw.choice(["a", " ", ">", "a>>b"]) + ">>" + text,
        "two_responses": lambda: draw.choice(["", "******"]) + "a" + draw.choice(["******", " ****** ", "*****", "*******"]) + draw.choice(["b", "a", " "]),
        "repeat_prompt": lambda: arguments["prompt_to_repeat"].strip().swapcase() + text,
        "end_checker": lambda: text + draw.choice(["", "\""]) + arguments["end_phrase"].swapcase() + draw.choice(["", "\"", "\n", " x"]),
        "quotation": lambda: draw.choice(["\"", " \""]) + text + draw.choice(["\"", "\"\n"]),
        "no_comma": lambda: text.replace(",", ""),
        "forbidden_words": lambda: re.sub("|".join(arguments["forbidden_words"]), "", text, flags=re.I),
    }.get(name.split(":")[1])
    return piece() if piece and draw.random() < 0.5 else text


def make_row(draw):
    name, arguments = kinds(draw)
    pieces = [draw.choice(PIECES) for _ in range(draw.randint(0, 12))]
    text = draw.choice(["", " ", " "]).join(pieces)
    text = towards(draw, name, arguments, text)
    if draw.random() < 0.2:
        text = draw.choice(["Sure, here it is:\n", "Yes\n\n"]) + text + draw.choice(["", "\nI hope, this helps."])
    return {"id": name, "kwargs": arguments, "response": text}


def load_harness():
    try:
        import nltk
        try:
            nltk.data.find("tokenizers/punkt_tab")
        except LookupError:
            nltk.download = lambda *a, **k: False
            nltk.tokenize.sent_tokenize = lambda text, language="english": re.split(r"(?<=[.?!])\s+", text)
        from lm_eval.tasks.ifeval import utils
        return utils
    except ImportError as error:
        print(f'skipped: no lm-evaluation-harness with IFEval (pip install "lm-eval[ifeval]"): {error}')
        sys.exit(77)


def judge(harness, row):
    example = harness.InputExample(0, [row["id"]], "", [row["kwargs"]])
    strict = harness.test_instruction_following_strict(example, row["response"])
    loose = harness.test_instruction_following_loose(example, row["response"])
    return {**row, "strict": strict.follow_instruction_list[0], "loose": loose.follow_instruction_list[0]}


def judge_open(harness, row):
    """Twice, as differently as splitters of sentences can be."""
    import langdetect
    from lm_eval.tasks.ifeval import instructions_util
    from nltk.tokenize import punkt
    langdetect.DetectorFactory.seed = 1
    plain, shy = punkt.PunktSentenceTokenizer(), punkt.PunktSentenceTokenizer()
    shy._params.abbrev_types = set(re.findall(r"[^\s.?!]+", row["response"].lower())) | set(row["response"].lower().split())
    for splitter in plain, shy:
        instructions_util._get_sentence_tokenizer = lambda splitter=splitter: splitter
        yield judge(harness, row)
        if row["id"] != "length_constraints:number_sentences":
            break


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checker", required=True, help="the program test_instructions")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=pathlib.Path, help="write what the harness says, if all is equal")
    parser.add_argument("--open", action="store_true", help="the kinds that are not always decided")
    arguments = parser.parse_args()
    harness, draw = load_harness(), random.Random(arguments.seed)
    if arguments.open:
        rows = [judged for _ in range(arguments.rows) for judged in judge_open(harness, make_open_row(draw))]
    else:
        rows = [judge(harness, make_row(draw)) for _ in range(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rows.json"
        path.write_text("[" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "]\n", encoding="utf-8")
        known = str(pathlib.Path(__file__).with_name("instructions.json"))
        files = [known, str(path)] if arguments.open else [str(path)]
        status = subprocess.run([arguments.checker, *files], check=False).returncode
        for name in sorted({row["id"] for row in rows}):
            mine = [row for row in rows if row["id"] == name]
            print(f"{name:46} {len(mine):5} answers, {sum(r['strict'] for r in mine):5} follow, {sum(r['loose'] for r in mine):5} loosely")
        print("equal" if status == 0 else "DIFFERENT")
        if arguments.record and status == 0:
            arguments.record.write_bytes(path.read_bytes())
    return status != 0


if __name__ == "__main__":
    sys.exit(main())
