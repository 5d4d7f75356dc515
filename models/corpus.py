#!/usr/bin/env python3
"""
Example:
  python3 models/corpus.py clean ../shared/data --heldout heldout.txt -o work/text
  python3 models/corpus.py check heldout.txt work/text/*.txt
  python3 models/corpus.py mix --stage 1 --mb 60 --seed 1 -o work/stage1.txt --text work/text

The texts that the built-in model is trained on. `clean` makes documents of the sources: headers, licences, notes,
illustrations and tables of contents go, books become chapters and pieces, and whatever shares a run of 60 characters
with the held-out text is left out. `check` fails (exit status 1) if a file holds any such run. `mix` repeats and samples
the sources so that each has its share of a training stage.
"""

import argparse
import json
import lzma
import os
import random
import re
import sys
import tempfile
import unicodedata

SEPARATOR = "<|endoftext|>"
RUN = 60  # characters in a row, white space taken as one blank, that no training text shares with the held-out one
LONGEST = 8000  # characters of a piece of a book

# Share of what a stage sees, in percent; of the tokenizer: both stages, without conversations.
STAGES = {
    "tokenizer": {"children": 22.5, "classic": 5, "storybooks": 12.5, "tinystories": 30, "generated": 20, "fairytales": 10},
    "1": {"children": 45, "classic": 10, "storybooks": 10, "tinystories": 20, "generated": 15},
    "2": {"tinystories": 36, "storybooks": 13, "generated": 5, "fairytales": 16, "conversations": 30},
}
MAX_PASSES = 10  # of one source through one stage; what is over goes to the others

# ---------------------------------------------------------------------- paragraphs

QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-", "\u2026": "...", "\u00a0": " ", "\u00e6": "ae", "\u0153": "oe", "\u00c6": "Ae", "\u0152": "Oe", "\u00df": "ss", "\u200b": "", "\ufeff": ""})

# Paragraphs that are about the book, not of it.
ABOUT_THE_BOOK = re.compile(
    r"Project Gutenberg|gutenberg\.(?:org|net)|https?://|www\.|[Cc]opyright|COPYRIGHT|All rights reserved|ISBN|Transcriber"
    r"|^(?:E-?text )?[Pp]roduced by |^This e-?(?:book|text) |Distributed Proofread|Internet Archive|[Pp]rinted (?:in|by) "
    r"|^(?:End|END) of (?:the|this|THE) |\bStandard Ebooks\b|\bcreativecommons\b|^Illustrated by |^Translated by ",
    re.M,
)
SCHOLARLY = re.compile(r"\b(?:pp?|vol|vols)\. ?(?:\d|[ivxl]+\b)|\bCf\.|\bibid\b|\bop\. cit\.|\[Greek|^Sources?\.--|^Parallels\.--|^Remarks\.--")
HEADING = re.compile(
    r"^(?:(?:CHAPTER|Chapter|BOOK|PART|LETTER|STORY|TALE|SCENE|ACT)\b[ .]*(?:[IVXLCDM]+|\d+|[A-Z][A-Za-z-]*)?\b.{0,70}|[IVXLC]+\.?(?: .{1,60})?)$"
)
# Words of contempt for a people: paragraphs that hold one are left out, and a piece with several of them as a whole.
SLURS = re.compile(
    r"\b(?:nigg(?:er|ers|ah)|negro(?:es)?|negress|dark(?:y|ies|ey)|pickaninn(?:y|ies)|piccaninn(?:y|ies)|coons?|squaws?|injuns?|redskins?"
    r"|chinam[ae]n|chinks?|japs|kaff?irs?|hottentots?|half-breeds?|mulattos?|octoroons?|sambo|golliwogg?s?|blackamoors?)\b",
    re.I,
)


def strip_gutenberg(text):
    """What stands between Project Gutenberg's two lines of asterisks; all of it where there are none."""
    start = re.search(r"^\*\*\* ?START OF .*?\*\*\*[^\n]*\n", text, re.M | re.S)
    end = re.search(r"^(?:\*\*\* ?END OF |End of (?:the )?Project Gutenberg)", text, re.M)
    return text[start.end() if start else 0 : end.start() if end and (not start or end.start() > start.end()) else len(text)]


def strip_contents(paragraphs):
    """Without tables of contents: what follows such a heading as long as it looks like entries."""
    kept, inside = [], False
    for paragraph in paragraphs:
        if re.fullmatch(r"(?:TABLE OF )?(?:CONTENTS|Contents|ILLUSTRATIONS|LIST OF ILLUSTRATIONS)\.?", paragraph.strip()):
            inside = True
            continue
        if inside:
            lines = [line.strip() for line in paragraph.split("\n") if line.strip()]
            entries = sum(bool(re.search(r"\d+$|^(?:CHAPTER|Chapter|[IVXLC]+\b|\d+\b)", line)) or len(line) < 40 and not re.search(r"[.!?]$", line) for line in lines)
            if entries * 2 >= len(lines) and not (len(lines) == 1 and HEADING.match(lines[0]) and not re.search(r"\d+$", lines[0])):
                continue
            inside = False
        kept.append(paragraph)
    return kept


def unwrap(paragraph):
    """Hard-wrapped prose as one line; verse keeps its lines."""
    lines = [line.strip() for line in paragraph.split("\n") if line.strip()]
    if len(lines) < 2:
        return " ".join(lines)
    longest = max(len(line) for line in lines)
    verse = longest < 55 or sum(len(line) < 0.6 * longest for line in lines[:-1]) * 2 > len(lines[:-1])
    return ("\n" if verse else " ").join(lines)


def clean_paragraph(paragraph):
    """A paragraph as text to learn from; "" if it is none."""
    text = paragraph.translate(QUOTES)
    text = re.sub(r"\[(?:Illustration|Picture|Frontispiece|Image)[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]", "", text)
    text = re.sub(r"\[(?:Pg|Page|p\.) ?\d+\]|\{\d+\}|\[\d+\]|\[(?:Footnote|Note|Editor)[^\]]*\]", "", text)
    text = re.sub(r"\b_([^_\n]+)_(?=\W|$)|(?<!\w)_([^_\n]+)_", lambda m: m.group(1) or m.group(2), text)
    text = re.sub(r"(?<![\w=])=([^=\n]+)=(?!\w)", r"\1", text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = unwrap(re.sub(r"[ \t]+", " ", text)).strip()
    if not text or ABOUT_THE_BOOK.search(text) or SCHOLARLY.search(text) or SLURS.search(text):
        return ""
    if re.fullmatch(r"[\W_]*", text) or not text.isascii():
        return ""
    letters = sum(c.isalpha() or c == " " for c in text)
    return text if letters >= 0.75 * len(text) else ""


def pieces_of(text):
    """A document as chapters: cut at headings and where three lines or more are empty."""
    text = strip_gutenberg(text.replace("\r\n", "\n"))
    pieces, piece = [], []
    for block in re.split(r"\n(?:[ \t]*\n){3,}", text):
        for paragraph in strip_contents(re.split(r"\n[ \t]*\n", block)):
            line = paragraph.strip()
            if "\n" not in line and (HEADING.match(line) or re.fullmatch(r"[A-Z][A-Z .,'!?;-]{2,60}", line)):
                pieces.append(piece)
                piece = []
            else:
                piece.append(paragraph)
        pieces.append(piece)
        piece = []
    return [p for p in pieces if p]


def split_long(paragraphs, longest=LONGEST):
    """Parts of about the same length, none much longer than `longest` characters, cut between paragraphs."""
    total = sum(len(p) + 2 for p in paragraphs)
    n = max(1, -(-total // longest))
    parts, part, size = [], [], 0
    for paragraph in paragraphs:
        part.append(paragraph)
        size += len(paragraph) + 2
        if size >= total / n and len(parts) < n - 1:
            parts.append(part)
            part, size = [], 0
    return parts + ([part] if part else [])


def clean_document(text, shortest=200):
    """Documents made of one: chapters, in pieces."""
    made = []
    for piece in pieces_of(text):
        cleaned = [clean_paragraph(p) for p in piece]
        slurs = sum(len(SLURS.findall(p)) for p in piece)
        kept = [p for p in cleaned if p]
        notes = sum(len(p) for p in piece if SCHOLARLY.search(p))
        if slurs > 2 or notes * 5 > sum(map(len, piece)):
            continue
        made += ["\n\n".join(part) for part in split_long(kept)]
    return [document for document in made if len(document) >= shortest]


# ---------------------------------------------------------------------- the held-out text


def squeeze(text):
    return " ".join(text.split())


class HeldOut:
    """
    Finds runs of RUN characters that a text shares with the held-out one. Such a run covers one of the blocks of half as
    many characters that begin at every multiple of that, so only those are looked up.
    """

    def __init__(self, text):
        self.text = squeeze(text)
        self.step = RUN // 2
        self.places = {}
        for i in range(len(self.text) - self.step + 1):
            self.places.setdefault(self.text[i : i + self.step], []).append(i)

    def shared(self, text):
        """The first shared run; "" if there is none."""
        text, step = squeeze(text), self.step
        for at in range(0, len(text) - step + 1, step):
            for i in self.places.get(text[at : at + step], ()):
                a, b = at, i
                while a and b and text[a - 1] == self.text[b - 1]:
                    a, b = a - 1, b - 1
                c, d = at + step, i + step
                while c < len(text) and d < len(self.text) and text[c] == self.text[d]:
                    c, d = c + 1, d + 1
                if c - a >= RUN:
                    return text[a : a + RUN]
        return ""


def cut_held_out(documents, held_out):
    """
    The documents without those at the end that the held-out text was taken from, and without the one it begins in. The
    held-out text may begin in the middle of one and holds no separators.
    """
    held, rest = squeeze(held_out), ""
    for first in reversed(range(len(documents))):
        rest = (squeeze(documents[first]) + " " + rest).strip()
        if len(rest) >= len(held):
            return documents[:first] if rest.endswith(held) else None
    return None


# ---------------------------------------------------------------------- files


def read_text(path):
    opened = lzma.open(path, "rt", encoding="utf-8") if path.endswith(".xz") else open(path, encoding="utf-8")
    with opened as file:
        return file.read()


def read_documents(path):
    return [d.strip() for d in re.split(rf"^{re.escape(SEPARATOR)}\s*$", read_text(path), flags=re.M) if d.strip()]


def write_file(path, text):
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def write_documents(path, documents):
    write_file(path, f"\n{SEPARATOR}\n".join(documents) + "\n")


def read_source(folder, name):
    """What a mix can draw from: lines of JSON, documents and conversations."""
    lines = os.path.join(folder, name + ".jsonl")
    if not os.path.exists(lines):
        return [json.dumps({"text": document}) for document in read_documents(os.path.join(folder, name + ".txt"))]
    with open(lines, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def is_fairy_tale(document):
    start = document[:400].lower()
    return len(document) < LONGEST and bool(
        re.search(r"once upon a time|there (?:was|were|lived) (?:once|a |an |in )|once there (?:was|lived)|long ago|in old times|a certain (?:king|man|woman)", start)
    )


def texts_of(path):
    """The texts in a file, for `check`: documents, or every string in the lines of a .jsonl."""
    if not path.endswith(".jsonl"):
        return read_documents(path)

    def strings(value):
        if isinstance(value, str):
            return [value]
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [s for child in children for s in strings(child)]

    with open(path, encoding="utf-8") as file:
        return [s for line in file if line.strip() for s in strings(json.loads(line))]


# ---------------------------------------------------------------------- commands


def clean(args):
    text = os.path.join(args.data, "text")
    held_out = read_text(args.heldout) if args.heldout else None
    runs = HeldOut(held_out) if held_out else None
    stories = read_documents(os.path.join(text, "tinystories-sample.txt"))
    if held_out:
        stories = cut_held_out(stories, held_out)
        if stories is None:
            raise SystemExit(f"corpus: {args.heldout} is not the end of tinystories-sample.txt: what is to be cut off?")
    sources = {"tinystories": [d for s in stories for d in clean_document(s, 120)]}
    for name, file in (("storybooks", "storybooks-ccby.txt"), ("children", "children-books.txt.xz"), ("classic", "classic-fiction.txt.xz")):
        sources[name] = [piece for d in read_documents(os.path.join(text, file)) for piece in clean_document(d)]
    for name, documents in sources.items():
        if runs:
            kept = [d for d in documents if not runs.shared(d)]
            dropped = len(documents) - len(kept)
            sources[name] = kept
            print(f"{name}: {dropped} documents left out, because they share {RUN} characters with the held-out text", file=sys.stderr)
    sources["fairytales"] = [d for d in sources["children"] if is_fairy_tale(d)]
    for name, documents in sources.items():
        write_documents(os.path.join(args.o, name + ".txt"), documents)
        size = sum(len(d.encode()) + len(SEPARATOR) + 2 for d in documents)
        print(f"{name}.txt: {len(documents)} documents, {size / 1e6:.2f} MB")


def check(args):
    runs = HeldOut(read_text(args.files[0]))
    if len(runs.text) < RUN:
        raise SystemExit(f"corpus: {args.files[0]} has fewer than {RUN} characters: nothing can be proved with it")
    bad = 0
    for path in args.files[1:]:
        n = 0
        for text in texts_of(path):
            n += 1
            shared = runs.shared(text)
            if shared:
                bad += 1
                print(f"corpus: {path} holds held-out text: {shared!r}", file=sys.stderr)
        print(f"{path}: {n} texts looked through")
    print(f"{bad} texts share {RUN} characters with {args.files[0]}")
    return 1 if bad else 0


def plan(shares, sizes, wanted):
    """Bytes of each source: its share of `wanted`, at most MAX_PASSES passes; what is over goes to those below that."""
    given, left, open_ = {}, wanted, dict(shares)
    while open_:
        total = sum(open_.values())
        full = [n for n in open_ if left * open_[n] / total > MAX_PASSES * sizes[n]]
        if not full:
            given.update({n: left * share / total for n, share in open_.items()})
            break
        for name in full:
            given[name] = MAX_PASSES * sizes[name]
            left -= given[name]
            del open_[name]
    return given


def mix(args):
    rng = random.Random(f"{args.seed} {args.stage}")
    sources = {name: read_source(args.text, name) for name in STAGES[args.stage]}
    sizes = {name: sum(map(len, documents)) for name, documents in sources.items()}
    chosen = []
    for name, wanted in plan(STAGES[args.stage], sizes, args.mb * 1e6).items():
        documents, taken = sources[name], 0
        while taken < wanted and documents:
            for document in rng.sample(documents, len(documents)):
                if taken >= wanted:
                    break
                chosen.append(document)
                taken += len(document)
        print(f"stage {args.stage}: {name}: {taken / 1e6:.2f} MB, {taken / max(1, sizes[name]):.2f} passes")
    rng.shuffle(chosen)
    write_file(args.o, "\n".join(chosen) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="corpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    part = commands.add_parser("clean", help="documents from the sources")
    part.add_argument("data", help="the folder that holds text/tinystories-sample.txt and the others")
    part.add_argument("--heldout", metavar="FILE", help="the text to keep out")
    part.add_argument("-o", metavar="FOLDER", required=True)
    part = commands.add_parser("check", help="fail if a file shares text with the held-out one")
    part.add_argument("files", nargs="+", metavar="FILE", help="the held-out text, then the files to look through")
    part = commands.add_parser("mix", help="the texts of a training stage, or of the tokenizer, as lines of JSON")
    part.add_argument("--stage", choices=sorted(STAGES), required=True)
    part.add_argument("--text", metavar="FOLDER", required=True, help="what clean wrote, generated.txt and conversations.jsonl")
    part.add_argument("--mb", type=float, required=True, help="size of the mix in MB")
    part.add_argument("--seed", default="1")
    part.add_argument("-o", metavar="FILE", required=True)
    args = parser.parse_args()
    return {"clean": clean, "check": check, "mix": mix}[args.command](args) or 0


if __name__ == "__main__":
    sys.exit(main())
