#!/usr/bin/env python3
"""Write tests/data/tokenizer/: a small vocabulary cut from a Llama-3 tokenizer.model, and what a reference tokenizer
makes of a list of texts with it.

    python3 tools/make_tokenizer_golden.py SHARED/tokenizer tests/data/tokenizer

SHARED/tokenizer holds tokenizer.model, the reference implementation reftok.py and golden.jsonl, whose texts are used.
"""
import base64
import json
import os
import sys

N_BASE, N_SPECIAL, LONGEST = 1200, 12, 120


def main():
    source, out = sys.argv[1:3]
    sys.path.insert(0, source)
    import reftok
    model = os.path.join(source, "tokenizer.model")
    tok = reftok.Tokenizer(model, N_BASE, reftok.special_names()[:N_SPECIAL])
    with open(os.path.join(out, "small.tiktoken"), "wb") as f:
        for token, rank in sorted(tok.ranks.items(), key=lambda kv: kv[1]):
            f.write(base64.b64encode(token) + b" %d\n" % rank)
    data = reftok.hf_tokenizer_json(tok)
    with open(os.path.join(out, "small.json"), "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False)
    with open(os.path.join(out, "golden.jsonl"), "w") as f:
        for line in open(os.path.join(source, "golden.jsonl"), encoding="utf-8"):
            case = json.loads(line)
            if len(line) > 6 * LONGEST or (case["kind"] == "text" and case["name"].startswith("fuzz") and len(line) > 300):
                continue
            if case["kind"] in ("text", "special"):
                special = case["kind"] == "special"
                case["ids"] = tok.encode(case["text"], special)
                assert case["ids"] == tok.encode(case["text"], special, how="merges")
            elif case["kind"] == "chat":
                case["ids"] = tok.chat_hf(case["messages"], case["generation_prompt"])
                del case["ids_parts"]
            else:
                text = bytes.fromhex(case["hex"]).decode("utf-8", "replace")
                case["ids_replace"] = tok.encode(text)
            f.write(json.dumps(case) + "\n")


main()
