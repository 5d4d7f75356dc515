#!/usr/bin/env bash
# tern tokenize on the built-in model's tokenizer (and on ../shared's where it is).
. "$(dirname "$0")/lib.sh"

ids=$("$TERN" tokenize demo -p "Once upon a time")
name="plain" err=
is "$(grep -c '^[0-9]\+\( [0-9]\+\)*$' <<<"$ids")" 1
name="from a file, standard input, the GGUF file, the model that is built in"
printf 'Once upon a time' >"$WORK/text"
is "$("$TERN" tokenize demo -f "$WORK/text")" "$ids"
is "$("$TERN" tokenize demo -f - <"$WORK/text")" "$ids"
is "$("$TERN" tokenize demo - <"$WORK/text")" "$ids"
is "$("$TERN" tokenize demo <"$WORK/text")" "$ids"
is "$("$TERN" tokenize <"$WORK/text")" "$ids"
is "$("$TERN" tokenize "$ROOT/models/demo.gguf" -p "Once upon a time")" "$ids"
name="--json"
is "$("$TERN" tokenize demo -p "Once upon a time" --json)" "[${ids// /, }]"
name="--no-bos"
is "$("$TERN" tokenize demo -p "Once upon a time" --no-bos)" "${ids#* }"
bos=${ids%% *}
is "$("$TERN" tokenize demo -p "")" "$bos"
is "$("$TERN" tokenize demo -p "" --no-bos)" ""
is "$("$TERN" tokenize demo -p "" --no-bos --json)" "[]"
name="BOS once"
is "$("$TERN" tokenize demo -p "<|begin_of_text|>Once upon a time")" "$ids"
name="special tokens"
is "$("$TERN" tokenize demo --no-bos -p "<|eot_id|>" | wc -w)" 1
[ "$("$TERN" tokenize demo --no-bos --no-special -p "<|eot_id|>" | wc -w)" -gt 1 ] || fail "--no-special parses them"
name="--count"
n=$(wc -w <<<"$ids")
is "$("$TERN" tokenize demo -p "Once upon a time" --count)" "$n tokens, 16 bytes"
is "$("$TERN" tokenize demo -p "Once upon a time" --count --json)" "{\"tokens\": $n, \"bytes\": 16}"

# --- and back: the same bytes, whatever they are
back() { # options: the text of $WORK/in there and back
    "$TERN" tokenize demo -f "$WORK/in" "$@" >"$WORK/ids" && "$TERN" tokenize demo --decode -f "$WORK/ids" "$@" >"$WORK/back"
    cmp -s "$WORK/in" "$WORK/back" || fail "round trip with '$*' of: $(head -c 60 "$WORK/in" | od -c | head -n 3)"
}
for text in '' 'a' ' ' '\n' 'two\n\nlines \n' '<|begin_of_text|>Hi<|eot_id|>' 'na\xc3\xafve \xe2\x82\xac \xf0\x9f\x99\x82' \
    '\xff\xfe\x00\x01 \xc3' '\x00' '12345 67' 'tab\there'; do
    printf "$text" >"$WORK/in"
    back --no-bos
    back --no-bos --no-special
    # a text with a BOS of its own gets no second one, so with BOS it is no round trip
    case $text in '<|begin'*) continue ;; esac
    back
done
head -c 300000 /dev/urandom >"$WORK/in"
back --no-special
cat "$ROOT"/src/*.c "$ROOT"/README.md >"$WORK/in" 2>/dev/null
back --no-special
name="--decode reads a JSON array and commas"
is "$("$TERN" tokenize demo --decode -p "[${ids// /, }]")" "Once upon a time"
is "$("$TERN" tokenize demo --decode -p "${ids// /,}")" "Once upon a time"
is "$("$TERN" tokenize demo --decode --no-bos -p "$ids")" "<|begin_of_text|>Once upon a time"
is "$("$TERN" tokenize demo --decode -p "")" ""
fails 1 "token ids" "an id out of range" "$TERN" tokenize demo --decode -p "1 99999999"
fails 1 "token ids" "words for ids" "$TERN" tokenize demo --decode -p "one two"
fails 1 "token ids" "a negative id" "$TERN" tokenize demo --decode -p "-5"

# --- JSON lines
name="--jsonl"
cat >"$WORK/lines" <<'END'
{"kind": "text", "name": "plain", "text": "Once upon a time", "ids": []}
{"kind": "text", "text": "<|eot_id|>"}

{"kind": "special", "text": "<|eot_id|>"}
{"kind": "bytes", "hex": "4f6e636520"}
{"kind": "bytes", "hex": ""}
{"kind": "text", "text": "\u0000"}
{"kind": "chat", "messages": [{"role": "user", "content": " Hello! "}], "generation_prompt": true}
{"kind": "chat", "messages": [{"role": "user", "content": "Hello!"}], "generation_prompt": false}
END
json() { "$TERN" tokenize demo --json "$@"; }
{
    json --no-bos -p "Once upon a time"
    json --no-bos --no-special -p "<|eot_id|>"
    json --no-bos -p "<|eot_id|>"
    json --no-bos -p "Once "
    echo "[]"
    printf '\0' | json --no-bos -f -
    json -p "User: Hello!<|eot_id|>Assistant: "
    json -p "User: Hello!<|eot_id|>"
} >"$WORK/want"
is "$("$TERN" tokenize demo --jsonl "$WORK/lines")" "$(cat "$WORK/want")"
is "$("$TERN" tokenize demo --jsonl - <"$WORK/lines")" "$(cat "$WORK/want")"
line_fails() { # part, line
    printf '%s\n' '{"kind": "text", "text": "a"}' "$2" >"$WORK/bad"
    run "line $2" "$TERN" tokenize demo --jsonl "$WORK/bad"
    is "$status" 1
    is "$(wc -l <"$WORK/err")" 1
    has "$err" "bad: line 2: "
    has "$err" "$1"
}
line_fails "not JSON" '{"kind": "text"'
line_fails "kind" '{"kind": "song", "text": "a"}'
line_fails "kind" '[1]'
line_fails "text" '{"kind": "text", "text": 5}'
line_fails "text" '{"kind": "special"}'
line_fails "hex" '{"kind": "bytes", "hex": "abc"}'
line_fails "hex" '{"kind": "bytes", "hex": "zz"}'
line_fails "hex" '{"kind": "bytes"}'
line_fails "messages" '{"kind": "chat"}'
line_fails "strings" '{"kind": "chat", "messages": [{"role": "user"}]}'
fails 1 "$WORK/none" "no such lines" "$TERN" tokenize demo --jsonl "$WORK/none"
fails 1 "$WORK" "a folder" "$TERN" tokenize demo --jsonl "$WORK"

# --- bad usage
fails 2 "not both" "-p and -f" "$TERN" tokenize demo -p a -f "$WORK/text"
fails 2 "--jsonl" "--jsonl with -p" "$TERN" tokenize demo -p a --jsonl "$WORK/lines"
fails 2 "--decode" "--decode --count" "$TERN" tokenize demo --decode --count -p 1
fails 1 "none.model" "no such tokenizer" "$TERN" tokenize "$WORK/none.model" -p a
echo '{"model": 5}' >"$WORK/tokenizer.json"
fails 1 "tokenizer.json" "a bad tokenizer" "$TERN" tokenize "$WORK/tokenizer.json" -p a
if [ -c /dev/full ]; then
    name="full disk" err=
    "$TERN" tokenize demo -p a >/dev/full 2>"$WORK/err"
    is "$?/$(wc -l <"$WORK/err")" "1/1"
fi

# --- the Llama-3 vocabulary, where it is at hand
shared=$ROOT/../shared/tokenizer
if [ -f "$shared/tokenizer.model" ]; then
    name="golden lines" err=
    for kind in text special chat; do
        grep "^{\"kind\": \"$kind\"" "$shared/golden.jsonl" >"$WORK/lines"
        sed 's/.*"ids": \(\[[^]]*\]\).*/\1/' "$WORK/lines" >"$WORK/want"
        "$TERN" tokenize "$shared/tokenizer.model" --jsonl "$WORK/lines" >"$WORK/got" || fail "$kind lines: exit $?"
        [ -s "$WORK/want" ] || fail "no golden $kind lines"
        cmp -s "$WORK/got" "$WORK/want" || fail "golden $kind lines: $(diff "$WORK/got" "$WORK/want" | head -n 4)"
    done
else
    echo "skipped: ../shared/tokenizer is not there"
fi
finish
