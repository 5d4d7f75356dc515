#!/usr/bin/env bash
# check_upward_call.sh REPOSITORY BASE_ARCHIVE CC [FLAGS...]: a program that calls downward links with the base room
# alone; one that calls upward (base -> format) must not, and the linker must name the function.
set -euo pipefail
root=$1 base=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/down.c" <<'END'
#include "base/cpu.h"
int main(void) { return tern_cpu_count() < 1; }
END
cat >"$scratch/up.c" <<'END'
#include "format/checkpoint.h"
int main(void) {
    tern_checkpoint *checkpoint;
    return tern_checkpoint_open("x", &checkpoint, NULL) == TERN_OK;
}
END
link() { "$@" -std=c11 -D_GNU_SOURCE -I"$root/src" -I"$root/include" "$scratch/$name.c" "$base" -pthread -lm -o "$scratch/$name"; }
name=down
link "$@" || { echo "the control program does not link"; exit 1; }
"$scratch/down"
name=up
if link "$@" 2>"$scratch/log"; then
    echo "an upward call linked"
    exit 1
fi
grep -q tern_checkpoint_open "$scratch/log" || { cat "$scratch/log"; exit 1; }
echo "an upward call does not link"
