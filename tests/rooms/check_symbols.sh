#!/usr/bin/env bash
# check_symbols.sh FILE...: no two functions or variables of the command have the same name. A linker takes the first
# one of archives without a word, and the other one's callers call it, too.
set -euo pipefail
names=$(nm --defined-only "$@" 2>/dev/null | awk '$2 ~ /^[TDRB]$/ && $3 ~ /^tern_/ { print $3 }' | sort)
if [ "$(wc -l <<<"$names")" -lt 100 ]; then
    echo "no names found in $# files"
    exit 1
fi
twice=$(uniq -d <<<"$names")
if [ -n "$twice" ]; then
    echo "defined more than once:"
    echo "$twice"
    exit 1
fi
echo "$(wc -l <<<"$names") names, each defined once"
