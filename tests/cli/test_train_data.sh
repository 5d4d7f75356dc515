#!/usr/bin/env bash
# tern train tokenizer and tern train data: files that are the same for any number of threads, what they say, and what
# they refuse; the tokenizer against Hugging Face's library where that is installed.
. "$(dirname "$0")/lib.sh"

cat "$ROOT"/docs/*.md "$ROOT"/src/tokenizer/*.c | sed "s/<|endoftext|>//g" >"$WORK/all.txt"
split -l 40 "$WORK/all.txt" "$WORK/part."
for part in "$WORK"/part.*; do
    cat "$part"
    echo "<|endoftext|>"
done >"$WORK/text.txt"
n_documents=$(ls "$WORK"/part.* | wc -l)
size=1000

# --- the tokenizer
run "a tokenizer" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size "$size" -o "$WORK/tokenizer.json"
is "$status" 0
is "$err" ""
has "$out" "tokenizer.json: 1000 tokens: 256 bytes, 741 merged, 3 special"
has "$out" "counted "
"$TERN" train tokenizer "$WORK/text.txt" --vocab-size "$size" -t 3 -o "$WORK/three.json" >/dev/null
cmp -s "$WORK/tokenizer.json" "$WORK/three.json" || fail "three threads make another tokenizer"
run "special tokens" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 --special "<|fox|>" --special "<|bear|>" -o "$WORK/special.json"
is "$("$TERN" tokenize "$WORK/special.json" -p "<|fox|><|bear|><|eot_id|>")" "295 298 299 297"
name="the marker is not learnt"
hasnt "$(cat "$WORK/tokenizer.json")" "endoftext"
name="round trip"
"$TERN" tokenize "$WORK/tokenizer.json" -f "$WORK/all.txt" --no-bos | "$TERN" tokenize "$WORK/tokenizer.json" --decode --no-bos >"$WORK/back"
cmp -s "$WORK/all.txt" "$WORK/back" || fail "text is not the same after tokenising"
run "a sample" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 --max-bytes 1 -o "$WORK/sample.json"
is "$status" 0

fails 2 "-o FILE" "no output" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300
fails 2 "--output: '' is no name" "an empty output" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 -o ""
fails 2 "--tokenizer: '' is no name" "an empty tokenizer" "$TERN" train data "$WORK/text.txt" -o "$WORK/no.shard" --tokenizer ""
fails 2 "--vocab-size" "no size" "$TERN" train tokenizer "$WORK/text.txt" -o "$WORK/no.json"
fails 2 "too few" "no text" "$TERN" train tokenizer --vocab-size 300 -o "$WORK/no.json"
fails 1 "too small" "too small" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 258 -o "$WORK/no.json"
echo "some words" >"$WORK/short.txt"
# what cannot be written is told before the texts are looked at, and an input is never the output, by whatever name
ln -s text.txt "$WORK/link.txt"
text_before=$(cksum <"$WORK/text.txt")
fails 1 "$WORK: cannot write: Is a directory" "a folder as the output" "$TERN" train tokenizer "$WORK/none.txt" --vocab-size 300 -o "$WORK"
fails 1 "text.txt: is input and output at once" "tokenizer onto its text" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 -o "$WORK/text.txt"
for other in "text.txt" "link.txt" "../${WORK##*/}/text.txt"; do
    fails 1 "is input and output at once" "shard onto its text" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/$other"
    for kind in --held-out-file --exclude; do
        fails 1 "is input and output at once" "shard onto $kind" "$TERN" train data "$WORK/short.txt" --tokenizer "$WORK/tokenizer.json" $kind "$WORK/text.txt" -o "$WORK/$other"
    done
done
cp "$WORK/tokenizer.json" "$WORK/copy.json"
fails 1 "is input and output at once" "shard onto the tokenizer" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/copy.json" -o "$WORK/copy.json"
cmp -s "$WORK/copy.json" "$WORK/tokenizer.json" || fail "the tokenizer is gone"
name="inputs" && is "$(cksum <"$WORK/text.txt")" "$text_before"
fails 1 "a vocabulary of at most" "too large" "$TERN" train tokenizer "$WORK/short.txt" --vocab-size 5000 -o "$WORK/no.json"
fails 1 "none.txt" "no such text" "$TERN" train tokenizer "$WORK/none.txt" --vocab-size 300 -o "$WORK/no.json"
fails 1 "/nowhere/no.json" "no such folder" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 -o /nowhere/no.json
gzip -c "$WORK/text.txt" >"$WORK/text.txt.gz"
fails 1 "gzip -dc" "compressed" "$TERN" train tokenizer "$WORK/text.txt.gz" --vocab-size 300 -o "$WORK/no.json"
[ ! -e "$WORK/no.json" ] || fail "a failed command left a tokenizer behind"

# --- text
run "a shard" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/a.shard" -t 1 --held-out 0.2
is "$status" 0
is "$err" ""
has "$out" "vocabulary of 1000"
trained=$(sed -n 's/^training: \([0-9]*\) documents.*bytes a token$/\1/p' <<<"$out")
held=$(sed -n 's/^held out: \([0-9]*\) documents.*/\1/p' <<<"$out")
is "$((trained + held))" "$n_documents"
[ "$held" -gt 0 ] || fail "nothing was held out"
"$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/b.shard" -t 3 --held-out 0.2 >/dev/null
cmp -s "$WORK/a.shard" "$WORK/b.shard" || fail "three threads make another shard"
run "a held-out file" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/b.shard" --held-out-file "$WORK/part.aa" --split-on ''
has "$out" "held out: 1 documents"
has "$out" "dropped:  1 of 1 read"
has "$err" "holds no training documents"
run "a separator" "$TERN" train data "$WORK/all.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/b.shard" --split-on '\n\n' --held-out 0
is "$status" 0
has "$out" "held out: 0 documents"

# --- conversations and pairs
printf '%s\n' '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}' \
    '{"prompt": "Who?", "completion": "Me"}' '{"messages": [{"role": "user", "content": "Hm"}]}' >"$WORK/chat.jsonl"
run "chat" "$TERN" train data "$WORK/chat.jsonl" --kind chat --tokenizer "$WORK/tokenizer.json" -o "$WORK/c.shard" --held-out 0
is "$status" 0
has "$out" "training: 2 conversations"
has "$out" "dropped:  1 of 3 read, which hold no answer"
echo '{"prompt": "Who?", "chosen": "Me", "rejected": "You"}' >"$WORK/pairs.jsonl"
run "pairs" "$TERN" train data "$WORK/pairs.jsonl" --kind pairs --tokenizer "$WORK/tokenizer.json" -o "$WORK/p.shard" --held-out 0
has "$out" "training: 2 answers"
fails 1 "chat.jsonl: line 1: no \"chosen\"" "chat as pairs" "$TERN" train data "$WORK/chat.jsonl" --kind pairs --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard"
fails 1 "line 1: not JSON" "text as chat" "$TERN" train data "$WORK/all.txt" --kind chat --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard"

# --- what is refused
fails 2 "--tokenizer" "no tokenizer" "$TERN" train data "$WORK/text.txt" -o "$WORK/no.shard"
fails 2 "-o SHARD" "no output" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json"
fails 2 "--split-on" "a bad escape" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard" --split-on '\q'
fails 2 "out of range" "held out more than all" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard" --held-out 1.5
fails 2 "text, chat, pairs" "unknown kind" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard" --kind songs
fails 1 "none.json" "no such tokenizer" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/none.json" -o "$WORK/no.shard"
fails 1 "none.txt" "no such exclusion" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard" --exclude "$WORK/none.txt"
fails 1 "gzip" "compressed" "$TERN" train data "$WORK/text.txt.gz" --tokenizer "$WORK/tokenizer.json" -o "$WORK/no.shard"
[ ! -e "$WORK/no.shard" ] || fail "a failed command left a shard behind"
if [ -c /dev/full ]; then
    fails 1 "/dev/full: cannot write: No space left" "full disk, for a tokenizer" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 -o /dev/full
    fails 1 "/dev/full: cannot write: No space left" "full disk" "$TERN" train data "$WORK/text.txt" --tokenizer "$WORK/tokenizer.json" -o /dev/full
fi

# --- special tokens that would make a file which nobody loads
fails 1 "is no UTF-8" "a special token of any bytes" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 300 --special "$(printf 'a\377')" -o "$WORK/no.json"
for token in a "Ġ" "Ġt"; do # a byte, a blank's character, a pair that is merged
    fails 1 "special token $token: the vocabulary has such a token" "a special token that is one" "$TERN" train tokenizer "$WORK/text.txt" --vocab-size 400 --special "$token" -o "$WORK/no.json"
done
[ ! -e "$WORK/no.json" ] || fail "a failed command left a tokenizer behind"

# --- JSON lines that begin with a byte order mark
printf '\357\273\277{"text": "so many words"}\r\n{"text": "and more words"}\r\n' >"$WORK/bom.jsonl"
run "a byte order mark" "$TERN" train data "$WORK/bom.jsonl" --tokenizer "$WORK/tokenizer.json" -o "$WORK/bom.shard" --held-out 0
is "$status" 0
has "$out" "training: 2 documents"

# --- memory that does not suffice for a long line is told, at whatever place it ends
if bash -c "ulimit -v 500000 && '$TERN' --version" >/dev/null 2>&1; then # not under a sanitizer
    python3 -c 'print("{\"text\": \"" + "many words " * 400000 + "\"}")' >"$WORK/long.jsonl"
    enough=0
    for limit in 25000 29000 33000 37000 41000 50000 60000 70000 80000 200000; do
        run "a long line in $limit KB" bash -c "ulimit -v $limit; exec '$TERN' train data '$WORK/long.jsonl' -t 1 --tokenizer '$WORK/tokenizer.json' -o '$WORK/long.shard'"
        case $status in
        0) enough=$((enough + 1)) ;;
        1) has "$err" "memory" ;;
        *) fail "$name: status $status" ;;
        esac
    done
    [ $enough -gt 0 ] || fail "no limit is enough for a long line"
fi

# --- the demo's benchmark text is kept out of its training text, where both are at hand
shared=$ROOT/../shared
if [ -f "$shared/reference/story/heldout.txt" ] && [ -f "$shared/data/text/tinystories-sample.txt" ]; then
    run "the held-out stories" "$TERN" train data "$shared/data/text/tinystories-sample.txt" --tokenizer "$WORK/tokenizer.json" -o "$WORK/d.shard" --held-out-file "$shared/reference/story/heldout.txt"
    dropped=$(sed -n 's/^dropped:  \([0-9]*\) of .*/\1/p' <<<"$out")
    [ "$dropped" -ge 70 ] || fail "only $dropped documents share text with the held-out one"
else
    echo "skipped: ../shared's stories are not there"
fi

# --- Hugging Face's tokenizers: the same merges from the same text, the same ids for any text
python=
for candidate in "${PYTHON:-python3}" python3; do
    "$candidate" -c 'import tokenizers' 2>/dev/null && python=$candidate && break
done
if [ -n "$python" ]; then
    name="Hugging Face" err=
    "$python" - "$TERN" "$WORK" >"$WORK/hf" 2>&1 <<'END' || fail "Hugging Face: $(cat "$WORK/hf")"
import json, random, subprocess, sys
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

tern, work = sys.argv[1:]
ours = json.load(open(work + "/tokenizer.json"))
pattern = ours["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
theirs = Tokenizer(models.BPE())
theirs.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(pattern), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
trainer = trainers.BpeTrainer(vocab_size=997, min_frequency=2, show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
text = open(work + "/text.txt", encoding="utf-8").read()
theirs.train_from_iterator(text.split("<|endoftext|>"), trainer)
trained = json.loads(theirs.to_str())["model"]
pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in trained["merges"]]
assert pairs == [tuple(m.split(" ")) for m in ours["model"]["merges"]], "other merges"
assert trained["vocab"] == ours["model"]["vocab"], "other ids"

random.seed(1)
loaded = Tokenizer.from_file(work + "/tokenizer.json")
words = text.split()
pieces = ["<|eot_id|>", "<|begin_of_text|>", "\n\n", "  ", " ", "\t", "é", "漢字", "🙂", "'s", "'LL", "1234567", "…", "\u00a0"]
lines = []
for i in range(400):
    parts = [random.choice(words) if random.random() < 0.6 else random.choice(pieces) if random.random() < 0.8
             else chr(random.choice([random.randrange(32, 0x250), random.randrange(0x2000, 0x3100),
                                     random.randrange(0x1f300, 0x1f700)])) for _ in range(random.randrange(1, 40))]
    lines.append(random.choice(["", " "]).join(parts))
with open(work + "/lines.jsonl", "w") as file:
    for line in lines:
        file.write(json.dumps({"kind": "special", "text": line}) + "\n")
mine = subprocess.run([tern, "tokenize", work + "/tokenizer.json", "--jsonl", work + "/lines.jsonl"],
                      capture_output=True, text=True, check=True).stdout.splitlines()
for line, ids in zip(lines, mine):
    wanted = loaded.encode(line, add_special_tokens=False).ids
    assert json.loads(ids) == wanted, (line, ids, wanted)
    kept = loaded.decode(wanted, skip_special_tokens=False)
    assert kept == line, (line, kept)
assert len(mine) == 400
assert loaded.encode("hello").ids[0] == 997
END
else
    echo "skipped: Hugging Face's tokenizers (Python) are not installed"
fi
finish
