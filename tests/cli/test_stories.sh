#!/usr/bin/env bash
# The generator of stories and the preparation of the texts of the built-in model (Python), and its script.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || {
    echo "skipped: python3 is not there"
    exit 77
}

run "unit tests" python3 -B "$ROOT/tests/cli/stories_test.py" "$ROOT"
is "$status" 0

stories() { run "$1" python3 -B "$ROOT/tools/stories" "${@:2}"; }
stories "check" check -n 300 --seed 2
is "$status" 0
has "$out" "faults: 0"
stories "a cap that is reached" stories -n 3000 --cap 1
is "$status" 1
has "$err" "--cap"
stories "no stories" stories -n 0
is "$status" 2
stories "an output" stories -n 2 -o "$WORK/two.txt"
is "$status" 0
is "$(grep -c '^<|endoftext|>$' "$WORK/two.txt")" 1

# --- the script that remakes the model
demo() { run "$1" bash "$ROOT/models/make_demo.sh" --tern "$TERN" "${@:2}"; }
demo "help" --help
is "$status" 0
has "$out" "Example:"
demo "no data" "$WORK"
is "$status" 1
has "$err" "tinystories-sample.txt is not there"
demo "an unknown option" --no-such
is "$status" 1
demo "an unknown step" --until lunch
is "$status" 1
mkdir -p "$WORK/data/text"
touch "$WORK/data/text/tinystories-sample.txt"
demo "minutes that are none" "$WORK/data" --minutes 0
is "$status" 1
demo "a dry run" "$WORK/data" --dry-run --work "$WORK/demo"
is "$status" 0
for part in "text: python3" "tokenizer:" "pretrain:" "sft:" "dpo:" "eval:"; do
    has "$out" "$part"
done
[ ! -e "$WORK/demo" ] || fail "a dry run has made $WORK/demo"
finish
