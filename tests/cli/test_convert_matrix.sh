#!/usr/bin/env bash
# Which conversions are lossless: docs/FORMAT.md says what was found, and that is found again.
. "$(dirname "$0")/lib.sh"

run "there and back again" python3 "$ROOT/tests/cli/convert_matrix.py" "$TERN"
is "$status" 0
is "$err" ""
grep '^|' "$WORK/out" >"$WORK/found"
[ "$(wc -l <"$WORK/found")" = 25 ] || fail "$name: not four tables"
sed -n '/^## There and back again/,/^## Memory/p' "$ROOT/docs/FORMAT.md" | grep '^|' >"$WORK/shown"
name="docs/FORMAT.md has the tables that tests/cli/convert_matrix.py prints"
is "$(cat "$WORK/shown")" "$(cat "$WORK/found")"
# what there is no way to, is refused by name
model=$WORK/tiny.gguf
"$TERN" synth "$model" --shape tiny --layers 1 --vocab 512 2>/dev/null || fail "synth"
for type in hf safetensors; do
    fails 2 "type '$type' is not one of tern, " "to $type" "$TERN" convert "$model" "$WORK/no" --type $type
done
fails 2 "no conversion has them" "to hf-master" "$TERN" convert "$model" "$WORK/no" --type hf-master
[ ! -e "$WORK/no" ] || fail "a refused conversion left something"

# sanitizers take memory of their own; elsewhere than on Linux dropped pages may still be counted
if [ "$(uname)" = Linux ] && ! grep -qa '__[at]san_init' "$TERN"; then
    run "memory" python3 "$ROOT/tests/cli/convert_matrix.py" "$TERN" --memory
    is "$status" 0
    is "$err" ""
fi
finish
