"""Which line of a text is most like a question? Compares the mean hidden states of both.

    python3 embed_search.py QUESTION [FILE [MODEL]]

Without FILE, a few sentences of its own. A model that was trained to tell stories knows rather little of likeness; one
such as BitNet b1.58 2B4T knows more.
"""

import sys

import tern

SENTENCES = [
    "The dog ran to the park and chased a ball.",
    "Mum baked a big cake with strawberries.",
    "The little boat sailed on the blue lake.",
    "It was raining, so they stayed at home and read a book.",
]


def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "A puppy plays with a ball in the garden."
    try:
        lines = SENTENCES
        if len(sys.argv) > 2:
            with open(sys.argv[2], encoding="utf-8") as file:
                lines = [line.strip() for line in file if line.strip()]
        with tern.Model.from_pretrained(sys.argv[3] if len(sys.argv) > 3 else None) as model:
            wanted = model.embed(question)
            vectors = model.embed(lines)
    except (OSError, tern.TernError) as error:
        print(f"embed_search: {error}", file=sys.stderr)
        return 1
    # All of them have length 1, so the inner product is the cosine of the angle between two.
    found = [(sum(float(a) * float(b) for a, b in zip(wanted, vector)), line) for vector, line in zip(vectors, lines)]
    for cosine, line in sorted(found, reverse=True)[:3]:
        print(f"{cosine:.3f}  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
