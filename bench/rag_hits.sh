#!/usr/bin/env bash
# rag_hits.sh [TERN [ARGS of rag ask...]]: how often is one of the best 4 chunks the right one? The questions of
# rag_questions.tsv about docs/*.md: question, file, words of which a chunk of that file has to hold one.
# MODEL=model.gguf for another model than the built-in one, K for other numbers of chunks, CHUNK for other sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
tern=${1:-build/tern}
shift || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$tern" rag add docs --ext md --db "$work/db" -m "${MODEL:-demo}" ${CHUNK:+--chunk-tokens "$CHUNK"} >&2
hits=0 n=0
"$tern" rag remove docs/RAG.md --db "$work/db" >&2 # it says what is asked here
while IFS=$'\t' read -r question file words; do
    n=$((n + 1))
    found=$("$tern" rag ask "$question" --db "$work/db" -k "${K:-4}" --no-answer --json "$@" |
        FILE=$file WORDS=$words python3 -c '
import json, os, re, sys
right = [s["number"] for s in json.load(sys.stdin)["sources"]
         if re.fullmatch(os.environ["FILE"], os.path.basename(s["path"])) and re.search(os.environ["WORDS"], s["text"])]
print(min(right) if right else "-")')
    [ "$found" = - ] || hits=$((hits + 1))
    echo "$found  $question"
done <bench/rag_questions.tsv
echo "$hits of $n"
