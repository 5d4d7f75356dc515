#!/usr/bin/env bash
# models/make_demo.sh --quick: the whole way from texts to a built-in model, its figures and curves, on small texts that
# are made here; then again, where nothing is left to do, and on from a training that was stopped.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || {
    echo "skipped: python3 is not there"
    exit 77
}

# sentences of so many words that 60 characters of one stand in no other, in the four files that the script reads
mkdir -p "$WORK/data/text"
python3 -B - "$WORK/data" <<'END' || fail "the texts cannot be made"
import lzma, random, sys
folder, rng = sys.argv[1], random.Random(1)
letters = "bdfgklmnprst"
nouns = ["fox", "boat", "kite", "tree", "bear", "cake", "girl", "drum", "river", "hat"] + [
    a + b + c + d for a, b, c, d in ((rng.choice(letters), rng.choice("aeiou"), rng.choice(letters), rng.choice("aeiou")) for _ in range(80))]
verbs = ["saw", "found", "took", "liked", "gave", "washed", "carried", "wanted", "lost", "painted"]
places = ["in the garden", "by the sea", "at school", "on the hill", "under a tree", "near the old mill"]
def sentence():
    a, b, c, d = (rng.choice(nouns) for _ in range(4))
    return f"The little {a} {rng.choice(verbs)} the {b} and the {c} {rng.choice(places)}, and so the {d} {rng.choice(verbs)} it."
def story(n):
    return "Once upon a time there was a " + rng.choice(nouns) + ". " + " ".join(sentence() for _ in range(n))
def write(name, documents):
    text = "\n<|endoftext|>\n".join(documents) + "\n"
    if name.endswith(".xz"):
        lzma.open(f"{folder}/text/{name}", "wt").write(text)
    else:
        open(f"{folder}/text/{name}", "w").write(text)
stories = [story(8) for _ in range(60)]
write("tinystories-sample.txt", stories)
open(f"{folder}/heldout.txt", "w").write(stories[-4][200:] + "\n\n" + "\n\n".join(stories[-3:]) + "\n")
write("storybooks-ccby.txt", [story(9) for _ in range(40)])
write("children-books.txt.xz", ["CHAPTER I\n\n" + story(12) + "\n\n" + story(12) for _ in range(40)])
write("classic-fiction.txt.xz", [story(20) for _ in range(30)])
END

demo() {
    run "$1" bash "$ROOT/models/make_demo.sh" "$WORK/data" --quick --tern "$TERN" --heldout "$WORK/data/heldout.txt" \
        --work "$WORK/demo" --threads 1 "${@:2}"
}
export PYTHONDONTWRITEBYTECODE=1
demo "up to the first training" --until shards
is "$status" 0
[ ! -e "$WORK/demo/run" ] || fail "--until shards has trained"
demo "all of it" --twin
is "$status" 0
[ "$status" = 0 ] || tail -n 5 "$WORK/err"
cd "$WORK/demo" || exit 1
for file in run/model.gguf run-sft/model.gguf run-dpo/model.gguf demo.gguf report/samples.txt report/check.txt report/twin.jsonl; do
    [ -s "$file" ] || fail "$file is not there"
done

# two stages, in which each has its own texts, and the weight decay of the first ends
is "$(wc -l <report/pretrain.jsonl)" 16
is "$(grep -c '"weight_decay": 0\.1[,0]' report/pretrain.jsonl)" 11
is "$(grep -c '"weight_decay": 0[,}]' report/pretrain.jsonl)" 5
is "$(wc -l <report/sft.jsonl)" 4
is "$(wc -l <report/dpo.jsonl)" 4
has "$(cat report/dpo.jsonl)" '"accuracy"'
has "$(tail -n 1 report/check.txt)" "0 texts share 60 characters"
for model in run-model.gguf run-sft-model.gguf demo.gguf; do
    for context in 256 512; do
        has "$(cat "report/heldout-$model-c$context.json")" '"bits_per_byte"'
    done
done
for words in common all held-out; do
    has "$(cat report/ask-$words-demo.gguf.json)" '"requests": 2'
done
has "$(cat report/talk-demo.gguf.json)" '"questions": 60'
has "$(cat report/samples.txt)" "> Tell me a story about a shy fox and a red kite."
if command -v gnuplot >/dev/null; then
    has "$(head -c 200 report/loss.svg)" "<svg"
else
    echo "skipped: gnuplot is not there, no plot"
fi
run "the model" "$TERN" inspect demo.gguf
has "$out" "tern-demo"
has "$out" "TQ1_0"

# made again: nothing is computed
before=$(cksum <demo.gguf)
cd "$ROOT" || exit 1
demo "again" --twin
is "$status" 0
hasnt "$err" ": python3 "
has "$err" "pretrain: is there"
is "$(cksum <"$WORK/demo/demo.gguf")" "$before"
# from the last saved state of a training that did not end, and what comes after it: the same model
rm "$WORK/demo/pretrain.done" "$WORK/demo/run/model.gguf"
mv "$WORK/demo/run/state.prev.tern" "$WORK/demo/run/state.tern"
demo "a training that goes on"
is "$status" 0
has "$err" "step 16/16"
hasnt "$err" "step 8/16"
is "$(cksum <"$WORK/demo/demo.gguf")" "$before"
finish
