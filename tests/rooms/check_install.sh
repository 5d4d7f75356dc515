#!/usr/bin/env bash
# check_install.sh REPOSITORY BUILD CC: install into a scratch DESTDIR, then build and run the example against the
# installed package through pkg-config, shared and static, and see that all the parts are there.
set -euo pipefail
root=$1 build=$2 cc=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

DESTDIR=$scratch/root cmake --install "$build" --prefix /opt/tern >"$scratch/log" || { cat "$scratch/log"; exit 1; }
prefix=$scratch/root/opt/tern
for file in bin/tern include/tern/tern.h share/man/man1/tern.1 share/bash-completion/completions/tern \
    share/zsh/site-functions/_tern share/doc/tern/LICENSE; do
    [ -s "$prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done
for module in tern_mpi.so tern_curl.so; do
    if [ -e "$build/$module" ] && [ -z "$(find "$prefix" -path "*/tern/$module")" ]; then
        echo "not installed: $module"
        exit 1
    fi
done
pc=$(find "$prefix" -name tern.pc)
[ -n "$pc" ] || { echo "not installed: tern.pc"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir tern)

"$prefix/bin/tern" --version
"$cc" -std=c11 -Wall -Wextra -Werror $(pkg-config --cflags tern) "$root/examples/generate.c" -o "$scratch/shared" \
    $(pkg-config --libs tern)
LD_LIBRARY_PATH=$libdir DYLD_LIBRARY_PATH=$libdir "$scratch/shared" >"$scratch/shared.txt"
"$cc" -std=c11 $(pkg-config --cflags tern) "$root/examples/generate.c" -o "$scratch/static" "$libdir/libtern.a" \
    $(pkg-config --static --libs-only-l tern | sed 's/-ltern//') -pthread
"$scratch/static" >"$scratch/static.txt"
[ -s "$scratch/shared.txt" ]
cmp "$scratch/shared.txt" "$scratch/static.txt"

# The header also serves C++.
if command -v c++ >/dev/null; then
    echo '#include <tern/tern.h>
int main() { return tern_version()[0] == 0; }' >"$scratch/plus.cpp"
    c++ $(pkg-config --cflags tern) "$scratch/plus.cpp" -o "$scratch/plus" $(pkg-config --libs tern)
    LD_LIBRARY_PATH=$libdir DYLD_LIBRARY_PATH=$libdir "$scratch/plus"
fi
echo "the installed library works, shared and static"
