"""Generate a text.

    python3 generate.py [MODEL [PROMPT]]
"""

import sys

import tern


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else None  # None: the model that is built into the library
    prompt = sys.argv[2] if len(sys.argv) > 2 else "Once upon a time"
    try:
        with tern.Model.from_pretrained(path) as model:
            result = model.generate(prompt, max_tokens=60, temperature=0)
    except tern.TernError as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    print(prompt + result.text)
    print(f"{result.n_generated} tokens, {result.tokens_per_second:.0f} tokens/s, {result.reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
