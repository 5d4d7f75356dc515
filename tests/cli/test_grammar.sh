#!/usr/bin/env bash
# tern run and tern chat under a grammar or a JSON schema.
. "$(dirname "$0")/lib.sh"

cat >"$WORK/list.gbnf" <<'END'
root ::= ("- " [a-z ]{3,20} "\n"){3}
END
cat >"$WORK/schema.json" <<'END'
{"type": "object", "required": ["name", "age"],
 "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 1, "maximum": 9}}}
END

run "a grammar" "$TERN" run demo -p "Once upon a time" --grammar "$WORK/list.gbnf" --seed 1
is "$status" 0
is "$(grep -cE '^- [a-z ]{3,20}$' <<<"$out")" 3
is "$(wc -l <<<"$out")" 3

for settings in "--temp 0" "--temp 1 --top-k 0 --top-p 1 --min-p 0" ""; do
    # shellcheck disable=SC2086
    run "a schema, $settings" "$TERN" run demo -p "Once upon a time" --json-schema "$WORK/schema.json" --seed 1 $settings
    is "$status" 0
    python3 -c '
import json, sys
value = json.loads(sys.argv[1])
assert list(value) == ["name", "age"] and len(value["name"]) <= 10 and 1 <= value["age"] <= 9' "$out" || fail "$name: $out"
done

name="chat under a schema"
out=$(printf 'Hello!\nAnd now?\n' | "$TERN" chat demo --json-schema "$WORK/schema.json" --seed 1 2>/dev/null)
python3 -c '
import json, sys
text, decoder, names = sys.argv[1].strip(), json.JSONDecoder(), []
while text:
    value, end = decoder.raw_decode(text)
    names.append(value["name"])
    text = text[end:].strip()
assert len(names) == 2' "$out" || fail "$name: $out"

run "both" "$TERN" run demo -p x --grammar "$WORK/list.gbnf" --json-schema "$WORK/schema.json"
is "$status" 2
printf 'root ::= "a"\nroot ::= b\n' >"$WORK/bad.gbnf"
run "a wrong grammar" "$TERN" run demo -p x --grammar "$WORK/bad.gbnf"
is "$status" 1
has "$err" "bad.gbnf: grammar: line 2"
printf '{"not": {}}' >"$WORK/bad.json"
run "a schema that is not known" "$TERN" chat demo --json-schema "$WORK/bad.json"
is "$status" 1
has "$err" 'bad.json: schema: #: the keyword "not" is not known'
run "no file" "$TERN" run demo -p x --grammar "$WORK/none"
is "$status" 1
has "$err" "none"
finish
