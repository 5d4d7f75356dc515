#!/usr/bin/env bash
# check_exports.sh HEADER STATIC SHARED: the static library defines no global symbol outside tern_*, and the shared one
# exports exactly the functions that the header declares.
set -euo pipefail
header=$1 static=$2 shared=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case $(uname) in
Darwin) dynamic="-gU" ;;
*) dynamic="-D --defined-only" ;;
esac
symbols() { awk 'NF == 3 && $2 ~ /^[A-Z]$/ { sub(/^_/, "", $3); print $3 }' | sort -u; }

# The shortest proof that this script can fail: a symbol of another name is found.
printf '0 T tern_x\n0 T other\n' | symbols | grep -qv '^tern_'

if nm -g --defined-only "$static" 2>/dev/null | symbols | grep -v '^tern_'; then
    echo "$static: these global symbols do not begin with tern_"
    exit 1
fi
# TERN_API ... tern_name( in the header; declarations may go over two lines
tr '\n' ' ' <"$header" | grep -oE 'TERN_API [^;(]*tern_[a-z0-9_]+\(' | grep -oE 'tern_[a-z0-9_]+\($' | tr -d '(' |
    sort -u >"$scratch/declared"
nm $dynamic "$shared" | symbols >"$scratch/exported"
test -s "$scratch/declared"
if ! diff "$scratch/declared" "$scratch/exported" >"$scratch/diff"; then
    echo "$shared: declared in tern.h (<) and exported (>) differ"
    cat "$scratch/diff"
    exit 1
fi
echo "$(wc -l <"$scratch/exported") functions exported, as declared"
