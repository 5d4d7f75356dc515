#!/usr/bin/env bash
# examples/explain-build-log: what of a log is asked about, and the exit statuses; not what the built-in model says.
. "$(dirname "$0")/lib.sh"
export TERN
unset MODEL URL TERN_API_KEY
script=$ROOT/examples/explain-build-log/explain-log.sh

# excerpt NAME: of standard input
excerpt() {
    name=$1
    "$script" --excerpt >"$WORK/out" 2>"$WORK/err"
    status=$?
    out=$(cat "$WORK/out")
    err=$(cat "$WORK/err")
}

printf 'cc -c a.c\ncc -c b.c\ncc -c error.c\ncc -c x.c\nx.c: In function f:\nx.c:3:5: error: expected \047;\047\n    3 | int x\nmake: *** [x.o] Error 1\n' >"$WORK/plain"
expected=$(tail -n +3 "$WORK/plain")
excerpt "the first error, three lines before it, what follows" <"$WORK/plain"
is "$status/$err" "0/"
is "$out" "$expected"
excerpt "the same with CR LF" < <(sed 's/$/\r/' "$WORK/plain")
is "$out" "$expected"
excerpt "the same in colours, with links and a progress bar" < <(
    printf '\033[1mcc\033[0m -c a.c\ncc -c b.c\ncc -c error.c\ncc -c x.c\n'
    printf '\033[1mx.c:\033[m\033[K In function f:\n\033]8;;file:///x.c\033\\x.c:3:5\033]8;;\007: \033[01;31m\033[Kerror: \033[m\033[Kexpected \047;\047\n'
    printf '    3 | int x\n\rmake: *** [x.o] Error 1'
)
is "$out" "$expected"
excerpt "zero bytes, bytes that are no UTF-8, umlauts" < <(printf 'a\0b\nerror: \377\374ber \303\274ber\n')
is "$out" "$(printf 'ab\nerror: ber \303\274ber')"
excerpt "three errors, far apart" < <(for i in 1 2 3 4; do seq -f "line $i %g" 30; echo "fatal error: number $i"; done)
is "$(grep -c '^fatal' "$WORK/out")/$(grep -c '^\.\.\.$' "$WORK/out")" "3/2"
has "$out" "line 1 30
fatal error: number 1
line 2 1"
excerpt "a line of 3 MB" < <(head -c 3000000 /dev/zero | tr '\0' x; printf '\nerror: after it\n')
has "$out" "error: after it"
[ "$(wc -c <"$WORK/out")" -lt 400 ] || fail "$name: an excerpt of $(wc -c <"$WORK/out") bytes"
for line in "CMake Error at CMakeLists.txt:3 (find_package):" "x.o: undefined reference to \`f'" \
    "FAILED: build/x.o" "error[E0425]: cannot find value" "Traceback (most recent call last):" \
    "npm ERR! code ELIFECYCLE" "thread 'main' panicked at src/main.rs:2:5:" "ninja: fatal: cannot open" \
    "x.cs(3,5): error CS1002: ; expected" "/bin/sh: 1: foo: command not found" "java.lang.NullPointerException: x"; do
    excerpt "$line" < <(printf 'before\n%s\n' "$line")
    is "$out" "before
$line"
done

for log in "" "all is well\n0 errors, 0 warnings\nerror.c compiled with -Werror: fine\n"; do
    excerpt "no error in '$log'" < <(printf "%b" "$log")
    is "$status/$out" "3/"
    has "$err" "no error"
done

excerpt "100 MB, the error at the end" < <(
    yes 'cc -O2 -Wall -Wextra -Iinclude -Isrc -c src/some/file.c -o build/some/file.o && echo done' | head -n 1150000
    echo 'src/some/file.c:1:2: error: at last'
)
is "$status/$(grep -c . "$WORK/out")" "0/4"
has "$out" "error: at last"
name="whoever writes the log is not stopped"
(cat "$WORK/plain"; yes line | head -n 300000; echo "$?" >"$WORK/writer") | "$script" --excerpt >"$WORK/out"
is "${PIPESTATUS[*]}/$(cat "$WORK/writer")" "0 0/0"

run "wrong use" "$script" --wings
is "$status" 2
run "two files" "$script" a b
is "$status" 2
run "help" "$script" --help
is "$status" 0
has "$out" "make 2>&1 |"
run "no such file" "$script" "$WORK/none"
is "$status/$out" "1/"
has "$err" "cannot read"
MODEL=$WORK/none.gguf run "no such model" "$script" "$WORK/plain"
is "$status/$out" "1/"

run "an answer by the built-in model" "$script" "$WORK/plain"
is "$status" 0
[ -n "$out" ] || fail "$name: nothing"
has "$err" "set MODEL"
MODEL=demo run "again, of a long log, with no warning" "$script" <(seq 1000; yes 'fatal error: x' | head -n 100)
is "$status" 0

if command -v curl >/dev/null; then
    "$TERN" serve demo --port 0 -t 1 --api-key secret 2>"$WORK/log" &
    server=$!
    trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$WORK"' EXIT
    for ((i = 0; i < 600; i++)); do
        URL=$(sed -n 's/^listening on //p' "$WORK/log")
        [ -z "$URL" ] || break
        sleep 0.1
    done
    export URL
    run "no key" "$script" "$WORK/plain"
    is "$status/$out" "1/"
    has "$err" "key"
    export TERN_API_KEY=secret
    run "an answer by a server" "$script" "$WORK/plain"
    is "$status/$err" "0/"
    [ -n "$out" ] || fail "$name: nothing"
    # shellcheck disable=SC2016
    printf 'say "no" \\ tab\there\nerror: "quoted" \\n %%s $HOME `id`\n' >"$WORK/odd"
    run "a log with quotes and backslashes" "$script" "$WORK/odd"
    is "$status/$err" "0/"
fi
finish
