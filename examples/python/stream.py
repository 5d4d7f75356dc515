"""Show a text as it comes; stop after the first sentence. Ctrl-C stops it at any time.

    python3 stream.py [MODEL [PROMPT]]
"""

import sys

import tern


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else None
    prompt = sys.argv[2] if len(sys.argv) > 2 else "Once upon a time"
    try:
        with tern.Model.from_pretrained(path) as model:
            print(prompt, end="")
            for piece in model.stream(prompt, max_tokens=200):
                print(piece, end="", flush=True)
                if "." in piece:
                    break  # cancels the rest
            print()
    except KeyboardInterrupt:
        print()
    except tern.TernError as error:
        print(f"stream: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
