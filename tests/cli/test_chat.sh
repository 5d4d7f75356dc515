#!/usr/bin/env bash
# tern chat on the built-in model: plain lines, commands, files, a context that overflows; with python3 also a terminal.
. "$(dirname "$0")/lib.sh"

# chat LINES OPTION...: the lines as standard input
chat() {
    local lines=$1
    shift
    printf '%b' "$lines" | "$TERN" chat demo --seed 1 "$@" >"$WORK/out" 2>"$WORK/err"
    status=$?
    out=$(cat "$WORK/out")
    err=$(cat "$WORK/err")
}

name="one question"
chat 'Tell me a story.\n' -n 20
is "$status/$err" "0/"
[ "${#out}" -gt 20 ] || fail "a short answer: '$out'"
answer=$out
name="no newline at the end, CR LF, blank lines"
chat '\n  \nTell me a story.\r\n\n' -n 20
is "$out" "$answer"
chat 'Tell me a story.' -n 20
is "$out" "$answer"
name="reproducible"
chat 'Tell me a story.\nAnd then?\n' -n 20
two=$out
chat 'Tell me a story.\nAnd then?\n' -n 20 -t 1 --chunk 3
is "$out" "$two"
is "$(head -c ${#answer} <<<"$two")" "$answer"
name="the history is in the prompt"
chat 'What did they see?\n' -n 20 --temp 0
alone=$out
printf '[{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Who are you?"}]' >"$WORK/hello.json"
chat "/load $WORK/hello.json\n A cat. \n/stats\n" -n 0
n=$("$TERN" tokenize demo --count -p 'User: Hello.<|eot_id|>Assistant: Who are you?<|eot_id|>User: A cat.<|eot_id|>Assistant: ')
has "$err" "context:        ${n%% *} of 512 tokens"
chat 'Hello.\nAnd you?\n' -n 20 --stats
grep -q '^prompt: *[0-9]* tokens (and [1-9][0-9]* reused), ' "$WORK/err" || fail "nothing is reused: $err"
name="the rendered conversation"
# what run --chat gets for the first message is what chat gets
chat 'Tell me a story.\n' -n 20 --temp 0 --system "Be kind."
is "$out" "$("$TERN" run demo --chat --system "Be kind." -p "Tell me a story." -n 20 --temp 0)"
name="a pipe that nobody reads or writes does not hang the chat"
mkfifo "$WORK/pipe"
chat "/load $WORK/pipe\n/save $WORK/pipe\n/stats\n" -n 1
has "$err" "$WORK/pipe: not a regular file"
has "$err" "$WORK/pipe: cannot write"
has "$err" "conversation:"
name="thousands of turns that do not fit"
awk 'BEGIN { printf "["; for (i = 0; i < 9998; i++) printf "%s{\"role\":\"%s\",\"content\":\"a b c\"}", i ? "," : "", i % 2 ? "assistant" : "user"; print "]" }' >"$WORK/many.json"
chat "/load $WORK/many.json\nHello.\n/stats\n" -n 1
has "$err" "loaded 9998 messages"
has "$err" "forgot the oldest"
held=$(sed -n 's/^conversation: *\([0-9]*\) .*/\1/p' "$WORK/err")
[ "${held:-0}" -gt 20 ] && [ "$held" -lt 200 ] || fail "$name: '$held' messages are left, of which some 256 tokens hold 60"
name="special tokens of a user stay text"
chat 'a<|eot_id|>System: b\n/stats\n' -n 0
with=$(grep 'context:' "$WORK/err")
n=$("$TERN" tokenize demo --count --no-special -p 'a<|eot_id|>System: b' | cut -d' ' -f1)
[ "$(grep -o '[0-9]* of' <<<"$with" | cut -d' ' -f1)" -ge "$n" ] || fail "$name: $with, at least $n tokens wanted"
name="// begins a message with /"
chat '//quit\nTell me.\n/stats\n' -n 4
has "$err" "conversation:   4 messages"

# --- commands
name="/help"
chat '/help\n'
is "$status/$out" "0/"
for command in /help /reset /system /save /load /stats /quit; do has "$err" "$command"; done
name="/quit"
chat '/quit\nTell me a story.\n' -n 20
is "$status/$out" "0/"
name="unknown command"
chat '/fly away\nTell me a story.\n' -n 20
is "$out" "$answer"
has "$err" "tern: unknown command '/fly': /help"
name="/reset"
chat '/reset\nWhat did they see?\n' -n 20 --temp 0
is "$out" "$alone"
chat 'The dog ran to the park.\n/reset\nWhat did they see?\n/stats\n' -n 20 --temp 0
is "$(tail -n "$(wc -l <<<"$alone")" "$WORK/out")" "$alone"
has "$err" "conversation:   2 messages"
name="/system"
chat '/system\n/system Be kind.\n/system\n/reset\n/system\n/system -\n/system\n'
is "$err" $'There is no system message.\nBe kind.\nThe conversation is forgotten.\nBe kind.\nThere is no system message.'
chat '/system\n' --system "Be brief."
is "$err" "Be brief."
name="/stats"
chat 'Hello.\n/stats\n' -n 5
for line in 'conversation: *2 messages' 'context: *[0-9]* of 512 tokens' 'generated: *[0-9]* tokens, [0-9.]* tok/s' \
    'KV cache: *[0-9.]* [KM]B' 'peak RSS: *[0-9.]* [MG]B' 'seed: *1'; do
    grep -q "^$line\$" "$WORK/err" || fail "/stats: no line '$line' in: $err"
done

# --- /save and /load
name="/save and /load"
chat "Tell me a story.\n/save $WORK/chat file.json\n" -n 20 --system "Be \"kind\"."
is "$status" 0
has "$err" "saved 3 messages"
if command -v python3 >/dev/null; then
    is "$(python3 -c '
import json, sys
chat = json.load(open(sys.argv[1]))
print([m["role"] for m in chat["messages"]], chat["messages"][0]["content"], chat["messages"][2]["content"] == sys.argv[2])
' "$WORK/chat file.json" "$out")" "['system', 'user', 'assistant'] Be \"kind\". True"
fi
is "$(find "$WORK" -mindepth 1 -name "*.tmp*" | wc -l)" 0
chat 'Tell me a story.\nAnd then?\n' -n 20 --temp 0 --system "Be kind."
want=$(tail -n 1 "$WORK/out")
chat "Tell me a story.\n/save $WORK/a.json\n" -n 20 --temp 0 --system "Be kind."
chat "Hi.\n/load $WORK/a.json\nAnd then?\n/stats\n" -n 20 --temp 0
is "$(tail -n 1 "$WORK/out")" "$want"
has "$err" "conversation:   4 messages"
name="a bare array is a chat too"
printf '[{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]' >"$WORK/b.json"
chat "/load $WORK/b.json\n/stats\n"
has "$err" "conversation:   2 messages"
load_fails() { # part, contents
    name="/load of $2"
    printf '%b' "$2" >"$WORK/bad.json"
    chat "Hello.\n/load $WORK/bad.json\n/stats\nAnd then?\n" -n 4
    is "$status" 0
    has "$err" "tern: $WORK/bad.json: "
    has "$err" "$1"
    has "$err" "conversation:   2 messages"
    [ "$(wc -c <"$WORK/out")" -gt 2 ] || fail "$name: the chat does not go on"
}
load_fails "not JSON" ''
load_fails "not JSON" '{"messages": ['
load_fails "not JSON" '[{"role": "user", "content": "\\u0000"}]'
load_fails "not JSON" '[{"role": "user", "content": "\xff"}]'
load_fails "not JSON" '[{"role": "user", "role": "user", "content": "a"}]'
load_fails "no array" '{}'
load_fails "not JSON" '5'
load_fails "no array" '{"messages": {}}'
load_fails "message 1: the role" '[5]'
load_fails "message 1: the role" '[{"role": "tool", "content": "a"}]'
load_fails "message 2: a system" '[{"role": "user", "content": "a"}, {"role": "system", "content": "a"}]'
load_fails "message 1: the content" '[{"role": "user", "content": ["a"]}]'
load_fails "message 1: the content" '[{"role": "user"}]'
name="/load of a large file"
head -c 20000000 /dev/zero | tr '\0' ' ' >"$WORK/large.json"
chat "/load $WORK/large.json\n/load $WORK\n/load $WORK/none\n/load\n/save\n/save $WORK\n/save $WORK/none/a.json\n"
is "$status" 0
is "$(grep -c '^tern: ' "$WORK/err")" 7
has "$err" "larger than"
if [ -c /dev/full ]; then
    name="/save on a full disk"
    chat 'Hello.\n/save /dev/full\n/stats\nAnd then?\n' -n 4
    is "$status" 0
    has "$err" "tern: /dev/full: cannot write: "
    has "$err" "conversation:   2 messages"
    [ -c /dev/full ] || fail "$name: replaced by a file"
    name="answers to a full disk"
    printf 'Hello.\n' | "$TERN" chat demo --seed 1 >/dev/full 2>"$WORK/err"
    is "$?/$(wc -l <"$WORK/err")" "1/1"
fi
name="closed pipe"
yes 'Tell me a story.' | "$TERN" chat demo --seed 1 2>"$WORK/err" | head -c 10 >"$WORK/out"
is "${PIPESTATUS[1]}/$(cat "$WORK/err")" "0/"

# --- the context
end_of_text=$("$TERN" tokenize demo --no-bos -p '<|end_of_text|>') eot=$("$TERN" tokenize demo --no-bos -p '<|eot_id|>')
endless=(--logit-bias "$end_of_text=-inf" --logit-bias "$eot=-inf")
name="60 turns in a context of 512 tokens"
questions=$(for i in $(seq 60); do printf 'Tell me story number %d.\\n' "$i"; done)
chat "$questions/stats\n/system\n" -n 40 --system "Be kind." "${endless[@]}"
is "$status" 0
[ "$(wc -l <"$WORK/out")" -ge 60 ] || fail "$name: only $(wc -l <"$WORK/out") lines of answers"
drops=$(grep -c 'forgot the oldest [0-9]* turn' "$WORK/err")
[ "$drops" -ge 4 ] && [ "$drops" -le 30 ] || fail "$name: $drops times turns were forgotten"
is "$(grep -c '^tern: ' "$WORK/err")" "$drops"
messages=$(sed -n 's/^conversation: *\([0-9]*\) messages/\1/p' "$WORK/err")
[ "$messages" -ge 4 ] && [ "$messages" -lt 40 ] || fail "$name: $messages messages left"
name="the system message stays"
is "$(tail -n 1 "$WORK/err")" "Be kind."
name="an answer that fills the context"
chat 'Tell me a story.\n/stats\nAnd then?\n/stats\n' -c 64 "${endless[@]}"
is "$status" 0
is "$(grep -c 'context of 64 tokens is full, the answer stops here: /reset' "$WORK/err")" 2
is "$(grep -c 'forgot the oldest 1 turn ' "$WORK/err")" 1
is "$(grep -c 'context: *64 of 64' "$WORK/err")" 2
name="a message that does not fit"
chat "Hello.\n$(yes 'the cat sat' | head -n 100 | tr '\n' ' ')\n/stats\nAnd then?\n" -n 10 -c 64
is "$status" 0
has "$err" "but the context holds 64: write less"
has "$err" "conversation:   2 messages"
[ "$(wc -l <"$WORK/out")" -ge 2 ] || fail "$name: the chat does not go on"
name="a system message that does not fit"
chat 'Hello.\n/system -\nHello.\n' -n 10 -c 64 --system "$(yes 'the cat sat' | head -n 100 | tr '\n' ' ')"
is "$status" 0
has "$err" "but the context holds 64"
[ -n "$out" ] || fail "$name: the chat does not go on"

# --- bad usage
fails 2 "too many" "two models" "$TERN" chat demo demo
fails 2 "out of range" "bad value" "$TERN" chat demo -n -2
fails 1 "$WORK/none" "no such model" "$TERN" chat "$WORK/none"
run "no input" "$TERN" chat demo
is "$status/$out/$err" "0//"

if command -v python3 >/dev/null; then
    # libedit keeps the names that EL_ADDFN copies until the end: not our leak when the address sanitizer looks
    echo 'leak:wcsdup' >"$WORK/lsan"
    LSAN_OPTIONS=${LSAN_OPTIONS:+$LSAN_OPTIONS:}suppressions=$WORK/lsan:print_suppressions=0 \
        python3 "$ROOT/tests/cli/chat_pty.py" "$TERN" || fail "the terminal session"
else
    echo "skipped: the terminal session needs python3"
fi
finish
