#!/usr/bin/env bash
# What guessing from repetitions (prompt look-up) brings:
#
#     bench/speculation.sh [-d DRAFT] [-n TOKENS] [MODEL]
#
# on texts that a model could have written, with every pass through MODEL made as in generation (bench_speculation.c):
# an edit of a source file that stands in the prompt, a summary's way to quote, prose, code without a pattern in the
# prompt, and random tokens. Plain and guessing runs take turns. Without MODEL: one of 2B4T's shape with random weights.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build}
draft=7
tokens=200
usage="usage: bench/speculation.sh [-d DRAFT] [-n TOKENS] [MODEL]"
if [[ ${1-} == --help || ${1-} == -h ]]; then
    echo "$usage"
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
fi
while getopts "d:n:" option; do
    case $option in
    d) draft=$OPTARG ;;
    n) tokens=$OPTARG ;;
    *) echo "$usage (see --help)" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [[ ! -f $build/CMakeCache.txt ]]; then
    echo "speculation.sh: $build: no build folder; make it with cmake, or name another one with BUILD=" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --build "$build" --target tern_command bench_speculation >"$work/log" || { cat "$work/log" >&2; exit 1; }
if (($# == 0)); then
    "$build/tern" synth "$work/2b4t.gguf" --shape 2b4t >&2
    set -- "$work/2b4t.gguf"
fi

# The tokens come from the built-in model's tokenizer: the random one's are of no use for text.
run() { # NAME FILE: the prompt is the part of the file up to the line "====", which is left out
    local prompt
    if [[ $2 == random ]]; then
        prompt=64
        (cd "$work" && "$build/bench_speculation" "$model" random $prompt "$tokens" "$draft")
        return
    fi
    sed '/^====$/q' "$2" | sed '$d' >"$work/prompt"
    prompt=$("$build/tern" tokenize demo -f "$work/prompt" --no-bos | wc -w)
    sed '/^====$/d' "$2" >"$work/$1"
    (cd "$work" && "$build/bench_speculation" "$model" "$1" "$prompt" "$tokens" "$draft" demo)
}

model=$1
[[ -e $model ]] && model=$(realpath "$model")
source_lines=$(sed -n '1,14p' "$root/src/runtime/stop.c")
{
    printf 'Rename the type to matcher:\n%s\n====\n' "$source_lines"
    sed 's/tern_stop\b/matcher/g' <<<"$source_lines"
} >"$work/edit.txt"
prose=$(sed -n '/^[A-Z]/p' "$root/docs/MODEL.md" "$root/docs/ARCHITECTURE.md")
{
    printf '%s\n====\nIn short: ' "$(head -c 1000 <<<"$prose")"
    head -c 1000 <<<"$prose" | sed -n 's/^\([^.]*\.\).*/\1/p'
    tail -c 1500 <<<"$prose"
} >"$work/summary.txt"
{
    printf '%s\n====\n' "$(head -c 300 <<<"$prose")"
    tail -c +301 <<<"$prose"
} >"$work/prose.txt"
{
    printf '%s\n====\n' "$(head -c 1000 "$root/src/runtime/sampler.c")"
    tail -c +1001 "$root/src/runtime/sampler.c"
} >"$work/code.txt"
for text in edit summary prose code; do
    run "$text" "$work/$text.txt"
done
run random random
