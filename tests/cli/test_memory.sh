#!/usr/bin/env bash
# --pin, --numa, --huge-pages, --mlock, --warm-up: the same text with each, or one line that says what to do.
. "$(dirname "$0")/lib.sh"

story() { run "story $*" "$TERN" run demo -p "Once upon a time" -n 20 --temp 0 -t 2 "$@"; }

story
is "$status" 0
plain=$out
[ -n "$plain" ] || fail "no text"

for option in --warm-up --pin; do
    story $option
    is "$status" 0
    is "$out" "$plain"
    is "$err" ""
done

nodes=$(ls -d /sys/devices/system/node/node[0-9]* 2>/dev/null | wc -l)
for place in interleave local; do
    story --numa $place
    is "$status" 0
    is "$out" "$plain"
    [ "$nodes" -gt 1 ] || has "$err" "one memory node"
done
story --numa none
is "$out" "$plain"
is "$err" ""
fails 2 "none, interleave, local" "--numa nonsense" "$TERN" run demo -p x --numa nonsense

# not everywhere possible: then what is missing stands in the message
story --huge-pages
if [ "$status" = 0 ]; then
    is "$out" "$plain"
else
    is "$status" 1
    has "$err" "huge page"
    [ "$(uname)" != Linux ] || has "$err" "sysctl vm.nr_hugepages="
fi
story --mlock
if [ "$status" = 0 ]; then
    is "$out" "$plain"
else
    is "$status" 1
    has "$err" "ulimit -l"
fi

run "bench" "$TERN" bench demo -p 8 -n 8 -r 1 -t 2 --pin --warm-up --json
is "$status" 0
has "$out" '"threads": 2'
finish
