"""Talk with a model; Ctrl-C stops an answer, the end of the input (Ctrl-D) the program.

    python3 chat.py [MODEL]
    echo "Tell me a story about a dog." | python3 chat.py
"""

import sys
from typing import Dict, List

import tern


def answer(model: tern.Model, messages: List[Dict[str, str]]) -> str:
    text = ""
    try:
        # What the conversation had before is still evaluated: only the last message is new.
        for piece in model.stream(messages, max_tokens=200, temperature=0.7):
            text += piece
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        pass  # keep what there is
    print()
    return text


def main() -> int:
    messages: List[Dict[str, str]] = []
    try:
        with tern.Model.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else None) as model:
            while True:
                try:
                    line = input("> " if sys.stdin.isatty() else "")
                except (EOFError, KeyboardInterrupt):
                    return 0
                if line.strip():
                    messages.append({"role": "user", "content": line})
                    messages.append({"role": "assistant", "content": answer(model, messages)})
    except tern.TernError as error:
        print(f"chat: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
