#!/usr/bin/env bash
# The include check finds what it is there to find: each of these sins in a scratch tree must be reported.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tree() { # tree ROOM LINE: a tree whose room holds one file with that line
    rm -rf "$scratch/src"
    mkdir -p "$scratch/src/$1"
    printf '%s\n' "$2" >"$scratch/src/$1/file.c"
}
must_pass() {
    tree "$1" "$2"
    bash "$here/check_includes.sh" "$scratch/src" >/dev/null || { echo "refused, but allowed: $1: $2"; exit 1; }
}
must_fail() {
    tree "$1" "$2"
    if bash "$here/check_includes.sh" "$scratch/src" >/dev/null; then
        echo "passed, but forbidden: $1: $2"
        exit 1
    fi
}
must_pass format '#include "base/str.h"'
must_pass model '#include "kernels/kernels.h"'
must_pass tokenizer '#include <pcre2.h>'
must_fail base '#include "format/tensor.h"'
must_fail kernels '#  include "model/dims.h"'
must_fail format '#include "tokenizer/tokenizer.h"'
must_fail runtime '#include "format/checkpoint.h"'
must_fail cli '#include "runtime/backend.h"'
must_fail base '#include "../model/demo.h"'
must_fail runtime '#include <jansson.h>'
must_fail unknown '#include <stdio.h>'
echo "the include check can fail"
